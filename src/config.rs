//! Reads and checks `authpolicy.toml`.
//!
//! A typo must not switch a rule off: unknown keys and impossible combinations are errors, with
//! file, line and key. This module reads only this file. The first attempt opens the files and
//! databases that it names.

mod accounts;
mod file;
mod id;
mod limit;
mod policy;
mod problem;
mod url;
mod value;

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::string::FromUtf8Error;
use std::sync::Arc;
use std::time::Duration;

use nix::unistd::Uid;

pub use self::id::ConfigId;
pub use self::url::Database;
pub use self::url::DatabaseUrl;
use crate::contain;
use crate::error::Error;
use crate::password;
use crate::policy::Policy;
use crate::secret::Secret;

/// The default path of the configuration.
pub const DEFAULT_PATH: &str = "/etc/authpolicy.toml";

/// The default `accounts.query`.
pub const DEFAULT_QUERY: &str =
    "SELECT password, allow_countries FROM account WHERE username = :user AND active = 1";

/// The default `accounts.query` of attempts whose password another program proves. It also finds
/// disabled accounts, because the default rules would admit an account that is not found.
pub const DEFAULT_QUERY_OF_PROVED: &str = "SELECT password, allow_countries, \
     CASE WHEN active = 1 THEN 0 ELSE 1 END AS disabled FROM account WHERE username = :user";

/// The default `log.insert`, for the embedded database and for a server. A server cuts texts to the
/// length of their columns; the embedded database does not.
///
/// If a host's clock is wrong, its time may be out of the database's range. MariaDB before 11.5 has
/// no times after January 2038, and FROM_UNIXTIME is an error in strict mode. Then the row gets the
/// database's time.
const DEFAULT_LOG_INSERT: (&str, &str) = (
    "INSERT INTO connection_log (datetime, protocol, username, remote_ip, country, auth_ok, \
     policy_reject) VALUES (COALESCE(datetime(:time, 'unixepoch'), datetime('now')), substr(:protocol, 1, 10), \
     substr(:username, 1, 80), substr(:remote_ip, 1, 40), :country, :auth_ok, :policy_reject)",
    "INSERT INTO connection_log (datetime, protocol, username, remote_ip, country, auth_ok, \
     policy_reject) VALUES (CASE WHEN :time < 2147483648 THEN FROM_UNIXTIME(:time) ELSE NOW() END, \
     :protocol, :username, :remote_ip, :country, :auth_ok, :policy_reject)",
);

/// The parameters that `accounts.query` may use.
pub const QUERY_PARAMETERS: &[&str] =
    &["user", "login", "local_part", "domain", "remote", "protocol", "tls"];

/// The parameters that `log.insert` may use.
pub const INSERT_PARAMETERS: &[&str] = &[
    "time",
    "protocol",
    "username",
    "remote_ip",
    "country",
    "asn",
    "auth_ok",
    "policy_reject",
    "reason",
    "rule",
    "mechanism",
    "tls",
    "helo",
];

/// The time-outs of `[database]`.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// The longest time to connect to one server.
    pub connect: Duration,
    /// The longest time of one statement.
    pub query: Duration,
    /// The longest time of all database work of an attempt.
    pub attempt: Duration,
}

/// The user database: `[accounts]`.
#[derive(Debug, Clone)]
pub struct Accounts {
    /// The database of the accounts.
    pub database: Database,
    /// True if the configuration has a section `[accounts]`.
    pub are_given: bool,
    /// `accounts.query`, the statement that finds an account.
    pub query: String,
    /// `accounts.list`, the statement that lists all accounts. Only the tool uses it.
    pub list: Option<String>,
    /// True if `query` is the default, so that the table is the plugin's own `account`.
    pub query_is_default: bool,
    /// The settings for stored passwords.
    pub passwords: password::Settings,
    /// `accounts.dummy_hash`, the stored password for accounts that do not exist. If it is `None`,
    /// the plugin learns one.
    pub dummy_hash: Option<Arc<Secret>>,
    /// The number of processes of this host that may hash at the same time; `None` if it is not
    /// given.
    pub max_parallel_hashes: Option<u32>,
    /// The time for which a remembered account can be used while no server can be reached.
    pub serve_stale: Option<Duration>,
    /// The time for which an account is cached in the memory that connections share.
    pub cache: Option<Duration>,
    /// The time for which that memory keeps that a password matched.
    pub remember_verified: Option<Duration>,
    /// The domain that is appended to a login without `@`.
    pub default_domain: String,
}

impl Accounts {
    /// True if accounts or passwords are kept in memory that connections share.
    #[must_use]
    pub fn want_shared_memory(&self) -> bool {
        self.cache.is_some() || self.remember_verified.is_some()
    }

    /// `accounts.dummy_hash` as text.
    #[must_use]
    pub fn dummy_hash(&self) -> Option<&str> {
        self.dummy_hash.as_ref().and_then(|text| std::str::from_utf8(text.expose()).ok())
    }
}

/// The time at which rows reach the log's database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// Before the reply, unless the database fails.
    Direct,
    /// Later: an attempt writes its row to the journal.
    Journal,
}

/// The faults that rows in the journal survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The end of any process.
    Process,
    /// The end of any process, and a loss of power.
    Disk,
}

/// The log of attempts: `[log]`.
#[derive(Debug, Clone)]
pub struct Log {
    /// The database of the rows.
    pub database: Database,
    /// The statement that stores a row.
    pub insert: String,
    /// The `protocol` in the row.
    pub protocol: String,
    /// The time at which rows reach the database.
    pub delivery: Delivery,
}

impl Log {
    /// The default `log.insert` for the database, if that is the statement.
    #[must_use]
    pub fn default_insert(&self) -> Option<&'static str> {
        Some(default_log_insert(&self.database)).filter(|default| *default == self.insert)
    }
}

/// The default `log.insert` for this database.
fn default_log_insert(database: &Database) -> &'static str {
    match database {
        Database::Sqlite(_) => DEFAULT_LOG_INSERT.0,
        Database::MySql(_) => DEFAULT_LOG_INSERT.1,
    }
}

/// A configuration that has been checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// The configuration file.
    pub path: PathBuf,
    /// `[accounts]`
    pub accounts: Accounts,
    /// `[log]`
    pub log: Log,
    /// The time-outs of `[database]`.
    pub timeouts: Timeouts,
    /// `geoip.database`; empty if it is not given.
    pub geoip: Vec<PathBuf>,
    /// `geoip.asn_database`; empty if it is not given.
    pub asn_database: Vec<PathBuf>,
    /// `[policy]`
    pub policy: Policy,
    /// `policy.failure_time`
    pub failure_time: Duration,
    /// `state.directory`
    pub state_directory: PathBuf,
    /// `state.durability`
    pub durability: Durability,
    /// The message about a rule for a name that is not printable ASCII, with its line. Such a rule
    /// is wrong unless `accounts.query` returns `username`.
    pub ambiguous_rule: Option<String>,
    /// The identity of the content, for what is kept in shared memory; `None` if nothing is.
    pub id: Option<ConfigId>,
}

impl Config {
    /// Reads and checks the file.
    ///
    /// # Errors
    /// The file cannot be read, others may write it, everyone may read a password in it, or a key
    /// is wrong. The message has file, line and key.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let config_error = |what: String| Error::Config { file: path.to_owned(), what };
        // If the path is a FIFO, this does not wait for a writer.
        let mut options = File::options();
        options.read(true).custom_flags(libc::O_NONBLOCK);
        let mut file = options.open(path).map_err(|e| config_error(cannot_open(&e)))?;
        let meta = file.metadata().map_err(|e| config_error(format!("cannot be read: {e}")))?;
        let owner = Uid::from_raw(meta.uid());
        let me = Uid::effective();
        if !meta.is_file() {
            return Err(config_error(String::from("is not a regular file")));
        }
        // Root may load a file of any owner. The tool checks it again as Exim's user.
        if !(owner.is_root() || owner == me || me.is_root()) {
            return Err(config_error(format!(
                "belongs to uid {owner}, which may write it: chown it to root"
            )));
        }
        if meta.mode() & 0o022 != 0 {
            return Err(config_error(format!(
                "others may write it (mode {:04o}): chmod 640",
                meta.mode() & 0o7777
            )));
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|e| config_error(format!("cannot be read: {e}")))?;
        let text = String::from_utf8(bytes).map_err(|e| config_error(not_utf8(&e)))?;
        let config = Self::parse(path, &text)?;
        if let Some(kind) = config.secret_kind().filter(|_| meta.mode() & 0o004 != 0) {
            return Err(config_error(format!(
                "everyone may read the {kind} in it (mode {:04o}): chmod 640 and chgrp it to the \
                 group of Exim's user",
                meta.mode() & 0o7777
            )));
        }
        Ok(config)
    }

    /// Checks the text of a configuration.
    ///
    /// # Errors
    /// A key is wrong. The message has line and key.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Error> {
        let read = || {
            let file = file::File::parse(text).map_err(|problem| problem.locate(text))?;
            let rule = file.ambiguous_rule().map(|problem| problem.locate(text));
            let config = file.check(path).map_err(|problem| problem.locate(text))?;
            let id = config.accounts.want_shared_memory().then(|| ConfigId::of(text));
            Ok(Self { ambiguous_rule: rule, id, ..config })
        };
        let mut config = contain::catch("config", read)
            .unwrap_or_else(|panic| Err(format!("cannot be read: {panic}, please report it")))
            .map_err(|what| Error::Config { file: path.to_owned(), what })?;
        config.accounts.database.remember_addresses_in(&config.state_directory);
        config.log.database.remember_addresses_in(&config.state_directory);
        Ok(config)
    }

    /// The kind of secret in the file, for a message; `None` if there is none.
    fn secret_kind(&self) -> Option<&'static str> {
        if self.accounts.database.holds_password() || self.log.database.holds_password() {
            return Some("database password");
        }
        let nonce = self.policy.limits.hash_nonce.expose();
        (!nonce.is_empty()).then_some("policy.hash_nonce")
    }
}

/// The message about the first byte that is not UTF-8, with its line.
fn not_utf8(e: &FromUtf8Error) -> String {
    let good = e.as_bytes().iter().take(e.utf8_error().valid_up_to());
    let line = good.filter(|&&byte| byte == b'\n').count().saturating_add(1);
    format!("line {line}: has a byte that is not UTF-8: save the file as UTF-8")
}

/// The message about a file that cannot be opened, with the remedy.
fn cannot_open(e: &std::io::Error) -> String {
    match e.raw_os_error() {
        Some(libc::EACCES) => format!(
            "cannot be read by uid {}: {e}: chgrp it to the group of Exim's user, and chmod 640; the \
             directories above it must let that user through",
            Uid::effective()
        ),
        Some(libc::ENOENT) => format!(
            "cannot be read: {e}: create it, or name another file with config= in Exim and --config of the \
             tool"
        ),
        Some(_) | None => format!("cannot be read: {e}"),
    }
}

#[cfg(test)]
mod tests;
