//! `authpolicy exception`: temporary exceptions of an account from rules about countries and
//! networks, such as for a journey.

use std::time::Duration;
use std::time::Instant;
use std::time::UNIX_EPOCH;

use clap::ArgGroup;
use clap::Args;
use clap::Subcommand;

use authpolicy::account;
use authpolicy::account::Login;
use authpolicy::attempt::Attempt;
use authpolicy::config::Config;
use authpolicy::config::DEFAULT_QUERY_OF_PROVED;
use authpolicy::error::Error;
use authpolicy::policy::lists;
use authpolicy::store::Deadline;
use authpolicy::store::Sql;
use authpolicy::store::Store;
use authpolicy::store::Value;

use super::Done;
use super::long_deadline;
use super::say;
use super::seconds_before_now;
use super::timestamp;

const DAY: i64 = 24 * 3600;

#[derive(Subcommand)]
pub(super) enum ExceptionCommand {
    /// Let an account log in from countries or networks that the rules refuse, until the end of a
    /// day.
    Add(AddException),
    /// List the exceptions, including those that have ended.
    List {
        /// List only the exceptions of this account.
        name: Option<String>,
    },
    /// Delete an exception.
    Del {
        /// The number of the exception, as `list` shows it.
        id: u32,
    },
}

#[derive(Args)]
#[command(group(ArgGroup::new("places").required(true).multiple(true).args(["countries", "networks"])))]
pub(super) struct AddException {
    /// The account as the log shows it, such as mike@example.com.
    name: String,
    /// The countries to admit, such as ES,FR.
    #[arg(long, value_name = "LIST")]
    countries: Option<String>,
    /// The networks to admit, such as 192.0.2.0/24.
    #[arg(long, value_name = "LIST")]
    networks: Option<String>,
    /// The last day in UTC, such as 2027-06-30, or a duration, such as 14d.
    #[arg(long, value_name = "DAY")]
    until: String,
}

pub(super) fn run(config: &Config, command: &ExceptionCommand) -> Done {
    let mut store = Store::open(&config.log.database, long_deadline(config))?;
    run_command(config, &mut store, command).map_err(|e| e.about_table("authpolicy_exception"))
}

fn run_command(config: &Config, store: &mut Store, command: &ExceptionCommand) -> Done {
    match command {
        ExceptionCommand::Add(exception) => add(config, store, exception),
        ExceptionCommand::List { name } => list(config, store, name.as_deref()),
        ExceptionCommand::Del { id } => {
            let sql = "DELETE FROM authpolicy_exception WHERE id = :id";
            let deleted = store.execute(sql, &[("id", Value::Int((*id).into()))])?;
            say(&format!("deleted={deleted}"));
            Ok(deleted > 0)
        }
    }
}

fn account(config: &Config, name: &str) -> String {
    Login::new(name, &config.accounts.default_domain).key().to_owned()
}

fn add(config: &Config, store: &mut Store, exception: &AddException) -> Done {
    let account = account(config, &exception.name);
    let fail = |what: String| Error::Account { account: account.clone(), what };
    let text = |list: &Option<String>| list.as_deref().map_or(Value::Null, Value::text);
    let countries = exception.countries.as_deref().unwrap_or_default();
    let networks = exception.networks.as_deref().unwrap_or_default();
    let countries =
        lists::countries(countries).map_err(|what| fail(format!("--countries: {what}")))?.is_some();
    let networks =
        lists::networks(networks).map_err(|what| fail(format!("--networks: {what}")))?.is_some();
    if account.is_empty() {
        return Err(Error::Call(String::from("the account's name is empty")));
    }
    if countries && config.geoip.is_empty() {
        let what = String::from("--countries needs [geoip] database");
        return Err(Error::Config { file: config.path.clone(), what });
    }
    if !countries && !networks {
        return Err(fail(String::from(
            "--countries and --networks are empty: give a country or a network",
        )));
    }
    let lengths = [&exception.countries, &exception.networks];
    if lengths.into_iter().flatten().any(|list| list.len() > 255) {
        return Err(fail(String::from("a list has more than 255 characters: add two exceptions")));
    }
    let now = seconds_before_now(Duration::ZERO);
    let expires = parse_end(&exception.until, now).map_err(fail)?;
    if let Some(warning) = warn(config, &account) {
        eprintln!("authpolicy: warning: {warning}");
    }
    let sql = "INSERT INTO authpolicy_exception (username, countries, networks, expires) \
               VALUES (:username, :countries, :networks, :expires)";
    store.execute(
        sql,
        &[
            ("username", Value::text(&account)),
            ("countries", text(&exception.countries)),
            ("networks", text(&exception.networks)),
            ("expires", Value::Int(expires)),
        ],
    )?;
    let sql = "SELECT MAX(id) AS id FROM authpolicy_exception WHERE username = :username";
    let rows = store.query(sql, &[("username", Value::text(&account))])?;
    let id = rows.first().map(|row| row.text("id")).unwrap_or_default();
    say(&format!("id={id} account={account} ends={}", timestamp(expires)));
    Ok(true)
}

/// Returns a warning if the account query finds no such account, or returns another name. This is
/// not an error, because the account may be created later.
fn warn(config: &Config, account: &str) -> Option<String> {
    match find_username(config, account) {
        Ok(None) => {
            Some(format!("accounts.query finds no account {account:?}: check the spelling"))
        }
        Ok(Some(name)) if !name.is_empty() && name.trim().to_lowercase() != account => {
            Some(format!(
                "accounts.query calls the account {name:?}, but the exception is for {account:?}: add an \
                 exception for {name:?}"
            ))
        }
        Ok(Some(name)) if name.is_empty() && !config.accounts.query_is_default => Some(
            "accounts.query returns no column username: while there are exceptions, a login that is not printable \
             ASCII gets 435: return the name as it is stored, AS username"
                .to_owned(),
        ),
        Ok(Some(_)) => None,
        Err(e) => Some(format!("cannot tell whether there is an account {account:?}: {e}")),
    }
}

/// Returns the `username` of an account if the query finds it; empty if the query has no such
/// column.
fn find_username(config: &Config, account: &str) -> Result<Option<String>, Error> {
    let accounts = &config.accounts;
    let attempt = Attempt::parse(&[account.as_bytes(), b"-", b"", b"tls=yes"])?;
    let login = Login::new(account, &accounts.default_domain);
    let query = match accounts.query_is_default {
        // This query also finds disabled accounts.
        true => DEFAULT_QUERY_OF_PROVED.into(),
        false => Sql::configured(&accounts.query),
    };
    let mut store =
        Store::open(&accounts.database, Deadline::new(Instant::now(), config.timeouts))?;
    let rows = store.query(query, &account::parameters(&login, &attempt, &config.log.protocol))?;
    Ok(rows.first().map(|row| row.text("username")))
}

/// Returns the end of an exception in seconds since 1970: the end of a day, or a duration from now.
fn parse_end(text: &str, now: i64) -> Result<i64, String> {
    let midnight = humantime::parse_rfc3339_weak(&format!("{text} 00:00:00"));
    let end = match (midnight, humantime::parse_duration(text)) {
        (Ok(day), _) => {
            let since = day.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            i64::try_from(since).unwrap_or(0).saturating_add(DAY)
        }
        (Err(_), Ok(time)) => now.saturating_add(i64::try_from(time.as_secs()).unwrap_or(i64::MAX)),
        (Err(_), Err(_)) => {
            return Err(format!(
                "--until: {text:?} is not a day such as 2027-06-30 or a duration such as 14d"
            ));
        }
    };
    if end <= now {
        return Err(format!("--until: {text} is in the past: give a later day"));
    }
    Ok(end)
}

fn list(config: &Config, store: &mut Store, name: Option<&str>) -> Done {
    let sql = match name {
        Some(_) => {
            "SELECT id, username, countries, networks, expires FROM authpolicy_exception \
             WHERE username = :name ORDER BY expires, id"
        }
        None => {
            "SELECT id, username, countries, networks, expires FROM authpolicy_exception \
             ORDER BY expires, id"
        }
    };
    let name = Value::text(&name.map(|name| account(config, name)).unwrap_or_default());
    let now = seconds_before_now(Duration::ZERO);
    for row in store.query(sql, &[("name", name)])? {
        let expires = row.text("expires").parse().unwrap_or(0);
        let ends = if expires > now { "ends" } else { "ended" };
        say(&format!(
            "id={} account={} countries={} networks={} {ends}={}",
            row.text("id"),
            row.text("username"),
            lists::words(&row.text("countries").to_uppercase()).join(","),
            lists::words(&row.text("networks")).join(","),
            timestamp(expires),
        ));
    }
    Ok(true)
}
