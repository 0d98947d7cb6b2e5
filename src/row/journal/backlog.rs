//! The rows that wait when `flush` starts, kept apart from later rows.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;

use super::Journal;
use super::MAX_TRIES;
use super::batch::has_id;
use super::status::count;
use super::status::open;
use crate::error::Error;

/// The rows that wait at one moment.
#[derive(Default)]
pub struct Backlog {
    /// Files to which no attempt appends, and whose names are never used again.
    closed: HashSet<PathBuf>,
    /// Files that may still grow or be renamed, with their lengths. An open file keeps its inode
    /// number, so no later file can be taken for it.
    open: Vec<(File, u64)>,
}

impl Journal<'_> {
    /// The rows that wait now.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn backlog(&self) -> Result<Backlog, Error> {
        let mut tries = 0..MAX_TRIES;
        let taken = loop {
            match self.try_backlog() {
                // A file was renamed after the directory was listed.
                Err(e) if e.kind() == io::ErrorKind::NotFound && tries.next().is_some() => {}
                taken => break taken,
            }
        };
        taken.map_err(|source| self.failed(source))
    }

    fn try_backlog(&self) -> io::Result<Backlog> {
        let mut backlog = Backlog::default();
        for path in self.waiting()? {
            match if has_id(&path) { None } else { Some(open(&path, false)) } {
                Some(Ok(file)) => {
                    let length = file.metadata()?.len();
                    backlog.open.push((file, length));
                }
                Some(Err(e)) if e.kind() == io::ErrorKind::NotFound => return Err(e),
                Some(Err(_)) | None => {
                    backlog.closed.insert(path);
                }
            }
        }
        Ok(backlog)
    }

    /// Counts the rows of a backlog that still wait. A file that cannot be read counts as one row.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn left(&self, backlog: &Backlog) -> Result<usize, Error> {
        let mut left: usize = 0;
        for path in self.waiting().map_err(|source| self.failed(source))? {
            let rows = match backlog.length(&path).map(|length| count(&path, length)) {
                Some(Ok((rows, _))) => rows,
                Some(Err(e)) if e.kind() != io::ErrorKind::NotFound => 1,
                Some(Err(_)) | None => 0,
            };
            left = left.saturating_add(rows);
        }
        Ok(left)
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::System { place: self.directory().display().to_string(), source }
    }
}

impl Backlog {
    /// The length of the part of a file that belongs to the backlog; `None` for a later file.
    fn length(&self, path: &Path) -> Option<u64> {
        if self.closed.contains(path) {
            return Some(u64::MAX);
        }
        let id = |meta: std::fs::Metadata| (meta.dev(), meta.ino());
        let at_path = path.symlink_metadata().map(id).ok()?;
        let is_same = |file: &File| file.metadata().is_ok_and(|meta| id(meta) == at_path);
        self.open.iter().find(|(file, _)| is_same(file)).map(|(_, length)| *length)
    }
}
