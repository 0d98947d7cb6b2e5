//! The state of this process: the configuration, the GeoIP files and the latest verdict.
//!
//! Exim serves each SMTP connection in its own process, so this is the session of one client. The
//! daemon that the process was forked from may have loaded the files already (`preload`). So each
//! process checks once if they have changed since. It uses no other state of a parent process.
//!
//! The daemon itself may also call `country` and `allow`, for one client after another. So these
//! functions check the files each time, unless a parent process has preloaded them.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use crate::attempt::Proof;
use crate::attempt::Ticket;
use crate::check::Allowed;
use crate::config;
use crate::config::Config;
use crate::error::Error;
use crate::geo::Asns;
use crate::geo::Geo;
use crate::password::Keys;
use crate::shared::SharedMemory;
use crate::tables::counters::AttemptLimits;
use crate::verdict::Verdict;
use crate::warm;

/// The state of this process.
#[derive(Default)]
pub(crate) struct Session {
    pid: u32,
    settings: Vec<(PathBuf, LoadedConfig)>,
    /// The verdict of the latest attempt, for `last`.
    pub last: Option<Verdict>,
    /// The authcid and the account's name of an attempt that `authorize` has decided, and `finish`
    /// has not ended yet.
    pub authorized: Option<(Vec<u8>, String)>,
    /// An attempt whose driver has called `secret` or `scram`.
    pub exchange: Option<DriverExchange>,
    /// The decisions of `allow`, in order; the latest is last.
    allowed: Vec<AllowedRemote>,
    /// The row of the call in progress, once it has an id.
    pub ticket: Option<Arc<Ticket>>,
    /// The memory that the daemon and all processes that it forks share.
    pub shared: Option<&'static SharedMemory>,
}

/// A decision of `allow` for one address and one configuration.
struct AllowedRemote {
    /// `None` if the call could not be parsed: then the decision holds for all configurations.
    config: Option<PathBuf>,
    remote: String,
    allowed: Allowed,
}

/// The results of `secret` and `scram` that `finish` needs.
pub(crate) struct DriverExchange {
    /// The authcid as Exim passed it.
    pub authcid: Vec<u8>,
    /// The start of the attempt.
    pub start: Instant,
    /// The proof of the attempt if `authorize` is not called.
    pub proof: Proof,
    /// The attempt's counters and reservations.
    pub attempt_limits: Option<AttemptLimits>,
    /// The keys that `scram` returns.
    pub scram: Option<ScramExchange>,
}

/// The SCRAM keys of one attempt. The driver asks for each of them in its own call.
pub(crate) struct ScramExchange {
    /// The SCRAM keys sent to the driver.
    pub keys: Keys,
    /// True if the driver has asked for a key that it needs only to verify the client's proof.
    pub has_proof: bool,
}

/// One configuration, and the GeoIP files it names.
pub(crate) struct LoadedConfig {
    /// The content of `authpolicy.toml`.
    pub config: Config,
    /// The files of `geoip.database`.
    pub geo: Option<Geo>,
    /// The files of `geoip.asn_database`.
    pub asns: Option<Asns>,
    read_from: FileStamps,
    /// True if this process has checked that the files have not changed.
    is_checked: bool,
    /// The process that called `preload`.
    preloaded_by: Option<u32>,
}

/// The state of the files before they were read.
#[derive(PartialEq, Eq)]
struct FileStamps {
    config: Option<Stamp>,
    geoip: Vec<Option<Stamp>>,
    asns: Vec<Option<Stamp>>,
}

impl FileStamps {
    fn of_config(config: &Config, itself: Option<Stamp>) -> Self {
        let stamps = |paths: &[PathBuf]| paths.iter().map(|path| Stamp::of(path)).collect();
        Self { config: itself, geoip: stamps(&config.geoip), asns: stamps(&config.asn_database) }
    }
}

/// The properties of a file that change with its content, its owner and its permissions.
#[derive(PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    written: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let meta = path.metadata().ok()?;
        Some(Self {
            device: meta.dev(),
            inode: meta.ino(),
            length: meta.len(),
            written: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        })
    }
}

impl LoadedConfig {
    /// Reads a configuration, and opens the files that it names.
    ///
    /// # Errors
    /// It cannot be read, or is wrong.
    pub(crate) fn load(path: &Path) -> Result<Self, Error> {
        let before = Stamp::of(path);
        let config = Config::load(path)?;
        let read_from = FileStamps::of_config(&config, before);
        let geo = Geo::from_paths(&config.geoip);
        let asns = Asns::from_paths(&config.asn_database);
        Ok(Self { config, geo, asns, read_from, is_checked: true, preloaded_by: None })
    }

    fn is_current(&self, path: &Path) -> bool {
        self.read_from == FileStamps::of_config(&self.config, Stamp::of(path))
    }
}

impl Session {
    /// The state of a process that has not been called yet.
    #[must_use]
    pub(crate) const fn new() -> Self {
        Self {
            pid: 0,
            settings: Vec::new(),
            last: None,
            authorized: None,
            exchange: None,
            allowed: Vec::new(),
            ticket: None,
            shared: None,
        }
    }

    /// Forgets the state of a parent process, except files that have not changed.
    pub(crate) fn renew(&mut self, pid: u32) {
        if self.pid != pid {
            self.pid = pid;
            self.last = None;
            self.authorized = None;
            self.exchange = None;
            self.allowed.clear();
            self.recheck();
        }
    }

    /// Forgets the attempt before. Until this one is decided, and after a panic, `last` returns
    /// "cannot tell".
    pub(crate) fn begin(&mut self) {
        self.last = Some(Verdict::cannot_tell(String::new()));
        self.authorized = None;
        self.exchange = None;
    }

    /// Keeps a decision of `allow` for this connection. If `config` is `None`, it holds for all
    /// configurations.
    pub(crate) fn remember_allowed(
        &mut self,
        config: Option<&Path>,
        remote: String,
        allowed: Allowed,
    ) {
        self.allowed.retain(|known| known.config.as_deref() != config);
        let config = config.map(Path::to_owned);
        self.allowed.push(AllowedRemote { config, remote, allowed });
    }

    /// Returns the latest decision of `allow` for this address and this configuration.
    #[must_use]
    pub(crate) fn allowed(&self, config: Option<&str>, remote: &str) -> Option<Allowed> {
        let config = path(config);
        let is_this = |known: &&AllowedRemote| {
            known.remote == remote && known.config.as_deref().is_none_or(|known| known == config)
        };
        self.allowed.iter().rev().find(is_this).map(|known| known.allowed.clone())
    }

    fn recheck(&mut self) {
        for (_, settings) in &mut self.settings {
            settings.is_checked = false;
        }
    }

    /// The configuration for a function that the daemon may call. Checks if the files have changed,
    /// unless a parent process has preloaded them.
    ///
    /// # Errors
    /// It cannot be read, or is wrong.
    pub(crate) fn current_settings(
        &mut self,
        config: Option<&str>,
    ) -> Result<&LoadedConfig, Error> {
        let pid = self.pid;
        for (_, settings) in &mut self.settings {
            let is_inherited = settings.preloaded_by.is_some_and(|by| by != pid);
            settings.is_checked = settings.is_checked && is_inherited;
        }
        self.settings(config)
    }

    /// Reads the files that an attempt will need, or reads them again if they have changed. Makes the
    /// shared memory if the configuration wants it. All processes that this one forks inherit it.
    ///
    /// # Errors
    /// The configuration or a GeoIP file cannot be read, or is wrong. Each attempt reports that too.
    pub(crate) fn preload(&mut self, config: Option<&str>) -> Result<(), Error> {
        self.recheck();
        let pid = self.pid;
        let settings = self.settings_mut(config)?;
        settings.preloaded_by = Some(pid);
        warm::warm(&settings.config);
        let geo = settings.geo.as_mut().map_or(Ok(()), Geo::preload);
        let preloaded = geo.and(settings.asns.as_mut().map_or(Ok(()), Asns::preload));
        if settings.config.accounts.want_shared_memory() && self.shared.is_none() {
            // Without memory, each attempt asks the database and hashes.
            self.shared = SharedMemory::new().map(|memory| &*Box::leak(Box::new(memory)));
        }
        preloaded
    }

    /// The configuration at this path, or at the default one; read once, and again after an error.
    ///
    /// # Errors
    /// It cannot be read, or is wrong.
    pub(crate) fn settings(&mut self, config: Option<&str>) -> Result<&LoadedConfig, Error> {
        self.settings_mut(config).map(|settings| &*settings)
    }

    fn settings_mut(&mut self, config: Option<&str>) -> Result<&mut LoadedConfig, Error> {
        let path = path(config);
        let known = self.settings.iter().position(|(known, _)| known == path);
        let mut settings = known.map(|index| self.settings.swap_remove(index).1);
        if let Some(settings) = settings.as_mut().filter(|settings| !settings.is_checked) {
            settings.is_checked = settings.is_current(path);
        }
        let settings = match settings.filter(|settings| settings.is_checked) {
            Some(settings) => settings,
            None => LoadedConfig::load(path)?,
        };
        self.settings.push((path.to_owned(), settings));
        self.settings
            .last_mut()
            .map(|(_, settings)| settings)
            .ok_or_else(|| Error::Config { file: path.to_owned(), what: String::from("was lost") })
    }
}

/// The path of the configuration that a call names, or of the default one.
#[must_use]
pub(crate) fn path(config: Option<&str>) -> &Path {
    Path::new(config.unwrap_or(config::DEFAULT_PATH))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusing(why: &str) -> Allowed {
        Allowed { rule: None, error: Some(why.to_owned()) }
    }

    fn remembered(session: &Session, config: Option<&str>, remote: &str) -> String {
        session.allowed(config, remote).and_then(|allowed| allowed.error).unwrap_or_default()
    }

    #[test]
    fn allow_is_remembered_per_configuration_and_address() {
        let mut session = Session::new();
        session.renew(1);
        let (default, other) = (config::DEFAULT_PATH, "/etc/other.toml");
        session.remember_allowed(Some(path(None)), String::from("192.0.2.7"), refusing("first"));
        session.remember_allowed(Some(path(Some(other))), String::from("192.0.2.7"), refusing("o"));
        assert_eq!(remembered(&session, None, "192.0.2.7"), "first");
        assert_eq!(remembered(&session, Some(default), "192.0.2.7"), "first");
        assert_eq!(remembered(&session, Some(other), "192.0.2.7"), "o");
        assert_eq!(remembered(&session, Some("/etc/third.toml"), "192.0.2.7"), "");
        assert_eq!(remembered(&session, None, "192.0.2.8"), "");
        // A call that cannot be parsed may have been about any configuration.
        session.remember_allowed(None, String::from("192.0.2.7"), refusing("broken"));
        assert_eq!(remembered(&session, Some("/etc/third.toml"), "192.0.2.7"), "broken");
        assert_eq!(remembered(&session, None, "192.0.2.7"), "broken");
        session.remember_allowed(Some(path(None)), String::from("192.0.2.7"), refusing("again"));
        assert_eq!(remembered(&session, None, "192.0.2.7"), "again");
        assert_eq!(remembered(&session, Some(other), "192.0.2.7"), "broken");
        session.renew(2);
        assert_eq!(remembered(&session, None, "192.0.2.7"), "", "it is the parent's");
    }
}
