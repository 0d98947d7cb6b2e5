//! The embedded database: one file in the state directory, in WAL mode.
//!
//! Each SMTP connection is its own process, so the cost of opening counts. Closing keeps the WAL
//! (`NO_CKPT_ON_CLOSE`). Otherwise the last process to close would move the WAL into the database
//! and delete it, which costs ten times as much as a row. This has two consequences:
//!
//! - The first process to open reads all of the WAL that the last one left. So the WAL must stay
//!   short.
//! - When the last process closes, SQLite forgets how much of the WAL it has moved. On its own it
//!   would move all of it again with each row, and never write the WAL from its beginning. So a
//!   process that finds the WAL long when it closes empties it.

mod copies;
mod networks;
mod wal_index;

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Once;
use std::time::Duration;
use std::time::Instant;

use nix::unistd::Uid;
use rusqlite::OpenFlags;
use rusqlite::config::DbConfig;
use rusqlite::types::ToSqlOutput;
use rusqlite::types::ValueRef;

pub use self::copies::Incoming;
pub use self::copies::back_up;
pub use self::copies::restore;
use super::Deadline;
use super::Parameters;
use super::QueryResult;
use super::Row;
use super::Statement;
use super::Value;
use super::handles::Claim;
use crate::contain;
use crate::contain::Contained;
use crate::error::Error;
use crate::error::StoreFault;
use crate::secret::Secret;
use crate::state::files;

/// The length of the WAL, in bytes, above which it is emptied: some forty rows, with a page for
/// each row. docs/performance.md gives the reason for this length.
const LONG_WAL: u64 = 40_000;
/// The length of the WAL, in bytes, below which its index has room for a row. The index has room
/// for 4062 pages of at least 512 bytes (<https://www.sqlite.org/walformat.html>, 2.3), which is 2
/// MB. A row takes a few pages.
const SHORT_WAL: u64 = 1 << 20;
/// The page size, in bytes. A row is a page in the WAL, and small pages are faster to read.
const PAGE_SIZE: u32 = 1024;
/// The steps of SQLite's virtual machine between two looks at the clock: well under a millisecond.
const STEPS: i32 = 1000;

/// The advice for a damaged database.
const REMEDY: &str = "restore a backup with `authpolicy db restore FILE`, or move the database and the \
                      files beside it away and run `authpolicy db init`";

/// An open embedded database.
pub struct SqliteConnection {
    place: String,
    wal: PathBuf,
    connection: Contained<rusqlite::Connection>,
    pub(super) deadline: Deadline,
    /// False after a panic of the driver.
    pub(super) is_usable: bool,
    /// Released after the connection is closed, because fields are dropped in this order.
    _claim: Claim,
}

impl SqliteConnection {
    pub(super) fn open(path: &Path, deadline: Deadline) -> Result<Self, Error> {
        let place = path.display().to_string();
        if Uid::effective().is_root() {
            // Exim's user could not use root's WAL, so that each AUTH would get 435.
            return Err(fail(
                &place,
                "is not opened by root: use the authpolicy tool, which \
                             becomes the owner of the state directory",
            ));
        }
        let (path, meta) = existing(path, &place)?;
        let claim = Claim::new(&path, &meta).map_err(|what| fail(&place, &what))?;
        let limit = deadline.connect().ok_or_else(|| fail(&place, "took too long"))?;
        wal_index::keep();
        let opened = rusqlite::Connection::open_with_flags(&path, flags())
            .and_then(|connection| {
                connection.busy_timeout(limit)?;
                connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
                Ok(connection)
            })
            .map_err(|e| store_error(&place, &e))?;
        let mut wal = path.into_os_string();
        wal.push("-wal");
        Ok(Self {
            place,
            wal: wal.into(),
            connection: Contained::new(opened),
            deadline,
            is_usable: true,
            _claim: claim,
        })
    }

    pub(super) fn query(
        &mut self,
        sql: &str,
        parameters: &Parameters,
    ) -> Result<QueryResult, Error> {
        let mut rows = Vec::new();
        let columns = self.visit(sql, parameters, &mut |row| rows.push(row))?;
        Ok(QueryResult { columns, rows, changed: 0 })
    }

    /// Calls `on_row` for each row; returns the names of the columns.
    pub(super) fn visit(
        &mut self,
        sql: &str,
        parameters: &Parameters,
        on_row: &mut dyn FnMut(Row),
    ) -> Result<Vec<String>, Error> {
        self.limit()?;
        let mut statement =
            self.connection.prepare(sql).map_err(|e| store_error(&self.place, &e))?;
        bind(&mut statement, parameters).map_err(|e| store_error(&self.place, &e))?;
        let columns = names(&statement);
        let mut results = statement.raw_query();
        while let Some(row) = results.next().map_err(|e| store_error(&self.place, &e))? {
            let mut values = Vec::with_capacity(columns.len());
            for (index, name) in columns.iter().enumerate() {
                let value = row.get_ref(index).map_err(|e| store_error(&self.place, &e))?;
                values.push((name.clone(), read(value)));
            }
            on_row(Row::new(values));
        }
        drop(results);
        Ok(columns)
    }

    /// Runs statements one after the other, up to the first that fails.
    pub(super) fn run_all(
        &mut self,
        statements: &[Statement<'_>],
    ) -> Result<Vec<QueryResult>, Error> {
        let run = |statement: &Statement<'_>| {
            let result = self.query(statement.sql(), statement.parameters())?;
            let changed = if result.columns.is_empty() { self.connection.changes() } else { 0 };
            Ok(QueryResult { changed, ..result })
        };
        statements.iter().map(run).collect()
    }

    /// Begins a transaction. No other process writes until it ends.
    pub(super) fn begin(&mut self) -> Result<(), Error> {
        self.limit()?;
        self.run("BEGIN IMMEDIATE")
    }

    /// True if the transaction has ended. After a panic in COMMIT, this means that it was
    /// committed. A COMMIT that fails may end it, too, but then the driver returns an error and
    /// does not panic.
    pub(super) fn has_committed(&self) -> bool {
        self.connection.is_autocommit()
    }

    /// Marks the connection as unusable after a panic of the driver; returns its place, for
    /// messages.
    pub(super) fn give_up(&mut self) -> String {
        self.is_usable = false;
        format!("sqlite {}", self.place)
    }

    pub(super) fn commit(&mut self) -> Result<(), Error> {
        self.run("COMMIT")
    }

    pub(super) fn roll_back(&mut self) -> Result<(), Error> {
        self.run("ROLLBACK")
    }

    /// True if the WAL's index has room for a row. If the index has to grow and the disk is full,
    /// COMMIT fails after it has written to the WAL. Then the next process that opens the database
    /// carries it out.
    pub(super) fn has_short_wal(&self) -> bool {
        fs::metadata(&self.wal).map_or(true, |wal| wal.len() < SHORT_WAL)
    }

    pub(super) fn sync_commits(&mut self) -> Result<(), Error> {
        self.run("PRAGMA synchronous = FULL")
    }

    fn run(&mut self, sql: &str) -> Result<(), Error> {
        self.connection.execute_batch(sql).map_err(|e| store_error(&self.place, &e))
    }

    pub(super) fn prepare(&mut self, sql: &str) -> Result<Vec<String>, Error> {
        self.limit()?;
        let statement = self.connection.prepare(sql).map_err(|e| store_error(&self.place, &e))?;
        Ok(names(&statement))
    }

    pub(super) fn execute(&mut self, sql: &str, parameters: &Parameters) -> Result<u64, Error> {
        self.limit()?;
        let mut statement =
            self.connection.prepare(sql).map_err(|e| store_error(&self.place, &e))?;
        let changed = bind(&mut statement, parameters).and_then(|()| statement.raw_execute());
        changed
            .map(|changed| u64::try_from(changed).unwrap_or(u64::MAX))
            .map_err(|e| store_error(&self.place, &e))
    }

    /// Bounds the next statement: waiting for another process's lock, and computing.
    fn limit(&mut self) -> Result<(), Error> {
        let left = self.deadline.query().ok_or_else(|| fail(&self.place, "took too long"))?;
        let end = Instant::now().checked_add(left);
        let limited = self.connection.busy_timeout(left).and_then(|()| {
            let late = move || end.is_none_or(|end| Instant::now() >= end);
            self.connection.progress_handler(STEPS, Some(late))
        });
        limited.map_err(|e| store_error(&self.place, &e))
    }
}

impl Drop for SqliteConnection {
    fn drop(&mut self) {
        let is_long = fs::metadata(&self.wal).is_ok_and(|wal| wal.len() > LONG_WAL);
        if is_long && self.is_usable {
            // Does not wait: a process that is using the WAL empties it when it closes.
            let empty = || {
                self.connection.busy_timeout(Duration::ZERO)?;
                self.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")
            };
            let _ = contain::catch("empty", empty).ok();
        }
    }
}

/// Has SQLite initialize itself in the daemon, so that the processes that it forks need not. Opens
/// no file: a process that inherits an open connection believes that it holds locks, and does not.
pub(super) fn preload() {
    static DONE: Once = Once::new();
    DONE.call_once(|| {
        wal_index::keep();
        drop(rusqlite::Connection::open_in_memory());
    });
}

/// Creates the file, readable only by its owner, in WAL mode.
pub(super) fn create(path: &Path) -> Result<(), Error> {
    let place = path.display().to_string();
    if path.exists() {
        return Ok(());
    }
    let path = &real_path(path).map_err(|e| {
        fail(&place, &format!("is in a directory that cannot be entered: {e}: make it, or set state.directory to it"))
    })?;
    files::create(path).map_err(|e| {
        let what =
            "name in database.url a directory for the database alone, owned by Exim's user, uid";
        let uid = Uid::effective();
        fail(&place, &format!("cannot be made: {e}: {what} {uid}"))
    })?;
    let made = rusqlite::Connection::open(path).and_then(|connection| {
        connection.pragma_update(None, "page_size", PAGE_SIZE)?;
        connection.pragma_update(None, "journal_mode", "WAL")
    });
    made.map_err(|e| {
        let _ = fs::remove_file(path).ok();
        store_error(&place, &e)
    })
}

fn flags() -> OpenFlags {
    OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW
}

/// The path that SQLite is to open, and the metadata of the file there.
fn existing(path: &Path, place: &str) -> Result<(PathBuf, fs::Metadata), Error> {
    let found = real_path(path).and_then(|path| path.metadata().map(|meta| (path, meta)));
    found.map_err(|e| {
        if e.kind() == io::ErrorKind::NotFound {
            let what =
                "does not exist: correct database.url, restore a backup with `authpolicy db restore FILE`, or run \
                 `authpolicy db init` for a new one";
            return fail(place, what);
        }
        fail(place, &format!("cannot be read: {e}: {}", wants_rights()))
    })
}

/// The path with the links in its directory resolved. SQLite is told not to follow a link in the
/// last part.
fn real_path(path: &Path) -> io::Result<PathBuf> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    Ok(directory.canonicalize()?.join(name))
}

fn names(statement: &rusqlite::Statement<'_>) -> Vec<String> {
    statement.column_names().map(str::to_lowercase).collect()
}

/// Binds the parameters that the statement names. A parameter that is not bound, or that has
/// another form than `:name`, is an error, because SQLite would use NULL for it.
fn bind(statement: &mut rusqlite::Statement<'_>, parameters: &Parameters) -> rusqlite::Result<()> {
    for index in 1..=statement.parameter_count() {
        let name = statement.parameter_name(index).unwrap_or_default().to_owned();
        let ours = name.strip_prefix(':');
        let value = parameters.iter().find(|(known, _)| Some(*known) == ours);
        let (_, value) = value.ok_or(rusqlite::Error::InvalidParameterName(name))?;
        statement.raw_bind_parameter(index, write(value))?;
    }
    Ok(())
}

fn write(value: &Value) -> ToSqlOutput<'_> {
    ToSqlOutput::Borrowed(match value {
        Value::Null => ValueRef::Null,
        Value::Int(number) => ValueRef::Integer(*number),
        Value::Text(text) => ValueRef::Text(text.expose()),
    })
}

fn read(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Int(number),
        ValueRef::Real(number) => Value::text(&number.to_string()),
        ValueRef::Text(text) | ValueRef::Blob(text) => Value::Text(Secret::new(text.to_vec())),
    }
}

fn fail(place: &str, what: &str) -> Error {
    error_with_fault(place, what.to_owned(), StoreFault::Other)
}

fn error_with_fault(place: &str, what: String, fault: StoreFault) -> Error {
    Error::Store { place: format!("sqlite {place}"), what, fault }
}

fn store_error(place: &str, e: &rusqlite::Error) -> Error {
    match e.sqlite_error_code() {
        Some(rusqlite::ErrorCode::OperationInterrupted) => fail(place, "took too long"),
        Some(rusqlite::ErrorCode::DatabaseBusy) => fail(place, "is locked by another process"),
        Some(
            rusqlite::ErrorCode::ReadOnly
            | rusqlite::ErrorCode::CannotOpen
            | rusqlite::ErrorCode::PermissionDenied,
        ) => fail(place, &format!("{e}: {}", wants_rights())),
        Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => {
            error_with_fault(place, format!("{e}: {REMEDY}"), StoreFault::Damaged)
        }
        // SQLite has no error code for a missing table.
        _ if e.to_string().starts_with("no such table") => {
            error_with_fault(place, e.to_string(), StoreFault::NoTable)
        }
        Some(
            rusqlite::ErrorCode::ConstraintViolation
            | rusqlite::ErrorCode::TypeMismatch
            | rusqlite::ErrorCode::TooBig,
        ) => error_with_fault(place, e.to_string(), StoreFault::Row),
        Some(_) | None => fail(place, &e.to_string()),
    }
}

fn wants_rights() -> String {
    let uid = Uid::effective();
    format!(
        "it, the files beside it and their directory must be writable for uid {uid}, Exim's user"
    )
}
