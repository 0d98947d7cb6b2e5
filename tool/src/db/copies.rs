//! `authpolicy db backup` and `authpolicy db restore`: the embedded database as one file.

use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use clap::Args;
use clap::ValueEnum;
use nix::unistd::Uid;

use super::source;
use crate::Done;
use crate::long_deadline;
use crate::owner;
use crate::progress::Progress;
use crate::say;
use authpolicy::config::Config;
use authpolicy::config::Database;
use authpolicy::error::Error;
use authpolicy::store;
use authpolicy::store::Incoming;
use authpolicy::store::Sql;

/// A database of the configuration.
#[derive(Clone, ValueEnum)]
enum DatabaseName {
    Accounts,
    Log,
}

#[derive(Args)]
struct DatabaseArgument {
    /// The database, if accounts and log are in two embedded databases.
    #[arg(long, value_enum)]
    of: Option<DatabaseName>,
}

#[derive(Args)]
pub(crate) struct BackupArguments {
    /// The new file; `-` for standard output.
    file: PathBuf,
    #[command(flatten)]
    which: DatabaseArgument,
}

#[derive(Args)]
pub(crate) struct RestoreArguments {
    /// The file that `backup` has written. A file with this name and `-wal` beside it is read, too.
    file: PathBuf,
    #[command(flatten)]
    which: DatabaseArgument,
}

/// The chosen database, and the configured statements that its tables must fit.
struct ChosenDatabase<'a> {
    path: &'a Path,
    statements: Vec<Sql<'a>>,
}

/// Copies the database to a file that only the caller can read.
pub(super) fn back_up(config: Config, copy: &BackupArguments) -> Done {
    let database = choose(&config, &copy.which)?.path.to_owned();
    if copy.file == Path::new("-") {
        let to = io::stdout().as_fd().try_clone_to_owned();
        let to = to.map_err(|source| system(Path::new("standard output"), source))?;
        return write(config, &copy.which, &to.into());
    }
    is_elsewhere(&config, &copy.file)?;
    let file = create(&copy.file).map_err(|source| system(&copy.file, source))?;
    let done = match Uid::effective().is_root() {
        true => write_by_child(&config, copy, &file),
        false => write(config, &copy.which, &file),
    };
    if done.is_err() && file.set_len(0).is_ok() && fs::remove_file(&copy.file).is_err() {
        eprintln!(
            "authpolicy: {} is empty and could not be deleted: delete it",
            copy.file.display()
        );
    }
    let length = done.and_then(|_| file.metadata().map_err(|source| system(&copy.file, source)))?;
    say(&format!("database={}", database.display()));
    say(&format!("backup={}", copy.file.display()));
    say(&format!("bytes={}", length.len()));
    Ok(true)
}

fn write(config: Config, which: &DatabaseArgument, file: &File) -> Done {
    let config = owner::become_owner(config)?;
    let chosen = choose(&config, which)?;
    let _progress = Progress::of_step(&format!("copying {}", chosen.path.display()));
    store::back_up(chosen.path, file, long_deadline(&config))?;
    Ok(true)
}

/// Does the work of `write` in a child process. The child becomes Exim's user, so that this process
/// stays root and can delete the file after a failure.
fn write_by_child(config: &Config, copy: &BackupArguments, file: &File) -> Done {
    let of = copy.which.of.as_ref().and_then(ValueEnum::to_possible_value);
    let of = of.iter().flat_map(|of| ["--of", of.get_name()]);
    let _progress = Progress::of_step("copying the database");
    let ran = std::env::current_exe().and_then(|tool| {
        let mut child = Command::new(tool);
        child.arg("--config").arg(&config.path).args(["db", "backup"]).args(of).arg("-");
        child.stdout(file.try_clone()?).stderr(Stdio::piped()).stdin(Stdio::null());
        child.spawn()?.wait_with_output()
    });
    let ran = ran.map_err(|source| system(&copy.file, source))?;
    if ran.status.success() {
        return Ok(true);
    }
    let message = String::from_utf8_lossy(&ran.stderr);
    let message = message.trim_end().trim_start_matches("authpolicy: ");
    let ended = || format!("the backup process failed: {}", ran.status);
    Err(Error::Call(if message.is_empty() { ended() } else { message.to_owned() }))
}

/// Puts a file in the database's place.
pub(super) fn restore(config: Config, copy: &RestoreArguments) -> Done {
    let (file, wal) = {
        let owners = owner::trusted(&config);
        let chosen = choose(&config, &copy.which)?;
        source::open(&copy.file, &owners, chosen.path)?
    };
    owner::make_state_directory(&config.state_directory)?;
    owner::make_database_directories(&config)?;
    let config = owner::become_owner(config)?;
    let chosen = choose(&config, &copy.which)?;
    let progress = Progress::of_step(&format!("restoring {}", chosen.path.display()));
    let from = Incoming { name: &copy.file, file: &file, wal: wal.as_ref() };
    let aside = store::restore(chosen.path, &from, &chosen.statements, long_deadline(&config))?;
    progress.finish();
    say(&format!("restored={}", chosen.path.display()));
    if let Some(aside) = aside {
        say(&format!("aside={}", aside.display()));
    }
    Ok(true)
}

/// Chooses the embedded database of the configuration; if there are two, the one that `--of` names.
fn choose<'a>(config: &'a Config, which: &DatabaseArgument) -> Result<ChosenDatabase<'a>, Error> {
    let embedded = |database: &'a Database| match database {
        Database::Sqlite(path) => Some(path.as_path()),
        Database::MySql(_) => None,
    };
    let (accounts, log) = (embedded(&config.accounts.database), embedded(&config.log.database));
    let fail = |what: &str| Error::Config { file: config.path.clone(), what: String::from(what) };
    let path = match (which.of.as_ref(), accounts, log) {
        (None, Some(accounts), Some(log)) if accounts != log => {
            return Err(fail("names two embedded databases: add --of accounts or --of log"));
        }
        (None, Some(path), _) | (None, None, Some(path)) => path,
        (Some(DatabaseName::Accounts), Some(path), _)
        | (Some(DatabaseName::Log), _, Some(path)) => path,
        (None, None, None)
        | (Some(DatabaseName::Accounts), None, _)
        | (Some(DatabaseName::Log), _, None) => {
            return Err(fail(
                "names no embedded database here: use the tools of the database server, such as \
                 mariadb-dump",
            ));
        }
    };
    let mut statements = Vec::new();
    if accounts == Some(path) {
        statements.push(Sql::configured(&config.accounts.query));
    }
    if log == Some(path) {
        statements.push(Sql::configured(&config.log.insert));
    }
    Ok(ChosenDatabase { path, statements })
}

/// Rejects a file in the state directory. A backup there would be lost with the directory, and
/// Exim's user could redirect root's backup to another place.
fn is_elsewhere(config: &Config, file: &Path) -> Result<(), Error> {
    let directory = match file.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => file,
    };
    let directory = directory.canonicalize().map_err(|source| system(directory, source))?;
    let state = config.state_directory.canonicalize();
    if state.is_ok_and(|state| directory.starts_with(state)) {
        let source = io::Error::other("is in the state directory: name a file outside of it");
        return Err(system(file, source));
    }
    Ok(())
}

/// Makes a file that only the caller can use. An existing file must belong to the caller and be
/// empty.
fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    match options.clone().create_new(true).open(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        made => return made,
    }
    let meta = path.symlink_metadata()?;
    let is_ours = meta.uid() == Uid::effective().as_raw() && meta.mode() & 0o077 == 0;
    if !(is_ours && meta.is_file() && meta.len() == 0 && meta.nlink() == 1) {
        return Err(io::Error::other("exists, and is not overwritten: name a new file"));
    }
    options.open(path)
}

fn system(place: &Path, source: io::Error) -> Error {
    Error::System { place: place.display().to_string(), source }
}
