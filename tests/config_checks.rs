//! `authpolicy config` names the servers that cannot be reached, and each cause once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test code"
)]

mod common;

use common::Base;
use common::config::config;
use common::config::site_with_limit;
use common::config::value;
use common::exim::free_port;
use common::limits::attempt;
use common::limits::limit;
use common::limits::site;
use common::site::GB;
use common::smtp::ACCEPTED;

#[test]
fn an_unreachable_server_is_named_and_each_cause_is_printed_once() {
    let (site, server, name) = site_with_limit();
    let (status, stdout, stderr) = config(&site);
    assert_eq!((status, value(&stdout, "servers")), (0, "ok"), "{stdout}{stderr}");
    let good = site.read("authpolicy.toml");

    let dead = format!("127.0.0.1:{}", free_port());
    let url = format!("mysql://exim@{dead}/{name}");
    let list = format!("url = [\"{url}\", \"{}\"]", site.url());
    site.write_config(&good.replace(&format!("url = \"{}\"", site.url()), &list));
    let (status, stdout, _) = config(&site);
    let servers = value(&stdout, "servers");
    let want = format!("warning attempts pass over these servers: mysql {dead} {name}: ");
    assert!(status == 0 && servers.starts_with(&want), "{stdout}");
    assert!(!servers.contains(&server.port.to_string()), "{servers}");
    assert!(value(&stdout, "writes").starts_with("ok "), "{stdout}");

    site.write_config(&good);
    server.kill();
    let (status, stdout, stderr) = config(&site);
    let want =
        format!("no database server can be reached: mysql 127.0.0.1:{} {name}: ", server.port);
    assert_eq!(status, 2);
    assert!(value(&stdout, "servers").starts_with(&format!("failed {want}")), "{stdout}");
    assert_eq!(stdout.matches(&want).count(), 1, "{stdout}");
    assert_eq!(stderr.matches(&want).count(), 1, "{stderr}");
    for check in ["accounts", "log", "tables", "writes", "names", "failure_time", "limits"] {
        assert_eq!(value(&stdout, check), "skipped, see check.servers");
    }

    // With two databases, the other one is still checked.
    let log = format!("[log]\nurl = \"sqlite:{}\"\n", site.path("state/log.db").display());
    site.write_config(&format!("{good}{log}"));
    site.tool(&["db", "init"], "");
    let (status, stdout, _) = config(&site);
    assert!(status == 2 && value(&stdout, "servers").starts_with("failed no database"), "{stdout}");
    assert!(
        value(&stdout, "log").starts_with("ok ") && value(&stdout, "writes").starts_with("ok ")
    );
    assert_eq!(value(&stdout, "accounts"), "skipped, see check.servers");
}

#[test]
fn a_missing_embedded_database_is_reported_once() {
    let site = site(Base::Sqlite, "", &[limit("guessing", "account", "failures", 3)]);
    let exim = site.exim();
    assert_eq!(attempt(&exim, GB, "u@example.com", "secret"), ACCEPTED, "{}", site.main_log());
    std::fs::remove_file(site.path("state/authpolicy.db")).unwrap();
    let (status, stdout, _) = config(&site);
    assert_eq!(status, 2);
    assert_eq!(stdout.matches("does not exist").count(), 1, "{stdout}");
    assert_eq!(value(&stdout, "log"), "failed, see check.embedded");
}

#[test]
fn a_statement_or_table_that_does_not_fit_is_reported_once() {
    for base in Base::all() {
        let site = site(base, "", &[limit("guessing", "account", "failures", 3)]);
        let good = site.read("authpolicy.toml");
        let insert = "[log]\ninsert = \"INSERT INTO connection_log (nope) VALUES (:username)\"\n";
        site.write_config(&format!("{good}{insert}"));
        let (status, stdout, _) = config(&site);
        assert!(status == 2 && value(&stdout, "log").contains("nope"), "{stdout}");
        assert_eq!(value(&stdout, "writes"), "failed, see check.log");
        site.write_config(&good);
        site.sql("DROP TABLE authpolicy_count");
        let (status, stdout, _) = config(&site);
        assert!(status == 2 && value(&stdout, "tables").contains("authpolicy_count"), "{stdout}");
        assert_eq!(value(&stdout, "writes"), "failed, see check.tables");
    }
}
