//! `authpolicy db`: makes what is missing and leaves alone what is there; backup and restore.

mod copies;
mod source;

use clap::Subcommand;

use authpolicy::config::Config;
use authpolicy::error::Error;
use authpolicy::store;
use authpolicy::store::Store;
use authpolicy::store::schema;
use authpolicy::store::schema::Schema;

use self::copies::BackupArguments;
use self::copies::RestoreArguments;
use super::Done;
use super::owner;
use super::patience;
use super::say;

#[derive(Subcommand)]
pub(super) enum DbCommand {
    /// Make the databases' tables where they are missing; what exists is never altered.
    Init,
    /// Copy the embedded database, as it is now, to a new file; Exim may run.
    Backup(BackupArguments),
    /// Put a backup in the embedded database's place; Exim may run.
    Restore(RestoreArguments),
}

/// Runs a verb. The files of backup and restore are opened as the calling user. The rest is done as
/// the owner of the state directory.
pub(super) fn run(config: Config, command: &DbCommand) -> Done {
    match command {
        DbCommand::Init => {
            owner::make_state_directory(&config.state_directory)?;
            owner::make_database_directories(&config)?;
            init(&owner::become_owner(config)?)
        }
        DbCommand::Backup(copy) => copies::back_up(config, copy),
        DbCommand::Restore(copy) => copies::restore(config, copy),
    }
}

fn init(config: &Config) -> Done {
    let accounts = &config.accounts;
    // With a query of the administrator's own, the accounts are in a table of their own.
    if accounts.query_is_default {
        store::create(&accounts.database)?;
        let mut store = Store::open(&accounts.database, patience(config))?;
        make(&mut store, &schema::ACCOUNT)?;
    }
    store::create(&config.log.database)?;
    let mut store = Store::open(&config.log.database, patience(config))?;
    for schema in &schema::LOG {
        make(&mut store, schema)?;
    }
    Ok(true)
}

fn make(store: &mut Store, schema: &Schema) -> Result<(), Error> {
    let made = store.create_table(schema)?;
    let what = if made { "made" } else { "exists, left as it is" };
    say(&format!("table={} {what}", schema.table));
    Ok(())
}
