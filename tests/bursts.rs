//! Many clients at the same time get no more guesses than the limit.
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

/// So many clients at the same time, each with a guess of its own; their replies.
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

/// As many as that take turns at one lock: on a busy machine for longer than the time-outs.
fn patient(site: Site) -> Site {
    let config = site.read("authpolicy.toml");
    let longer = "[database]\nquery_timeout = \"60s\"\nattempt_timeout = \"60s\"";
    site.write_config(&config.replace("[database]", longer));
    site
}

/// From as many addresses, so that they meet at the second limit alone; also where the server does
/// not let a transaction write what has changed since its first look.
#[test]
fn a_burst_from_everywhere_gets_no_more_guesses_at_an_account() {
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
        let site = patient(site(base, "", &limits));
        let exim = site.exim();
        assert_eq!(attempt(&exim, GB, "v@example.com", "secret"), ACCEPTED);
        let replies = burst(&exim, 60, |number| format!("203.0.113.{number}"));
        let rows = site.rows();
        let hashed = rows.iter().filter(|row| row.auth_ok == NO).count();
        let limited = rows.iter().filter(|row| (row.auth_ok, row.policy_reject) == LIMITED).count();
        assert_eq!((hashed, limited), (5, 55), "{replies:?}");
        // Those who are right take nothing of each other's room.
        let (port, start) = (exim.port, Arc::new(Barrier::new(4)));
        let right: Vec<_> = (0..4)
            .map(|_| {
                let start = Arc::clone(&start);
                thread::spawn(move || {
                    let mut client = Client::connect_from(port, CN);
                    start.wait();
                    client.plain(b"v@example.com", b"secret")
                })
            })
            .collect();
        for client in right {
            assert_eq!(client.join().unwrap(), ACCEPTED, "{}", site.main_log());
        }
    }
}

/// A hundred clients at the same time, and as many guesses as the limit bears.
#[test]
fn a_burst_gets_no_more_guesses_than_the_limit() {
    for base in Base::all() {
        let limits = [
            limit("remote", "remote", "failures", 10),
            limit("account", "account", "passwords", 50),
        ];
        let site = patient(site(base, "", &limits));
        let exim = site.exim();
        assert_eq!(attempt(&exim, GB, "v@example.com", "secret"), ACCEPTED);
        let replies = burst(&exim, 100, |_| GB.to_owned());
        let refused = replies.iter().filter(|reply| *reply == REFUSED).count();
        let rows = site.rows();
        let hashed = rows.iter().filter(|row| row.auth_ok == NO).count();
        let limited = rows.iter().filter(|row| (row.auth_ok, row.policy_reject) == LIMITED).count();
        let causes: Vec<_> =
            site.lines().into_iter().filter(|line| line.contains("=503")).collect();
        assert_eq!((refused, hashed, limited), (100, 10, 90), "{causes:?}");
        // And a slow one that has waited gets its guess, whoever was refused meanwhile.
        site.sql("UPDATE authpolicy_count SET expires = 1");
        assert_eq!(attempt(&exim, GB, "u@example.com", "secret"), ACCEPTED);
        assert_eq!(site.panic_log(), "");
    }
}
