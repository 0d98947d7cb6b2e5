//! The drivers that prove the password themselves, in a real Exim on the examples: `secret` for
//! their proof, `authorize` after it, `finish` at the end.
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

use common::Base;
use common::Client;
use common::driver;
use common::driver::ACCEPTED;
use common::driver::CANNOT_TELL;
use common::driver::Case;
use common::driver::NO;
use common::driver::REFUSED;
use common::driver::Rig;
use common::driver::YES;
use common::driver::disable;
use common::driver::login;
use common::driver::plain;
use common::driver::play;
use common::driver::play_all;
use common::driver::play_without_database;
use common::site::CN;
use common::site::GB;

/// `openssl passwd -5 -salt saltsalt secret`
const HASH: &str = "$5$saltsalt$0IyaXrmV7.sGNS6tirgqHLqX/G.FBvgkYA.lpPdS5sA";

fn crypteq(base: Base) -> Rig {
    let site = driver::site(base, "crypteq");
    disable(&site);
    site.write("passwd", &format!("u@example.com:{HASH}\noff@example.com:{HASH}:0:0\n"));
    let passwd = site.path("passwd").display().to_string();
    Rig::start(site, "crypteq", &[("PASSWD_FILE", &passwd)])
}

#[test]
fn plaintext_with_another_proof() {
    for base in Base::all() {
        let rig = crypteq(base);
        play_all(&rig.site, &plain(rig.port), true);
        play_all(&rig.site, &login(rig.port), true);
        play_without_database(&rig, &login(rig.port), REFUSED);
    }
}

#[test]
fn attempts_of_one_connection_are_told_apart() {
    let rig = crypteq(Base::Sqlite);
    let mut client = Client::over_tls(rig.port, CN, &[]);
    assert_eq!(client.plain(b"u@example.com", b"secret"), REFUSED);
    assert_eq!(client.plain(b"u@example.com", b"wrong"), REFUSED);
    assert_eq!(client.login(b"nobody@example.com", b"secret"), REFUSED);
    assert!(client.command("AUTH PLAIN !!!").starts_with("501 "));
    assert_eq!(client.plain_as(b"boss", b"u@example.com", b"secret"), REFUSED);
    let flags: Vec<_> =
        rig.site.rows().iter().map(|row| (row.auth_ok, row.policy_reject)).collect();
    assert_eq!(flags, [(YES, YES), (NO, YES), (NO, YES), (None, YES)]);
    drop(client);
    assert_eq!(plain(rig.port)(GB, "u@example.com", "secret"), ACCEPTED);
}

/// `finish` cannot know why `authorize` was not asked.
#[test]
fn a_proof_that_cannot_be_made_is_a_wrong_one() {
    let rig = crypteq(Base::Sqlite);
    assert_eq!(plain(rig.port)(GB, "u@example.com", "secret"), ACCEPTED);
    fs::remove_file(rig.site.path("passwd")).unwrap();
    #[rustfmt::skip]
    play(&rig.site, &plain(rig.port), &Case { name: "away", remote: GB, authcid: "u@example.com", password: "secret",
        reply: CANNOT_TELL, line: "status=403 reason=credentials rule=- auth_ok=0 policy_reject=0 country=GB", row: (NO, NO) });
}
