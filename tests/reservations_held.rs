//! Attempts that are killed, stopped, or lose their database while they hold a reservation, in a
//! real Exim.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    clippy::panic,
    reason = "test code"
)]

mod common;

use std::fs::File;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use common::Base;
use common::Exim;
use common::Site;
use common::frozen::signal;
use common::hashing::ARGON2;
use common::hashing::stop_while_it_hashes;
use common::limits::ENTRIES;
use common::limits::LIMITED;
use common::limits::NO;
use common::limits::NONE_KNOWN_GOOD;
use common::limits::RESERVATIONS;
use common::limits::YES;
use common::limits::attempt;
use common::limits::expect_line;
use common::limits::expect_rows;
use common::limits::flags;
use common::limits::limit;
use common::limits::site;
use common::limits::wait_at_most;
use common::site::GB;
use common::smtp::ACCEPTED;
use common::smtp::CANNOT_TELL;
use common::smtp::REFUSED;
use mysql::prelude::Queryable;
use nix::fcntl::Flock;
use nix::fcntl::FlockArg;

const U: &str = "u@example.com";

/// A site with a limit of one failure for an account, whose password takes long to hash.
fn site_with_room_for_one(base: Base) -> Site {
    let site = site(base, NONE_KNOWN_GOOD, &[limit("guessing", "account", "failures", 1)]);
    site.sql(&format!("UPDATE account SET password = '{ARGON2}'"));
    wait_at_most(&site, "2s");
    site
}

/// Changes the entries as if this many seconds had passed.
fn age_entries(site: &Site, seconds: u32) {
    site.sql(&format!("UPDATE authpolicy_count SET expires = expires - {seconds}000"));
}

/// An attempt waits for others in progress. If they take too long, it gets 435, even if its password
/// is right: any other reply would answer one guess more than the limit allows. The guess of an
/// attempt that is killed while it hashes counts when its lease is over.
#[test]
fn a_killed_attempt_counts_as_a_failure_when_its_lease_is_over() {
    for base in Base::all() {
        let site = site_with_room_for_one(base);
        let exim = site.exim();
        assert_eq!(attempt(&exim, GB, U, "test"), ACCEPTED, "{}", site.main_log());
        expect_rows(&site, 1, (YES, NO));
        let (stopped, client) = stop_while_it_hashes(&site, &exim, U, "guess");
        assert_eq!(site.count(RESERVATIONS), 1);
        for password in ["test", "wrong"] {
            assert_eq!(attempt(&exim, GB, U, password), CANNOT_TELL, "{password}");
            let rule =
                "status=503 reason=internal rule=guessing auth_ok=- policy_reject=0 country=GB";
            expect_line(&site, rule);
            let line = site.lines().pop().unwrap();
            assert!(line.contains("error=\"limit guessing: other attempts in progress"), "{line}");
            assert_eq!(flags(&site), (None, NO));
        }
        assert_eq!(site.run_tool(&["limits"], "").status.code(), Some(1), "nobody is refused");
        assert_eq!(site.count(ENTRIES), 1, "an attempt that found no room leaves no entry");
        signal("KILL", &[stopped]);
        let _ = client.join();
        assert_eq!(attempt(&exim, GB, U, "test"), CANNOT_TELL, "until the lease is over");
        age_entries(&site, 24);
        assert_eq!(attempt(&exim, GB, U, "test"), REFUSED);
        expect_line(
            &site,
            "status=403 reason=policy rule=guessing auth_ok=- policy_reject=1 country=GB",
        );
        assert_eq!(flags(&site), LIMITED);
        assert!(site.tool(&["limits"], "").starts_with("limit=guessing account=\"u@example.com\""));
        assert_eq!(attempt(&exim, GB, "v@example.com", "test"), ACCEPTED, "another account");
    }
}

#[test]
fn an_attempt_that_is_stopped_for_longer_than_its_lease_is_still_settled() {
    for (password, reply, failed) in [("test", ACCEPTED, 0), ("guess", REFUSED, 1)] {
        for base in Base::all() {
            let site = site_with_room_for_one(base);
            let exim = site.exim();
            assert_eq!(attempt(&exim, GB, "v@example.com", "test"), ACCEPTED);
            let (stopped, client) = stop_while_it_hashes(&site, &exim, U, password);
            age_entries(&site, 24);
            assert_eq!(attempt(&exim, GB, U, "test"), REFUSED, "{password}");
            assert_eq!(flags(&site), LIMITED, "{password}");
            signal("CONT", &[stopped]);
            assert_eq!(client.join().unwrap(), reply, "{password}");
            assert_eq!((site.count(ENTRIES), site.count(RESERVATIONS)), (failed, 0), "{password}");
            let next = if failed == 0 { ACCEPTED } else { REFUSED };
            assert_eq!(attempt(&exim, GB, U, "test"), next, "{password}");
        }
    }
}

/// The server goes away while an attempt hashes. The outcome waits in the journal, with the row.
#[test]
fn a_settlement_waits_in_the_journal_while_the_server_is_away() {
    for (password, reply, failed) in [("test", ACCEPTED, 0), ("guess", REFUSED, 1)] {
        let server = Arc::new(common::MariaDb::start());
        let name = server.database();
        let url = server.url(&name);
        let site = site_with_room_for_one(Base::MariaDb(Arc::clone(&server), name, url));
        let exim = site.exim();
        assert_eq!(attempt(&exim, GB, "v@example.com", "test"), ACCEPTED);
        let (stopped, client) = stop_while_it_hashes(&site, &exim, U, password);
        server.kill();
        signal("CONT", &[stopped]);
        assert_eq!(client.join().unwrap(), reply, "{:?}", site.lines());
        let rows = site.read("state/journal/rows.settlements");
        assert!(rows.contains("\"settlement\":{\"counters\":[{"), "{rows}");
        server.restart();
        let [wrote, entries] = ["connection_log", "authpolicy_count WHERE value <> ''"]
            .map(|table| site.count(&format!("SELECT COUNT(*) FROM {table}")));
        assert_eq!((wrote, entries), (1, 1), "before delivery");
        // The lease is over. The next attempt first delivers the settlement that waits.
        age_entries(&site, 24);
        let next = if failed == 0 { ACCEPTED } else { REFUSED };
        assert_eq!(attempt(&exim, GB, U, "test"), next, "{:?}", site.lines());
        let last = if failed == 0 { (YES, NO) } else { LIMITED };
        assert_eq!(flags(&site), last);
        assert_eq!(site.tool(&["flush"], "").lines().next(), Some("stored=0"));
        assert_eq!((site.count(ENTRIES), site.count(RESERVATIONS)), (failed, 0), "{password}");
        let decided = if failed == 0 { (YES, NO) } else { (NO, NO) };
        let rows = site.rows();
        assert_eq!((rows.len(), (rows[1].auth_ok, rows[1].policy_reject)), (3, decided));
        assert_eq!(site.panic_log(), "");
    }
}

/// A site on its own server, whose address has room for one failure. The settlement of a right
/// password waits in its journal for longer than the lease.
fn unsettled_site(policy: &str) -> (Site, Exim, Arc<common::MariaDb>) {
    let server = Arc::new(common::MariaDb::start());
    let name = server.database();
    let url = server.url(&name);
    let base = Base::MariaDb(Arc::clone(&server), name, url);
    let policy = format!("{NONE_KNOWN_GOOD}\n{policy}");
    let site = site(base, &policy, &[limit("guessing", "remote", "failures", 1)]);
    site.sql(&format!("UPDATE account SET password = '{ARGON2}'"));
    wait_at_most(&site, "2s");
    let allow = site.dlfunc("allow", "{$sender_host_address}");
    let acl = format!(
        "acl_smtp_auth = acl_allow\nbegin acl\nacl_allow:\n  warn set acl_c_policy = {allow}\n  accept\n"
    );
    site.write("exim.conf", &site.read("exim.conf").replace("begin acl\n", &acl));
    let exim = site.exim();
    assert_eq!(attempt(&exim, GB, U, "test"), ACCEPTED, "{}", site.main_log());
    assert_eq!(flags(&site), (YES, NO));
    let (stopped, client) = stop_while_it_hashes(&site, &exim, U, "test");
    server.kill();
    signal("CONT", &[stopped]);
    assert_eq!(client.join().unwrap(), ACCEPTED, "{:?}", site.lines());
    server.restart();
    age_entries(&site, 24);
    (site, exim, server)
}

/// `allow` checks limits before a client gives a name. It, too, writes waiting settlements first.
#[test]
fn allow_writes_waiting_settlements_before_it_refuses() {
    let (site, exim, _server) = unsettled_site("");
    assert_eq!(site.count(RESERVATIONS), 1);
    // Other rows that wait make no difference.
    for number in 0..70 {
        common::journal::put(&site, &format!("rows.{number:032x}"), common::journal::rows(1));
    }
    assert_eq!(attempt(&exim, GB, U, "test"), ACCEPTED, "{:?}", site.lines());
    expect_rows(&site, 3, (YES, NO));
    assert_eq!(site.count(ENTRIES), 0);
}

/// A row that its table refuses does not delay its settlement.
#[test]
fn an_attempt_is_settled_while_its_row_waits() {
    let (site, exim, _server) = unsettled_site("");
    let config = site.read("authpolicy.toml");
    let broken = "[log]\ninsert = \"INSERT INTO nowhere (a) VALUES (:time)\"\n[database]";
    site.write_config(&config.replacen("[database]", broken, 1));
    assert_eq!(attempt(&exim, GB, U, "test"), ACCEPTED, "{:?}", site.lines());
    assert_eq!((site.rows().len(), site.count(ENTRIES)), (1, 0), "{:?}", site.lines());
    site.write_config(&config);
    common::load::flush(&site);
    expect_rows(&site, 3, (YES, NO));
    assert_eq!(site.count(ENTRIES), 0);
}

/// `log_only` refuses no attempt, and so waits for no settlement.
#[test]
fn an_attempt_under_log_only_does_not_wait_for_settlements() {
    let (site, exim, _server) = unsettled_site("log_only = true");
    let path = site.path("state/journal/rows.settlements");
    if !path.exists() {
        // Under `log_only` an attempt reserves nothing, so that nothing had to wait.
        common::journal::put(&site, "rows.settlements", common::journal::rows(1));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        site.sql(&format!(
            "INSERT INTO authpolicy_count (rule, account, remote, value, attempt, expires) \
             VALUES ('guessing', '', '{GB}', 'x', '', {})",
            now + 300_000
        ));
    }
    let held = File::options().write(true).open(path).unwrap();
    let held = Flock::lock(held, FlockArg::LockExclusiveNonblock).unwrap();
    assert_eq!(attempt(&exim, GB, U, "test"), ACCEPTED, "{:?}", site.lines());
    expect_line(
        &site,
        "status=204 reason=would-reject rule=guessing auth_ok=1 policy_reject=0 country=GB",
    );
    drop(held);
}

/// The settlement of an earlier attempt does not bring forward the end of a later failure.
#[test]
fn a_late_settlement_does_not_shorten_a_failure() {
    let server = Arc::new(common::MariaDb::start());
    let name = server.database();
    let url = server.url(&name);
    let base = Base::MariaDb(Arc::clone(&server), name, url);
    let site = site(base, NONE_KNOWN_GOOD, &[limit("spraying", "remote", "accounts", 5)]);
    site.sql(&format!("UPDATE account SET password = '{ARGON2}'"));
    wait_at_most(&site, "2s");
    let exim = site.exim();
    assert_eq!(attempt(&exim, GB, U, "test"), ACCEPTED, "{}", site.main_log());
    let (stopped, client) = stop_while_it_hashes(&site, &exim, U, "guess");
    server.kill();
    signal("CONT", &[stopped]);
    assert_eq!(client.join().unwrap(), REFUSED, "{:?}", site.lines());
    server.restart();
    // The entry of an attempt that fails a quarter of an hour later.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let later = i64::try_from(now).unwrap() + 25 * 60_000;
    site.sql(&format!(
        "INSERT INTO authpolicy_count (rule, account, remote, value, attempt, expires) \
         VALUES ('spraying', '', '{GB}', '{U}', '', {later})"
    ));
    common::load::flush(&site);
    assert_eq!(flags(&site), (NO, NO));
    assert_eq!((site.count(ENTRIES), site.count(RESERVATIONS)), (1, 0));
    assert_eq!(site.count("SELECT MAX(expires) FROM authpolicy_count WHERE value <> ''"), later);
}

/// While another process holds the journal's file, it is unknown if failures have reached the
/// limit.
#[test]
fn an_attempt_is_not_refused_while_settlements_wait() {
    let (site, exim, _server) = unsettled_site("");
    let path = site.path("state/journal/rows.settlements");
    let held = File::options().write(true).open(path).unwrap();
    let held = Flock::lock(held, FlockArg::LockExclusiveNonblock).unwrap();
    assert_eq!(attempt(&exim, GB, U, "test"), CANNOT_TELL, "{:?}", site.lines());
    let line = site.lines().pop().unwrap();
    assert!(line.contains("limit guessing: the outcome of earlier attempts waits"), "{line}");
    assert_eq!(flags(&site).0, None);
    drop(held);
    assert_eq!(attempt(&exim, GB, U, "test"), ACCEPTED, "{:?}", site.lines());
    assert_eq!((flags(&site), site.count(ENTRIES)), ((YES, NO), 0));
}

/// A backup delays COMMITs, so that the reservation is made after its attempt has given up.
#[test]
fn a_reservation_made_after_its_attempt_has_given_up_is_settled() {
    let server = Arc::new(common::MariaDb::start());
    let name = server.database();
    let url = server.url(&name);
    let base = Base::MariaDb(Arc::clone(&server), name, url);
    let site = site(base, NONE_KNOWN_GOOD, &[limit("guessing", "account", "failures", 1)]);
    let config = site.read("authpolicy.toml");
    let short =
        "[database]\nconnect_timeout = \"1s\"\nquery_timeout = \"1s\"\nattempt_timeout = \"2s\"";
    site.write_config(&config.replace("[database]", short));
    let exim = site.exim();
    assert_eq!(attempt(&exim, GB, U, "secret"), ACCEPTED, "{}", site.main_log());
    let mut backup = server.root("");
    for stage in ["START", "FLUSH", "BLOCK_DDL", "BLOCK_COMMIT"] {
        backup.query_drop(format!("BACKUP STAGE {stage}")).unwrap();
    }
    assert_eq!(attempt(&exim, GB, U, "secret"), CANNOT_TELL, "{:?}", site.lines());
    backup.query_drop("BACKUP STAGE END").unwrap();
    let connections = "SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'exim'";
    while server.root("").query_first::<u32, _>(connections).unwrap() != Some(0) {
        thread::sleep(Duration::from_millis(20));
    }
    common::load::flush(&site);
    assert_eq!((flags(&site).0, site.count(ENTRIES)), (None, 0), "{:?}", site.lines());
    assert_eq!(attempt(&exim, GB, U, "secret"), ACCEPTED);
    assert_eq!(site.panic_log(), "");
}

/// If the server has ended the connection during hashing, the plugin connects again.
#[test]
fn an_attempt_connects_again_if_the_server_has_ended_its_idle_connection() {
    for limits in [vec![], vec![limit("guessing", "account", "failures", 3)]] {
        let server = Arc::new(common::MariaDb::start());
        for variable in
            ["wait_timeout", "idle_transaction_timeout", "idle_write_transaction_timeout"]
        {
            server.root("").query_drop(format!("SET GLOBAL {variable} = 1")).unwrap();
        }
        let name = server.database();
        let url = server.url(&name);
        let base = Base::MariaDb(Arc::clone(&server), name, url);
        let policy = format!("{NONE_KNOWN_GOOD}\nnew_country = \"reject\"");
        let site = site(base, &policy, &limits);
        site.sql(&format!("UPDATE account SET password = '{ARGON2}'"));
        let exim = site.exim();
        assert_eq!(attempt(&exim, GB, "v@example.com", "test"), ACCEPTED, "{}", site.main_log());
        let (stopped, client) = stop_while_it_hashes(&site, &exim, U, "test");
        // Until the server has ended it. Nothing else is connected to this database.
        let connections = "SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'exim'";
        while server.root("").query_first::<u32, _>(connections).unwrap() != Some(0) {
            thread::sleep(Duration::from_millis(50));
        }
        signal("CONT", &[stopped]);
        assert_eq!(client.join().unwrap(), ACCEPTED, "{:?}", site.lines());
        expect_line(&site, "status=204 reason=- rule=- auth_ok=1 policy_reject=0 country=GB");
        expect_rows(&site, 2, (YES, NO));
        assert_eq!(site.count(ENTRIES), 0);
        assert!(!site.main_log().contains("trouble"), "{}", site.main_log());
    }
}
