//! Signals while an attempt waits: exiwhat sends SIGUSR1 to each Exim process, and Exim's handler
//! interrupts system calls of the plugin. No attempt may fail because of that.
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

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use common::Base;
use common::Client;
use common::MariaDb;
use common::Site;
use common::signal_flood::SignalFlood;
use common::site::GB;
use common::smtp::ACCEPTED;
use common::smtp::REFUSED;

const POLICY: &str = "[policy]\nallow_countries = [\"GB\"]\nfailure_time = \"1s\"\n";
const LONG_TIMEOUTS: &str =
    "connect_timeout = \"20s\"\nquery_timeout = \"20s\"\nattempt_timeout = \"30s\"\n";

/// Gives the databases of a site long time-outs.
fn set_long_timeouts(site: &Site) {
    let config = site.read("authpolicy.toml");
    let line = config.lines().find(|line| line.starts_with("url = ")).unwrap();
    site.write_config(&config.replace(line, &format!("{line}\n{LONG_TIMEOUTS}")));
}

fn assert_rows(site: &Site, wanted: &[Option<bool>]) {
    let rows: Vec<_> = site.rows().iter().map(|row| row.auth_ok).collect();
    assert_eq!(rows, wanted, "{}", site.main_log());
    let lines = site.lines();
    assert_eq!(lines.len(), wanted.len(), "{lines:?}");
    assert!(lines.iter().all(|line| !line.contains("error=")), "{lines:?}");
    assert_eq!(site.panic_log(), "");
}

#[test]
fn connecting_to_a_full_socket_goes_on_after_a_signal() {
    let server = Arc::new(MariaDb::start());
    server.kill();
    server.restart_with(&[String::from("--back-log=1")]);
    let name = server.database();
    let url = server.url(&name);
    let site = Site::new(Base::MariaDb(Arc::clone(&server), name, url), POLICY);
    site.account("u@example.com", "secret");
    set_long_timeouts(&site);
    let exim = site.exim();
    let mut client = Client::connect_from(exim.port, GB);
    assert_eq!(client.plain(b"u@example.com", b"wrong"), REFUSED, "{}", site.main_log());
    server.signal("STOP");
    // The kernel accepts one connection more than the backlog.
    let waiting: Vec<_> = (0..2).map(|_| UnixStream::connect(server.socket()).unwrap()).collect();
    let signals = SignalFlood::start(&exim);
    let attempt = thread::spawn(move || client.plain(b"u@example.com", b"secret"));
    thread::sleep(Duration::from_millis(500));
    assert!(!attempt.is_finished(), "the attempt waits: {}", site.main_log());
    server.signal("CONT");
    let reply = attempt.join().unwrap();
    drop(signals);
    drop(waiting);
    assert_eq!(reply, ACCEPTED, "{}", site.main_log());
    assert!(site.path("spool/exim-process.info").exists(), "Exim's handler has run");
    assert_rows(&site, &[Some(false), Some(true)]);
}

#[test]
fn connecting_to_a_full_socket_times_out_in_spite_of_signals() {
    let server = Arc::new(MariaDb::start());
    server.kill();
    server.restart_with(&[String::from("--back-log=1")]);
    let name = server.database();
    let url = server.url(&name);
    let site = Site::new(Base::MariaDb(Arc::clone(&server), name, url), POLICY);
    site.account("u@example.com", "secret");
    let exim = site.exim();
    let mut client = Client::connect_from(exim.port, GB);
    assert_eq!(client.plain(b"u@example.com", b"secret"), ACCEPTED, "{}", site.main_log());
    drop(client);
    let mut client = Client::connect_from(exim.port, GB);
    server.signal("STOP");
    let waiting: Vec<_> = (0..2).map(|_| UnixStream::connect(server.socket()).unwrap()).collect();
    let signals = SignalFlood::start(&exim);
    let reply = client.plain(b"u@example.com", b"secret");
    drop(signals);
    server.signal("CONT");
    drop(waiting);
    assert_eq!(reply, common::smtp::CANNOT_TELL, "{}", site.main_log());
    assert!(!site.main_log().contains("Interrupted"), "{}", site.main_log());
    site.tool(&["flush"], "");
    assert_eq!(site.rows().len(), 2, "the row waited in the journal");
}

#[test]
fn attempts_succeed_under_a_stream_of_signals() {
    let tcp = {
        let server = MariaDb::shared();
        let name = server.database();
        let url = server.tcp_url(&name);
        Base::MariaDb(server, name, url)
    };
    for base in [Base::Sqlite, Base::mariadb(), tcp] {
        let slow = match base {
            Base::Sqlite => {
                "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000) \
                 SELECT MAX(i) FROM n) > 0"
            }
            Base::MariaDb(..) => "SLEEP(0.3) = 0",
        };
        let site = Site::new(base, POLICY);
        site.account("u@example.com", "secret");
        set_long_timeouts(&site);
        let config = site.read("authpolicy.toml");
        let wait = format!("WHERE username = :user AND {slow}");
        site.write_config(&config.replace("WHERE username = :user", &wait));
        let exim = site.exim();
        let mut client = Client::connect_from(exim.port, GB);
        let signals = SignalFlood::start(&exim);
        assert_eq!(client.plain(b"u@example.com", b"wrong"), REFUSED, "{}", site.main_log());
        let reply = client.plain(b"u@example.com", b"secret");
        drop(signals);
        assert_eq!(reply, ACCEPTED, "{}", site.main_log());
        assert_rows(&site, &[Some(false), Some(true)]);
    }
}
