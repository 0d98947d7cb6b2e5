//! SCRAM under limits: a guess counts even if its client does not wait for the answer. Getting the
//! keys alone is not a guess.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    reason = "test code"
)]

mod common;

use common::Base;
use common::Site;
use common::limits::ENTRIES;
use common::limits::NO;
use common::limits::RESERVATIONS;
use common::limits::YES;
use common::limits::flags;
use common::limits::limit;
use common::scram::Connection;
use common::scram::End;
use common::scram::attempt;
use common::scram::site;
use common::scram::with_policy;
use common::site::CN;
use common::site::GB;

const MECHANISM: &str = "SCRAM-SHA-256";
const U: &str = "u@example.com";

/// A site with these limits, where no address is exempt because of earlier logins.
fn limited_site(base: Base, limits: &[String]) -> Site {
    let site = site(base);
    let head = "hash_nonce = \"x\"\nknown_good = \"0s\"\n";
    with_policy(&site, &format!("{head}{}", limits.concat()));
    site
}

fn log_in(site: &Site, password: &str) -> End {
    attempt(site, MECHANISM, GB, U, password)
}

/// An exchange up to the keys, after which the client sends nothing.
fn ask_for_keys(site: &Site) -> Connection {
    let mut exim = Connection::open(site, MECHANISM);
    exim.expand("server_scram_salt", U, GB).unwrap();
    exim
}

/// A client that gives up after it has the keys counts against its address, and not against the
/// account.
#[test]
fn an_exchange_that_is_given_up_counts_for_the_address_alone() {
    for base in Base::all() {
        let both = limit("both", "account+remote", "failures", 2);
        let limits = [
            limit("account", "account", "failures", 2),
            limit("remote", "remote", "failures", 3),
            both,
        ];
        let site = limited_site(base, &limits);
        assert_eq!(log_in(&site, "secret"), End::Accepted);
        assert_eq!((flags(&site), site.count(ENTRIES)), ((YES, NO), 0));
        let mut exim = ask_for_keys(&site);
        assert_eq!(site.count(RESERVATIONS), 3, "meanwhile it takes room with each limit");
        exim.expand("server_set_id", U, GB);
        assert_eq!(flags(&site), (None, NO), "{:?}", site.lines());
        let count =
            |rule: &str| site.count(&format!("{ENTRIES} AND attempt = '' AND rule = '{rule}'"));
        assert_eq!((count("account"), count("remote"), count("both")), (0, 1, 1));
        assert_eq!(site.count(RESERVATIONS), 0);
    }
}

/// An exchange whose client falls silent counts against its address, and not against the account.
#[test]
fn an_exchange_that_lapses_counts_for_the_address_alone() {
    for base in Base::all() {
        let limits =
            [limit("account", "account", "failures", 1), limit("remote", "remote", "failures", 2)];
        let site = limited_site(base, &limits);
        assert_eq!(log_in(&site, "secret"), End::Accepted);
        drop(ask_for_keys(&site));
        assert_eq!(site.count(RESERVATIONS), 2);
        // As if its lease were over.
        site.sql("UPDATE authpolicy_count SET expires = expires - 40000");
        assert_eq!(log_in(&site, "secret"), End::Accepted, "{:?}", site.lines());
        assert_eq!(flags(&site), (YES, NO));
        drop(ask_for_keys(&site));
        site.sql("UPDATE authpolicy_count SET expires = expires - 40000");
        assert_eq!(
            log_in(&site, "secret"),
            End::WrongProof,
            "two failures of the address reach the limit"
        );
        assert_eq!(flags(&site), (None, YES));
    }
}

/// An exchange with a proof is a guess at the account, even if its process is killed before the
/// answer.
#[test]
fn an_exchange_that_is_killed_after_its_proof_counts_for_the_account() {
    for base in Base::all() {
        let site = limited_site(base, &[limit("account", "account", "failures", 1)]);
        assert_eq!(log_in(&site, "secret"), End::Accepted);
        let mut exim = ask_for_keys(&site);
        exim.expand("server_key", U, GB).unwrap();
        drop(exim);
        assert_eq!((site.count(ENTRIES), site.count(RESERVATIONS)), (1, 1));
        site.sql("UPDATE authpolicy_count SET expires = expires - 40000");
        assert_eq!(log_in(&site, "secret"), End::WrongProof, "{:?}", site.lines());
        assert_eq!(flags(&site), (None, YES));
    }
}

/// If an exchange has lost its room to others since it got its keys, its proof needs new room.
#[test]
fn a_late_proof_is_subject_to_the_limit() {
    for base in Base::all() {
        let site = limited_site(base, &[limit("account", "account", "failures", 1)]);
        assert_eq!(log_in(&site, "secret"), End::Accepted);
        let mut late = ask_for_keys(&site);
        site.sql("UPDATE authpolicy_count SET expires = expires - 40000");
        assert_eq!(log_in(&site, "wrong"), End::WrongProof);
        assert_eq!(flags(&site), (NO, NO));
        assert_eq!(late.expand("server_key", U, GB).as_deref(), Some(""), "no keys of the account");
        assert_eq!(late.expand("server_password", U, GB), None);
        late.expand("server_set_id", U, GB);
        assert_eq!(flags(&site), (None, YES), "{:?}", site.lines());
        assert_eq!((site.count(ENTRIES), site.count(RESERVATIONS)), (1, 0));
    }
}

/// An exchange that is refused with any proof takes no room from the account's owner, with `secret`
/// and with `scram`.
#[test]
fn an_exchange_that_is_refused_anyway_takes_no_room() {
    for base in Base::all() {
        let site = limited_site(base, &[limit("account", "account", "failures", 1)]);
        assert_eq!(log_in(&site, "secret"), End::Accepted);
        let clear = "clear@example.com";
        for (option, name, remote, entries) in [
            ("server_scram_salt", U, CN, 0),
            ("server_password", clear, CN, 0),
            ("server_password", clear, GB, 1),
        ] {
            let mut exim = Connection::open(&site, MECHANISM);
            let value = exim.expand(option, name, remote);
            assert!(value.is_some_and(|value| !value.is_empty()), "{option} {remote}");
            assert_eq!(site.count(RESERVATIONS), entries, "{option} {remote}: {:?}", site.lines());
            exim.expand("server_set_id", name, remote);
            assert_eq!(site.count(RESERVATIONS), 0, "{option} {remote}");
        }
        assert_eq!(flags(&site), (NO, NO), "without `authorize`, the proof was wrong");
    }
}

/// An exchange that finds no room gets no keys, and the row names the limit.
#[test]
fn an_exchange_without_room_gets_no_keys() {
    for base in Base::all() {
        let site = limited_site(base, &[limit("account", "account", "failures", 1)]);
        let short = "attempt_timeout = \"2s\"\n\n[accounts]\n";
        site.write_config(&site.read("authpolicy.toml").replace("\n[accounts]\n", short));
        assert_eq!(log_in(&site, "secret"), End::Accepted, "{:?}", site.lines());
        let _held = ask_for_keys(&site);
        assert_eq!(log_in(&site, "secret"), End::NoKeys, "{:?}", site.lines());
        assert_eq!(flags(&site), (None, NO));
        let line = site.lines().pop().unwrap();
        assert!(line.starts_with("attempt status=503 reason=internal rule=account "), "{line}");
        assert!(line.contains("other attempts in progress took all of its room"), "{line}");
    }
}

/// Guesses with SCRAM count, for limits on failures and on passwords. An exchange that its client
/// abandons is not a guess, and one that the policy refuses is not a guess either.
#[test]
fn guesses_with_scram_count_towards_limits() {
    let all = Base::all().into_iter().zip(["failures", "passwords"]);
    for (base, count) in all {
        let site = site(base);
        with_policy(
            &site,
            &format!(
                "hash_nonce = \"x\"\nknown_good = \"0s\"\n[[policy.limit]]\nname = \"guessing\"\n\
                 per = \"account\"\ncount = \"{count}\"\nmax = 2\nwithin = \"10m\"\n"
            ),
        );
        let mechanism = "SCRAM-SHA-256";
        let log_in = |password| attempt(&site, mechanism, GB, "u@example.com", password);
        assert_eq!(log_in("secret"), End::Accepted);
        for _ in 0..3 {
            let mut exim = Connection::open(&site, mechanism);
            exim.expand("server_scram_salt", "u@example.com", GB).unwrap();
            exim.expand("server_set_id", "u@example.com", GB);
        }
        for _ in 0..3 {
            // The client is refused, and disconnects.
            let mut exim = Connection::open(&site, mechanism);
            exim.expand("server_scram_salt", "u@example.com", CN).unwrap();
        }
        assert_eq!(log_in("wrong"), End::WrongProof);
        assert_eq!(log_in("secret"), End::Accepted);
        assert_eq!(log_in("wrong"), End::WrongProof);
        assert_eq!(log_in("secret"), End::WrongProof, "no keys of the account beyond the limit");
        let row = site.rows().pop().unwrap();
        assert_eq!((row.auth_ok, row.policy_reject), (None, YES));
    }
}
