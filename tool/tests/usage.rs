//! The tool without a configuration: help, version, and a wrong call.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::process::Command;
use std::process::Output;

fn tool(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_authpolicy")).args(arguments).output().unwrap()
}

#[test]
fn help_names_every_verb() {
    let output = tool(&["--help"]);
    assert!(output.status.success());
    let help = String::from_utf8(output.stdout).unwrap();
    for verb in [
        "hash",
        "config",
        "db",
        "user",
        "test",
        "log",
        "exception",
        "limits",
        "flush",
        "prune",
        "geoip",
    ] {
        assert!(help.contains(&format!("\n  {verb} ")), "{verb}: {help}");
    }
}

#[test]
fn version_is_that_of_the_package() {
    let output = tool(&["--version"]);
    assert!(output.status.success());
    let version = format!("authpolicy {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), version);
}

#[test]
fn a_wrong_call_ends_with_2_and_prints_the_usage() {
    let output = tool(&["--no-such-option"]);
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("--no-such-option") && error.contains("Usage: authpolicy"), "{error}");
    assert!(output.stdout.is_empty());
}
