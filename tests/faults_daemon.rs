//! The plugin's file is replaced, and Exim's daemon is restarted or ended, while clients make
//! attempts.
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

use std::fs;

use common::Base;
use common::Client;
use common::Exim;
use common::Site;
use common::fault::CLIENTS;
use common::fault::Fault;
use common::fault::POLICY;
use common::load;
use common::load::Attempt;
use common::process;
use common::process::signal;
use common::site::GB;
use common::smtp::ACCEPTED;
use common::smtp::REFUSED;

/// A site whose daemon loads the plugin if `preloads`, and otherwise leaves that to its children.
fn site(base: Base, preloads: bool) -> (Site, Exim) {
    let site = common::fault::site(base, POLICY);
    site.set_preload(preloads.then_some(""));
    let exim = site.exim();
    (site, exim)
}

/// Replaces the plugin as `make install` does.
fn install(site: &Site) {
    fs::copy(common::exim::plugin(), site.path("authpolicy.so.new")).unwrap();
    fs::rename(site.path("authpolicy.so.new"), site.path("authpolicy.so")).unwrap();
}

/// True if the daemon still has the replaced plugin loaded. Its children then have it, too, until
/// the daemon restarts.
fn has_old_plugin(exim: &Exim) -> bool {
    let maps = fs::read_to_string(format!("/proc/{}/maps", exim.pid())).unwrap();
    maps.contains("/authpolicy.so (deleted)")
}

fn check_replaced_plugin(name: &str, base: Base, preloads: bool) {
    let (site, exim) = site(base, preloads);
    // A process that has already loaded the plugin keeps the old one.
    let mut old = Client::connect_from(exim.port, GB);
    assert_eq!(old.plain(b"nobody@example.com", b"wrong"), REFUSED, "{}", site.main_log());
    site.sql("DELETE FROM connection_log");
    let tally = Fault::named(name).run(&site, &exim, |load| {
        for _ in 0..4 {
            install(&site);
            load.wait_for_new(CLIENTS);
        }
    });
    assert_eq!((tally.cannot_tell, tally.unanswered), (0, 0), "{tally:?}");
    assert_eq!(old.plain(b"u-old@example.com", b"secret"), ACCEPTED);
    let row = site.rows().pop().unwrap();
    assert_eq!((&*row.username, row.auth_ok), ("u-old@example.com", Some(true)));
    assert_eq!(has_old_plugin(&exim), preloads);
}

#[test]
fn attempts_go_on_while_the_plugin_is_replaced() {
    check_replaced_plugin("plugin replaced by rename, SQLite", Base::Sqlite, false);
    check_replaced_plugin("plugin replaced by rename, MariaDB", Base::mariadb(), false);
    check_replaced_plugin("plugin replaced by rename, `preload`", Base::mariadb(), true);
}

#[test]
fn attempts_go_on_after_the_daemon_restarts() {
    for base in Base::all() {
        let (site, exim) = site(base, true);
        let starts = || site.main_log().matches("daemon started").count();
        let fault = Fault::named("Exim's daemon started again (SIGHUP)");
        let tally = fault.run(&site, &exim, |load| {
            for round in 2..5 {
                install(&site);
                signal(&[exim.pid()], "HUP");
                process::until("the daemon has restarted", || starts() == round);
                load.wait_for(ACCEPTED);
                load.wait_for_new(CLIENTS);
                assert!(!has_old_plugin(&exim), "the daemon has loaded the new plugin");
            }
            // The restarted daemon runs as Exim's user. Exim logs that it lost its privilege for
            // using -C.
            let log = site.panic_log();
            let others = log.lines().filter(|line| !line.ends_with("for using -C option"));
            site.write("log/paniclog", &others.collect::<String>());
        });
        // For a moment nobody listens. Clients that cannot connect then make no attempt.
        assert_eq!(tally.cannot_tell, 0, "{tally:?}");
    }
}

#[test]
fn open_connections_go_on_after_the_daemon_ends() {
    for base in Base::all() {
        let (site, exim) = site(base, true);
        let mut clients: Vec<_> =
            (0..CLIENTS).map(|_| Client::connect_from(exim.port, GB)).collect();
        // One of the clients has already made an attempt.
        let first = "u-first@example.com";
        let reply = clients[0].plain(first.as_bytes(), b"wrong");
        assert_eq!(reply, REFUSED, "{}", site.main_log());
        let serving = process::children(exim.pid());
        signal(&[exim.pid()], "TERM");
        process::until("nobody listens", || {
            std::net::TcpStream::connect(("127.0.0.1", exim.port)).is_err()
        });
        assert!(serving.len() >= CLIENTS, "{serving:?}");
        let reply = Some(REFUSED.to_owned());
        let mut attempts =
            vec![Attempt { name: first.to_owned(), number: 0, is_right: false, reply }];
        for (number, client) in clients.iter_mut().enumerate() {
            let name = format!("u-{number}@example.com");
            let reply = Some(client.plain(name.as_bytes(), b"secret"));
            attempts.push(Attempt { name, number, is_right: true, reply });
        }
        let tally = load::assert_consistent(&site, &attempts);
        load::report("Exim's daemon ended (SIGTERM), clients connected", &tally);
        assert_eq!((tally.accepted, tally.refused), (CLIENTS, 1), "{tally:?}");
    }
}
