//! `authpolicy user`: manages the accounts of the table that `db init` makes; lists those of any
//! table.

mod list;

use clap::Args;
use clap::Subcommand;

use authpolicy::account::Login;
use authpolicy::account::remembered;
use authpolicy::config::Config;
use authpolicy::error::Error;
use authpolicy::policy::lists;
use authpolicy::secret::Secret;
use authpolicy::store::Store;
use authpolicy::store::Value;

pub(super) use self::list::check;
use super::Done;
use super::hash;
use super::long_deadline;
use super::say;

#[derive(Subcommand)]
pub(super) enum UserCommand {
    /// Add an account; the password is read from standard input.
    Add(AddUser),
    /// Change the password of an account; the new one is read from standard input.
    Passwd {
        /// The account, such as mike@example.com.
        name: String,
        #[command(flatten)]
        hash: hash::HashArguments,
    },
    /// Delete an account.
    Del {
        /// The account.
        name: String,
    },
    /// Disable an account, so that it cannot log in.
    Disable {
        /// The account.
        name: String,
    },
    /// Enable a disabled account.
    Enable {
        /// The account.
        name: String,
    },
    /// List the accounts.
    List {
        /// List only accounts whose stored password is weak, in clear text, or unreadable, with its
        /// scheme.
        #[arg(long)]
        weak: bool,
    },
}

#[derive(Args)]
pub(super) struct AddUser {
    /// The account, such as mike@example.com.
    name: String,
    /// The countries that the account may log in from, such as GB,IE; * for any. By default, the
    /// rules of the configuration apply.
    #[arg(long, value_name = "LIST")]
    allow_countries: Option<String>,
    #[command(flatten)]
    hash: hash::HashArguments,
}

pub(super) fn run(config: &Config, command: &UserCommand) -> Done {
    let is_listed = matches!(command, UserCommand::List { .. }) && config.accounts.list.is_some();
    if !config.accounts.query_is_default && !is_listed {
        let what = match matches!(command, UserCommand::List { .. }) {
            true => {
                "accounts.query is your own and finds one account at a time: add a query for all accounts, such as \
                 accounts.list = \"SELECT address AS username, password FROM mailbox ORDER BY address\""
            }
            false => "accounts.query is your own: manage the accounts in the table that it reads",
        };
        return Err(Error::Config { file: config.path.clone(), what: what.to_owned() });
    }
    let mut store = Store::open(&config.accounts.database, long_deadline(config))?;
    let name = |name: &str| Login::new(name, &config.accounts.default_domain).user().to_owned();
    let done = match command {
        UserCommand::Add(account) => add(config, &mut store, &name(&account.name), account),
        UserCommand::Passwd { name: typed, hash } => {
            let name = name(typed);
            let stored = new_hash(config, &name, hash)?;
            let sql = "UPDATE account SET password = :password WHERE username = :name";
            change(&mut store, &name, sql, Some(stored))
        }
        UserCommand::Del { name: typed } => {
            let name = name(typed);
            let sql = "DELETE FROM account WHERE username = :name";
            let done = change(&mut store, &name, sql, None);
            done.and_then(|done| delete_exceptions(config, &name).map(|()| done))
        }
        UserCommand::Disable { name: typed } => {
            let sql = "UPDATE account SET active = 0 WHERE username = :name";
            change(&mut store, &name(typed), sql, None)
        }
        UserCommand::Enable { name: typed } => {
            let sql = "UPDATE account SET active = 1 WHERE username = :name";
            change(&mut store, &name(typed), sql, None)
        }
        UserCommand::List { weak: true } => list::weak(config, &mut store),
        UserCommand::List { weak: false } => list::all(config, &mut store),
    };
    if matches!(
        command,
        UserCommand::Passwd { .. } | UserCommand::Del { .. } | UserCommand::Disable { .. }
    ) {
        remembered::delete_all(&config.state_directory);
    }
    done
}

fn add(config: &Config, store: &mut Store, name: &str, account: &AddUser) -> Done {
    let countries = account.allow_countries.as_deref().unwrap_or_default();
    lists::countries(countries).map_err(|what| Error::Account {
        account: name.to_owned(),
        what: format!("--allow-countries: {what}"),
    })?;
    if !countries.is_empty() && config.geoip.is_empty() {
        let what = String::from("--allow-countries needs [geoip] database");
        return Err(Error::Config { file: config.path.clone(), what });
    }
    if exists(store, name)? {
        eprintln!("authpolicy: account {name} exists: change it with `authpolicy user passwd`");
        return Ok(false);
    }
    let stored = new_hash(config, name, &account.hash)?;
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

fn change(store: &mut Store, name: &str, sql: &'static str, stored: Option<Secret>) -> Done {
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

/// Deletes the exceptions of a deleted account, because another account may get its name later.
fn delete_exceptions(config: &Config, name: &str) -> Result<(), Error> {
    let mut store = Store::open(&config.log.database, long_deadline(config))?;
    let sql = "DELETE FROM authpolicy_exception WHERE username = :name";
    match store.execute(sql, &[("name", Value::text(name))]) {
        Ok(_) => Ok(()),
        Err(e) if e.is_about_table() => Ok(()),
        Err(e) => Err(e),
    }
}

fn exists(store: &mut Store, name: &str) -> Result<bool, Error> {
    let sql = "SELECT username FROM account WHERE username = :name";
    Ok(!store.query(sql, &[("name", Value::text(name))])?.is_empty())
}

fn new_hash(config: &Config, name: &str, hash: &hash::HashArguments) -> Result<Secret, Error> {
    let made =
        hash.read_and_hash(&format!("New password for {name}: "), &config.accounts.passwords);
    made.map_err(|what| Error::Account { account: name.to_owned(), what })
}
