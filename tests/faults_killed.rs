//! Processes are killed at any moment, under clients: whoever was answered has one row, whoever was
//! not has at most one.
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
use common::process::Dice;

/// Kills processes of attempts and of deliveries; answers how many of each.
fn kill_at_random(site: &Site, exim: &Exim, load: &Load) -> [usize; 2] {
    let mut dice = Dice::new();
    let mut killed = [0, 0];
    for round in 0..16 {
        // Rows that wait, so that there is something to deliver, and later a table to take them.
        match round % 8 {
            0 => site.sql("ALTER TABLE connection_log RENAME TO gone"),
            4 => site.sql("ALTER TABLE gone RENAME TO connection_log"),
            _ => {}
        }
        load.wait(2);
        let mut delivery = common::fault::flush(site);
        // Most of them soon: a delivery of a few rows is short.
        let soon = 1 + dice.below(60);
        dice.pause(soon);
        killed[1] += usize::from(delivery.try_wait().unwrap().is_none());
        let _ = delivery.kill();
        delivery.wait().unwrap();
        let serving = dice.half(process::children(exim.pid()));
        process::signal(&serving, "KILL");
        killed[0] += serving.len();
    }
    killed
}

fn play(name: &str, base: Base, rest: &str) {
    let site = common::fault::site(base, &format!("{POLICY}{rest}"));
    let exim = site.exim();
    let mut killed = [0, 0];
    let tally = Fault::named(name).play(&site, &exim, |load| {
        killed = kill_at_random(&site, &exim, load);
    });
    assert!(killed[0] > 0 && killed[1] > 0 && tally.unanswered > 0, "{killed:?}, {tally:?}");
    assert_eq!(tally.cannot_tell, 0, "somebody else's death is no reason: {tally:?}");
}

#[test]
fn killed_in_sqlite() {
    play("processes killed at random, SQLite", Base::Sqlite, "");
}

#[test]
fn killed_in_sqlite_with_a_journal() {
    play("processes killed at random, SQLite, `delivery = \"journal\"`", Base::Sqlite, LATER);
}

#[test]
fn killed_in_mariadb() {
    play("processes killed at random, MariaDB", Base::mariadb(), "");
}

#[test]
fn killed_in_mariadb_with_a_journal() {
    play("processes killed at random, MariaDB, `delivery = \"journal\"`", Base::mariadb(), LATER);
}
