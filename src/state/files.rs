//! Checks the owner and the mode of files in the state directory before they are used.
//!
//! All of them belong to Exim's user, and no other user may read or write them. A file that another
//! user could have written is not trusted. Links are not followed.

use std::fs::File;
use std::fs::Metadata;
use std::fs::OpenOptions;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::unistd::Uid;

/// The permissions of all other users.
const OTHERS: u32 = 0o077;
/// Their permissions to write.
const OTHERS_WRITE: u32 = 0o022;
/// The owner's permissions to read and write.
const OWNER: u32 = 0o600;

/// True if this user owns the file or directory.
#[must_use]
pub fn is_own(meta: &Metadata) -> bool {
    meta.uid() == Uid::effective().as_raw()
}

/// True if this user owns the file or directory, and other users have no permissions for it.
#[must_use]
pub fn is_private(meta: &Metadata) -> bool {
    is_own(meta) && meta.mode() & OTHERS == 0
}

/// True for the state directory if this user owns it and no other user can rename files in it.
#[must_use]
pub fn is_state_directory(meta: &Metadata) -> bool {
    meta.is_dir() && is_own(meta) && meta.mode() & OTHERS_WRITE == 0
}

/// True for a file of locks that is private. Root uses the file of Exim's user.
#[must_use]
pub fn is_lock_file(meta: &Metadata) -> bool {
    let is_owner = is_own(meta) || Uid::effective().is_root();
    meta.is_file() && is_owner && meta.mode() & OTHERS == 0
}

/// True for a file of rows that only this user may write, and that has one hard link, or none if it
/// was just deleted. Other users may be able to read it, as after a restore. Their reading affects
/// no decision, and refusing the file would delay its rows.
#[must_use]
pub fn is_journal_file(meta: &Metadata) -> bool {
    let mode = meta.mode() & (OWNER | OTHERS_WRITE);
    meta.is_file() && is_own(meta) && mode == OWNER && meta.nlink() <= 1
}

/// Takes all permissions of other users away from an open file, if this user owns it. Returns the
/// file's metadata afterwards.
///
/// # Errors
/// The permissions cannot be changed.
pub fn make_private(file: &File) -> io::Result<Metadata> {
    let meta = file.metadata()?;
    if is_own(&meta) && !is_private(&meta) {
        file.set_permissions(Permissions::from_mode(OWNER))?;
        return file.metadata();
    }
    Ok(meta)
}

/// Opens a private file to read it.
///
/// # Errors
/// The file is missing or a link, or another user owns it or may read or write it.
pub fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let file = options.open(path)?;
    let meta = file.metadata()?;
    if meta.is_file() && is_private(&meta) {
        return Ok(file);
    }
    Err(io::Error::other(format!(
        "belongs to uid {}, mode {:04o}, and others may have read or written it: delete it, and \
         another one is made",
        meta.uid(),
        meta.mode() & 0o7777
    )))
}

/// Creates a private file to write it.
///
/// # Errors
/// The file exists, or cannot be created.
pub fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(OWNER).custom_flags(libc::O_NOFOLLOW);
    options.open(path)
}
