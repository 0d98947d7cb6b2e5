//! `accounts.serve_stale`: only while no host can be reached, a remembered account is accepted with the
//! password of its last login.
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

use common::load;
use common::site::CN;
use common::smtp::ACCEPTED;
use common::smtp::CANNOT_TELL;
use common::smtp::REFUSED;
use common::stale::Rig;
use mysql::prelude::Queryable;

/// Stored passwords for `secret` that are clear text, or that a reader can log in with: by CRAM-MD5,
/// by DIGEST-MD5 (the MD5 of `digest:example.com:secret`), and by NTLM (`passlib.hash.nthash`).
const EQUIVALENT: [(&str, &str); 4] = [
    ("plain", "{PLAIN}secret"),
    ("cram", "{CRAM-MD5}CRAM"),
    ("digest", "{DIGEST-MD5}b0005fc31e92d08f924ff803370c6a7b"),
    ("nthash", "$3$$878d8014606cda29677a44efa1353fc7"),
];

/// A site with accounts of all kinds.
fn rig(serve_stale: &str) -> Rig {
    let rig = common::stale::rig(serve_stale, &["u", "new", "disabled", "gone", "changed"]);
    let cram = rig.site.tool(&["hash", "--scheme", "CRAM-MD5"], "secret");
    for (name, stored) in EQUIVALENT {
        let stored = stored.replace("{CRAM-MD5}CRAM", cram.trim_end());
        rig.site.sql(&format!(
            "INSERT INTO account (username, password) VALUES ('{name}@example.com', '{stored}')"
        ));
    }
    rig
}

#[test]
fn a_remembered_account_is_served_while_no_host_can_be_reached() {
    let rig = rig("serve_stale = \"24h\"\n");
    let equivalent = EQUIVALENT.map(|(name, _)| name);
    for name in [&["u", "disabled", "gone", "changed"][..], &equivalent].concat() {
        assert_eq!(rig.attempt(name, "secret"), ACCEPTED, "{name}: {}", rig.site.main_log());
    }
    assert_eq!(rig.attempt("new", "wrong"), REFUSED);
    let files = rig.remembered_account_files();
    assert_eq!(files.len(), 4, "no password in clear or equivalent to it is remembered");
    for file in &files {
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o7777, 0o600);
        assert!(!fs::read_to_string(file).unwrap().contains("secret"));
    }
    rig.site.sql("UPDATE account SET active = 0 WHERE username = 'disabled@example.com'");
    rig.site.sql("DELETE FROM account WHERE username = 'gone@example.com'");
    rig.site.sql(
        "UPDATE account SET password = (SELECT p FROM (SELECT password AS p FROM account WHERE \
         username = 'new@example.com') AS x) WHERE username = 'changed@example.com'",
    );
    for name in ["disabled", "gone", "changed"] {
        assert_eq!(rig.attempt(name, "wrong"), REFUSED, "the change is seen");
    }
    assert_eq!(rig.remembered_account_files().len(), 1, "changed accounts are forgotten");
    rig.server.kill();
    let before = rig.site.lines().len();
    assert_eq!(rig.attempt("u", "secret"), ACCEPTED, "{}", rig.site.main_log());
    let lines = &rig.site.lines()[before..];
    assert!(lines[0].contains("the remembered account is used"), "{lines:?}");
    assert_eq!(rig.attempt("u", "wrong"), CANNOT_TELL);
    assert_eq!(rig.attempt_from(CN, "u", "secret"), CANNOT_TELL, "no 535");
    for name in [&["disabled", "gone", "changed", "new", "nobody"][..], &equivalent].concat() {
        assert_eq!(rig.attempt(name, "secret"), CANNOT_TELL, "{name}");
    }
    rig.server.restart();
    load::flush(&rig.site);
    let rows = rig.site.rows();
    assert_eq!(rows.len(), 24);
    let flags = |row: &common::Row| (row.auth_ok, row.policy_reject);
    assert_eq!(flags(&rows[12]), (Some(true), Some(false)), "{rows:?}");
    for row in &rows[13..] {
        assert_eq!(row.auth_ok, None, "{row:?}");
    }
    assert_eq!(rig.site.panic_log(), "");
}

#[test]
fn a_host_that_answers_is_not_away() {
    let rig = rig("serve_stale = \"24h\"\n");
    assert_eq!(rig.attempt("u", "secret"), ACCEPTED, "{}", rig.site.main_log());
    let mut root = rig.server.root("");
    root.query_drop("ALTER USER exim@localhost IDENTIFIED BY 'another'").unwrap();
    assert_eq!(rig.attempt("u", "secret"), CANNOT_TELL);
    assert!(rig.site.main_log().contains("error 1045"), "{}", rig.site.main_log());
    let known = common::mariadb::PASSWORD;
    root.query_drop(format!("ALTER USER exim@localhost IDENTIFIED BY '{known}'")).unwrap();
    rig.site.sql("ALTER TABLE account RENAME TO moved");
    assert_eq!(rig.attempt("u", "secret"), CANNOT_TELL);
    rig.site.sql("ALTER TABLE moved RENAME TO account");
    rig.server.signal("STOP");
    assert_eq!(rig.attempt("u", "secret"), ACCEPTED, "a host that hangs is away");
    rig.server.signal("CONT");
    load::flush(&rig.site);
    assert_eq!(rig.site.rows().len(), 4);
    rig.site.tool(&["user", "disable", "new@example.com"], "");
    assert_eq!(
        rig.remembered_account_files().len(),
        0,
        "the tool deletes all remembered accounts, because it may have changed them"
    );
}

/// Drivers that check the proof themselves also look up the account.
#[test]
fn every_function_forgets_an_account_that_it_sees_disabled() {
    for (function, arguments) in [
        ("authorize", "{$auth2}{$sender_host_address}"),
        ("secret", "{$auth2}{$sender_host_address}"),
        ("scram", "{salt}{$auth2}{$sender_host_address}"),
    ] {
        let mut rig = rig("serve_stale = \"24h\"\n");
        assert_eq!(rig.attempt("u", "secret"), ACCEPTED, "{}", rig.site.main_log());
        rig.site.sql("UPDATE account SET active = 0 WHERE username = 'u@example.com'");
        let check = rig.site.dlfunc(
            "check",
            "{$auth2}{$auth3}{$sender_host_address}{mechanism=PLAIN}{tls=$tls_in_cipher}{authzid=$auth1}",
        );
        let config = rig.site.read("exim.conf");
        assert!(config.contains(&check));
        let other = config.replace(&check, &rig.site.dlfunc(function, arguments));
        rig.site.write("exim.conf", &other);
        rig.exim = rig.site.exim();
        assert_eq!(rig.remembered_account_files().len(), 1);
        assert!(!rig.attempt("u", "wrong").starts_with("235"), "{}", rig.site.main_log());
        assert_eq!(rig.remembered_account_files().len(), 0, "{function}");
    }
}

#[test]
fn accounts_are_remembered_only_with_serve_stale_and_only_for_its_time() {
    let rig = rig("");
    assert_eq!(rig.attempt("u", "secret"), ACCEPTED, "{}", rig.site.main_log());
    assert_eq!(rig.remembered_account_files().len(), 0);
    let config = rig.site.read("authpolicy.toml");
    rig.site.write_config(&config.replace("[accounts]\n", "[accounts]\nserve_stale = \"24h\"\n"));
    assert_eq!(rig.attempt("u", "secret"), ACCEPTED);
    let [file] = &rig.remembered_account_files()[..] else { panic!("one") };
    let text = fs::read_to_string(file).unwrap();
    let time = text.lines().find(|line| line.starts_with("time=")).unwrap();
    let seconds: i64 = time.strip_prefix("time=").unwrap().parse().unwrap();
    rig.server.kill();
    // A file of another owner, then an expired file and one from the future.
    std::os::unix::fs::chown(file, Some(0), Some(0)).unwrap();
    assert_eq!(rig.attempt("u", "secret"), CANNOT_TELL);
    common::exim::users::give_to_exim(file);
    assert_eq!(rig.attempt("u", "secret"), ACCEPTED, "{}", rig.site.main_log());
    for wrong in [seconds - 25 * 3600, seconds + 2 * 3600] {
        fs::write(file, text.replace(time, &format!("time={wrong}"))).unwrap();
        common::exim::users::give_to_exim(file);
        fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(rig.attempt("u", "secret"), CANNOT_TELL, "{wrong}");
        assert_eq!(rig.remembered_account_files().len(), 0, "{wrong}: deleted");
    }
    // `flush` deletes expired files.
    fs::write(file, text.replace(time, "time=1")).unwrap();
    common::exim::users::give_to_exim(file);
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
    rig.server.restart();
    load::flush(&rig.site);
    assert_eq!(rig.remembered_account_files().len(), 0);
}
