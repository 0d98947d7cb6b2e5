//! The files of remembered accounts, with `accounts.serve_stale`:
//!
//! - There is a largest number of files.
//! - Expired files are deleted, and all files after the tool has changed an account.
//! - A link in the place of their directory is not followed.
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

const SERVE_STALE: &str = "serve_stale = \"24h\"\n";
/// The largest number of remembered accounts (docs/reference.md).
const MAX_REMEMBERED: usize = 10_000;

/// Creates an expired file, of a login in 1970, in this directory.
fn add_expired_file(directory: &Path, name: &str) -> PathBuf {
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
    let rig = common::stale::rig(SERVE_STALE, &["u", "v"]);
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
        assert_eq!(rig.remembered_account_files().len(), 2, "{change:?}");
        rig.site.tool(change, "secret");
        assert_eq!(rig.remembered_account_files().len(), left, "{change:?}");
    }
}

/// The account is deleted. Its exceptions cannot be deleted, and the tool says so.
#[test]
fn an_account_that_is_deleted_while_the_log_is_away_is_forgotten() {
    let rig = common::stale::rig(SERVE_STALE, &["u"]);
    log_in(&rig, "u");
    let away = format!("[log]\nurl = \"mysql://x@127.0.0.1:{}/x\"\n", free_port());
    let config = rig.site.path("accounts.toml");
    let mut file = fs::File::options().append(true).open(config).unwrap();
    file.write_all(away.as_bytes()).unwrap();
    let output = rig.site.run_tool(&["user", "del", "u@example.com"], "");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert_eq!(rig.site.count("SELECT COUNT(*) FROM account"), 0);
    assert_eq!(rig.remembered_account_files().len(), 0);
}

#[test]
fn no_more_than_ten_thousand_accounts_are_remembered() {
    let rig = common::stale::rig(SERVE_STALE, &["u", "v"]);
    log_in(&rig, "u");
    let directory = rig.site.path("state/remembered");
    // These files belong to no account, so that they are not deleted.
    for number in 1..MAX_REMEMBERED {
        fs::write(directory.join(format!("planted-{number}")), "").unwrap();
    }
    log_in(&rig, "v");
    assert_eq!(rig.remembered_account_files().len(), MAX_REMEMBERED, "u and the added files");
    rig.server.kill();
    assert_eq!(rig.attempt("u", "secret"), ACCEPTED, "{}", rig.site.main_log());
    assert_eq!(rig.attempt("v", "secret"), CANNOT_TELL);
    rig.server.restart();
    fs::remove_file(directory.join("planted-1")).unwrap();
    log_in(&rig, "v");
    assert_eq!(
        rig.remembered_account_files().len(),
        MAX_REMEMBERED,
        "v takes the place of the removed file"
    );
}

#[test]
fn one_in_sixteen_new_accounts_deletes_expired_files() {
    let rig = common::stale::rig(SERVE_STALE, &[]);
    load::prepare(&rig.site);
    log_in(&rig, "u-0");
    let own = rig.remembered_account_files().pop().unwrap();
    let old = add_expired_file(own.parent().unwrap(), "old");
    let deletes_expired = |path: &PathBuf| path.to_str().unwrap().ends_with('0');
    // One file name in sixteen ends in that digit, so that the loop ends long before its limit.
    for number in 1..1000 {
        log_in(&rig, &format!("u-{number}"));
        let known = rig.remembered_account_files();
        let is_deleted = known.iter().any(|path| *path != own && deletes_expired(path));
        assert_eq!(old.exists(), !is_deleted, "{known:?}");
        if is_deleted {
            assert_eq!(known.len(), number + 1, "no other file is deleted");
            return;
        }
    }
    panic!("the expired file was not deleted");
}

/// A link to another directory that Exim's user may write, in the place of ours.
#[test]
fn a_link_in_the_place_of_the_directory_is_not_followed() {
    let rig = common::stale::rig(SERVE_STALE, &["u", "v"]);
    log_in(&rig, "u");
    let (directory, elsewhere) =
        (rig.site.path("state/remembered"), rig.site.path("spool/elsewhere"));
    fs::rename(&directory, &elsewhere).unwrap();
    symlink(&elsewhere, &directory).unwrap();
    let old = add_expired_file(&elsewhere, "old");
    let file_names = || {
        let mut names: Vec<_> =
            fs::read_dir(&elsewhere).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = file_names();
    assert_eq!(before.len(), 2);
    log_in(&rig, "v");
    log_in(&rig, "u");
    assert_eq!(file_names(), before, "nothing is written");
    load::flush(&rig.site);
    rig.site.tool(&["user", "disable", "v@example.com"], "");
    assert_eq!(file_names(), before, "nothing is deleted");
    rig.site.sql("UPDATE account SET active = 0");
    assert_ne!(rig.attempt("u", "secret"), ACCEPTED);
    assert_eq!(file_names(), before, "not even when the account is seen disabled");
    rig.server.kill();
    assert_eq!(rig.attempt("u", "secret"), CANNOT_TELL, "the remembered account is not used");
    fs::remove_file(&directory).unwrap();
    fs::rename(&elsewhere, &directory).unwrap();
    assert_eq!(rig.attempt("u", "secret"), ACCEPTED, "{}", rig.site.main_log());
    rig.server.restart();
    load::flush(&rig.site);
    assert!(!old.exists() && rig.remembered_account_files().len() == 1);
}
