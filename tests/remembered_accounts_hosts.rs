//! With `accounts.serve_stale`, a remembered account is not used while it is unknown if a host is away:
//!
//! - a server that answers, but whose TLS fails
//! - a host whose name does not resolve
//! - a host that had too little time
//!
//! The log has its own database, which can be reached. So only the account is missing.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test code"
)]

mod common;

use std::net::TcpListener;
use std::thread::sleep;
use std::time::Duration;
use std::time::Instant;

use common::exim::free_port;
use common::frozen::Frozen;
use common::smtp::ACCEPTED;
use common::smtp::CANNOT_TELL;
use common::stale::Rig;
use common::tls::certificate;

/// A site with the account `u@example.com`, and with its own database for the log.
fn rig() -> Rig {
    let rig = common::stale::rig("serve_stale = \"24h\"\n", &["u"]);
    rig.split();
    rig
}

/// The reply to an attempt with the remembered account, and its lines in Exim's log.
fn attempt(rig: &Rig) -> (String, String) {
    let before = rig.site.lines().len();
    let reply = rig.attempt("u", "secret");
    (reply, rig.site.lines()[before..].join("\n"))
}

/// Checks that the remembered account is not used, for this reason.
fn assert_cannot_tell(rig: &Rig, reason: &str) {
    assert_ne!(rig.remembered_account_files().len(), 0);
    let (reply, lines) = attempt(rig);
    assert_eq!(reply, CANNOT_TELL, "{reason}: {lines}");
    assert!(lines.contains(reason), "{reason}: {lines}");
}

/// Checks that the remembered account is used.
fn assert_served_from_remembered(rig: &Rig) {
    let (reply, lines) = attempt(rig);
    assert_eq!(reply, ACCEPTED, "{lines}");
    assert!(lines.contains("the remembered account is used"), "{lines}");
}

/// Checks that the database is asked for the account.
fn assert_served_by_database(rig: &Rig) {
    let (reply, lines) = attempt(rig);
    assert_eq!(reply, ACCEPTED, "{lines}");
    assert!(!lines.contains("the remembered account is used"), "{lines}");
}

#[test]
fn a_server_whose_tls_fails_is_not_away() {
    let rig = rig();
    let url = rig.tcp_url();
    let (trusted, arguments) = certificate(&rig.site, "trusted");
    let (another, _) = certificate(&rig.site, "another");
    let with = |authority: &str| format!("{url}?root_cert_path={authority}");
    rig.server.kill();
    rig.server.restart_with(&arguments);
    rig.set_urls(&[&with(&trusted)], "");
    assert_served_by_database(&rig);
    rig.set_urls(&[&with(&another)], "");
    assert_cannot_tell(&rig, "certificate");
    rig.set_urls(&[&with("/nonexistent/ca.crt")], "");
    assert_cannot_tell(&rig, "No such file");
    rig.set_urls(&[&with(&trusted)], "");
    assert_served_by_database(&rig);
    rig.server.kill();
    rig.server.restart();
    assert_cannot_tell(&rig, "does not have this capability");
    rig.server.kill();
    assert_served_from_remembered(&rig);
}

#[test]
fn a_host_whose_name_does_not_resolve_is_not_away() {
    let rig = rig();
    let url = rig.tcp_url();
    let other = |host: &str| url.replace(&format!("127.0.0.1:{}", rig.server.port), host);
    // No name server is asked for a label of 64 letters (RFC 1035, 2.3.4).
    let nameless = other(&format!("{}.example:3306", "a".repeat(64)));
    let refusing = other(&format!("127.0.0.1:{}", free_port()));
    for second in [&nameless, &refusing] {
        rig.set_urls(&[&url, second], "");
        assert_served_by_database(&rig);
        rig.server.kill();
        match *second == nameless {
            true => assert_cannot_tell(&rig, "lookup"),
            false => assert_served_from_remembered(&rig),
        }
        rig.server.restart();
    }
}

#[test]
fn a_host_that_had_too_little_time_is_not_away() {
    let rig = rig();
    let url = rig.tcp_url();
    rig.set_urls(&[&url], "");
    assert_served_by_database(&rig);
    rig.server.kill();
    // Accepts connections, and sends nothing.
    let silent = TcpListener::bind(("127.0.0.1", rig.server.port)).unwrap();
    // Some of the attempt's time has passed when it connects.
    rig.set_urls(&[&url], "connect_timeout = \"1s\"\nattempt_timeout = \"1s\"\n");
    assert_cannot_tell(&rig, "took too long");
    rig.set_urls(&[&url], "connect_timeout = \"500ms\"\nattempt_timeout = \"20s\"\n");
    assert_served_from_remembered(&rig);
    drop(silent);
}

#[test]
fn a_host_that_was_not_tried_in_time_is_not_away() {
    const ATTEMPT: Duration = Duration::from_secs(11);
    let rig = rig();
    let url = rig.tcp_url();
    let refusing = format!("127.0.0.1:{}", free_port());
    let refusing = url.replace(&format!("127.0.0.1:{}", rig.server.port), &refusing);
    let timeouts = "connect_timeout = \"10s\"\nattempt_timeout = \"11s\"\n";
    rig.set_urls(&[&url, &refusing], timeouts);
    assert_served_by_database(&rig);
    rig.server.kill();
    assert_served_from_remembered(&rig);
    let first = TcpListener::bind(("127.0.0.1", rig.server.port)).unwrap();
    let reply = std::thread::scope(|scope| {
        let client = scope.spawn(|| attempt(&rig));
        let (connection, _) = first.accept().unwrap();
        // All of the attempt's time passes during its connection to the first host, which then hangs up.
        let frozen = Frozen::new(rig.exim.pid());
        let start = Instant::now();
        drop(connection);
        while start.elapsed() < ATTEMPT {
            sleep(Duration::from_millis(100));
        }
        drop(frozen);
        client.join().unwrap()
    });
    assert_eq!(reply.0, CANNOT_TELL, "{}", reply.1);
    assert!(reply.1.contains("not tried, attempt_timeout is over"), "{}", reply.1);
}
