//! Descriptors of this process that are open on the embedded database, but not by our SQLite.
//!
//! POSIX locks belong to the process, not to the descriptor: the first close of a file drops all
//! locks that the process has on it. SQLite takes care of that within one copy of itself. Exim's
//! `${lookup sqlite}` and embedded Perl use another copy, and neither copy knows of the other's
//! locks. With both open, rows are lost and the file is damaged, and no call reports an error. So
//! each of our connections looks first, and does not open the database if something else has it
//! open.
//!
//! Exim is single-threaded: while we have a connection, nothing else can open the file. So only the
//! first of several connections has to look, and every descriptor that it finds is foreign.
#![allow(unsafe_code, reason = "std cannot look at a descriptor that it does not own")]

use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::os::fd::RawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

/// The directory in which Linux lists the descriptors of this process.
const LIST: &str = "/proc/self/fd";
/// The number of descriptors that one call asks for. Exim has fewer in use.
const CHUNK: usize = 64;
/// If the kernel does not tell how many descriptors are open, and the process may have at most this
/// many, asking for each number is faster than reading the list: 12 µs for 1024 numbers, 22 µs for
/// 4096, and 45 µs for a list of 15 in a fresh process.
const FEW: RawFd = 4096;
/// The most numbers that are asked for. A process gets the lowest free number, so those of Exim are
/// small.
const MAX_ASKED: RawFd = 65_536;

/// A file: its device and inode.
type Id = (u64, u64);

/// The databases that our connections have open, once for each connection.
static OURS: Mutex<Vec<Id>> = Mutex::new(Vec::new());

/// The right of one connection to open a database; it must outlive the connection.
#[derive(Debug)]
pub(super) struct Claim(Id);

impl Claim {
    /// Claims the database at this path.
    ///
    /// # Errors
    /// Something else in this process has it open; the text says what to do.
    pub(super) fn new(path: &Path, database: &fs::Metadata) -> Result<Self, String> {
        let id = id(database);
        let mut ours = ours();
        if !ours.contains(&id)
            && let Some((descriptor, file)) = foreign(path, id)
        {
            return Err(format!(
                "is not opened, because something else in this process has {} open (descriptor \
                 {descriptor}), and two SQLites in one process lose rows and damage the file: \
                 remove the ${{lookup sqlite}}, sqlite_dbfile or embedded Perl that opens it from \
                 Exim's configuration, or let it read a copy made by `authpolicy db backup`",
                file.display()
            ));
        }
        ours.push(id);
        Ok(Self(id))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut ours = ours();
        if let Some(at) = ours.iter().position(|id| *id == self.0) {
            ours.swap_remove(at);
        }
    }
}

fn ours() -> MutexGuard<'static, Vec<Id>> {
    OURS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn id(file: &fs::Metadata) -> Id {
    (file.dev(), file.ino())
}

/// The files that SQLite opens for this database. If the database was replaced by rename, a foreign
/// SQLite may share only the last two with us.
pub(super) fn files(database: &Path) -> [PathBuf; 3] {
    ["", "-wal", "-shm"].map(|end| {
        let mut path = database.as_os_str().to_owned();
        path.push(end);
        path.into()
    })
}

/// A descriptor that is open on one of the files, and that file.
fn foreign(path: &Path, database: Id) -> Option<(RawFd, PathBuf)> {
    let open = open_descriptors(Path::new(LIST));
    let mut regular = open.into_iter().filter(|open| open.is_regular).peekable();
    // Exim has few files open, or none. Then the files beside the database need not be looked at.
    regular.peek()?;
    let [_, wal, shm] = files(path);
    let beside = [wal, shm].map(|path| (fs::metadata(&path).ok().map(|meta| id(&meta)), path));
    regular.find_map(|Open { descriptor, file, .. }| {
        if file == database {
            return Some((descriptor, path.to_owned()));
        }
        let found = beside.iter().find(|(beside, _)| *beside == Some(file));
        found.map(|(_, path)| (descriptor, path.clone()))
    })
}

/// An open descriptor.
#[derive(Debug, PartialEq, Eq)]
struct Open {
    descriptor: RawFd,
    file: Id,
    /// True for a regular file. Sockets, pipes and devices are not.
    is_regular: bool,
}

/// The open descriptors of this process.
fn open_descriptors(list: &Path) -> Vec<Open> {
    let max = max_descriptors();
    let count = count(list);
    if count.is_some() || max <= FEW {
        let mut found = Vec::new();
        for numbers in chunks(max.min(MAX_ASKED)) {
            found.extend(in_use(numbers).filter_map(look_at));
            if count.is_some_and(|count| found.len() >= count) {
                return found;
            }
        }
        if count.is_none() {
            return found;
        }
        // A number is above the limit, which was lowered after it was given out.
    }
    match listed(list) {
        Ok(descriptors) => descriptors.into_iter().filter_map(look_at).collect(),
        // The list may be missing, as in a chroot without /proc.
        Err(_) => chunks(max.min(MAX_ASKED)).flat_map(in_use).filter_map(look_at).collect(),
    }
}

/// The number of open descriptors: since Linux 6.2, the length of the list (proc(5)). Asking for it
/// takes a tenth of the time of reading the list.
fn count(list: &Path) -> Option<usize> {
    let length = fs::metadata(list).ok()?.len();
    usize::try_from(length).ok().filter(|count| *count > 0)
}

/// The open descriptors of this process.
fn listed(list: &Path) -> io::Result<Vec<RawFd>> {
    let mut descriptors = Vec::new();
    for entry in fs::read_dir(list)? {
        let name = entry?.file_name();
        let descriptor = name.to_str().and_then(|name| name.parse().ok());
        descriptors.push(descriptor.ok_or(io::ErrorKind::InvalidData)?);
    }
    // Reading the list takes a descriptor, which is in the list. So it cannot be empty.
    if descriptors.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(descriptors) }
}

/// The number of descriptors that this process may have.
fn max_descriptors() -> RawFd {
    // SAFETY: takes a number and returns one.
    let max = unsafe { libc::sysconf(libc::_SC_OPEN_MAX) };
    RawFd::try_from(max).unwrap_or(RawFd::MAX)
}

/// The numbers below `end`, in ranges that one call can ask for.
fn chunks(end: RawFd) -> impl Iterator<Item = Range<RawFd>> {
    let length = RawFd::try_from(CHUNK).unwrap_or(1);
    (0..end).step_by(CHUNK).map(move |first| first..first.saturating_add(length).min(end))
}

/// Those of at most `CHUNK` numbers that are, or may be, in use.
fn in_use(numbers: Range<RawFd>) -> impl Iterator<Item = RawFd> {
    let unused = libc::pollfd { fd: -1, events: 0, revents: 0 };
    let mut chunk = [unused; CHUNK];
    for (place, number) in chunk.iter_mut().zip(numbers) {
        place.fd = number;
    }
    let length = libc::nfds_t::try_from(CHUNK).unwrap_or(0);
    // SAFETY: the kernel reads and writes `length` structures, which the array has. It does not
    // wait. No event is asked for, so it only reports the numbers that are not open.
    let answered = unsafe { libc::poll(chunk.as_mut_ptr(), length, 0) } >= 0;
    chunk.into_iter().filter_map(move |place| {
        let is_free = place.fd < 0 || answered && place.revents & libc::POLLNVAL != 0;
        (!is_free).then_some(place.fd)
    })
}

/// Looks at a descriptor; `None` for a number that is not in use.
fn look_at(descriptor: RawFd) -> Option<Open> {
    let mut found = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the kernel writes a whole `stat` to the place, which has room for it, and keeps no
    // pointer. Any number may be given: one that is not in use is EBADF, and nothing changes for
    // one that is.
    if unsafe { libc::fstat(descriptor, found.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: the call has succeeded, so it has filled in the structure.
    let found = unsafe { found.assume_init() };
    let is_regular = found.st_mode & libc::S_IFMT == libc::S_IFREG;
    Some(Open { descriptor, file: (found.st_dev, found.st_ino), is_regular })
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsRawFd;

    use super::*;

    fn claim(path: &Path) -> Result<Claim, String> {
        Claim::new(path, &fs::metadata(path).unwrap())
    }

    #[test]
    fn a_database_that_something_else_has_open_is_not_claimed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("authpolicy.db");
        for file in files(&path) {
            File::create(file).unwrap();
        }
        drop(claim(&path).unwrap());
        for file in files(&path) {
            let foreign = File::open(&file).unwrap();
            let message = claim(&path).unwrap_err();
            let place = format!("{} open (descriptor {})", file.display(), foreign.as_raw_fd());
            assert!(message.contains(&place), "{message}");
            drop(foreign);
            drop(claim(&path).unwrap());
        }
    }

    #[test]
    fn a_second_connection_of_ours_does_not_take_the_first_for_foreign() {
        let directory = tempfile::tempdir().unwrap();
        let [path, other] = ["authpolicy.db", "other.db"].map(|name| directory.path().join(name));
        let first = claim(&{
            File::create(&path).unwrap();
            path.clone()
        })
        .unwrap();
        let descriptor = File::open(&path).unwrap();
        let second = claim(&path).unwrap();
        // Each database by itself.
        let of_other = File::create(&other).unwrap();
        claim(&other).unwrap_err();
        drop((of_other, first));
        drop(claim(&path).unwrap());
        drop(second);
        claim(&path).unwrap_err();
        drop(descriptor);
        claim(&path).unwrap();
    }

    #[test]
    fn descriptors_are_found_with_and_without_a_list() {
        let directory = tempfile::tempdir().unwrap();
        let open = File::create(directory.path().join("authpolicy.db")).unwrap();
        let wanted = open.as_raw_fd();
        assert!(listed(Path::new(LIST)).unwrap().contains(&wanted));
        let numbers = |end| chunks(end).flat_map(in_use).collect::<Vec<_>>();
        assert!(numbers(FEW).contains(&wanted));
        assert!(numbers(MAX_ASKED).contains(&wanted));
        assert!(numbers(wanted.checked_add(1).unwrap()).contains(&wanted));
        assert!(!numbers(wanted).contains(&wanted));
        assert!(numbers(FEW).len() < 1000, "free numbers are not among them");
        let file = id(&open.metadata().unwrap());
        let found = Open { descriptor: wanted, file, is_regular: true };
        assert_eq!(look_at(wanted).as_ref(), Some(&found));
        // A length of 0, as before Linux 6.2, and the numbers of another directory.
        let elsewhere = directory.path().join("fd");
        for list in [Path::new(LIST), &elsewhere] {
            assert!(open_descriptors(list).contains(&found), "{}", list.display());
        }
        assert_eq!(look_at(-1), None);
        // Nothing there, and nothing mounted there.
        listed(&directory.path().join("fd")).unwrap_err();
        fs::remove_file(directory.path().join("authpolicy.db")).unwrap();
        listed(directory.path()).unwrap_err();
    }
}
