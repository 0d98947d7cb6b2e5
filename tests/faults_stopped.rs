//! Processes are stopped at a bad moment, under clients: nobody else waits for them, and their rows
//! come when they are continued or killed.
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
use common::process::Dice;
use common::process::signal;
use common::site::GB;
use common::smtp::ACCEPTED;
use mysql::prelude::Queryable;

/// Whose row takes the embedded database long: while it does, nobody else writes.
const SLOW: &str = "u-slow@example.com";
const TRIGGER: &str = "CREATE TRIGGER slow BEFORE INSERT ON connection_log \
    WHEN NEW.username = 'u-slow@example.com' BEGIN \
    SELECT RAISE(ABORT, 'never') FROM (WITH RECURSIVE n(i) AS \
    (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000000) SELECT MAX(i) AS i FROM n) \
    WHERE i < 0; END";

/// What holds the log's table until it is dropped, so that processes are in the middle of a row.
enum Hold {
    Trigger,
    Lock(mysql::Conn),
}

impl Hold {
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

    /// Whether somebody is in the middle of a row.
    fn has_caught(&self, site: &Site) -> bool {
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

    /// Who is in the middle of a row goes on, if it can.
    fn release(self) {
        match self {
            // It is of who has begun it alone.
            Self::Trigger => {}
            Self::Lock(mut root) => root.query_drop("UNLOCK TABLES").unwrap(),
        }
    }
}

/// Changes a time-out: what is stopped should not run into it before, nor others wait for long.
fn set_query_timeout(site: &Site, time: &str) {
    let config = site.read("authpolicy.toml");
    let line = config.lines().find(|line| line.starts_with("query_timeout")).unwrap();
    site.write_config(&config.replace(line, &format!("query_timeout = \"{time}\"")));
}

/// A client whose row is slow.
fn begin_attempt(port: u16) -> JoinHandle<Option<String>> {
    std::thread::spawn(move || {
        let mut client = Client::connect_from(port, GB);
        let attempt = AssertUnwindSafe(|| client.plain(SLOW.as_bytes(), b"secret"));
        catch_unwind(attempt).ok().filter(|reply| !reply.is_empty())
    })
}

/// An attempt is stopped in the middle of its row; then this signal ends that.
fn stop_attempt(name: &str, base: Base, end: &str) {
    let site = common::fault::site(base, POLICY);
    set_query_timeout(&site, "20s");
    let exim = site.exim();
    let hold = Hold::on(&site);
    let slow = begin_attempt(exim.port);
    process::until("an attempt in the middle of a row", || hold.has_caught(&site));
    let stopped = process::children(exim.pid());
    signal(&stopped, "STOP");
    hold.release();
    set_query_timeout(&site, "500ms");
    let tally = Fault::named(name).play(&site, &exim, |load| {
        load.meanwhile(2 * CLIENTS);
        signal(&stopped, end);
        let reply = slow.join().unwrap();
        // A client that is answered is answered well: nobody else was.
        assert_eq!(reply.as_deref(), (end == "CONT").then_some(ACCEPTED), "{}", site.main_log());
        load.add(Attempt { name: SLOW.to_owned(), number: 0, is_right: true, reply });
    });
    assert_eq!(tally.cannot_tell, 0, "somebody else's stop is no reason: {tally:?}");
}

#[test]
fn an_attempt_is_stopped_in_the_middle_of_its_row_and_continued() {
    stop_attempt("attempt stopped during INSERT and continued, SQLite", Base::Sqlite, "CONT");
    stop_attempt("attempt stopped during INSERT and continued, MariaDB", Base::mariadb(), "CONT");
}

#[test]
fn an_attempt_is_stopped_in_the_middle_of_its_row_and_killed() {
    stop_attempt("attempt stopped during INSERT and killed, SQLite", Base::Sqlite, "KILL");
    stop_attempt("attempt stopped during INSERT and killed, MariaDB", Base::mariadb(), "KILL");
}

/// A delivery is stopped in the middle of a row; then this signal ends that.
fn stop_delivery(name: &str, base: Base, end: &str) {
    let site = common::fault::site(base, &format!("{POLICY}{LATER}"));
    set_query_timeout(&site, "20s");
    let exim = site.exim();
    let reply = begin_attempt(exim.port).join().unwrap();
    assert_eq!(reply.as_deref(), Some(ACCEPTED), "{}", site.main_log());
    let hold = Hold::on(&site);
    let mut delivery = common::fault::flush(&site);
    process::until("a delivery in the middle of a row", || hold.has_caught(&site));
    signal(&[delivery.id()], "STOP");
    hold.release();
    site.write_config(&site.read("authpolicy.toml").replace(LATER, ""));
    set_query_timeout(&site, "500ms");
    let tally = Fault::named(name).play(&site, &exim, |load| {
        load.meanwhile(2 * CLIENTS);
        assert!(!site.rows().iter().any(|row| row.username == SLOW), "it is not through");
        signal(&[delivery.id()], end);
        delivery.wait().unwrap();
        // Whoever delivers it now may find it slow.
        set_query_timeout(&site, "20s");
        load.add(Attempt { name: SLOW.to_owned(), number: 0, is_right: true, reply });
    });
    assert_eq!((tally.cannot_tell, tally.unanswered), (0, 0), "{tally:?}");
}

#[test]
fn a_delivery_is_stopped_in_the_middle_of_a_row_and_continued() {
    stop_delivery("`flush` stopped during INSERT and continued, SQLite", Base::Sqlite, "CONT");
    stop_delivery("`flush` stopped during INSERT and continued, MariaDB", Base::mariadb(), "CONT");
}

#[test]
fn a_delivery_is_stopped_in_the_middle_of_a_row_and_killed() {
    stop_delivery("`flush` stopped during INSERT and killed, SQLite", Base::Sqlite, "KILL");
    stop_delivery("`flush` stopped during INSERT and killed, MariaDB", Base::mariadb(), "KILL");
}

/// About half of those that serve clients are stopped, wherever they are; nobody else may notice.
fn stop_at_random(name: &str, base: Base) {
    let site = common::fault::site(base, POLICY);
    site.write("exim.conf", &format!("log_selector = +pid\n{}", site.read("exim.conf")));
    let exim = site.exim();
    let mut dice = Dice::new();
    let mut stopped = Vec::new();
    let tally = Fault::named(name).play(&site, &exim, |load| {
        for _ in 0..8 {
            dice.pause(60);
            let some = dice.half(process::children(exim.pid()));
            signal(&some, "STOP");
            if some.len() < CLIENTS {
                load.wait(CLIENTS / 2);
            }
            signal(&some, "CONT");
            stopped.extend(some);
        }
    });
    assert!(tally.unanswered == 0 && stopped.len() > CLIENTS, "{stopped:?}, {tally:?}");
    // Whoever is stopped for longer than its time-outs finds them over. Whoever is stopped while it
    // recovers or empties the embedded database's WAL keeps even readers out; and while it hashes,
    // has its slot.
    let of_others = ["is locked by another process", "all accounts.max_parallel_hashes = "];
    let log = site.main_log();
    for line in log.lines().filter(|line| line.contains("status=503")) {
        let pid = line.split(['[', ']']).nth(1).and_then(|pid| pid.parse().ok());
        let was_stopped = pid.is_some_and(|pid| stopped.contains(&pid));
        assert!(was_stopped || of_others.iter().any(|why| line.contains(why)), "{line}");
    }
}

#[test]
fn attempts_are_stopped_at_random_moments() {
    stop_at_random("attempts stopped at random and continued, SQLite", Base::Sqlite);
    stop_at_random("attempts stopped at random and continued, MariaDB", Base::mariadb());
}
