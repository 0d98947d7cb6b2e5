//! Many clients at the same time get no more guesses than the limit allows.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    clippy::panic,
    reason = "test code"
)]

mod common;

use std::sync::Arc;
use std::sync::Barrier;
use std::thread;

use common::Base;
use common::Client;
use common::Exim;
use common::Site;
use common::limits::LIMITED;
use common::limits::NO;
use common::limits::attempt;
use common::limits::limit;
use common::limits::site;
use common::site::CN;
use common::site::GB;
use common::smtp::ACCEPTED;
use common::smtp::REFUSED;
use mysql::prelude::Queryable;

/// Lets this many clients guess at the same time, each with another password. Returns the replies.
fn burst(exim: &Exim, clients: usize, remote: impl Fn(usize) -> String) -> Vec<String> {
    let (port, start) = (exim.port, Arc::new(Barrier::new(clients)));
    let clients: Vec<_> = (0..clients)
        .map(|number| {
            let (start, remote) = (Arc::clone(&start), remote(number));
            thread::spawn(move || {
                let mut client = Client::connect_from(port, &remote);
                start.wait();
                client.plain(b"u@example.com", format!("guess {number}").as_bytes())
            })
        })
        .collect();
    clients.into_iter().map(|client| client.join().unwrap()).collect()
}

/// Raises the time-outs. The clients of a burst wait for one lock, on a busy machine for longer
/// than the defaults allow.
fn with_long_timeouts(site: Site) -> Site {
    let config = site.read("authpolicy.toml");
    let longer = "[database]\nquery_timeout = \"60s\"\nattempt_timeout = \"60s\"";
    site.write_config(&config.replace("[database]", longer));
    site
}

/// Each client has its own address, so that only the limit of the account applies. With
/// `innodb_snapshot_isolation`, MariaDB refuses to write a row that changed after the transaction's
/// first read.
#[test]
fn a_burst_from_many_addresses_gets_no_more_guesses_at_an_account() {
    for (base, isolation) in [(Base::Sqlite, ""), (Base::mariadb(), "OFF"), (Base::mariadb(), "ON")]
    {
        if let Base::MariaDb(server, ..) = &base {
            let sql = format!("SET GLOBAL innodb_snapshot_isolation = {isolation}");
            server.root("").query_drop(sql).unwrap();
        }
        let limits = [
            limit("remote", "remote", "failures", 100),
            limit("account", "account", "failures", 5),
        ];
        let site = with_long_timeouts(site(base, "", &limits));
        let exim = site.exim();
        assert_eq!(attempt(&exim, GB, "v@example.com", "secret"), ACCEPTED);
        let replies = burst(&exim, 60, |number| format!("203.0.113.{number}"));
        let rows = site.rows();
        let hashed = rows.iter().filter(|row| row.auth_ok == NO).count();
        let limited = rows.iter().filter(|row| (row.auth_ok, row.policy_reject) == LIMITED).count();
        assert_eq!((hashed, limited), (5, 55), "{replies:?}");
        // Attempts with the right password do not use up the limit.
        let (port, start) = (exim.port, Arc::new(Barrier::new(4)));
        let clients: Vec<_> = (0..4)
            .map(|_| {
                let start = Arc::clone(&start);
                thread::spawn(move || {
                    let mut client = Client::connect_from(port, CN);
                    start.wait();
                    client.plain(b"v@example.com", b"secret")
                })
            })
            .collect();
        for client in clients {
            assert_eq!(client.join().unwrap(), ACCEPTED, "{}", site.main_log());
        }
    }
}

/// A hundred clients at the same time get as many guesses as the limit allows.
#[test]
fn a_burst_gets_no_more_guesses_than_the_limit() {
    for base in Base::all() {
        let limits = [
            limit("remote", "remote", "failures", 10),
            limit("account", "account", "passwords", 50),
        ];
        let site = with_long_timeouts(site(base, "", &limits));
        let exim = site.exim();
        assert_eq!(attempt(&exim, GB, "v@example.com", "secret"), ACCEPTED);
        let replies = burst(&exim, 100, |_| GB.to_owned());
        let refused = replies.iter().filter(|reply| *reply == REFUSED).count();
        let rows = site.rows();
        let hashed = rows.iter().filter(|row| row.auth_ok == NO).count();
        let limited = rows.iter().filter(|row| (row.auth_ok, row.policy_reject) == LIMITED).count();
        let unavailable: Vec<_> =
            site.lines().into_iter().filter(|line| line.contains("=503")).collect();
        assert_eq!((refused, hashed, limited), (100, 10, 90), "{unavailable:?}");
        // Once the entries have expired, a right password is accepted.
        site.sql("UPDATE authpolicy_count SET expires = 1");
        assert_eq!(attempt(&exim, GB, "u@example.com", "secret"), ACCEPTED);
        assert_eq!(site.panic_log(), "");
    }
}
