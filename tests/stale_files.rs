//! What `accounts.serve_stale` keeps: so many files and no more, none for longer than it may, none
//! after the tool has changed an account, and all of them in a directory of Exim's user.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test code"
)]

mod common;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;

use common::exim::free_port;
use common::exim::users::give_to_exim;
use common::load;
use common::smtp::ACCEPTED;
use common::smtp::CANNOT_TELL;
use common::stale::Rig;

const SERVE: &str = "serve_stale = \"24h\"\n";
/// Accounts that are remembered at most (docs/reference.md).
const MOST: usize = 10_000;

/// A file that somebody logged in for in 1970, in this directory.
fn plant(directory: &Path, name: &str) -> PathBuf {
    let path = directory.join(name);
    fs::write(&path, "time=1\nusername=x@example.com\npassword={PLAIN}x\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    give_to_exim(&path);
    path
}

fn log_in(rig: &Rig, name: &str) {
    assert_eq!(rig.attempt(name, "secret"), ACCEPTED, "{name}: {}", rig.site.main_log());
}

#[test]
fn an_account_that_the_tool_changes_is_forgotten() {
    let rig = common::stale::rig(SERVE, &["u", "v"]);
    let cheap = ["--scheme", "BLF-CRYPT", "--cost", "4"];
    let changes: [(&[&str], usize); 4] = [
        (&["user", "disable", "v@example.com"], 0),
        (&["user", "list"], 2),
        (&[&["user", "passwd", "v@example.com"][..], &cheap].concat(), 0),
        (&["user", "del", "v@example.com"], 0),
    ];
    for (change, left) in changes {
        rig.site.sql("UPDATE account SET active = 1");
        log_in(&rig, "u");
        log_in(&rig, "v");
        assert_eq!(rig.remembered().len(), 2, "{change:?}");
        rig.site.tool(change, "secret");
        assert_eq!(rig.remembered().len(), left, "{change:?}");
    }
}

/// Its exceptions cannot be deleted then, which the tool says; the account itself is.
#[test]
fn an_account_that_is_deleted_while_the_log_is_away_is_forgotten() {
    let rig = common::stale::rig(SERVE, &["u"]);
    log_in(&rig, "u");
    let away = format!("[log]\nurl = \"mysql://x@127.0.0.1:{}/x\"\n", free_port());
    let config = rig.site.path("accounts.toml");
    let mut file = fs::File::options().append(true).open(config).unwrap();
    file.write_all(away.as_bytes()).unwrap();
    let output = rig.site.run_tool(&["user", "del", "u@example.com"], "");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert_eq!(rig.site.count("SELECT COUNT(*) FROM account"), 0);
    assert_eq!(rig.remembered().len(), 0);
}

#[test]
fn no_more_are_remembered_than_there_is_room_for() {
    let rig = common::stale::rig(SERVE, &["u", "v"]);
    log_in(&rig, "u");
    let directory = rig.site.path("state/remembered");
    // Nobody knows whose they are, so that nobody erases them.
    for number in 1..MOST {
        fs::write(directory.join(format!("planted-{number}")), "").unwrap();
    }
    log_in(&rig, "v");
    assert_eq!(rig.remembered().len(), MOST, "u and what is planted");
    rig.server.kill();
    assert_eq!(rig.attempt("u", "secret"), ACCEPTED, "{}", rig.site.main_log());
    assert_eq!(rig.attempt("v", "secret"), CANNOT_TELL);
    rig.server.restart();
    fs::remove_file(directory.join("planted-1")).unwrap();
    log_in(&rig, "v");
    assert_eq!(rig.remembered().len(), MOST, "v has the room of what is gone");
}

#[test]
fn one_in_sixteen_new_accounts_erases_what_is_over() {
    let rig = common::stale::rig(SERVE, &[]);
    load::prepare(&rig.site);
    log_in(&rig, "u-0");
    let own = rig.remembered().pop().unwrap();
    let old = plant(own.parent().unwrap(), "old");
    let sweeps = |path: &PathBuf| path.to_str().unwrap().ends_with('0');
    // By chance, which ends long before.
    for number in 1..1000 {
        log_in(&rig, &format!("u-{number}"));
        let known = rig.remembered();
        let has_swept = known.iter().any(|path| *path != own && sweeps(path));
        assert_eq!(old.exists(), !has_swept, "{known:?}");
        if has_swept {
            assert_eq!(known.len(), number + 1, "of the others none is over");
            return;
        }
    }
    panic!("nobody has erased it");
}

/// A directory that Exim's user may write, with a link to it in the place of ours.
#[test]
fn a_link_in_the_place_of_the_directory_is_not_followed() {
    let rig = common::stale::rig(SERVE, &["u", "v"]);
    log_in(&rig, "u");
    let (ours, elsewhere) = (rig.site.path("state/remembered"), rig.site.path("spool/elsewhere"));
    fs::rename(&ours, &elsewhere).unwrap();
    symlink(&elsewhere, &ours).unwrap();
    let old = plant(&elsewhere, "old");
    let known = || {
        let mut names: Vec<_> =
            fs::read_dir(&elsewhere).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = known();
    assert_eq!(before.len(), 2);
    log_in(&rig, "v");
    log_in(&rig, "u");
    assert_eq!(known(), before, "nothing is written");
    load::flush(&rig.site);
    rig.site.tool(&["user", "disable", "v@example.com"], "");
    assert_eq!(known(), before, "nothing is deleted");
    rig.site.sql("UPDATE account SET active = 0");
    assert_ne!(rig.attempt("u", "secret"), ACCEPTED);
    assert_eq!(known(), before, "nor when it is seen to be no longer so");
    rig.server.kill();
    assert_eq!(rig.attempt("u", "secret"), CANNOT_TELL, "nothing is believed");
    fs::remove_file(&ours).unwrap();
    fs::rename(&elsewhere, &ours).unwrap();
    assert_eq!(rig.attempt("u", "secret"), ACCEPTED, "{}", rig.site.main_log());
    rig.server.restart();
    load::flush(&rig.site);
    assert!(!old.exists() && rig.remembered().len() == 1);
}
