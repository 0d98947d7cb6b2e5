//! Rows on their way out of the journal: one file of them at a time, which nobody else has.

use std::collections::HashSet;
use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Read;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::Flock;
use nix::fcntl::FlockArg;

use super::BATCH;
use super::Durability;
use super::FOREIGN;
use super::Journal;
use super::ROWS;
use super::Record;
use super::SET_ASIDE;
use super::is_ours;
use crate::error::Error;

/// How often a file's lock is tried: an append takes a tenth of a millisecond.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(1);

/// A file of rows, locked.
pub struct Batch {
    path: PathBuf,
    /// Its lock ends with it.
    file: Flock<File>,
    /// The rows in it.
    pub records: Vec<Record>,
    /// Lines that are none.
    unreadable: Vec<Vec<u8>>,
}

/// What is in the journal.
#[derive(Debug, Default)]
pub struct Census {
    /// How many rows wait.
    pub waiting: usize,
    /// Since when the oldest does, in seconds since 1970.
    pub since: Option<i64>,
    /// How many rows were set aside.
    pub set_aside: usize,
    /// Files that cannot be read, or are not ours.
    pub foreign: Vec<PathBuf>,
}

impl Journal<'_> {
    /// Whether there may be rows to deliver.
    #[must_use]
    pub fn has_rows(&self) -> bool {
        !self.files(ROWS).unwrap_or_default().is_empty()
    }

    /// Files whose name begins so, sorted.
    fn files(&self, prefix: &str) -> io::Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(self.directory()) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut files = Vec::new();
        for entry in entries {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(prefix) {
                files.push(entry.path());
            }
        }
        files.sort();
        Ok(files)
    }

    /// The oldest rows that nobody else is delivering; `None` where there are none.
    ///
    /// # Errors
    /// The directory or a file cannot be read.
    pub fn take(&self) -> Result<Option<Batch>, Error> {
        let taken = self.prepare().and_then(|()| {
            for path in self.files(BATCH)? {
                if let Some(batch) = self.lock(path)? {
                    return Ok(Some(batch));
                }
            }
            match self.rotate(&self.directory().join(ROWS))? {
                Some(path) => self.lock(path),
                None => Ok(None),
            }
        });
        let place = || self.directory().display().to_string();
        taken.map_err(|source| Error::System { place: place(), source })
    }

    /// `None` where another process has it, or had it.
    fn lock(&self, path: PathBuf) -> io::Result<Option<Batch>> {
        let mut file = match open(&path) {
            Ok(file) if is_ours(&file.metadata()?) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Ok(_) | Err(_) => return self.remove_foreign(&path).map(|()| None),
        };
        for _ in 0..LOCK_TRIES {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                // Who had it before may have delivered it.
                Ok(file) if file.metadata()?.nlink() == 0 => return Ok(None),
                Ok(file) => return Batch::read(path, file).map(Some),
                Err((unlocked, Errno::EWOULDBLOCK)) => file = unlocked,
                Err((_, e)) => return Err(e.into()),
            }
            std::thread::sleep(LOCK_PAUSE);
        }
        Ok(None)
    }

    /// Ends a batch whose rows are stored but for these, by their index, which are set aside with
    /// the reason; answers how many lines that were, with those that nobody can read.
    ///
    /// # Errors
    /// The rows cannot be set aside, or the file cannot be deleted: it will be delivered again.
    pub fn finish(&self, batch: Batch, refused: &[(usize, String)]) -> Result<usize, Error> {
        let aside = self.directory().join(SET_ASIDE);
        let fail =
            |path: &Path, source| Error::System { place: path.display().to_string(), source };
        let lines = refused.iter().filter_map(|(at, why)| {
            let record = batch.records.get(*at)?;
            Some((record.line().into_bytes(), &**why))
        });
        let torn = batch.unreadable.iter().map(|line| (line.clone(), "is not whole"));
        let lines: Vec<_> = lines.chain(torn).collect();
        if !lines.is_empty() {
            self.set_aside(&aside, &lines).map_err(|e| fail(&aside, e))?;
            let what = format!("{} rows of {} are set aside", lines.len(), batch.path.display());
            let first = lines.first().map(|(_, why)| *why).unwrap_or_default();
            let what = io::Error::other(format!("{what}: {first}"));
            self.log.trouble("journal", &fail(&aside, what));
        }
        fs::remove_file(&batch.path).map_err(|e| fail(&batch.path, e))?;
        drop(batch.file);
        Ok(lines.len())
    }

    /// Adds lines to the file that an administrator looks at, but for those it has: who was killed
    /// after this and before the batch was deleted has set them aside already.
    fn set_aside(&self, path: &Path, lines: &[(Vec<u8>, &str)]) -> io::Result<()> {
        let known = match open(path) {
            Ok(mut file) => {
                let mut known = Vec::new();
                file.read_to_end(&mut known)?;
                known
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(_) => {
                self.remove_foreign(path)?;
                Vec::new()
            }
        };
        let known: HashSet<&[u8]> = known.split(|&byte| byte == b'\n').collect();
        let mut text = Vec::new();
        for (line, why) in lines.iter().filter(|(line, _)| !known.contains(&**line)) {
            text.extend_from_slice(format!("\n# {}\n", why.escape_debug()).as_bytes());
            text.extend_from_slice(line);
            text.push(b'\n');
        }
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
        let mut file = options.open(path)?;
        file.write_all(&text)?;
        if self.durability == Durability::Disk {
            file.sync_data()?;
        }
        self.sync(&self.directory())
    }

    /// Counts what is there.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn census(&self) -> Result<Census, Error> {
        let fail = |source| Error::System { place: self.directory().display().to_string(), source };
        let mut census = Census::default();
        for path in self.files(ROWS).map_err(fail)? {
            match read(&path) {
                Ok(text) => {
                    let (records, torn) = parse(&text);
                    let read = records.len().saturating_add(torn.len());
                    census.waiting = census.waiting.saturating_add(read);
                    let oldest = records.iter().map(Record::time).chain(census.since).min();
                    census.since = oldest;
                }
                // Delivered in between.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(_) => census.foreign.push(path),
            }
        }
        census.foreign.extend(self.files(FOREIGN).map_err(fail)?);
        if let Ok(text) = read(&self.directory().join(SET_ASIDE)) {
            let (records, torn) = parse(&text);
            census.set_aside = records.len().saturating_add(torn.len());
        }
        Ok(census)
    }
}

impl Batch {
    fn read(path: PathBuf, file: Flock<File>) -> io::Result<Self> {
        let mut text = Vec::new();
        (&*file).read_to_end(&mut text)?;
        let (records, unreadable) = parse(&text);
        let unreadable = unreadable.into_iter().map(<[u8]>::to_vec).collect();
        Ok(Self { path, file, records, unreadable })
    }
}

/// The records of a file, and what is none; lines that begin with `#` are for its reader.
#[must_use]
pub fn parse(text: &[u8]) -> (Vec<Record>, Vec<&[u8]>) {
    let lines = text.split(|&byte| byte == b'\n');
    // A loss of power may leave zeros where the next line was to be.
    let lines = lines.flat_map(|line| {
        let zeros = line.iter().position(|&byte| byte == 0).unwrap_or(line.len());
        <[_; 2]>::from(line.split_at(zeros))
    });
    let (mut records, mut torn) = (Vec::new(), Vec::new());
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with(b"#")) {
        match Record::read(line) {
            Some(record) => records.push(record),
            None => torn.push(line),
        }
    }
    (records, torn)
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let file = options.open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("is no file")) }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    open(path)?.read_to_end(&mut text)?;
    Ok(text)
}
