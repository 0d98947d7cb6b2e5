//! `authpolicy flush`: the rows that it stores, its passes, its exit status, and its progress at a
//! terminal.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::panic,
    reason = "test code"
)]

mod common;

use std::thread::ScopedJoinHandle;
use std::time::Duration;
use std::time::Instant;

use common::Base;
use common::Exim;
use common::Site;
use common::journal::LATER;
use common::journal::attempt;
use common::journal::attempt_with_refused_row;
use common::journal::names;
use common::journal::put;
use common::journal::refuse_bad_names;
use common::journal::row;
use common::journal::rows;
use common::journal::site;
use common::journal::value;
use common::process::until;
use common::smtp::ACCEPTED;
use mysql::prelude::Queryable;

/// Exit status, standard output and standard error.
fn flush_all(site: &Site) -> (i32, String, String) {
    let output = site.run_tool(&["flush"], "");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// Exit status, the printed number of `waiting` rows, and standard error.
fn flush_status(site: &Site) -> (i32, String, String) {
    let (status, printed, complaint) = flush_all(site);
    (status, value(&printed, "waiting"), complaint)
}

/// Puts files into the journal that attempts no longer append to.
fn put_files(site: &Site, count: usize, text: impl Fn(usize) -> String) {
    (0..count).for_each(|number| put(site, &format!("rows.{number:032x}"), text(number)));
}

/// More files than may wait before a delivery closes the current one.
const MANY: usize = 70;

#[test]
fn flush_leaves_no_row_behind_however_many_wait() {
    for base in Base::all() {
        let site = site(base, LATER);
        let exim = site.exim();
        assert_eq!(attempt(&exim, "secret"), ACCEPTED, "{}", site.main_log());
        put_files(&site, MANY, |_| rows(2));
        assert_eq!(flush_status(&site), (0, String::from("0"), String::new()));
        assert_eq!(site.rows().len(), 2 * MANY + 1);
        assert_eq!(names(&site), Vec::<String>::new());
    }
}

#[test]
fn rows_that_always_fail_end_flush_and_do_not_block_others() {
    let site = site(Base::mariadb(), LATER);
    refuse_bad_names(&site, "1105");
    let exim = site.exim();
    attempt_with_refused_row(&exim);
    let bad = site.read("state/journal/rows");
    std::fs::remove_file(site.path("state/journal/rows")).unwrap();
    put_files(&site, MANY, |_| bad.clone());
    assert_eq!(attempt(&exim, "secret"), ACCEPTED, "{}", site.main_log());
    let (status, waiting, complaint) = flush_status(&site);
    assert_eq!((status, &*waiting), (2, "70"), "{complaint}");
    assert!(complaint.contains("not this one"), "{complaint}");
    assert_eq!(site.rows().len(), 1, "the row that was appended to the last file");
}

#[test]
fn flush_reports_rows_that_another_process_holds() {
    for base in Base::all() {
        let site = site(base, LATER);
        let exim = site.exim();
        assert_eq!(attempt(&exim, "secret"), ACCEPTED, "{}", site.main_log());
        put_files(&site, 3, |_| rows(2));
        let file = std::fs::File::open(site.path(&format!("state/journal/rows.{:032x}", 1)));
        let lock = nix::fcntl::FlockArg::LockSharedNonblock;
        let writer = nix::fcntl::Flock::lock(file.unwrap(), lock).unwrap();
        let start = Instant::now();
        assert_eq!(flush_status(&site), (1, String::from("2"), String::new()));
        assert!(start.elapsed() >= Duration::from_secs(1), "held files are tried for a second");
        assert_eq!(site.rows().len(), 5);
        drop(writer);
        assert_eq!(flush_status(&site), (0, String::from("0"), String::new()));
        assert_eq!(site.rows().len(), 7);
    }
}

/// Rows of these users are stored once this lock is free.
const GATES: [&str; 2] = ["gate-0@example.com", "gate-1@example.com"];
/// A file of the journal that comes after the files of `put_files`.
const NEW_FILE: &str = "rows.ffffffffffffffffffffffffffffffff";

/// A site whose table delays the rows of `GATES` and refuses those of `bad` users, and the
/// connection that has the locks.
fn gated() -> (Site, mysql::Conn) {
    let site = site(Base::mariadb(), LATER);
    site.sql(
        "CREATE TRIGGER gate BEFORE INSERT ON connection_log FOR EACH ROW BEGIN \
         IF NEW.username LIKE 'bad%' THEN SIGNAL SQLSTATE 'HY000' \
         SET MYSQL_ERRNO = 1105, MESSAGE_TEXT = 'not this one'; END IF; \
         IF NEW.username LIKE 'gate%' THEN \
         SET @got = GET_LOCK(CONCAT(DATABASE(), NEW.username), 60); END IF; END",
    );
    let Base::MariaDb(server, name, _) = &site.base else { panic!("a server") };
    let mut locks = server.root(name);
    for gate in GATES {
        let lock = format!("SELECT GET_LOCK(CONCAT(DATABASE(), '{gate}'), 0)");
        assert_eq!(locks.query_first(lock).unwrap(), Some(1));
    }
    (site, locks)
}

/// Waits until `flush` is at the row of a gate.
fn await_gate(site: &Site, flush: &ScopedJoinHandle<'_, (i32, String, String)>) {
    let waiting = "SELECT COUNT(*) FROM information_schema.processlist \
                   WHERE state = 'User lock' AND db = DATABASE()";
    until("flush waits", || {
        assert!(!flush.is_finished(), "flush has ended early");
        site.count(waiting) == 1
    });
}

fn open_gate(locks: &mut mysql::Conn, gate: &str) {
    let free = format!("SELECT RELEASE_LOCK(CONCAT(DATABASE(), '{gate}'))");
    assert_eq!(locks.query_first(free).unwrap(), Some(1));
}

/// Runs `flush` over so many files that it needs two passes. During the first one, `meanwhile`
/// runs, and a file of a row appears that cannot be stored. After `flush` has failed to store it,
/// `before_end` runs.
fn flush_in_two_passes(
    meanwhile: impl FnOnce(&Exim),
    before_end: impl FnOnce(&Site),
) -> (Site, (i32, String, String)) {
    let (site, mut locks) = gated();
    let exim = site.exim();
    put_files(&site, MANY, |_| rows(2));
    // This file is the first of the first pass.
    put(&site, "rows.settlements", row(GATES[0]));
    // The first pass leaves this file to the second, because so many others wait.
    put(&site, "rows", row(GATES[1]));
    let result = std::thread::scope(|scope| {
        let flush = scope.spawn(|| flush_all(&site));
        await_gate(&site, &flush);
        meanwhile(&exim);
        put(&site, NEW_FILE, row("bad-2@example.com"));
        open_gate(&mut locks, GATES[0]);
        until("the second pass begins", || !names(&site).contains(&String::from("rows")));
        await_gate(&site, &flush);
        before_end(&site);
        open_gate(&mut locks, GATES[1]);
        flush.join().unwrap()
    });
    assert_eq!(site.rows().len(), 2 * MANY + 2);
    (site, result)
}

#[test]
fn rows_that_come_during_flush_are_left_to_the_next_run() {
    // The row is appended to a file of the backlog.
    let (site, (status, printed, complaint)) =
        flush_in_two_passes(attempt_with_refused_row, |_| ());
    assert_eq!((status, &*value(&printed, "waiting")), (0, "2"), "{complaint}");
    assert_eq!(value(&printed, "stored"), (2 * MANY + 2).to_string());
    assert!(complaint.contains("not this one"), "{complaint}");
    // The next run counts them as its backlog.
    let (status, waiting, complaint) = flush_status(&site);
    assert_eq!((status, &*waiting), (2, "2"), "{complaint}");
}

#[test]
fn a_failed_row_that_an_attempt_delivers_meanwhile_does_not_fail_flush() {
    let deliver = |site: &Site| {
        std::fs::remove_file(site.path("state/journal").join(NEW_FILE)).unwrap();
    };
    let (_, (status, printed, complaint)) = flush_in_two_passes(|_| (), deliver);
    assert_eq!((status, &*value(&printed, "waiting")), (0, "0"), "{complaint}");
    assert!(complaint.contains("not this one"), "{complaint}");
}

#[test]
fn a_row_that_cannot_be_marked_is_stored_once_by_one_flush() {
    let site = site(Base::mariadb(), LATER);
    let exim = site.exim();
    assert_eq!(attempt(&exim, "secret"), ACCEPTED, "{}", site.main_log());
    site.sql("DROP TABLE authpolicy_delivered");
    let command = format!(
        "ulimit -f 0; exec {} --config {} flush",
        common::tool(),
        site.path("authpolicy.toml").display()
    );
    let output = std::process::Command::new("sh").args(["-c", &command]).output().unwrap();
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{complaint}");
    assert!(complaint.contains("File too large"), "{complaint}");
    assert_eq!(site.rows().len(), 1);
    assert_eq!(names(&site).len(), 1);
}

#[test]
fn progress_is_shown_at_a_terminal_and_nowhere_else() {
    let site = site(Base::Sqlite, LATER);
    let exim = site.exim();
    assert_eq!(attempt(&exim, "secret"), ACCEPTED, "{}", site.main_log());
    put(&site, "rows.old", rows(300));
    let at_terminal = |arguments: &str| {
        let command = format!(
            "{} --config {} {arguments} >{}",
            common::tool(),
            site.path("authpolicy.toml").display(),
            site.path("printed").display()
        );
        let mut script = std::process::Command::new("script");
        let output = script.args(["-qec", &command, "/dev/null"]).env("TERM", "xterm").output();
        let output = output.expect("script: install bsdutils");
        assert!(output.status.success(), "{output:?}");
        (String::from_utf8(output.stdout).unwrap(), site.read("printed"))
    };
    let (shown, printed) = at_terminal("flush");
    assert!(shown.contains("rows stored: 0 of 301"), "{shown:?}");
    assert!(shown.contains("left"), "{shown:?}");
    let last = shown.split("rows stored: ").last().unwrap();
    assert!(last.starts_with("301 of 301"), "{shown:?}");
    assert!(printed.starts_with("stored=301\nknown=0\nwaiting=0\nset_aside=0\n"), "{printed}");
    let (shown, printed) = at_terminal("prune --keep 1d");
    assert!(shown.contains("rows deleted: 0 of 300"), "{shown:?}");
    assert!(shown.contains("rows deleted: 300 of 300"), "{shown:?}");
    assert_eq!(printed, "deleted=300\n");
    let backup = site.path("backup").display().to_string();
    for (arguments, step) in [
        (format!("db backup {backup}"), "copying the database ..."),
        (format!("db restore {backup}"), "restoring /"),
        (String::from("config"), "reading all of the GeoIP files ..."),
        (String::from("log --summary"), "counting by account ..."),
        (String::from("log --summary"), "counting by address ..."),
    ] {
        let (shown, printed) = at_terminal(&arguments);
        assert!(shown.contains(step) && !printed.contains(step), "{shown:?}");
        assert!(!shown.ends_with("..."), "the line is erased: {shown:?}");
    }
    for arguments in [&["flush"][..], &["prune", "--keep", "1d"], &["config"]] {
        let output = site.run_tool(arguments, "");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{arguments:?}");
    }
}
