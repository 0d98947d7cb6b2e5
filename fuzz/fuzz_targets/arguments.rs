//! Any arguments of the exports: see `src/arguments.rs`.

#![no_main]

use authpolicy_fuzz::arguments::Input;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: Input| authpolicy_fuzz::arguments::call(&input));
