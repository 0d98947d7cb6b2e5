//! Servers that make the MySQL driver panic, in a real Exim and with the tool. Also database users
//! who log in with `ed25519`.
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
use std::time::Duration;
use std::time::Instant;

use authpolicy::config::Database;
use authpolicy::config::Timeouts;
use authpolicy::store::Deadline;
use authpolicy::store::Store;
use common::Base;
use common::Client;
use common::Exim;
use common::MariaDb;
use common::Site;
use common::fake_server::FakeServer;
use common::fake_server::Oddity;
use common::fake_server::PANICS;
use common::journal::flush;
use common::site::GB;
use common::smtp::ACCEPTED;
use common::smtp::CANNOT_TELL;
use common::smtp::REFUSED;
use mysql::prelude::Queryable;

const POLICY: &str = "[policy]\nallow_countries = [\"GB\"]\nfailure_time = \"0s\"\n";

fn site(base: Base) -> Site {
    let site = Site::new(base, POLICY);
    site.account("u@example.com", "secret");
    site
}

/// Replaces the site's `url` line.
fn replace_url(site: &Site, url: &str) {
    let config = site.read("authpolicy.toml");
    let before = format!("url = \"{}\"\n", site.url());
    assert!(config.contains(&before), "{config}");
    site.write_config(&config.replacen(&before, &format!("{url}\n"), 1));
}

fn attempt(exim: &Exim, password: &[u8]) -> String {
    let mut client = Client::connect_from(exim.port, GB);
    let reply = client.plain(b"u@example.com", password);
    assert!(client.command("NOOP").starts_with("250 "), "Exim's process is still there");
    reply
}

fn auth_ok(site: &Site) -> Vec<Option<bool>> {
    site.rows().iter().map(|row| row.auth_ok).collect()
}

/// Checks that the line names the server and the place of the panic, and holds no parsed data.
fn assert_names_cause(line: &str, server: &FakeServer, oddity: Oddity) {
    let place = format!("mysql 127.0.0.1:{} mail", server.port);
    assert!(line.contains(&place), "{line}");
    let (_, cause) = line
        .split_once(": internal error at mysql")
        .unwrap_or_else(|| panic!("{oddity:?}: {line}"));
    let (file, rest) = cause.split_once(".rs:").unwrap_or_else(|| panic!("{line}"));
    assert!(file.contains("/src/") && rest.starts_with(|c: char| c.is_ascii_digit()), "{line}");
    for text in ["feature", "index out of", "PEM", "hunter2", ".cargo"] {
        assert!(!line.contains(text), "{line}");
    }
}

#[test]
fn after_a_driver_panic_the_next_server_of_the_list_is_tried() {
    let site = site(Base::mariadb());
    let exim = site.exim();
    assert_eq!(attempt(&exim, b"secret"), ACCEPTED, "{}", site.main_log());
    let url = site.url();
    let config = site.read("authpolicy.toml");
    for oddity in PANICS {
        let server = FakeServer::start(oddity);
        replace_url(&site, &format!("url = [\"{}\", \"{url}\"]", server.url("mail")));
        let (rows, lines) = (site.rows().len(), site.lines().len());
        assert_eq!(attempt(&exim, b"secret"), ACCEPTED, "{oddity:?}: {}", site.main_log());
        assert_eq!(attempt(&exim, b"wrong"), REFUSED, "{oddity:?}: {}", site.main_log());
        assert!(server.clients() >= 2, "{oddity:?}");
        assert_eq!(auth_ok(&site).split_off(rows), [Some(true), Some(false)], "{oddity:?}");
        let lines = site.lines().split_off(lines);
        assert_eq!(lines.len(), 2, "{lines:?}");
        site.write_config(&config);
    }
    assert_eq!(site.panic_log(), "");
}

#[test]
fn a_driver_panic_at_the_account_database_is_435_with_a_row() {
    for base in Base::all() {
        let site = site(base);
        let exim = site.exim();
        assert_eq!(attempt(&exim, b"secret"), ACCEPTED, "{}", site.main_log());
        let config = site.read("authpolicy.toml");
        for oddity in PANICS {
            let server = FakeServer::start(oddity);
            // The log database stays the same.
            let log = format!("[log]\nurl = \"{}\"", site.url());
            replace_url(&site, &format!("url = \"{}\"", server.url("mail")));
            site.write_config(&format!("{}\n{log}\n", site.read("authpolicy.toml")));
            let rows = site.rows().len();
            assert_eq!(attempt(&exim, b"secret"), CANNOT_TELL, "{oddity:?}: {}", site.main_log());
            assert_eq!(auth_ok(&site).split_off(rows), [None], "{oddity:?}");
            let line = site.lines().pop().unwrap();
            assert!(line.starts_with("attempt status=503 reason=internal "), "{line}");
            assert_names_cause(&line, &server, oddity);
            site.write_config(&config);
        }
        assert_eq!(attempt(&exim, b"secret"), ACCEPTED, "{}", site.main_log());
        assert_eq!(site.panic_log(), "");
    }
}

#[test]
fn a_driver_panic_at_the_log_database_does_not_change_the_answer() {
    for base in Base::all() {
        let site = site(base);
        let exim = site.exim();
        assert_eq!(attempt(&exim, b"secret"), ACCEPTED, "{}", site.main_log());
        let config = site.read("authpolicy.toml");
        for oddity in PANICS {
            let server = FakeServer::start(oddity);
            site.write_config(&format!("{config}\n[log]\nurl = \"{}\"\n", server.url("mail")));
            let rows = site.rows().len();
            assert_eq!(attempt(&exim, b"secret"), ACCEPTED, "{oddity:?}: {}", site.main_log());
            assert_eq!(attempt(&exim, b"wrong"), REFUSED, "{oddity:?}: {}", site.main_log());
            let lines = site.lines();
            let line = lines.iter().rfind(|line| line.contains("the row waits in the journal"));
            assert_names_cause(line.unwrap_or_else(|| panic!("{lines:?}")), &server, oddity);
            assert_eq!(site.rows().len(), rows);
            site.write_config(&config);
            assert_eq!(flush(&site), [2, 0, 0, 0], "{oddity:?}");
            assert_eq!(auth_ok(&site).split_off(rows), [Some(true), Some(false)], "{oddity:?}");
        }
        assert_eq!(site.panic_log(), "");
    }
}

#[test]
fn after_a_driver_panic_the_tool_exits_with_2_and_names_the_server_once() {
    let site = site(Base::Sqlite);
    assert!(site.run_tool(&["config"], "").status.success());
    let config = site.read("authpolicy.toml");
    for oddity in PANICS {
        let server = FakeServer::start(oddity);
        replace_url(&site, &format!("url = \"{}\"", server.url("mail")));
        for arguments in [&["config"][..], &["test", "u@example.com", GB], &["log"]] {
            let output = site.run_tool(arguments, "secret");
            let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
            let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
            assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stdout}{stderr}");
            assert!(!format!("{stdout}{stderr}").contains("panicked"), "{stdout}{stderr}");
            let message = match arguments {
                ["test", ..] => format!("{stdout}{stderr}"),
                _ => stderr.clone(),
            };
            let line = message.lines().find(|line| line.contains("internal error"));
            assert_names_cause(
                line.unwrap_or_else(|| panic!("{oddity:?} {arguments:?}: {message}")),
                &server,
                oddity,
            );
            assert!(stderr.lines().count() <= 1, "{stderr}");
        }
        site.write_config(&config);
    }
}

/// The server sends 32 random bytes. The driver drops a zero at their end, so that one login in 256
/// is denied and has to be repeated.
#[test]
fn every_ed25519_login_succeeds() {
    let server = MariaDb::start();
    let name = server.database();
    let mut root = server.root("");
    root.query_drop("INSTALL SONAME 'auth_ed25519'").unwrap();
    let by = "IDENTIFIED VIA ed25519 USING PASSWORD('secret')";
    root.query_drop(format!("CREATE USER ed@localhost {by}")).unwrap();
    root.query_drop(format!("GRANT ALL ON {name}.* TO ed@localhost")).unwrap();
    let socket = server.socket().display().to_string();
    let url = |password: &str| format!("mysql://ed:{password}@localhost/{name}?socket={socket}");
    let open = |password: &str| {
        let database = Database::parse(&[url(password)]).unwrap();
        let minute = Duration::from_secs(60);
        let timeouts = Timeouts { connect: minute, query: minute, attempt: minute };
        Store::open(&database, Deadline::new(Instant::now(), timeouts)).map(drop)
    };
    for _ in 0..1500 {
        open("secret").unwrap();
    }
    assert!(open("wrong").unwrap_err().to_string().contains("error 1045"));
}

#[test]
fn ed25519_logins_work_over_socket_and_tcp() {
    let server = Arc::new(MariaDb::start());
    let name = server.database();
    let site = site(Base::MariaDb(Arc::clone(&server), name.clone(), server.url(&name)));
    let exim = site.exim();
    assert_eq!(attempt(&exim, b"secret"), ACCEPTED, "{}", site.main_log());
    let mut root = server.root("");
    root.query_drop("INSTALL SONAME 'auth_ed25519'").unwrap();
    for host in ["localhost", "127.0.0.1"] {
        let user = format!("ed@{host}");
        let by = "IDENTIFIED VIA ed25519 USING PASSWORD('pa55/word')";
        root.query_drop(format!("CREATE USER {user} {by}")).unwrap();
        root.query_drop(format!("GRANT ALL ON {name}.* TO {user}")).unwrap();
    }
    let config = site.read("authpolicy.toml");
    let socket = server.socket().display().to_string();
    for (url, reply) in [
        (format!("mysql://ed:pa55%2Fword@localhost/{name}?socket={socket}"), ACCEPTED),
        (format!("mysql://ed:pa55%2Fword@127.0.0.1:{}/{name}", server.port), ACCEPTED),
        (format!("mysql://ed:wrong@localhost/{name}?socket={socket}"), CANNOT_TELL),
    ] {
        replace_url(&site, &format!("url = \"{url}\""));
        assert_eq!(attempt(&exim, b"secret"), reply, "{url}: {}", site.main_log());
        if reply == ACCEPTED {
            assert_eq!(attempt(&exim, b"wrong"), REFUSED, "{url}: {}", site.main_log());
            let output = site.run_tool(&["config"], "");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        } else {
            let line = site.lines().pop().unwrap();
            assert!(line.contains("error 1045: Access denied for user 'ed'"), "{line}");
        }
        site.write_config(&config);
    }
    flush(&site);
    let t = Some(true);
    let f = Some(false);
    assert_eq!(auth_ok(&site), [t, t, f, t, f, None]);
    assert_eq!(site.panic_log(), "");
}
