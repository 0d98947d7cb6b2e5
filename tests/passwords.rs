//! Stored passwords of every kind in a real Exim, on both databases: reply, line and row.
//! tests/originals.rs compares with the programs that define the formats.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    reason = "test code"
)]

mod common;

use common::Base;
use common::Client;
use common::Site;
use common::site::GB;
use common::smtp::ACCEPTED;
use common::smtp::CANNOT_TELL;
use common::smtp::REFUSED;

const POLICY: &str = "[policy]\nallow_countries = [\"GB\"]\nfailure_time = \"0s\"\n";

type Flags = (Option<bool>, Option<bool>);
const RIGHT: Flags = (Some(true), Some(false));
const WRONG: Flags = (Some(false), Some(false));
const UNCHECKED: Flags = (None, Some(false));

/// Hashes of the password "test", from the tests of Dovecot and other projects.
const STORED: &[&str] = &[
    "$2y$05$11ipvo5dR6CwkzwmhwM26OXgzXwhV2PyPuLV.Qi31ILcRcThQpEiW",
    "{blf-crypt}$2a$05$11ipvo5dR6CwkzwmhwM26OXgzXwhV2PyPuLV.Qi31ILcRcThQpEiW",
    "{SHA1}qUqP5cyxm6YcTAhz05Hph5gvu9M=",
    "{SSHA}H/zrDv8FXUu1JmwvVYijfrYEF34jVZcO",
    "{SSHA256}jwj+CQrCPydeErByDFo1Bc5JY/MsJv6Wm56ryf4vkVMBAgME",
    "{PLAIN-MD5}098f6bcd4621d373cade4e832627b4f6",
    "{PBKDF2}$1$bUnT4Pl7yFtYX0KU$5000$50a83cafdc517b9f46519415e53c6a858908680a",
    "{CRAM-MD5}e02d374fde0dc75a17a557039a3a5338c7743304777dccd376f332bee68d2cf6",
    "{SCRAM-SHA-1}4096,GetyLXdBuHzf1FWf8SLz2Q==,NA/OqmF4hhrsrB9KR7po+dliTGM=,QBiURvQaE6H6qYTmeghDHLANBFQ=",
    "$argon2id$v=19$m=65536,t=3,p=1$vBb99oJ12p3WAdYlaMHz1A$jtFOtbo/sYV9OSlTxDo/nVNq3uArHd5GJSEx0ty85Cc",
    // MD5("testuser1:example.com:test"), with the name as the client sends it.
    "{DIGEST-MD5}2426d80fdd386c161e463449b5d27a60",
    "{PLAIN}test",
];

struct Run<'a> {
    site: &'a Site,
    port: u16,
}

impl Run<'_> {
    fn store(&self, stored: &str) {
        self.site.sql(&format!("UPDATE account SET password = '{stored}'"));
    }

    /// Makes an attempt, and checks its reply, log line and row.
    fn attempt(&self, password: &str, reply: &str, flags: Flags, line: &str) {
        let before = self.site.rows().len();
        let mut client = Client::connect_from(self.port, GB);
        let log = || self.site.main_log();
        assert_eq!(client.plain(b"testuser1@example.com", password.as_bytes()), reply, "{}", log());
        let (rows, lines) = (self.site.rows(), self.site.lines());
        assert_eq!(rows.len(), before + 1);
        assert_eq!((rows[before].auth_ok, rows[before].policy_reject), flags, "{}", log());
        assert!(lines.last().unwrap().contains(line), "{line}: {}", log());
    }
}

fn site(base: Base, accounts: &str) -> Site {
    let site = Site::new(base, POLICY);
    site.account("testuser1@example.com", "test");
    let config = site.read("authpolicy.toml");
    site.write_config(&config.replace("[accounts]", &format!("[accounts]\n{accounts}")));
    site
}

#[test]
fn hashes_of_other_programs_accept_only_the_right_password() {
    for base in Base::all() {
        let site = site(base, "");
        let exim = site.exim();
        let run = Run { site: &site, port: exim.port };
        for stored in STORED {
            run.store(stored);
            run.attempt("test", ACCEPTED, RIGHT, "status=204");
            run.attempt("Test", REFUSED, WRONG, "reason=credentials");
        }
        for locked in ["", "!", "!!", "*0", "*1", "SUSPENDED", "{SSHA}"] {
            run.store(locked);
            run.attempt("test", REFUSED, WRONG, "reason=credentials");
            run.attempt(if locked.is_empty() { "x" } else { locked }, REFUSED, WRONG, "reason=");
        }
        let config = site.read("authpolicy.toml");
        let null = config.replace("SELECT password", "SELECT NULLIF(password, 'none') AS password");
        site.write_config(&null);
        run.store("none");
        run.attempt("none", REFUSED, WRONG, "reason=credentials");
    }
}

#[test]
fn an_unreadable_stored_password_is_435_and_the_line_has_account_and_scheme_but_no_hash() {
    for base in Base::all() {
        let site = site(base, "");
        let exim = site.exim();
        let run = Run { site: &site, port: exim.port };
        run.attempt("test", ACCEPTED, RIGHT, "status=204");
        for (stored, what) in [
            ("{NO-SUCH}cXdlcnR6", "the unknown scheme {NO-SUCH}"),
            ("{SHA256}cXdlcnR6", "a malformed SHA256 hash"),
            ("$2y$05$cXdlcnR6", "a malformed bcrypt hash"),
            ("$6$salt$cXdlcnR6", "a malformed SHA512-CRYPT hash"),
            ("$9$salt$cXdlcnR6", "a crypt format that is not supported"),
        ] {
            run.store(stored);
            run.attempt("test", CANNOT_TELL, UNCHECKED, what);
            let line = site.lines().pop().unwrap();
            assert!(line.contains("account testuser1@example.com: has"), "{line}");
        }
        assert!(!site.main_log().contains("cXdlcnR6"), "no stored password in the log");
        assert_eq!(site.panic_log(), "");
    }
}

#[test]
fn a_stored_password_with_too_much_work_is_435() {
    let limits = "max_bcrypt_cost = 5\nmax_rounds = 5000\nmax_argon2_memory = 1024\n";
    let site = site(Base::Sqlite, limits);
    let exim = site.exim();
    let run = Run { site: &site, port: exim.port };
    run.store(STORED[0]);
    run.attempt("test", ACCEPTED, RIGHT, "status=204");
    for (stored, key) in [
        (STORED[0].replace("$05$", "$06$"), "max_bcrypt_cost = 5"),
        (STORED[6].replace("$5000$", "$5001$"), "max_rounds = 5000"),
        (STORED[9].replace("m=65536", "m=1025"), "max_argon2_memory = 1024"),
    ] {
        run.store(&stored);
        run.attempt("test", CANNOT_TELL, UNCHECKED, key);
    }
}

#[test]
fn weak_schemes_are_435_if_they_are_not_allowed() {
    let site = site(Base::Sqlite, "allow_weak_schemes = false\n");
    let exim = site.exim();
    let run = Run { site: &site, port: exim.port };
    run.store(STORED[2]);
    run.attempt("test", ACCEPTED, RIGHT, "status=204");
    run.store(STORED[5]);
    run.attempt(
        "test",
        CANNOT_TELL,
        UNCHECKED,
        "a PLAIN-MD5 hash, and accounts.allow_weak_schemes",
    );
}

#[test]
fn the_tool_makes_hashes_and_finds_weak_ones() {
    for base in Base::all() {
        let site = Site::new(base, POLICY);
        assert_eq!(site.run_tool(&["user", "list", "--weak"], "").status.code(), Some(1), "none");
        for (name, stored) in [
            ("fine@example.com", STORED[0]),
            ("weak@example.com", STORED[5]),
            ("clear@example.com", "{PLAIN}test"),
            ("odd@example.com", "{NO-SUCH}x"),
            ("locked@example.com", "!"),
        ] {
            site.account(name, "secret");
            site.sql(&format!(
                "UPDATE account SET password = '{stored}' WHERE username = '{name}'"
            ));
        }
        let weak = site.tool(&["user", "list", "--weak"], "");
        let want = "account=clear@example.com scheme=PLAIN\n\
                    account=odd@example.com error=\"has a stored password of the unknown scheme \
                    {NO-SUCH}\"\n\
                    account=weak@example.com scheme=PLAIN-MD5\n";
        assert_eq!(weak, want);
        let made = site.tool(&["hash"], "test\n");
        assert!(made.starts_with("{ARGON2ID}$argon2id$v=19$m=19456,t=2,p=1$"), "{made}");
        site.sql(&format!("UPDATE account SET password = '{}'", made.trim_end()));
        assert_eq!(site.run_tool(&["test", "fine@example.com", GB], "test").status.code(), Some(0));
        let unknown = site.run_tool(&["hash", "--scheme", "ROT13"], "test");
        let stderr = String::from_utf8_lossy(&unknown.stderr).into_owned();
        assert!(unknown.status.code() == Some(2) && stderr.contains("supported are"), "{stderr}");
    }
}

#[test]
fn config_warns_if_failure_time_is_shorter_than_the_slowest_hash() {
    let site = Site::new(Base::Sqlite, "[policy]\nfailure_time = \"1ms\"\n");
    site.tool(&["user", "add", "dear@example.com"], "secret");
    // With the default query, the tool can read all accounts.
    let ours = site.read("accounts.toml");
    site.write_config(&format!("{ours}\n[policy]\nfailure_time = \"1ms\"\n"));
    let text = site.tool(&["config"], "");
    assert!(text.contains("check.failure_time=warning the dearest"), "{text}");
    site.write_config(&format!("{ours}\n[policy]\nfailure_time = \"1h\"\n"));
    let text = site.tool(&["config"], "");
    assert!(text.contains("check.failure_time=ok the dearest stored password known takes "));
    assert!(!text.contains("warning"), "{text}");
}
