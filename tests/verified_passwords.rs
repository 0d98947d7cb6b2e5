//! `accounts.remember_verified`: a password that has matched is not hashed again. Rules, limits, row
//! and line are the same as always, and a refusal never asks the memory.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test code"
)]

mod common;

use std::sync::Arc;

use common::Base;
use common::MariaDb;
use common::cache::ACCOUNT;
use common::cache::CACHE;
use common::cache::PASSWORD;
use common::cache::Rig;
use common::cache::VERIFIED;
use common::cache::rig;
use common::limits::limit;
use common::site::CN;
use common::smtp::ACCEPTED;
use common::smtp::CANNOT_TELL;
use common::smtp::REFUSED;

const YES: (Option<bool>, Option<bool>) = (Some(true), Some(false));
const WRONG: (Option<bool>, Option<bool>) = (Some(false), Some(false));
const REJECTED: (Option<bool>, Option<bool>) = (Some(true), Some(true));

/// Checks that the attempt from this address is refused without the memory.
fn assert_refused(rig: &Rig, remote: &str, password: &str, fields: &str) {
    let (reply, line) = rig.attempt_from(remote, "u@example.com", password);
    assert_eq!(reply, REFUSED, "{line}");
    assert!(line.contains(fields) && !line.contains(" cache="), "{line}");
}

#[test]
fn a_password_that_has_matched_is_not_hashed_again() {
    for base in Base::all() {
        let rig = rig(base, VERIFIED, "");
        rig.assert_accepted("u", "secret", &[]);
        rig.assert_accepted("u", "secret", &[PASSWORD]);
        rig.assert_asked("u", "wrong", REFUSED, "status=403 reason=credentials");
        rig.assert_asked("u", "Secret", REFUSED, "status=403 reason=credentials");
        // The same stored password under another name, and the same password with another hash.
        rig.site.sql(
            "UPDATE account SET password = (SELECT p FROM (SELECT password AS p FROM account \
             WHERE username = 'u@example.com') AS x) WHERE username = 'v@example.com'",
        );
        rig.assert_accepted("v", "secret", &[]);
        rig.set_password("u", "secret");
        rig.assert_accepted("u", "secret", &[]);
        rig.assert_accepted("u", "secret", &[PASSWORD]);
        assert_eq!(rig.flags(), [YES, YES, WRONG, WRONG, YES, YES, YES]);
    }
}

#[test]
fn a_wrong_password_is_never_kept() {
    let rig = rig(Base::Sqlite, &[CACHE, VERIFIED].concat(), "");
    for _ in 0..3 {
        rig.assert_asked("u", "wrong", REFUSED, "status=403 reason=credentials");
        rig.assert_asked("nobody", "wrong", REFUSED, "status=403 reason=account");
    }
    rig.assert_accepted("u", "secret", &[]);
    assert_eq!(rig.flags(), [[WRONG; 6].as_slice(), &[YES]].concat());
}

#[test]
fn with_the_cache_a_login_needs_neither_database_nor_hash() {
    for base in Base::all() {
        let rig = rig(base, &[CACHE, VERIFIED].concat(), "");
        rig.assert_accepted("u", "secret", &[]);
        rig.assert_accepted("u", "secret", &[ACCOUNT, PASSWORD]);
        let (_, line) = rig.attempt("u", "secret");
        assert!(line.ends_with(" cache=account cache=password user=\"u@example.com\""), "{line}");
        rig.set_password("u", "changed");
        rig.assert_accepted("u", "changed", &[]);
        rig.assert_accepted("u", "changed", &[ACCOUNT, PASSWORD]);
        rig.assert_asked("u", "secret", REFUSED, "status=403 reason=credentials");
        assert_eq!(rig.flags(), [YES, YES, YES, YES, YES, WRONG]);
    }
}

/// Otherwise the time of the refusal would tell that the password is right.
#[test]
fn an_attempt_that_is_refused_does_not_use_it() {
    for base in Base::all() {
        let rig = rig(base, VERIFIED, "");
        rig.assert_accepted("u", "secret", &[]);
        assert_refused(&rig, CN, "secret", "rule=policy.allow_countries auth_ok=1 policy_reject=1");
        rig.update("u", "active = 0");
        assert_refused(
            &rig,
            "192.0.2.7",
            "secret",
            "reason=disabled rule=account.disabled auth_ok=1",
        );
        assert_refused(
            &rig,
            "192.0.2.7",
            "wrong",
            "reason=disabled rule=account.disabled auth_ok=0",
        );
        rig.update("u", "active = 1");
        rig.assert_accepted("u", "secret", &[PASSWORD]);
        assert_eq!(rig.flags(), [YES, REJECTED, REJECTED, (Some(false), Some(true)), YES]);
    }
}

#[test]
fn a_new_country_is_refused_without_it() {
    for base in Base::all() {
        let policy = "new_country = \"reject\"\n";
        let rig = rig(base, VERIFIED, policy);
        let config = rig.site.read("authpolicy.toml");
        rig.site.write_config(&config.replace("allow_countries = [\"GB\"]\n", ""));
        rig.assert_accepted("u", "secret", &[]);
        rig.assert_accepted("u", "secret", &[PASSWORD]);
        assert_refused(&rig, CN, "secret", "rule=policy.new_country auth_ok=1 policy_reject=1");
        assert_refused(&rig, CN, "wrong", "reason=credentials");
        assert_eq!(rig.flags(), [YES, YES, REJECTED, WRONG]);
    }
}

#[test]
fn limits_hold_for_a_verified_password() {
    let rig = rig(Base::mariadb(), VERIFIED, &limit("guesses", "remote", "passwords", 2));
    rig.assert_accepted("u", "secret", &[]);
    rig.assert_accepted("u", "secret", &[PASSWORD]);
    for password in ["one", "two"] {
        rig.assert_asked("u", password, REFUSED, "status=403 reason=credentials");
    }
    assert_refused(&rig, "192.0.2.7", "secret", "rule=guesses auth_ok=- policy_reject=1");
    let reservations = rig.site.count(common::limits::RESERVATIONS);
    assert_eq!((rig.flags()[..4].to_vec(), reservations), (vec![YES, YES, WRONG, WRONG], 0));
}

#[test]
fn an_attempt_that_serve_stale_answers_does_not_use_it() {
    let server = Arc::new(MariaDb::start());
    let name = server.database();
    let url = server.url(&name);
    let base = Base::MariaDb(server.clone(), name, url);
    let rig = rig(base, &[VERIFIED, "serve_stale = \"24h\"\n"].concat(), "");
    rig.assert_accepted("u", "secret", &[]);
    rig.assert_accepted("u", "secret", &[PASSWORD]);
    server.kill();
    rig.assert_accepted("u", "secret", &[]);
    let (reply, line) = rig.attempt("u", "wrong");
    assert!(reply == CANNOT_TELL && line.starts_with("attempt status=503 "), "{line}");
    server.restart();
    rig.assert_accepted("u", "secret", &[PASSWORD]);
    common::load::flush(&rig.site);
    assert_eq!(rig.flags().iter().filter(|flags| **flags == YES).count(), 4);
}

#[test]
fn an_account_with_several_passwords_is_asked_for_all_of_them() {
    let rig = rig(Base::mariadb(), VERIFIED, "");
    let both = "WHERE username IN (:user, CONCAT('app-', :user))";
    let config = rig.site.read("authpolicy.toml");
    rig.site.write_config(&config.replace("WHERE username = :user", both));
    rig.assert_accepted("u", "secret", &[]);
    rig.assert_accepted("u", "secret", &[PASSWORD]);
    let stored = rig.site.tool(&["hash", "--scheme", "BLF-CRYPT", "--cost", "4"], "second");
    let stored = stored.trim_end();
    rig.site.sql(&format!(
        "INSERT INTO account (username, password) VALUES ('app-u@example.com', '{stored}')"
    ));
    // The list has changed, so both are hashed once more.
    rig.assert_accepted("u", "second", &[]);
    rig.assert_accepted("u", "secret", &[]);
    rig.assert_accepted("u", "second", &[PASSWORD]);
    rig.assert_accepted("u", "secret", &[PASSWORD]);
    rig.site.sql("DELETE FROM account WHERE username = 'app-u@example.com'");
    rig.assert_asked("u", "second", REFUSED, "status=403 reason=credentials");
    let (reply, _) = rig.attempt("u", "secret");
    assert_eq!(reply, ACCEPTED);
    assert_eq!(rig.flags().len(), 8);
}
