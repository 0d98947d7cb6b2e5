//! Processes are stopped at a bad moment, while clients make attempts. Other attempts do not wait
//! for them, and their rows are stored when they are continued or killed.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test code"
)]

mod common;

use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::thread::JoinHandle;
use std::time::Duration;

use common::Base;
use common::Client;
use common::Site;
use common::fault::CLIENTS;
use common::fault::Fault;
use common::fault::LATER;
use common::fault::POLICY;
use common::load::Attempt;
use common::process;
use common::process::Random;
use common::process::signal;
use common::site::GB;
use common::smtp::ACCEPTED;
use mysql::prelude::Queryable;

/// The user whose row the embedded database stores slowly. Meanwhile, nobody else can write.
const SLOW: &str = "u-slow@example.com";
const TRIGGER: &str = "CREATE TRIGGER slow BEFORE INSERT ON connection_log \
    WHEN NEW.username = 'u-slow@example.com' BEGIN \
    SELECT RAISE(ABORT, 'never') FROM (WITH RECURSIVE n(i) AS \
    (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000000) SELECT MAX(i) AS i FROM n) \
    WHERE i < 0; END";

/// Blocks the log's table, so that a process can be stopped in the middle of a row.
enum Blocker {
    Trigger,
    Lock(mysql::Conn),
}

impl Blocker {
    fn on(site: &Site) -> Self {
        match &site.base {
            Base::Sqlite => {
                site.sql(TRIGGER);
                Self::Trigger
            }
            Base::MariaDb(server, name, _) => {
                let mut root = server.root(name);
                root.query_drop("LOCK TABLES connection_log WRITE").unwrap();
                Self::Lock(root)
            }
        }
    }

    /// True if a process is in the middle of a row.
    fn is_blocking(&self, site: &Site) -> bool {
        match &site.base {
            Base::Sqlite => {
                let path = site.path("state/authpolicy.db");
                let connection = rusqlite::Connection::open(path).unwrap();
                connection.busy_timeout(Duration::ZERO).unwrap();
                connection.execute_batch("BEGIN IMMEDIATE; ROLLBACK").is_err()
            }
            Base::MariaDb(server, name, _) => {
                let sql = format!(
                    "SELECT COUNT(*) FROM information_schema.processlist WHERE db = '{name}' \
                     AND state LIKE 'Waiting for table%'"
                );
                server.root("").query_first::<u32, _>(sql).unwrap().unwrap() > 0
            }
        }
    }

    /// Lets a process in the middle of a row go on.
    fn release(self) {
        match self {
            // The trigger delays only the process that runs it.
            Self::Trigger => {}
            Self::Lock(mut root) => root.query_drop("UNLOCK TABLES").unwrap(),
        }
    }
}

/// Changes the time-out: long before a process is stopped, and short for the attempts after that.
fn set_query_timeout(site: &Site, time: &str) {
    let config = site.read("authpolicy.toml");
    let line = config.lines().find(|line| line.starts_with("query_timeout")).unwrap();
    site.write_config(&config.replace(line, &format!("query_timeout = \"{time}\"")));
}

/// Starts an attempt whose row is slow. Its thread returns the reply.
fn begin_attempt(port: u16) -> JoinHandle<Option<String>> {
    std::thread::spawn(move || {
        let mut client = Client::connect_from(port, GB);
        let attempt = AssertUnwindSafe(|| client.plain(SLOW.as_bytes(), b"secret"));
        catch_unwind(attempt).ok().filter(|reply| !reply.is_empty())
    })
}

/// Stops an attempt in the middle of its row, and sends it the signal `end` later.
fn stop_attempt(name: &str, base: Base, end: &str) {
    let site = common::fault::site(base, POLICY);
    set_query_timeout(&site, "20s");
    let exim = site.exim();
    let blocker = Blocker::on(&site);
    let slow = begin_attempt(exim.port);
    process::until("an attempt in the middle of a row", || blocker.is_blocking(&site));
    let stopped = process::children(exim.pid());
    signal(&stopped, "STOP");
    blocker.release();
    set_query_timeout(&site, "500ms");
    let tally = Fault::named(name).run(&site, &exim, |load| {
        load.wait_for_new(2 * CLIENTS);
        signal(&stopped, end);
        let reply = slow.join().unwrap();
        // After KILL, the client has no answer.
        assert_eq!(reply.as_deref(), (end == "CONT").then_some(ACCEPTED), "{}", site.main_log());
        load.add(Attempt { name: SLOW.to_owned(), number: 0, is_right: true, reply });
    });
    assert_eq!(tally.cannot_tell, 0, "a stopped process causes no 435 for others: {tally:?}");
}

#[test]
fn an_attempt_stopped_in_mid_row_and_continued_does_not_affect_others() {
    stop_attempt("attempt stopped during INSERT and continued, SQLite", Base::Sqlite, "CONT");
    stop_attempt("attempt stopped during INSERT and continued, MariaDB", Base::mariadb(), "CONT");
}

#[test]
fn an_attempt_stopped_in_mid_row_and_killed_does_not_affect_others() {
    stop_attempt("attempt stopped during INSERT and killed, SQLite", Base::Sqlite, "KILL");
    stop_attempt("attempt stopped during INSERT and killed, MariaDB", Base::mariadb(), "KILL");
}

/// Stops a delivery in the middle of a row, and sends it the signal `end` later.
fn stop_delivery(name: &str, base: Base, end: &str) {
    let site = common::fault::site(base, &format!("{POLICY}{LATER}"));
    set_query_timeout(&site, "20s");
    let exim = site.exim();
    let reply = begin_attempt(exim.port).join().unwrap();
    assert_eq!(reply.as_deref(), Some(ACCEPTED), "{}", site.main_log());
    let blocker = Blocker::on(&site);
    let mut delivery = common::fault::flush(&site);
    process::until("a delivery in the middle of a row", || blocker.is_blocking(&site));
    signal(&[delivery.id()], "STOP");
    blocker.release();
    site.write_config(&site.read("authpolicy.toml").replace(LATER, ""));
    set_query_timeout(&site, "500ms");
    let tally = Fault::named(name).run(&site, &exim, |load| {
        load.wait_for_new(2 * CLIENTS);
        assert!(
            !site.rows().iter().any(|row| row.username == SLOW),
            "the stopped delivery has not stored its row"
        );
        signal(&[delivery.id()], end);
        delivery.wait().unwrap();
        // The next delivery of this row may be slow, too.
        set_query_timeout(&site, "20s");
        load.add(Attempt { name: SLOW.to_owned(), number: 0, is_right: true, reply });
    });
    assert_eq!((tally.cannot_tell, tally.unanswered), (0, 0), "{tally:?}");
}

#[test]
fn a_delivery_stopped_in_mid_row_and_continued_stores_each_row_once() {
    stop_delivery("`flush` stopped during INSERT and continued, SQLite", Base::Sqlite, "CONT");
    stop_delivery("`flush` stopped during INSERT and continued, MariaDB", Base::mariadb(), "CONT");
}

#[test]
fn a_delivery_stopped_in_mid_row_and_killed_stores_each_row_once() {
    stop_delivery("`flush` stopped during INSERT and killed, SQLite", Base::Sqlite, "KILL");
    stop_delivery("`flush` stopped during INSERT and killed, MariaDB", Base::mariadb(), "KILL");
}

/// Stops about half of the serving processes, at any point of their work.
fn stop_at_random(name: &str, base: Base) {
    let site = common::fault::site(base, POLICY);
    site.write("exim.conf", &format!("log_selector = +pid\n{}", site.read("exim.conf")));
    let exim = site.exim();
    let mut random = Random::new();
    let mut stopped = Vec::new();
    let tally = Fault::named(name).run(&site, &exim, |load| {
        for _ in 0..8 {
            random.pause(60);
            let chosen = random.half(process::children(exim.pid()));
            signal(&chosen, "STOP");
            if chosen.len() < CLIENTS {
                load.wait(CLIENTS / 2);
            }
            signal(&chosen, "CONT");
            stopped.extend(chosen);
        }
    });
    assert!(tally.unanswered == 0 && stopped.len() > CLIENTS, "{stopped:?}, {tally:?}");
    // A stopped process exceeds its time-outs. If it is recovering or emptying the embedded
    // database's WAL, it blocks even readers. If it is hashing, it keeps its slot.
    let effects_on_others = ["is locked by another process", "all accounts.max_parallel_hashes = "];
    let log = site.main_log();
    for line in log.lines().filter(|line| line.contains("status=503")) {
        let pid = line.split(['[', ']']).nth(1).and_then(|pid| pid.parse().ok());
        let was_stopped = pid.is_some_and(|pid| stopped.contains(&pid));
        assert!(
            was_stopped || effects_on_others.iter().any(|cause| line.contains(cause)),
            "{line}"
        );
    }
}

#[test]
fn attempts_stopped_at_random_moments_are_all_answered() {
    stop_at_random("attempts stopped at random and continued, SQLite", Base::Sqlite);
    stop_at_random("attempts stopped at random and continued, MariaDB", Base::mariadb());
}
