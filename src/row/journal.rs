//! Rows that wait in the state directory until the log's database takes them.
//!
//! Attempts append to `journal/rows`, each a line in one write() under a shared lock. Who delivers
//! renames that file to `rows.ID`, so that the next attempt begins another, and takes its lock
//! alone: then nobody is writing, and nobody else delivers it. The file goes when the database has
//! its rows; until then, each row that it has becomes a remark, so that nobody looks for it again.
//! So whoever is killed or stopped, at whatever instruction, holds up one file and no attempt; a
//! file that is delivered again finds its rows marked as stored (`delivery`).
//!
//! A line begins with a newline, so that a torn one, as of a full disk, spoils no other, and ends
//! with the last byte that makes it whole: there is no line which the attempt must think lost, and
//! which is delivered all the same.

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
pub(crate) use self::batch::MANY;
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

/// The directory in the state directory.
const DIRECTORY: &str = "journal";
/// The file that attempts append to.
const ROWS: &str = "rows";
/// What was appended to before, and is to be delivered: with an id behind it.
const BATCH: &str = "rows.";
/// The file, or the beginning of its name before an id, for rows that wait with a settlement.
/// Attempts look for such files.
const SETTLEMENTS: &str = "rows.settlements";
/// What is not ours, though it has the name of something that is: with an id behind it.
const FOREIGN: &str = "foreign.";
/// Rows that no database takes, or that nobody can read; also with an id behind it.
const SET_ASIDE: &str = "set-aside";
/// Length in bytes from which another file is begun: some 200 rows.
const LONG: u64 = 64 * 1024;
/// How often to look again for a file that others take away in between.
const TRIES: u32 = 50;

/// The journal of one state directory.
#[derive(Clone, Copy)]
pub struct Journal<'a> {
    state: &'a Path,
    durability: Durability,
    log: MailLog<'a>,
}

impl<'a> Journal<'a> {
    /// Looks at nothing yet.
    #[must_use]
    pub fn new(state: &'a Path, durability: Durability, log: MailLog<'a>) -> Self {
        Self { state, durability, log }
    }

    /// Where it is.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        self.state.join(DIRECTORY)
    }

    /// Looks whether rows could be added.
    ///
    /// # Errors
    /// The directory is missing, or not ours.
    pub fn check(&self) -> Result<(), Error> {
        let place = || self.directory().display().to_string();
        self.prepare().map_err(|source| Error::System { place: place(), source })
    }

    /// Adds a row.
    ///
    /// # Errors
    /// The directory is missing, full, or not ours.
    pub fn append(&self, record: &Record) -> Result<(), Error> {
        let name = if record.settlement.is_some() { SETTLEMENTS } else { ROWS };
        let path = self.directory().join(name);
        let append = || {
            let line = format!("\n{}", record.line());
            self.prepare().and_then(|()| self.add(&path, line.as_bytes(), batch_of(&path)))
        };
        let added = contain::catch("journal", append)
            .unwrap_or_else(|panic| Err(io::Error::other(panic.to_string())));
        added.map_err(|source| Error::System { place: path.display().to_string(), source })
    }

    /// Adds text to a file, which has this name and an id when it is long.
    fn add(&self, path: &Path, text: &[u8], long: &str) -> io::Result<()> {
        for _ in 0..TRIES {
            if let Some(file) = self.open(path)? {
                return self.write(path, &file, text, long);
            }
        }
        Err(io::Error::other("is taken away again and again"))
    }

    /// Makes the directory, or another one where something else has its place.
    fn prepare(&self) -> io::Result<()> {
        let me = Uid::effective();
        if me.is_root() {
            // What root makes here, Exim's user cannot use.
            return Err(io::Error::other("is not made by root"));
        }
        let state = self.state.metadata()?;
        if !files::is_state_directory(&state) {
            return Err(io::Error::other(format!(
                "{} must belong to uid {me}, Exim's user, and be writable for nobody else: chown \
                 and chmod 700 it",
                self.state.display()
            )));
        }
        let directory = self.directory();
        match directory.symlink_metadata() {
            Ok(meta) if is_own_directory(&meta) && meta.mode() & 0o777 == 0o700 => return Ok(()),
            // What is in it is looked at file by file. Nobody else could put a link here.
            Ok(meta) if is_own_directory(&meta) => {
                return fs::set_permissions(&directory, Permissions::from_mode(0o700));
            }
            Ok(_) => self.remove_foreign(&directory, is_own_directory)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
        match DirBuilder::new().mode(0o700).create(&directory) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
            Ok(()) | Err(_) => self.sync(self.state),
        }
    }

    /// Opens the file for appending; `None` where somebody has just taken it away.
    fn open(&self, path: &Path) -> io::Result<Option<Flock<File>>> {
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o600);
        let file = match options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path) {
            Ok(file) => file,
            Err(e) if is_foreign(&e) => {
                return self.remove_foreign(path, files::is_journal_file).map(|()| None);
            }
            Err(e) => return Err(e),
        };
        if !claim(&file)? {
            return self.remove_foreign(path, files::is_journal_file).map(|()| None);
        }
        let file = match Flock::lock(file, FlockArg::LockSharedNonblock) {
            Ok(file) => file,
            Err((file, Errno::EWOULDBLOCK)) => {
                // Delivered just now, and then it has another name already; if not, it gets one.
                if is_at(path, &file) {
                    rename_with_id(path, batch_of(path))?;
                }
                return Ok(None);
            }
            Err((_, e)) => return Err(e.into()),
        };
        Ok(is_at(path, &file).then_some(file))
    }

    /// One write() of it all: a line is there, or it is not whole.
    fn write(&self, path: &Path, mut file: &File, text: &[u8], long: &str) -> io::Result<()> {
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
        if file.metadata().is_ok_and(|meta| meta.len() >= LONG) {
            // Whoever comes first; the row is stored.
            let _ = rename_with_id(path, long).ok();
        }
        Ok(())
    }

    /// Gives what is not ours another name, and says so: nobody but us should write here.
    fn remove_foreign(&self, path: &Path, is_ours: fn(&Metadata) -> bool) -> io::Result<()> {
        let is_in_order = |path: &Path| path.symlink_metadata().is_ok_and(|meta| is_ours(&meta));
        if is_in_order(path) {
            // Somebody else was quicker.
            return Ok(());
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let Some(to) = rename_with_id(path, &format!("{FOREIGN}{name}."))? else { return Ok(()) };
        match to.symlink_metadata() {
            // Quicker still.
            Ok(meta) if is_ours(&meta) && meta.is_file() => rename_with_id(&to, BATCH).map(|_| ()),
            Ok(meta) if is_ours(&meta) && fs::rename(&to, path).is_ok() => Ok(()),
            Ok(meta) => {
                let remedy = match meta.is_dir() {
                    true => format!("give it to {} and move its {ROWS}* into", user()),
                    false => format!("give it to {} alone, and rename it to {BATCH}old in", user()),
                };
                let what = io::Error::other(format!(
                    "is not Exim's user's own to write, or others may: it is {} now. If rows are \
                     in it, {remedy} {}",
                    to.display(),
                    self.directory().display()
                ));
                let place = path.display().to_string();
                self.log.trouble("journal", &Error::System { place, source: what });
                Ok(())
            }
            Err(_) => Ok(()),
        }
    }

    /// Has a directory survive a loss of power, where that is wanted.
    fn sync(&self, directory: &Path) -> io::Result<()> {
        match self.durability {
            Durability::Process => Ok(()),
            Durability::Disk => File::open(directory)?.sync_all(),
        }
    }
}

/// The beginning of a file's name when it is to be delivered.
fn batch_of(path: &Path) -> &'static str {
    const BATCH_OF_SETTLEMENTS: &str = "rows.settlements.";
    if is_of_settlements(path) { BATCH_OF_SETTLEMENTS } else { BATCH }
}

/// True if the rows of this file wait with settlements.
fn is_of_settlements(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(SETTLEMENTS))
}

/// Gives the file this name, with an id that sorts by the time when it was last written; answers
/// which, if it was there.
fn rename_with_id(path: &Path, name: &str) -> io::Result<Option<PathBuf>> {
    let renamed = path.symlink_metadata().and_then(|meta| meta.modified()).and_then(|written| {
        let id = record::new_id(written).map_err(|e| io::Error::other(e.to_string()))?;
        let to = path.with_file_name(format!("{name}{id}"));
        fs::rename(path, &to).map(|()| to)
    });
    match renamed {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        renamed => renamed.map(Some),
    }
}

/// For whom the journal is.
fn user() -> String {
    format!("uid {}, Exim's user,", Uid::effective())
}

/// True for a directory that this user owns.
fn is_own_directory(meta: &Metadata) -> bool {
    meta.is_dir() && files::is_own(meta)
}

/// Whether the file is ours; nobody else reads it from now on, whoever has restored or copied it.
fn claim(file: &File) -> io::Result<bool> {
    let meta = file.metadata()?;
    if files::is_journal_file(&meta) && !files::is_private(&meta) {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(files::is_journal_file(&meta))
}

/// Whether what could not be opened has a place that is ours.
fn is_foreign(e: &io::Error) -> bool {
    let codes = [Errno::EACCES, Errno::EPERM, Errno::ELOOP, Errno::EISDIR, Errno::ENXIO];
    codes.iter().any(|code| e.raw_os_error() == io::Error::from(*code).raw_os_error())
}

/// Whether the path still leads to this file.
fn is_at(path: &Path, file: &File) -> bool {
    let id = |meta: Metadata| (meta.dev(), meta.ino());
    let here = file.metadata().map(id);
    let there = path.symlink_metadata().map(id);
    matches!((here, there), (Ok(here), Ok(there)) if here == there)
}
