//! The state directory is gone, read-only, somebody else's or full, and the log's server has no room,
//! under clients: as long as one place takes the row, AUTH goes on.
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
use common::MariaDb;
use common::Site;
use common::exim::users;
use common::fault::CLIENTS;
use common::fault::Fault;
use common::fault::LATER;
use common::fault::POLICY;
use common::mount::Mount;
use common::smtp::ACCEPTED;
use common::smtp::CANNOT_TELL;

/// What may be wrong with the state directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Missing,
    ReadOnly,
    SomebodyElses,
    Full,
}

use Kind::Full;
use Kind::Missing;
use Kind::ReadOnly;
use Kind::SomebodyElses;

/// The last needs a mount, which cannot be renamed.
const KINDS: [&[Kind]; 2] = [&[Missing, ReadOnly, SomebodyElses], &[Full]];

/// Puts the state directory on a small file system of its own, with what is in it.
fn mount(site: &Site) -> Mount {
    let (state, copy) = (site.path("state"), site.path("copy"));
    let clone = |from: &Path, to: &Path| {
        let cloned = Command::new("cp").arg("-a").arg(from.join(".")).arg(to).status();
        assert!(cloned.unwrap().success());
    };
    clone(&state, &copy);
    let mount = Mount::over(&state, "256k");
    clone(&copy, &state);
    mount
}

fn spoil(site: &Site, kind: Kind, mount: Option<&Mount>) {
    let state = site.path("state");
    match kind {
        Missing => fs::rename(state, site.path("moved")).unwrap(),
        ReadOnly => fs::set_permissions(state, fs::Permissions::from_mode(0o500)).unwrap(),
        SomebodyElses => chown(state, Some(0), Some(0)).unwrap(),
        Full => mount.unwrap().fill(),
    }
}

fn mend(site: &Site, kind: Kind, mount: Option<&Mount>) {
    let state = site.path("state");
    match kind {
        Missing => fs::rename(site.path("moved"), state).unwrap(),
        ReadOnly => fs::set_permissions(state, fs::Permissions::from_mode(0o700)).unwrap(),
        SomebodyElses => users::give_to_exim(&state),
        Full => mount.unwrap().free(),
    }
}

/// As the table of docs/operations.md has it.
fn told(kinds: &[Kind]) -> String {
    let words = kinds.iter().map(|kind| match kind {
        Missing => "missing",
        ReadOnly => "read-only",
        SomebodyElses => "owned by another user",
        Full => "full",
    });
    words.collect::<Vec<_>>().join(", then ")
}

/// A site, and a mount if one of these needs it.
fn rig(base: Base, policy: &str, kinds: &[Kind]) -> (Site, Option<Mount>) {
    let site = common::fault::site(base, policy);
    let mounted = kinds.contains(&Full).then(|| mount(&site));
    (site, mounted)
}

fn spoil_alone(name: &str, policy: &str, kinds: &[Kind]) {
    let (site, mounted) = rig(Base::mariadb(), policy, kinds);
    let exim = site.exim();
    let tally = Fault::named(name).torn().play(&site, &exim, |load| {
        for kind in kinds {
            spoil(&site, *kind, mounted.as_ref());
            load.meanwhile(2 * CLIENTS);
            mend(&site, *kind, mounted.as_ref());
        }
    });
    assert_eq!((tally.cannot_tell, tally.unanswered), (0, 0), "{tally:?}");
    let told = site.main_log().contains("trouble function=journal");
    assert_eq!(told, policy.contains(LATER), "{policy}");
}

#[test]
fn a_spoilt_state_directory_stops_nobody() {
    for kinds in KINDS {
        let name = format!("state directory {}, MariaDB", told(kinds));
        spoil_alone(&name, POLICY, kinds);
    }
}

#[test]
fn a_spoilt_journal_falls_back_on_the_table() {
    for kinds in KINDS {
        let name = format!("state directory {}, MariaDB, `delivery = \"journal\"`", told(kinds));
        spoil_alone(&name, &format!("{POLICY}{LATER}"), kinds);
    }
}

/// With the log's table gone, too, there is no place for a row.
#[test]
fn without_state_directory_and_table_nobody_can_tell() {
    for kinds in KINDS {
        let (site, mounted) = rig(Base::mariadb(), POLICY, kinds);
        let exim = site.exim();
        let name = format!("`connection_log` gone, and state directory {}", told(kinds));
        let causes = ["no place took the row"];
        let mut seen = 0;
        let fault = Fault::named(&name).rowless(&causes).torn();
        let tally = fault.play(&site, &exim, |load| {
            for kind in kinds {
                spoil(&site, *kind, mounted.as_ref());
                site.sql("ALTER TABLE connection_log RENAME TO gone");
                seen += load.meanwhile(CLIENTS).len();
                site.sql("ALTER TABLE gone RENAME TO connection_log");
                mend(&site, *kind, mounted.as_ref());
                load.wait_for(ACCEPTED);
            }
        });
        assert!(tally.rowless >= seen && tally.rowless == tally.cannot_tell, "{tally:?}");
        assert_eq!(tally.unanswered, 0, "{tally:?}");
    }
}

/// The embedded database is in it: there is no account then, and no other place.
#[test]
fn the_embedded_databases_directory_is_spoilt() {
    const CAUSES: [&str; 3] =
        ["does not exist", "must be writable for uid", "no place took the row"];
    for kind in KINDS.concat() {
        let (site, mounted) = rig(Base::Sqlite, POLICY, &[kind]);
        let exim = site.exim();
        let name = format!("state directory {}, SQLite", told(&[kind]));
        let mut seen = 0;
        let fault = Fault::named(&name).rowless(&CAUSES).torn().returning();
        let tally = fault.play(&site, &exim, |load| {
            spoil(&site, kind, mounted.as_ref());
            if kind == Full {
                load.wait_for(CANNOT_TELL);
            }
            seen = load.meanwhile(CLIENTS).len();
            mend(&site, kind, mounted.as_ref());
        });
        assert_eq!(tally.unanswered, 0, "{tally:?}");
        match kind {
            Missing | SomebodyElses => assert!(tally.rowless >= seen, "{seen}, {tally:?}"),
            // Its files can be written though no other can be made.
            ReadOnly => assert_eq!(tally.cannot_tell, 0, "{tally:?}"),
            Full => assert!(tally.rowless > 0, "{tally:?}"),
        }
    }
}

#[test]
fn the_logs_server_has_no_room() {
    let around = tempfile::tempdir().unwrap();
    fs::set_permissions(around.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mounted = Mount::over(around.path(), "320m");
    let server = Arc::new(MariaDb::start_in(tempfile::tempdir_in(around.path()).unwrap()));
    let name = server.database();
    let url = server.url(&name);
    let site = common::fault::site(Base::MariaDb(server, name, url), POLICY);
    // Rows that need room soon.
    site.sql(
        "ALTER TABLE connection_log ADD wide varchar(7000) CHARACTER SET latin1 NOT NULL \
         DEFAULT (REPEAT('x', 7000))",
    );
    let exim = site.exim();
    let tally = Fault::named("MariaDB's disk full, and freed").play(&site, &exim, |load| {
        mounted.fill();
        for _ in 0..40 {
            load.meanwhile(CLIENTS);
            if site.main_log().contains("the row waits in the journal") {
                break;
            }
        }
        load.meanwhile(2 * CLIENTS);
        mounted.free();
    });
    let log = site.main_log();
    let line = log.lines().find(|line| line.contains("the row waits in the journal"));
    assert!(line.is_some_and(|line| line.contains("full")), "{line:?}");
    assert_eq!((tally.cannot_tell, tally.unanswered), (0, 0), "{tally:?}");
}
