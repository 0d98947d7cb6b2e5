//! SCRAM: a real Exim expands the options of its gsasl driver, and a real client, libgsasl's, uses
//! the values in exchanges.
//!
//! Debian's Exim is built without the driver. So the server's side of the exchange (RFC 5802) is part
//! of the tests. It expands the options in the order of Exim 4.99.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    reason = "test code"
)]

mod common;

use std::fs;

use common::Base;
use common::scram::Connection;
use common::scram::End;
use common::scram::attempt;
use common::scram::site;
use common::scram::with_policy;
use common::site::CN;
use common::site::GB;

const YES: Option<bool> = Some(true);
const NO: Option<bool> = Some(false);

#[test]
fn libgsasl_logs_in_and_each_attempt_is_one_row() {
    for base in Base::all() {
        let site = site(base);
        let (sha1, sha256) = ("SCRAM-SHA-1", "SCRAM-SHA-256");
        for (mechanism, remote, authcid, password, end, flags) in [
            (sha256, GB, "u@example.com", "secret", End::Accepted, (YES, NO)),
            (sha256, GB, "u@example.com", "wrong", End::WrongProof, (NO, NO)),
            (sha256, GB, "nobody@example.com", "secret", End::WrongProof, (NO, NO)),
            // A refused attempt gets keys that match no password.
            (sha256, CN, "u@example.com", "secret", End::WrongProof, (None, YES)),
            (sha256, CN, "nobody@example.com", "secret", End::WrongProof, (None, YES)),
            (sha256, GB, "off@example.com", "secret", End::WrongProof, (None, YES)),
            (sha1, GB, "one@example.com", "secret", End::Accepted, (YES, NO)),
            (sha1, GB, "one@example.com", "wrong", End::WrongProof, (NO, NO)),
            (sha1, GB, "clear@example.com", "secret", End::Accepted, (YES, NO)),
            (sha256, GB, "clear@example.com", "secret", End::Accepted, (YES, NO)),
            // Keys of another mechanism, or only a hash: the administrator's omission.
            (sha1, GB, "u@example.com", "secret", End::WrongProof, (None, NO)),
            (sha256, GB, "hash@example.com", "secret", End::WrongProof, (None, NO)),
        ] {
            let before = site.rows().len();
            let got = attempt(&site, mechanism, remote, authcid, password);
            let name = format!("{mechanism} {remote} {authcid} {password}");
            assert_eq!(got, end, "{name}");
            let rows = site.rows();
            assert_eq!(rows.len(), before + 1, "{name}");
            let row = rows.last().unwrap();
            assert_eq!((row.auth_ok, row.policy_reject), flags, "{name}");
            let head = match flags {
                (YES, _) => "attempt status=204 reason=- rule=- auth_ok=1 policy_reject=0 ",
                (NO, _) if authcid.starts_with("nobody") => {
                    "attempt status=403 reason=account rule=- auth_ok=0 "
                }
                (NO, _) => "attempt status=403 reason=credentials rule=- auth_ok=0 ",
                (_, NO) => "attempt status=503 reason=internal rule=- auth_ok=- policy_reject=0 ",
                _ if authcid.starts_with("off") => "attempt status=403 reason=disabled ",
                _ => "attempt status=403 reason=policy rule=policy.allow_countries auth_ok=- ",
            };
            let lines = site.lines();
            let line = lines.last().unwrap_or_else(|| panic!("{name}: no line"));
            assert!(line.starts_with(head), "{name}: {line}");
            assert_eq!((&*row.username, &*row.remote_ip), (authcid, remote), "{name}");
        }
    }
}

#[test]
fn scram_keys_of_unknown_accounts_are_stable_and_look_real() {
    let site = site(Base::Sqlite);
    let iterations_and_salt = |authcid: &str, remote: &str| {
        let mut exim = Connection::open(&site, "SCRAM-SHA-256");
        let iterations = exim.expand("server_scram_iter", authcid, remote).unwrap();
        let salt = exim.expand("server_scram_salt", authcid, remote).unwrap();
        // The client gives up.
        exim.expand("server_set_id", authcid, remote);
        (iterations, salt)
    };
    let account = iterations_and_salt("u@example.com", GB);
    assert_eq!(account, iterations_and_salt("u@example.com", GB));
    let row = site.rows().pop().unwrap();
    assert_eq!((row.auth_ok, row.policy_reject), (None, NO), "the client gave up before its proof");
    let nobody = iterations_and_salt("nobody@example.com", GB);
    assert_eq!(nobody, iterations_and_salt("nobody@example.com", GB));
    assert_eq!(nobody, iterations_and_salt("nobody@example.com", CN));
    assert_ne!(nobody.1, iterations_and_salt("another@example.com", GB).1);
    assert_eq!((&nobody.0, nobody.1.len()), (&account.0, account.1.len()));
    let key = fs::metadata(site.path("state/decoy-key")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&key.permissions()) & 0o777, 0o600);
    assert_eq!(attempt(&site, "SCRAM-SHA-256", GB, "u@example.com", "secret"), End::Accepted);
}

#[test]
fn without_a_database_the_driver_gets_cannot_tell() {
    for base in Base::all() {
        let site = site(base);
        let mechanism = "SCRAM-SHA-256";
        assert_eq!(attempt(&site, mechanism, GB, "u@example.com", "secret"), End::Accepted);
        let good = site.read("authpolicy.toml");
        site.write_config(&good.replace("authpolicy.db", "no-such.db").replace("/sock\"", "/no\""));
        assert_eq!(attempt(&site, mechanism, GB, "u@example.com", "secret"), End::NoKeys);
        // A password in clear does not bypass a policy that cannot be evaluated.
        site.write_config(&good.replace("country.mmdb", "no-such.mmdb"));
        assert_eq!(attempt(&site, mechanism, GB, "clear@example.com", "secret"), End::NoKeys);
        let row = &site.rows()[1];
        assert_eq!((&*row.username, row.auth_ok), ("clear@example.com", None));
        site.write_config(&good);
        // One of the rows had to wait for its table.
        assert_eq!(site.rows().len(), 3);
        assert_eq!(attempt(&site, mechanism, GB, "u@example.com", "secret"), End::Accepted);
    }
}

/// The driver confirms a proof before the plugin can refuse a new country. So a client in a new
/// country gets keys that match no password.
#[test]
fn a_client_in_a_new_country_gets_no_valid_keys() {
    for base in Base::all() {
        let site = site(base);
        let config = site.read("authpolicy.toml").replace("allow_countries", "# ");
        site.write_config(&config);
        with_policy(&site, "new_country = \"reject\"\n");
        let mechanism = "SCRAM-SHA-256";
        assert_eq!(attempt(&site, mechanism, GB, "u@example.com", "secret"), End::Accepted);
        for password in ["secret", "wrong"] {
            assert_eq!(attempt(&site, mechanism, CN, "u@example.com", password), End::WrongProof);
            let row = site.rows().pop().unwrap();
            assert_eq!((row.auth_ok, row.policy_reject), (None, YES), "{password}");
        }
        assert_eq!(attempt(&site, mechanism, GB, "u@example.com", "secret"), End::Accepted);
    }
}

/// The time that a client takes to answer is not part of `attempt_timeout`.
#[test]
fn a_slow_client_is_decided_and_recorded() {
    let site = site(Base::Sqlite);
    let short = "connect_timeout = \"200ms\"\nattempt_timeout = \"500ms\"\n";
    let config =
        site.read("authpolicy.toml").replace("\n[accounts]", &format!("{short}\n[accounts]"));
    site.write_config(&config);
    assert_eq!(attempt(&site, "SCRAM-SHA-256", GB, "u@example.com", "secret"), End::Accepted);
    let mut exim = Connection::open(&site, "SCRAM-SHA-256");
    exim.expand("server_scram_salt", "u@example.com", GB).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(700));
    exim.expand("server_key", "u@example.com", GB).unwrap();
    let answer = exim.expand("server_condition", "u@example.com", GB);
    assert_eq!(answer.as_deref(), Some("yes"));
    assert_eq!(site.rows().len(), 2);
}

/// Stored keys need no hashing, but keys of a password in clear do.
#[test]
fn keys_of_a_password_in_clear_wait_for_a_slot() {
    let site = site(Base::Sqlite);
    let settings = "attempt_timeout = \"2s\"\n\n[accounts]\nmax_parallel_hashes = 1\n";
    site.write_config(&site.read("authpolicy.toml").replace("\n[accounts]\n", settings));
    let log_in = |name| attempt(&site, "SCRAM-SHA-256", GB, name, "secret");
    assert_eq!(log_in("clear@example.com"), End::Accepted);
    let held = authpolicy::state::slots::Slots::open(&site.path("state"), Some(1)).unwrap();
    assert!(held.take().unwrap());
    assert_eq!(log_in("u@example.com"), End::Accepted);
    assert_eq!(log_in("clear@example.com"), End::NoKeys);
    assert_eq!(site.rows()[2].auth_ok, None);
    assert!(site.main_log().contains("function=scram") && site.main_log().contains("hash-slots"));
}
