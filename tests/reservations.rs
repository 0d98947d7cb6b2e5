//! Attempts in progress under limits, in a real Exim, on both databases: a right password is never
//! refused because others log in at the same moment, and many guesses at once get no more answers
//! than the limit.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    clippy::panic,
    reason = "test code"
)]

mod common;

use std::thread;
use std::time::Duration;

use authpolicy::state::slots::Slots;
use common::Base;
use common::Client;
use common::hashing::ARGON2;
use common::hashing::start;
use common::limits::ENTRIES;
use common::limits::LIMITED;
use common::limits::NO;
use common::limits::NONE_KNOWN_GOOD;
use common::limits::RESERVATIONS;
use common::limits::YES;
use common::limits::attempt;
use common::limits::attempt_together;
use common::limits::expect_line;
use common::limits::expect_rows;
use common::limits::flags;
use common::limits::limit;
use common::limits::make_hashes_slow;
use common::limits::site;
use common::limits::wait_at_most;
use common::site::CN;
use common::site::GB;
use common::smtp::ACCEPTED;
use common::smtp::CANNOT_TELL;
use common::smtp::REFUSED;
use mysql::prelude::Queryable;

const U: &str = "u@example.com";

#[test]
fn an_office_logs_in_at_once_behind_one_address() {
    const USERS: usize = 25;
    for base in Base::all() {
        let site = site(base, NONE_KNOWN_GOOD, &[limit("spraying", "remote", "accounts", 10)]);
        for number in 0..USERS {
            let sql = format!(
                "INSERT INTO account (username, password) \
                 SELECT 'u{number}@example.com', password FROM account WHERE username = '{U}'"
            );
            site.sql(&sql);
        }
        make_hashes_slow(&site);
        wait_at_most(&site, "60s");
        let exim = site.exim();
        let credentials = |number| (format!("u{number}@example.com"), String::from("secret"));
        let replies = attempt_together(&exim, USERS, credentials);
        assert_eq!(replies, vec![ACCEPTED; USERS], "{:?}", site.lines());
        expect_rows(&site, USERS, (YES, NO));
        expect_line(&site, "status=204 reason=- rule=- auth_ok=1 policy_reject=0 country=GB");
        assert_eq!(site.count(ENTRIES), 0);
        // Ten failures still reach the limit.
        let credentials = |number| (format!("u{number}@example.com"), String::from("wrong"));
        let replies = attempt_together(&exim, USERS, credentials);
        assert_eq!(replies, vec![REFUSED; USERS], "{:?}", site.lines());
        let rows = site.rows();
        let hashed = rows.iter().filter(|row| row.auth_ok == NO).count();
        assert_eq!((rows.len(), hashed), (2 * USERS, 10), "{:?}", site.lines());
        assert_eq!(attempt(&exim, GB, "u24@example.com", "secret"), REFUSED);
        assert_eq!(flags(&site), LIMITED);
        assert_eq!(site.panic_log(), "");
    }
}

#[test]
fn one_user_logs_in_with_many_connections_at_once() {
    const CONNECTIONS: usize = 8;
    let cases = Base::all().into_iter().zip([(3, 2), (10, 9)]);
    for (base, (max, failed)) in cases {
        let limits = [limit("guessing", "account", "failures", max)];
        let site = site(base, NONE_KNOWN_GOOD, &limits);
        make_hashes_slow(&site);
        wait_at_most(&site, "60s");
        let exim = site.exim();
        let right = |_| (U.to_owned(), String::from("secret"));
        let replies = attempt_together(&exim, CONNECTIONS, right);
        assert_eq!(replies, vec![ACCEPTED; CONNECTIONS], "{:?}", site.lines());
        expect_rows(&site, CONNECTIONS, (YES, NO));
        assert_eq!(site.count(ENTRIES), 0);
        // Now there is room for one attempt at a time.
        for _ in 0..failed {
            assert_eq!(attempt(&exim, GB, U, "wrong"), REFUSED);
            assert_eq!(flags(&site), (NO, NO));
        }
        let replies = attempt_together(&exim, CONNECTIONS, right);
        assert_eq!(replies, vec![ACCEPTED; CONNECTIONS], "{:?}", site.lines());
        expect_rows(&site, CONNECTIONS, (YES, NO));
        assert_eq!((site.count(ENTRIES), site.count(RESERVATIONS)), (failed, 0));
    }
}

/// The locks of both accounts are taken in a fixed order, so that there is no deadlock.
#[test]
fn two_accounts_that_are_aliases_of_each_other_log_in_at_once() {
    const CLIENTS: usize = 12;
    for base in Base::all() {
        let limits = [limit("guessing", "account", "failures", 3)];
        let site = site(base, NONE_KNOWN_GOOD, &limits);
        make_hashes_slow(&site);
        let query = "SELECT password, CASE username WHEN 'u@example.com' THEN 'v@example.com' \
                     ELSE 'u@example.com' END AS username FROM account WHERE username = :user";
        site.write_config(&site.read("authpolicy.toml").replace(common::site::QUERY, query));
        wait_at_most(&site, "60s");
        let exim = site.exim();
        let deadlocks = || match &site.base {
            Base::Sqlite => 0,
            Base::MariaDb(server, name, _) => {
                let sql = "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS \
                           WHERE VARIABLE_NAME = 'Innodb_deadlocks'";
                server.root(name).query_first::<u64, _>(sql).unwrap().unwrap()
            }
        };
        let before = deadlocks();
        let credentials = |number: usize| {
            (["u@example.com", "v@example.com"][number % 2].to_owned(), String::from("secret"))
        };
        let replies = attempt_together(&exim, CLIENTS, credentials);
        assert_eq!(replies, vec![ACCEPTED; CLIENTS], "{:?}", site.lines());
        expect_rows(&site, CLIENTS, (YES, NO));
        assert_eq!((deadlocks(), site.count(ENTRIES)), (before, 0));
        // A failure counts for both names.
        assert_eq!(attempt(&exim, GB, U, "wrong"), REFUSED);
        assert_eq!(
            site.count("SELECT COUNT(DISTINCT account) FROM authpolicy_count WHERE value <> ''"),
            2
        );
    }
}

#[test]
fn an_attempt_that_waits_for_a_slot_reserves_nothing() {
    for base in Base::all() {
        let site = site(base, NONE_KNOWN_GOOD, &[limit("guessing", "account", "failures", 3)]);
        let config = site.read("authpolicy.toml");
        site.write_config(&config.replace("[accounts]\n", "[accounts]\nmax_parallel_hashes = 1\n"));
        wait_at_most(&site, "3s");
        let exim = site.exim();
        assert_eq!(attempt(&exim, GB, U, "secret"), ACCEPTED, "{}", site.main_log());
        expect_rows(&site, 1, (YES, NO));
        let held = Slots::open(&site.path("state"), Some(1)).unwrap();
        while !held.take().unwrap() {
            thread::sleep(Duration::from_millis(5));
        }
        let _open = site.keep_open();
        let waiting = start(&exim, U, "secret");
        let mut max_reservations = 0;
        while !waiting.is_finished() {
            max_reservations = max_reservations.max(site.count(RESERVATIONS));
            thread::sleep(Duration::from_millis(20));
        }
        assert_eq!((max_reservations, &*waiting.join().unwrap()), (0, CANNOT_TELL));
        expect_line(
            &site,
            "status=503 reason=internal rule=- auth_ok=- policy_reject=0 country=GB",
        );
        let line = site.lines().pop().unwrap();
        assert!(line.contains("max_parallel_hashes = 1 were taken"), "{line}");
        assert_eq!(flags(&site), (None, NO));
        drop(held);
        assert_eq!(attempt(&exim, GB, U, "secret"), ACCEPTED);
        assert_eq!(site.count(ENTRIES), 0);
    }
}

/// An attempt makes its reservation after its delay. The delay itself reserves nothing.
#[test]
fn an_attempt_reserves_nothing_during_its_delay() {
    for base in Base::all() {
        let delay = limit("slow", "remote", "failures", 1) + "action = \"delay\"\ndelay = \"3s\"\n";
        let site =
            site(base, NONE_KNOWN_GOOD, &[delay, limit("guessing", "account", "failures", 5)]);
        let exim = site.exim();
        assert_eq!(attempt(&exim, GB, U, "secret"), ACCEPTED, "{}", site.main_log());
        assert_eq!(site.count(ENTRIES), 0);
        assert_eq!(attempt(&exim, GB, U, "wrong"), REFUSED);
        assert_eq!((site.count(ENTRIES), site.count(RESERVATIONS)), (2, 0), "one with each limit");
        let started = std::time::Instant::now();
        let waiting = start(&exim, U, "secret");
        while started.elapsed() < Duration::from_secs(1) {
            assert_eq!(site.count(RESERVATIONS), 0, "{:?}", site.lines());
            thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(waiting.join().unwrap(), ACCEPTED);
        assert!(started.elapsed() >= Duration::from_secs(3), "the attempt was delayed");
        expect_rows(&site, 1, (YES, NO));
        assert_eq!((site.count(ENTRIES), site.count(RESERVATIONS)), (2, 0));
    }
}

/// An attempt that is refused with any password takes no room from the account's owner.
#[test]
fn an_attempt_from_a_refused_country_reserves_nothing() {
    for base in Base::all() {
        let policy = format!("{NONE_KNOWN_GOOD}\ndeny_countries = [\"CN\"]");
        let site = site(base, &policy, &[limit("guessing", "account", "failures", 1)]);
        site.sql(&format!("UPDATE account SET password = '{ARGON2}'"));
        wait_at_most(&site, "2s");
        let exim = site.exim();
        assert_eq!(attempt(&exim, GB, U, "test"), ACCEPTED, "{}", site.main_log());
        let (port, done) = (exim.port, std::sync::atomic::AtomicBool::new(false));
        let _open = site.keep_open();
        thread::scope(|scope| {
            let refused = scope.spawn(|| {
                let mut replies = Vec::new();
                for _ in 0..5 {
                    replies.push(Client::connect_from(port, CN).plain(U.as_bytes(), b"guess"));
                }
                done.store(true, std::sync::atomic::Ordering::Relaxed);
                replies
            });
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                assert_eq!(site.count(ENTRIES), 0);
                thread::sleep(Duration::from_millis(5));
            }
            assert_eq!(refused.join().unwrap(), vec![REFUSED; 5], "{}", site.main_log());
        });
        expect_rows(&site, 5, (NO, YES));
        assert_eq!(attempt(&exim, GB, U, "test"), ACCEPTED);
    }
}

/// Entries of an early 0.1.0, in which a failed attempt kept its entry.
#[test]
fn entries_of_the_former_release_are_read() {
    for base in Base::all() {
        let limits = [limit("guessing", "account", "failures", 2)];
        let site = site(base, NONE_KNOWN_GOOD, &limits);
        wait_at_most(&site, "2s");
        let exim = site.exim();
        assert_eq!(attempt(&exim, GB, U, "secret"), ACCEPTED, "{}", site.main_log());
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let now = i64::try_from(now.as_millis()).unwrap();
        let add = |attempt: &str, age: i64| {
            let expires = now - age * 1000 + 600_000;
            site.sql(&format!(
                "INSERT INTO authpolicy_count (rule, account, remote, value, attempt, expires) \
                 VALUES ('guessing', '{U}', '', '{attempt}', '{attempt}', {expires})"
            ));
        };
        // One attempt in progress, and one that failed a minute ago: there is no room left, but no
        // refusal.
        add("00112233445566aa", 0);
        add("00112233445566bb", 60);
        assert_eq!(attempt(&exim, GB, U, "secret"), CANNOT_TELL);
        expect_line(
            &site,
            "status=503 reason=internal rule=guessing auth_ok=- policy_reject=0 country=GB",
        );
        site.sql("DELETE FROM authpolicy_count WHERE attempt = '00112233445566aa'");
        assert_eq!(attempt(&exim, GB, U, "secret"), ACCEPTED);
        // Two failures reach the limit.
        add("00112233445566cc", 60);
        assert_eq!(attempt(&exim, GB, U, "secret"), REFUSED);
        assert_eq!(flags(&site), LIMITED);
    }
}

/// `within` was thirty days, and is ten minutes now. A value that failed under the old setting
/// counts again when it fails again.
#[test]
fn a_failure_under_a_longer_time_counts_again_when_it_fails_again() {
    for base in Base::all() {
        let site = site(base, NONE_KNOWN_GOOD, &[limit("spraying", "remote", "accounts", 1)]);
        let exim = site.exim();
        assert_eq!(attempt(&exim, GB, "v@example.com", "secret"), ACCEPTED, "{}", site.main_log());
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let expires = now.as_millis() + 29 * 24 * 3_600_000;
        site.sql(&format!(
            "INSERT INTO authpolicy_count (rule, account, remote, value, attempt, expires) \
             VALUES ('spraying', '', '{GB}', '{U}', '', {expires})"
        ));
        assert_eq!(attempt(&exim, GB, U, "wrong"), REFUSED);
        assert_eq!(flags(&site), (NO, NO));
        assert_eq!(attempt(&exim, GB, "v@example.com", "secret"), REFUSED);
        assert_eq!(flags(&site), LIMITED);
    }
}

/// Checking a counter with a million entries costs no more than checking one with a few.
#[test]
fn checking_a_limit_reads_a_bounded_number_of_entries() {
    const ROWS_READ: &str = "SELECT CAST(SUM(VARIABLE_VALUE) AS UNSIGNED) FROM information_schema.GLOBAL_STATUS \
                             WHERE VARIABLE_NAME IN ('HANDLER_READ_NEXT', 'HANDLER_READ_RND_NEXT', 'HANDLER_READ_KEY')";
    let server = std::sync::Arc::new(common::MariaDb::start());
    let name = server.database();
    let url = server.url(&name);
    let delay = |name: &str, count: &str| {
        limit(name, "remote", count, 5) + "action = \"delay\"\ndelay = \"1ms\"\n"
    };
    let base = Base::MariaDb(std::sync::Arc::clone(&server), name, url);
    let limits = [
        delay("slow", "failures"),
        delay("slower", "accounts"),
        limit("guessing", "account", "passwords", 5),
    ];
    let site = site(base, NONE_KNOWN_GOOD, &limits);
    let exim = site.exim();
    let cost = || {
        let read = || server.root("").query_first::<u64, _>(ROWS_READ).unwrap().unwrap();
        let before = read();
        assert_eq!(attempt(&exim, GB, U, "secret"), ACCEPTED, "{:?}", site.lines());
        expect_rows(&site, 1, (YES, NO));
        read() - before
    };
    let few = cost();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let expires = now.as_millis() + 300_000;
    for (rule, attempt) in [("slow", "''"), ("slower", "''"), ("slow", "HEX(seq)")] {
        site.sql(&format!(
            "INSERT IGNORE INTO authpolicy_count (rule, account, remote, value, attempt, expires) \
             SELECT '{rule}', '', '{GB}', CONCAT('value', seq), {attempt}, {expires} FROM seq_1_to_350000"
        ));
    }
    let many = cost();
    assert!(many < few + 200, "{few} before, {many} with a million entries");
}
