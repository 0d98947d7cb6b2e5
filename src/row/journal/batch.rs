//! Rows on their way out of the journal: one file of them at a time, which nobody else has.

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

use super::BATCH;
use super::Journal;
use super::Line;
use super::Lines;
use super::ROWS;
use super::SET_ASIDE;
use super::SETTLEMENTS;
use super::batch_of;
use super::claim;
use super::is_at;
use super::is_foreign;
use super::is_of_settlements;
use super::record;
use super::rename_with_id;
use super::status::open;
use crate::error::Error;
use crate::state::files;

/// How often the lock of a file is tried whose last row may still be on its way: an append takes a
/// tenth of a millisecond.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(1);
/// A delivery closes the current file and begins another only if fewer files than this wait. Otherwise each
/// delivery would leave one more file while the database is away.
pub(crate) const MANY: usize = 64;

/// A file of rows, locked.
pub struct Batch {
    path: PathBuf,
    /// Its lock ends with it.
    file: Flock<File>,
    lines: Lines<BufReader<File>>,
}

/// What becomes of a line.
#[derive(Debug)]
pub enum RowStatus {
    /// It is stored, or is to be set aside since it is not whole.
    Done,
    /// No table takes it, for this reason: it is to be set aside.
    Refused(String),
    /// It goes on waiting.
    Waits,
}

impl Journal<'_> {
    /// Whether there may be rows to deliver.
    #[must_use]
    pub fn has_rows(&self) -> bool {
        !self.waiting().unwrap_or_default().is_empty()
    }

    /// True if there may be rows that wait with settlements; also if the directory cannot be read.
    #[must_use]
    pub fn has_settlements(&self) -> bool {
        self.waiting().map_or(true, |files| files.iter().any(|path| is_of_settlements(path)))
    }

    /// The files of rows for `lock`: those with settlements, and then the oldest first. The file that
    /// attempts append to is among them if fewer than `most` others wait.
    ///
    /// # Errors
    /// The directory is not ours, or cannot be read.
    pub fn batches(&self, most: usize) -> Result<Vec<PathBuf>, Error> {
        let mut files = self.list(&[SETTLEMENTS, ROWS], most)?;
        files.sort_by_key(|path| !is_of_settlements(path));
        Ok(files)
    }

    /// The files of rows with settlements, for `lock`.
    ///
    /// # Errors
    /// As for `batches`.
    pub fn batches_of_settlements(&self) -> Result<Vec<PathBuf>, Error> {
        let mut files = self.list(&[SETTLEMENTS], MANY)?;
        files.retain(|path| is_of_settlements(path));
        Ok(files)
    }

    /// All files that no attempt appends to. Files of these names are renamed first, so that they
    /// belong to them.
    fn list(&self, names: &[&str], most: usize) -> Result<Vec<PathBuf>, Error> {
        let appended = [SETTLEMENTS, ROWS].map(|name| self.directory().join(name));
        let listed = self.prepare().and_then(|()| {
            let mut files = self.waiting()?;
            files.retain(|path| !appended.contains(path));
            for name in names {
                // Rows without settlements never keep those with them from being delivered.
                if *name == SETTLEMENTS || files.len() < most {
                    files.extend(self.rotate(&self.directory().join(name))?);
                }
            }
            Ok(files)
        });
        listed.map_err(|source| failed(&self.directory(), source))
    }

    /// Has the next attempt begin another file, once nobody adds to this one any longer.
    fn rotate(&self, rows: &Path) -> io::Result<Option<PathBuf>> {
        let Some(path) = rename_with_id(rows, batch_of(rows))? else { return Ok(None) };
        for _ in 0..LOCK_TRIES {
            match open(&path, true).map(|file| Flock::lock(file, FlockArg::LockExclusiveNonblock)) {
                Ok(Err((_, Errno::EWOULDBLOCK))) => std::thread::sleep(LOCK_PAUSE),
                Ok(_) | Err(_) => break,
            }
        }
        Ok(Some(path))
    }

    /// Takes a file, if it has at most so many bytes; `None` where it has more, or where another
    /// process has it, or had it.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn lock(&self, path: PathBuf, longest: u64) -> Result<Option<Batch>, Error> {
        let place = path.clone();
        self.try_lock(path, longest).map_err(|source| failed(&place, source))
    }

    fn try_lock(&self, path: PathBuf, longest: u64) -> io::Result<Option<Batch>> {
        let file = match open(&path, true) {
            Ok(file) if claim(&file)? => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) if !is_foreign(&e) && is_in_order(&path) => return Err(e),
            Ok(_) | Err(_) => {
                return self.remove_foreign(&path, files::is_journal_file).map(|()| None);
            }
        };
        let file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => file,
            Err((_, Errno::EWOULDBLOCK)) => return Ok(None),
            Err((_, e)) => return Err(e.into()),
        };
        // A name that somebody gave it may be given to another one meanwhile.
        let path = match has_id(&path) {
            true => path,
            false => rename_with_id(&path, batch_of(&path))?.unwrap_or(path),
        };
        // Who had it before may have delivered it.
        if !is_at(&path, &file) || file.metadata()?.size() > longest {
            return Ok(None);
        }
        let lines = Lines::new(BufReader::new(file.try_clone()?));
        Ok(Some(Batch { path, file, lines }))
    }

    /// Sets lines aside, and makes them remarks; returns their number.
    ///
    /// # Errors
    /// The rows cannot be set aside, or the file cannot be written: they will be delivered again.
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

    /// Adds lines to the file that an administrator looks at, but for those it has: who was killed
    /// after this and before they became remarks has set them aside already.
    fn append_set_aside(&self, path: &Path, lines: &[(&Line, &str)]) -> io::Result<()> {
        let known: HashSet<Vec<u8>> = match open(path, false) {
            Ok(file) => Lines::new(BufReader::new(file))
                .map(|line| line.map(|line| line.text))
                .collect::<io::Result<_>>()?,
            // Another one is made.
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

    /// Has what was set aside delivered again.
    ///
    /// # Errors
    /// The directory is not ours, or cannot be read.
    pub fn requeue_set_aside(&self) -> Result<(), Error> {
        let taken = self.prepare().and_then(|()| {
            self.set_aside_files()?
                .iter()
                .try_for_each(|path| rename_with_id(path, BATCH).map(drop))
        });
        taken.map_err(|source| failed(&self.directory(), source))
    }
}

impl Batch {
    /// The next lines, at least so many if there are.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn next(&mut self, most: usize) -> Result<Vec<Line>, Error> {
        let mut lines = Vec::new();
        while lines.len() < most || self.lines.is_within_line() {
            let Some(line) = self.lines.next() else { break };
            lines.push(line.map_err(|e| failed(&self.path, e))?);
        }
        Ok(lines)
    }

    /// Makes the lines of stored rows remarks. This needs no room, so it comes before `Journal::set_aside`.
    ///
    /// # Errors
    /// The file cannot be written: the rows will be delivered again.
    pub fn comment_out_stored(&self, lines: &[Line], statuses: &[RowStatus]) -> Result<(), Error> {
        let with_statuses = lines.iter().zip(statuses);
        with_statuses
            .filter(|(line, status)| matches!(status, RowStatus::Done) && line.record.is_some())
            .try_for_each(|(line, _)| self.comment_out(line))
    }

    /// Has a line not looked at again.
    fn comment_out(&self, line: &Line) -> Result<(), Error> {
        self.file.write_all_at(b"#", line.at).map_err(|e| failed(&self.path, e))
    }

    /// All of it is done with.
    ///
    /// # Errors
    /// The file cannot be deleted.
    pub fn remove(self) -> Result<(), Error> {
        // Somebody may have given its name to another one.
        if is_at(&self.path, &self.file) {
            fs::remove_file(&self.path).map_err(|e| failed(&self.path, e))?;
        }
        Ok(())
    }
}

/// Why a line is to be set aside, if it is.
fn set_aside_reason<'a>(line: &Line, status: &'a RowStatus) -> Option<&'a str> {
    match status {
        RowStatus::Done if line.record.is_none() => Some("is not whole"),
        RowStatus::Refused(why) => Some(why),
        RowStatus::Done | RowStatus::Waits => None,
    }
}

fn is_in_order(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|meta| files::is_journal_file(&meta))
}

/// True if the file name has an id, so that no other process uses it.
pub(super) fn has_id(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.strip_prefix(batch_of(path)).is_some_and(record::is_id)
}

fn failed(path: &Path, source: io::Error) -> Error {
    Error::System { place: path.display().to_string(), source }
}
