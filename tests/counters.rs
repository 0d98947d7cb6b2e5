//! The counters of limits on both servers: the states that an attempt reads, its locks, and pruning.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    reason = "test code"
)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use authpolicy::policy::Action;
use authpolicy::policy::Count;
use authpolicy::policy::Limit;
use authpolicy::policy::Per;
use authpolicy::tables::counters;
use authpolicy::tables::counters::AttemptLimits;
use authpolicy::tables::counters::Clock;
use authpolicy::tables::counters::Counter;
use authpolicy::tables::counters::Reserved;
use authpolicy::tables::counters::State;
use authpolicy::tables::counters::Subject;
use common::MariaDb;
use mysql::Conn;
use mysql::prelude::Queryable;

/// The time of each look, in milliseconds since 1970, and the end of entries that are added then.
const NOW: i64 = 2_000_000_000_000;
const END: i64 = NOW + 600_000;
const CLOCK: Clock = Clock { now: NOW, lease: 30_000 };

/// A database with the plugin's tables.
fn database(server: &MariaDb) -> (String, Conn) {
    let name = server.database();
    let mut root = server.root(&name);
    for schema in ["count", "seen"] {
        let path = format!("{}/src/store/schema/{schema}.mysql.sql", env!("CARGO_MANIFEST_DIR"));
        root.query_drop(std::fs::read_to_string(path).unwrap()).unwrap();
    }
    (name, root)
}

/// The counter of `guessing` for this account, for an attempt with the password `own`.
fn counter(account: &str, max: u32) -> Counter {
    let limit = Limit {
        name: Arc::from("guessing"),
        per: Per::Account,
        count: Count::Passwords,
        max,
        within: Duration::from_secs(600),
        action: Action::Reject,
    };
    let subject = Subject { account, remote: "192.0.2.1", country: "GB", pwhash: "own" };
    AttemptLimits::new().unwrap().counter(&limit, &subject)
}

fn add(root: &mut Conn, account: &str, value: &str, id: &str, expires: i64) {
    let sql = "INSERT INTO authpolicy_count VALUES ('guessing', ?, '', ?, ?, ?)";
    root.exec_drop(sql, (account, value, id, expires)).unwrap();
}

#[test]
fn states_are_those_of_the_entries() {
    const A: &str = "00112233445566aa";
    const KEYS: &str = "~0112233445566aa";
    let many: Vec<String> = (0..300).map(|id| format!("{id:016x}")).collect();
    let same: Vec<_> = many.iter().map(|id| ("a", &**id, END)).collect();
    let with = |entry| same.iter().copied().chain([entry]).collect::<Vec<_>>();
    let cases = [
        ("no entry", 2, vec![], State::Available),
        ("a lock", 1, vec![("", "", END)], State::Available),
        ("failures", 2, vec![("a", "", END), ("own", "", END)], State::Reached),
        ("expired", 1, vec![("a", "", NOW)], State::Available),
        ("just alive", 1, vec![("a", "", NOW + 1)], State::Reached),
        ("of a wrong clock", 1, vec![("a", "", NOW + 1_200_000)], State::Available),
        ("known", 2, vec![("own", "", END), ("own", A, END - 40_000)], State::Known(END)),
        ("tried", 1, vec![("a", A, END)], State::Full),
        ("tried by itself", 1, vec![("own", A, END)], State::Available),
        ("after its lease", 1, vec![("a", A, END - 30_000)], State::Reached),
        ("just in its lease", 1, vec![("a", A, END - 29_999)], State::Full),
        ("of a clock ahead", 1, vec![("a", A, END + 20_001)], State::Reached),
        ("keys after their lease", 1, vec![("a", KEYS, END - 40_000)], State::Full),
        ("many of one value", 2, same.clone(), State::Available),
        ("many of one value, and its own", 2, with(("own", "", END + 1)), State::Known(END + 1)),
        ("many of one value, and another", 2, with(("b", A, END + 1)), State::Full),
        ("many of one value, and more", 1, with(("b", "", END + 1)), State::Reached),
    ];
    assert!(cases.len() > 16, "more than one statement is about");
    for server in [MariaDb::start(), common::mysql::start()] {
        let (name, mut root) = database(&server);
        // Entries of others stand before, between and behind those of the counters.
        for other in ["", "zz"] {
            add(&mut root, other, "a", "", END);
            add(&mut root, other, "own", "", END);
        }
        root.query_drop("START TRANSACTION").unwrap();
        for (account, _, entries, _) in &cases {
            for (value, id, expires) in entries {
                add(&mut root, account, value, id, *expires);
            }
        }
        root.query_drop("COMMIT").unwrap();
        let all: Vec<_> = cases.iter().map(|(account, max, ..)| counter(account, *max)).collect();
        let all: Vec<_> = all.iter().collect();
        let mut store = server.store(&name, Duration::from_secs(2));
        let states = counters::read_states(&mut store, &all, CLOCK).unwrap();
        for ((account, _, _, want), state) in cases.iter().zip(&states) {
            assert_eq!(state, want, "{account}");
        }
        assert_eq!(states.len(), cases.len());
    }
}

/// The end of the lock of an account's counter, if there is a lock.
fn lock(root: &mut Conn, account: &str) -> Option<i64> {
    let sql = "SELECT expires FROM authpolicy_count WHERE account = ? AND value = ''";
    root.exec_first(sql, (account,)).unwrap()
}

/// An attempt whose value has failed before writes nothing but the lock. A lock that is new is
/// committed all the same: other attempts that wait for it could end each other by deadlocks.
#[test]
fn a_lock_is_committed_if_it_is_new_and_rolled_back_if_it_is_not() {
    for server in [MariaDb::start(), common::mysql::start()] {
        let (name, mut root) = database(&server);
        let mut store = server.store(&name, Duration::from_secs(2));
        add(&mut root, "u", "own", "", END);
        let mut reserve = |now: i64| {
            let mut attempt_limits = AttemptLimits::new().unwrap();
            attempt_limits.add_counter(counter("u", 2));
            let clock = Clock { now, ..CLOCK };
            let guess = counters::Purpose::Guess;
            counters::reserve(&mut store, &mut attempt_limits, guess, clock).unwrap()
        };
        assert!(matches!(reserve(NOW), Reserved::Yes));
        let committed = lock(&mut root, "u");
        assert!(committed.is_some());
        assert!(matches!(reserve(NOW + 1000), Reserved::Yes));
        assert_eq!(lock(&mut root, "u"), committed, "rolled back");
        let entries: i64 =
            root.query_first("SELECT COUNT(*) FROM authpolicy_count").unwrap().unwrap();
        assert_eq!(entries, 2, "the failure and the lock");
    }
}

/// A DELETE of a range would wait for entries between those that have expired.
#[test]
fn pruning_does_not_wait_for_a_live_entry() {
    for server in [MariaDb::start(), common::mysql::start()] {
        let (name, mut root) = database(&server);
        let mut store = server.store(&name, Duration::from_secs(2));
        let expired = NOW - 3_600_000;
        for account in ["a", "c", "e"] {
            add(&mut root, account, "own", "", expired);
        }
        for account in ["b", "d"] {
            add(&mut root, account, "own", "", END);
        }
        let mut other = server.root(&name);
        other.query_drop("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").unwrap();
        other.query_drop("START TRANSACTION").unwrap();
        let held = "UPDATE authpolicy_count SET expires = expires + 1 WHERE rule = 'guessing' \
                    AND account IN ('b', 'd') AND remote = '' AND value = 'own' AND attempt = ''";
        other.query_drop(held).unwrap();
        assert_eq!(counters::prune(&mut store, NOW).unwrap(), 3);
        other.query_drop("COMMIT").unwrap();
        let left: Vec<String> =
            root.query("SELECT account FROM authpolicy_count ORDER BY account").unwrap();
        assert_eq!(left, ["b", "d"]);
    }
}
