//! Keeps the file of the WAL's index from one process to the next.
//!
//! The index (`-shm`) is a file that all processes map. The first process to open the database must
//! not trust it, because a power failure may have damaged it. So SQLite cuts the file to three
//! bytes, makes it as long as before, byte by byte, and reads the WAL to fill it. Here, each
//! connection is a process, and nearly each one is the first.
//!
//! Cutting the file is not needed for that. SQLite reads the WAL if the header of the index is not
//! valid, and it clears each part of the index before it adds the first frame to it (`walIndexRecover`
//! and `walIndexAppend` in sqlite3.c, or any WAL that starts anew). So a header of zeros has the
//! same effect, and the pages of the file stay in memory and on the disk. Locks and order are
//! SQLite's: it calls this function while it holds the exclusive lock of the first process.
#![allow(unsafe_code, reason = "replaces a system call in SQLite's table of them")]

use std::ffi::c_int;
use std::fs::File;
use std::mem::ManuallyDrop;
use std::os::fd::FromRawFd;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::MetadataExt;
use std::ptr;
use std::sync::Once;

use rusqlite::ffi;

/// The length in bytes to which SQLite cuts an index, and no other file.
const CUT: i64 = 3;
/// The length in bytes of an index with one region, for a WAL of up to 4062 frames.
const ONE_REGION: u64 = 32 * 1024;
/// The length in bytes of the header: two copies, and the state of checkpoints
/// (<https://www.sqlite.org/walformat.html>, 2.1).
const HEADER: usize = 136;
/// The unit of `st_blocks` in bytes.
const BLOCK: u64 = 512;

/// `int ftruncate(int fd, off_t length)`, with an `off_t` of 64 bits as in SQLite's build.
type Truncate = extern "C" fn(c_int, i64) -> c_int;

/// Makes SQLite keep the file. Applies to all connections of this process and of its children.
pub(super) fn keep() {
    static DONE: Once = Once::new();
    DONE.call_once(|| {
        // SAFETY: NULL asks for the default VFS. SQLite keeps it until the process ends.
        let vfs = unsafe { ffi::sqlite3_vfs_find(ptr::null()) };
        // SAFETY: the pointer is NULL or leads to a VFS that nothing changes.
        let set = unsafe { vfs.as_ref() }.and_then(|vfs| vfs.xSetSystemCall);
        let Some(set) = set else { return };
        // SAFETY: all pointers to functions have the same size. SQLite casts this one back to the
        // type of `ftruncate` before it calls it.
        let truncate = unsafe { std::mem::transmute::<Truncate, unsafe extern "C" fn()>(truncate) };
        // SAFETY: the name is NUL-terminated, and the function exists until the process ends,
        // because the plugin is never unloaded. A name that SQLite does not know is an error without
        // an effect.
        unsafe { set(vfs, c"ftruncate".as_ptr(), Some(truncate)) };
    });
}

/// Does what SQLite wants by cutting a file; -1 with `errno` if that fails.
extern "C" fn truncate(descriptor: c_int, length: i64) -> c_int {
    if descriptor < 0 {
        return -1;
    }
    // SAFETY: SQLite passes a descriptor of its own, which stays open during the call. It is not
    // closed here, because the value is never dropped. A negative number would panic.
    let file = ManuallyDrop::new(unsafe { File::from_raw_fd(descriptor) });
    if length == CUT && clear_header(&file) {
        return 0;
    }
    match u64::try_from(length).map(|length| file.set_len(length)) {
        Ok(Ok(())) => 0,
        Ok(Err(_)) | Err(_) => -1,
    }
}

/// Overwrites the header; false if the file has to be cut.
///
/// A file with holes is cut: SQLite would write to its map, and a disk that is full meanwhile would
/// end the process by SIGBUS. An index with several regions is cut, so that it does not stay long.
fn clear_header(file: &File) -> bool {
    let has_one_region = |meta: &std::fs::Metadata| {
        meta.len() == ONE_REGION && meta.blocks().saturating_mul(BLOCK) >= ONE_REGION
    };
    file.metadata().is_ok_and(|meta| has_one_region(&meta))
        && file.write_all_at(&[0; HEADER], 0).is_ok()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn only_the_header_of_a_whole_index_is_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("authpolicy.db-shm");
        let cut = |content: &[u8], length: i64| {
            fs::write(&path, content).unwrap();
            let file = File::options().read(true).write(true).open(&path).unwrap();
            file.sync_all().unwrap();
            assert_eq!(truncate(file.as_raw_fd(), length), 0);
            fs::read(&path).unwrap()
        };
        let whole = vec![7; 32 * 1024];
        let mut cleared = whole.clone();
        cleared[..HEADER].fill(0);
        assert_eq!(cut(&whole, CUT), cleared);
        assert_eq!(cut(&whole, 0), b"", "not an index");
        assert_eq!(cut(&whole[1..], CUT), [7; 3], "too short");
        assert_eq!(cut(&[7; 64 * 1024], CUT), [7; 3], "two regions");
        assert_eq!(truncate(-1, CUT), -1);
    }

    #[test]
    fn an_index_with_holes_is_cut() {
        let directory = tempfile::tempdir().unwrap();
        let file = File::create(directory.path().join("authpolicy.db-shm")).unwrap();
        file.set_len(ONE_REGION).unwrap();
        assert_eq!(truncate(file.as_raw_fd(), CUT), 0);
        assert_eq!(file.metadata().unwrap().len(), 3);
    }
}
