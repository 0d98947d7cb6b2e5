//! Any text as a configuration: see `src/configuration.rs`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| authpolicy_fuzz::configuration::read(text));
