//! Any bytes as a reply of a name server.
#![no_main]

use authpolicy_fuzz::dns::Dialogue;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|dialogue: Dialogue<'_>| authpolicy_fuzz::dns::hold(&dialogue));
