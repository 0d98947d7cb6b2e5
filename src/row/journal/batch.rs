//! The delivery's side of the journal: it locks one file of rows at a time.

use std::collections::HashSet;
use std::fs;
use std::fs::File;
use std::io;
use std::io::BufReader;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::Flock;
use nix::fcntl::FlockArg;

use super::BATCH_PREFIX;
use super::Journal;
use super::Line;
use super::Lines;
use super::ROWS;
use super::SET_ASIDE;
use super::SETTLEMENTS;
use super::batch_prefix;
use super::is_settlements_file;
use super::is_still_at;
use super::make_private_if_own;
use super::may_be_foreign;
use super::record;
use super::rename_with_id;
use super::status::open;
use crate::error::Error;
use crate::state::files;

/// The tries to lock a file to which an attempt may still be writing its last row. A write takes a
/// tenth of a millisecond.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(1);
/// A delivery renames the current file only if fewer files than this wait. Otherwise each delivery
/// would leave one more file while the database is away.
pub(crate) const MAX_FILES: usize = 64;

/// A locked file of rows.
pub struct Batch {
    path: PathBuf,
    /// The lock ends when this is dropped.
    file: Flock<File>,
    lines: Lines<BufReader<File>>,
}

/// The result of a delivery for one line.
#[derive(Debug)]
pub enum RowStatus {
    /// The row is stored, or the line is incomplete and is to be set aside.
    Done,
    /// The table refuses the row for good, for this reason. It is to be set aside.
    Refused(String),
    /// The row goes on waiting.
    Waits,
}

impl Journal<'_> {
    /// True if there may be rows to deliver.
    #[must_use]
    pub fn has_rows(&self) -> bool {
        !self.waiting().unwrap_or_default().is_empty()
    }

    /// True if there may be rows that wait with settlements; also if the directory cannot be read.
    #[must_use]
    pub fn has_settlements(&self) -> bool {
        self.waiting().map_or(true, |files| files.iter().any(|path| is_settlements_file(path)))
    }

    /// The files to deliver: first those with settlements, each kind from the oldest on. The file
    /// that attempts append to is included if fewer than `max_files` others wait.
    ///
    /// # Errors
    /// The directory is not ours, or cannot be read.
    pub fn batches(&self, max_files: usize) -> Result<Vec<PathBuf>, Error> {
        let mut files = self.list(&[SETTLEMENTS, ROWS], max_files)?;
        files.sort_by_key(|path| !is_settlements_file(path));
        Ok(files)
    }

    /// The files to deliver that have settlements.
    ///
    /// # Errors
    /// As for `batches`.
    pub fn batches_of_settlements(&self) -> Result<Vec<PathBuf>, Error> {
        let mut files = self.list(&[SETTLEMENTS], MAX_FILES)?;
        files.retain(|path| is_settlements_file(path));
        Ok(files)
    }

    /// All files to which no attempt appends. The files with these `names` are renamed first, so
    /// that they are included.
    fn list(&self, names: &[&str], max_files: usize) -> Result<Vec<PathBuf>, Error> {
        let appended = [SETTLEMENTS, ROWS].map(|name| self.directory().join(name));
        let listed = self.prepare().and_then(|()| {
            let mut files = self.waiting()?;
            files.retain(|path| !appended.contains(path));
            for name in names {
                // Many files without settlements must not delay rows with settlements.
                if *name == SETTLEMENTS || files.len() < max_files {
                    files.extend(self.rotate(&self.directory().join(name))?);
                }
            }
            Ok(files)
        });
        listed.map_err(|source| failed(&self.directory(), source))
    }

    /// Renames a file, so that the next attempt begins a new one. Waits a little for attempts that
    /// are still writing to it.
    fn rotate(&self, rows: &Path) -> io::Result<Option<PathBuf>> {
        let Some(path) = rename_with_id(rows, batch_prefix(rows))? else { return Ok(None) };
        for _ in 0..LOCK_TRIES {
            match open(&path, true).map(|file| Flock::lock(file, FlockArg::LockExclusiveNonblock)) {
                Ok(Err((_, Errno::EWOULDBLOCK))) => std::thread::sleep(LOCK_PAUSE),
                Ok(_) | Err(_) => break,
            }
        }
        Ok(Some(path))
    }

    /// Locks a file. Returns `None` if it is longer than `max_length` bytes, if another process has
    /// locked it, or if it is gone.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn lock(&self, path: PathBuf, max_length: u64) -> Result<Option<Batch>, Error> {
        let place = path.clone();
        self.try_lock(path, max_length).map_err(|source| failed(&place, source))
    }

    fn try_lock(&self, path: PathBuf, max_length: u64) -> io::Result<Option<Batch>> {
        let file = match open(&path, true) {
            Ok(file) if make_private_if_own(&file)?.is_some() => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) if !may_be_foreign(&e) && is_own(&path) => return Err(e),
            Ok(_) | Err(_) => {
                return self.rename_foreign(&path, files::is_journal_file).map(|()| None);
            }
        };
        let file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => file,
            Err((_, Errno::EWOULDBLOCK)) => return Ok(None),
            Err((_, e)) => return Err(e.into()),
        };
        // An administrator may reuse a name without an id for another file.
        let path = match has_id(&path) {
            true => path,
            false => rename_with_id(&path, batch_prefix(&path))?.unwrap_or(path),
        };
        // Another process may have delivered and deleted the file before this one got the lock.
        if !is_still_at(&path, &file) || file.metadata()?.size() > max_length {
            return Ok(None);
        }
        let lines = Lines::new(BufReader::new(file.try_clone()?));
        Ok(Some(Batch { path, file, lines }))
    }

    /// Sets aside incomplete lines and rows that the table refuses for good, and comments them out.
    /// Returns their number.
    ///
    /// # Errors
    /// The rows cannot be set aside, or the file cannot be written. The next delivery tries again.
    pub fn set_aside(
        &self,
        batch: &Batch,
        lines: &[Line],
        statuses: &[RowStatus],
    ) -> Result<usize, Error> {
        let with_statuses = lines.iter().zip(statuses);
        let aside: Vec<_> = with_statuses
            .filter_map(|(line, status)| Some((line, set_aside_reason(line, status)?)))
            .collect();
        if let Some((_, why)) = aside.first() {
            let path = self.directory().join(SET_ASIDE);
            self.append_set_aside(&path, &aside).map_err(|e| failed(&path, e))?;
            let what = format!("{} rows of {} are set aside", aside.len(), batch.path.display());
            let what = io::Error::other(format!("{what}: {why}"));
            self.log.trouble("journal", &failed(&path, what));
        }
        aside.iter().try_for_each(|(line, _)| batch.comment_out(line))?;
        Ok(aside.len())
    }

    /// Adds lines to the file for the administrator. Lines that are in it are skipped: a process
    /// may have been killed after it added them, and before it commented them out.
    fn append_set_aside(&self, path: &Path, lines: &[(&Line, &str)]) -> io::Result<()> {
        let known: HashSet<Vec<u8>> = match open(path, false) {
            Ok(file) => Lines::new(BufReader::new(file))
                .map(|line| line.map(|line| line.text))
                .collect::<io::Result<_>>()?,
            // `add` makes a new file.
            Err(_) => HashSet::new(),
        };
        let mut text = Vec::new();
        for (line, why) in lines.iter().filter(|(line, _)| !known.contains(&line.text)) {
            text.extend_from_slice(format!("\n# {}\n", why.escape_debug()).as_bytes());
            text.extend_from_slice(&line.text);
        }
        if text.is_empty() {
            return Ok(());
        }
        self.add(path, &text, &format!("{SET_ASIDE}."))
    }

    /// Puts the rows that were set aside back among those to deliver.
    ///
    /// # Errors
    /// The directory is not ours, or cannot be read.
    pub fn requeue_set_aside(&self) -> Result<(), Error> {
        let taken = self.prepare().and_then(|()| {
            self.set_aside_files()?
                .iter()
                .try_for_each(|path| rename_with_id(path, BATCH_PREFIX).map(drop))
        });
        taken.map_err(|source| failed(&self.directory(), source))
    }
}

impl Batch {
    /// The next `count` lines, or all if fewer are left. One more if the last of them is followed
    /// by a piece of the same line.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn next(&mut self, count: usize) -> Result<Vec<Line>, Error> {
        let mut lines = Vec::new();
        while lines.len() < count || self.lines.has_rest_of_line() {
            let Some(line) = self.lines.next() else { break };
            lines.push(line.map_err(|e| failed(&self.path, e))?);
        }
        Ok(lines)
    }

    /// Comments out the lines of stored rows. This comes before `Journal::set_aside`, because it
    /// also works on a full disk.
    ///
    /// # Errors
    /// The file cannot be written. The next delivery finds the rows again.
    pub fn comment_out_stored(&self, lines: &[Line], statuses: &[RowStatus]) -> Result<(), Error> {
        let with_statuses = lines.iter().zip(statuses);
        with_statuses
            .filter(|(line, status)| matches!(status, RowStatus::Done) && line.record.is_some())
            .try_for_each(|(line, _)| self.comment_out(line))
    }

    /// Overwrites the first byte of a line with `#`, so that it is not read again.
    fn comment_out(&self, line: &Line) -> Result<(), Error> {
        self.file.write_all_at(b"#", line.at).map_err(|e| failed(&self.path, e))
    }

    /// Deletes the file after all its rows are stored or set aside.
    ///
    /// # Errors
    /// The file cannot be deleted.
    pub fn remove(self) -> Result<(), Error> {
        // An administrator may have moved another file to this path.
        if is_still_at(&self.path, &self.file) {
            fs::remove_file(&self.path).map_err(|e| failed(&self.path, e))?;
        }
        Ok(())
    }
}

/// The reason to set a line aside; `None` if it is not to be set aside.
fn set_aside_reason<'a>(line: &Line, status: &'a RowStatus) -> Option<&'a str> {
    match status {
        RowStatus::Done if line.record.is_none() => Some("is not whole"),
        RowStatus::Refused(why) => Some(why),
        RowStatus::Done | RowStatus::Waits => None,
    }
}

fn is_own(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|meta| files::is_journal_file(&meta))
}

/// True if the file name has an id, so that it is never used for another file.
pub(super) fn has_id(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.strip_prefix(batch_prefix(path)).is_some_and(record::is_id)
}

fn failed(path: &Path, source: io::Error) -> Error {
    Error::System { place: path.display().to_string(), source }
}
