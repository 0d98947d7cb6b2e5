//! Any values in the columns of an account: see `src/columns.rs`.

#![no_main]

use authpolicy_fuzz::columns::Input;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: Input| authpolicy_fuzz::columns::find(&input));
