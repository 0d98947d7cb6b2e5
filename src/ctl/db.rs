//! `authpolicy db init`: makes what is missing, and leaves alone what is there.

use clap::Subcommand;

use crate::config::Config;
use crate::error::Error;
use crate::store;
use crate::store::Store;

use super::Done;
use super::patience;
use super::say;

#[derive(Subcommand)]
pub(super) enum Verb {
    /// Make the databases' tables where they are missing; what exists is never altered.
    Init,
}

pub(super) fn run(config: &Config, verb: &Verb) -> Done {
    let Verb::Init = verb;
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
    let sql = store.dialect(
        include_str!("../store/connection_log.sqlite.sql"),
        include_str!("../store/connection_log.mysql.sql"),
    );
    make(&mut store, "connection_log", sql)?;
    Ok(true)
}

fn make(store: &mut Store, table: &str, sql: &str) -> Result<(), Error> {
    if store.has_table(table)? {
        say(&format!("table={table} exists, left as it is"));
        return Ok(());
    }
    store.execute(sql, &[])?;
    say(&format!("table={table} made"));
    Ok(())
}
