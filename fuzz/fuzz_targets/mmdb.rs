//! Any bytes as a GeoIP file: see `src/mmdb.rs`.

#![no_main]

use authpolicy_fuzz::mmdb::Input;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: Input| authpolicy_fuzz::mmdb::look_up(&input));
