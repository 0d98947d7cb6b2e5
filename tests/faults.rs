//! The server of the log and the accounts fails while clients make attempts. A right password gets
//! 235 or 435, never 535. A wrong one never gets 235. In the end, each answered attempt has one
//! row.
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

/// A site with its own server and short time-outs.
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

/// Runs clients while `work` breaks something and repairs it. Attempts succeed before and after it.
fn run_under_load(fault: &str, rig: &Rig, clients: usize, work: impl FnOnce(&Load)) -> load::Tally {
    let exim = rig.site.exim();
    let attempts = load::run(exim.port, clients, |load| {
        load.wait_for(ACCEPTED);
        work(load);
        load.wait_for(ACCEPTED);
        load.wait(20);
    });
    load::flush(&rig.site);
    let tally = load::assert_consistent(&rig.site, &attempts);
    load::report(fault, &tally);
    assert!(tally.accepted > 0 && tally.refused > 0, "{tally:?}");
    tally
}

#[test]
fn a_killed_server_causes_435_until_it_is_restarted() {
    let rig = rig();
    let tally =
        run_under_load("MariaDB killed (SIGKILL) and started again", &rig, CLIENTS, |load| {
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
fn a_hanging_server_causes_435_until_it_continues() {
    let rig = rig();
    let tally = run_under_load("MariaDB stopped (SIGSTOP) and continued", &rig, CLIENTS, |load| {
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
fn a_server_without_free_connections_refuses_no_right_password() {
    let rig = rig();
    let mut root = rig.server.root("");
    root.query_drop("SET GLOBAL max_connections = 10").unwrap();
    let tally =
        run_under_load("`max_connections = 10`, 60 clients", &rig, 60, |load| load.wait(600));
    assert_eq!(tally.unanswered, 0, "{tally:?}");
    assert!(rig.site.main_log().contains("error 1040"), "the server ran out of connections");
}

#[test]
fn a_changed_database_password_causes_435_until_it_is_changed_back() {
    let rig = rig();
    let mut root = rig.server.root("");
    let tally =
        run_under_load("database user's password changed, and back", &rig, CLIENTS, |load| {
            root.query_drop("ALTER USER exim@localhost IDENTIFIED BY 'another'").unwrap();
            load.wait_for(CANNOT_TELL);
            // At most CLIENTS attempts are already connected to the database, and still succeed.
            load.wait(20 + CLIENTS);
            let password = common::mariadb::PASSWORD;
            root.query_drop(format!("ALTER USER exim@localhost IDENTIFIED BY '{password}'"))
                .unwrap();
        });
    assert!(tally.cannot_tell >= 20 && tally.unanswered == 0, "{tally:?}");
}

/// Breaks only the log's table, so that no attempt fails. Rows wait in the journal, unless
/// `symptom` is empty.
fn break_log_table(fault: &str, rig: &Rig, work: &[&str], undo: &[&str], symptom: &str) {
    let Base::MariaDb(_, name, _) = &rig.site.base else { panic!("a server") };
    let mut root = rig.server.root(name);
    let tally = run_under_load(fault, rig, CLIENTS, |load| {
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
fn a_missing_log_table_does_not_stop_attempts() {
    let (work, undo) =
        ("RENAME TABLE connection_log TO gone", "RENAME TABLE gone TO connection_log");
    break_log_table("`connection_log` gone, and back", &rig(), &[work], &[undo], "doesn't exist");
}

#[test]
fn a_locked_log_table_does_not_stop_attempts() {
    let (work, undo) = ("LOCK TABLES connection_log WRITE", "UNLOCK TABLES");
    break_log_table(
        "`connection_log` locked, and unlocked",
        &rig(),
        &[work],
        &[undo],
        "took too long",
    );
}

#[test]
fn narrow_log_columns_do_not_stop_attempts() {
    let work = [
        "SET sql_mode = ''",
        "ALTER TABLE connection_log MODIFY protocol varchar(2) NOT NULL, \
         MODIFY remote_ip varchar(3) NOT NULL",
    ];
    break_log_table("columns too narrow, strict mode", &rig(), &work, &["DO 0"], "");
}

#[test]
fn a_read_only_server_does_not_stop_attempts() {
    let rig = rig();
    let mut root = rig.server.root("");
    root.query_drop("REVOKE READ ONLY ADMIN ON *.* FROM exim@localhost").unwrap();
    let (work, undo) = ("SET GLOBAL read_only = 1", "SET GLOBAL read_only = 0");
    break_log_table("server read-only, and writable", &rig, &[work], &[undo], "read-only");
}
