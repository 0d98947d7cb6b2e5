//! Checks of the account query: it must run, compare without patterns, and return one name for all
//! spellings of an account.

use std::time::Duration;

use crate::long_deadline;
use crate::seconds_before_now;
use authpolicy::account::Login;
use authpolicy::config::Config;
use authpolicy::config::QUERY_PARAMETERS;
use authpolicy::error::Error;
use authpolicy::policy::lists;
use authpolicy::store::Parameters;
use authpolicy::store::QueryResult;
use authpolicy::store::Row;
use authpolicy::store::Sql;
use authpolicy::store::Store;
use authpolicy::store::Value;
use authpolicy::store::dialect;
use authpolicy::tables::exception;

/// Names that find an account only if the query uses LIKE or REGEXP.
const PATTERNS: [&str; 4] = ["%", "%@%", "_", ".*"];
/// The maximum number of domains that are tried.
const MAX_DOMAINS: usize = 8;
/// The value of `:remote` (RFC 5737).
const REMOTE: &str = "192.0.2.1";

/// Runs the account query for an empty name and for patterns.
pub(super) fn check(config: &Config) -> Result<String, Error> {
    let mut store = Store::open(&config.accounts.database, long_deadline(config))?;
    let parameters = QUERY_PARAMETERS.iter().map(|name| (*name, Value::text("")));
    let found = find(config, &mut store, &parameters.collect::<Vec<_>>())?;
    if !found.columns.iter().any(|name| name == "password") {
        return Err(query_error(
            config,
            "returns no column named password: use AS password".to_owned(),
        ));
    }
    try_patterns(config, &mut store, !found.rows.is_empty())?;
    Ok(String::from("ok the query runs"))
}

fn find(config: &Config, store: &mut Store, parameters: &Parameters) -> Result<QueryResult, Error> {
    let query = Sql::configured(&config.accounts.query);
    let found = store.find(query, parameters);
    found.map_err(|e| if config.accounts.query_is_default { e.about_table("account") } else { e })
}

fn query_error(config: &Config, what: String) -> Error {
    Error::Config { file: config.path.clone(), what: format!("accounts.query: {what}") }
}

/// Fails if the query finds an account for a pattern. `returns_row_for_any_name` is true if the
/// query returns a row for any name, as a query for a single value does. Then only a row with a
/// password counts.
fn try_patterns(
    config: &Config,
    store: &mut Store,
    returns_row_for_any_name: bool,
) -> Result<(), Error> {
    for (name, parameters) in attempts(config, store) {
        let found = find(config, store, &parameters)?;
        let is_account = |row: &Row| {
            !returns_row_for_any_name || !matches!(row.get("password"), Some(Value::Null) | None)
        };
        if found.rows.iter().any(is_account) {
            return Err(query_error(
                config,
                format!(
                    "finds an account for the name {name:?}, so that a login with this name takes the password of \
                     any account: compare with = instead of LIKE, REGEXP or GLOB"
                ),
            ));
        }
    }
    Ok(())
}

/// The patterns with the parameters of an attempt: alone, as each parameter, and in some domains
/// that the configuration names, for a query that compares only the local part with LIKE.
fn attempts(config: &Config, store: &Store) -> Vec<(String, Vec<(&'static str, Value)>)> {
    let glob = dialect::tool::glob_for_any_name(store);
    let patterns: Vec<_> = PATTERNS.into_iter().chain(glob).collect();
    let mut attempts = Vec::new();
    for pattern in &patterns {
        attempts.push(as_attempt(config, pattern));
        let name = (*pattern).to_owned();
        attempts.push((name, bind(config, [pattern, pattern, pattern, pattern])));
    }
    for domain in domains(config) {
        let local_parts = patterns.iter().filter(|pattern| !pattern.contains('@'));
        attempts.extend(local_parts.map(|part| as_attempt(config, &format!("{part}@{domain}"))));
    }
    attempts
}

fn domains(config: &Config) -> Vec<&str> {
    let policy = &config.policy;
    let of_accounts = policy.accounts.keys().filter_map(|name| name.split_once('@'));
    let of_accounts = of_accounts.map(|(_, domain)| domain);
    let default = std::iter::once(&*config.accounts.default_domain);
    let all = default.chain(policy.domains.keys().map(String::as_str)).chain(of_accounts);
    all.filter(|domain| !domain.is_empty()).take(MAX_DOMAINS).collect()
}

fn as_attempt(config: &Config, name: &str) -> (String, Vec<(&'static str, Value)>) {
    let login = Login::new(name, &config.accounts.default_domain);
    let (local_part, domain) = login.user().rsplit_once('@').unwrap_or((login.user(), ""));
    (name.to_owned(), bind(config, [login.user(), name, local_part, domain]))
}

fn bind(config: &Config, names: [&str; 4]) -> Vec<(&'static str, Value)> {
    let [user, login, local_part, domain] = names;
    vec![
        ("user", Value::text(user)),
        ("login", Value::text(login)),
        ("local_part", Value::text(local_part)),
        ("domain", Value::text(domain)),
        ("remote", Value::text(REMOTE)),
        ("protocol", Value::text(&config.log.protocol)),
        ("tls", Value::flag(Some(true))),
    ]
}

/// Warns if the database may find an account by spellings that rules and limits treat as several
/// names.
pub(super) fn check_names(config: &Config) -> Result<String, Error> {
    let accounts = &config.accounts;
    let mut store = Store::open(&accounts.database, long_deadline(config))?;
    if accounts.query_is_default {
        return check_default_names(config, &mut store);
    }
    let columns = store.prepare(Sql::configured(&accounts.query))?;
    if columns.iter().any(|column| column == "username") {
        return Ok(String::from("ok"));
    }
    if let Some(rule) = &config.ambiguous_rule {
        return Err(Error::Config { file: config.path.clone(), what: rule.clone() });
    }
    if !depends_on_names(config) {
        return Ok(String::from("ok"));
    }
    if !lists::is_plain_name(&accounts.default_domain) {
        let what = "accounts.default_domain: is not printable ASCII, and accounts.query returns no column \
                    username, so that each login without a domain gets 435: return the name as it is stored, \
                    AS username";
        return Err(Error::Config { file: config.path.clone(), what: what.to_owned() });
    }
    Ok(String::from(
        "warning accounts.query returns no column username: the database may find an account by several \
         spellings of its name, for example with accents, or with leading zeros in a column of numbers. Limits, \
         rules and memory treat each spelling as another account, and a login that is not printable ASCII gets \
         435: return the name as it is stored, AS username",
    ))
}

/// Warns if the table of the default query is not the one that `db init` makes, which compares
/// bytes.
fn check_default_names(config: &Config, store: &mut Store) -> Result<String, Error> {
    let Some(sql) = dialect::tool::username_collation(store) else {
        return Ok(String::from("ok"));
    };
    if !depends_on_names(config) {
        return Ok(String::from("ok"));
    }
    let found = store.query(sql, &[])?;
    let collation = found.first().map(|row| row.text("name")).unwrap_or_default();
    if collation.is_empty() || collation.ends_with("_bin") {
        return Ok(String::from("ok"));
    }
    Ok(format!(
        "warning account.username has the collation {collation}, which treats several spellings as one name, so that \
         limits and rules by name do not hold for all of them: run \
         ALTER TABLE account MODIFY username varbinary(255) NOT NULL"
    ))
}

/// True if a rule, a limit or a record depends on names of accounts. Exceptions count only if their
/// table can be read; otherwise `check.tables` reports it.
fn depends_on_names(config: &Config) -> bool {
    if config.policy.depends_on_names() {
        return true;
    }
    let now = seconds_before_now(Duration::ZERO);
    let store = Store::open(&config.log.database, long_deadline(config));
    store.and_then(|mut store| exception::any_in_force(&mut store, now)).unwrap_or(false)
}
