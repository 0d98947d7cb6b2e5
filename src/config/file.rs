//! The keys of the file, their defaults and their checks.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::Accounts;
use super::Config;
use super::DEFAULT_LOG_INSERT;
use super::DEFAULT_QUERY;
use super::Database;
use super::Delivery;
use super::Durability;
use super::INSERT_PARAMETERS;
use super::Log;
use super::QUERY_PARAMETERS;
use super::Timeouts;
use super::policy::PolicyTable;
use super::problem;
use super::problem::Problem;
use super::value::duration;
use super::value::long_duration;
use crate::password;
use crate::password::Dummy;
use crate::password::Settings;
use crate::secret::Secret;
use crate::sql;

/// The highest `accounts.max_parallel_hashes`. A higher one would not restrict any host. An attempt
/// tries the slots one by one.
const MAX_SLOTS: u32 = 1024;

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

/// One URL, or a list of URLs.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a database URL in quotes, or a list of them")]
enum Urls {
    One(String),
    Several(Vec<String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DatabaseTable {
    url: Urls,
    connect_timeout: Option<String>,
    query_timeout: Option<String>,
    attempt_timeout: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct AccountsTable {
    url: Option<Urls>,
    query: Option<String>,
    list: Option<String>,
    default_scheme: Option<String>,
    allow_weak_schemes: Option<bool>,
    max_bcrypt_cost: Option<u32>,
    max_rounds: Option<u32>,
    max_argon2_memory: Option<u32>,
    max_parallel_hashes: Option<u32>,
    scram_iterations: Option<u32>,
    dummy_hash: Option<String>,
    serve_stale: Option<String>,
    #[serde(default)]
    default_domain: String,
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
        })
    }
}

impl AccountsTable {
    fn check(self, shared: &Database) -> Result<Accounts, Problem> {
        let query = self.query.as_deref().unwrap_or(DEFAULT_QUERY);
        let parameters = statement("accounts", "query", query, QUERY_PARAMETERS)?;
        if !parameters.iter().any(|name| ["user", "login", "local_part"].contains(name)) {
            // The statement would find all accounts, and the password of any of them would be
            // right.
            let what =
                "does not use the name of the account: add :user, :login or :local_part".to_owned();
            return Err(Problem::Key("accounts", "query", what));
        }
        let list = self.list.as_deref().unwrap_or_default();
        if let Some(name) = sql::parameters(list).first() {
            let what =
                format!("uses :{name}: remove it, because this statement lists all accounts");
            return Err(Problem::Key("accounts", "list", what));
        }
        let passwords = self.passwords()?;
        let dummy = self.dummy_hash.as_deref();
        if dummy.is_some_and(|text| Dummy::load(Path::new(""), Some(text), &passwords).work() == 0)
        {
            // The text is not shown, because it may be the hash of an account.
            let what = "is malformed, takes no work to check, or exceeds max_bcrypt_cost, max_rounds or \
                        max_argon2_memory: make one with `authpolicy hash`";
            return Err(Problem::Key("accounts", "dummy_hash", what.to_owned()));
        }
        if self.max_parallel_hashes.is_some_and(|count| !(1..=MAX_SLOTS).contains(&count)) {
            let what = format!("is not between 1 and {MAX_SLOTS}");
            return Err(Problem::Key("accounts", "max_parallel_hashes", what));
        }
        if self.default_domain.contains('@') {
            let what = "contains an @: write only the domain".to_owned();
            return Err(Problem::Key("accounts", "default_domain", what));
        }
        let database = match &self.url {
            Some(url) => urls("accounts", url)?,
            None => shared.clone(),
        };
        let serve_stale = self.serve_stale.as_deref();
        let serve_stale = serve_stale.map(|text| long_duration("accounts", "serve_stale", text));
        let serve_stale = serve_stale.transpose()?;
        if serve_stale.is_some() && matches!(database, Database::Sqlite(_)) {
            let what =
                "needs a database server: remove it, because this database is embedded".to_owned();
            return Err(Problem::Key("accounts", "serve_stale", what));
        }
        Ok(Accounts {
            database,
            serve_stale: serve_stale.filter(|time| !time.is_zero()),
            are_given: true,
            query_is_default: query == DEFAULT_QUERY,
            query: query.to_owned(),
            list: self.list.filter(|list| !list.trim().is_empty()),
            passwords,
            dummy_hash: self.dummy_hash.map(|text| Arc::new(Secret::new(text.into_bytes()))),
            max_parallel_hashes: self.max_parallel_hashes,
            default_domain: self.default_domain.to_lowercase(),
        })
    }
}

impl AccountsTable {
    fn passwords(&self) -> Result<Settings, Problem> {
        let default = Settings::default();
        let default_scheme = self.default_scheme.clone().unwrap_or(default.default_scheme);
        if !password::is_scheme(&default_scheme) {
            let what = format!(
                "\"{}\" is not a known scheme; known are {}",
                default_scheme.escape_debug(),
                password::names()
            );
            return Err(Problem::Key("accounts", "default_scheme", what));
        }
        let max_bcrypt_cost = self.max_bcrypt_cost.unwrap_or(default.max_bcrypt_cost);
        if !(4..=31).contains(&max_bcrypt_cost) {
            let what = "is not between 4 and 31".to_owned();
            return Err(Problem::Key("accounts", "max_bcrypt_cost", what));
        }
        let max_rounds = self.max_rounds.unwrap_or(default.max_rounds);
        let max_argon2_memory = self.max_argon2_memory.unwrap_or(default.max_argon2_memory);
        for (key, value, min) in
            [("max_rounds", max_rounds, 1000), ("max_argon2_memory", max_argon2_memory, 64)]
        {
            if value < min {
                let what = format!("is less than {min}, the least that a stored password can have");
                return Err(Problem::Key("accounts", key, what));
            }
        }
        let max = max_rounds.max(4096);
        let scram_iterations = self.scram_iterations.unwrap_or(default.scram_iterations.min(max));
        if !(4096..=max).contains(&scram_iterations) {
            let what = "is not between 4096 and max_rounds".to_owned();
            return Err(Problem::Key("accounts", "scram_iterations", what));
        }
        Ok(Settings {
            default_scheme,
            allow_weak_schemes: self.allow_weak_schemes.unwrap_or(default.allow_weak_schemes),
            max_bcrypt_cost,
            max_rounds,
            max_argon2_memory,
            scram_iterations,
        })
    }
}

impl LogTable {
    fn check(self, shared: &Database) -> Result<Log, Problem> {
        let database = match &self.url {
            Some(url) => urls("log", url)?,
            None => shared.clone(),
        };
        let insert = self.insert.unwrap_or_else(|| {
            match database {
                Database::Sqlite(_) => DEFAULT_LOG_INSERT.0,
                Database::MySql(_) => DEFAULT_LOG_INSERT.1,
            }
            .to_owned()
        });
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

fn urls(table: &'static str, urls: &Urls) -> Result<Database, Problem> {
    let list = match urls {
        Urls::One(url) => std::slice::from_ref(url),
        Urls::Several(urls) => urls,
    };
    Database::parse(list).map_err(|what| Problem::Key(table, "url", what))
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

/// The parameters of a statement, which must all be known.
fn statement<'a>(
    table: &'static str,
    key: &'static str,
    text: &'a str,
    known: &[&str],
) -> Result<Vec<&'a str>, Problem> {
    let parameters = sql::parameters(text);
    match parameters.iter().find(|name| !known.contains(name)) {
        None => Ok(parameters),
        Some(name) => Err(Problem::Key(
            table,
            key,
            format!("names the unknown parameter :{name}; known are :{}", known.join(", :")),
        )),
    }
}
