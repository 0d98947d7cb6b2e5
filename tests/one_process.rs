//! Many calls in one process: memory and open descriptors do not grow, and a forked child has its
//! own state and connections.
//!
//! Exim serves each connection in its own process, so it never makes this many calls. But a leak
//! that shows here would also grow in a daemon that preloads.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "test code"
)]

mod common;

use std::fs;

use common::Base;
use common::Site;
use common::exim::users;
use common::host;
use common::host::Plugin;
use common::mmdb;
use common::site::CN;
use common::site::GB;
use common::site::NETWORKS;

const POLICY: &str = "[policy]\nallow_countries = [\"GB\"]\nfailure_time = \"0s\"\n";
const WARM_UP: usize = 1000;
const CALLS: usize = 10_000;
/// The memory that ten thousand calls may add, in kilobytes. A quarter of the calls return their own
/// text: one leaked block of malloc's smallest size, 32 bytes, for each of these would be 80. The
/// heap varies by about 50, and after thirty thousand calls by no more than after ten thousand.
const GROWTH: usize = 70;
/// The files are replaced after this many calls.
const REPLACE_EVERY: usize = 20;

/// A site whose files Exim's user may replace.
fn site(base: Base, policy: &str) -> Site {
    let site = Site::new(base, policy);
    site.account("u@example.com", "secret");
    fs::create_dir(site.path("own")).unwrap();
    users::give_to_exim(&site.path("own"));
    let config = site.read("authpolicy.toml");
    let theirs = site.path("country.mmdb").display().to_string();
    let ours = site.path("own/country.mmdb").display().to_string();
    site.write("own/authpolicy.toml", &config.replace(&theirs, &ours));
    fs::write(site.path("own/country.mmdb"), mmdb::from_list(NETWORKS)).unwrap();
    for name in ["own/authpolicy.toml", "own/country.mmdb"] {
        users::give_to_exim(&site.path(name));
        fs::set_permissions(site.path(name), std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .unwrap();
    }
    site
}

struct Host {
    plugin: Plugin,
    directory: String,
    config: String,
}

impl Host {
    fn new() -> Self {
        let directory = host::directory();
        Self {
            plugin: Plugin::load(&format!("{directory}/authpolicy.so")),
            config: format!("config={directory}/own/authpolicy.toml"),
            directory,
        }
    }

    fn check(&self, password: &str, remote: &str) -> (i32, String) {
        self.plugin.call("check", &["u@example.com", password, remote, &self.config])
    }

    fn last(&self, fact: &str) -> String {
        self.plugin.call("last", &[fact]).1
    }

    /// Replaces the files with identical copies.
    fn replace_files(&self) {
        for name in ["authpolicy.toml", "country.mmdb"] {
            let path = format!("{}/own/{name}", self.directory);
            fs::copy(&path, format!("{path}.new")).unwrap();
            fs::rename(format!("{path}.new"), &path).unwrap();
        }
    }

    /// Makes one of the possible calls, and checks its answer.
    fn make_call(&self, number: usize) {
        let config = &*self.config;
        let (name, arguments, want) = match number % 20 {
            0 => ("check", vec!["u@example.com", "secret", GB, config], (0, "yes")),
            1 => ("check", vec!["u@example.com", "wrong", GB, config], (0, "no")),
            2 => ("check", vec!["nobody@example.com", "secret", GB, config], (0, "no")),
            3 => ("check", vec!["u@example.com", "secret", CN, config], (0, "no")),
            4 => ("authorize", vec!["u@example.com", GB, config], (0, "yes")),
            5 => ("finish", vec!["u@example.com", GB, config], (0, "u@example.com")),
            6 => ("finish", vec!["u@example.com", GB, config], (0, "u@example.com")),
            7 => ("allow", vec![CN, config], (0, "no")),
            8 => ("check", vec!["u@example.com", "secret", GB, "no-such-option"], (2, "")),
            9 => ("preload", vec!["10", config], (0, "10")),
            10 => ("last", vec!["status"], (0, "503")),
            11 => ("last", vec!["no-such-fact"], (0, "")),
            12 => ("country", vec![CN, "config=/no/such/file"], (0, "")),
            13 | 14 => ("country", vec![GB, config], (0, "GB")),
            15 => ("country", vec!["203.0.113.1", config], (0, "")),
            16 => ("allow", vec![GB, config], (0, "yes")),
            17 => ("secret", vec!["u@example.com", GB, config], (4, "")),
            18 => ("scram", vec!["iter", "u@example.com", GB, config], (0, "100000")),
            _ => ("version", vec![], (0, "authpolicy 0.1.0")),
        };
        let (code, text) = self.plugin.call(name, &arguments);
        assert_eq!(code, want.0, "{name} {arguments:?}: {text}");
        assert!(code != 0 || text == want.1, "{name} {arguments:?}: {text}");
        if number.is_multiple_of(REPLACE_EVERY) {
            self.replace_files();
        }
    }
}

/// The resources of this process.
#[derive(Debug)]
struct Size {
    /// In kilobytes. `statm` would be cheaper, but lacks what each thread has not reported yet.
    memory: usize,
    descriptors: usize,
    maps: usize,
}

impl Size {
    fn now() -> Self {
        let rollup = fs::read_to_string("/proc/self/smaps_rollup").unwrap();
        let anonymous = rollup.lines().find_map(|line| line.strip_prefix("Anonymous:")).unwrap();
        Self {
            memory: anonymous.trim().split(' ').next().unwrap().parse().unwrap(),
            descriptors: fs::read_dir("/proc/self/fd").unwrap().count(),
            maps: fs::read_to_string("/proc/self/maps").unwrap().lines().count(),
        }
    }
}

#[test]
#[ignore = "another test starts it, as Exim's user"]
fn many_calls() {
    let host = Host::new();
    (0..WARM_UP).for_each(|number| host.make_call(number));
    let before = Size::now();
    (0..CALLS).for_each(|number| host.make_call(number));
    let after = Size::now();
    println!("{before:?} {after:?}");
    assert_eq!(after.descriptors, before.descriptors, "open descriptors");
    // malloc may add a map. One leaked map for each replacement of the files would be hundreds.
    assert!(after.maps < before.maps + 5, "maps: {before:?}, then {after:?}");
    assert!(after.memory < before.memory + GROWTH, "memory: {before:?}, then {after:?}");
}

fn make_many_calls(base: Base) {
    let site = site(base, POLICY);
    let output = host::run(&site, "many_calls");
    let rows = (WARM_UP + CALLS) / 20 * 6;
    assert_eq!(site.rows().len(), rows, "each attempt has its row: {output}");
}

#[test]
fn ten_thousand_calls_leak_nothing_with_sqlite() {
    make_many_calls(Base::Sqlite);
}

#[test]
fn ten_thousand_calls_leak_nothing_with_mariadb() {
    make_many_calls(Base::mariadb());
}

#[test]
#[ignore = "another test starts it, as Exim's user"]
fn a_fork() {
    let host = Host::new();
    assert_eq!(host.check("secret", GB), (0, String::from("yes")));
    assert_eq!(host.plugin.call("allow", &[CN, &host.config]).1, "no");
    let answers = host::forked(|| {
        let before = host.last("status");
        let (code, text) = host.check("wrong", GB);
        format!("<{before}> {code} {text} <{}>", host.last("status"))
    });
    assert_eq!(answers, "<> 0 no <403>", "a child knows nothing of its parent's attempt");
    assert_eq!(host.last("status"), "204", "the parent knows nothing of its child's attempt");
    assert_eq!(host.check("secret", GB), (0, String::from("yes")));
    // As many attempts in a child as one SMTP connection makes, and then one in the parent.
    let answers = host::forked(|| (0..5).map(|_| host.check("secret", GB).1).collect());
    assert_eq!(answers, "yes".repeat(5));
    assert_eq!(host.check("wrong", GB), (0, String::from("no")));
}

#[test]
fn a_forked_process_has_its_own_state_and_connections() {
    for base in Base::all() {
        let site = site(base, POLICY);
        host::run(&site, "a_fork");
        let flags: Vec<_> = site.rows().iter().map(|row| row.auth_ok == Some(true)).collect();
        assert_eq!(flags, [&[true, false, true][..], &[true; 5], &[false]].concat());
    }
}
