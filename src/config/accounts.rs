//! The section `[accounts]` of the file.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::Accounts;
use super::DEFAULT_QUERY;
use super::Database;
use super::QUERY_PARAMETERS;
use super::problem::Problem;
use super::value::Urls;
use super::value::duration;
use super::value::long_duration;
use super::value::statement;
use super::value::urls;
use crate::password;
use crate::password::Dummy;
use crate::password::Settings;
use crate::secret::Secret;
use crate::sql;

/// The highest `accounts.max_parallel_hashes`. A higher one would not restrict any host. An attempt
/// tries the slots one by one.
const MAX_SLOTS: u32 = 1024;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct AccountsTable {
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
    cache: Option<String>,
    remember_verified: Option<String>,
    #[serde(default)]
    pub(super) default_domain: String,
}

impl AccountsTable {
    pub(super) fn check(self, shared: &Database) -> Result<Accounts, Problem> {
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
            cache: lifetime("cache", self.cache.as_deref())?,
            remember_verified: lifetime("remember_verified", self.remember_verified.as_deref())?,
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

/// The time for which shared memory keeps something; `None` for no time.
fn lifetime(key: &'static str, text: Option<&str>) -> Result<Option<Duration>, Problem> {
    let time = text.map(|text| duration("accounts", key, text)).transpose()?;
    Ok(time.filter(|time| !time.is_zero()))
}
