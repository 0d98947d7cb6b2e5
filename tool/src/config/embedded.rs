//! Checks of the embedded database: its file is whole, and no Exim process keeps it open.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use crate::long_deadline;
use crate::progress::Progress;
use authpolicy::config::Config;
use authpolicy::config::Database;
use authpolicy::error::Error;
use authpolicy::store::Store;

/// The pause before the second look at a process. An attempt closes the database sooner, unless its
/// hash is very expensive.
const PAUSE: Duration = Duration::from_secs(1);

/// An Exim process that keeps a database open.
#[derive(PartialEq, Eq)]
pub(super) struct Holder {
    pid: u32,
    database: PathBuf,
}

/// Reads the whole of each embedded database, and warns of processes that keep one open.
pub(super) fn check(config: &Config, holders: &[Holder]) -> Result<String, Error> {
    let databases = embedded(config);
    if databases.is_empty() {
        return Ok(String::from("ok not used"));
    }
    for path in databases {
        let database = Database::Sqlite(path.to_owned());
        let _progress = Progress::of_step(&format!("reading all of {}", path.display()));
        Store::open(&database, long_deadline(config)).and_then(|mut store| store.check())?;
    }
    let Some(Holder { pid, database }) = holders.first() else {
        return Ok(String::from("ok the database is whole"));
    };
    Ok(format!(
        "warning Exim's process {pid} keeps {} open: if that is Exim's own doing, each AUTH there is a 435, \
         since two SQLites in one process lose rows. Remove the ${{lookup sqlite}}, sqlite_dbfile or embedded \
         Perl that opens it from Exim's configuration, or let it read a copy made by `authpolicy db backup`",
        database.display()
    ))
}

fn embedded(config: &Config) -> Vec<&Path> {
    let (accounts, log) = (&config.accounts.database, &config.log.database);
    let databases = std::iter::once(accounts).chain((!log.is_same(accounts)).then_some(log));
    let paths = databases.filter_map(|database| match database {
        Database::Sqlite(path) => Some(path.as_path()),
        Database::MySql(_) => None,
    });
    paths.collect()
}

/// The Exim processes that keep an embedded database open; empty if this user may not see them.
pub(super) fn find_holders(config: &Config) -> Vec<Holder> {
    let mut holders: Vec<_> = embedded(config).into_iter().flat_map(holders_of).collect();
    if !holders.is_empty() {
        std::thread::sleep(PAUSE);
        let later: Vec<_> = embedded(config).into_iter().flat_map(holders_of).collect();
        holders.retain(|holder| later.contains(holder));
    }
    holders
}

fn holders_of(database: &Path) -> Vec<Holder> {
    let id = |path: &Path| path.metadata().ok().map(|meta| (meta.dev(), meta.ino()));
    let Some(wanted) = id(database) else { return Vec::new() };
    let entries = |path: &Path| fs::read_dir(path).into_iter().flatten().filter_map(Result::ok);
    let mut holders = Vec::new();
    for process in entries(Path::new("/proc")) {
        let pid = process.file_name().to_str().and_then(|name| name.parse().ok());
        let Some(pid) = pid.filter(|_| is_exim(&process.path())) else { continue };
        if entries(&process.path().join("fd")).any(|entry| id(&entry.path()) == Some(wanted)) {
            holders.push(Holder { pid, database: database.to_owned() });
        }
    }
    holders
}

fn is_exim(process: &Path) -> bool {
    let program = fs::read_link(process.join("exe")).unwrap_or_default();
    program.file_name().is_some_and(|name| name.to_string_lossy().starts_with("exim"))
}
