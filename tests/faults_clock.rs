//! The host's clock is set back and forward while Exim runs. AUTH goes on, and each row is stored
//! once. A limit locks nobody out for long, and admits at most twice its maximum.
//!
//! `libfaketime` gives Exim's processes another time of day. It does not change CLOCK_MONOTONIC, like
//! an administrator who sets a clock.
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

use std::path::Path;

use authpolicy::row::journal::Record;
use authpolicy::store::Value;
use common::Base;
use common::Exim;
use common::Site;
use common::fault::CLIENTS;
use common::fault::Fault;
use common::fault::LATER;
use common::fault::POLICY;
use common::journal::flush;
use common::journal::put;
use common::limits::LIMITED;
use common::limits::attempt;
use common::limits::flags;
use common::limits::limit;
use common::site::GB;
use common::smtp::ACCEPTED;
use common::smtp::REFUSED;

/// Starts an Exim whose clock can be set.
fn exim(site: &Site) -> Exim {
    let library = Path::new("/usr/lib").join(format!("{}-linux-gnu", std::env::consts::ARCH));
    let library = library.join("faketime/libfaketime.so.1").display().to_string();
    assert!(Path::new(&library).exists(), "{library}: install faketime");
    set_clock(site, "+0");
    let config = site.read("exim.conf");
    // Exim clears its environment otherwise, and the library reads it at each call.
    let option = "keep_environment = ^FAKETIME : FAKETIME_TIMESTAMP_FILE : FAKETIME_NO_CACHE : \
                FAKETIME_DONT_FAKE_MONOTONIC\n";
    site.write("exim.conf", &format!("{option}{config}"));
    let clock = site.path("clock").display().to_string();
    let port = common::exim::free_port();
    let environment = [
        ("LD_PRELOAD", &*library),
        ("FAKETIME_TIMESTAMP_FILE", &*clock),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    let ports = port.to_string();
    Exim::start_with_environment(&site.path("exim.conf"), port, &["-oX", &ports], &environment)
}

/// Sets Exim's clock to this offset from the real time.
fn set_clock(site: &Site, offset: &str) {
    site.write("clock.new", offset);
    std::fs::rename(site.path("clock.new"), site.path("clock")).unwrap();
}

/// The numbers of rows from 48 hours ago, from now, and from 48 hours ahead.
fn rows_by_time(site: &Site) -> Vec<i64> {
    let sql = |hours: i64| match site.base {
        Base::Sqlite => format!(
            "SELECT COUNT(*) FROM connection_log WHERE \
             ROUND((strftime('%s', datetime) - strftime('%s', 'now')) / 3600.0) = {hours}"
        ),
        Base::MariaDb(..) => format!(
            "SELECT COUNT(*) FROM connection_log WHERE \
             ROUND((UNIX_TIMESTAMP(datetime) - UNIX_TIMESTAMP()) / 3600) = {hours}"
        ),
    };
    [-48, 0, 48].map(|hours| site.count(&sql(hours))).to_vec()
}

fn check_clock_changes(name: &str, base: Base, policy: &str) {
    let site = common::fault::site(base, policy);
    let exim = exim(&site);
    let tally = Fault::named(name).run(&site, &exim, |load| {
        for offset in ["-2d", "+2d", "+0"] {
            set_clock(&site, offset);
            load.wait_for_new(2 * CLIENTS);
        }
    });
    assert_eq!((tally.cannot_tell, tally.unanswered), (0, 0), "{tally:?}");
    let counts = rows_by_time(&site);
    assert!(counts.iter().all(|rows| *rows >= 2 * 8), "rows have Exim's time: {counts:?}");
    assert_eq!(counts.iter().sum::<i64>(), i64::try_from(tally.rows).unwrap());
}

#[test]
fn a_changed_clock_does_not_stop_attempts() {
    check_clock_changes("clock set back and forward by two days, SQLite", Base::Sqlite, POLICY);
    check_clock_changes("clock set back and forward by two days, MariaDB", Base::mariadb(), POLICY);
}

#[test]
fn a_changed_clock_does_not_stop_attempts_in_journal_mode() {
    let policy = format!("{POLICY}{LATER}");
    check_clock_changes(
        "clock set back and forward, SQLite, `delivery = \"journal\"`",
        Base::Sqlite,
        &policy,
    );
    check_clock_changes(
        "clock set back and forward, MariaDB, `delivery = \"journal\"`",
        Base::mariadb(),
        &policy,
    );
}

/// Makes attempts with a wrong password. Returns the number of those that no limit refused.
fn attempt_wrong_passwords(site: &Site, exim: &Exim, count: usize) -> usize {
    let is_checked = |_: &usize| {
        assert_eq!(attempt(exim, GB, "u@example.com", "wrong"), REFUSED, "{}", site.main_log());
        flags(site) != LIMITED
    };
    (0..count).filter(is_checked).count()
}

fn is_locked_out(site: &Site, exim: &Exim) -> bool {
    let reply = attempt(exim, GB, "u@example.com", "secret");
    assert_eq!(reply == ACCEPTED, flags(site) != LIMITED, "{reply}");
    reply != ACCEPTED
}

/// The limit is three failures within ten minutes.
#[test]
fn limits_still_work_after_the_clock_is_changed() {
    for base in Base::all() {
        let limits = [limit("guessing", "remote", "failures", 3)];
        let site = common::limits::site(base, "", &limits);
        let exim = exim(&site);
        assert!(!is_locked_out(&site, &exim), "{}", site.main_log());
        assert_eq!(attempt_wrong_passwords(&site, &exim, 5), 3);
        assert!(is_locked_out(&site, &exim));
        // Entries from before still count if the clock is set back by five minutes, but not if it
        // is set back by an hour.
        set_clock(&site, "-5m");
        assert_eq!(attempt_wrong_passwords(&site, &exim, 5), 0);
        set_clock(&site, "-1h");
        assert!(!is_locked_out(&site, &exim));
        assert_eq!(attempt_wrong_passwords(&site, &exim, 5), 3, "the limit admits as many again");
        // At the right time again, the first entries still count, and expire as usual.
        set_clock(&site, "+0");
        assert!(is_locked_out(&site, &exim));
        set_clock(&site, "+11m");
        assert!(!is_locked_out(&site, &exim));
        // Entries of a clock that was a day ahead lock nobody out after it is corrected.
        set_clock(&site, "+1d");
        assert_eq!(attempt_wrong_passwords(&site, &exim, 5), 3);
        assert!(is_locked_out(&site, &exim));
        set_clock(&site, "+12m");
        assert!(!is_locked_out(&site, &exim));
        assert_eq!(attempt_wrong_passwords(&site, &exim, 5), 3);
        assert_eq!(site.panic_log(), "");
    }
}

/// MariaDB cannot store a time after 2038.
#[test]
fn a_row_with_an_impossible_time_gets_the_databases_time() {
    for base in Base::all() {
        let site = common::limits::site(base, "", &[]);
        let exim = exim(&site);
        assert_eq!(attempt(&exim, GB, "u@example.com", "secret"), ACCEPTED, "{}", site.main_log());
        let is_embedded = matches!(site.base, Base::Sqlite);
        set_clock(&site, "+20y");
        assert_eq!(attempt(&exim, GB, "u@example.com", "wrong"), REFUSED, "{}", site.main_log());
        let rows = site.rows();
        let flags = rows.last().map(|row| (row.auth_ok, row.policy_reject));
        assert_eq!(
            (rows.len(), flags),
            (2, Some((Some(false), Some(false)))),
            "{:?}",
            site.lines()
        );
        assert!(site.lines().last().unwrap().contains("reason=credentials"));
        // SQLite knows times up to the year 9999.
        assert_eq!(rows_by_time(&site), [0, if is_embedded { 1 } else { 2 }, 0]);

        // A row of the year 11476 that waits in the journal gets the database's time, too.
        let row = vec![
            ("time", Value::Int(300_000_000_000)),
            ("protocol", Value::text("SMTP")),
            ("username", Value::text("u@example.com")),
            ("remote_ip", Value::text(GB)),
            ("country", Value::text("GB")),
            ("auth_ok", Value::Int(1)),
            ("policy_reject", Value::Int(0)),
        ];
        let record = Record::new(std::time::SystemTime::now(), row).unwrap();
        put(&site, "rows.old", format!("\n{}", record.line()));
        assert_eq!(flush(&site), [1, 0, 0, 0], "{:?}", site.read("state/journal/set-aside"));
        assert_eq!(rows_by_time(&site), [0, if is_embedded { 2 } else { 3 }, 0]);
        assert_eq!(site.panic_log(), "");
    }
}
