//! `authpolicy db backup` and `authpolicy db restore` while Exim runs. A backup that is copied over
//! the database by hand damages it, which is reported.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "test code"
)]

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::chown;
use std::path::Path;

use common::Base;
use common::Exim;
use common::Site;
use common::journal::attempt;
use common::journal::flush;
use common::journal::site;
use common::journal::value;
use common::load;
use common::process::children;
use common::process::until;
use common::smtp::ACCEPTED;
use common::smtp::CANNOT_TELL;
use common::smtp::REFUSED;
use rusqlite::config::DbConfig;

const POLICY: &str = "[policy]\nfailure_time = \"0s\"\n";
const DATABASE: &str = "state/authpolicy.db";

fn wait_for_connections(exim: &Exim) {
    until("the connections end", || children(exim.pid()).is_empty());
}

/// Makes attempts with these passwords, one after the other.
fn attempts(site: &Site, exim: &Exim, passwords: &[&str]) {
    for password in passwords {
        let wanted = if *password == "secret" { ACCEPTED } else { REFUSED };
        assert_eq!(attempt(exim, password), wanted, "{}", site.main_log());
    }
    wait_for_connections(exim);
}

fn flags(site: &Site) -> Vec<Option<bool>> {
    site.rows().iter().map(|row| row.auth_ok).collect()
}

fn back_up(site: &Site, name: &str) -> String {
    let path = site.path(name).display().to_string();
    site.tool(&["db", "backup", &path], "")
}

fn restore(site: &Site, name: &str) -> String {
    let path = site.path(name).display().to_string();
    site.tool(&["db", "restore", &path], "")
}

/// Runs the tool, which has to fail; returns its message.
fn refusal(site: &Site, arguments: &[&str]) -> String {
    let output = site.run_tool(arguments, "");
    assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Returns the `check.embedded` line of `config`, even if `config` fails.
fn check(site: &Site) -> String {
    let output = site.run_tool(&["config"], "");
    value(&String::from_utf8_lossy(&output.stdout), "check.embedded")
}

fn owner_and_mode(path: &Path) -> (u32, u32) {
    let meta = fs::metadata(path).unwrap();
    (meta.uid(), meta.mode() & 0o7777)
}

/// Checks that the database is whole and belongs to Exim's user, and that no temporary file is
/// left.
fn assert_database_is_sound(site: &Site) {
    assert_eq!(check(site), "ok the database is whole");
    assert_eq!(site.texts("PRAGMA integrity_check"), ["ok"]);
    assert_eq!(site.texts("PRAGMA journal_mode"), ["wal"]);
    let exim: u32 = common::exim::users::exim().0.parse().unwrap();
    assert_eq!(owner_and_mode(&site.path(DATABASE)), (exim, 0o600));
    let left = fs::read_dir(site.path("state")).unwrap().map(Result::unwrap);
    let left = left.map(|entry| entry.file_name().into_string().unwrap());
    let left: Vec<_> =
        left.filter(|name| name.contains(".backup-") || name.contains(".restore-")).collect();
    assert_eq!(left, Vec::<String>::new());
    assert_eq!(site.panic_log(), "");
}

#[test]
fn a_backup_has_the_newest_rows_and_is_restored_while_exim_runs() {
    let site = site(Base::Sqlite, POLICY);
    let exim = site.exim();
    attempts(&site, &exim, &["secret", "wrong"]);
    let printed = back_up(&site, "backup.db");
    assert_eq!(value(&printed, "backup"), site.path("backup.db").display().to_string());
    assert_eq!(owner_and_mode(&site.path("backup.db")), (0, 0o600));
    assert!(!site.path("backup.db-wal").exists());
    attempts(&site, &exim, &["secret"]);
    site.tool(
        &["user", "passwd", "u@example.com", "--scheme", "BLF-CRYPT", "--cost", "4"],
        "other",
    );
    assert_eq!(attempt(&exim, "secret"), REFUSED);
    wait_for_connections(&exim);
    assert_eq!(flags(&site).len(), 4);
    let printed = restore(&site, "backup.db");
    assert_eq!(value(&printed, "restored"), site.path(DATABASE).display().to_string());
    assert!(!printed.contains("aside="), "{printed}");
    assert_eq!(fs::metadata(site.path("state/authpolicy.db-wal")).unwrap().len(), 0);
    assert_eq!(flags(&site), [Some(true), Some(false)]);
    attempts(&site, &exim, &["secret"]);
    assert_eq!(flags(&site), [Some(true), Some(false), Some(true)]);
    assert_database_is_sound(&site);
}

#[test]
fn a_backup_copied_over_the_database_is_reported_and_restore_repairs_it() {
    let site = site(Base::Sqlite, POLICY);
    let exim = site.exim();
    attempts(&site, &exim, &["secret"]);
    site.sql("PRAGMA wal_checkpoint(TRUNCATE)");
    fs::copy(site.path(DATABASE), site.path("copy.db")).unwrap();
    let row = "INSERT INTO connection_log (protocol, username, remote_ip, country) \
               VALUES ('smtp', 'u@example.com', '192.0.2.7', 'GB');";
    site.sql(&format!("BEGIN; {} COMMIT; PRAGMA wal_checkpoint(TRUNCATE)", row.repeat(300)));
    // These rows are in the WAL, on their own pages, and no process is connected.
    attempts(&site, &exim, &["wrong", "secret"]);
    drop(exim);
    let last = rusqlite::Connection::open(site.path(DATABASE)).unwrap();
    last.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
    last.execute_batch(&format!("BEGIN; {} COMMIT", row.repeat(40))).unwrap();
    drop(last);
    assert_ne!(fs::metadata(site.path("state/authpolicy.db-wal")).unwrap().len(), 0);
    assert_eq!(check(&site), "ok the database is whole");
    back_up(&site, "backup.db");
    fs::copy(site.path("copy.db"), site.path(DATABASE)).unwrap();
    let result = check(&site);
    assert!(result.starts_with("failed sqlite ") && result.contains("authpolicy.db: "), "{result}");
    assert!(result.contains("authpolicy db restore FILE"), "{result}");
    let message = refusal(&site, &["db", "backup", &site.path("b").display().to_string()]);
    assert!(message.contains("authpolicy db restore FILE"), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
    assert!(!site.path("b").exists(), "nothing is left behind");
    let message = refusal(&site, &["db", "backup", "-"]);
    assert!(message.contains("authpolicy db restore FILE"), "{message}");
    restore(&site, "backup.db");
    let exim = site.exim();
    attempts(&site, &exim, &["secret"]);
    assert_eq!(flags(&site).len(), 344);
    assert_database_is_sound(&site);
}

#[test]
fn restore_sets_aside_the_remains_of_a_damaged_database() {
    type Damage = fn(&Site);
    let damages: [(&str, Damage); 3] = [
        ("garbage", |site| fs::write(site.path(DATABASE), "garbage".repeat(1000)).unwrap()),
        ("gone", |site| fs::remove_file(site.path(DATABASE)).unwrap()),
        ("all gone", |site| fs::remove_dir_all(site.path("state")).unwrap()),
    ];
    for (name, damage) in damages {
        let site = site(Base::Sqlite, POLICY);
        let exim = site.exim();
        attempts(&site, &exim, &["secret"]);
        back_up(&site, "backup.db");
        attempts(&site, &exim, &["wrong"]);
        damage(&site);
        assert_eq!(attempt(&exim, "secret"), CANNOT_TELL, "{name}: {}", site.main_log());
        wait_for_connections(&exim);
        let printed = restore(&site, "backup.db");
        let is_anything_left = name != "all gone";
        assert_eq!(printed.contains("aside="), is_anything_left, "{name}: {printed}");
        if is_anything_left {
            assert!(Path::new(&format!("{}-wal", value(&printed, "aside"))).exists(), "{name}");
            // The row of the attempt without a database has waited in the journal.
            assert_eq!(flush(&site)[0], 1, "{name}");
        }
        attempts(&site, &exim, &["secret"]);
        let wanted: &[_] =
            if is_anything_left { &[Some(true), None, Some(true)] } else { &[Some(true); 2] };
        assert_eq!(flags(&site), wanted, "{name}");
        assert_database_is_sound(&site);
    }
}

#[test]
fn clients_get_answers_and_rows_during_backup_and_restore() {
    let site = Site::new(Base::Sqlite, POLICY);
    load::prepare(&site);
    let exim = site.exim();
    let mut after_restore = std::collections::HashSet::new();
    let mut before_restore = std::collections::HashSet::new();
    let attempts = load::run(exim.port, 8, |load| {
        load.wait(40);
        back_up(&site, "backup.db");
        before_restore = load.wait_for_new(60);
        for _ in 0..3 {
            restore(&site, "backup.db");
        }
        after_restore = load.wait_for_new(100);
    });
    wait_for_connections(&exim);
    load::flush(&site);
    for attempt in &attempts {
        let wanted = if attempt.is_right { ACCEPTED } else { REFUSED };
        assert_eq!(attempt.reply.as_deref(), Some(wanted), "{}", attempt.name);
    }
    let mut names: Vec<_> = site.rows().into_iter().map(|row| row.username).collect();
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count, "no row is there twice");
    assert!(after_restore.len() >= 100 && after_restore.iter().all(|name| names.contains(name)));
    // Rows written between backup and restore are gone.
    assert!(
        before_restore.iter().all(|name| !names.contains(name) || after_restore.contains(name))
    );
    assert_database_is_sound(&site);
}

#[test]
fn a_file_that_is_not_a_backup_is_refused_and_the_database_is_unchanged() {
    let site = site(Base::Sqlite, POLICY);
    let exim = site.exim();
    attempts(&site, &exim, &["secret"]);
    back_up(&site, "backup.db");
    let mut bytes = fs::read(site.path("backup.db")).unwrap();
    // One page of a table, but not its first eight bytes.
    bytes[2048 + 8..3 * 1024].fill(0xa5);
    fs::write(site.path("damaged.db"), bytes).unwrap();
    site.write("text.db", &"no database ".repeat(200));
    site.write("empty.db", "");
    rusqlite::Connection::open(site.path("other.db"))
        .and_then(|other| other.execute_batch("CREATE TABLE account (a)"))
        .unwrap();
    for (name, cause) in [
        ("damaged.db", "it is damaged"),
        ("text.db", "not a database"),
        ("empty.db", "no such table"),
        ("other.db", "no such column"),
        (DATABASE, "is the database itself"),
        ("state", "is not a regular file"),
        ("nothing.db", "No such file"),
    ] {
        let path = site.path(name).display().to_string();
        let message = refusal(&site, &["db", "restore", &path]);
        assert!(message.contains(&path) && message.contains(cause), "{name}: {message}");
        assert_eq!(flags(&site), [Some(true)], "{name}");
    }
    attempts(&site, &exim, &["secret"]);
    assert_database_is_sound(&site);
}

#[test]
fn a_backup_is_written_to_a_new_file_outside_of_the_state_directory() {
    let site = site(Base::Sqlite, POLICY);
    // Left by a backup that was killed. No process has this number.
    for end in ["backup-99999999", "restore-99999999-wal"] {
        site.write(&format!("{DATABASE}.{end}"), "");
    }
    back_up(&site, "backup.db");
    for (name, cause) in [
        ("backup.db", "is not overwritten"),
        ("state/backup.db", "outside of it"),
        (DATABASE, "outside of it"),
        ("nowhere/backup.db", "No such file"),
    ] {
        let path = site.path(name).display().to_string();
        let message = refusal(&site, &["db", "backup", &path]);
        assert!(message.contains(cause), "{name}: {message}");
    }
    // An existing file is used if it is empty.
    site.write("empty.db", "");
    chmod(&site.path("empty.db"), 0o600);
    back_up(&site, "empty.db");
    restore(&site, "empty.db");
    for (verb, is_mentioned) in [("backup", true), ("restore", false)] {
        let help = site.tool(&["db", verb, "--help"], "");
        assert_eq!(help.contains("standard output"), is_mentioned, "{help}");
    }
    let written = site.run_tool(&["db", "backup", "-"], "");
    assert!(written.status.success(), "{written:?}");
    assert!(written.stdout.starts_with(b"SQLite format 3\0"), "the database and nothing else");
    fs::write(site.path("piped.db"), &written.stdout).unwrap();
    restore(&site, "piped.db");
    assert_database_is_sound(&site);
}

#[test]
fn a_copy_with_its_wal_and_one_with_pages_of_another_size_are_restored() {
    let site = site(Base::Sqlite, POLICY);
    let exim = site.exim();
    attempts(&site, &exim, &["secret"]);
    // A snapshot of the file system has both files.
    for end in ["", "-wal"] {
        let from = site.path(&format!("{DATABASE}{end}"));
        fs::copy(from, site.path(&format!("snapshot.db{end}"))).unwrap();
    }
    attempts(&site, &exim, &["wrong"]);
    back_up(&site, "large.db");
    rusqlite::Connection::open(site.path("large.db"))
        .and_then(|large| large.execute_batch("PRAGMA page_size = 8192; VACUUM"))
        .unwrap();
    restore(&site, "snapshot.db");
    assert_eq!(flags(&site), [Some(true)]);
    restore(&site, "large.db");
    attempts(&site, &exim, &["secret"]);
    assert_eq!(flags(&site), [Some(true), Some(false), Some(true)]);
    assert_eq!(site.count("PRAGMA page_size"), 1024);
    assert_database_is_sound(&site);
}

#[test]
fn of_two_databases_the_named_one_is_copied_and_a_server_is_refused() {
    let site = site(Base::Sqlite, POLICY);
    let config = site.read("authpolicy.toml");
    let other = site.path("state/log.db").display().to_string();
    let file = site.path("backup.db").display().to_string();
    site.write_config(&format!("{config}[log]\nurl = \"sqlite:{other}\"\n"));
    site.tool(&["db", "init"], "");
    let message = refusal(&site, &["db", "backup", &file]);
    assert!(message.contains("--of accounts or --of log"), "{message}");
    let printed = site.tool(&["db", "backup", "--of", "log", &file], "");
    assert_eq!(value(&printed, "database"), other);
    let message = refusal(&site, &["db", "restore", "--of", "accounts", &file]);
    assert!(message.contains("a statement of the configuration does not fit it"), "{message}");
    site.tool(&["db", "restore", "--of", "log", &file], "");
    let url = "[database]\nurl = \"mysql://exim:secret@127.0.0.1:1/mail\"\n";
    let (_, state) = config.split_once("[state]").unwrap();
    site.write_config(&format!("{url}[state]{state}"));
    let message = refusal(&site, &["db", "backup", &file]);
    assert!(message.contains("no embedded database"), "{message}");
}

/// Makes a backup, and puts the WAL of another database beside it.
fn back_up_with_forged_wal(site: &Site) {
    back_up(site, "b.db");
    fs::copy(site.path("b.db"), site.path("forged.db")).unwrap();
    let forged = rusqlite::Connection::open(site.path("forged.db")).unwrap();
    forged.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
    let forge = "PRAGMA journal_mode = WAL; UPDATE account SET username = 'm@example.com'";
    forged.execute_batch(forge).unwrap();
    fs::rename(site.path("forged.db-wal"), site.path("b.db-wal")).unwrap();
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_backup_or_wal_that_other_users_could_have_written_is_refused() {
    type Change = fn(&Path);
    let link: Change = |path| {
        fs::rename(path, path.with_extension("elsewhere")).unwrap();
        std::os::unix::fs::symlink(path.with_extension("elsewhere"), path).unwrap();
    };
    let fifo: Change = |path| {
        fs::remove_file(path).unwrap();
        nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRUSR).unwrap();
    };
    let give_away: Change = |path| chown(path, Some(65534), None).unwrap();
    let changes: [(&str, Change, &str); 8] = [
        ("b.db-wal", give_away, "belongs to uid 65534"),
        ("b.db-wal", |path| chmod(path, 0o620), "chmod go-w"),
        ("b.db-wal", |path| fs::hard_link(path, path.with_extension("2")).unwrap(), "other names"),
        ("b.db-wal", link, "is a link"),
        ("b.db-wal", fifo, "is not a regular file"),
        ("b.db", give_away, "belongs to uid 65534"),
        ("b.db", |path| chmod(path, 0o602), "chmod go-w"),
        ("b.db", link, "is a link"),
    ];
    let site = site(Base::Sqlite, POLICY);
    let exim = site.exim();
    attempts(&site, &exim, &["secret"]);
    chmod(&site.path(""), 0o1777);
    let files = ["b.db", "b.db-wal"].map(|name| site.path(name));
    for (name, change, cause) in changes {
        back_up_with_forged_wal(&site);
        change(&site.path(name));
        let message = refusal(&site, &["db", "restore", files[0].to_str().unwrap()]);
        let place = format!("{}: ", site.path(name).display());
        assert!(message.contains(&place) && message.contains(cause), "{name} {cause}: {message}");
        assert_eq!(site.texts("SELECT username FROM account"), ["u@example.com"], "{name} {cause}");
        attempts(&site, &exim, &["secret"]);
        files.iter().for_each(|path| fs::remove_file(path).unwrap());
    }
    // If both files have one owner, they are a snapshot, which is restored.
    back_up_with_forged_wal(&site);
    files.iter().for_each(|path| common::exim::users::give_to_exim(path));
    restore(&site, "b.db");
    assert_eq!(site.texts("SELECT username FROM account"), ["m@example.com"]);
    assert_database_is_sound(&site);
}
