//! The embedded database with a long WAL, an open reader and a full disk. A COMMIT that fails there
//! is carried out by the next process that opens the database. The index of the WAL, which the plugin
//! keeps, is never believed.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::panic,
    reason = "test code"
)]

mod common;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use common::Base;
use common::journal::POLICY;
use common::journal::attempt;
use common::journal::flush;
use common::journal::put;
use common::journal::site;
use common::mount::Mount;
use common::smtp::ACCEPTED;
use common::smtp::REFUSED;
use rusqlite::Connection;
use rusqlite::config::DbConfig;

/// The pages that the first part of the WAL's index covers.
const PAGES: u64 = 4062;
/// The length of a page in the WAL, in bytes.
const PAGE_LENGTH: u64 = 1048;

fn open(path: &Path) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
    connection
}

/// Fills the WAL to the last page that the first part of its index covers. The reader keeps the WAL
/// from being reset.
fn fill_wal(path: &Path) -> [Connection; 2] {
    let (reader, writer) = (open(path), open(path));
    writer.execute_batch("PRAGMA wal_autocheckpoint = 0; CREATE TABLE pad (a)").unwrap();
    reader.execute_batch("BEGIN; SELECT COUNT(*) FROM pad").unwrap();
    let wal = path.with_extension("db-wal");
    let pages = || fs::metadata(&wal).unwrap().len() / PAGE_LENGTH;
    while pages() < PAGES {
        writer.execute_batch("INSERT INTO pad VALUES (1)").unwrap();
    }
    assert_eq!(pages(), PAGES);
    [reader, writer]
}

#[test]
fn a_failed_commit_that_is_carried_out_later_is_stored_once() {
    let site = site(Base::Sqlite, POLICY);
    let (state, copy) = (site.path("state"), site.path("copy"));
    let cp = |from: &Path, to: &Path| {
        assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
    };
    cp(&state, &copy);
    let mount = Mount::over(&state, "8m");
    cp(&copy.join("."), &state);
    let exim = site.exim();
    assert_eq!(attempt(&exim, "secret"), ACCEPTED, "{}", site.main_log());
    // On the full disk, a row can still be appended to the last page of this file.
    put(&site, "rows", "# a remark\n");
    let connections = fill_wal(&site.path("state/authpolicy.db"));
    mount.fill();
    let filler = fs::OpenOptions::new().write(true).open(site.path("state/filler")).unwrap();
    filler.set_len(filler.metadata().unwrap().len() - 8192).unwrap();
    drop(filler);
    assert_eq!(attempt(&exim, "wrong"), REFUSED, "{}", site.main_log());
    assert!(site.lines()[1].contains("the row waits"), "{:?}", site.lines());
    drop(connections);
    mount.free();
    let [stored, known, waiting, _] = flush(&site);
    assert_eq!((stored + known, waiting), (1, 0));
    let flags: Vec<_> = site.rows().iter().map(|row| row.auth_ok).collect();
    assert_eq!(flags, [Some(true), Some(false)]);
}

/// Writes to the file without making it shorter first.
fn overwrite(path: &Path, content: &[u8]) {
    let mut file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all(content).unwrap();
    file.sync_all().unwrap();
}

#[test]
fn an_index_that_a_power_failure_left_is_not_believed() {
    let site = site(Base::Sqlite, POLICY);
    let exim = site.exim();
    let index = site.path("state/authpolicy.db-shm");
    assert_eq!(attempt(&exim, "secret"), ACCEPTED, "{}", site.main_log());
    let older = fs::read(&index).unwrap();
    assert_eq!(older.len(), 32 * 1024, "an index of one part, which is kept");
    assert_eq!(attempt(&exim, "wrong"), REFUSED);
    // A whole index, but older than the WAL. Whoever believed it would write over the second row.
    overwrite(&index, &older);
    assert_eq!(attempt(&exim, "secret"), ACCEPTED, "{}", site.main_log());
    overwrite(&index, &vec![0xff; older.len()]);
    assert_eq!(attempt(&exim, "wrong"), REFUSED);
    let lines = site.lines();
    assert_eq!(lines.len(), 4, "{lines:?}");
    let flags: Vec<_> = site.rows().iter().map(|row| row.auth_ok).collect();
    assert_eq!(flags, [Some(true), Some(false), Some(true), Some(false)]);
    assert_eq!(site.texts("PRAGMA integrity_check"), ["ok"]);
}
