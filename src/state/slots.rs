//! Slots limit the number of processes of this host that hash passwords at the same time. A process
//! with a slot holds a lock on one byte of a file in the state directory.
//!
//! The kernel releases the lock when the file is closed, so a process that dies gives its slot
//! back. Nothing is ever written to the file.

use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::thread;

use nix::errno::Errno;
use nix::fcntl::FcntlArg;
use nix::fcntl::fcntl;
use nix::unistd::Uid;

use crate::error::Error;
use crate::state::files;

const FILE_NAME: &str = "hash-slots";
/// The default for each CPU. More would not be faster, and each hash takes memory.
const SLOTS_PER_CPU: usize = 2;
/// The smallest default, for hosts with few CPUs.
const MIN_DEFAULT: u32 = 4;

/// The default number of slots. It depends on the CPUs that this process may use.
#[must_use]
pub fn default_count() -> u32 {
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    let count = u32::try_from(cpus.saturating_mul(SLOTS_PER_CPU)).unwrap_or(u32::MAX);
    count.max(MIN_DEFAULT)
}

/// The slots of this host. A slot that was taken is held until this is dropped.
#[derive(Debug)]
pub struct Slots {
    file: File,
    path: PathBuf,
    count: Option<u32>,
}

impl Slots {
    /// Opens the file, and makes it if it is missing. Without a `count`, the default applies.
    ///
    /// # Errors
    /// The file cannot be made or opened, or is not private.
    pub fn open(directory: &Path, count: Option<u32>) -> Result<Self, Error> {
        let path = directory.join(FILE_NAME);
        let me = Uid::effective();
        let mut options = OpenOptions::new();
        // Exim's user could not open a file that root makes.
        options.read(true).write(true).create(!me.is_root()).mode(0o600);
        options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC);
        let opened = options.open(&path).and_then(|file| {
            // A restore may have given it another mode. Refusing it would end the bound on hashing.
            let meta = files::make_private(&file)?;
            if files::is_lock_file(&meta) {
                return Ok(file);
            }
            let mode = meta.mode() & 0o7777;
            Err(io::Error::other(format!(
                "must be a regular file of uid {me}, mode 0600, not {mode:04o}"
            )))
        });
        match opened {
            Ok(file) => Ok(Self { file, path, count }),
            Err(e) => Err(unusable(&path, &e)),
        }
    }

    /// Takes a slot; false if none is free.
    ///
    /// # Errors
    /// The file system does not support locks.
    pub fn take(&self) -> Result<bool, Error> {
        match self.count {
            Some(count) => self.take_one_of(count),
            // Counting the CPUs takes longer than all of this.
            None => Ok(self.take_one_of(MIN_DEFAULT)? || self.take_one_of(default_count())?),
        }
    }

    /// Takes one of the first `count` slots; false if none is free.
    fn take_one_of(&self, count: u32) -> Result<bool, Error> {
        // Processes begin at different slots, to find a free one sooner.
        let first = std::process::id();
        for number in 0..count {
            let slot = first.wrapping_add(number).checked_rem(count).unwrap_or(0);
            match self.lock(slot) {
                Ok(()) => return Ok(true),
                Err(Errno::EAGAIN | Errno::EACCES) => {}
                Err(e) => return Err(unusable(&self.path, &e.into())),
            }
        }
        Ok(false)
    }

    /// The error that no slot was free for as long as an attempt may wait.
    #[must_use]
    pub fn exhausted(&self) -> Error {
        let count = self.count.unwrap_or_else(default_count);
        let why = format!(
            "all accounts.max_parallel_hashes = {count} were taken for database.attempt_timeout: too many \
             attempts at the same time"
        );
        fail(&self.path, why)
    }

    fn lock(&self, slot: u32) -> Result<(), Errno> {
        let short = |number| libc::c_short::try_from(number).map_err(|_| Errno::EINVAL);
        let lock = libc::flock {
            l_type: short(libc::F_WRLCK)?,
            l_whence: short(libc::SEEK_SET)?,
            l_start: slot.into(),
            l_len: 1,
            // Must be 0 for a lock of an open file (fcntl(2)).
            l_pid: 0,
        };
        fcntl(&self.file, FcntlArg::F_OFD_SETLK(&lock)).map(|_| ())
    }
}

fn fail(path: &Path, what: String) -> Error {
    Error::System { place: path.display().to_string(), source: io::Error::other(what) }
}

/// The error for a file that cannot be used, with a remedy.
fn unusable(path: &Path, e: &io::Error) -> Error {
    let exists = |path: &Path| path.symlink_metadata().is_ok();
    let me = Uid::effective();
    let what = if exists(path) {
        String::from("remove it, and Exim's user makes another one")
    } else if !path.parent().is_some_and(exists) {
        String::from("make the directory with `authpolicy db init`, or set state.directory")
    } else if me.is_root() {
        String::from("root does not make it: run `authpolicy config`, which makes it for its owner")
    } else {
        format!("state.directory must be a directory of Exim's user (uid {me}), mode 0700")
    };
    fail(path, format!("cannot be used for accounts.max_parallel_hashes: {e}: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A state directory that has the file, also if the test runs as root.
    fn directory() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        if Uid::effective().is_root() {
            let message = Slots::open(directory.path(), Some(1)).unwrap_err().to_string();
            assert!(message.contains("root does not make it"), "{message}");
            drop(files::create(&directory.path().join(FILE_NAME)).unwrap());
        }
        directory
    }

    #[test]
    fn there_are_as_many_slots_as_are_given() {
        let directory = directory();
        let open = || Slots::open(directory.path(), Some(3)).unwrap();
        let mut taken: Vec<_> = (0..3).map(|_| open()).collect();
        for slots in &taken {
            assert!(slots.take().unwrap());
        }
        let late = open();
        assert!(!late.take().unwrap(), "three are taken");
        let message = late.exhausted().to_string();
        assert!(message.contains("max_parallel_hashes = 3"), "{message}");
        taken.pop();
        assert!(late.take().unwrap(), "one was given back");
        assert!(!open().take().unwrap());
    }

    #[test]
    fn the_default_count_of_slots_can_be_taken() {
        let directory = directory();
        let open = || Slots::open(directory.path(), None).unwrap();
        let taken: Vec<_> = (0..default_count()).map(|_| open()).collect();
        assert!(taken.iter().all(|slots| slots.take().unwrap()), "{}", taken.len());
        assert!(!open().take().unwrap(), "no more");
    }

    #[test]
    fn a_link_a_directory_or_a_fifo_is_not_used() {
        let directory = directory();
        assert!(Slots::open(directory.path(), Some(1)).unwrap().take().unwrap());
        let path = directory.path().join(FILE_NAME);
        let elsewhere = directory.path().join("elsewhere");
        std::fs::rename(&path, &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        let refused = || {
            let message = Slots::open(directory.path(), Some(1)).unwrap_err().to_string();
            assert!(message.contains("hash-slots: cannot be used"), "{message}");
            assert!(message.contains("remove it"), "{message}");
        };
        refused();
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        refused();
        std::fs::remove_dir(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        refused();
    }
}
