//! `authpolicy db`: makes what is missing and leaves alone what is there; backup and restore.

mod copies;
mod source;

use clap::Subcommand;

use crate::config::Config;
use crate::error::Error;
use crate::store;
use crate::store::Store;

use self::copies::Source;
use self::copies::Target;
use super::Done;
use super::owner;
use super::patience;
use super::say;

/// The tables of the log's database, with the schemas for SQLite and for MariaDB and MySQL.
const TABLES: [(&str, &str, &str); 5] = [
    (
        "connection_log",
        include_str!("../store/connection_log.sqlite.sql"),
        include_str!("../store/connection_log.mysql.sql"),
    ),
    (
        "authpolicy_delivered",
        include_str!("../store/delivered.sqlite.sql"),
        include_str!("../store/delivered.mysql.sql"),
    ),
    (
        "authpolicy_exception",
        include_str!("../store/exception.sqlite.sql"),
        include_str!("../store/exception.mysql.sql"),
    ),
    (
        "authpolicy_count",
        include_str!("../store/count.sqlite.sql"),
        include_str!("../store/count.mysql.sql"),
    ),
    (
        "authpolicy_seen",
        include_str!("../store/seen.sqlite.sql"),
        include_str!("../store/seen.mysql.sql"),
    ),
];

#[derive(Subcommand)]
pub(super) enum Verb {
    /// Make the databases' tables where they are missing; what exists is never altered.
    Init,
    /// Copy the embedded database, as it is now, to a new file; Exim may run.
    Backup(Target),
    /// Put a backup in the embedded database's place; Exim may run.
    Restore(Source),
}

/// Runs a verb. The files of backup and restore are opened as the calling user. The rest is done as
/// the owner of the state directory.
pub(super) fn run(config: Config, verb: &Verb) -> Done {
    match verb {
        Verb::Init => {
            owner::make_state_directory(&config.state_directory)?;
            owner::make_database_directories(&config)?;
            init(&owner::become_owner(config)?)
        }
        Verb::Backup(copy) => copies::back_up(config, copy),
        Verb::Restore(copy) => copies::restore(config, copy),
    }
}

fn init(config: &Config) -> Done {
    let accounts = &config.accounts;
    // With a query of the administrator's own, the accounts are in a table of their own.
    if accounts.query_is_default {
        store::create(&accounts.database)?;
        let mut store = Store::open(&accounts.database, patience(config))?;
        let sql = store.dialect(
            include_str!("../store/account.sqlite.sql"),
            include_str!("../store/account.mysql.sql"),
        );
        make(&mut store, "account", sql)?;
    }
    store::create(&config.log.database)?;
    let mut store = Store::open(&config.log.database, patience(config))?;
    for (table, sqlite, mysql) in TABLES {
        let sql = store.dialect(sqlite, mysql);
        make(&mut store, table, sql)?;
    }
    Ok(true)
}

fn make(store: &mut Store, table: &str, sql: &'static str) -> Result<(), Error> {
    if store.has_table(table)? {
        say(&format!("table={table} exists, left as it is"));
        return Ok(());
    }
    for statement in sql.split(";\n") {
        store.execute(statement, &[])?;
    }
    say(&format!("table={table} made"));
    Ok(())
}
