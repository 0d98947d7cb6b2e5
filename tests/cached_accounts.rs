//! `accounts.cache`: a cached account answers only a right password, for its time. Everything else
//! asks the database.
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
use common::Client;
use common::MariaDb;
use common::cache::ACCOUNT;
use common::cache::CACHE;
use common::cache::rig;
use common::cache::site;
use common::limits::limit;
use common::site::CN;
use common::site::GB;
use common::smtp::ACCEPTED;
use common::smtp::CANNOT_TELL;
use common::smtp::REFUSED;

const YES: (Option<bool>, Option<bool>) = (Some(true), Some(false));
const WRONG: (Option<bool>, Option<bool>) = (Some(false), Some(false));

#[test]
fn a_cached_account_answers_a_right_password_and_nothing_else() {
    for base in Base::all() {
        let rig = rig(base, CACHE, "");
        rig.assert_accepted("u", "secret", &[]);
        rig.assert_accepted("u", "secret", &[ACCOUNT]);
        rig.assert_asked("u", "wrong", REFUSED, "status=403 reason=credentials");
        rig.assert_accepted("u", "secret", &[ACCOUNT]);
        rig.assert_asked("nobody", "secret", REFUSED, "status=403 reason=account");
        assert_eq!(rig.flags(), [YES, YES, WRONG, YES, WRONG]);
        // Until its time is over, or until an attempt is not accepted, a disabled account gets in.
        rig.update("u", "active = 0");
        rig.assert_accepted("u", "secret", &[ACCOUNT]);
        rig.assert_asked("u", "wrong", REFUSED, "status=403 reason=disabled");
        rig.assert_asked("u", "secret", REFUSED, "status=403 reason=disabled");
        rig.site.sql("DELETE FROM account WHERE username = 'u@example.com'");
        rig.assert_asked("u", "secret", REFUSED, "status=403 reason=account");
        assert_eq!(rig.flags()[5..8], [YES, (Some(false), Some(true)), (Some(true), Some(true))]);
    }
}

#[test]
fn a_changed_password_works_at_once_and_ends_the_old_one() {
    for base in Base::all() {
        let rig = rig(base, CACHE, "");
        rig.assert_accepted("u", "secret", &[]);
        rig.set_password("u", "changed");
        rig.assert_accepted("u", "secret", &[ACCOUNT]);
        rig.assert_accepted("u", "changed", &[]);
        rig.assert_accepted("u", "changed", &[ACCOUNT]);
        rig.assert_asked("u", "secret", REFUSED, "status=403 reason=credentials");
        assert_eq!(rig.flags(), [YES, YES, YES, YES, WRONG]);
    }
}

#[test]
fn a_refusal_by_a_rule_of_the_account_asks_the_database() {
    for base in Base::all() {
        let rig = rig(base, CACHE, "");
        rig.assert_accepted("u", "secret", &[]);
        let (reply, line) = rig.attempt_from(CN, "u@example.com", "secret");
        assert_eq!(reply, REFUSED);
        assert!(line.contains("auth_ok=1 policy_reject=1") && !line.contains(" cache="), "{line}");
        rig.update("u", "allow_countries = 'CN'");
        let (reply, line) = rig.attempt_from(CN, "u@example.com", "secret");
        assert_eq!(reply, ACCEPTED, "{line}");
        assert!(!line.contains(" cache="), "{line}");
        // The cache has the new rule now.
        let (reply, line) = rig.attempt_from(CN, "u@example.com", "secret");
        assert!(reply == ACCEPTED && line.contains(ACCOUNT), "{line}");
        assert_eq!(rig.flags(), [YES, (Some(true), Some(true)), YES, YES]);
    }
}

#[test]
fn while_the_database_is_away_a_cached_account_gets_in() {
    let server = Arc::new(MariaDb::start());
    let name = server.database();
    let url = server.url(&name);
    let rig = rig(Base::MariaDb(server.clone(), name, url), CACHE, "");
    rig.assert_accepted("u", "secret", &[]);
    server.kill();
    rig.assert_accepted("u", "secret", &[ACCOUNT]);
    rig.assert_asked("u", "wrong", CANNOT_TELL, "status=503 reason=internal");
    rig.assert_asked("v", "secret", CANNOT_TELL, "status=503 reason=internal");
    let (reply, line) = rig.attempt_from(CN, "u@example.com", "secret");
    assert!(reply == CANNOT_TELL && line.starts_with("attempt status=503 "), "{line}");
    server.restart();
    common::load::flush(&rig.site);
    assert_eq!(rig.flags()[..3], [YES, YES, (None, Some(false))]);
    assert_eq!(rig.flags().len(), 5);
}

/// A password in clear is cached, but not remembered on disk. A guess must not remove it from the
/// cache, and counts.
#[test]
fn in_an_outage_a_wrong_password_does_not_remove_a_cached_account_and_counts() {
    let server = Arc::new(MariaDb::start());
    let name = server.database();
    let url = server.url(&name);
    let keys = [CACHE, "serve_stale = \"24h\"\n"].concat();
    let limits = limit("guesses", "account", "passwords", 2);
    let rig = rig(Base::MariaDb(server.clone(), name, url), &keys, &limits);
    rig.update("u", "password = '{PLAIN}secret'");
    let log = rig.site.path("state/log.db");
    let config = rig.site.read("authpolicy.toml");
    rig.site.write_config(&format!("{config}[log]\nurl = \"sqlite:{}\"\n", log.display()));
    rig.site.tool(&["db", "init"], "");
    rig.assert_accepted("u", "secret", &[]);
    server.kill();
    let attempt = |password| rig.attempt_from("192.0.2.9", "u@example.com", password);
    for password in ["one", "two"] {
        let (reply, line) = attempt(password);
        assert!(reply == CANNOT_TELL && line.starts_with("attempt status=503 "), "{line}");
        rig.assert_accepted("u", "secret", &[ACCOUNT]);
    }
    let (reply, line) = attempt("three");
    assert!(reply == REFUSED && line.contains("rule=guesses auth_ok=- policy_reject=1"), "{line}");
    let rows = rusqlite::Connection::open(log).unwrap();
    let count = |flags: &str| -> i64 {
        let sql = format!("SELECT COUNT(*) FROM connection_log WHERE {flags}");
        rows.query_row(&sql, (), |row| row.get(0)).unwrap()
    };
    let flags = ["auth_ok = 1", "auth_ok IS NULL AND policy_reject = 0", "policy_reject = 1", "1"];
    assert_eq!(flags.map(count), [3, 2, 1, 6]);
}

#[test]
fn an_account_is_found_only_by_exactly_what_was_bound() {
    for base in Base::all() {
        let rig = rig(base, CACHE, "");
        let bound = "WHERE username = TRIM(:login) AND :protocol <> '' AND :remote <> ''";
        let config = rig.site.read("authpolicy.toml");
        let config = config.replace("WHERE username = :user", bound);
        rig.site.write_config(&config);
        let attempt = |remote: &str, name: &str| {
            let (reply, line) = rig.attempt_from(remote, name, "secret");
            assert_eq!(reply, ACCEPTED, "{line}");
            line.contains(ACCOUNT)
        };
        assert_eq!([attempt(GB, "u@example.com"), attempt(GB, "u@example.com")], [false, true]);
        assert_eq!([attempt(GB, "u@example.com "), attempt(GB, "u@example.com ")], [false, true]);
        assert_eq!(
            [attempt("192.0.2.8", "u@example.com"), attempt(GB, "v@example.com")],
            [false; 2]
        );
        // The content of the configuration counts, and not its file.
        rig.site.write_config(&config);
        assert!(attempt(GB, "u@example.com"));
        rig.site.write_config(&config.replace("TRIM(:login)", "LTRIM(TRIM(:login))"));
        assert!(!attempt(GB, "u@example.com"));
        rig.site.write_config(&config);
        assert!(attempt(GB, "u@example.com"));
        assert_eq!(rig.flags(), [YES; 9]);
    }
}

#[test]
fn without_preload_or_after_its_time_each_attempt_asks_the_database() {
    let site = site(Base::Sqlite, CACHE, "");
    site.set_preload(None);
    let exim = site.exim();
    for _ in 0..2 {
        let reply = Client::connect_from(exim.port, GB).plain(b"u@example.com", b"secret");
        assert_eq!(reply, ACCEPTED, "{}", site.main_log());
    }
    assert!(!site.main_log().contains(" cache="), "{}", site.main_log());
    for keys in ["cache = \"1ns\"\n", "cache = \"0s\"\n", ""] {
        let rig = rig(Base::Sqlite, keys, "");
        rig.assert_accepted("u", "secret", &[]);
        rig.assert_accepted("u", "secret", &[]);
        assert_eq!(rig.flags(), [YES, YES], "{keys}");
    }
}

#[test]
fn limits_count_the_attempts_at_a_cached_account() {
    for base in Base::all() {
        let rig = rig(base, CACHE, &limit("guesses", "account", "passwords", 2));
        rig.assert_accepted("u", "secret", &[]);
        let (reply, line) = rig.attempt("u", "secret");
        assert!(reply == ACCEPTED && line.contains(ACCOUNT), "{line}");
        for password in ["one", "two"] {
            let (reply, line) = rig.attempt_from("192.0.2.9", "u@example.com", password);
            assert_eq!(reply, REFUSED, "{line}");
        }
        let (reply, line) = rig.attempt_from("192.0.2.9", "u@example.com", "secret");
        assert_eq!(reply, REFUSED);
        assert!(line.contains("rule=guesses auth_ok=- policy_reject=1"), "{line}");
        assert_eq!(rig.flags()[..4], [YES, YES, WRONG, WRONG]);
    }
}

/// The known good address belongs to the new password, so the cached account is out of date.
#[test]
fn a_login_with_a_new_password_ends_a_cached_account_with_known_good_addresses() {
    let rig = rig(Base::mariadb(), CACHE, &limit("guesses", "account", "passwords", 9));
    rig.assert_accepted("u", "secret", &[]);
    rig.set_password("u", "changed");
    rig.assert_accepted("u", "changed", &[]);
    rig.assert_accepted("u", "changed", &[ACCOUNT]);
    rig.assert_asked("u", "secret", REFUSED, "status=403 reason=credentials");
    assert_eq!(rig.flags(), [YES, YES, YES, WRONG]);
}

/// The part of /proc/PID/smaps about the daemon's shared memory: its first line, and its flags.
fn shared_memory(pid: u32) -> (String, Vec<String>) {
    let smaps = std::fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
    let mut lines = smaps.lines().skip_while(|line| !line.contains(" rw-s "));
    let first = lines.next().unwrap().to_owned();
    assert_eq!(lines.clone().filter(|line| line.contains(" rw-s ")).count(), 0, "{smaps}");
    let flags = lines.find_map(|line| line.strip_prefix("VmFlags:")).unwrap();
    (first, flags.split_whitespace().map(str::to_owned).collect())
}

#[test]
fn the_memory_is_locked_and_not_dumped_and_ends_with_sighup() {
    let rig = rig(Base::Sqlite, CACHE, "");
    rig.assert_accepted("u", "secret", &[]);
    rig.assert_accepted("u", "secret", &[ACCOUNT]);
    let pid = rig.exim.pid();
    let (first, flags) = shared_memory(pid);
    // The kernel's name for memory without one.
    assert!(first.ends_with(" /dev/zero (deleted)"), "{first}");
    for flag in ["dd", "lo"] {
        assert!(flags.iter().any(|has| has == flag), "{flag}: {flags:?}");
    }
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGHUP).unwrap();
    while rig.site.main_log().matches(" daemon started").count() < 2 {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    rig.assert_accepted("u", "secret", &[]);
    rig.assert_accepted("u", "secret", &[ACCOUNT]);
    // Exim's panic log says that the option -C, which tests need, has cost it its privilege.
    let rows = rig.site.rows();
    let flags: Vec<_> = rows.iter().map(|row| (row.auth_ok, row.policy_reject)).collect();
    assert_eq!(flags, [YES; 4]);
}
