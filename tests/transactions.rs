//! A row and its mark are stored together or not at all. Some tests are for databases that do not
//! guarantee this.
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

use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use authpolicy::config::Config;
use authpolicy::config::Timeouts;
use authpolicy::store::Deadline;
use authpolicy::store::Stores;
use common::Base;
use common::MariaDb;
use common::Site;
use common::journal::LATER;
use common::journal::POLICY;
use common::journal::attempt;
use common::journal::flush;
use common::journal::put;
use common::journal::rows;
use common::journal::site;
use common::mount::Mount;
use common::smtp::ACCEPTED;
use common::smtp::REFUSED;
use mysql::prelude::Queryable;

#[test]
fn marks_that_survive_a_rollback_are_not_trusted() {
    let site = site(Base::mariadb(), POLICY);
    let config = site.read("authpolicy.toml");
    let limits = "[database]\nquery_timeout = \"1s\"\nattempt_timeout = \"4s\"\n";
    site.write_config(&config.replace("[database]\n", limits));
    site.sql("ALTER TABLE authpolicy_delivered ENGINE = MyISAM");
    let exim = site.exim();
    assert_eq!(attempt(&exim, "secret"), ACCEPTED, "{}", site.main_log());
    let Base::MariaDb(server, name, _) = &site.base else { panic!("a server") };
    let mut other = server.root(name);
    other.query_drop("LOCK TABLES connection_log WRITE").unwrap();
    assert_eq!(attempt(&exim, "wrong"), REFUSED, "{}", site.main_log());
    other.query_drop("UNLOCK TABLES").unwrap();
    assert_eq!(site.count("SELECT COUNT(*) FROM authpolicy_delivered"), 2, "marked already");
    assert_eq!(flush(&site), [1, 0, 0, 0]);
    assert_eq!(site.rows().len(), 2);
}

#[test]
fn our_tables_have_transactions_under_another_default_engine() {
    let server = Arc::new(MariaDb::start());
    server.root("").query_drop("SET GLOBAL default_storage_engine = MyISAM").unwrap();
    let name = server.database();
    let url = server.url(&name);
    let site = site(Base::MariaDb(server, name, url), POLICY);
    site.sql("DROP TABLE connection_log");
    site.tool(&["db", "init"], "");
    let without = "SELECT table_name FROM information_schema.tables \
                   WHERE table_schema = DATABASE() AND engine <> 'InnoDB' AND table_name <> 'account'";
    assert_eq!(site.texts(without), Vec::<String>::new());
    let exim = site.exim();
    assert_eq!(attempt(&exim, "secret"), ACCEPTED, "{}", site.main_log());
}

/// A site whose rows are stored by a procedure that begins with this statement, and commits.
fn log_by_procedure(begin: &str) -> Site {
    let site = site(Base::mariadb(), POLICY);
    site.sql(&format!(
        "CREATE PROCEDURE log_attempt (name varchar(80)) BEGIN {begin} INSERT INTO connection_log \
         (protocol, username, remote_ip, country) VALUES ('SMTP', name, '', ''); COMMIT; END",
    ));
    let config = site.read("authpolicy.toml");
    let insert = "[log]\ninsert = \"CALL log_attempt(:username)\"\n";
    site.write_config(&format!("{config}\n{insert}"));
    let Base::MariaDb(server, name, _) = &site.base else { panic!("a server") };
    let mut root = server.root(name);
    root.query_drop(format!("GRANT EXECUTE ON {name}.* TO exim@localhost")).unwrap();
    site
}

/// The statement has ended the transaction of the row and its mark.
#[test]
fn a_statement_that_commits_stores_its_row_once_and_is_reported() {
    for begin in ["", "START TRANSACTION;"] {
        let site = log_by_procedure(begin);
        let exim = site.exim();
        assert_eq!(attempt(&exim, "secret"), ACCEPTED, "{}", site.main_log());
        assert_eq!(site.rows().len(), 1, "{}", site.main_log());
        assert!(!site.path("state/journal").exists(), "{}", site.main_log());
        let lines = site.lines();
        assert!(lines[0].contains("log.insert: must not begin or end a"), "{lines:?}");

        // Without a mark, the plugin does not know that the row is stored. It does not retry for ever.
        site.sql("DROP TABLE authpolicy_delivered");
        assert_eq!(attempt(&exim, "secret"), ACCEPTED, "{}", site.main_log());
        assert_eq!(flush(&site), [0, 0, 0, 1]);
        assert!(site.rows().len() < 10, "{}", site.rows().len());
        let reasons = site.read("state/journal/set-aside");
        assert!(reasons.contains("log.insert must not begin or end one"), "{reasons}");
    }
}

/// Otherwise, the next transaction would commit it.
#[test]
fn a_transaction_that_has_no_time_to_commit_is_rolled_back() {
    let site = site(Base::mariadb(), LATER);
    let config = Config::load(&site.path("authpolicy.toml")).unwrap();
    let fresh = || Deadline::new(Instant::now(), config.timeouts);
    let short = Timeouts { attempt: Duration::from_millis(500), ..config.timeouts };
    let mark = "INSERT INTO authpolicy_delivered (id) VALUES ('of no row')";
    let mut stores = Stores::new(&config, fresh());
    stores.log().unwrap();
    stores.replace_deadline(Deadline::new(Instant::now(), short));
    let late = stores.log().unwrap().transaction(|store| {
        store.execute(mark, &[])?;
        std::thread::sleep(short.attempt);
        store.query("SELECT 1", &[])
    });
    let late = late.unwrap_err().to_string();
    assert!(late.contains("took too long"), "{late}");
    stores.replace_deadline(fresh());
    stores.log().unwrap().transaction(|store| store.execute("DO 0", &[])).unwrap();
    assert_eq!(site.count("SELECT COUNT(*) FROM authpolicy_delivered"), 0);
}

/// Without marks, only the line in the journal shows that its row is stored.
#[test]
fn rows_are_stored_once_even_if_others_cannot_be_set_aside() {
    let site = site(Base::mariadb(), LATER);
    site.sql("DROP TABLE authpolicy_delivered");
    put(&site, "rows.old", "");
    let mount = Mount::over(&site.path("state/journal"), "128k");
    put(&site, "rows.old", format!("\nno row at all{}", rows(5)));
    mount.fill();
    for _ in 0..3 {
        let output = site.run_tool(&["flush"], "");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains("set-aside"), "{stderr}");
        assert_eq!(site.rows().len(), 5, "{stderr}");
    }
    mount.free();
    assert_eq!(flush(&site), [0, 0, 0, 1]);
    assert!(site.read("state/journal/set-aside").contains("no row at all"));
}
