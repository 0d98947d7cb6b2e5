//! What `authpolicy config` says of what is not in order: whose fault it is, which key names it, and
//! what to do.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test code"
)]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::chown;
use std::path::Path;

use common::Base;
use common::Site;

const POLICY: &str = "[policy]\nallow_countries = [\"GB\"]\nfailure_time = \"0s\"\n";
fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Exit status, and all that `authpolicy config` says.
fn config(site: &Site) -> (i32, String) {
    let output = site.run_tool(&["config"], "");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8_lossy(&said).into_owned())
}

/// The line of one check.
fn check(site: &Site, what: &str) -> String {
    let (_, said) = config(site);
    let start = format!("check.{what}=");
    let line = said.lines().find_map(|line| line.strip_prefix(&start));
    line.unwrap_or_else(|| panic!("no {start}: {said}")).to_owned()
}

#[test]
fn an_embedded_database_that_cannot_be_written_is_noticed() {
    let site = Site::new(Base::Sqlite, POLICY);
    assert!(check(&site, "log").starts_with("ok"), "the first is right");
    let file = site.path("state/authpolicy.db");
    chmod(&file, 0o400);
    let log = check(&site, "log");
    assert!(
        log.starts_with("failed ") && log.contains("/authpolicy.db: Permission denied, and"),
        "{log}"
    );
    chmod(&file, 0o600);
    chmod(&site.path("state"), 0o500);
    let log = check(&site, "log");
    assert!(log.starts_with("failed ") && log.contains("/state: Permission denied, and"), "{log}");
    chmod(&site.path("state"), 0o700);
    assert!(check(&site, "log").starts_with("ok"));
}

#[test]
fn a_state_directory_is_missing_or_closed_and_the_key_is_named() {
    let site = Site::new(Base::Sqlite, POLICY);
    let good = site.read("authpolicy.toml");
    chmod(&site.path("state"), 0o600);
    let (status, said) = config(&site);
    let want = "/state: may not be entered by uid";
    assert!(status == 2 && said.contains(want) && said.contains("is state.directory"), "{said}");
    assert!(!said.contains("does not exist"), "{said}");
    chmod(&site.path("state"), 0o700);
    let deep = site.path("deep");
    fs::create_dir(&deep).unwrap();
    chmod(&deep, 0o700);
    fs::rename(site.path("state"), deep.join("state")).unwrap();
    site.write_config(&good.replace("/state", "/deep/state"));
    let (status, said) = config(&site);
    let want = "/deep: may not be entered by uid";
    assert!(status == 2 && said.contains(want) && said.contains("above state.directory"), "{said}");
    chmod(&deep, 0o755);
    assert_eq!(config(&site).0, 0, "then it is right");
    site.write_config(&good);
    let (status, said) = config(&site);
    assert!(status == 2 && said.contains("/state: is missing: run `authpolicy db init`"), "{said}");
    assert!(said.contains("correct state.directory"), "{said}");
    site.write_config(&good.replace("/state", "/no/such/state"));
    let output = site.run_tool(&["db", "init"], "");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("cannot be made") && said.contains("correct state.directory"), "{said}");
}

#[test]
fn a_file_that_may_not_be_read_comes_with_the_remedy() {
    let site = Site::new(Base::Sqlite, POLICY);
    let country = site.path("country.mmdb");
    chmod(&country, 0o600);
    let geoip = check(&site, "geoip");
    assert!(geoip.contains("cannot be read by uid") && geoip.contains("chgrp it to"), "{geoip}");
    assert!(geoip.contains(": see geoip.database: "), "{geoip}");
    fs::write(&country, "").unwrap();
    chmod(&country, 0o644);
    let geoip = check(&site, "geoip");
    assert!(geoip.contains("is empty") && geoip.contains("see geoip.database"), "{geoip}");
    fs::remove_file(&country).unwrap();
    let geoip = check(&site, "geoip");
    assert!(geoip.contains("see geoip.database: fetch it, or correct"), "{geoip}");
    let toml = site.path("authpolicy.toml");
    chmod(&toml, 0o600);
    chown(&toml, Some(0), Some(0)).unwrap();
    let (status, said) = config(&site);
    assert!(status == 2 && said.contains("authpolicy.toml: cannot be read by uid"), "{said}");
    assert!(said.contains("chgrp it to the group of Exim's user, and chmod 640"), "{said}");
    fs::remove_file(&toml).unwrap();
    assert!(config(&site).1.contains("to the tool with --config"));
}
