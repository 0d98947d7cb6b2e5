//! The change of user: as root, the tool switches to the user that owns the state directory, Exim's
//! user, before it uses a file there. Files that root has made in a database's directory would make
//! each AUTH a 435.

mod directories;

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::AccessFlags;
use nix::unistd::Gid;
use nix::unistd::Uid;
use nix::unistd::User;
use nix::unistd::access;

pub(super) use self::directories::make_database_directories;
pub(super) use self::directories::make_state_directory;
pub(super) use self::directories::trusted;
use authpolicy::config::Config;
use authpolicy::config::Database;
use authpolicy::error::Error;

/// Switches to the user that owns the state directory. Reads the configuration again as that user,
/// because Exim has to be able to read it.
pub(super) fn become_owner(config: Config) -> Result<Config, Error> {
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    if !Uid::effective().is_root() {
        return check_access(config);
    }
    let directory = &config.state_directory;
    let place = directory.display().to_string();
    let Ok(meta) = directory.symlink_metadata() else {
        return without_directory(config, place);
    };
    let fail = |source| Error::System { place: place.clone(), source };
    if meta.uid() == 0 || !meta.is_dir() {
        return Err(fail(io::Error::other(
            "is not a directory of Exim's user: chown it, as with `chown -R Debian-exim: DIRECTORY`, or \
             correct state.directory",
        )));
    }
    let (uid, gid) = (Uid::from_raw(meta.uid()), Gid::from_raw(meta.gid()));
    let user = User::from_uid(uid).ok().flatten();
    let gid = user.as_ref().map_or(gid, |user| user.gid);
    let name = user.map(|user| user.name).unwrap_or_default();
    match std::ffi::CString::new(name.clone()) {
        Ok(name) if !name.is_empty() => nix::unistd::initgroups(&name, gid),
        Ok(_) | Err(_) => nix::unistd::setgroups(&[gid]),
    }
    .and_then(|()| nix::unistd::setgid(gid))
    .and_then(|()| nix::unistd::setuid(uid))
    .map_err(|e| fail(e.into()))?;
    let config = Config::load(&config.path).map_err(|e| {
        let source = io::Error::other(format!("as Exim's user, {name} (uid {uid}): {e}"));
        Error::System { place: String::from("the configuration"), source }
    })?;
    check_access(config)
}

/// Fails if there is an embedded database. Without one, root makes no file of the wrong owner.
fn without_directory(config: Config, place: String) -> Result<Config, Error> {
    if !is_embedded(&config) {
        return Ok(config);
    }
    let source =
        io::Error::other("is missing: run `authpolicy db init`, or correct state.directory");
    Err(Error::System { place, source })
}

/// Fails if this user may not enter a state directory that has an embedded database. The database
/// would only seem to be missing.
fn check_access(config: Config) -> Result<Config, Error> {
    let directory = &config.state_directory;
    let is_there = |database: &&Database| matches!(database, Database::Sqlite(path) if path.starts_with(directory));
    if [&config.accounts.database, &config.log.database].iter().any(is_there) {
        check_entry(&config)?;
    }
    Ok(config)
}

fn is_embedded(config: &Config) -> bool {
    let databases = [&config.accounts.database, &config.log.database];
    databases.iter().any(|database| matches!(database, Database::Sqlite(_)))
}

/// Fails if this user may not enter the state directory. The error names it, or the directory above
/// it that is closed.
pub(super) fn check_entry(config: &Config) -> Result<(), Error> {
    let directory = &config.state_directory;
    let mut from_above: Vec<_> = directory.ancestors().collect();
    from_above.reverse();
    let closed = |path: &&&Path| access(**path, AccessFlags::X_OK) == Err(Errno::EACCES);
    let Some(closed) = from_above.iter().find(closed) else { return Ok(()) };
    let what = match closed == directory {
        true => "it is state.directory: chown it to Exim's user, and chmod it to 700",
        false => "it is above state.directory: let Exim's user through with chmod o+x",
    };
    let uid = Uid::effective();
    let source = io::Error::other(format!("may not be entered by uid {uid}: {what}"));
    Err(Error::System { place: closed.display().to_string(), source })
}
