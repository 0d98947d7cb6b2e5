//! The systemd units: systemd accepts them, and their command delivers rows.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "test code")]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::process::Output;

use common::Base;
use common::Client;
use common::Site;
use common::site::GB;
use common::smtp::ACCEPTED;

const UNITS: [&str; 3] =
    ["authpolicy-flush.service", "authpolicy-flush.path", "authpolicy-flush.timer"];

fn unit(name: &str) -> String {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/systemd");
    fs::read_to_string(directory.join(name)).unwrap()
}

fn verify(change: impl Fn(String) -> String) -> Output {
    let directory = tempfile::tempdir().unwrap();
    for name in UNITS {
        let text = unit(name).replace("/usr/bin/authpolicy", common::tool());
        fs::write(directory.path().join(name), change(text)).unwrap();
    }
    let mut analyze = Command::new("systemd-analyze");
    analyze.args(["verify", "--man=no", "--recursive-errors=no"]);
    analyze.args(UNITS.map(|name| directory.path().join(name)));
    analyze.output().expect("systemd-analyze: install systemd")
}

#[test]
fn systemd_accepts_the_units() {
    let output = verify(|text| text);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.is_empty(), "{stderr}");
    let output = verify(|text| text.replace("ExecStart=", "ExecStrat="));
    assert!(!output.status.success(), "a wrong key is found");
}

#[test]
fn the_path_unit_watches_the_journal_and_the_service_delivers() {
    let policy = "[policy]\nfailure_time = \"0s\"\n[log]\ndelivery = \"journal\"\n";
    let site = Site::new(Base::Sqlite, policy);
    site.account("u@example.com", "secret");
    let exim = site.exim();
    let attempt = || Client::connect_from(exim.port, GB).plain(b"u@example.com", b"secret");
    assert_eq!(attempt(), ACCEPTED, "{}", site.main_log());
    let watched = unit("authpolicy-flush.path");
    let watched = watched.lines().find_map(|line| line.strip_prefix("PathExistsGlob=")).unwrap();
    let file = watched.replace("/var/lib/authpolicy", site.path("state").to_str().unwrap());
    assert!(Path::new(file.trim_end_matches('*')).exists(), "{file}");
    let command = unit("authpolicy-flush.service");
    let command = command.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let verb = command.strip_prefix("/usr/bin/authpolicy ").unwrap();
    site.tool(&[verb], "");
    assert_eq!(site.rows().len(), 1);
    assert_eq!(fs::read_dir(site.path("state/journal")).unwrap().count(), 0, "nothing waits");
}
