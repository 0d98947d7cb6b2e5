//! Exim has its own SQLite, and so has its embedded Perl. A connection in which one of them has the
//! embedded database open gets 435, and neither a row nor the database is lost.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "test code"
)]

mod common;

use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use common::Base;
use common::Client;
use common::Exim;
use common::Site;
use common::exim::free_port;
use common::journal::flush;
use common::journal::value;
use common::load;
use common::load::Attempt;
use common::process::children;
use common::process::until;
use common::site::GB;
use common::smtp::ACCEPTED;
use common::smtp::CANNOT_TELL;
use common::smtp::REFUSED;

const POLICY: &str = "[policy]\nfailure_time = \"0s\"\n";
/// The cause and the remedy in each log line.
const CAUSE: &str = "two SQLites in one process lose rows and damage the file: remove the ";

/// Starts an Exim with additional main options, and with a condition or modifier in its HELO ACL.
fn exim(site: &Site, options: &str, condition: &str) -> Exim {
    exim_within(site, options, condition, "1024")
}

/// Like `exim`, with a limit on descriptors.
fn exim_within(site: &Site, options: &str, condition: &str, descriptors: &str) -> Exim {
    let config = site.read("exim.conf");
    let acl = format!("begin acl\nacl_helo:\n  accept {condition}\n         accept\n");
    let config = config.replacen("begin acl\n", &acl, 1);
    site.write("foreign.conf", &format!("acl_smtp_helo = acl_helo\n{options}\n{config}"));
    let port = free_port();
    let mut command = Command::new("prlimit");
    command.arg(format!("--nofile={descriptors}:")).arg("exim4");
    Exim::start_by(&mut command, &site.path("foreign.conf"), port, &["-oX", &port.to_string()])
}

/// The lookup that opens the embedded database in Exim's process.
fn lookup(site: &Site) -> String {
    let path = site.path("state/authpolicy.db");
    format!("${{lookup sqlite,file={}{{SELECT count(*) FROM account}}}}", path.display())
}

fn lookup_modifier(site: &Site) -> String {
    format!("set acl_c_n = {}", lookup(site))
}

fn assert_whole(site: &Site) {
    assert_eq!(site.texts("PRAGMA integrity_check"), ["ok"]);
}

/// Waits until the processes of all connections have ended and closed the database.
fn wait_for_connections(exim: &Exim) {
    until("the connections end", || children(exim.pid()).is_empty());
}

/// Makes an attempt with a wrong password and one with a right password in one connection. Another
/// connection comes and goes in between. Both attempts must get 435, and each must have a row.
fn expect_435_for_two_attempts(site: &Site, exim: &Exim) {
    let mut client = Client::connect_from(exim.port, GB);
    let wrong = client.plain(b"u@example.com", b"wrong");
    drop(Client::connect_from(exim.port, GB));
    until("the other connection has ended", || children(exim.pid()).len() == 1);
    let right = client.plain(b"u@example.com", b"secret");
    drop(client);
    wait_for_connections(exim);
    let [_, _, waiting, set_aside] = flush(site);
    assert_eq!([waiting, set_aside], [0, 0]);
    let flags: Vec<_> = site.rows().iter().map(|row| row.auth_ok).collect();
    assert_eq!(flags.len(), 3, "{wrong}, {right}: each answer has its row: {flags:?}");
    assert_eq!(flags, [Some(true), None, None]);
    assert_eq!([&*wrong, &*right], [CANNOT_TELL; 2], "{}", site.main_log());
    let lines = site.lines();
    let failed: Vec<_> = lines.iter().filter(|line| line.contains("status=503")).collect();
    assert_eq!(failed.len(), 2, "{lines:?}");
    for line in failed {
        assert!(line.contains("reason=internal") && line.contains(CAUSE), "{line}");
        assert!(line.contains("state/authpolicy.db"), "{line}");
    }
    assert_whole(site);
    assert_eq!(site.panic_log(), "");
}

/// A site, and one accepted attempt on it.
fn site() -> Site {
    let site = Site::new(Base::Sqlite, POLICY);
    site.account("u@example.com", "secret");
    let exim = site.exim();
    let reply = Client::connect_from(exim.port, GB).plain(b"u@example.com", b"secret");
    assert_eq!(reply, ACCEPTED, "{}", site.main_log());
    wait_for_connections(&exim);
    site
}

#[test]
fn a_connection_in_which_exim_has_the_database_open_gets_435_and_loses_no_row() {
    // With few possible descriptors, the plugin tries each number. With many, it reads a list.
    for descriptors in ["1024", "8192"] {
        let site = site();
        expect_435_for_two_attempts(
            &site,
            &exim_within(&site, "", &lookup_modifier(&site), descriptors),
        );
    }
}

#[test]
fn embedded_perl_that_has_the_database_open_is_found_as_well() {
    let site = site();
    let path = site.path("state/authpolicy.db");
    let code = format!(
        "use DBI;\nmy $db;\nsub number {{\n  $db //= DBI->connect('dbi:SQLite:dbname={}', '', '');\n  \
         return $db->selectrow_array('SELECT count(*) FROM account');\n}}\n1;\n",
        path.display()
    );
    site.write("count.pl", &code);
    let options = format!("perl_startup = do '{}'", site.path("count.pl").display());
    expect_435_for_two_attempts(&site, &exim(&site, &options, "set acl_c_n = ${perl{number}}"));
}

#[test]
fn config_warns_of_a_connection_in_which_exim_has_the_database_open() {
    let site = site();
    let exim = exim(&site, "", &lookup_modifier(&site));
    let check = || value(&site.tool(&["config"], ""), "check.embedded");
    assert_eq!(check(), "ok the database is whole");
    let client = Client::connect_from(exim.port, GB);
    let warning = check();
    let process = format!("warning Exim's process {} keeps ", children(exim.pid())[0]);
    assert!(
        warning.starts_with(&process) && warning.contains("state/authpolicy.db open"),
        "{warning}"
    );
    assert!(warning.contains("Remove the ${lookup sqlite}"), "{warning}");
    drop(client);
    wait_for_connections(&exim);
    assert_eq!(check(), "ok the database is whole");
}

#[test]
fn a_lookup_in_another_database_does_not_affect_attempts() {
    let site = site();
    rusqlite::Connection::open(site.path("copy.db"))
        .and_then(|copy| copy.execute_batch("CREATE TABLE account (a)"))
        .unwrap();
    let elsewhere = lookup_modifier(&site).replace("state/authpolicy.db", "copy.db");
    let exim = exim(&site, "", &elsewhere);
    let mut client = Client::connect_from(exim.port, GB);
    assert_eq!(client.plain(b"u@example.com", b"wrong"), REFUSED, "{}", site.main_log());
    assert_eq!(client.plain(b"u@example.com", b"secret"), ACCEPTED, "{}", site.main_log());
    drop(client);
    wait_for_connections(&exim);
    assert_eq!(site.rows().len(), 3);
    assert_whole(&site);
}

/// Makes two attempts in one connection, with different names. The first has a wrong password.
fn attempt_twice(port: u16, number: usize) -> [Attempt; 2] {
    let mut client = Client::connect_from(port, GB);
    [(2 * number, "wrong"), (2 * number + 1, "secret")].map(|(number, password)| {
        let name = format!("u-{number}@example.com");
        let reply = Some(client.plain(name.as_bytes(), password.as_bytes()));
        Attempt { name, number, is_right: password == "secret", reply }
    })
}

#[test]
fn sixteen_clients_lose_neither_rows_nor_the_database() {
    let site = Site::new(Base::Sqlite, POLICY);
    load::prepare(&site);
    // Every second process has the database open.
    let lookup = lookup(&site);
    let half =
        format!("condition = ${{if ={{0}}{{${{eval:$pid%2}}}}{{${{if >={{{lookup}}}{{0}}}}}}}}");
    let exim = exim(&site, "", &half);
    let number = AtomicUsize::new(0);
    let attempts = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let done = attempt_twice(exim.port, number.fetch_add(1, Ordering::Relaxed));
                    attempts.lock().unwrap().extend(done);
                }
            });
        }
    });
    wait_for_connections(&exim);
    load::flush(&site);
    assert_whole(&site);
    let tally = load::assert_consistent(&site, &attempts.into_inner().unwrap());
    assert_eq!(tally.rows, 640);
    assert!(tally.accepted > 0 && tally.refused > 0 && tally.cannot_tell > 0, "{tally:?}");
}
