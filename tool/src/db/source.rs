//! The files that `authpolicy db restore` reads. The caller may be root, and other users may be
//! able to write to the directory. So a file that another user could have written is refused.

use std::fs::File;
use std::fs::Metadata;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;

use nix::errno::Errno;

use authpolicy::error::Error;

/// Opens a backup, and the WAL beside it if there is one. The backup must belong to one of these
/// users, and the WAL to the owner of the backup.
pub(super) fn open(
    path: &Path,
    owners: &[u32],
    database: &Path,
) -> Result<(File, Option<File>), Error> {
    let fail = |path: &Path, source| Error::System { place: path.display().to_string(), source };
    let (file, meta) = open_file(path, database).map_err(|source| fail(path, source))?;
    if !owners.contains(&meta.uid()) {
        let what = format!(
            "belongs to uid {}, and not to you or Exim's user: if you trust its contents, copy it and restore \
             the copy",
            meta.uid()
        );
        return Err(fail(path, io::Error::other(what)));
    }
    let wal = with_wal(path);
    match open_wal(&wal, database, meta.uid()) {
        Ok(file_of_wal) => Ok((file, Some(file_of_wal))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok((file, None)),
        Err(e) => Err(fail(&wal, e)),
    }
}

fn open_wal(path: &Path, database: &Path, owner: u32) -> io::Result<File> {
    let (file, meta) = open_file(path, database)?;
    if meta.uid() != owner {
        return Err(io::Error::other(format!(
            "belongs to uid {}, and the backup to uid {owner}: delete it, or, if you trust its contents, give \
             it to uid {owner}",
            meta.uid()
        )));
    }
    // Users who may not read a file can still give it another name.
    if meta.nlink() > 1 {
        let what =
            "has other names: delete it, or, if it belongs to the backup, replace it by a copy";
        return Err(io::Error::other(what));
    }
    Ok(file)
}

/// Opens a regular file that only its owner may write. A link is not followed.
fn open_file(path: &Path, database: &Path) -> io::Result<(File, Metadata)> {
    let mut options = OpenOptions::new();
    // An open FIFO would wait for a writer.
    options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let file = options.open(path).map_err(|e| match e.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ELOOP) => {
            io::Error::other("is a link, which is not followed: give the file that it leads to")
        }
        Some(Errno::ENXIO) => not_regular(),
        Some(_) | None => e,
    })?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(not_regular());
    }
    is_not_database(&meta, database)?;
    if meta.mode() & 0o022 != 0 {
        let what = "can be written by other users: if you trust its contents, `chmod go-w` it";
        return Err(io::Error::other(what));
    }
    Ok((file, meta))
}

fn not_regular() -> io::Error {
    io::Error::other("is not a regular file")
}

/// Refuses the database itself. Closing it during the restore would drop SQLite's locks on it.
fn is_not_database(meta: &Metadata, database: &Path) -> io::Result<()> {
    let id = |meta: &Metadata| (meta.dev(), meta.ino());
    for known in [database, &with_wal(database)] {
        if known.metadata().is_ok_and(|known| id(&known) == id(meta)) {
            return Err(io::Error::other("is the database itself: name a backup"));
        }
    }
    Ok(())
}

fn with_wal(path: &Path) -> PathBuf {
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    wal.into()
}
