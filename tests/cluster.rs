//! A real Galera cluster. Nodes die and hang while clients log in, and two mail hosts write to two
//! nodes. Each answered attempt has its row on every node, exactly once.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "test code"
)]

mod common;

use std::sync::Barrier;

use common::Base;
use common::Client;
use common::Site;
use common::galera::Cluster;
use common::limits::limit;
use common::load;
use common::load::Attempt;
use common::mariadb::PRODUCTION_TABLE;
use common::site::GB;
use common::site::rows_of;
use common::smtp::ACCEPTED;
use common::smtp::CANNOT_TELL;
use common::smtp::REFUSED;
use mysql::prelude::Queryable;

const POLICY: &str =
    "[policy]\nallow_countries = [\"GB\"]\nfailure_time = \"0s\"\nhash_nonce = \"nonce\"\n";
const SHORT: &str = "connect_timeout = \"1s\"\nquery_timeout = \"2s\"\nattempt_timeout = \"5s\"\n";
const CLIENTS: usize = 6;

/// A mail host that tries these nodes in this order.
fn host(cluster: &Cluster, nodes: &[usize], limits: &str) -> Site {
    let site = Site::new(Base::Sqlite, &format!("{POLICY}{limits}"));
    load::prepare(&site);
    let good = site.read("authpolicy.toml");
    let line = good.lines().find(|line| line.starts_with("url = ")).unwrap();
    let urls: Vec<_> = nodes.iter().map(|node| format!("\"{}\"", cluster.url(*node))).collect();
    let urls = format!("url = [{}]\n{SHORT}", urls.join(", "));
    site.write_config(&good.replace(line, &urls));
    site
}

/// Makes the log and the accounts anew, and empties the plugin's tables.
fn reset_tables(cluster: &Cluster, site: &Site) {
    let mut root = cluster.root(0, "mail");
    for table in ["connection_log", "account"] {
        root.query_drop(format!("DROP TABLE IF EXISTS {table}")).unwrap();
    }
    root.query_drop(PRODUCTION_TABLE).unwrap();
    root.query_drop(
        "CREATE TABLE account (username varchar(255) PRIMARY KEY, password varchar(255), \
         allow_countries varchar(255), deny_countries varchar(255), allow_nets varchar(255), \
         active int)",
    )
    .unwrap();
    let stored = site.tool(&["hash", "--scheme", "BLF-CRYPT", "--cost", "4"], "secret");
    let stored = stored.trim();
    let sql =
        format!("INSERT INTO account VALUES ('u@example.com', '{stored}', NULL, NULL, NULL, 1)");
    root.query_drop(sql).unwrap();
    site.tool(&["db", "init"], "");
    for table in ["authpolicy_delivered", "authpolicy_count"] {
        root.query_drop(format!("DELETE FROM {table}")).unwrap();
    }
}

/// Checks that every node has the row of each answered attempt once; returns the counts.
fn assert_rows_on_every_node(cluster: &Cluster, attempts: &[Attempt]) -> load::Tally {
    let tallies = cluster.nodes().map(|node| {
        let rows = rows_of(&mut cluster.root(node, "mail"));
        load::assert_rows_consistent(rows, attempts)
    });
    let tallies: Vec<_> = tallies.collect();
    assert!(tallies.iter().all(|tally| tally.rows == tallies[0].rows), "{tallies:?}");
    tallies.into_iter().next().unwrap()
}

fn a_node_dies_and_joins_again(cluster: &Cluster) {
    let site = host(cluster, &[0, 1, 2], "");
    reset_tables(cluster, &site);
    let exim = site.exim();
    let attempts = load::run(exim.port, CLIENTS, |load| {
        load.wait_for(ACCEPTED);
        load.wait(30);
        cluster.kill(0);
        load.wait(30);
        // The other nodes answer.
        load.wait_for(ACCEPTED);
        cluster.restart(0);
        load.wait_for(ACCEPTED);
        load.wait(30);
    });
    load::flush(&site);
    assert_eq!(site.panic_log(), "");
    let tally = assert_rows_on_every_node(cluster, &attempts);
    load::report("Galera: a node killed (SIGKILL), and joined again", &tally);
    assert!(tally.accepted > 50 && tally.unanswered == 0, "{tally:?}");
}

fn a_node_hangs_and_goes_on(cluster: &Cluster) {
    let site = host(cluster, &[1, 2, 0], "");
    reset_tables(cluster, &site);
    let exim = site.exim();
    let attempts = load::run(exim.port, CLIENTS, |load| {
        load.wait_for(ACCEPTED);
        load.wait(30);
        cluster.signal(1, "STOP");
        load.wait(CLIENTS);
        load.wait_for(ACCEPTED);
        load.wait(20);
        cluster.signal(1, "CONT");
        load.wait(20);
        cluster.wait(1);
        load.wait_for(ACCEPTED);
    });
    load::flush(&site);
    assert_eq!(site.panic_log(), "");
    let tally = assert_rows_on_every_node(cluster, &attempts);
    load::report("Galera: a node stopped (SIGSTOP), and continued", &tally);
    assert!(tally.accepted > 50 && tally.unanswered == 0, "{tally:?}");
}

fn two_hosts_write_to_two_nodes(cluster: &Cluster) {
    let sites = [host(cluster, &[0, 1, 2], ""), host(cluster, &[1, 2, 0], "")];
    reset_tables(cluster, &sites[0]);
    let exims = [sites[0].exim(), sites[1].exim()];
    let names = ["u-a", "u-b"];
    let attempts: Vec<Attempt> = std::thread::scope(|scope| {
        let runs = [0, 1].map(|number| {
            let (port, name) = (exims[number].port, names[number]);
            scope.spawn(move || {
                load::run_as(name, port, CLIENTS / 2, |load| {
                    load.wait_for(ACCEPTED);
                    load.wait(60);
                })
            })
        });
        runs.into_iter().flat_map(|run| run.join().unwrap()).collect()
    });
    sites.iter().for_each(load::flush);
    let tally = assert_rows_on_every_node(cluster, &attempts);
    load::report("Galera: two mail hosts, two nodes", &tally);
    assert_eq!((tally.cannot_tell, tally.unanswered), (0, 0), "{tally:?}");
}

fn a_node_that_has_lost_the_others_is_passed_over(cluster: &Cluster) {
    let site = host(cluster, &[0, 1, 2], "");
    reset_tables(cluster, &site);
    let exim = site.exim();
    let attempts = load::run(exim.port, CLIENTS, |load| {
        load.wait_for(ACCEPTED);
        cluster.isolate(0, true);
        load.wait_for(ACCEPTED);
        load.wait(60);
        cluster.isolate(0, false);
        cluster.wait(0);
        load.wait_for(ACCEPTED);
    });
    load::flush(&site);
    assert_eq!(site.panic_log(), "");
    let tally = assert_rows_on_every_node(cluster, &attempts);
    load::report("Galera: a node cut off from the others, and joined again", &tally);
    assert!(tally.accepted > 40 && tally.unanswered == 0, "{tally:?}");
    eprintln!("{} of {} got 435", tally.cannot_tell, attempts.len());
}

/// Guesses at one account on both hosts at once, and counts the guesses that were hashed.
fn a_burst_over_two_nodes_gets_no_more_guesses_than_the_limit(cluster: &Cluster) {
    const MAX: usize = 10;
    const GUESSES: usize = 40;
    let limits = limit("guesses", "account", "failures", 10);
    let limits = format!("known_good = \"0s\"\n{limits}");
    let sites = [host(cluster, &[0], &limits), host(cluster, &[1], &limits)];
    reset_tables(cluster, &sites[0]);
    for site in &sites {
        let config = site.read("authpolicy.toml");
        site.write_config(&config.replace(load::QUERY, "WHERE username = :user"));
    }
    let exims = [sites[0].exim(), sites[1].exim()];
    let attempt = |exim: &common::Exim, password: &str| {
        Client::connect_from(exim.port, GB).plain(b"u@example.com", password.as_bytes())
    };
    for exim in &exims {
        assert_eq!(attempt(exim, "secret"), ACCEPTED, "{}", sites[0].main_log());
    }
    let start = Barrier::new(GUESSES);
    let replies: Vec<String> = std::thread::scope(|scope| {
        let guess = |number: usize| {
            let (port, start) = (exims[number % 2].port, &start);
            scope.spawn(move || {
                let mut client = Client::connect_from(port, GB);
                start.wait();
                client.plain(b"u@example.com", format!("guess {number}").as_bytes())
            })
        };
        let guesses: Vec<_> = (0..GUESSES).map(guess).collect();
        guesses.into_iter().map(|guess| guess.join().unwrap()).collect()
    });
    assert!(replies.iter().all(|reply| reply == REFUSED || reply == CANNOT_TELL), "{replies:?}");
    sites.iter().for_each(load::flush);
    let rows = rows_of(&mut cluster.root(2, "mail"));
    assert_eq!(rows.len(), GUESSES + 2);
    let hashed = rows.iter().filter(|row| row.auth_ok == Some(false)).count();
    let cannot_tell = replies.iter().filter(|reply| *reply == CANNOT_TELL).count();
    eprintln!("of {GUESSES} guesses over two nodes {hashed} were hashed, {cannot_tell} got 435");
    assert!(hashed <= MAX, "{hashed} guesses");
    assert!(hashed + cannot_tell >= MAX, "{hashed} guesses, and {cannot_tell} got 435");
}

/// Two hosts with a node each, these limits and long time-outs.
fn hosts_with_long_timeouts(cluster: &Cluster, limits: &str) -> [Site; 2] {
    let limits = format!("known_good = \"0s\"\n{limits}");
    let sites = [host(cluster, &[0], &limits), host(cluster, &[1], &limits)];
    reset_tables(cluster, &sites[0]);
    for site in &sites {
        let config = site.read("authpolicy.toml");
        let config = config.replace(load::QUERY, "WHERE username = :user");
        let long = "query_timeout = \"60s\"\nattempt_timeout = \"60s\"\n";
        site.write_config(&config.replace(SHORT, long));
    }
    sites
}

/// Logs in `clients` times over both hosts at once. `name` returns the user of each number.
fn log_in_at_once(sites: &[Site; 2], clients: usize, name: impl Fn(usize) -> String + Sync) {
    let exims = [sites[0].exim(), sites[1].exim()];
    let start = Barrier::new(clients);
    let replies: Vec<String> = std::thread::scope(|scope| {
        let log_in = |number: usize| {
            let (port, start, name) = (exims[number % 2].port, &start, name(number));
            scope.spawn(move || {
                let mut client = Client::connect_from(port, GB);
                start.wait();
                client.plain(name.as_bytes(), b"secret")
            })
        };
        let clients: Vec<_> = (0..clients).map(log_in).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    let lines = || sites.iter().map(Site::lines).collect::<Vec<_>>();
    assert!(replies.iter().all(|reply| reply == ACCEPTED), "{replies:?} {:?}", lines());
}

/// Right passwords are not refused because of other attempts, and leave no entries behind.
fn right_passwords_over_two_nodes_are_accepted(cluster: &Cluster) {
    const USERS: usize = 25;
    const CONNECTIONS: usize = 8;
    let limits =
        [limit("spraying", "remote", "accounts", 10), limit("guessing", "account", "failures", 3)];
    let sites = hosts_with_long_timeouts(cluster, &limits.concat());
    let mut root = cluster.root(0, "mail");
    for number in 0..USERS {
        let sql = format!(
            "INSERT INTO account SELECT 'u{number}@example.com', password, NULL, NULL, NULL, 1 FROM account \
             WHERE username = 'u@example.com'"
        );
        root.query_drop(sql).unwrap();
    }
    log_in_at_once(&sites, USERS, |number| format!("u{number}@example.com"));
    log_in_at_once(&sites, CONNECTIONS, |_| String::from("u@example.com"));
    // After two failures, only one attempt at a time may use the limit of three.
    let exim = sites[0].exim();
    for _ in 0..2 {
        let reply = Client::connect_from(exim.port, GB).plain(b"u@example.com", b"wrong");
        assert_eq!(reply, REFUSED);
    }
    drop(exim);
    log_in_at_once(&sites, CONNECTIONS, |_| String::from("u@example.com"));
    let query = "SELECT password, CASE username WHEN 'u1@example.com' THEN 'u2@example.com' \
                 ELSE 'u1@example.com' END AS username FROM account WHERE username = :user";
    for site in &sites {
        site.write_config(&site.read("authpolicy.toml").replace(common::site::QUERY, query));
    }
    log_in_at_once(&sites, CONNECTIONS, |number| format!("u{}@example.com", 1 + number % 2));
    sites.iter().for_each(load::flush);
    for node in cluster.nodes() {
        let mut root = cluster.root(node, "mail");
        let accepted =
            "SELECT COUNT(*) FROM connection_log WHERE auth_ok = 1 AND policy_reject = 0";
        let rows: Option<usize> = root.query_first(accepted).unwrap();
        assert_eq!(rows, Some(USERS + 3 * CONNECTIONS), "node {node}");
        let entries: Option<usize> =
            root.query_first("SELECT COUNT(*) FROM authpolicy_count WHERE value <> ''").unwrap();
        assert_eq!(entries, Some(3), "node {node}: two of the account, one of the address");
    }
}

#[test]
fn a_galera_cluster_stores_each_row_once_and_keeps_the_limits() {
    let cluster = Cluster::start();
    two_hosts_write_to_two_nodes(&cluster);
    right_passwords_over_two_nodes_are_accepted(&cluster);
    for _ in 0..8 {
        a_burst_over_two_nodes_gets_no_more_guesses_than_the_limit(&cluster);
    }
    a_node_that_has_lost_the_others_is_passed_over(&cluster);
    a_node_dies_and_joins_again(&cluster);
    a_node_hangs_and_goes_on(&cluster);
}
