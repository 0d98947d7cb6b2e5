//! The file as it is written: its keys and their defaults, and how each is checked.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;

use super::Accounts;
use super::Config;
use super::DEFAULT_LOG_INSERT;
use super::DEFAULT_QUERY;
use super::Database;
use super::INSERT_PARAMETERS;
use super::Log;
use super::QUERY_PARAMETERS;
use super::Timeouts;
use super::problem::Problem;
use super::problem::without_value;
use crate::password;
use crate::password::Dummy;
use crate::password::Settings;
use crate::policy::Countries;
use crate::policy::Policy;
use crate::policy::Rules;
use crate::policy::WhenRejected;
use crate::rules;
use crate::secret::Secret;
use crate::sql;

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
}

/// One URL, or a list of them.
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
    default_scheme: Option<String>,
    allow_weak_schemes: Option<bool>,
    max_bcrypt_cost: Option<u32>,
    max_rounds: Option<u32>,
    max_argon2_memory: Option<u32>,
    dummy_hash: Option<String>,
    #[serde(default)]
    default_domain: String,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct GeoipTable {
    database: Option<PathBuf>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct PolicyTable {
    #[serde(default)]
    allow_countries: Vec<String>,
    #[serde(default)]
    deny_countries: Vec<String>,
    unknown_country: Option<String>,
    #[serde(default)]
    trusted_networks: Vec<String>,
    when_rejected: Option<String>,
    failure_time: Option<String>,
    #[serde(default)]
    log_only: bool,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct LogTable {
    url: Option<Urls>,
    insert: Option<String>,
    protocol: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct StateTable {
    directory: Option<PathBuf>,
}

impl File {
    pub(super) fn parse(text: &str) -> Result<Self, Problem> {
        toml::from_str(text)
            .map_err(|e| Problem::At(e.span().map(|span| span.start), without_value(e.message())))
    }

    pub(super) fn check(self, path: &Path) -> Result<Config, Problem> {
        let database = urls("database", &self.database.url)?;
        let policy = self.policy.check()?;
        if policy.wants_country() && self.geoip.database.is_none() {
            let key = if self.policy.deny_countries.is_empty() {
                if self.policy.allow_countries.is_empty() {
                    "unknown_country"
                } else {
                    "allow_countries"
                }
            } else {
                "deny_countries"
            };
            let what = "a country rule needs [geoip] database".to_owned();
            return Err(Problem::Key("policy", key, what));
        }
        let timeouts = Timeouts {
            connect: limit("connect_timeout", self.database.connect_timeout.as_deref(), 2)?,
            query: limit("query_timeout", self.database.query_timeout.as_deref(), 3)?,
            attempt: limit("attempt_timeout", self.database.attempt_timeout.as_deref(), 5)?,
        };
        if timeouts.attempt < timeouts.connect {
            let what = "is shorter than connect_timeout".to_owned();
            return Err(Problem::Key("database", "attempt_timeout", what));
        }
        if let Some(geoip) = &self.geoip.database {
            absolute("geoip", "database", geoip)?;
        }
        Ok(Config {
            path: path.to_owned(),
            accounts: Accounts {
                are_given: self.accounts.is_some(),
                ..self.accounts.unwrap_or_default().check(&database)?
            },
            log: self.log.check(&database)?,
            timeouts,
            geoip: self.geoip.database,
            policy,
            failure_time: match self.policy.failure_time.as_deref() {
                None => Duration::from_millis(500),
                Some(text) => duration("policy", "failure_time", text)?,
            },
            state_directory: self.state.check()?,
        })
    }
}

impl AccountsTable {
    fn check(self, shared: &Database) -> Result<Accounts, Problem> {
        let query = self.query.as_deref().unwrap_or(DEFAULT_QUERY);
        let parameters = statement("accounts", "query", query, QUERY_PARAMETERS)?;
        if !parameters.iter().any(|name| ["user", "login", "local_part"].contains(name)) {
            // It would return every account's password, and any of them would do.
            let what = "asks for no name: it must use :user, :login or :local_part".to_owned();
            return Err(Problem::Key("accounts", "query", what));
        }
        let passwords = self.passwords()?;
        let dummy = self.dummy_hash.as_deref();
        if dummy.is_some_and(|text| Dummy::load(Path::new(""), Some(text), &passwords).work() == 0)
        {
            // Not the text itself: it may be somebody's hash.
            let what = "is no well-formed stored password that takes work to check and is below the limits";
            return Err(Problem::Key("accounts", "dummy_hash", what.to_owned()));
        }
        if self.default_domain.contains('@') {
            let what = "is a domain without @".to_owned();
            return Err(Problem::Key("accounts", "default_domain", what));
        }
        Ok(Accounts {
            database: match &self.url {
                Some(url) => urls("accounts", url)?,
                None => shared.clone(),
            },
            are_given: true,
            query_is_default: query == DEFAULT_QUERY,
            query: query.to_owned(),
            passwords,
            dummy_hash: self.dummy_hash.map(|text| Arc::new(Secret::new(text.into_bytes()))),
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
                "\"{}\" is no known scheme; known are {}",
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
        for (key, value, least) in
            [("max_rounds", max_rounds, 1000), ("max_argon2_memory", max_argon2_memory, 64)]
        {
            if value < least {
                let what = format!("is less than {least}, which no stored password comes below");
                return Err(Problem::Key("accounts", key, what));
            }
        }
        Ok(Settings {
            default_scheme,
            allow_weak_schemes: self.allow_weak_schemes.unwrap_or(default.allow_weak_schemes),
            max_bcrypt_cost,
            max_rounds,
            max_argon2_memory,
        })
    }
}

impl PolicyTable {
    fn check(&self) -> Result<Policy, Problem> {
        Ok(Policy {
            default: Rules {
                allow_countries: countries("allow_countries", &self.allow_countries)?,
                deny_countries: countries("deny_countries", &self.deny_countries)?,
                allow_nets: None,
            },
            reject_unknown_country: choice(
                "unknown_country",
                self.unknown_country.as_deref(),
                [("allow", false), ("reject", true)],
            )?,
            trusted_networks: self
                .trusted_networks
                .iter()
                .map(|text| network(text))
                .collect::<Result<_, _>>()?,
            when_rejected: choice(
                "when_rejected",
                self.when_rejected.as_deref(),
                [("verify", WhenRejected::Verify), ("skip", WhenRejected::Skip)],
            )?,
            log_only: self.log_only,
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
        Ok(Log { database, insert, protocol })
    }
}

impl StateTable {
    fn check(self) -> Result<PathBuf, Problem> {
        let directory = self.directory.unwrap_or_else(|| PathBuf::from("/var/lib/authpolicy"));
        absolute("state", "directory", &directory)?;
        Ok(directory)
    }
}

fn urls(table: &'static str, urls: &Urls) -> Result<Database, Problem> {
    let list = match urls {
        Urls::One(url) => std::slice::from_ref(url),
        Urls::Several(urls) => urls,
    };
    Database::parse(list).map_err(|what| Problem::Key(table, "url", what))
}

fn absolute(table: &'static str, key: &'static str, path: &Path) -> Result<(), Problem> {
    if path.is_absolute() {
        return Ok(());
    }
    Err(Problem::Key(table, key, String::from("wants an absolute path")))
}

fn duration(table: &'static str, key: &'static str, text: &str) -> Result<Duration, Problem> {
    let most = Duration::from_secs(3600);
    match humantime::parse_duration(text) {
        Ok(duration) if duration <= most => Ok(duration),
        Ok(_) => Err(Problem::Key(table, key, String::from("is longer than an hour"))),
        Err(_) => Err(Problem::Key(
            table,
            key,
            format!("\"{}\" is no duration such as \"500ms\" or \"2s\"", text.escape_debug()),
        )),
    }
}

/// A time-out, in seconds unless given; zero would mean "none" to the operating system.
fn limit(key: &'static str, text: Option<&str>, default: u64) -> Result<Duration, Problem> {
    match text.map(|text| duration("database", key, text)).transpose()? {
        None => Ok(Duration::from_secs(default)),
        Some(duration) if duration < Duration::from_millis(10) => {
            Err(Problem::Key("database", key, String::from("is shorter than 10ms")))
        }
        Some(duration) => Ok(duration),
    }
}

fn choice<T: Copy>(
    key: &'static str,
    text: Option<&str>,
    choices: [(&'static str, T); 2],
) -> Result<T, Problem> {
    let [(first, default), (second, _)] = choices;
    let Some(text) = text else { return Ok(default) };
    choices.iter().find(|(name, _)| *name == text).map(|(_, value)| *value).ok_or_else(|| {
        let what = format!("\"{}\" is neither \"{first}\" nor \"{second}\"", text.escape_debug());
        Problem::Key("policy", key, what)
    })
}

fn countries(key: &'static str, list: &[String]) -> Result<Option<Countries>, Problem> {
    rules::countries(&list.join(",")).map_err(|what| Problem::Key("policy", key, what))
}

fn network(text: &str) -> Result<IpNet, Problem> {
    rules::network(text).map_err(|what| Problem::Key("policy", "trusted_networks", what))
}

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
