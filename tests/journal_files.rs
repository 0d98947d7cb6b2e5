//! The journal's files: torn, restored, not ours, or missing.
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
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::chown;
use std::os::unix::fs::symlink;

use common::Base;
use common::Client;
use common::Site;
use common::journal::LATER;
use common::journal::POLICY;
use common::journal::attempt;
use common::journal::flush;
use common::journal::hide_table;
use common::journal::names;
use common::journal::put;
use common::journal::restore_table;
use common::journal::site;
use common::journal::value;
use common::process;
use common::site::GB;
use common::smtp::ACCEPTED;
use common::smtp::CANNOT_TELL;
use common::smtp::REFUSED;
use mysql::prelude::Queryable;

#[test]
fn torn_and_corrupt_lines_are_set_aside_and_damage_no_other() {
    let site = site(Base::Sqlite, LATER);
    let exim = site.exim();
    assert_eq!(attempt(&exim, "secret"), ACCEPTED, "{}", site.main_log());
    let path = site.path("state/journal/rows");
    let whole = fs::read(&path).unwrap();
    let mut changed = whole.clone();
    changed[40] ^= 1;
    let mut all = whole[..whole.len() / 2].to_vec();
    all.extend_from_slice(&whole);
    all.extend_from_slice(&[0; 100]);
    all.extend_from_slice(&changed);
    fs::write(&path, all).unwrap();
    assert_eq!(attempt(&exim, "secret"), ACCEPTED);
    let output = site.run_tool(&["flush"], "");
    let (printed, stderr) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(value(&printed, "stored"), "2", "{printed}");
    assert_eq!(value(&printed, "set_aside"), "3", "{printed}");
    assert!(stderr.contains("3 rows of ") && stderr.contains("is not whole"), "{stderr}");
    assert_eq!(site.rows().len(), 2);
}

#[test]
fn a_restored_journal_stores_nothing_twice_and_loses_nothing_new() {
    for base in Base::all() {
        let site = site(base, LATER);
        let exim = site.exim();
        for _ in 0..5 {
            assert_eq!(attempt(&exim, "secret"), ACCEPTED, "{}", site.main_log());
        }
        let old = site.read("state/journal/rows");
        assert_eq!(flush(&site), [5, 0, 0, 0]);
        let path = site.path("state/journal/rows");
        fs::write(&path, old).unwrap();
        common::exim::users::give_to_exim(&path);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(attempt(&exim, "wrong"), REFUSED);
        assert_eq!(flush(&site), [1, 5, 0, 0]);
        assert_eq!(site.rows().len(), 6);
    }
}

#[test]
fn foreign_files_in_the_state_directory_do_not_stop_attempts() {
    let site = site(Base::Sqlite, POLICY);
    let exim = site.exim();
    assert_eq!(attempt(&exim, "secret"), ACCEPTED, "{}", site.main_log());
    hide_table(&site);
    assert_eq!(attempt(&exim, "secret"), ACCEPTED);
    let rows = site.path("state/journal/rows");
    let outside = site.path("outside");
    fs::write(&outside, "").unwrap();
    fs::set_permissions(&outside, fs::Permissions::from_mode(0o666)).unwrap();
    let plant = |number: usize| {
        let _ = fs::remove_file(&rows);
        match number {
            0 => {
                // Owned by root, and writable for all.
                fs::write(&rows, "").unwrap();
                fs::set_permissions(&rows, fs::Permissions::from_mode(0o666)).unwrap();
            }
            1 => symlink(&outside, &rows).unwrap(),
            2 => fs::create_dir(&rows).unwrap(),
            3 => nix::unistd::mkfifo(&rows, nix::sys::stat::Mode::S_IRUSR).unwrap(),
            4 => {
                fs::write(&rows, "").unwrap();
                fs::hard_link(&rows, site.path("state/another")).unwrap();
                chown(&rows, Some(0), Some(0)).unwrap();
            }
            _ => {
                fs::rename(site.path("state/journal"), site.path("state/elsewhere")).unwrap();
                symlink(site.path("state/elsewhere"), site.path("state/journal")).unwrap();
            }
        }
    };
    for number in 0..6 {
        let before = site.lines().len();
        fs::rename(&rows, site.path(&format!("state/journal/rows.{number}"))).unwrap();
        plant(number);
        assert_eq!(attempt(&exim, "secret"), ACCEPTED, "{number}: {}", site.main_log());
        let lines = site.lines();
        assert_eq!(lines.len(), before + 3, "{number}: {lines:?}");
        let what = if number < 5 { "file" } else { "directory" };
        let what = format!("is not a {what} that only Exim's user can write");
        assert!(lines[before].contains(&what), "{number}: {lines:?}");
        assert!(lines[before + 1].contains("the row waits"), "{number}");
    }
    assert_eq!(fs::read_to_string(&outside).unwrap(), "", "no link is followed");
    // The files that were moved with the directory are put back.
    for entry in fs::read_dir(site.path("state/elsewhere")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.starts_with("rows.") {
            fs::rename(&path, site.path(&format!("state/journal/{name}"))).unwrap();
        }
    }
    restore_table(&site);
    let [stored, known, waiting, _] = flush(&site);
    assert_eq!((stored + known, waiting), (7, 0));
    assert_eq!(site.rows().len(), 8);
    assert_eq!(site.panic_log(), "");
}

#[test]
fn an_attempt_whose_row_cannot_be_stored_gets_435() {
    for base in Base::all() {
        let site = site(base, POLICY);
        let exim = site.exim();
        assert_eq!(attempt(&exim, "secret"), ACCEPTED, "{}", site.main_log());
        hide_table(&site);
        let moved = site.path("moved");
        let break_state: [&dyn Fn(); 2] = [
            &|| fs::set_permissions(site.path("state"), fs::Permissions::from_mode(0o777)).unwrap(),
            &|| fs::rename(site.path("state"), &moved).unwrap(),
        ];
        for (number, break_state) in break_state.iter().enumerate() {
            // The embedded database is in the same directory.
            if number == 1 && matches!(site.base, Base::Sqlite) {
                continue;
            }
            break_state();
            assert_eq!(attempt(&exim, "secret"), CANNOT_TELL, "{number}");
            assert_eq!(attempt(&exim, "wrong"), CANNOT_TELL, "{number}");
            let line = site.lines().pop().unwrap();
            assert!(
                line.contains("status=503") && line.contains("no place took the row"),
                "{line}"
            );
        }
        if moved.exists() {
            fs::rename(&moved, site.path("state")).unwrap();
        }
        fs::set_permissions(site.path("state"), fs::Permissions::from_mode(0o700)).unwrap();
        restore_table(&site);
        assert_eq!(attempt(&exim, "secret"), ACCEPTED);
        assert_eq!(site.rows().len(), 2);
    }
}

#[test]
fn in_journal_mode_rows_go_to_the_table_if_the_journal_is_missing() {
    let site = site(Base::mariadb(), LATER);
    let exim = site.exim();
    assert_eq!(attempt(&exim, "secret"), ACCEPTED, "{}", site.main_log());
    assert_eq!(flush(&site)[0], 1);
    fs::rename(site.path("state"), site.path("moved")).unwrap();
    assert_eq!(attempt(&exim, "secret"), ACCEPTED);
    assert_eq!(site.rows().len(), 2);
    assert!(site.lines()[1].starts_with("trouble function=journal"), "{}", site.lines()[1]);
}

#[test]
fn a_journal_with_wrong_modes_is_used_and_its_modes_are_corrected() {
    let site = site(Base::Sqlite, LATER);
    let exim = site.exim();
    assert_eq!(attempt(&exim, "secret"), ACCEPTED, "{}", site.main_log());
    let chmod = |name: &str, mode| {
        fs::set_permissions(site.path(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    let mode = |name: &str| fs::metadata(site.path(name)).unwrap().permissions().mode() & 0o7777;
    for wrong in [0o755, 0o500, 0] {
        chmod("state/journal/rows", 0o644);
        chmod("state/journal", wrong);
        assert_eq!(attempt(&exim, "wrong"), REFUSED, "{wrong:o}: {}", site.main_log());
        assert_eq!((mode("state/journal/rows"), mode("state/journal")), (0o600, 0o700));
    }
    assert_eq!(site.lines().len(), 4, "{:?}", site.lines());
    // A file that we may not write is moved away.
    chmod("state/journal/rows", 0o400);
    assert_eq!(attempt(&exim, "wrong"), REFUSED, "{}", site.main_log());
    assert!(site.lines()[4].contains("/foreign.rows."), "{:?}", site.lines());
    assert_eq!(flush(&site), [1, 0, 0, 0]);
    let foreign = names(&site).pop().unwrap();
    put(&site, "rows.old", site.read(&format!("state/journal/{foreign}")));
    assert_eq!(flush(&site), [4, 0, 0, 0]);
    assert_eq!(site.rows().len(), 5);
}

#[test]
fn a_foreign_journal_is_moved_away_and_reported() {
    let site = site(Base::Sqlite, LATER);
    let exim = site.exim();
    assert_eq!(attempt(&exim, "secret"), ACCEPTED, "{}", site.main_log());
    chown(site.path("state/journal"), Some(0), Some(0)).unwrap();
    assert_eq!(attempt(&exim, "wrong"), REFUSED);
    let line = &site.lines()[1];
    assert!(line.contains("/foreign.journal.") && line.contains("move its rows* into"), "{line}");
    let check = value(&site.tool(&["config"], ""), "check.journal");
    assert!(check.starts_with("warning 1 row waits since 20"), "{check}");
    assert!(check.contains("/state/foreign.journal.") && check.contains(" is not ours"), "{check}");
    assert_eq!(flush(&site), [1, 0, 0, 0]);
    assert_eq!(site.rows().len(), 1);
    assert_eq!(site.panic_log(), "");
}

/// Makes the table refuse names that begin with `bad`.
fn refuse_bad_names(site: &Site) {
    site.sql(
        "CREATE TRIGGER no BEFORE INSERT ON connection_log WHEN NEW.username LIKE 'bad%' BEGIN \
         SELECT RAISE(ABORT, 'not this one'); END",
    );
}

fn attempt_as(exim: &common::Exim, name: &str) {
    assert_eq!(Client::connect_from(exim.port, GB).plain(name.as_bytes(), b"secret"), REFUSED);
}

#[test]
fn a_set_aside_file_that_is_not_ours_does_not_stop_deliveries() {
    let site = site(Base::Sqlite, LATER);
    refuse_bad_names(&site);
    let exim = site.exim();
    assert_eq!(attempt(&exim, "secret"), ACCEPTED, "{}", site.main_log());
    attempt_as(&exim, "bad@example.com");
    assert_eq!(flush(&site), [1, 0, 0, 1]);
    chown(site.path("state/journal/set-aside"), Some(0), Some(0)).unwrap();
    assert_eq!(attempt(&exim, "secret"), ACCEPTED);
    attempt_as(&exim, "bad2@example.com");
    assert_eq!(flush(&site), [1, 0, 0, 1]);
    assert!(site.read("state/journal/set-aside").contains("bad2@example.com"));
    let foreign = |name: &String| name.starts_with("foreign.set-aside.");
    assert_eq!(names(&site).iter().filter(|name| foreign(name)).count(), 1, "{:?}", names(&site));
    assert_eq!(site.rows().len(), 2);
}

#[test]
fn a_row_goes_to_a_new_set_aside_file_while_the_old_one_is_locked() {
    let site = site(Base::Sqlite, LATER);
    refuse_bad_names(&site);
    let exim = site.exim();
    assert_eq!(attempt(&exim, "secret"), ACCEPTED, "{}", site.main_log());
    attempt_as(&exim, "bad1@example.com");
    assert_eq!(flush(&site), [1, 0, 0, 1]);
    let file = fs::File::open(site.path("state/journal/set-aside")).unwrap();
    let lock = nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusive).unwrap();
    attempt_as(&exim, "bad2@example.com");
    assert_eq!(flush(&site)[3], 1);
    let aside = site.read("state/journal/set-aside");
    assert!(aside.contains("bad2@example.com") && !aside.contains("bad1@example.com"), "{aside}");
    drop(lock);
    assert_eq!(flush(&site), [0, 0, 0, 2]);
}

#[test]
fn a_delivery_does_not_delete_a_newer_file_of_the_same_name() {
    let site = site(Base::mariadb(), LATER);
    let exim = site.exim();
    let old = site.path("state/journal/rows.old");
    let rename_to_old = || fs::rename(site.path("state/journal/rows"), &old).unwrap();
    assert_eq!(attempt(&exim, "secret"), ACCEPTED, "{}", site.main_log());
    rename_to_old();
    let Base::MariaDb(server, name, _) = &site.base else { panic!("a server") };
    let mut root = server.root(name);
    root.query_drop("LOCK TABLES connection_log WRITE").unwrap();
    let mut delivery = common::fault::flush(&site);
    process::until("a delivery in the middle of a row", || {
        let sql = "SELECT COUNT(*) FROM information_schema.processlist \
                   WHERE state LIKE 'Waiting for table%'";
        server.root("").query_first::<u32, _>(sql).unwrap().unwrap() > 0
    });
    assert_eq!(attempt(&exim, "wrong"), REFUSED);
    rename_to_old();
    root.query_drop("UNLOCK TABLES").unwrap();
    assert!(delivery.wait().unwrap().success());
    let [_, _, waiting, aside] = flush(&site);
    assert_eq!((waiting, aside), (0, 0));
    let flags: Vec<_> = site.rows().iter().map(|row| row.auth_ok).collect();
    assert!(flags.contains(&Some(true)) && flags.contains(&Some(false)), "{flags:?}");
    assert_eq!(flags.len(), 2);
}
