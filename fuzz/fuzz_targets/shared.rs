//! Any bytes in the shared memory: see `src/shared.rs`.
#![no_main]

use authpolicy_fuzz::shared::Damage;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|damages: Vec<Damage>| authpolicy_fuzz::shared::check(&damages));
