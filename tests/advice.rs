//! `authpolicy config` and other verbs name each fault, its key and the remedy. The database rights
//! in the documents are sufficient.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test code"
)]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::chown;
use std::path::Path;

use common::Base;
use common::Client;
use common::MariaDb;
use common::Site;
use common::config::check;
use common::site::CN;
use common::site::GB;
use mysql::prelude::Queryable;

const POLICY: &str = "[policy]\nallow_countries = [\"GB\"]\nfailure_time = \"0s\"\n";
const LIMIT: &str = "hash_nonce = \"x\"\n[[policy.limit]]\nname = \"guessing\"\nper = \"account\"\n\
                     count = \"passwords\"\nmax = 3\nwithin = \"1h\"\n";

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Returns the exit status of `authpolicy config`, and all that it prints.
fn config(site: &Site) -> (i32, String) {
    let output = site.run_tool(&["config"], "");
    let printed = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8_lossy(&printed).into_owned())
}

/// Creates a user on the server, and makes Exim log in to the database as that user.
fn log_in_as_new_user(site: &Site, server: &MariaDb, database: &str, user: &str) {
    server.root("").query_drop(format!("CREATE USER {user}@localhost IDENTIFIED BY 'x'")).unwrap();
    let url = format!("mysql://{user}:x@localhost/{database}?socket={}", server.socket().display());
    site.write_config(&site.read("authpolicy.toml").replace(&site.url(), &url));
}

#[test]
fn a_missing_right_is_not_reported_as_a_missing_table() {
    let base = Base::mariadb();
    let Base::MariaDb(server, name, _) = &base else { panic!("MariaDB") };
    let site = Site::new(base.clone(), POLICY);
    let good = site.read("authpolicy.toml");
    log_in_as_new_user(&site, server, name, "poor");
    let mut root = server.root(name);
    root.query_drop("GRANT SELECT ON account TO poor@localhost").unwrap();
    let log = check(&site, "log");
    assert!(
        log.contains("error 1142: INSERT") && log.contains(": GRANT INSERT ON connection_log to"),
        "{log}"
    );
    root.query_drop("GRANT SELECT ON connection_log TO poor@localhost").unwrap();
    let log = check(&site, "log");
    assert!(
        log.contains("error 1142: INSERT") && log.contains("for `prune` SELECT and DELETE;"),
        "{log}"
    );
    for verb in [&["prune", "--keep", "1d"][..], &["log"]] {
        root.query_drop("REVOKE ALL ON connection_log FROM poor@localhost").unwrap();
        root.query_drop("GRANT INSERT ON connection_log TO poor@localhost").unwrap();
        let output = site.run_tool(verb, "");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(stderr.contains("error 1142") && stderr.contains(": GRANT "), "{stderr}");
    }
    let tables = check(&site, "tables");
    assert!(tables.starts_with("warning authpolicy_delivered cannot be used"), "{tables}");
    assert!(tables.contains("GRANT SELECT, INSERT, DELETE ON authpolicy_exception"), "{tables}");
    assert!(check(&site, "log").starts_with("ok"));
    site.write_config(&good);
    assert!(check(&site, "tables").starts_with("ok: authpolicy_delivered ok"));
}

#[test]
fn a_missing_table_can_be_created_or_renamed_back() {
    for base in Base::all() {
        let site = Site::new(base, POLICY);
        site.configure(&format!("{}\n{POLICY}", site.geoip()));
        for table in ["connection_log", "account"] {
            site.sql(&format!("ALTER TABLE {table} RENAME TO elsewhere"));
            let (status, printed) = config(&site);
            let want = ": run `authpolicy db init`, or rename it back";
            assert!(status == 2 && printed.contains(want), "{printed}");
            site.sql(&format!("ALTER TABLE elsewhere RENAME TO {table}"));
        }
        site.sql("DROP TABLE authpolicy_seen");
        let (status, printed) = config(&site);
        assert!(status == 0 && printed.contains("check.tables=warning "), "{printed}");
    }
}

#[test]
fn config_fails_if_the_embedded_database_cannot_be_written() {
    let site = Site::new(Base::Sqlite, POLICY);
    assert!(check(&site, "log").starts_with("ok"), "before any change");
    let file = site.path("state/authpolicy.db");
    chmod(&file, 0o400);
    let log = check(&site, "log");
    assert!(
        log.starts_with("failed ") && log.contains("/authpolicy.db: Permission denied, but the"),
        "{log}"
    );
    chmod(&file, 0o600);
    chmod(&site.path("state"), 0o500);
    let log = check(&site, "log");
    assert!(
        log.starts_with("failed ") && log.contains("/state: Permission denied, but the"),
        "{log}"
    );
    chmod(&site.path("state"), 0o700);
    assert!(check(&site, "log").starts_with("ok"));
}

#[test]
fn a_missing_or_inaccessible_state_directory_is_reported_with_its_key() {
    let site = Site::new(Base::Sqlite, POLICY);
    let good = site.read("authpolicy.toml");
    chmod(&site.path("state"), 0o600);
    let (status, printed) = config(&site);
    let want = "/state: may not be entered by uid";
    assert!(
        status == 2 && printed.contains(want) && printed.contains("is state.directory"),
        "{printed}"
    );
    assert!(!printed.contains("does not exist"), "{printed}");
    chmod(&site.path("state"), 0o700);
    let deep = site.path("deep");
    fs::create_dir(&deep).unwrap();
    chmod(&deep, 0o700);
    fs::rename(site.path("state"), deep.join("state")).unwrap();
    site.write_config(&good.replace("/state", "/deep/state"));
    let (status, printed) = config(&site);
    let want = "/deep: may not be entered by uid";
    assert!(
        status == 2 && printed.contains(want) && printed.contains("above state.directory"),
        "{printed}"
    );
    chmod(&deep, 0o755);
    assert_eq!(config(&site).0, 0, "after chmod 755");
    site.write_config(&good);
    let (status, printed) = config(&site);
    assert!(
        status == 2 && printed.contains("/state: is missing: run `authpolicy db init`"),
        "{printed}"
    );
    assert!(printed.contains("correct state.directory"), "{printed}");
    site.write_config(&good.replace("/state", "/no/such/state"));
    let output = site.run_tool(&["db", "init"], "");
    let printed = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        printed.contains("cannot be made") && printed.contains("correct state.directory"),
        "{printed}"
    );
}

#[test]
fn an_unreadable_file_is_reported_with_the_remedy() {
    let site = Site::new(Base::Sqlite, POLICY);
    let country = site.path("country.mmdb");
    chmod(&country, 0o600);
    let geoip = check(&site, "geoip");
    assert!(geoip.contains("cannot be read by uid") && geoip.contains("chgrp it to"), "{geoip}");
    assert!(geoip.contains(": see geoip.database: "), "{geoip}");
    fs::write(&country, "").unwrap();
    chmod(&country, 0o644);
    let geoip = check(&site, "geoip");
    assert!(geoip.contains("is empty") && geoip.contains("see geoip.database"), "{geoip}");
    fs::remove_file(&country).unwrap();
    let geoip = check(&site, "geoip");
    assert!(geoip.contains("see geoip.database: fetch it, or correct"), "{geoip}");
    let toml = site.path("authpolicy.toml");
    chmod(&toml, 0o600);
    chown(&toml, Some(0), Some(0)).unwrap();
    let (status, printed) = config(&site);
    assert!(status == 2 && printed.contains("authpolicy.toml: cannot be read by uid"), "{printed}");
    assert!(printed.contains("chgrp it to the group of Exim's user, and chmod 640"), "{printed}");
    fs::remove_file(&toml).unwrap();
    assert!(config(&site).1.contains("with config= in Exim and --config of the"));
}

/// Returns the statements of a document: those before `authpolicy db init`, and those after it.
fn setup_statements(name: &str, user: &str, text: &str) -> [Vec<String>; 2] {
    let text = text.replace("mail.", &format!("{name}.")).replace("exim@localhost", user);
    let text = text.replace("exim@'192.0.2.%'", user);
    let statements = text.split(';').map(|statement| statement.trim().to_owned());
    let wanted = |s: &String| !s.is_empty() && !s.starts_with("CREATE DATABASE");
    let (after, before): (Vec<_>, Vec<_>) = {
        let all: Vec<_> = statements.filter(wanted).collect();
        let at = all.iter().position(|s| s.starts_with("REVOKE CREATE")).expect("REVOKE");
        (all[at..].to_vec(), all[..at].to_vec())
    };
    [before, after]
}

/// Sets up an empty server with the statements of a document alone. Then checks that Exim and the
/// tool have every right that they need.
fn set_up_by_document(base: &Base, user: &str, text: &str) {
    let Base::MariaDb(server, name, _) = base else { panic!("MariaDB") };
    let site = Site::new(base.clone(), "");
    let mut root = server.root("");
    root.query_drop(format!("DROP DATABASE {name}")).unwrap();
    root.query_drop(format!("CREATE DATABASE {name} CHARACTER SET utf8mb4")).unwrap();
    let url = format!("mysql://{user}:pw@localhost/{name}?socket={}", server.socket().display());
    let query = "SELECT password, allow_countries, address AS username FROM mailbox \
                 WHERE address = :user";
    site.configure(&format!("[accounts]\nquery = \"{query}\"\n{}\n{POLICY}{LIMIT}", site.geoip()));
    site.write_config(&site.read("authpolicy.toml").replace(&site.url(), &url));
    let [before, after] = setup_statements(name, &format!("{user}@localhost"), text);
    for sql in before {
        root.query_drop(sql.replace("'secret'", "'pw'").replace("'change-me'", "'pw'")).unwrap();
    }
    let printed = site.tool(&["db", "init"], "");
    assert_eq!(printed.lines().filter(|line| line.ends_with(" made")).count(), 5, "{printed}");
    for sql in after {
        root.query_drop(&sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
    }
    site.sql("INSERT INTO mailbox (address, password) VALUES ('u@example.com', '{PLAIN}secret')");
    let (status, printed) = config(&site);
    assert!(status == 0 && printed.contains("check.tables=ok: "), "{printed}");
    let exim = site.exim();
    let attempt = |remote, password: &str| {
        Client::connect_from(exim.port, remote).plain(b"u@example.com", password.as_bytes())
    };
    assert!(attempt(GB, "secret").starts_with("235"), "{}", site.main_log());
    assert!(attempt(GB, "wrong").starts_with("535"), "{}", site.main_log());
    assert!(attempt(CN, "secret").starts_with("535"), "{}", site.main_log());
    site.tool(&["exception", "add", "u@example.com", "--countries", "CN", "--until", "2d"], "");
    assert!(attempt(CN, "secret").starts_with("235"), "{}", site.main_log());
    assert!(site.tool(&["log"], "").contains("u@example.com"));
    site.tool(&["exception", "del", "1"], "");
    site.run_tool(&["limits", "clear", "--all"], "");
    site.run_tool(&["limits", "clear", "--account", "u@example.com"], "");
    assert_eq!(site.tool(&["prune", "--keep", "90d"], ""), "deleted=0\n");
    assert!(site.tool(&["flush"], "").contains("waiting=0"));
    assert!(!site.main_log().contains("error="), "{}", site.main_log());
}

fn document(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

#[test]
fn the_rights_in_the_example_schema_are_sufficient() {
    let text = document("exim-config-examples/mariadb/schema.sql");
    let words = ["CREATE DATABASE", "CREATE USER", "GRANT", "REVOKE"];
    let rights = text.lines().filter_map(|line| line.strip_prefix("--   "));
    let rights: Vec<_> = rights.filter(|s| words.iter().any(|w| s.starts_with(w))).collect();
    let (_, table) = text.split_once("CREATE TABLE IF NOT EXISTS ").expect("the table");
    // Comments are removed, because one contains a semicolon.
    let table: Vec<_> = table.lines().map(|line| line.split("  -- ").next().unwrap()).collect();
    let table = format!("CREATE TABLE mail.{}", table.join("\n"));
    set_up_by_document(&Base::mariadb(), "example", &format!("{table}\n{}", rights.join("\n")));
}

#[test]
fn the_rights_in_the_steps_for_a_cluster_are_sufficient() {
    let text = document("docs/operations.md");
    let blocks = text.split("```sql\n").skip(1).map(|block| block.split("```").next().unwrap());
    set_up_by_document(&Base::mariadb(), "cluster", &blocks.collect::<String>());
}

#[test]
fn a_server_that_answers_is_not_reported_as_unreachable() {
    let base = Base::mariadb();
    let Base::MariaDb(server, name, _) = &base else { panic!("MariaDB") };
    let site = Site::new(base.clone(), POLICY);
    let good = site.read("authpolicy.toml");
    log_in_as_new_user(&site, server, name, "nobody");
    let servers = check(&site, "servers");
    assert!(
        servers.contains("error 1044") && servers.contains(": GRANT this user rights"),
        "{servers}"
    );
    for (bad, code, want) in [
        (good.replace("exim:", "exam:"), "1045", "correct user and password in database.url"),
        (good.replace(&format!("/{name}?"), "/nil?"), "1049", ": CREATE DATABASE, or correct"),
    ] {
        assert_ne!(bad, good);
        site.write_config(&bad);
        let servers = check(&site, "servers");
        assert!(
            servers.starts_with("failed no database server accepts the connection"),
            "{servers}"
        );
        assert!(servers.contains(&format!("error {code}")) && servers.contains(want), "{servers}");
    }
}

#[test]
fn config_warns_of_an_unusable_server_in_the_list() {
    let base = Base::mariadb();
    let site = Site::new(base, POLICY);
    let good = site.read("authpolicy.toml");
    let url = format!("\"{}\"", site.url());
    assert_eq!(check(&site, "servers"), "ok");
    let closed_port = common::exim::free_port();
    let unreachable = format!("\"mysql://exim:x@127.0.0.1:{closed_port}/mail\"");
    for (others, want) in [
        (unreachable, format!("127.0.0.1:{closed_port} mail: ")),
        (url.replace("exim:", "exam:"), String::from("error 1045")),
    ] {
        site.write_config(&good.replace(&url, &format!("[{others}, {url}]")));
        let (status, printed) = config(&site);
        let servers = check(&site, "servers");
        assert!(status == 0 && servers.starts_with("warning "), "{printed}");
        assert!(servers.contains(&want), "{servers}");
    }
    site.write_config(&good.replace(&url, &format!("[{url}, {url}]")));
    assert_eq!(check(&site, "servers"), "ok");
}

#[test]
fn config_warns_that_serve_stale_is_useless_with_limits_in_the_same_database() {
    let site = Site::new(Base::mariadb(), POLICY);
    let good = site.read("authpolicy.toml");
    let stale = good.replace("[accounts]\n", "[accounts]\nserve_stale = \"24h\"\n");
    let limited = |text: &str| {
        let limit = "[[policy.limit]]\nname = \"guessing\"\nper = \"account\"\n\
                     count = \"passwords\"\nmax = 10\nwithin = \"1h\"\n";
        text.replace("[policy]\n", "[policy]\nhash_nonce = \"x\"\n") + limit
    };
    for (text, is_useless) in [(&good, false), (&stale, false), (&limited(&stale), true)] {
        site.write_config(text);
        let result = check(&site, "serve_stale");
        assert_eq!(result.starts_with("warning is of no use with limits"), is_useless, "{result}");
    }
}

#[test]
fn config_says_which_keys_need_preload_in_exims_configuration() {
    let site = Site::new(Base::Sqlite, POLICY);
    let good = site.read("authpolicy.toml");
    assert_eq!(check(&site, "preload"), "ok: not needed, but each AUTH is faster with it");
    for (keys, named) in [
        ("cache = \"30s\"\n", "accounts.cache"),
        ("remember_verified = \"10m\"\n", "accounts.remember_verified"),
        ("cache = \"0s\"\nremember_verified = \"1s\"\n", "accounts.remember_verified"),
        (
            "cache = \"1h\"\nremember_verified = \"1h\"\n",
            "accounts.cache and accounts.remember_verified",
        ),
    ] {
        site.write_config(&good.replace("[accounts]\n", &format!("[accounts]\n{keys}")));
        let line = "smtp_accept_max_per_host = ${dlfunc{/usr/lib/exim/authpolicy.so}{preload}{}}";
        let want = format!("ok: needed for {named}: Exim's main section must have {line}");
        assert_eq!(check(&site, "preload"), want);
    }
    let too_long = "[accounts]\ncache = \"61m\"\n";
    site.write_config(&good.replace("[accounts]\n", too_long));
    let (status, printed) = config(&site);
    assert_eq!(status, 2, "{printed}");
}
