//! `authpolicy config` says which servers are away, each cause once, and tries what attempts write without a trace.
#![allow(
    clippy::unwrap_used,
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
use common::exim::free_port;
use common::limits::attempt;
use common::limits::limit;
use common::limits::site;
use common::site::GB;
use common::smtp::ACCEPTED;
use mysql::prelude::Queryable;

/// Exit status, what `config` prints, and what it complains of.
fn config(site: &Site) -> (i32, String, String) {
    let output = site.run_tool(&["config"], "");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

fn check(site: &Site, what: &str) -> String {
    let (_, said, _) = config(site);
    value(&said, what).to_owned()
}

fn value<'a>(said: &'a str, what: &str) -> &'a str {
    let start = format!("check.{what}=");
    let line = said.lines().find_map(|line| line.strip_prefix(&start));
    line.unwrap_or_else(|| panic!("no {start}: {said}"))
}

/// A site with limits on a server of its own, which has logged somebody in.
fn stage() -> (Site, Arc<MariaDb>, String) {
    let server = Arc::new(MariaDb::start());
    let name = server.database();
    let url = server.tcp_url(&name);
    let base = Base::MariaDb(Arc::clone(&server), name.clone(), url);
    let site = site(base, "", &[limit("guessing", "account", "failures", 3)]);
    let exim = site.exim();
    assert_eq!(attempt(&exim, GB, "u@example.com", "secret"), ACCEPTED, "{}", site.main_log());
    (site, server, name)
}

#[test]
fn an_unreachable_server_is_named_and_each_cause_is_printed_once() {
    let (site, server, name) = stage();
    let (status, said, complaint) = config(&site);
    assert_eq!((status, value(&said, "servers")), (0, "ok"), "{said}{complaint}");
    let good = site.read("authpolicy.toml");

    let dead = format!("127.0.0.1:{}", free_port());
    let url = format!("mysql://exim@{dead}/{name}");
    let list = format!("url = [\"{url}\", \"{}\"]", site.url());
    site.write_config(&good.replace(&format!("url = \"{}\"", site.url()), &list));
    let (status, said, _) = config(&site);
    let servers = value(&said, "servers");
    let want = format!("warning attempts pass over these servers: mysql {dead} {name}: ");
    assert!(status == 0 && servers.starts_with(&want), "{said}");
    assert!(!servers.contains(&server.port.to_string()), "{servers}");
    assert!(value(&said, "writes").starts_with("ok "), "{said}");

    site.write_config(&good);
    server.kill();
    let (status, said, complaint) = config(&site);
    let want =
        format!("no database server can be reached: mysql 127.0.0.1:{} {name}: ", server.port);
    assert_eq!(status, 2);
    assert!(value(&said, "servers").starts_with(&format!("failed {want}")), "{said}");
    assert_eq!(said.matches(&want).count(), 1, "{said}");
    assert_eq!(complaint.matches(&want).count(), 1, "{complaint}");
    for what in ["accounts", "log", "tables", "writes", "names", "failure_time", "limits"] {
        assert_eq!(value(&said, what), "skipped, see check.servers");
    }

    // Of two databases, the checks of the other one are made.
    let log = format!("[log]\nurl = \"sqlite:{}\"\n", site.path("state/log.db").display());
    site.write_config(&format!("{good}{log}"));
    site.tool(&["db", "init"], "");
    let (status, said, _) = config(&site);
    assert!(status == 2 && value(&said, "servers").starts_with("failed no database"), "{said}");
    assert!(value(&said, "log").starts_with("ok ") && value(&said, "writes").starts_with("ok "));
    assert_eq!(value(&said, "accounts"), "skipped, see check.servers");
}

#[test]
fn a_missing_embedded_database_is_one_cause() {
    let site = site(Base::Sqlite, "", &[limit("guessing", "account", "failures", 3)]);
    let exim = site.exim();
    assert_eq!(attempt(&exim, GB, "u@example.com", "secret"), ACCEPTED, "{}", site.main_log());
    std::fs::remove_file(site.path("state/authpolicy.db")).unwrap();
    let (status, said, _) = config(&site);
    assert_eq!(status, 2);
    assert_eq!(said.matches("does not exist").count(), 1, "{said}");
    assert_eq!(value(&said, "log"), "failed, see check.embedded");
}

/// What every table holds, and the number of the next row.
fn contents(site: &Site) -> Vec<i64> {
    let tables = [
        "connection_log",
        "authpolicy_count",
        "authpolicy_seen",
        "authpolicy_delivered",
        "authpolicy_exception",
    ];
    tables.map(|table| site.count(&format!("SELECT COUNT(*) FROM {table}"))).to_vec()
}

#[test]
fn trial_writes_leave_nothing_behind() {
    for base in Base::all() {
        let site = site(base, "new_country = \"log\"", &[limit("g", "account", "failures", 3)]);
        let exim = site.exim();
        assert_eq!(attempt(&exim, GB, "u@example.com", "secret"), ACCEPTED, "{}", site.main_log());
        let before = contents(&site);
        assert_eq!(check(&site, "writes"), "ok tried, and rolled back");
        assert_eq!(contents(&site), before);
        // It could commit.
        let insert = "[log]\ninsert = \"CALL log_it(:username)\"\n";
        site.write_config(&format!("{}{insert}", site.read("authpolicy.toml")));
        let writes = check(&site, "writes");
        assert_eq!(writes, "warning log.insert is not tried: it is not a plain INSERT");
        assert_eq!(contents(&site), before);
    }
}

/// A trial row could not be taken back.
#[test]
fn nothing_is_written_to_a_table_without_transactions_or_with_triggers() {
    let (site, server, name) = stage();
    let before = contents(&site);
    server.root(&name).query_drop("CREATE TABLE audit (n int) ENGINE = MyISAM").unwrap();
    let trigger =
        "CREATE TRIGGER t AFTER INSERT ON connection_log FOR EACH ROW INSERT INTO audit VALUES (1)";
    server.root(&name).query_drop(trigger).unwrap();
    let (status, said, _) = config(&site);
    let want = "warning log.insert is not tried: a row in connection_log could not be rolled back";
    assert!(status == 0 && value(&said, "writes").starts_with(want), "{said}");
    assert_eq!(site.count("SELECT COUNT(*) FROM audit"), 0);
    site.sql("DROP TRIGGER t");
    assert!(check(&site, "writes").starts_with("ok "));
    site.sql("CREATE VIEW shown AS SELECT username FROM connection_log");
    let good = site.read("authpolicy.toml");
    let insert = "[log]\ninsert = \"INSERT INTO shown (username) VALUES (:username)\"\n";
    site.write_config(&format!("{good}{insert}"));
    let writes = check(&site, "writes");
    assert!(writes.contains("a row in shown could not be rolled back"), "{writes}");
    site.write_config(&good);
    for table in
        ["connection_log", "authpolicy_count", "authpolicy_delivered", "authpolicy_exception"]
    {
        site.sql(&format!("ALTER TABLE {table} ENGINE = Aria TRANSACTIONAL = 0"));
    }
    let writes = check(&site, "writes");
    assert!(writes.starts_with(want), "{writes}");
    for table in ["authpolicy_count", "authpolicy_delivered", "authpolicy_exception"] {
        let want = format!("{table} is not tried: its engine has no transactions");
        assert!(writes.contains(&want), "{writes}");
    }
    assert_eq!(contents(&site), before);
}

/// Statements that the server understands, and refuses to run.
#[test]
fn config_fails_if_a_server_refuses_writes() {
    let (site, server, _) = stage();
    let before = contents(&site);
    server.kill();
    let settings =
        ["--log-bin=binlog", "--binlog-format=STATEMENT", "--transaction-isolation=READ-COMMITTED"];
    server.restart_with(&settings.map(String::from));
    let (status, said, complaint) = config(&site);
    assert_eq!(status, 2, "{said}");
    let writes = value(&said, "writes");
    assert!(
        writes.starts_with("failed ") && writes.contains("log.insert: error 1665: "),
        "{writes}"
    );
    assert!(complaint.contains("log.insert: error 1665: "), "{complaint}");
    server.kill();
    server.restart();
    let (status, said, _) = config(&site);
    assert_eq!((status, value(&said, "writes")), (0, "ok tried, and rolled back"), "{said}");

    // The counters alone; what root sets holds for everybody else.
    site.sql(
        "CREATE TRIGGER t BEFORE INSERT ON authpolicy_count FOR EACH ROW SIGNAL SQLSTATE '45000' \
              SET MESSAGE_TEXT = 'no more'",
    );
    let (status, said, _) = config(&site);
    assert!(
        status == 2 && value(&said, "writes").contains("authpolicy_count: error 1644: no more"),
        "{said}"
    );
    site.sql("DROP TRIGGER t");
    server.root("").query_drop("SET GLOBAL read_only = 1").unwrap();
    server.root("").query_drop("REVOKE ALL ON *.* FROM exim@localhost").unwrap();
    server
        .root("")
        .query_drop("GRANT SELECT, INSERT, UPDATE, DELETE ON *.* TO exim@localhost")
        .unwrap();
    let (status, said, _) = config(&site);
    assert!(status == 2 && value(&said, "writes").contains("log.insert: error 1290: "), "{said}");
    assert_eq!(contents(&site), before);
}
