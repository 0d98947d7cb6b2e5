//! Any bytes as a reply of a name server: see `src/dns.rs`.
#![no_main]

use authpolicy_fuzz::dns::Dialogue;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|dialogue: Dialogue<'_>| authpolicy_fuzz::dns::check(&dialogue));
