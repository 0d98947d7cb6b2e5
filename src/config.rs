//! `authpolicy.toml`: read, check, refuse by name.
//!
//! A typo must not switch a rule off: unknown keys and impossible combinations are errors that name
//! file, line and key. Nothing is opened or connected here; that is for the first attempt.

mod file;
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

pub use self::url::Database;
pub use self::url::DatabaseUrl;
use crate::contain;
use crate::error::Error;
use crate::password;
use crate::policy::Policy;
use crate::secret::Secret;

/// Where the configuration is unless an argument says otherwise.
pub const DEFAULT_PATH: &str = "/etc/authpolicy.toml";

/// The account query of the embedded default.
pub const DEFAULT_QUERY: &str =
    "SELECT password, allow_countries FROM account WHERE username = :user AND active = 1";

/// The same for a name whose password somebody else looks at: an account that is not found has the
/// default rules then, so that a disabled one must be found.
pub const DEFAULT_QUERY_OF_PROVED: &str = "SELECT password, allow_countries, \
     CASE WHEN active = 1 THEN 0 ELSE 1 END AS disabled FROM account WHERE username = :user";

/// The default `log.insert`, for the embedded database and for a server. A server cuts texts to the length of
/// their columns; the embedded database does not.
///
/// If a host's clock is wrong, the database may be unable to express its time: MariaDB before 11.5 has no times after
/// January 2038, and FROM_UNIXTIME is an error in strict mode. Then the row gets the database's time.
const DEFAULT_LOG_INSERT: (&str, &str) = (
    "INSERT INTO connection_log (datetime, protocol, username, remote_ip, country, auth_ok, \
     policy_reject) VALUES (COALESCE(datetime(:time, 'unixepoch'), datetime('now')), substr(:protocol, 1, 10), \
     substr(:username, 1, 80), substr(:remote_ip, 1, 40), :country, :auth_ok, :policy_reject)",
    "INSERT INTO connection_log (datetime, protocol, username, remote_ip, country, auth_ok, \
     policy_reject) VALUES (CASE WHEN :time < 2147483648 THEN FROM_UNIXTIME(:time) ELSE NOW() END, \
     :protocol, :username, :remote_ip, :country, :auth_ok, :policy_reject)",
);

/// The statement parameters that `accounts.query` may name.
pub const QUERY_PARAMETERS: &[&str] =
    &["user", "login", "local_part", "domain", "remote", "protocol", "tls"];

/// The statement parameters that `log.insert` may name.
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

/// How long things with databases may take.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// Until a host has taken us in.
    pub connect: Duration,
    /// Until a statement is answered.
    pub query: Duration,
    /// Over everything an attempt does with databases.
    pub attempt: Duration,
}

/// Where accounts are found, and how.
#[derive(Debug, Clone)]
pub struct Accounts {
    /// The database that holds them.
    pub database: Database,
    /// Whether the configuration has an `[accounts]` table at all.
    pub are_given: bool,
    /// The administrator's statement.
    pub query: String,
    /// The administrator's statement for all accounts, for the tool alone.
    pub list: Option<String>,
    /// Whether it is the embedded default, so that the account table is ours.
    pub query_is_default: bool,
    /// How stored passwords are read.
    pub passwords: password::Settings,
    /// A stored password that belongs to nobody, where it is not to be learnt.
    pub dummy_hash: Option<Arc<Secret>>,
    /// How many processes of this host may hash at the same time, where that is given.
    pub max_parallel_hashes: Option<u32>,
    /// For how long an account that has logged in is served while no host can be reached.
    pub serve_stale: Option<Duration>,
    /// What is appended to a login without `@`.
    pub default_domain: String,
}

impl Accounts {
    /// The configured dummy.
    #[must_use]
    pub fn dummy_hash(&self) -> Option<&str> {
        self.dummy_hash.as_ref().and_then(|text| std::str::from_utf8(text.expose()).ok())
    }
}

/// When rows reach the log's database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// Before the answer, unless the database fails.
    Direct,
    /// Later: an attempt leaves its row in the journal.
    Journal,
}

/// What the journal survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The end of any process.
    Process,
    /// A loss of power, too.
    Disk,
}

/// Where rows go, and how.
#[derive(Debug, Clone)]
pub struct Log {
    /// The database that holds them.
    pub database: Database,
    /// The statement.
    pub insert: String,
    /// What the row's `protocol` says.
    pub protocol: String,
    /// When they get there.
    pub delivery: Delivery,
}

/// A configuration that has been checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file it was read from.
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
    /// A rule for a name that is not printable ASCII: its line and what is wrong with it, unless the
    /// account query returns `username`.
    pub ambiguous_rule: Option<String>,
}

impl Config {
    /// Reads and checks the file.
    ///
    /// # Errors
    /// It cannot be read, others may write it, everyone may read a password in it, or a key is
    /// wrong; the message names file, line and key.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let config_error = |what: String| Error::Config { file: path.to_owned(), what };
        // Without waiting for whoever might write to a FIFO of this name.
        let mut options = File::options();
        options.read(true).custom_flags(libc::O_NONBLOCK);
        let mut file = options.open(path).map_err(|e| config_error(unreadable(&e)))?;
        let meta = file.metadata().map_err(|e| config_error(format!("cannot be read: {e}")))?;
        let owner = Uid::from_raw(meta.uid());
        let me = Uid::effective();
        if !meta.is_file() {
            return Err(config_error(String::from("is not a regular file")));
        }
        // Root trusts what root names; what Exim's user will say of it, the tool finds out as
        // Exim's user.
        if !(owner.is_root() || owner == me || me.is_root()) {
            return Err(config_error(format!(
                "belongs to uid {owner}, who may write it: chown it to root"
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
        if let Some(secret) = config.secret().filter(|_| meta.mode() & 0o004 != 0) {
            return Err(config_error(format!(
                "everyone may read the {secret} in it (mode {:04o}): chmod 640 and chgrp it to the \
                 group of Exim's user",
                meta.mode() & 0o7777
            )));
        }
        Ok(config)
    }

    /// Checks the text of a configuration.
    ///
    /// # Errors
    /// A key is wrong; the message names line and key.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Error> {
        let read = || {
            let file = file::File::parse(text).map_err(|problem| problem.locate(text))?;
            let rule = file.ambiguous_rule().map(|problem| problem.locate(text));
            let config = file.check(path).map_err(|problem| problem.locate(text))?;
            Ok(Self { ambiguous_rule: rule, ..config })
        };
        let mut config = contain::catch("config", read)
            .unwrap_or_else(|panic| Err(format!("cannot be read: {panic}, please report it")))
            .map_err(|what| Error::Config { file: path.to_owned(), what })?;
        config.accounts.database.remember_in(&config.state_directory);
        config.log.database.remember_in(&config.state_directory);
        Ok(config)
    }

    /// What in it is nobody else's business.
    fn secret(&self) -> Option<&'static str> {
        if self.accounts.database.holds_password() || self.log.database.holds_password() {
            return Some("database password");
        }
        let nonce = self.policy.limits.hash_nonce.expose();
        (!nonce.is_empty()).then_some("policy.hash_nonce")
    }
}

/// Names the line of the first byte that is not UTF-8.
fn not_utf8(e: &FromUtf8Error) -> String {
    let good = e.as_bytes().iter().take(e.utf8_error().valid_up_to());
    let line = good.filter(|&&byte| byte == b'\n').count().saturating_add(1);
    format!("line {line}: has a byte that is not UTF-8: save the file as UTF-8")
}

/// Why the file cannot be opened, and what to do.
fn unreadable(e: &std::io::Error) -> String {
    match e.raw_os_error() {
        Some(libc::EACCES) => format!(
            "cannot be read by uid {}: {e}: chgrp it to the group of Exim's user, and chmod 640; the \
             directories above it must let that user through",
            Uid::effective()
        ),
        Some(libc::ENOENT) => format!(
            "cannot be read: {e}: make it, or name another one, to Exim with config= and to the tool \
             with --config"
        ),
        Some(_) | None => format!("cannot be read: {e}"),
    }
}

#[cfg(test)]
mod tests;
