//! The keys of the file, their defaults and their checks.

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::Accounts;
use super::Config;
use super::Database;
use super::Delivery;
use super::Durability;
use super::INSERT_PARAMETERS;
use super::Log;
use super::Timeouts;
use super::accounts::AccountsTable;
use super::default_log_insert;
use super::policy::PolicyTable;
use super::problem;
use super::problem::Problem;
use super::value::Urls;
use super::value::duration;
use super::value::statement;
use super::value::urls;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    database: DatabaseTable,
    accounts: Option<AccountsTable>,
    #[serde(default)]
    geoip: GeoipTable,
    #[serde(default)]
    policy: PolicyTable,
    #[serde(default)]
    log: LogTable,
    #[serde(default)]
    state: StateTable,
    // Sections of other programs, which check these themselves.
    #[serde(rename = "policyd")]
    _policyd: Option<IgnoredAny>,
    #[serde(rename = "report")]
    _report: Option<IgnoredAny>,
    #[serde(rename = "notify")]
    _notify: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DatabaseTable {
    url: Urls,
    connect_timeout: Option<String>,
    query_timeout: Option<String>,
    attempt_timeout: Option<String>,
}

/// One file, or a list of files.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a path in quotes, or a list of them")]
enum Paths {
    One(PathBuf),
    Several(Vec<PathBuf>),
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct GeoipTable {
    database: Option<Paths>,
    asn_database: Option<Paths>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct LogTable {
    url: Option<Urls>,
    insert: Option<String>,
    protocol: Option<String>,
    delivery: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct StateTable {
    directory: Option<PathBuf>,
    durability: Option<String>,
}

impl File {
    pub(super) fn parse(text: &str) -> Result<Self, Problem> {
        toml::from_str(text).map_err(|e| problem::from_toml(&e, text))
    }

    /// The first rule for a name that is not printable ASCII.
    pub(super) fn ambiguous_rule(&self) -> Option<Problem> {
        let domain = self.accounts.as_ref().map(|accounts| &*accounts.default_domain);
        self.policy.ambiguous_rule(domain.unwrap_or_default())
    }

    pub(super) fn check(self, path: &Path) -> Result<Config, Problem> {
        let database = urls("database", &self.database.url)?;
        let domain = self.accounts.as_ref().map(|accounts| accounts.default_domain.to_lowercase());
        let policy = self.policy.check(&domain.unwrap_or_default())?;
        if policy.wants_country() && self.geoip.database.is_none() {
            let what = "a country rule needs [geoip] database".to_owned();
            return Err(Problem::Key("policy", self.policy.country_key(), what));
        }
        if self.policy.wants_asn() && self.geoip.asn_database.is_none() {
            let what = "needs [geoip] asn_database".to_owned();
            return Err(Problem::Key("policy", "deny_asns", what));
        }
        let timeouts = Timeouts {
            connect: timeout("connect_timeout", self.database.connect_timeout.as_deref(), 2)?,
            query: timeout("query_timeout", self.database.query_timeout.as_deref(), 3)?,
            attempt: timeout("attempt_timeout", self.database.attempt_timeout.as_deref(), 5)?,
        };
        if timeouts.attempt < timeouts.connect {
            let what = "is shorter than connect_timeout: make it at least as long".to_owned();
            return Err(Problem::Key("database", "attempt_timeout", what));
        }
        let (state_directory, durability) = self.state.check()?;
        Ok(Config {
            path: path.to_owned(),
            accounts: Accounts {
                are_given: self.accounts.is_some(),
                ..self.accounts.unwrap_or_default().check(&database)?
            },
            log: self.log.check(&database)?,
            timeouts,
            geoip: paths("database", self.geoip.database)?,
            asn_database: paths("asn_database", self.geoip.asn_database)?,
            policy,
            failure_time: match self.policy.failure_time.as_deref() {
                None => Duration::from_millis(500),
                Some(text) => duration("policy", "failure_time", text)?,
            },
            state_directory,
            durability,
            ambiguous_rule: None,
            id: None,
        })
    }
}

impl LogTable {
    fn check(self, shared: &Database) -> Result<Log, Problem> {
        let database = match &self.url {
            Some(url) => urls("log", url)?,
            None => shared.clone(),
        };
        let insert = self.insert.unwrap_or_else(|| default_log_insert(&database).to_owned());
        statement("log", "insert", &insert, INSERT_PARAMETERS)?;
        let protocol = self.protocol.unwrap_or_else(|| String::from("SMTP"));
        let delivery = match self.delivery.as_deref() {
            None | Some("direct") => Delivery::Direct,
            Some("journal") => Delivery::Journal,
            Some(_) => {
                let what = "is not one of \"direct\", \"journal\"".to_owned();
                return Err(Problem::Key("log", "delivery", what));
            }
        };
        Ok(Log { database, insert, protocol, delivery })
    }
}

impl StateTable {
    fn check(self) -> Result<(PathBuf, Durability), Problem> {
        let directory = self.directory.unwrap_or_else(|| PathBuf::from("/var/lib/authpolicy"));
        absolute("state", "directory", &directory)?;
        match self.durability.as_deref() {
            None | Some("process") => Ok((directory, Durability::Process)),
            Some("disk") => Ok((directory, Durability::Disk)),
            Some(_) => {
                let what = "is not one of \"process\", \"disk\"".to_owned();
                Err(Problem::Key("state", "durability", what))
            }
        }
    }
}

/// The files of a key of `[geoip]`; empty if the key is not given.
fn paths(key: &'static str, paths: Option<Paths>) -> Result<Vec<PathBuf>, Problem> {
    let list = match paths {
        None => return Ok(Vec::new()),
        Some(Paths::One(path)) => vec![path],
        Some(Paths::Several(paths)) => paths,
    };
    let problem = |what: &str| Err(Problem::Key("geoip", key, what.to_owned()));
    if list.is_empty() {
        return problem("is an empty list: name a file, or remove the key");
    }
    for (index, path) in list.iter().enumerate() {
        absolute("geoip", key, path)?;
        if list.iter().take(index).any(|earlier| earlier == path) {
            return problem("names the same file twice: remove one");
        }
    }
    Ok(list)
}

fn absolute(table: &'static str, key: &'static str, path: &Path) -> Result<(), Problem> {
    if path.is_absolute() {
        return Ok(());
    }
    Err(Problem::Key(table, key, String::from("is a relative path: write an absolute one")))
}

/// A time-out, with its default in seconds. It cannot be zero, because that is "no time-out" to the
/// operating system.
fn timeout(key: &'static str, text: Option<&str>, default: u64) -> Result<Duration, Problem> {
    match text.map(|text| duration("database", key, text)).transpose()? {
        None => Ok(Duration::from_secs(default)),
        Some(duration) if duration < Duration::from_millis(10) => {
            Err(Problem::Key("database", key, String::from("is shorter than 10ms")))
        }
        Some(duration) => Ok(duration),
    }
}
