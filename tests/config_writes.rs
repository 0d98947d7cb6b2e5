//! `authpolicy config` tries the writes of attempts on each server, and leaves nothing behind.
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
use common::config::TABLES;
use common::config::check;
use common::config::config;
use common::config::contents;
use common::config::site_with_limit;
use common::config::site_with_limit_on;
use common::config::value;
use common::exim::free_port;
use common::limits::attempt;
use common::limits::limit;
use common::limits::site;
use common::site::GB;
use common::smtp::ACCEPTED;
use mysql::prelude::Queryable;

#[test]
fn trial_writes_leave_nothing_behind() {
    for base in Base::all() {
        let site = site(base, "new_country = \"log\"", &[limit("g", "account", "failures", 3)]);
        let exim = site.exim();
        assert_eq!(attempt(&exim, GB, "u@example.com", "secret"), ACCEPTED, "{}", site.main_log());
        let before = contents(&site);
        assert_eq!(check(&site, "writes"), "ok tried, and rolled back");
        assert_eq!(contents(&site), before);
        // A statement other than a plain INSERT, such as a procedure, could commit.
        let insert = match &site.base {
            Base::Sqlite => {
                "WITH x AS (SELECT :username AS name) \
                 INSERT INTO connection_log (protocol, username, remote_ip, country) SELECT '', name, '', '' FROM x"
            }
            Base::MariaDb(..) => "CALL log_it(:username)",
        };
        let insert = format!("[log]\ninsert = \"{insert}\"\n");
        site.write_config(&format!("{}{insert}", site.read("authpolicy.toml")));
        let writes = check(&site, "writes");
        assert_eq!(writes, "warning log.insert is not tried: it is not a plain INSERT");
        assert_eq!(contents(&site), before);
    }
}

/// The database before a table name is recognised with quotes and spaces too.
#[test]
fn a_qualified_table_is_tried_only_in_the_current_database() {
    let (site, server, name) = site_with_limit();
    let before = contents(&site);
    let good = site.read("authpolicy.toml");
    let other = server.database();
    let table = "(username varchar(80)) ENGINE = ";
    server.root(&other).query_drop(format!("CREATE TABLE log {table} MyISAM")).unwrap();
    site.sql(&format!("CREATE TABLE log {table} InnoDB"));
    site.sql(&format!("CREATE TABLE {other} {table} InnoDB"));
    let not_tried = "warning log.insert is not tried: it names another database";
    for (table, want) in [
        (format!("{other} . log"), not_tried),
        (format!("{name}.log"), "ok tried, and rolled back"),
        (format!("`{name}` . `log`"), "ok tried, and rolled back"),
        (format!("{other}.log"), not_tried),
        (format!("`{other}` .log"), not_tried),
    ] {
        let insert = format!("INSERT INTO {table} (username) VALUES (:username)");
        site.write_config(&format!("{good}[log]\ninsert = \"{insert}\"\n"));
        let (status, stdout, stderr) = config(&site);
        assert_eq!((status, value(&stdout, "writes")), (0, want), "{table}: {stderr}");
    }
    let count = format!("SELECT COUNT(*) FROM {other}.log");
    assert_eq!((site.count(&count), site.count("SELECT COUNT(*) FROM log")), (0, 0));
    assert_eq!(contents(&site), before);
}

/// A trial row could not be rolled back.
#[test]
fn nothing_is_written_to_a_table_without_transactions_or_with_triggers() {
    let (site, server, name) = site_with_limit();
    let before = contents(&site);
    server.root(&name).query_drop("CREATE TABLE audit (n int) ENGINE = MyISAM").unwrap();
    let trigger =
        "CREATE TRIGGER t AFTER INSERT ON connection_log FOR EACH ROW INSERT INTO audit VALUES (1)";
    server.root(&name).query_drop(trigger).unwrap();
    let (status, stdout, _) = config(&site);
    let want = "warning log.insert is not tried: connection_log has triggers";
    assert_eq!((status, value(&stdout, "writes")), (0, want), "{stdout}");
    assert_eq!(site.count("SELECT COUNT(*) FROM audit"), 0);
    site.sql("DROP TRIGGER t");
    assert!(check(&site, "writes").starts_with("ok "));
    for (table, event) in [
        ("authpolicy_count", "INSERT"),
        ("authpolicy_seen", "UPDATE"),
        ("authpolicy_delivered", "DELETE"),
        ("authpolicy_exception", "DELETE"),
    ] {
        let trigger = format!("CREATE TRIGGER t AFTER {event} ON {table} FOR EACH ROW");
        site.sql(&format!("{trigger} INSERT INTO audit VALUES (1)"));
        let writes = check(&site, "writes");
        assert_eq!(writes, format!("warning {table} is not tried: it has triggers"));
        site.sql("DROP TRIGGER t");
    }
    assert_eq!(site.count("SELECT COUNT(*) FROM audit"), 0);
    site.sql("CREATE VIEW shown AS SELECT username FROM connection_log");
    let good = site.read("authpolicy.toml");
    let insert = "[log]\ninsert = \"INSERT INTO shown (username) VALUES (:username)\"\n";
    site.write_config(&format!("{good}{insert}"));
    let writes = check(&site, "writes");
    let want = "log.insert is not tried: shown is a view, or its engine has no transactions";
    assert_eq!(writes, format!("warning {want}"));
    site.write_config(&good);
    for table in TABLES {
        site.sql(&format!("ALTER TABLE {table} ENGINE = Aria TRANSACTIONAL = 0"));
    }
    let writes = check(&site, "writes");
    for table in TABLES {
        let subject = if table == "connection_log" { "log.insert" } else { table };
        let it = if table == "connection_log" { table } else { "it" };
        let reason = format!("{it} is a view, or its engine has no transactions");
        assert!(writes.contains(&format!("{subject} is not tried: {reason}")), "{writes}");
    }
    assert_eq!(contents(&site), before);
}

/// The function may write to a table without transactions.
#[test]
fn a_statement_that_calls_a_stored_function_is_not_tried() {
    let (site, server, name) = site_with_limit();
    let root = |sql: &str| server.root(&name).query_drop(sql).unwrap();
    root("CREATE TABLE audit (n int) ENGINE = MyISAM");
    root(
        "CREATE FUNCTION note(name text) RETURNS text MODIFIES SQL DATA \
         BEGIN INSERT INTO audit VALUES (1); RETURN name; END",
    );
    root("REVOKE ALL ON *.* FROM exim@localhost");
    root("GRANT SELECT, INSERT, UPDATE, DELETE, EXECUTE ON *.* TO exim@localhost");
    let good = site.read("authpolicy.toml");
    let columns = "INSERT INTO connection_log (protocol, username, remote_ip, country)";
    for (username, want) in [
        ("CONCAT(:username, 'noted')", "ok tried, and rolled back"),
        (
            "note(:username)",
            "warning log.insert is not tried: it may call the stored function note",
        ),
        (
            "`Note` (:username)",
            "warning log.insert is not tried: it may call the stored function note",
        ),
    ] {
        let insert = format!("{columns} VALUES (:protocol, {username}, :remote_ip, :country)");
        site.write_config(&format!("{good}[log]\ninsert = \"{insert}\"\n"));
        let (status, stdout, stderr) = config(&site);
        assert_eq!(site.count("SELECT COUNT(*) FROM audit"), 0);
        assert_eq!((status, value(&stdout, "writes")), (0, want), "{stderr}");
    }
}

/// The server prepares these statements, and refuses to run them.
#[test]
fn config_fails_if_a_server_refuses_writes() {
    let (site, server, _) = site_with_limit();
    let before = contents(&site);
    server.kill();
    let settings =
        ["--log-bin=binlog", "--binlog-format=STATEMENT", "--transaction-isolation=READ-COMMITTED"];
    server.restart_with(&settings.map(String::from));
    let (status, stdout, stderr) = config(&site);
    assert_eq!(status, 2, "{stdout}");
    let writes = value(&stdout, "writes");
    assert!(
        writes.starts_with("failed ") && writes.contains("log.insert: error 1665: "),
        "{writes}"
    );
    assert!(stderr.contains("log.insert: error 1665: "), "{stderr}");
    server.kill();
    server.restart();
    let (status, stdout, _) = config(&site);
    assert_eq!((status, value(&stdout, "writes")), (0, "ok tried, and rolled back"), "{stdout}");

    // `read_only` applies to users without special rights.
    server.root("").query_drop("SET GLOBAL read_only = 1").unwrap();
    server.root("").query_drop("REVOKE ALL ON *.* FROM exim@localhost").unwrap();
    server
        .root("")
        .query_drop("GRANT SELECT, INSERT, UPDATE, DELETE ON *.* TO exim@localhost")
        .unwrap();
    let (status, stdout, _) = config(&site);
    assert!(
        status == 2 && value(&stdout, "writes").contains("log.insert: error 1290: "),
        "{stdout}"
    );
    assert_eq!(contents(&site), before);
}

const OWN_TABLES: &str =
    "authpolicy_delivered, authpolicy_count, authpolicy_seen, authpolicy_exception";
const TRIGGERS_HIDDEN: &str = "not tried, because this user cannot see triggers";

/// A site on MySQL with triggers, whose user has the rights that schema.sql grants.
fn stage_on_mysql() -> (Site, Arc<MariaDb>, String) {
    let (site, server, name) = site_with_limit_on(common::mysql::start());
    assert_eq!(check(&site, "writes"), "ok tried, and rolled back");
    let root = |sql: &str| server.root(&name).query_drop(sql).unwrap();
    root("REVOKE ALL ON *.* FROM exim@127.0.0.1");
    for grant in [
        "SELECT ON account",
        "INSERT ON connection_log",
        "SELECT, INSERT, DELETE ON authpolicy_delivered",
        "SELECT, INSERT, UPDATE, DELETE ON authpolicy_count",
        "SELECT, INSERT, UPDATE, DELETE ON authpolicy_seen",
        "SELECT, INSERT, DELETE ON authpolicy_exception",
    ] {
        root(&format!("GRANT {grant} TO exim@127.0.0.1"));
    }
    root("CREATE TABLE audit (n int) ENGINE = MyISAM");
    for (trigger, table) in [("t", "connection_log"), ("u", "authpolicy_count")] {
        let trigger = format!("CREATE TRIGGER {trigger} AFTER INSERT ON {table} FOR EACH ROW");
        root(&format!("{trigger} INSERT INTO audit VALUES (1)"));
    }
    (site, server, name)
}

/// MySQL shows triggers only to users with the TRIGGER right.
#[test]
fn nothing_is_written_if_triggers_cannot_be_seen() {
    let (site, _server, _) = stage_on_mysql();
    let before = contents(&site);
    let (status, stdout, stderr) = config(&site);
    let writes = value(&stdout, "writes");
    assert_eq!(site.count("SELECT COUNT(*) FROM audit"), 0, "{writes}");
    let want = format!("warning log.insert, {OWN_TABLES} {TRIGGERS_HIDDEN}");
    assert_eq!((status, writes), (0, want.as_str()), "{stderr}");
    assert_eq!(contents(&site), before);
}

#[test]
fn the_trigger_right_is_found_for_a_table_a_database_and_the_server() {
    let (site, server, name) = stage_on_mysql();
    let change_right = |verb: &str, place: &str| {
        let to = if verb == "GRANT" { "TO" } else { "FROM" };
        let sql = format!("{verb} TRIGGER ON {place} {to} exim@127.0.0.1");
        server.root(&name).query_drop(sql).unwrap();
    };
    let log = "log.insert is not tried: connection_log has triggers";
    let count = "authpolicy_count is not tried: it has triggers";
    let database = format!("{name}.*");
    for (place, want) in [
        ("connection_log", format!("warning {log}; {OWN_TABLES} {TRIGGERS_HIDDEN}")),
        (&database, format!("warning {log}; {count}")),
        ("*.*", format!("warning {log}; {count}")),
    ] {
        change_right("GRANT", place);
        assert_eq!(check(&site, "writes"), want, "{place}");
        change_right("REVOKE", place);
    }
    server.root("").query_drop("SET GLOBAL partial_revokes = ON").unwrap();
    change_right("GRANT", "*.*");
    change_right("REVOKE", &database);
    assert_eq!(
        check(&site, "writes"),
        format!("warning log.insert, {OWN_TABLES} {TRIGGERS_HIDDEN}")
    );
    change_right("GRANT", &database);
    server.root("").query_drop("SET GLOBAL partial_revokes = OFF").unwrap();
    server.root(&name).query_drop("DROP TRIGGER t").unwrap();
    assert_eq!(check(&site, "writes"), format!("warning {count}"));
    assert_eq!(site.count("SELECT COUNT(*) FROM audit"), 0);
}

/// Otherwise every row would be set aside.
#[test]
fn config_fails_if_the_table_refuses_an_ordinary_row() {
    let partitions =
        "ALTER TABLE connection_log PARTITION BY RANGE (id) (PARTITION p VALUES LESS THAN (2))";
    let with_column = "DROP TABLE connection_log; \
        CREATE TABLE connection_log (id INTEGER PRIMARY KEY, datetime, protocol, username, remote_ip, country, auth_ok, \
        policy_reject, host TEXT NOT NULL)";
    for (base, change, want) in [
        (Base::Sqlite, with_column, "NOT NULL constraint failed: connection_log.host"),
        (Base::mariadb(), partitions, "error 1526: "),
    ] {
        let site = site(base, "", &[limit("guessing", "account", "failures", 3)]);
        let exim = site.exim();
        assert_eq!(attempt(&exim, GB, "u@example.com", "secret"), ACCEPTED, "{}", site.main_log());
        assert_eq!(check(&site, "writes"), "ok tried, and rolled back");
        site.sql(change);
        let (status, stdout, stderr) = config(&site);
        let writes = value(&stdout, "writes");
        let refused =
            "log.insert: the table refuses an ordinary row, so that rows would be set aside: ";
        assert!(status == 2 && writes.starts_with("failed "), "{stdout}");
        assert!(writes.contains(&format!("{refused}{want}")), "{writes}");
        assert!(stderr.contains(want), "{stderr}");
    }
}

/// While another session has a table locked for reading, the server prepares the statements, and
/// the writes time out.
#[test]
fn writes_to_each_table_are_tried() {
    let (site, server, name) = site_with_limit();
    for table in TABLES {
        let mut reader = server.root(&name);
        reader.query_drop(format!("LOCK TABLES {table} READ")).unwrap();
        let (status, stdout, _) = config(&site);
        let subject = if table == "connection_log" { "log.insert" } else { table };
        let writes = value(&stdout, "writes");
        assert!(status == 2 && writes.starts_with("failed "), "{table}: {stdout}");
        assert!(writes.contains(&format!(": {subject}: took too long")), "{table}: {writes}");
    }
    assert_eq!(check(&site, "writes"), "ok tried, and rolled back");
}

#[test]
fn the_writes_of_each_server_are_tried() {
    let (site, first, name) = site_with_limit();
    let good = site.read("authpolicy.toml");
    let (_other_site, second, _) = site_with_limit();
    let place = |server: &MariaDb| format!("mysql 127.0.0.1:{} {name}", server.port);
    let dead = format!("mysql://exim@127.0.0.1:{}/{name}", free_port());
    let list = format!("url = [\"{}\", \"{}\", \"{dead}\"]", site.url(), second.tcp_url(&name));
    site.write_config(&good.replace(&format!("url = \"{}\"", site.url()), &list));
    let (status, stdout, stderr) = config(&site);
    assert_eq!((status, value(&stdout, "writes")), (0, "ok tried, and rolled back"), "{stderr}");

    // A table is missing on the second server alone: two that are required, and one that is not.
    let on_second = |sql: &str| second.root(&name).query_drop(sql).unwrap();
    for (table, status, want) in [
        ("connection_log", 2, "failed "),
        ("authpolicy_count", 2, "failed "),
        ("authpolicy_delivered", 0, "warning "),
    ] {
        on_second(&format!("RENAME TABLE {table} TO away"));
        let (exit_status, stdout, _) = config(&site);
        let writes = value(&stdout, "writes");
        assert_eq!(exit_status, status, "{stdout}");
        let want = format!("{want}{}: ", place(&second));
        assert!(writes.starts_with(&want) && writes.contains(table), "{writes}");
        assert!(!writes.contains(&place(&first)), "{writes}");
        on_second(&format!("RENAME TABLE away TO {table}"));
    }

    for server in [&second, &first] {
        let root = |sql: &str| server.root("").query_drop(sql).unwrap();
        root("SET GLOBAL read_only = 1");
        root("REVOKE ALL ON *.* FROM exim@localhost");
        root("GRANT SELECT, INSERT, UPDATE, DELETE ON *.* TO exim@localhost");
        let (status, stdout, stderr) = config(&site);
        let writes = value(&stdout, "writes");
        assert_eq!(status, 2, "{stdout}");
        // The cause is printed once, with all its servers.
        let both = format!("{}, {}", place(&first), place(&second));
        let places = if Arc::ptr_eq(server, &second) { place(&second) } else { both };
        assert!(
            writes.starts_with(&format!("failed {places}: log.insert: error 1290: ")),
            "{writes}"
        );
        assert_eq!(writes.matches("error 1290: ").count(), 1, "{writes}");
        assert_eq!(stderr.matches("error 1290: ").count(), 1, "{stderr}");
    }
}
