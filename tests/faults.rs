//! The log's and accounts' server breaks under clients: 435 where nobody can tell and never 535, 235
//! with a right password alone, and one row for each answer when it is over.
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
use common::MariaDb;
use common::Site;
use common::load;
use common::load::Load;
use common::smtp::ACCEPTED;
use common::smtp::CANNOT_TELL;
use mysql::prelude::Queryable;

const POLICY: &str = "[policy]\nallow_countries = [\"GB\"]\nfailure_time = \"0s\"\n";
const SHORT: &str = "connect_timeout = \"500ms\"\nquery_timeout = \"500ms\"\n\
                     attempt_timeout = \"2s\"\n";
const CLIENTS: usize = 8;

struct Rig {
    site: Site,
    server: Arc<MariaDb>,
}

/// A site with a server of its own and short time-outs.
fn rig() -> Rig {
    let server = Arc::new(MariaDb::start());
    let name = server.database();
    let url = server.url(&name);
    let site = Site::new(Base::MariaDb(server.clone(), name, url), POLICY);
    load::prepare(&site);
    let config = site.read("authpolicy.toml");
    site.write_config(&config.replace("[state]", &format!("{SHORT}[state]")));
    Rig { site, server }
}

/// Breaks something under load, and has it mended; the clients begin and end in good times.
fn play(fault: &str, rig: &Rig, clients: usize, work: impl FnOnce(&Load)) -> load::Tally {
    let exim = rig.site.exim();
    let attempts = load::run(exim.port, clients, |load| {
        load.wait_for(ACCEPTED);
        work(load);
        load.wait_for(ACCEPTED);
        load.wait(20);
    });
    load::flush(&rig.site);
    let tally = load::hold(&rig.site, &attempts);
    load::report(fault, &tally);
    assert!(tally.accepted > 0 && tally.refused > 0, "{tally:?}");
    tally
}

#[test]
fn a_server_is_killed_and_started_again() {
    let rig = rig();
    let tally = play("MariaDB killed (SIGKILL) and started again", &rig, CLIENTS, |load| {
        for _ in 0..2 {
            rig.server.kill();
            load.wait_for(CANNOT_TELL);
            load.wait(20);
            rig.server.restart();
            load.wait_for(ACCEPTED);
        }
    });
    assert!(tally.cannot_tell >= 20 && tally.unanswered == 0, "{tally:?}");
}

#[test]
fn a_server_hangs_and_goes_on() {
    let rig = rig();
    let tally = play("MariaDB stopped (SIGSTOP) and continued", &rig, CLIENTS, |load| {
        for _ in 0..3 {
            rig.server.signal("STOP");
            load.wait_for(CANNOT_TELL);
            load.wait(CLIENTS);
            rig.server.signal("CONT");
            load.wait_for(ACCEPTED);
            load.wait(20);
        }
    });
    assert!(tally.cannot_tell > 0 && tally.unanswered == 0, "{tally:?}");
}

#[test]
fn a_server_has_too_few_connections() {
    let rig = rig();
    let mut root = rig.server.root("");
    root.query_drop("SET GLOBAL max_connections = 10").unwrap();
    let tally = play("`max_connections = 10`, 60 clients", &rig, 60, |load| load.wait(600));
    assert_eq!(tally.unanswered, 0, "{tally:?}");
    assert!(rig.site.main_log().contains("error 1040"), "it was too few");
}

#[test]
fn the_database_users_password_changes() {
    let rig = rig();
    let mut root = rig.server.root("");
    let tally = play("database user's password changed, and back", &rig, CLIENTS, |load| {
        root.query_drop("ALTER USER exim@localhost IDENTIFIED BY 'another'").unwrap();
        load.wait_for(CANNOT_TELL);
        // Those who were connected are still served.
        load.wait(20 + CLIENTS);
        let known = common::mariadb::PASSWORD;
        root.query_drop(format!("ALTER USER exim@localhost IDENTIFIED BY '{known}'")).unwrap();
    });
    assert!(tally.cannot_tell >= 20 && tally.unanswered == 0, "{tally:?}");
}

/// Breaks the log's table alone: nobody notices but the journal.
fn play_table(fault: &str, rig: &Rig, work: &[&str], undo: &[&str], symptom: &str) {
    let Base::MariaDb(_, name, _) = &rig.site.base else { panic!("a server") };
    let mut root = rig.server.root(name);
    let tally = play(fault, rig, CLIENTS, |load| {
        work.iter().for_each(|sql| root.query_drop(sql).unwrap());
        load.wait(40);
        undo.iter().for_each(|sql| root.query_drop(sql).unwrap());
    });
    assert_eq!((tally.cannot_tell, tally.unanswered), (0, 0), "{tally:?}");
    let log = rig.site.main_log();
    assert_eq!(log.contains("the row waits in the journal"), !symptom.is_empty(), "{fault}");
    assert!(log.contains(symptom), "{fault}");
}

#[test]
fn the_logs_table_is_gone() {
    let (work, undo) =
        ("RENAME TABLE connection_log TO gone", "RENAME TABLE gone TO connection_log");
    play_table("`connection_log` gone, and back", &rig(), &[work], &[undo], "doesn't exist");
}

#[test]
fn the_logs_table_is_locked() {
    let (work, undo) = ("LOCK TABLES connection_log WRITE", "UNLOCK TABLES");
    play_table("`connection_log` locked, and unlocked", &rig(), &[work], &[undo], "took too long");
}

#[test]
fn the_logs_columns_are_too_narrow() {
    let work = [
        "SET sql_mode = ''",
        "ALTER TABLE connection_log MODIFY protocol varchar(2) NOT NULL, \
         MODIFY remote_ip varchar(3) NOT NULL",
    ];
    play_table("columns too narrow, strict mode", &rig(), &work, &["DO 0"], "");
}

#[test]
fn the_server_is_read_only() {
    let rig = rig();
    let mut root = rig.server.root("");
    root.query_drop("REVOKE READ ONLY ADMIN ON *.* FROM exim@localhost").unwrap();
    let (work, undo) = ("SET GLOBAL read_only = 1", "SET GLOBAL read_only = 0");
    play_table("server read-only, and writable", &rig, &[work], &[undo], "read-only");
}
