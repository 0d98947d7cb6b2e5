//! `authpolicy config` warns of two causes of wrong counts: clocks that differ, and hashes that
//! take longer than the lease of a reservation.
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

/// Returns the `check.limits` line of `config`, run with a clock that is ahead by `ahead`.
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
fn config_warns_if_clocks_differ() {
    for base in Base::all() {
        let is_embedded = matches!(base, Base::Sqlite);
        let site = site(base, "", &[limit("guessing", "account", "failures", 3)]);
        let exim = site.exim();
        assert_eq!(attempt(&exim, GB, "u@example.com", "secret"), ACCEPTED, "{}", site.main_log());
        assert_eq!(check(&site, "+0"), "ok");
        for ahead in ["+10s", "-10s"] {
            let result = check(&site, ahead);
            if is_embedded {
                assert_eq!(result, "ok", "the embedded database uses this host's clock");
            } else {
                let want = "warning this host's clock and the database server's differ by ";
                assert!(result.starts_with(want) && result.contains("NTP"), "{ahead}: {result}");
            }
        }
    }
}

#[test]
fn config_warns_if_hashes_take_longer_than_the_lease() {
    let site = site(Base::Sqlite, "", &[limit("guessing", "account", "failures", 3)]);
    let exim = site.exim();
    assert_eq!(attempt(&exim, GB, "u@example.com", "secret"), ACCEPTED, "{}", site.main_log());
    let config = site.read("authpolicy.toml");
    let with_slots = |slots: u32| {
        let keys =
            format!("[accounts]\ndummy_hash = \"{ARGON2}\"\nmax_parallel_hashes = {slots}\n");
        site.write_config(&config.replace("[accounts]\n", &keys));
        check(&site, "+0")
    };
    assert_eq!(with_slots(2), "ok");
    let result = with_slots(1024);
    assert!(result.starts_with("warning 1024 attempts that hash at once on "), "{result}");
    assert!(result.contains("lower accounts.max_parallel_hashes"), "{result}");
}
