//! `authpolicy config` tells of what could make limits count wrongly: clocks that differ, and
//! hashes that outlast the lease of a reservation.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod common;

use std::process::Command;

use common::Base;
use common::Site;
use common::hashing::ARGON2;
use common::limits::attempt;
use common::limits::limit;
use common::limits::site;
use common::site::GB;
use common::smtp::ACCEPTED;

/// The report of `config` about limits, under a clock that is ahead by this.
fn check(site: &Site, ahead: &str) -> String {
    let output = Command::new("faketime")
        .args(["-f", ahead, common::tool(), "--config"])
        .arg(site.path("authpolicy.toml"))
        .arg("config")
        .output()
        .expect("faketime: install it");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let found = text.lines().find_map(|line| line.strip_prefix("check.limits="));
    found.unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&output.stderr))).to_owned()
}

#[test]
fn clocks_that_differ_are_told_of() {
    for base in Base::all() {
        let is_embedded = matches!(base, Base::Sqlite);
        let site = site(base, "", &[limit("guessing", "account", "failures", 3)]);
        let exim = site.exim();
        assert_eq!(attempt(&exim, GB, "u@example.com", "secret"), ACCEPTED, "{}", site.main_log());
        assert_eq!(check(&site, "+0"), "ok");
        for ahead in ["+10s", "-10s"] {
            let said = check(&site, ahead);
            if is_embedded {
                assert_eq!(said, "ok", "it has this host's clock");
            } else {
                let want = "warning this host's clock and the database server's differ by ";
                assert!(said.starts_with(want) && said.contains("NTP"), "{ahead}: {said}");
            }
        }
    }
}

#[test]
fn hashes_that_outlast_the_lease_are_told_of() {
    let site = site(Base::Sqlite, "", &[limit("guessing", "account", "failures", 3)]);
    let exim = site.exim();
    assert_eq!(attempt(&exim, GB, "u@example.com", "secret"), ACCEPTED, "{}", site.main_log());
    let config = site.read("authpolicy.toml");
    let with = |slots: u32| {
        let keys =
            format!("[accounts]\ndummy_hash = \"{ARGON2}\"\nmax_parallel_hashes = {slots}\n");
        site.write_config(&config.replace("[accounts]\n", &keys));
        check(&site, "+0")
    };
    assert_eq!(with(2), "ok");
    let said = with(1024);
    assert!(said.starts_with("warning 1024 attempts that hash at once on "), "{said}");
    assert!(said.contains("lower accounts.max_parallel_hashes"), "{said}");
}
