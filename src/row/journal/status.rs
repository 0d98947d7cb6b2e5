//! Counts the rows in the journal, for the administrator.

use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::BufReader;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;

use super::BATCH_PREFIX;
use super::DIRECTORY;
use super::FOREIGN_PREFIX;
use super::Journal;
use super::Lines;
use super::ROWS;
use super::Record;
use super::SET_ASIDE;
use crate::error::Error;

/// The content of the journal.
#[derive(Debug, Default)]
pub struct JournalStatus {
    /// The number of rows that wait.
    pub waiting: usize,
    /// The time of the oldest of them, in seconds since 1970.
    pub since: Option<i64>,
    /// The number of rows that are set aside.
    pub set_aside: usize,
    /// Files and directories that cannot be read, or are not ours.
    pub foreign: Vec<PathBuf>,
}

impl Journal<'_> {
    /// Reads all files and counts their rows.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn status(&self) -> Result<JournalStatus, Error> {
        let fail = |source| Error::System { place: self.directory().display().to_string(), source };
        self.count().map_err(fail)
    }

    fn count(&self) -> io::Result<JournalStatus> {
        let mut journal_status = JournalStatus::default();
        for path in self.waiting()? {
            match count(&path, u64::MAX) {
                Ok((lines, oldest)) => {
                    journal_status.waiting = journal_status.waiting.saturating_add(lines);
                    journal_status.since = oldest.into_iter().chain(journal_status.since).min();
                }
                // The file was delivered meanwhile.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(_) => journal_status.foreign.push(path),
            }
        }
        for path in self.set_aside_files()? {
            match count(&path, u64::MAX) {
                Ok((lines, _)) => {
                    journal_status.set_aside = journal_status.set_aside.saturating_add(lines)
                }
                Err(_) => journal_status.foreign.push(path),
            }
        }
        let is_foreign = |name: &str| name.starts_with(FOREIGN_PREFIX);
        journal_status.foreign.extend(files(&self.directory(), is_foreign)?);
        let prefix = format!("{FOREIGN_PREFIX}{DIRECTORY}.");
        journal_status.foreign.extend(files(self.state, |name| name.starts_with(&prefix))?);
        Ok(journal_status)
    }

    /// All files of rows that wait.
    pub(super) fn waiting(&self) -> io::Result<Vec<PathBuf>> {
        files(&self.directory(), |name| name == ROWS || name.starts_with(BATCH_PREFIX))
    }

    /// All files of rows that are set aside.
    pub(super) fn set_aside_files(&self) -> io::Result<Vec<PathBuf>> {
        let full_prefix = format!("{SET_ASIDE}.");
        files(&self.directory(), |name| name == SET_ASIDE || name.starts_with(&full_prefix))
    }
}

/// The entries of a directory with such names, sorted; none if there is no directory.
pub(super) fn files(directory: &Path, has_name: impl Fn(&str) -> bool) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry?;
        if has_name(&entry.file_name().to_string_lossy()) {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

/// Counts the lines that begin in the first `length` bytes of a file. Also returns the time of the
/// oldest row.
pub(super) fn count(path: &Path, length: u64) -> io::Result<(usize, Option<i64>)> {
    let (mut lines, mut oldest) = (0_usize, None);
    for line in Lines::new(BufReader::new(open(path, false)?)) {
        let line = line?;
        if line.at >= length {
            break;
        }
        lines = lines.saturating_add(1);
        oldest = line.record.as_ref().map(Record::time).into_iter().chain(oldest).min();
    }
    Ok((lines, oldest))
}

/// Opens a regular file to read it, and to overwrite bytes in it if `writable`.
pub(super) fn open(path: &Path, writable: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(writable).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let file = options.open(path)?;
    let is_file = file.metadata()?.is_file();
    if is_file { Ok(file) } else { Err(io::Error::other("is not a regular file")) }
}
