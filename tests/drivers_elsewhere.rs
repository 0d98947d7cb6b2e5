//! The drivers whose proof is somebody else's, Dovecot's, Cyrus SASL's or a certificate's, in a real
//! Exim on the examples: `authorize` after it, `finish` at the end.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    reason = "test code"
)]

mod common;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;

use common::Base;
use common::Dovecot;
use common::driver;
use common::driver::ACCEPTED;
use common::driver::CANNOT_TELL;
use common::driver::Case;
use common::driver::NO;
use common::driver::REFUSED;
use common::driver::Rig;
use common::driver::disable;
use common::driver::login;
use common::driver::plain;
use common::driver::play;
use common::driver::play_all;
use common::driver::play_without_database;
use common::example::example;
use common::example::with;
use common::exim::users::give_to_exim;
use common::site::GB;

fn dovecot(passdb: &str) -> (Rig, Dovecot) {
    let site = driver::site(Base::Sqlite, "dovecot");
    disable(&site);
    let users = "u@example.com:secret\noff@example.com:secret\n";
    let dovecot = Dovecot::start(&site.path("dovecot"), users, passdb);
    let socket = dovecot.socket().display().to_string();
    (Rig::start(site, "dovecot", &[("DOVECOT_SOCKET", &socket)]), dovecot)
}

#[test]
fn dovecot_proves() {
    let (rig, _dovecot) = dovecot("");
    play_all(&rig.site, &plain(rig.port), true);
    play_all(&rig.site, &login(rig.port), true);
    play_without_database(&rig, &plain(rig.port), REFUSED);
}

#[test]
fn what_dovecot_cannot_tell() {
    let (rig, dovecot) = dovecot("passdb {\n driver = checkpassword\n args = /no-such-program\n}");
    let right = || plain(rig.port)(GB, "u@example.com", "secret");
    assert_eq!(right(), ACCEPTED, "{}", rig.site.main_log());
    // Its own outage is a refusal to Exim, which does not read that it is temporary.
    #[rustfmt::skip]
    play(&rig.site, &plain(rig.port), &Case { name: "away", remote: GB, authcid: "away@example.com", password: "secret",
        reply: REFUSED, line: "status=403 reason=credentials rule=- auth_ok=0 policy_reject=0", row: (NO, NO) });
    assert!(dovecot.log().contains("no-such-program"), "{}", dovecot.log());
    // Where it does not answer, Exim has no name for `finish`.
    drop(dovecot);
    assert_eq!(right(), CANNOT_TELL, "{}", rig.site.main_log());
    assert_eq!((rig.site.rows().len(), rig.site.lines().len()), (2, 2));
}

/// Adds a password to a sasldb.
fn saslpasswd2(database: &Path, user: &str) {
    let mut child = Command::new("saslpasswd2")
        .args(["-p", "-c", "-u", "example.com", "-f"])
        .arg(database)
        .arg(user)
        .stdin(Stdio::piped())
        .spawn()
        .expect("saslpasswd2: install sasl2-bin");
    child.stdin.take().unwrap().write_all(b"secret").unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn cyrus_sasl_proves() {
    let site = driver::site(Base::Sqlite, "cyrus-sasl");
    disable(&site);
    let database = site.path("sasldb2");
    for user in ["u", "off"] {
        saslpasswd2(&database, user);
    }
    give_to_exim(&database);
    let at = database.display().to_string();
    let settings = with(&example("cyrus-sasl/sasl/exim.conf"), &[("/etc/exim4/sasldb2", &at)]);
    fs::create_dir(site.path("sasl")).unwrap();
    site.write("sasl/exim.conf", &settings);
    let directory = site.path("sasl").display().to_string();
    let rig = Rig::start(site, "cyrus-sasl", &[("SASL_DIRECTORY", &directory)]);
    play_all(&rig.site, &plain(rig.port), true);
    play_all(&rig.site, &login(rig.port), true);
    play_without_database(&rig, &plain(rig.port), REFUSED);
}
