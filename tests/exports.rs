//! The plugin's face to Exim: exactly the contract's symbols, and a header that says so.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::panic,
    reason = "test code"
)]

mod common;

use std::process::Command;

/// What Exim may call.
const EXPORTS: [&str; 10] = [
    "allow",
    "authorize",
    "check",
    "country",
    "finish",
    "last",
    "preload",
    "scram",
    "secret",
    "version",
];

#[test]
fn the_plugin_exports_the_contract_and_nothing_else() {
    let output = Command::new("nm")
        .args(["-D", "--defined-only", "--format=posix"])
        .arg(common::exim::plugin())
        .output()
        .expect("nm: install binutils");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut names: Vec<_> = text.lines().filter_map(|line| line.split(' ').next()).collect();
    names.sort_unstable();
    assert_eq!(names, EXPORTS);
}
