//! The old and the new types of Exim's exports, in a small process that has one of them
//! (tests/host/exim.c). The version decides which types are used. With an unknown version, none
//! are.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test code"
)]

mod common;

use std::process::Command;

use common::Base;
use common::Site;
use common::exim::users;
use common::site::GB;

const POLICY: &str = "[policy]\nallow_countries = [\"GB\"]\nfailure_time = \"0s\"\n";
const OLD_TYPES: &[&str] = &[];
const NEW_TYPES: &[&str] = &["-DNEW"];
const BOTH: &[&str] = &["-DEXPAND", "-DEXPAND_2"];

/// Runs a process with these types and functions, which calls `check` twice. Returns the lines that
/// it prints: one for each call in either direction.
fn run(site: &Site, options: &[&[&str]], version: &str, host_checking: bool) -> Vec<String> {
    let program = site.path("host");
    let compiled = Command::new("cc")
        .args(["-Wall", "-Werror", "-O2", "-rdynamic", "-o"])
        .arg(&program)
        .args(options.concat())
        .arg("tests/host/exim.c")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cc");
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let (uid, gid) = users::exim();
    let output = Command::new("setpriv")
        .args(["--reuid", &uid, "--regid", &gid, "--clear-groups"])
        .arg(program)
        .arg(site.path("authpolicy.so"))
        .args([version, if host_checking { "1" } else { "0" }, "u@example.com", "secret", GB])
        .arg(format!("config={}", site.path("authpolicy.toml").display()))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{version} {options:?}: {text}");
    text.lines().map(str::to_owned).collect()
}

fn site() -> Site {
    let site = Site::new(Base::Sqlite, POLICY);
    site.account("u@example.com", "secret");
    site
}

/// Runs the process once normally and once as under `exim -bh`. Both make the same calls, which are
/// returned, but only the first run stores rows.
fn calls(options: &[&[&str]], version: &str) -> Vec<String> {
    let site = site();
    let lines = run(&site, options, version, false);
    assert_eq!(site.rows().len(), 2, "{version} {options:?}: {lines:?}");
    assert_eq!(run(&site, options, version, true), lines, "{version} {options:?}");
    assert_eq!(site.rows().len(), 2, "{version} {options:?}: no row under -bh");
    lines
}

const ATTEMPT: &str = "authpolicy: attempt status=204 reason=- rule=- auth_ok=1 policy_reject=0 \
                       country=GB remote=192.0.2.7 user=\"u@example.com\"";

#[test]
fn a_known_version_is_read_once_and_called_with_its_types() {
    for (options, version, expander) in [
        ([OLD_TYPES, &["-DEXPAND"]], "4.90.1", "expand_string"),
        ([OLD_TYPES, &["-DEXPAND"]], "4.96", "expand_string"),
        ([OLD_TYPES, BOTH], "4.97", "expand_string_2"),
        ([OLD_TYPES, BOTH], "4.98.2", "expand_string_2"),
        ([OLD_TYPES, &["-DEXPAND_2"]], "4.99", "expand_string_2"),
        ([OLD_TYPES, &["-DEXPAND_2"]], "4.99.1", "expand_string_2"),
        ([NEW_TYPES, &["-DEXPAND_2"]], "4.100", "expand_string_2"),
        ([NEW_TYPES, &["-DEXPAND_2"]], "4.100.1", "expand_string_2"),
    ] {
        let line = format!("log_write 1 {ATTEMPT}");
        let expected = [
            expander,
            &line,
            "check 0 yes",
            &line,
            "check 0 yes",
            "store_get_perm_3 1 1",
            "last 0 u@example.com",
        ];
        assert_eq!(calls(&options, version), expected, "{version} {options:?}");
    }
}

#[test]
fn with_an_unknown_version_no_function_that_depends_on_it_is_called() {
    let unknown_version = "this Exim calls itself";
    for (options, version, error) in [
        ([OLD_TYPES, &["-DEXPAND"]], "4.99-123-abc", unknown_version),
        ([OLD_TYPES, BOTH], "4.98_RC1", unknown_version),
        ([NEW_TYPES, &["-DEXPAND_2"]], "4.100-RC1", unknown_version),
        ([NEW_TYPES, &["-DEXPAND_2"]], "4.101", unknown_version),
        ([NEW_TYPES, &["-DEXPAND_2"]], "5.0", unknown_version),
        ([OLD_TYPES, &["-DEXPAND"]], "none", "this Exim does not tell its version"),
        ([NEW_TYPES, &["-DEXPAND_2"]], "none", "this Exim does not tell its version"),
        ([NEW_TYPES, &[]], "4.100.1", "this Exim does not tell its version"),
        ([OLD_TYPES, &[]], "4.96", "this Exim does not tell its version"),
    ] {
        let lines = calls(&options, version);
        let mut lines = lines.iter().filter(|line| !line.starts_with("expand_string"));
        let first = lines.next().unwrap();
        let beginning = format!("syslog 22 authpolicy: trouble function=version error=\"{error}");
        assert!(first.starts_with(&beginning), "{version}: {first}");
        assert!(error != unknown_version || first.contains(version), "{version}: {first}");
        let line = format!("syslog 22 {ATTEMPT}");
        let expected = [&*line, "check 0 yes", &line, "check 0 yes", "last 0 u@example.com"];
        assert_eq!(lines.collect::<Vec<_>>(), expected, "{version} {options:?}");
    }
}
