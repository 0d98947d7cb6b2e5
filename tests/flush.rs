//! `authpolicy flush`: which rows it stores, when it ends, its exit status, and progress at a terminal.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::panic,
    reason = "test code"
)]

mod common;

use std::time::Duration;

use common::Base;
use common::Site;
use common::journal::LATER;
use common::journal::attempt;
use common::journal::attempt_badly;
use common::journal::names;
use common::journal::put;
use common::journal::refuse_bad_names;
use common::journal::rows;
use common::journal::site;
use common::journal::value;
use common::smtp::ACCEPTED;

/// Exit status, what is printed of `waiting`, and what is complained of.
fn flush_status(site: &Site) -> (i32, String, String) {
    let output = site.run_tool(&["flush"], "");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let (printed, complaint) = (text(output.stdout), text(output.stderr));
    (output.status.code().unwrap(), value(&printed, "waiting"), complaint)
}

/// Files that nobody appends to any longer.
fn put_files(site: &Site, count: usize, text: impl Fn(usize) -> String) {
    (0..count).for_each(|number| put(site, &format!("rows.{number:032x}"), text(number)));
}

/// More files than may wait before attempts begin another.
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
    attempt_badly(&exim);
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
        assert_eq!(flush_status(&site), (1, String::from("2"), String::new()));
        assert_eq!(site.rows().len(), 5);
        drop(writer);
        assert_eq!(flush_status(&site), (0, String::from("0"), String::new()));
        assert_eq!(site.rows().len(), 7);
    }
}

#[test]
fn rows_that_come_during_flush_are_left_to_the_next_run() {
    let site = site(Base::Sqlite, LATER);
    refuse_bad_names(&site, "ABORT");
    let exim = site.exim();
    assert_eq!(attempt(&exim, "secret"), ACCEPTED, "{}", site.main_log());
    let database = rusqlite::Connection::open(site.path("state/authpolicy.db")).unwrap();
    database.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (status, waiting, _) = std::thread::scope(|scope| {
        let flushed = scope.spawn(|| flush_status(&site));
        // It has begun once the file has another name.
        while names(&site).iter().any(|name| name == "rows") {
            std::thread::sleep(Duration::from_millis(10));
        }
        // Some file of it is held by another process when `flush` looks for what is left.
        attempt_badly(&exim);
        let file = std::fs::File::open(site.path("state/journal/rows")).unwrap();
        let lock = nix::fcntl::FlockArg::LockSharedNonblock;
        let _writer = nix::fcntl::Flock::lock(file, lock).unwrap();
        database.execute_batch("COMMIT").unwrap();
        flushed.join().unwrap()
    });
    assert_eq!((status, &*waiting), (0, "1"));
    assert_eq!(site.rows().len(), 1);
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
            env!("CARGO_BIN_EXE_authpolicy"),
            site.path("authpolicy.toml").display(),
            site.path("printed").display()
        );
        let mut script = std::process::Command::new("script");
        let told = script.args(["-qec", &command, "/dev/null"]).env("TERM", "xterm").output();
        let told = told.expect("script: install bsdutils");
        assert!(told.status.success(), "{told:?}");
        (String::from_utf8(told.stdout).unwrap(), site.read("printed"))
    };
    let (shown, printed) = at_terminal("flush");
    assert!(shown.contains("rows stored: 0 of 301"), "{shown:?}");
    assert!(shown.contains("left"), "{shown:?}");
    assert!(printed.starts_with("stored=301\nknown=0\nwaiting=0\nset_aside=0\n"), "{printed}");
    let (shown, printed) = at_terminal("prune --keep 1d");
    assert!(shown.contains("rows deleted: 0 of 300"), "{shown:?}");
    assert_eq!(printed, "deleted=300\n");
    let backup = site.path("backup").display().to_string();
    for (arguments, said) in [
        (format!("db backup {backup}"), "copying the database ..."),
        (format!("db restore {backup}"), "restoring /"),
        (String::from("config"), "reading all of the GeoIP files ..."),
    ] {
        let (shown, printed) = at_terminal(&arguments);
        assert!(shown.contains(said) && !printed.contains(said), "{shown:?}");
        assert!(!shown.ends_with("..."), "the line is erased: {shown:?}");
    }
    for arguments in [&["flush"][..], &["prune", "--keep", "1d"], &["config"]] {
        let output = site.run_tool(arguments, "");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{arguments:?}");
    }
}
