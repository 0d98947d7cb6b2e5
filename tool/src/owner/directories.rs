//! Makes missing directories for Exim's user, as root. An existing directory keeps its owner.

use std::fs::DirBuilder;
use std::fs::File;
use std::fs::Metadata;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::OFlag;
use nix::fcntl::openat;
use nix::sys::stat::Mode;
use nix::sys::stat::mkdirat;
use nix::unistd::Gid;
use nix::unistd::Uid;
use nix::unistd::User;
use nix::unistd::fchown;

use authpolicy::config::Config;
use authpolicy::config::Database;
use authpolicy::error::Error;

/// The names that distributions give to Exim's user.
const EXIM_USERS: &[&str] = &["Debian-exim", "exim", "mailnull"];

/// The users whose files the tool trusts: root, the caller, and Exim's user.
pub(crate) fn trusted(config: &Config) -> Vec<u32> {
    let exim = match config.state_directory.symlink_metadata() {
        Ok(state) => Some(state.uid()),
        Err(_) => known_user().map(|user| user.uid.as_raw()),
    };
    [0, Uid::effective().as_raw()].into_iter().chain(exim).collect()
}

/// Makes the state directory if it is missing, for Exim's user alone.
pub(crate) fn make_state_directory(directory: &Path) -> Result<(), Error> {
    if directory.exists() {
        return Ok(());
    }
    let fail = |what: String| Error::System {
        place: directory.display().to_string(),
        source: io::Error::other(what),
    };
    if !Uid::effective().is_root() {
        return DirBuilder::new().mode(0o700).create(directory).map_err(|e| {
            fail(format!(
                "cannot be made: {e}: make the directory above it, or correct state.directory"
            ))
        });
    }
    let user = known_user().ok_or_else(|| {
        fail(String::from(
            "is missing, and Exim's user is unknown: make it with `install -d -m 700 -o USER`, or correct \
             state.directory",
        ))
    })?;
    make_owned_by(directory, user.uid, user.gid)
        .map_err(|e| missing_directory(directory, &e, user.uid, "state.directory"))
}

/// Finds Exim's user by the names that distributions give to it.
fn known_user() -> Option<User> {
    EXIM_USERS.iter().find_map(|name| User::from_name(name).ok().flatten())
}

/// As root, makes the directories of embedded databases that are missing, for the owner of the
/// state directory.
pub(crate) fn make_database_directories(config: &Config) -> Result<(), Error> {
    let Ok(state) = config.state_directory.symlink_metadata() else { return Ok(()) };
    if !Uid::effective().is_root() || state.uid() == 0 || !state.is_dir() {
        // The owner is unknown: `become_owner` reports why.
        return Ok(());
    }
    let uid = Uid::from_raw(state.uid());
    let gid =
        User::from_uid(uid).ok().flatten().map_or(Gid::from_raw(state.gid()), |user| user.gid);
    let accounts = Some(&config.accounts.database).filter(|_| config.accounts.query_is_default);
    for database in accounts.into_iter().chain([&config.log.database]) {
        let Database::Sqlite(path) = database else { continue };
        let directory = path.parent().unwrap_or(path);
        if directory.symlink_metadata().is_err() {
            make_owned_by(directory, uid, gid)
                .map_err(|e| missing_directory(directory, &e, uid, "database.url"))?;
        }
    }
    Ok(())
}

/// Makes one directory, mode 0700. Only root may write above it, so that no other user can put a
/// link there.
fn make_owned_by(directory: &Path, uid: Uid, gid: Gid) -> io::Result<()> {
    let (Some(parent), Some(name)) = (directory.parent(), directory.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    // This resolves links.
    let parent = parent.canonicalize()?;
    for above in parent.ancestors().skip(1) {
        // In a sticky directory, other users cannot rename a directory of root.
        check_root_owned(above, &above.metadata()?, |mode| {
            mode & 0o022 == 0 || mode & 0o1000 != 0
        })?;
    }
    let above = open(&parent)?;
    check_root_owned(&parent, &above.metadata()?, |mode| mode & 0o022 == 0)?;
    let mode = Mode::from_bits_truncate(0o700);
    mkdirat(&above, name, mode)?;
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let made = openat(&above, name, flags, Mode::empty())?;
    Ok(fchown(&made, Some(uid), Some(gid))?)
}

fn check_root_owned(
    path: &Path,
    meta: &Metadata,
    is_closed: impl Fn(u32) -> bool,
) -> io::Result<()> {
    if meta.uid() == 0 && is_closed(meta.mode()) {
        return Ok(());
    }
    let path = path.display();
    Err(io::Error::other(format!("{path} above it is writable by users other than root")))
}

fn missing_directory(directory: &Path, e: &io::Error, uid: Uid, key: &str) -> Error {
    let place = directory.display().to_string();
    let user = User::from_uid(uid).ok().flatten().map_or(uid.to_string(), |user| user.name);
    let what = format!(
        "is missing and cannot be made: {e}. Make it with `install -d -m 700 -o {user} {place}`, or correct \
         {key}"
    );
    Error::System { place, source: io::Error::other(what) }
}

fn open(directory: &Path) -> io::Result<File> {
    let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
    OpenOptions::new().read(true).custom_flags(flags).open(directory)
}
