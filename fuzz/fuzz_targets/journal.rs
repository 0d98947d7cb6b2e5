//! Any bytes as a file of the journal: see `src/journal.rs`.
#![no_main]

use authpolicy_fuzz::journal::File;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|file: File<'_>| authpolicy_fuzz::journal::check(&file));
