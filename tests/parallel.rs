//! At most `accounts.max_parallel_hashes` processes hash at the same time, for any number of clients.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    clippy::panic,
    reason = "test code"
)]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Barrier;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;

use authpolicy::state::slots::Slots;
use common::Base;
use common::Client;
use common::Exim;
use common::Site;
use common::frozen::Frozen;
use common::frozen::children;
use common::frozen::has_open;
use common::frozen::signal;
use common::hashing::ARGON2;
use common::hashing::start;
use common::hashing::stop_while_it_hashes;
use common::limits::NO;
use common::limits::YES;
use common::limits::attempt;
use common::limits::expect_line;
use common::limits::flags;
use common::limits::limit;
use common::site::CN;
use common::site::GB;
use common::smtp::ACCEPTED;
use common::smtp::CANNOT_TELL;
use common::smtp::REFUSED;
use mysql::prelude::Queryable;

const U: &str = "u@example.com";
const ACCEPTED_LINE: &str = "status=204 reason=- rule=- auth_ok=1 policy_reject=0 country=GB";
const CANNOT_TELL_LINE: &str =
    "status=503 reason=internal rule=- auth_ok=- policy_reject=0 country=GB";
const UNKNOWN_LINE: &str = "status=403 reason=account rule=- auth_ok=0 policy_reject=0 country=GB";

/// A site with an account that is slow to hash, this setting of the slots, and this time to wait
/// for one.
fn site(base: Base, slots: &str, timeout: &str, policy: &str) -> Site {
    let policy = format!("[policy]\nfailure_time = \"0s\"\nhash_nonce = \"x\"\n{policy}");
    let site = Site::new(base, &policy);
    site.account(U, "test");
    site.sql(&format!("UPDATE account SET password = '{ARGON2}'"));
    let config = site.read("authpolicy.toml");
    let config = config.replace("[accounts]\n", &format!("[accounts]\n{slots}\n"));
    let timeout = format!("attempt_timeout = \"{timeout}\"\n[state]\n");
    site.write_config(&config.replace("[state]\n", &timeout));
    site
}

/// Checks that an attempt is accepted. The first one creates the file of the slots.
fn accept(site: &Site, exim: &Exim) {
    assert_eq!(attempt(exim, GB, U, "test"), ACCEPTED, "{}", site.main_log());
    expect_line(site, ACCEPTED_LINE);
    assert_eq!(flags(site), (YES, NO));
}

/// Takes this many slots, as Exim's processes do.
fn take_slots(site: &Site, count: u32) -> Vec<Slots> {
    let held = (0..count).map(|_| Slots::open(&site.path("state"), Some(count)).unwrap());
    held.inspect(|slots| assert!(slots.take().unwrap(), "the slot is free")).collect()
}

/// Waits until Exim has no child, so that no slot is taken.
fn wait_for_children(exim: &Exim) {
    while !children(exim.pid()).is_empty() {
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_flood_of_unknown_names_uses_no_more_than_max_parallel_hashes() {
    const CLIENTS: usize = 40;
    for base in Base::all() {
        let site = site(base, "max_parallel_hashes = 2", "30s", "");
        let exim = site.exim();
        accept(&site, &exim);
        let (port, barrier) = (exim.port, Arc::new(Barrier::new(CLIENTS)));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let barrier = Arc::clone(&barrier);
                thread::spawn(move || {
                    let name = format!("nobody{number}@example.com");
                    let mut client = Client::connect_from(port, GB);
                    barrier.wait();
                    (client.plain(name.as_bytes(), b"guess"), name)
                })
            })
            .collect();
        let mut max_hashing = 0;
        while !clients.iter().all(JoinHandle::is_finished) {
            let frozen = Frozen::new(exim.pid());
            max_hashing = max_hashing.max(frozen.hashing().len());
            drop(frozen);
            // Lets the clients make progress.
            thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(max_hashing, 2, "as many as allowed, and no more");
        let mut want = BTreeMap::from([(U.to_owned(), (YES, NO))]);
        for client in clients {
            let (reply, name) = client.join().unwrap();
            assert!([REFUSED, CANNOT_TELL].contains(&&*reply), "{reply}");
            want.insert(name, if reply == REFUSED { (NO, NO) } else { (None, NO) });
        }
        let rows = site.rows();
        assert_eq!(rows.len(), CLIENTS + 1, "one row each");
        let got = rows.into_iter().map(|row| (row.username, (row.auth_ok, row.policy_reject)));
        assert_eq!(got.collect::<BTreeMap<_, _>>(), want);
        let lines = site.lines();
        assert_eq!(lines.len(), CLIENTS + 1, "one line each");
        let full = lines.iter().filter(|line| line.contains("status=503"));
        assert!(full.clone().all(|line| line.contains("max_parallel_hashes = 2")), "{lines:?}");
        let unknown = lines.iter().filter(|line| line.contains(UNKNOWN_LINE)).count();
        assert!(unknown > 0 && unknown + full.count() == CLIENTS, "{lines:?}");
        accept(&site, &exim);
        assert_eq!(site.panic_log(), "");
    }
}

/// Known and unknown names get 435, and no attempt counts as a guess.
#[test]
fn an_attempt_without_a_slot_is_435_and_not_a_guess() {
    for base in Base::all() {
        let limits = limit("guessing", "remote", "failures", 1);
        let site = site(base, "max_parallel_hashes = 3", "2s", &limits);
        // One of the account's several stored passwords cannot be read. A password that was
        // compared with the others is a guess.
        let query = common::site::QUERY;
        let both = query.replace("SELECT password", "SELECT '{NO-SUCH}x' AS password");
        let config = site.read("authpolicy.toml");
        site.write_config(&config.replace(query, &format!("{query} UNION ALL {both}")));
        let exim = site.exim();
        accept(&site, &exim);
        wait_for_children(&exim);
        let held = take_slots(&site, 3);
        for (name, password) in [(U, "test"), (U, "wrong"), ("nobody@example.com", "test")] {
            assert_eq!(attempt(&exim, GB, name, password), CANNOT_TELL, "{name} {password}");
            expect_line(&site, CANNOT_TELL_LINE);
            let line = site.lines().pop().unwrap();
            assert!(line.contains("hash-slots: all accounts.max_parallel_hashes = 3"), "{line}");
            assert_eq!(flags(&site), (None, NO), "{name} {password}");
        }
        let output = site.run_tool(&["test", U, GB], "test");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.code() == Some(2) && text.contains("max_parallel_hashes = 3"),
            "{text}"
        );
        drop(held);
        accept(&site, &exim);
        assert_eq!(site.rows().len(), 5);
        assert!(site.tool(&["test", U, GB], "test").contains("fact.password=right"));
    }
}

/// A client that keeps the slots busy must not learn from the answers to cheap hashes which
/// password is right.
#[test]
fn a_right_password_in_clear_waits_for_a_slot_as_a_wrong_one_does() {
    let site = site(Base::Sqlite, "max_parallel_hashes = 1", "2s", "");
    let exim = site.exim();
    accept(&site, &exim);
    wait_for_children(&exim);
    site.sql("UPDATE account SET password = '{PLAIN}test'");
    let held = take_slots(&site, 1);
    for password in ["test", "wrong"] {
        assert_eq!(attempt(&exim, GB, U, password), CANNOT_TELL, "{password}");
        expect_line(&site, CANNOT_TELL_LINE);
        assert!(site.lines().pop().unwrap().contains("max_parallel_hashes = 1"), "{password}");
        assert_eq!(flags(&site), (None, NO), "{password}");
    }
    drop(held);
    accept(&site, &exim);
}

#[test]
fn an_attempt_that_is_refused_anyway_does_not_wait_for_a_slot() {
    let policy = "deny_countries = [\"CN\"]";
    let site = site(Base::Sqlite, "max_parallel_hashes = 1", "50s", policy);
    let exim = site.exim();
    accept(&site, &exim);
    wait_for_children(&exim);
    let refused = |remote, auth_ok: Option<bool>| {
        assert_eq!(attempt(&exim, remote, U, "test"), REFUSED);
        assert_eq!(flags(&site), (auth_ok, YES), "{:?}", site.lines());
    };
    refused(CN, YES);
    let held = take_slots(&site, 1);
    refused(CN, None);
    expect_line(
        &site,
        "status=403 reason=policy rule=policy.deny_countries auth_ok=- policy_reject=1 country=CN",
    );
    site.sql("UPDATE account SET active = 0");
    refused(GB, None);
    expect_line(
        &site,
        "status=403 reason=disabled rule=account.disabled auth_ok=- policy_reject=1 country=GB",
    );
    drop(held);
    refused(GB, YES);
}

#[test]
fn an_attempt_that_waits_for_a_slot_holds_no_database_connection() {
    let site = site(Base::mariadb(), "max_parallel_hashes = 1", "50s", "");
    let exim = site.exim();
    accept(&site, &exim);
    wait_for_children(&exim);
    let Base::MariaDb(server, name, _) = &site.base else { panic!("a server") };
    let sql = format!("SELECT COUNT(*) FROM information_schema.processlist WHERE db = '{name}'");
    let held = take_slots(&site, 1);
    let file = site.path("state/hash-slots");
    let client = start(&exim, U, "test");
    while !children(exim.pid()).iter().any(|pid| has_open(*pid, &file)) {
        assert!(!client.is_finished(), "{}", site.main_log());
        thread::sleep(Duration::from_millis(5));
    }
    let mut left: u32 = 1;
    while left > 0 && !client.is_finished() {
        left = server.root("").query_first(&sql).unwrap().unwrap();
        thread::sleep(Duration::from_millis(20));
    }
    assert!(left == 0 && !client.is_finished(), "{}", site.main_log());
    drop(held);
    assert_eq!(client.join().unwrap(), ACCEPTED, "{}", site.main_log());
    assert_eq!(flags(&site), (YES, NO));
}

#[test]
fn a_stopped_process_keeps_only_its_own_slot_and_a_killed_one_frees_it() {
    for (slots, reply) in [(1, CANNOT_TELL), (2, ACCEPTED)] {
        let setting = format!("max_parallel_hashes = {slots}");
        let site = site(Base::Sqlite, &setting, "2s", "");
        let exim = site.exim();
        accept(&site, &exim);
        let (stopped, client) = stop_while_it_hashes(&site, &exim, U, "test");
        for _ in 0..3 {
            assert_eq!(attempt(&exim, GB, U, "test"), reply, "{setting}: {}", site.main_log());
        }
        signal("KILL", &[stopped]);
        // The connection of the killed process breaks, with an error or as an end of input.
        assert_ne!(client.join().ok().as_deref(), Some(ACCEPTED));
        wait_for_children(&exim);
        drop(take_slots(&site, slots));
        accept(&site, &exim);
    }
}
