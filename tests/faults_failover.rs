//! Clients make attempts with two servers in `url`. The first one is cut off, hangs, or denies the
//! login, and the second one serves. Both lead to the same data, so that a row stored through both
//! is found.
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

use common::Base;
use common::Client;
use common::MariaDb;
use common::Site;
use common::load;
use common::load::Load;
use common::load::Tally;
use common::relay::Relay;
use common::site::GB;
use common::smtp::ACCEPTED;
use common::smtp::CANNOT_TELL;
use mysql::prelude::Queryable;

const POLICY: &str = "[policy]\nallow_countries = [\"GB\"]\nfailure_time = \"0s\"\n";
const SHORT: &str = "connect_timeout = \"500ms\"\nquery_timeout = \"1s\"\n\
                     attempt_timeout = \"3s\"\n";
const CLIENTS: usize = 8;

/// A site with two servers: the first one at this port, the second one `server` itself.
fn site(server: &Arc<MariaDb>, first: u16) -> Site {
    let name = server.database();
    let url = server.url(&name);
    let first = server.tcp_url(&name).replace(&server.port.to_string(), &first.to_string());
    let site = Site::new(Base::MariaDb(Arc::clone(server), name, url.clone()), POLICY);
    load::prepare(&site);
    let config = site.read("authpolicy.toml");
    let urls = format!("url = [\"{first}\", \"{url}\"]\n{SHORT}");
    site.write_config(&config.replace(&format!("url = \"{url}\"\n"), &urls));
    assert!(site.read("authpolicy.toml").contains(&first));
    site
}

fn run_under_load(fault: &str, site: &Site, work: impl FnOnce(&Load)) -> Tally {
    let exim = site.exim();
    let attempts = load::run(exim.port, CLIENTS, |load| {
        load.wait_for(ACCEPTED);
        work(load);
        load.wait_for(ACCEPTED);
        load.wait(20);
    });
    load::flush(site);
    let tally = load::assert_consistent(site, &attempts);
    load::report(fault, &tally);
    assert!(tally.accepted > 0 && tally.refused > 0 && tally.unanswered == 0, "{tally:?}");
    tally
}

#[test]
fn the_second_server_serves_while_the_first_is_cut_off() {
    let server = MariaDb::shared();
    let proxy = Relay::to(server.port);
    let site = site(&server, proxy.port);
    let tally = run_under_load("first of two servers cut off, and back", &site, |load| {
        for _ in 0..10 {
            proxy.cut();
            load.wait(20);
            proxy.restore();
            load.wait(20);
        }
    });
    // Only attempts that a cut interrupts get 435.
    assert!(tally.cannot_tell <= 10 * CLIENTS, "{tally:?}");
}

#[test]
fn the_second_server_serves_while_the_first_hangs() {
    let server = MariaDb::shared();
    let proxy = Relay::to(server.port);
    let site = site(&server, proxy.port);
    let tally = run_under_load("first of two servers hangs, and goes on", &site, |load| {
        for _ in 0..3 {
            proxy.hang();
            load.wait(5 * CLIENTS);
            proxy.restore();
            load.wait(20);
        }
    });
    assert!(tally.cannot_tell <= 3 * CLIENTS, "{tally:?}");
}

#[test]
fn the_second_server_serves_if_the_first_denies_the_login() {
    let server = MariaDb::shared();
    let other = MariaDb::start();
    other.root("").query_drop("ALTER USER exim@localhost IDENTIFIED BY 'another'").unwrap();
    let site = site(&server, other.port);
    let tally =
        run_under_load("first of two servers denies the login", &site, |load| load.wait(200));
    assert_eq!(tally.cannot_tell, 0, "{tally:?}");
}

/// A Galera node that has lost the others refuses statements with this error. Here, a function in the
/// account query refuses.
#[test]
fn the_line_names_all_servers_if_the_last_one_is_not_ready() {
    let server = MariaDb::shared();
    let site = site(&server, common::exim::free_port());
    let exim = site.exim();
    let attempt = || {
        let mut client = Client::connect_from(exim.port, GB);
        let reply = client.plain(b"u-1@example.com", b"secret");
        (reply, site.lines().pop().unwrap())
    };
    assert_eq!(attempt().0, ACCEPTED, "{}", site.main_log());
    let Base::MariaDb(_, name, _) = &site.base else { panic!("it is MariaDB") };
    let mut root = server.root(name);
    root.query_drop(
        "CREATE FUNCTION ready() RETURNS INT DETERMINISTIC BEGIN SIGNAL SQLSTATE '08S01' SET \
         MYSQL_ERRNO = 1047, MESSAGE_TEXT = 'not yet prepared'; RETURN 1; END",
    )
    .unwrap();
    root.query_drop(format!("GRANT EXECUTE ON {name}.* TO exim@localhost")).unwrap();
    let config = site.read("authpolicy.toml");
    let query = config.replace(load::QUERY, &format!("{} AND ready()", load::QUERY));
    assert_ne!(query, config);
    site.write_config(&query);
    let (reply, line) = attempt();
    assert_eq!(reply, CANNOT_TELL);
    assert!(line.contains("error=\"no database server accepts the connection: "), "{line}");
    assert!(line.contains("Connection refused") && line.contains("error 1047"), "{line}");
    let rows = site.rows();
    let flags: Vec<_> = rows.iter().map(|row| (row.auth_ok, row.policy_reject)).collect();
    assert_eq!(flags, [(Some(true), Some(false)), (None, None)]);
}
