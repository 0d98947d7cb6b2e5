//! The state directory is missing, read-only, of another owner or full, and the log's server has no
//! disk space, while clients make attempts. AUTH goes on as long as one place takes the row.
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
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use common::Base;
use common::Client;
use common::MariaDb;
use common::Site;
use common::exim::users;
use common::fault::CLIENTS;
use common::fault::Fault;
use common::fault::LATER;
use common::fault::POLICY;
use common::mount::Mount;
use common::site::GB;
use common::smtp::ACCEPTED;
use common::smtp::CANNOT_TELL;

/// A problem with the state directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Problem {
    Missing,
    ReadOnly,
    WrongOwner,
    Full,
}

use Problem::Full;
use Problem::Missing;
use Problem::ReadOnly;
use Problem::WrongOwner;

/// Only `Full` needs a mount. It is separate, because a mount cannot be renamed.
const PROBLEMS: [&[Problem]; 2] = [&[Missing, ReadOnly, WrongOwner], &[Full]];

/// Moves the state directory to its own small file system.
fn mount(site: &Site) -> Mount {
    let (state, copy) = (site.path("state"), site.path("copy"));
    let copy_tree = |from: &Path, to: &Path| {
        let status = Command::new("cp").arg("-a").arg(from.join(".")).arg(to).status();
        assert!(status.unwrap().success());
    };
    copy_tree(&state, &copy);
    let mount = Mount::over(&state, "256k");
    copy_tree(&copy, &state);
    mount
}

fn break_state(site: &Site, problem: Problem, mount: Option<&Mount>) {
    let state = site.path("state");
    match problem {
        Missing => fs::rename(state, site.path("moved")).unwrap(),
        ReadOnly => fs::set_permissions(state, fs::Permissions::from_mode(0o500)).unwrap(),
        WrongOwner => chown(state, Some(0), Some(0)).unwrap(),
        Full => mount.unwrap().fill(),
    }
}

fn repair_state(site: &Site, problem: Problem, mount: Option<&Mount>) {
    let state = site.path("state");
    match problem {
        Missing => fs::rename(site.path("moved"), state).unwrap(),
        ReadOnly => fs::set_permissions(state, fs::Permissions::from_mode(0o700)).unwrap(),
        WrongOwner => users::give_to_exim(&state),
        Full => mount.unwrap().free(),
    }
}

/// The name of these problems in the fault table of docs/operations.md.
fn label(problems: &[Problem]) -> String {
    let words = problems.iter().map(|problem| match problem {
        Missing => "missing",
        ReadOnly => "read-only",
        WrongOwner => "owned by another user",
        Full => "full",
    });
    words.collect::<Vec<_>>().join(", then ")
}

/// A site, and a mount if one of these problems needs it.
fn rig(base: Base, policy: &str, problems: &[Problem]) -> (Site, Option<Mount>) {
    let site = common::fault::site(base, policy);
    let mounted = problems.contains(&Full).then(|| mount(&site));
    (site, mounted)
}

fn break_state_only(name: &str, policy: &str, problems: &[Problem]) {
    let (site, mounted) = rig(Base::mariadb(), policy, problems);
    let exim = site.exim();
    let tally = Fault::named(name).with_torn_lines().run(&site, &exim, |load| {
        for problem in problems {
            break_state(&site, *problem, mounted.as_ref());
            load.wait_for_new(2 * CLIENTS);
            repair_state(&site, *problem, mounted.as_ref());
        }
    });
    assert_eq!((tally.cannot_tell, tally.unanswered), (0, 0), "{tally:?}");
    let is_reported = site.main_log().contains("trouble function=journal");
    assert_eq!(is_reported, policy.contains(LATER), "{policy}");
}

#[test]
fn a_broken_state_directory_does_not_stop_attempts() {
    for problems in PROBLEMS {
        let name = format!("state directory {}, MariaDB", label(problems));
        break_state_only(&name, POLICY, problems);
    }
}

#[test]
fn rows_go_to_the_table_if_the_journal_is_broken() {
    for problems in PROBLEMS {
        let name =
            format!("state directory {}, MariaDB, `delivery = \"journal\"`", label(problems));
        break_state_only(&name, &format!("{POLICY}{LATER}"), problems);
    }
}

/// Without the log's table, too, there is no place for a row.
#[test]
fn without_state_directory_and_table_attempts_get_435() {
    for problems in PROBLEMS {
        let (site, mounted) = rig(Base::mariadb(), POLICY, problems);
        let exim = site.exim();
        let name = format!("`connection_log` gone, and state directory {}", label(problems));
        let causes = ["no place took the row"];
        let mut seen = 0;
        let fault = Fault::named(&name).without_rows_for(&causes).with_torn_lines();
        let tally = fault.run(&site, &exim, |load| {
            for problem in problems {
                break_state(&site, *problem, mounted.as_ref());
                site.sql("ALTER TABLE connection_log RENAME TO gone");
                seen += load.wait_for_new(CLIENTS).len();
                site.sql("ALTER TABLE gone RENAME TO connection_log");
                repair_state(&site, *problem, mounted.as_ref());
                load.wait_for(ACCEPTED);
            }
        });
        assert!(tally.without_row >= seen && tally.without_row == tally.cannot_tell, "{tally:?}");
        assert_eq!(tally.unanswered, 0, "{tally:?}");
    }
}

/// The embedded database is in the state directory. Without it, there is neither an account nor
/// another place for a row.
#[test]
fn an_unusable_directory_of_the_embedded_database_causes_435() {
    const CAUSES: [&str; 1] = ["no place took the row"];
    for problem in PROBLEMS.concat() {
        let (site, mounted) = rig(Base::Sqlite, POLICY, &[problem]);
        let exim = site.exim();
        let name = format!("state directory {}, SQLite", label(&[problem]));
        let mut seen = 0;
        let fault =
            Fault::named(&name).without_rows_for(&CAUSES).with_torn_lines().with_late_rows();
        let tally = fault.run(&site, &exim, |load| {
            break_state(&site, problem, mounted.as_ref());
            if problem == Full {
                load.wait_for(CANNOT_TELL);
            }
            seen = load.wait_for_new(CLIENTS).len();
            repair_state(&site, problem, mounted.as_ref());
        });
        assert_eq!(tally.unanswered, 0, "{tally:?}");
        match problem {
            Missing | WrongOwner => assert!(tally.without_row >= seen, "{seen}, {tally:?}"),
            // Its files can be written, although no new file can be created.
            ReadOnly => assert_eq!(tally.cannot_tell, 0, "{tally:?}"),
            Full => assert!(tally.without_row > 0, "{tally:?}"),
        }
    }
}

/// The first error does not hide the second: the line is the only record of such an attempt.
#[test]
fn the_line_of_an_attempt_without_a_row_names_the_error_and_the_missing_row() {
    let site = common::fault::site(Base::Sqlite, POLICY);
    let exim = site.exim();
    let attempt = || Client::connect_from(exim.port, GB).plain(b"u-0@example.com", b"secret");
    assert_eq!(attempt(), ACCEPTED, "{}", site.main_log());
    let rows = site.rows().len();
    break_state(&site, Missing, None);
    assert_eq!(attempt(), CANNOT_TELL);
    repair_state(&site, Missing, None);
    let line = site.lines().pop().unwrap();
    assert!(line.contains("status=503 reason=internal"), "{line}");
    let (account, row) = line.split_once("; log: no place took the row: ").expect(&line);
    assert!(account.contains("does not exist") && row.contains("does not exist"), "{line}");
    assert_eq!(site.rows().len(), rows, "no place took it");
}

#[test]
fn a_full_disk_of_the_logs_server_does_not_stop_attempts() {
    let parent = tempfile::tempdir().unwrap();
    fs::set_permissions(parent.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mounted = Mount::over(parent.path(), "320m");
    let server = Arc::new(MariaDb::start_in(tempfile::tempdir_in(parent.path()).unwrap()));
    let name = server.database();
    let url = server.url(&name);
    let site = common::fault::site(Base::MariaDb(server, name, url), POLICY);
    // Wide rows, so that the database needs more disk space soon.
    site.sql(
        "ALTER TABLE connection_log ADD wide varchar(7000) CHARACTER SET latin1 NOT NULL \
         DEFAULT (REPEAT('x', 7000))",
    );
    let exim = site.exim();
    let tally = Fault::named("MariaDB's disk full, and freed").run(&site, &exim, |load| {
        mounted.fill();
        for _ in 0..40 {
            load.wait_for_new(CLIENTS);
            if site.main_log().contains("the row waits in the journal") {
                break;
            }
        }
        load.wait_for_new(2 * CLIENTS);
        mounted.free();
    });
    let log = site.main_log();
    let line = log.lines().find(|line| line.contains("the row waits in the journal"));
    assert!(line.is_some_and(|line| line.contains("full")), "{line:?}");
    assert_eq!((tally.cannot_tell, tally.unanswered), (0, 0), "{tally:?}");
}
