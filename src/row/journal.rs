//! The journal: rows that wait in the state directory until the log's database takes them.
//!
//! The steps of a row:
//!
//! 1. An attempt appends its row to the file `journal/rows`: one line, in one write(), under a
//!    shared lock. A row with a settlement goes to `journal/rows.settlements`.
//! 2. A delivery renames the file to `rows.ID`. The next attempt begins a new file.
//! 3. The delivery takes an exclusive lock on the renamed file. Then no attempt is writing to it,
//!    and no other delivery reads it.
//! 4. The delivery stores the rows, and turns each stored line into a comment. A row that the table
//!    refuses for good goes to `journal/set-aside`.
//! 5. The delivery deletes the file when none of its rows waits any longer.
//!
//! A process that is killed or stopped at any step blocks at most one file, and no attempt. A row
//! that is delivered again is stored once, because its id is stored with it (`delivery`).
//!
//! The newline is at the start of a line, for two reasons:
//!
//! - A line that was written only in part, as on a full disk, does not damage the next line.
//! - The last byte of the write is the last byte of the row. So a write that is cut short leaves an
//!   incomplete line. The attempt treats its row as lost, and the row is never stored.

mod backlog;
mod batch;
mod lines;
mod record;
mod status;

use std::fs;
use std::fs::DirBuilder;
use std::fs::File;
use std::fs::Metadata;
use std::fs::OpenOptions;
use std::fs::Permissions;
use std::io;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::Flock;
use nix::fcntl::FlockArg;
use nix::unistd::Uid;

pub use self::backlog::Backlog;
pub use self::batch::Batch;
pub(crate) use self::batch::MAX_FILES;
pub use self::batch::RowStatus;
pub use self::lines::Line;
pub use self::lines::Lines;
pub use self::record::Record;
pub use self::status::JournalStatus;
use crate::config::Durability;
use crate::contain;
use crate::error::Error;
use crate::state::files;
use crate::verdict::maillog::MailLog;

/// The journal's directory in the state directory.
const DIRECTORY: &str = "journal";
/// The file that attempts append to.
const ROWS: &str = "rows";
/// The prefix of the files to deliver. An id follows.
const BATCH_PREFIX: &str = "rows.";
/// The file for rows with a settlement, and the start of its name when it has an id. Its own name
/// lets attempts find such rows.
const SETTLEMENTS: &str = "rows.settlements";
/// The prefix for files and directories in the journal's place that are not ours. The old name and
/// an id follow.
const FOREIGN_PREFIX: &str = "foreign.";
/// The file for rows that the table refuses for good, and for lines that cannot be read. A full one
/// gets an id.
const SET_ASIDE: &str = "set-aside";
/// The length in bytes at which a new file is begun: some 200 rows.
const FULL_LENGTH: u64 = 64 * 1024;
/// The most tries to open a file that other processes rename meanwhile.
const MAX_TRIES: u32 = 50;

/// The journal of one state directory.
#[derive(Clone, Copy)]
pub struct Journal<'a> {
    state: &'a Path,
    durability: Durability,
    log: MailLog<'a>,
}

impl<'a> Journal<'a> {
    /// The journal in this state directory. Opens nothing yet.
    #[must_use]
    pub fn new(state: &'a Path, durability: Durability, log: MailLog<'a>) -> Self {
        Self { state, durability, log }
    }

    /// The path of its directory.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        self.state.join(DIRECTORY)
    }

    /// Checks that rows can be added, and makes the directory if it is missing.
    ///
    /// # Errors
    /// The state directory is missing or not ours, or the journal cannot be made in it.
    pub fn check(&self) -> Result<(), Error> {
        let place = || self.directory().display().to_string();
        self.prepare().map_err(|source| Error::System { place: place(), source })
    }

    /// Adds a row.
    ///
    /// # Errors
    /// The state directory is missing, full, or not ours.
    pub fn append(&self, record: &Record) -> Result<(), Error> {
        let name = if record.settlement.is_some() { SETTLEMENTS } else { ROWS };
        let path = self.directory().join(name);
        let append = || {
            let line = format!("\n{}", record.line());
            self.prepare().and_then(|()| self.add(&path, line.as_bytes(), batch_prefix(&path)))
        };
        let added = contain::catch("journal", append)
            .unwrap_or_else(|panic| Err(io::Error::other(panic.to_string())));
        added.map_err(|source| Error::System { place: path.display().to_string(), source })
    }

    /// Adds text to a file. A full file is renamed to `full_prefix` and an id.
    fn add(&self, path: &Path, text: &[u8], full_prefix: &str) -> io::Result<()> {
        for _ in 0..MAX_TRIES {
            if let Some((file, length)) = self.open(path)? {
                let text_length = u64::try_from(text.len()).unwrap_or(u64::MAX);
                self.write(&file, text)?;
                // Other attempts may append meanwhile. Then a later one finds the file full.
                if length.saturating_add(text_length) >= FULL_LENGTH {
                    // The row is stored, so an error does not matter: the next attempt renames the
                    // file.
                    let _ = rename_with_id(path, full_prefix).ok();
                }
                return Ok(());
            }
        }
        Err(io::Error::other(format!("was renamed by other processes {MAX_TRIES} times")))
    }

    /// Makes the directory if it is missing. A foreign one is renamed first.
    fn prepare(&self) -> io::Result<()> {
        let me = Uid::effective();
        if me.is_root() {
            // Exim's user could not use files that root makes.
            return Err(io::Error::other("only Exim's user makes it, not root"));
        }
        let state = self.state.metadata()?;
        if !files::is_state_directory(&state) {
            return Err(io::Error::other(format!(
                "{} must belong to uid {me}, Exim's user, and only that user may write it: chown \
                 and chmod 700 it",
                self.state.display()
            )));
        }
        let directory = self.directory();
        match directory.symlink_metadata() {
            Ok(meta) if is_own_directory(&meta) && meta.mode() & 0o777 == 0o700 => return Ok(()),
            // Each file in it is checked before it is used. No other user can replace the directory
            // by a link, because only Exim's user can write the state directory.
            Ok(meta) if is_own_directory(&meta) => {
                return fs::set_permissions(&directory, Permissions::from_mode(0o700));
            }
            Ok(_) => self.rename_foreign(&directory, is_own_directory)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
        match DirBuilder::new().mode(0o700).create(&directory) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
            Ok(()) | Err(_) => self.sync(self.state),
        }
    }

    /// Opens a file to append to it, and returns it with its length in bytes; `None` if the caller
    /// has to try again, because the file was renamed meanwhile.
    fn open(&self, path: &Path) -> io::Result<Option<(Flock<File>, u64)>> {
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o600);
        let file = match options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path) {
            Ok(file) => file,
            Err(e) if may_be_foreign(&e) => {
                return self.rename_foreign(path, files::is_journal_file).map(|()| None);
            }
            Err(e) => return Err(e),
        };
        let Some(opened) = make_private_if_own(&file)? else {
            return self.rename_foreign(path, files::is_journal_file).map(|()| None);
        };
        let file = match Flock::lock(file, FlockArg::LockSharedNonblock) {
            Ok(file) => file,
            Err((_, Errno::EWOULDBLOCK)) => {
                // A delivery has locked the file, and has usually renamed it before.
                if find(path, &opened).is_some() {
                    rename_with_id(path, batch_prefix(path))?;
                }
                return Ok(None);
            }
            Err((_, e)) => return Err(e.into()),
        };
        Ok(find(path, &opened).map(|found| (file, found.len())))
    }

    /// Writes the text in one write(). If it is cut short, the line is incomplete and never stored.
    fn write(&self, mut file: &File, text: &[u8]) -> io::Result<()> {
        let written = loop {
            match file.write(text) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                written => break written?,
            }
        };
        if written != text.len() {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        if self.durability == Durability::Disk {
            file.sync_data()?;
            self.sync(&self.directory())?;
        }
        Ok(())
    }

    /// Renames a file or directory that is not ours, and logs that, because no other user should
    /// write here.
    fn rename_foreign(&self, path: &Path, is_ours: fn(&Metadata) -> bool) -> io::Result<()> {
        if path.symlink_metadata().is_ok_and(|meta| is_ours(&meta)) {
            // Another process has renamed it and made a new one.
            return Ok(());
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let to = rename_with_id(path, &format!("{FOREIGN_PREFIX}{name}."))?;
        let Some(to) = to else { return Ok(()) };
        match to.symlink_metadata() {
            // Another process did so between the check and the rename, so `to` is ours: put it back.
            Ok(meta) if is_ours(&meta) && meta.is_file() => {
                rename_with_id(&to, BATCH_PREFIX).map(|_| ())
            }
            Ok(meta) if is_ours(&meta) && fs::rename(&to, path).is_ok() => Ok(()),
            Ok(meta) => {
                self.report_foreign(path, &to, meta.is_dir());
                Ok(())
            }
            Err(_) => Ok(()),
        }
    }

    /// Logs that the file at `path` was not ours, and has the name `to` now.
    fn report_foreign(&self, path: &Path, to: &Path, is_directory: bool) {
        let kind = if path == self.directory() { "directory" } else { "file" };
        let user = format!("uid {}, Exim's user,", Uid::effective());
        let remedy = match is_directory {
            true => format!("give it to {user} and move its {ROWS}* into"),
            false => format!("give it to {user} alone, and rename it to {BATCH_PREFIX}old in"),
        };
        let what = io::Error::other(format!(
            "is not a {kind} that only Exim's user can write: it is {} now. If rows are in it, \
             {remedy} {}",
            to.display(),
            self.directory().display()
        ));
        let place = path.display().to_string();
        self.log.trouble("journal", &Error::System { place, source: what });
    }

    /// Writes a directory's entries to the disk if `durability` asks for it.
    fn sync(&self, directory: &Path) -> io::Result<()> {
        match self.durability {
            Durability::Process => Ok(()),
            Durability::Disk => File::open(directory)?.sync_all(),
        }
    }
}

/// The prefix of this file's name when it is to be delivered.
fn batch_prefix(path: &Path) -> &'static str {
    const SETTLEMENTS_PREFIX: &str = "rows.settlements.";
    if is_settlements_file(path) { SETTLEMENTS_PREFIX } else { BATCH_PREFIX }
}

/// True for a file of rows with settlements.
fn is_settlements_file(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(SETTLEMENTS))
}

/// Renames a file to `prefix` and an id that sorts by the time of its last write. Returns the new
/// path, or `None` if the file is gone.
fn rename_with_id(path: &Path, prefix: &str) -> io::Result<Option<PathBuf>> {
    let renamed = path.symlink_metadata().and_then(|meta| meta.modified()).and_then(|written| {
        let id = record::new_id(written).map_err(|e| io::Error::other(e.to_string()))?;
        let to = path.with_file_name(format!("{prefix}{id}"));
        fs::rename(path, &to).map(|()| to)
    });
    match renamed {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        renamed => renamed.map(Some),
    }
}

/// True for a directory that this user owns.
fn is_own_directory(meta: &Metadata) -> bool {
    meta.is_dir() && files::is_own(meta)
}

/// Returns the metadata of a journal file of this user, and `None` for any other file. If others may
/// read it, as after a restore, it is made private.
fn make_private_if_own(file: &File) -> io::Result<Option<Metadata>> {
    let meta = file.metadata()?;
    if !files::is_journal_file(&meta) {
        return Ok(None);
    }
    let meta = if files::is_private(&meta) { meta } else { files::make_private(file)? };
    Ok(Some(meta))
}

/// True if this error may mean that the file is not ours: another user's file, a link, a directory
/// or a FIFO.
fn may_be_foreign(e: &io::Error) -> bool {
    let codes = [Errno::EACCES, Errno::EPERM, Errno::ELOOP, Errno::EISDIR, Errno::ENXIO];
    codes.iter().any(|code| e.raw_os_error() == io::Error::from(*code).raw_os_error())
}

/// True if the path still leads to this file.
fn is_still_at(path: &Path, file: &File) -> bool {
    file.metadata().is_ok_and(|opened| find(path, &opened).is_some())
}

/// The metadata of the file at this path, if it is still the one that was opened.
fn find(path: &Path, opened: &Metadata) -> Option<Metadata> {
    let id = |meta: &Metadata| (meta.dev(), meta.ino());
    path.symlink_metadata().ok().filter(|found| id(found) == id(opened))
}
