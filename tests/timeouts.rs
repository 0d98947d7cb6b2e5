//! Databases that are dead, hang, or are slow: the reply is 435 in time, and 235 if another host of the
//! same database serves. A test that hangs fails when its client times out.
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

use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use common::Base;
use common::Client;
use common::MariaDb;
use common::Site;
use common::mariadb::PRODUCTION_TABLE;
use common::site::GB;
use common::smtp::ACCEPTED;
use common::smtp::CANNOT_TELL;
use mysql::prelude::Queryable;

const POLICY: &str = "[policy]\nallow_countries = [\"GB\"]\nfailure_time = \"0s\"\n";
const TIMEOUTS: &str = "connect_timeout = \"1s\"\nquery_timeout = \"1s\"\n\
                      attempt_timeout = \"4s\"\n";

/// Configures short time-outs, and these URLs: REAL stands for the site's own.
fn configure(site: &Site, urls: &str) {
    let good = site.read("authpolicy.toml");
    let line = good.lines().find(|line| line.starts_with("url = ")).unwrap();
    let urls = urls.replace("REAL", &format!("\"{}\"", site.url()));
    site.write_config(&good.replace(line, &format!("url = {urls}\n{TIMEOUTS}")));
}

fn site(base: Base) -> Site {
    let site = Site::new(base, POLICY);
    site.account("u@example.com", "secret");
    site
}

#[test]
fn a_host_that_is_dead_or_hangs_is_passed_over() {
    let refusing = common::exim::free_port();
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    let hanging_port = hanging.local_addr().unwrap().port();
    let socket = tempfile::tempdir().unwrap();
    std::fs::set_permissions(socket.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = socket.path().join("sock");
    let _hanging_socket = UnixListener::bind(&path).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
    for (name, first) in [
        ("refuses", format!("mysql://exim:x@127.0.0.1:{refusing}/mail")),
        ("hangs on TCP", format!("mysql://exim:x@127.0.0.1:{hanging_port}/mail")),
        ("hangs on a socket", format!("mysql://exim:x@localhost/mail?socket={}", path.display())),
        ("no socket", String::from("mysql://exim:x@localhost/mail?socket=/nonexistent/sock")),
    ] {
        let site = site(Base::mariadb());
        let exim = site.exim();
        let attempt = || Client::connect_from(exim.port, GB).plain(b"u@example.com", b"secret");
        let good = site.read("authpolicy.toml");
        configure(&site, &format!("[\"{first}\", REAL]"));
        assert_eq!(attempt(), ACCEPTED, "{name}: {}", site.main_log());
        assert_eq!(site.rows().len(), 1, "{name}");
        site.write_config(&good);
        configure(&site, &format!("\"{first}\""));
        assert_eq!(attempt(), CANNOT_TELL, "{name}");
        assert!(site.lines()[1].contains("no database server can be reached"), "{name}");
        assert_eq!(site.rows().len(), 1, "{name}");
    }
}

#[test]
fn a_server_that_never_finishes_its_greeting_is_435() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in server.incoming() {
            let mut client = client.unwrap();
            // The header of a greeting of 1 MB, and then one byte of it every 50 ms.
            let mut sent = client.write_all(&[0, 0, 0x10, 0]);
            while sent.is_ok() {
                std::thread::sleep(Duration::from_millis(50));
                sent = client.write_all(&[10]);
            }
        }
    });
    let site = site(Base::mariadb());
    let exim = site.exim();
    let endless = format!("mysql://exim:x@127.0.0.1:{port}/mail");
    let good = site.read("authpolicy.toml");
    configure(&site, &format!("[\"{endless}\", REAL]"));
    let attempt = || Client::connect_from(exim.port, GB).plain(b"u@example.com", b"secret");
    assert_eq!(attempt(), ACCEPTED, "{}", site.main_log());
    site.write_config(&good);
    configure(&site, &format!("\"{endless}\""));
    assert_eq!(attempt(), CANNOT_TELL);
    assert!(site.lines()[1].contains("took too long"), "{}", site.lines()[1]);
    assert_eq!(site.rows().len(), 1);
}

#[test]
fn a_socket_whose_backlog_is_full_is_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = directory.path().join("sock");
    let listener = UnixListener::bind(&path).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
    // Like a stopped server, this one accepts no connections. The next connection would block.
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(1).unwrap()).unwrap();
    let waiting: Vec<_> = (0..2).map(|_| UnixStream::connect(&path).unwrap()).collect();
    let site = site(Base::mariadb());
    let exim = site.exim();
    configure(
        &site,
        &format!("[\"mysql://exim:x@localhost/mail?socket={}\", REAL]", path.display()),
    );
    let reply = Client::connect_from(exim.port, GB).plain(b"u@example.com", b"secret");
    assert_eq!(reply, ACCEPTED, "{}", site.main_log());
    drop(waiting);
}

#[test]
fn a_server_that_stops_is_435_and_serves_again() {
    let server = MariaDb::start();
    let name = server.database();
    let mut root = server.root(&name);
    root.query_drop(PRODUCTION_TABLE).unwrap();
    root.query_drop(
        "CREATE TABLE account (username varchar(255), password varchar(255), allow_countries \
         varchar(255), deny_countries varchar(255), allow_nets varchar(255), active int)",
    )
    .unwrap();
    root.query_drop(
        "INSERT INTO account VALUES ('u@example.com', '{PLAIN}secret', NULL, NULL, NULL, 1)",
    )
    .unwrap();
    let site = site(Base::Sqlite);
    let exim = site.exim();
    for url in [server.url(&name), server.tcp_url(&name)] {
        let good = site.read("authpolicy.toml");
        configure(&site, &format!("\"{url}\""));
        let mut client = Client::connect_from(exim.port, GB);
        assert!(client.plain(b"u@example.com", b"wrong").starts_with("535"), "{}", site.main_log());
        server.signal("STOP");
        assert_eq!(client.plain(b"u@example.com", b"secret"), CANNOT_TELL, "{url}");
        server.signal("CONT");
        assert_eq!(client.plain(b"u@example.com", b"secret"), ACCEPTED, "{url}");
        let line = &site.lines()[site.lines().len() - 2];
        assert!(line.contains("took too long"), "{line}");
        site.write_config(&good);
    }
    assert_eq!(site.panic_log(), "");
}

#[test]
fn a_slow_query_is_cut_off() {
    for base in Base::all() {
        let slow = match base {
            Base::Sqlite => {
                "SELECT password FROM account WHERE username = :user AND (WITH RECURSIVE n(i) AS \
                 (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT MAX(i) FROM n) > 0"
            }
            Base::MariaDb(..) => {
                "SELECT password FROM account WHERE username = :user AND SLEEP(120) = 0"
            }
        };
        let site = site(base);
        let exim = site.exim();
        configure(&site, "REAL");
        let attempt = || Client::connect_from(exim.port, GB).plain(b"u@example.com", b"secret");
        assert_eq!(attempt(), ACCEPTED, "{}", site.main_log());
        let query = common::site::QUERY;
        site.write_config(&site.read("authpolicy.toml").replace(query, slow));
        assert_eq!(attempt(), CANNOT_TELL);
        let lines = site.lines();
        assert!(lines[1].contains("took too long"), "{}", lines[1]);
        // The row is written over a connection that waits for no other answer.
        let flags: Vec<_> = site.rows().iter().map(|r| (r.auth_ok, r.policy_reject)).collect();
        assert_eq!(flags, [(Some(true), Some(false)), (None, None)]);
    }
}

#[test]
fn the_row_waits_while_the_database_is_locked() {
    let site = site(Base::Sqlite);
    let exim = site.exim();
    configure(&site, "REAL");
    let attempt = || Client::connect_from(exim.port, GB).plain(b"u@example.com", b"secret");
    assert_eq!(attempt(), ACCEPTED, "{}", site.main_log());
    let other = rusqlite::Connection::open(site.path("state/authpolicy.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(attempt(), ACCEPTED);
    assert!(site.lines()[1].contains("is locked by another process"), "{}", site.lines()[1]);
    assert!(site.lines()[1].contains("the row waits in the journal"), "{}", site.lines()[1]);
    assert_eq!(site.rows().len(), 1);
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(attempt(), ACCEPTED);
    assert_eq!(site.rows().len(), 3);
}

#[test]
fn idle_clients_hold_no_database_connection() {
    let site = site(Base::mariadb());
    let exim = site.exim();
    let mut clients: Vec<_> = (0..20).map(|_| Client::connect_from(exim.port, GB)).collect();
    for client in &mut clients {
        assert_eq!(client.plain(b"u@example.com", b"secret"), ACCEPTED, "{}", site.main_log());
    }
    let Base::MariaDb(server, name, _) = &site.base else { panic!("a server") };
    let sql = format!("SELECT COUNT(*) FROM information_schema.processlist WHERE db = '{name}'");
    // A connection that was just closed may still be listed for a moment.
    let mut left: u32 = 1;
    for _ in 0..100 {
        left = server.root("").query_first(&sql).unwrap().unwrap();
        if left == 0 {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(left, 0, "{} clients are connected", clients.len());
}
