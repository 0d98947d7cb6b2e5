//! Any values as literals of a statement: see `src/literals.rs`.
#![no_main]

use authpolicy_fuzz::literals::Datum;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: [Datum<'_>; 4]| authpolicy_fuzz::literals::check(&data));
