//! Rows that the log's table does not take wait in the state directory, and are stored once.
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

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use common::Base;
use common::Client;
use common::journal::LATER;
use common::journal::POLICY;
use common::journal::attempt;
use common::journal::flush;
use common::journal::hide_table;
use common::journal::restore_table;
use common::journal::site;
use common::journal::value;
use common::site::GB;
use common::smtp::ACCEPTED;
use common::smtp::REFUSED;
use mysql::prelude::Queryable;

#[test]
fn rows_without_a_table_wait_and_the_next_attempt_delivers_them() {
    for base in Base::all() {
        let site = site(base, POLICY);
        let exim = site.exim();
        assert_eq!(attempt(&exim, "secret"), ACCEPTED, "{}", site.main_log());
        hide_table(&site);
        assert_eq!(attempt(&exim, "secret"), ACCEPTED);
        assert_eq!(attempt(&exim, "wrong"), REFUSED);
        let lines = site.lines();
        for line in [&lines[1], &lines[3]] {
            assert!(line.starts_with("trouble function=journal"), "{line}");
            assert!(line.contains("connection_log"), "{line}");
            assert!(line.contains("the row waits in the journal"), "{line}");
        }
        assert!(lines[2].contains("status=204") && lines[4].contains("status=403"));
        let file = site.path("state/journal/rows");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600);
        let config = site.run_tool(&["config"], "");
        let check = value(&String::from_utf8_lossy(&config.stdout), "check.journal");
        assert!(check.starts_with("warning 2 rows wait since 20"), "{check}");
        restore_table(&site);
        assert_eq!(attempt(&exim, "secret"), ACCEPTED);
        let flags: Vec<_> = site.rows().iter().map(|row| row.auth_ok).collect();
        assert_eq!(flags.len(), 4, "each row once");
        assert_eq!(flags.iter().filter(|ok| **ok == Some(false)).count(), 1);
        assert_eq!(flush(&site), [0, 0, 0, 0]);
        assert_eq!(site.rows().len(), 4);
        assert_eq!(site.panic_log(), "");
    }
}

#[test]
fn a_delivered_row_has_the_time_of_its_attempt() {
    for base in Base::all() {
        let site = site(base, LATER);
        let exim = site.exim();
        assert_eq!(attempt(&exim, "secret"), ACCEPTED, "{}", site.main_log());
        let (now, begin) = match site.base {
            Base::Sqlite => ("datetime('now')", "datetime('now', '-1 minute')"),
            Base::MariaDb(..) => ("NOW()", "NOW() - INTERVAL 1 MINUTE"),
        };
        assert_eq!(flush(&site)[0], 1);
        let sql = format!(
            "SELECT COUNT(*) FROM connection_log WHERE datetime <= {now} AND datetime >= {begin}"
        );
        assert_eq!(site.count(&sql), 1);
        // The journal's line contains the time, which does not depend on the delivery.
        assert_eq!(attempt(&exim, "secret"), ACCEPTED);
        let text = site.read("state/journal/rows");
        let json = text.split_once(' ').unwrap().1;
        let time = json.split("\"time\":").nth(1).unwrap().split([',', '}']).next().unwrap();
        flush(&site);
        let sql = match site.base {
            Base::Sqlite => "SELECT MAX(strftime('%s', datetime) + 0) FROM connection_log",
            Base::MariaDb(..) => "SELECT MAX(UNIX_TIMESTAMP(datetime)) FROM connection_log",
        };
        assert_eq!(site.count(sql).to_string(), time);
    }
}

#[test]
fn in_journal_mode_an_attempt_never_talks_to_the_logs_server() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    let url = format!("mysql://exim:x@127.0.0.1:{}/log", server.local_addr().unwrap().port());
    let site = site(Base::Sqlite, LATER);
    let good = site.read("authpolicy.toml");
    site.write_config(&good.replace("[log]\n", &format!("[log]\nurl = \"{url}\"\n")));
    let exim = site.exim();
    let clients: Vec<_> = (0..40)
        .map(|number| {
            let port = exim.port;
            std::thread::spawn(move || {
                let password: &[u8] = if number % 4 == 0 { b"wrong" } else { b"secret" };
                Client::connect_from(port, GB).plain(b"u@example.com", password)
            })
        })
        .collect();
    let replies: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    assert_eq!(
        replies.iter().filter(|reply| *reply == ACCEPTED).count(),
        30,
        "{}",
        site.main_log()
    );
    assert_eq!(replies.iter().filter(|reply| *reply == REFUSED).count(), 10);
    assert!(server.accept().is_err(), "no attempt has connected");
    assert_eq!(site.rows().len(), 0);
    site.write_config(&good);
    assert_eq!(flush(&site), [40, 0, 0, 0]);
    assert_eq!(site.rows().iter().filter(|row| row.auth_ok == Some(true)).count(), 30);
    assert_eq!(flush(&site), [0, 0, 0, 0]);
    assert_eq!(site.rows().len(), 40);
}

#[test]
fn a_row_that_is_refused_for_good_does_not_block_later_rows() {
    for base in Base::all() {
        let site = site(base, LATER);
        site.sql(match site.base {
            Base::Sqlite => {
                "CREATE TRIGGER no BEFORE INSERT ON connection_log WHEN NEW.username = \
                 'bad@example.com' BEGIN SELECT RAISE(ABORT, 'not this one'); END"
            }
            Base::MariaDb(..) => {
                "CREATE TRIGGER no BEFORE INSERT ON connection_log FOR EACH ROW BEGIN \
                 IF NEW.username = 'bad@example.com' THEN SIGNAL SQLSTATE '45000' \
                 SET MESSAGE_TEXT = 'not this one'; END IF; END"
            }
        });
        let exim = site.exim();
        assert_eq!(attempt(&exim, "secret"), ACCEPTED, "{}", site.main_log());
        let bad = || Client::connect_from(exim.port, GB).plain(b"bad@example.com", b"secret");
        assert_eq!(bad(), REFUSED);
        assert_eq!(attempt(&exim, "secret"), ACCEPTED);
        let before = site.read("state/journal/rows");
        assert_eq!(flush(&site), [2, 0, 0, 1]);
        assert_eq!(site.rows().len(), 2);
        let aside = site.read("state/journal/set-aside");
        assert!(aside.contains("not this one") && aside.contains("bad@example.com"), "{aside}");
        let check = value(&site.tool(&["config"], ""), "check.journal");
        assert!(check.contains("1 row is set aside in "), "{check}");
        // As if a delivery was killed before it deleted the file: no row is stored or set aside
        // twice.
        site.write("state/journal/rows", &before);
        common::exim::users::give_to_exim(&site.path("state/journal/rows"));
        fs::set_permissions(site.path("state/journal/rows"), fs::Permissions::from_mode(0o600))
            .unwrap();
        assert_eq!(flush(&site), [0, 2, 0, 1]);
        // Without `delivery = "journal"`, such a row is set aside, too, and the attempt is
        // answered.
        let config = site.read("authpolicy.toml");
        site.write_config(&config.replace("delivery = \"journal\"\n", ""));
        assert_eq!(bad(), REFUSED);
        assert_eq!(attempt(&exim, "secret"), ACCEPTED);
        assert_eq!(flush(&site), [0, 0, 0, 2]);
        assert_eq!(site.rows().len(), 3);
        // Without the trigger, the rows that were set aside can be delivered after all.
        site.sql("DROP TRIGGER no");
        let output = site.run_tool(&["flush", "--set-aside"], "");
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(
            (value(&printed, "stored"), value(&printed, "set_aside")),
            ("2".into(), "0".into())
        );
        assert_eq!(site.rows().len(), 5);
    }
}

#[test]
fn a_commit_without_an_answer_is_stored_once() {
    let site = site(Base::mariadb(), POLICY);
    let config = site.read("authpolicy.toml");
    let timeouts = "[database]\nquery_timeout = \"1s\"\nattempt_timeout = \"4s\"\n";
    site.write_config(&config.replace("[database]\n", timeouts));
    let exim = site.exim();
    assert_eq!(attempt(&exim, "secret"), ACCEPTED, "{}", site.main_log());
    let Base::MariaDb(server, name, _) = &site.base else { panic!("a server") };
    let mut backup = server.root(name);
    for stage in ["START", "FLUSH", "BLOCK_DDL", "BLOCK_COMMIT"] {
        backup.query_drop(format!("BACKUP STAGE {stage}")).unwrap();
    }
    assert_eq!(attempt(&exim, "secret"), ACCEPTED, "{}", site.main_log());
    let line = &site.lines()[1];
    assert!(line.contains("took too long: the row waits in the journal"), "{line}");
    assert_eq!(site.rows().len(), 1);
    backup.query_drop("BACKUP STAGE END").unwrap();
    // The COMMIT is carried out, although the attempt no longer waits for it.
    let arrived = (0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        site.rows().len() == 2
    });
    assert!(arrived, "{:?}", site.rows());
    assert_eq!(flush(&site), [0, 1, 0, 0]);
    assert_eq!(site.rows().len(), 2);
}

#[test]
fn a_database_without_the_table_of_delivered_rows_gets_rows() {
    for base in Base::all() {
        let site = site(base, POLICY);
        site.sql("DROP TABLE authpolicy_delivered");
        let exim = site.exim();
        assert_eq!(attempt(&exim, "secret"), ACCEPTED, "{}", site.main_log());
        hide_table(&site);
        assert_eq!(attempt(&exim, "wrong"), REFUSED);
        restore_table(&site);
        assert_eq!(flush(&site), [1, 0, 0, 0]);
        assert_eq!(site.rows().len(), 2);
        let check = value(&site.tool(&["config"], ""), "check.tables");
        assert!(check.contains("may be stored twice after an outage"), "{check}");
    }
}

#[test]
fn config_warns_of_a_table_without_transactions() {
    let site = site(Base::mariadb(), POLICY);
    let check = value(&site.tool(&["config"], ""), "check.log");
    assert!(check.starts_with("ok "), "{check}");
    site.sql("ALTER TABLE connection_log ENGINE = MyISAM");
    let check = value(&site.tool(&["config"], ""), "check.log");
    assert!(check.contains("connection_log is of an engine without transactions"), "{check}");
}
