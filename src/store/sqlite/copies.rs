//! Whole copies of the embedded database: makes one while Exim runs, and puts one back.
//!
//! The newest rows are in the WAL, which stays after the last connection is closed. So a copy of
//! the database file alone lacks them. A file that is copied over the database meets the WAL of
//! another database and is damaged by it. Backup and restore go through SQLite, which knows what
//! belongs together.

use std::fs;
use std::fs::File;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use rusqlite::backup::Backup;
use rusqlite::backup::StepResult;

use super::PAGE_SIZE;
use super::SqliteConnection;
use super::error_with_fault;
use super::fail;
use super::flags;
use super::real_path;
use super::store_error;
use crate::error::Error;
use crate::error::StoreFault;
use crate::sql::Sql;
use crate::state::files;
use crate::store::Deadline;
use crate::store::handles;

/// The longest wait for another process that writes. An attempt writes for milliseconds.
const PATIENCE: Duration = Duration::from_secs(60);
/// The number of tries to empty the WAL, and the wait of each.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(100);

/// A file that is to become the database.
pub struct Incoming<'a> {
    /// Its name, for messages.
    pub name: &'a Path,
    /// The database.
    pub file: &'a File,
    /// The file of the same name and `-wal`, if there is one: SQLite would read it, too.
    pub wal: Option<&'a File>,
}

/// Writes a whole copy of the database, as it is at one moment; returns its length in bytes.
///
/// # Errors
/// The database is damaged, or the copy cannot be written.
pub fn back_up(database: &Path, mut to: &File, deadline: Deadline) -> Result<u64, Error> {
    let mut connection = SqliteConnection::open(database, deadline)?;
    connection.limit()?;
    let place = &connection.place;
    let (copy, _) = Temporary::beside(&real(database)?, "backup")?;
    let name = copy.path.to_str().ok_or_else(|| fail(place, "has a path that is not UTF-8"))?;
    connection.connection.execute("VACUUM INTO ?1", [name]).map_err(|e| store_error(place, &e))?;
    drop(connection);
    let written = File::open(&copy.path).and_then(|mut copy| {
        let length = io::copy(&mut copy, &mut to)?;
        match to.sync_all() {
            // A pipe.
            Err(e) if e.kind() == io::ErrorKind::InvalidInput => Ok(length),
            synced => synced.map(|()| length),
        }
    });
    written.map_err(|source| Error::System { place: String::from("the backup"), source })
}

/// Puts a copy in the database's place, if it is whole and these statements can run on it. If the
/// database can be written to, this is one transaction, so that running Exims see all of it or
/// nothing. Otherwise the file is replaced, and the return value is the new name of the old one.
///
/// # Errors
/// The copy is not whole, does not fit, or cannot be put in place.
pub fn restore(
    database: &Path,
    from: &Incoming<'_>,
    statements: &[Sql<'_>],
    deadline: Deadline,
) -> Result<Option<PathBuf>, Error> {
    let path = real(database)?;
    let (staged, file) = Temporary::beside(&path, "restore")?;
    fill(&staged, file, from).map_err(|source| {
        let source =
            io::Error::other(format!("cannot be copied to {}: {source}", staged.path.display()));
        Error::System { place: from.name.display().to_string(), source }
    })?;
    let copy = examine(&staged, from, statements)?;
    if path.symlink_metadata().is_ok() {
        match overwrite(database, &copy, deadline) {
            Err(e) if e.store_fault() == Some(StoreFault::Damaged) => {}
            done => return done.map(|()| None),
        }
    }
    replace(&path, &staged, copy)
}

/// Copies the backup to a file that SQLite may write.
fn fill(staged: &Temporary, mut file: File, from: &Incoming<'_>) -> io::Result<()> {
    let mut source = from.file;
    io::copy(&mut source, &mut file)?;
    if let Some(mut source) = from.wal {
        let [_, wal, _] = handles::files(&staged.path);
        io::copy(&mut source, &mut files::create(&wal)?)?;
    }
    Ok(())
}

/// Opens the copy; its WAL, if it has one, becomes part of it.
fn examine(
    staged: &Temporary,
    from: &Incoming<'_>,
    statements: &[Sql<'_>],
) -> Result<rusqlite::Connection, Error> {
    let name = from.name.display().to_string();
    let useless = |what: &str| {
        fail(
            &name,
            &format!("cannot be restored, {what}: give a file that `authpolicy db backup` made"),
        )
    };
    let opened = rusqlite::Connection::open_with_flags(&staged.path, flags()).and_then(|copy| {
        copy.pragma_update(None, "journal_mode", "DELETE")?;
        let found: String = copy.query_row("PRAGMA integrity_check(1)", (), |row| row.get(0))?;
        Ok((copy, found))
    });
    let (copy, found) = opened.map_err(|e| useless(&e.to_string()))?;
    if found != "ok" {
        return Err(useless(&format!("it is damaged ({})", found.replace('\n', " "))));
    }
    for sql in statements {
        copy.prepare(sql.text()).map_err(|e| {
            useless(&format!("a statement of the configuration does not fit it ({e})"))
        })?;
    }
    Ok(copy)
}

/// Writes the copy over the database, in one transaction.
fn overwrite(
    database: &Path,
    copy: &rusqlite::Connection,
    deadline: Deadline,
) -> Result<(), Error> {
    let mut live = SqliteConnection::open(database, deadline)?;
    let place = live.place.clone();
    let wrong = |e: rusqlite::Error| store_error(&place, &e);
    live.connection.busy_timeout(PATIENCE).map_err(wrong)?;
    // SQLite knows the page size once it has read the header.
    let header = live.connection.pragma_query_value(None, "schema_version", |row| row.get(0));
    let _: i64 = header.map_err(wrong)?;
    set_page_size(copy, page_size(&live.connection).map_err(wrong)?).map_err(wrong)?;
    live.sync_commits()?;
    let step = Backup::new(copy, &mut live.connection).and_then(|backup| backup.step(-1));
    if step.map_err(wrong)? != StepResult::Done {
        return Err(fail(&place, "is locked by another process: try again"));
    }
    live.connection.pragma_update(None, "journal_mode", "WAL").map_err(wrong)?;
    // A failure is ignored: the copy is in place already.
    let _ = empty_wal(&live.connection).ok();
    live.check()
}

/// Moves the pages of the WAL into the database. The WAL is now as long as the database, and
/// otherwise every attempt would read it and try to move it.
fn empty_wal(connection: &rusqlite::Connection) -> rusqlite::Result<()> {
    for _ in 0..TRIES {
        // No other process writes meanwhile, so the wait for readers is short.
        connection.busy_timeout(PAUSE)?;
        let is_busy: bool =
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |row| row.get(0))?;
        if !is_busy {
            break;
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// Renames the file that is in the database's place, and gives its name to the copy.
fn replace(
    path: &Path,
    staged: &Temporary,
    copy: rusqlite::Connection,
) -> Result<Option<PathBuf>, Error> {
    let place = path.display().to_string();
    set_page_size(&copy, PAGE_SIZE)
        .and_then(|()| copy.pragma_update(None, "journal_mode", "WAL"))
        .and_then(|()| copy.close().map_err(|(_, e)| e))
        .map_err(|e| store_error(&place, &e))?;
    let replaced = File::open(&staged.path).and_then(|file| file.sync_all()).and_then(|()| {
        let aside = set_aside(path)?;
        fs::rename(&staged.path, path)?;
        File::open(path.parent().unwrap_or(path))?.sync_all()?;
        Ok(aside)
    });
    replaced.map_err(|source| Error::System { place, source })
}

/// Renames the database and the files beside it. The database comes first, so that no process opens
/// it any longer.
fn set_aside(path: &Path) -> io::Result<Option<PathBuf>> {
    let named = |number: u32| with_end(path, &format!(".damaged-{number}"));
    let is_free = |aside: &PathBuf| aside.symlink_metadata().is_err();
    let Some(aside) = (1..=u32::MAX).map(named).find(is_free) else { return Ok(None) };
    let mut found = None;
    for end in ["", "-wal", "-journal"] {
        match fs::rename(with_end(path, end), with_end(&aside, end)) {
            Ok(()) => found = Some(&aside),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    // The -shm file holds only locks and an index of the WAL.
    match fs::remove_file(with_end(path, "-shm")) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        Ok(()) | Err(_) => Ok(found.cloned()),
    }
}

fn page_size(connection: &rusqlite::Connection) -> rusqlite::Result<u32> {
    connection.pragma_query_value(None, "page_size", |row| row.get(0))
}

/// Writes the copy anew if its page size differs, because SQLite copies page by page.
fn set_page_size(copy: &rusqlite::Connection, size: u32) -> rusqlite::Result<()> {
    if page_size(copy)? == size {
        return Ok(());
    }
    copy.pragma_update(None, "page_size", size)?;
    copy.execute_batch("VACUUM")
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(end);
    path.into()
}

fn real(database: &Path) -> Result<PathBuf, Error> {
    real_path(database).map_err(|e| {
        let what = format!("is in a directory that cannot be entered: {e}: make it first");
        fail(&database.display().to_string(), &what)
    })
}

impl SqliteConnection {
    /// Reads all of the database.
    ///
    /// # Errors
    /// It is damaged.
    pub(in crate::store) fn check(&mut self) -> Result<(), Error> {
        self.limit()?;
        let found = self.connection.query_row("PRAGMA quick_check(1)", (), |row| row.get(0));
        let found: String = found.map_err(|e| store_error(&self.place, &e))?;
        if found == "ok" {
            return Ok(());
        }
        let what = format!("is damaged ({}): {}", found.replace('\n', " "), super::REMEDY);
        Err(error_with_fault(&self.place, what, StoreFault::Damaged))
    }
}

/// A copy beside the database, for its owner alone; it is deleted when dropped.
struct Temporary {
    path: PathBuf,
}

impl Temporary {
    fn beside(database: &Path, purpose: &str) -> Result<(Self, File), Error> {
        let name = format!(".{purpose}-");
        delete_leftovers(&with_end(database, &name));
        let path = with_end(database, &format!("{name}{}", std::process::id()));
        let made = Self { path };
        match files::create(&made.path) {
            Ok(file) => Ok((made, file)),
            Err(source) => {
                let place = made.path.display().to_string();
                Err(Error::System { place, source })
            }
        }
    }
}

/// Deletes copies left by killed processes: this path with a process id appended.
fn delete_leftovers(copies: &Path) {
    let process = |id: &str| Path::new("/proc").join(id);
    let name = copies.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let entries = copies.parent().and_then(|directory| directory.read_dir().ok());
    for entry in entries.into_iter().flatten().filter_map(Result::ok) {
        let file = entry.file_name().to_string_lossy().into_owned();
        let id = file.strip_prefix(&name).and_then(|rest| rest.split('-').next());
        let is_dead = |id: &str| {
            let is_ours = id == std::process::id().to_string();
            process("self").exists() && (is_ours || !process(id).exists())
        };
        if id.is_some_and(is_dead) {
            let _ = fs::remove_file(entry.path()).ok();
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        for end in ["", "-wal", "-shm", "-journal"] {
            let _ = fs::remove_file(with_end(&self.path, end)).ok();
        }
    }
}
