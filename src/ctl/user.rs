//! `authpolicy user`: the accounts of our own table.

use clap::Args;
use clap::Subcommand;

use crate::account::Login;
use crate::config::Config;
use crate::error::Error;
use crate::password;
use crate::rules;
use crate::secret::Secret;
use crate::store::Store;
use crate::store::Value;

use super::Done;
use super::patience;
use super::read_password;
use super::say;

#[derive(Subcommand)]
pub(super) enum Verb {
    /// Add an account; its password is read from standard input.
    Add(Add),
    /// Change a password; the new one is read from standard input.
    Passwd {
        /// The account, as mike@example.com.
        name: String,
        /// The bcrypt cost, 4 to 14.
        #[arg(long, default_value_t = password::DEFAULT_BCRYPT_COST)]
        cost: u32,
    },
    /// Delete an account.
    Del {
        /// The account.
        name: String,
    },
    /// Keep an account from logging in.
    Disable {
        /// The account.
        name: String,
    },
    /// Let a disabled account log in again.
    Enable {
        /// The account.
        name: String,
    },
    /// List the accounts.
    List,
}

#[derive(Args)]
pub(super) struct Add {
    /// The account, as mike@example.com.
    name: String,
    /// The countries it may log in from, as GB,IE; * for any. Without it the default rules hold.
    #[arg(long, value_name = "LIST")]
    allow_countries: Option<String>,
    /// The bcrypt cost, 4 to 14.
    #[arg(long, default_value_t = password::DEFAULT_BCRYPT_COST)]
    cost: u32,
}

pub(super) fn run(config: &Config, verb: &Verb) -> Done {
    if !config.accounts.query_is_default {
        let what = "accounts.query is your own: look after the accounts where it finds them";
        return Err(Error::Config { file: config.path.clone(), what: what.to_owned() });
    }
    let mut store = Store::open(&config.accounts.database, patience(config))?;
    let name = |name: &str| Login::new(name, &config.accounts.default_domain).user().to_owned();
    match verb {
        Verb::Add(account) => add(config, &mut store, &name(&account.name), account),
        Verb::Passwd { name: typed, cost } => {
            let name = name(typed);
            let stored = new_hash(&name, *cost)?;
            let sql = "UPDATE account SET password = :password WHERE username = :name";
            change(&mut store, &name, sql, Some(stored))
        }
        Verb::Del { name: typed } => {
            change(&mut store, &name(typed), "DELETE FROM account WHERE username = :name", None)
        }
        Verb::Disable { name: typed } => {
            let sql = "UPDATE account SET active = 0 WHERE username = :name";
            change(&mut store, &name(typed), sql, None)
        }
        Verb::Enable { name: typed } => {
            let sql = "UPDATE account SET active = 1 WHERE username = :name";
            change(&mut store, &name(typed), sql, None)
        }
        Verb::List => list(&mut store),
    }
}

fn add(config: &Config, store: &mut Store, name: &str, account: &Add) -> Done {
    let countries = account.allow_countries.as_deref().unwrap_or_default();
    rules::countries(countries).map_err(|what| Error::Account {
        account: name.to_owned(),
        what: format!("--allow-countries: {what}"),
    })?;
    if !countries.is_empty() && config.geoip.is_none() {
        let what = String::from("--allow-countries needs [geoip] database");
        return Err(Error::Config { file: config.path.clone(), what });
    }
    if exists(store, name)? {
        eprintln!("authpolicy: account {name} exists: change it with `authpolicy user passwd`");
        return Ok(false);
    }
    let stored = new_hash(name, account.cost)?;
    let sql = "INSERT INTO account (username, password, allow_countries) \
               VALUES (:name, :password, :countries)";
    store.execute(
        sql,
        &[
            ("name", Value::text(name)),
            ("password", Value::Text(stored)),
            ("countries", if countries.is_empty() { Value::Null } else { Value::text(countries) }),
        ],
    )?;
    say(&format!("account={name} added"));
    Ok(true)
}

fn change(store: &mut Store, name: &str, sql: &str, stored: Option<Secret>) -> Done {
    if !exists(store, name)? {
        eprintln!("authpolicy: account {name} does not exist");
        return Ok(false);
    }
    let stored = stored.map_or(Value::Null, Value::Text);
    store.execute(sql, &[("name", Value::text(name)), ("password", stored)])?;
    let done = if sql.starts_with("DELETE") { "deleted" } else { "changed" };
    say(&format!("account={name} {done}"));
    Ok(true)
}

fn exists(store: &mut Store, name: &str) -> Result<bool, Error> {
    let sql = "SELECT username FROM account WHERE username = :name";
    Ok(!store.query(sql, &[("name", Value::text(name))])?.is_empty())
}

fn new_hash(name: &str, cost: u32) -> Result<Secret, Error> {
    let account = name.to_owned();
    let password = read_password(&format!("New password for {name}: "))?;
    if !(1..=crate::attempt::MAX_PASSWORD).contains(&password.expose().len()) {
        let what = format!("a password has 1 to {} bytes", crate::attempt::MAX_PASSWORD);
        return Err(Error::Account { account, what });
    }
    if password.expose().len() > 72 {
        eprintln!("authpolicy: note: bcrypt looks at the first 72 bytes of a password only");
    }
    password::hash(&password, cost).map_err(|fault| Error::Account { account, what: fault.0 })
}

fn list(store: &mut Store) -> Done {
    let sql = "SELECT username, active, allow_countries FROM account ORDER BY username";
    for row in store.query(sql, &[])? {
        let line = format!("account={} active={}", row.text("username"), row.text("active"));
        match row.text("allow_countries") {
            list if list.is_empty() => say(&line),
            list => say(&format!("{line} allow_countries={}", rules::words(&list).join(","))),
        }
    }
    Ok(true)
}
