//! Delivery of rows from the journal into the table: errors of the database, and attempts that
//! deliver the rows of others.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "test code"
)]

mod common;

use std::io::Read;
use std::io::Write;
use std::net::Shutdown;
use std::net::TcpListener;
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use authpolicy::config::Config;
use authpolicy::store::Deadline;
use authpolicy::store::Stores;
use common::Base;
use common::host;
use common::journal::LATER;
use common::journal::POLICY;
use common::journal::attempt;
use common::journal::attempt_with_refused_row;
use common::journal::flush;
use common::journal::names;
use common::journal::put;
use common::journal::refuse_bad_names;
use common::journal::rows;
use common::journal::site;
use common::smtp::ACCEPTED;
use common::smtp::REFUSED;
use mysql::prelude::Queryable;

#[test]
fn a_refused_row_is_set_aside_alone_even_if_it_ends_the_transaction() {
    // SQLite: a trigger that rolls back. MariaDB: errors whose SQLSTATE says nothing, for a CHECK
    // of MySQL, a missing partition and a mix of collations.
    let cases = [
        (Base::Sqlite, "ROLLBACK"),
        (Base::mariadb(), "3819"),
        (Base::mariadb(), "1526"),
        (Base::mariadb(), "1267"),
    ];
    for (base, how) in cases {
        let site = site(base, LATER);
        refuse_bad_names(&site, how);
        let exim = site.exim();
        assert_eq!(attempt(&exim, "secret"), ACCEPTED, "{}", site.main_log());
        attempt_with_refused_row(&exim);
        assert_eq!(attempt(&exim, "secret"), ACCEPTED);
        assert_eq!(flush(&site), [2, 0, 0, 1], "{how}");
        assert_eq!(site.rows().len(), 2);
        let marks = site.count("SELECT COUNT(*) FROM authpolicy_delivered");
        assert_eq!(marks, 2, "{how}: only stored rows have marks");
    }
}

/// A procedure can fail after its first result.
#[test]
fn a_procedure_that_fails_at_its_end_has_stored_nothing() {
    let site = site(Base::mariadb(), POLICY);
    site.sql(
        "CREATE PROCEDURE log_attempt (name varchar(80), ok int) BEGIN \
         INSERT INTO connection_log (protocol, username, remote_ip, country, auth_ok) \
         VALUES ('SMTP', name, '', '', ok); SELECT 1; \
         IF ok = 0 THEN SIGNAL SQLSTATE 'HY000' SET MESSAGE_TEXT = 'too late'; END IF; END",
    );
    let config = site.read("authpolicy.toml");
    let insert = "[log]\ninsert = \"CALL log_attempt(:username, :auth_ok)\"\n";
    site.write_config(&format!("{config}\n{insert}"));
    let Base::MariaDb(server, name, _) = &site.base else { panic!("a server") };
    let mut root = server.root(name);
    root.query_drop(format!("GRANT EXECUTE ON {name}.* TO exim@localhost")).unwrap();
    let exim = site.exim();
    assert_eq!(attempt(&exim, "secret"), ACCEPTED, "{}", site.main_log());
    assert_eq!(site.rows().len(), 1, "{}", site.main_log());
    assert_eq!(attempt(&exim, "wrong"), REFUSED);
    assert!(site.lines()[1].contains("too late: the row waits"), "{:?}", site.lines());
    assert_eq!(site.rows().len(), 1);
}

#[test]
fn a_file_that_fails_for_an_unknown_reason_keeps_waiting_and_blocks_no_other() {
    let site = site(Base::mariadb(), LATER);
    refuse_bad_names(&site, "1105");
    let exim = site.exim();
    attempt_with_refused_row(&exim);
    let output = site.run_tool(&["flush"], "");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("not this one"), "{output:?}");
    for waiting in 0..20 {
        assert_eq!(attempt(&exim, "secret"), ACCEPTED, "{}", site.main_log());
        assert_eq!(flush(&site), [1, 0, 1, 0], "{waiting}");
    }
    assert_eq!(names(&site).len(), 1, "{:?}", names(&site));
    // An attempt that tries to deliver it logs the error, and is accepted.
    let config = site.read("authpolicy.toml");
    site.write_config(&config.replace("delivery = \"journal\"\n", ""));
    assert_eq!(attempt(&exim, "secret"), ACCEPTED);
    let lines = site.lines();
    assert!(lines[21].starts_with("trouble function=journal"), "{}", lines[21]);
    // Rows before and after it in the same file are stored.
    let text = site.read(&format!("state/journal/{}", names(&site)[0]));
    put(&site, "rows.more", format!("{}{text}{}", rows(3), rows(3)));
    assert_eq!(flush(&site), [6, 0, 2, 0]);
    site.sql("DROP TRIGGER no");
    assert_eq!(flush(&site), [1, 1, 0, 0]);
    assert_eq!(site.rows().len(), 28);
}

/// Another row of the same file keeps waiting.
#[test]
fn a_row_is_set_aside_only_once() {
    let site = site(Base::mariadb(), LATER);
    refuse_bad_names(&site, "1105");
    let exim = site.exim();
    attempt_with_refused_row(&exim);
    let waiting = site.read("state/journal/rows");
    put(&site, "rows", format!("\nno row at all{waiting}"));
    assert_eq!(flush(&site), [0, 0, 1, 1]);
    std::fs::remove_file(site.path("state/journal/set-aside")).unwrap();
    assert_eq!(flush(&site), [0, 0, 1, 0]);
}

/// `flush` does not log in again for each row.
#[test]
fn flush_stops_after_a_denied_login() {
    let site = site(Base::mariadb(), LATER);
    let exim = site.exim();
    for number in 0..3 {
        assert_eq!(attempt(&exim, "secret"), ACCEPTED, "{}", site.main_log());
        put(&site, &format!("rows.{number}"), rows(5));
    }
    let good = site.read("authpolicy.toml");
    site.write_config(&good.replace("exim:", "nobody:"));
    let refused = "SELECT variable_value FROM information_schema.global_status \
                   WHERE variable_name = 'Access_denied_errors'";
    let Base::MariaDb(server, ..) = &site.base else { panic!("a server") };
    let count = || server.root("").query_first::<u64, _>(refused).unwrap().unwrap();
    let before = count();
    assert_eq!(flush(&site), [0, 0, 18, 0]);
    // One connection for the rows, and one for old marks; each tries a denied login three times.
    assert!(count() <= before + 6, "{} and {before}", count());
    site.write_config(&good);
    assert_eq!(flush(&site), [18, 0, 0, 0]);
}

/// A row whose INSERT hangs does not block other files. (Rows of the same transaction wait until
/// the server ends it.)
#[test]
fn a_row_whose_insert_hangs_does_not_block_other_files() {
    let site = site(Base::mariadb(), LATER);
    let config = site.read("authpolicy.toml");
    let limits = "[database]\nquery_timeout = \"1s\"\nattempt_timeout = \"4s\"\n";
    site.write_config(&config.replace("[database]\n", limits));
    site.sql(
        "CREATE TRIGGER slow BEFORE INSERT ON connection_log FOR EACH ROW BEGIN \
         IF NEW.username = 'bad@example.com' THEN DO SLEEP(600); END IF; END",
    );
    let exim = site.exim();
    attempt_with_refused_row(&exim);
    assert_eq!(flush(&site), [0, 0, 1, 0]);
    assert_eq!(attempt(&exim, "secret"), ACCEPTED, "{}", site.main_log());
    assert_eq!(flush(&site), [1, 0, 1, 0]);
    assert_eq!(site.rows().len(), 1);
}

/// A proxy that delays each answer of a server; returns its port.
fn slow_proxy(server: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let forward = |mut from: TcpStream, mut to: TcpStream, delay: Duration| {
        std::thread::spawn(move || {
            let mut buffer = [0; 65536];
            while let Ok(read @ 1..) = from.read(&mut buffer) {
                std::thread::sleep(delay);
                if to.write_all(&buffer[..read]).is_err() {
                    break;
                }
            }
            let _ = to.shutdown(Shutdown::Both);
        })
    };
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (client, server) =
                (client.unwrap(), TcpStream::connect(("127.0.0.1", server)).unwrap());
            let (also_client, also_server) =
                (client.try_clone().unwrap(), server.try_clone().unwrap());
            forward(client, server, Duration::ZERO);
            forward(also_server, also_client, Duration::from_millis(60));
        }
    });
    port
}

#[test]
fn attempts_deliver_waiting_rows_once() {
    let site = site(Base::mariadb(), POLICY);
    put(&site, "rows.old", rows(200));
    let exim = site.exim();
    let mut attempts = 0;
    // Each attempt delivers some rows, or none if the machine is busy.
    while !names(&site).is_empty() {
        assert_eq!(attempt(&exim, "secret"), ACCEPTED, "{}", site.main_log());
        attempts += 1;
        assert!(attempts < 500, "{:?}", site.lines());
    }
    assert_eq!(site.rows().len(), 200 + attempts);
    assert!(!site.main_log().contains("trouble"), "{}", site.main_log());
}

#[test]
fn rows_for_a_slow_server_are_delivered_by_flush_only() {
    let site = site(Base::mariadb(), POLICY);
    let Base::MariaDb(server, name, url) = &site.base else { panic!("a server") };
    let slow_url = server.tcp_url(name);
    let slow_url =
        slow_url.replace(&format!(":{}/", server.port), &format!(":{}/", slow_proxy(server.port)));
    let config = site.read("authpolicy.toml").replace(&**url, &slow_url);
    site.write_config(&config);
    put(&site, "rows.old", rows(20));
    let exim = site.exim();
    assert_eq!(attempt(&exim, "secret"), ACCEPTED, "{}", site.main_log());
    assert_eq!(site.rows().len(), 1, "the attempt has no time for other rows");
    assert!(!site.main_log().contains("trouble"), "{}", site.main_log());
    assert_eq!(flush(&site), [20, 0, 0, 0]);
    assert_eq!(site.rows().len(), 21);
}

#[test]
fn a_long_file_is_left_to_flush() {
    for base in Base::all() {
        let site = site(base, POLICY);
        put(&site, "rows.old", rows(1500));
        let exim = site.exim();
        assert_eq!(attempt(&exim, "secret"), ACCEPTED, "{}", site.main_log());
        assert_eq!(site.rows().len(), 1);
        assert_eq!(flush(&site), [1500, 0, 0, 0]);
        assert_eq!(site.rows().len(), 1501);
        assert_eq!(names(&site), Vec::<String>::new());
    }
}

#[test]
fn flush_deletes_old_marks() {
    for base in Base::all() {
        let site = site(base, LATER);
        for old in ["000000000001", "017f00000000"] {
            let tail = "0".repeat(20);
            site.sql(&format!("INSERT INTO authpolicy_delivered (id) VALUES ('{old}{tail}')"));
        }
        let exim = site.exim();
        assert_eq!(attempt(&exim, "secret"), ACCEPTED, "{}", site.main_log());
        assert_eq!(flush(&site), [1, 0, 0, 0]);
        // The mark of the new row is left.
        assert_eq!(site.count("SELECT COUNT(*) FROM authpolicy_delivered"), 1);
    }
}

/// Opens the log as an attempt does, in a process of Exim's user.
#[test]
#[ignore = "run by another test, as Exim's user"]
fn host_of_a_durable_log() {
    let path = format!("{}/authpolicy.toml", host::directory());
    let text = std::fs::read_to_string(&path).unwrap();
    let config = Config::parse(Path::new(&path), &text).unwrap();
    let mut stores = Stores::new(&config, Deadline::new(Instant::now(), config.timeouts));
    let found = stores.log().unwrap().query("PRAGMA synchronous", &[]).unwrap();
    println!("synchronous={}", found[0].text("synchronous"));
}

#[test]
fn durability_disk_syncs_the_embedded_database_too() {
    let site = site(Base::Sqlite, LATER);
    // 1 is NORMAL, which does not sync the WAL at each commit. 2 is FULL, which does.
    assert!(host::run(&site, "host_of_a_durable_log").contains("synchronous=1"));
    let config = site.read("authpolicy.toml");
    site.write_config(&config.replace("[state]\n", "[state]\ndurability = \"disk\"\n"));
    assert!(host::run(&site, "host_of_a_durable_log").contains("synchronous=2"));
    let exim = site.exim();
    assert_eq!(attempt(&exim, "secret"), ACCEPTED, "{}", site.main_log());
    assert_eq!(flush(&site), [1, 0, 0, 0]);
}
