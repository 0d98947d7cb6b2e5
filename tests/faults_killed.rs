//! Processes are killed at any moment, while clients make attempts. An answered attempt has one
//! row, and an unanswered one has at most one.
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

use common::Base;
use common::Exim;
use common::Site;
use common::fault::Fault;
use common::fault::LATER;
use common::fault::POLICY;
use common::load::Load;
use common::process;
use common::process::Random;

/// Kills processes of attempts and of deliveries. Returns how many of each.
fn kill_at_random(site: &Site, exim: &Exim, load: &Load) -> [usize; 2] {
    let mut random = Random::new();
    let mut killed = [0, 0];
    for round in 0..16 {
        // Without the table, rows wait. With the table back, they can be delivered.
        match round % 8 {
            0 => site.sql("ALTER TABLE connection_log RENAME TO gone"),
            4 => site.sql("ALTER TABLE gone RENAME TO connection_log"),
            _ => {}
        }
        load.wait(2);
        let mut delivery = common::fault::flush(site);
        // Short pauses are more frequent, because a delivery of a few rows is fast.
        let longest = 1 + random.below(60);
        random.pause(longest);
        killed[1] += usize::from(delivery.try_wait().unwrap().is_none());
        let _ = delivery.kill();
        delivery.wait().unwrap();
        let serving = random.half(process::children(exim.pid()));
        process::signal(&serving, "KILL");
        killed[0] += serving.len();
    }
    killed
}

fn check_kills(name: &str, base: Base, rest: &str) {
    let site = common::fault::site(base, &format!("{POLICY}{rest}"));
    let exim = site.exim();
    let mut killed = [0, 0];
    let tally = Fault::named(name).run(&site, &exim, |load| {
        killed = kill_at_random(&site, &exim, load);
    });
    assert!(killed[0] > 0 && killed[1] > 0 && tally.unanswered > 0, "{killed:?}, {tally:?}");
    assert_eq!(tally.cannot_tell, 0, "a killed process causes no 435 for others: {tally:?}");
}

#[test]
fn killed_processes_neither_lose_nor_duplicate_rows_in_sqlite() {
    check_kills("processes killed at random, SQLite", Base::Sqlite, "");
}

#[test]
fn killed_processes_neither_lose_nor_duplicate_rows_of_a_journal_for_sqlite() {
    check_kills(
        "processes killed at random, SQLite, `delivery = \"journal\"`",
        Base::Sqlite,
        LATER,
    );
}

#[test]
fn killed_processes_neither_lose_nor_duplicate_rows_in_mariadb() {
    check_kills("processes killed at random, MariaDB", Base::mariadb(), "");
}

#[test]
fn killed_processes_neither_lose_nor_duplicate_rows_of_a_journal_for_mariadb() {
    check_kills(
        "processes killed at random, MariaDB, `delivery = \"journal\"`",
        Base::mariadb(),
        LATER,
    );
}
