//! `authpolicy db`: makes missing databases and tables; backs up and restores the embedded
//! database.

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
use super::long_deadline;
use super::owner;
use super::say;

#[derive(Subcommand)]
pub(super) enum DbCommand {
    /// Create missing tables, and a missing embedded database; existing tables are never altered.
    Init,
    /// Copy the embedded database to a new file, while Exim may be running.
    Backup(BackupArguments),
    /// Replace the embedded database by a backup, while Exim may be running.
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
    // With another query, the accounts are in a table of the administrator.
    if accounts.query_is_default {
        store::create(&accounts.database)?;
        let mut store = Store::open(&accounts.database, long_deadline(config))?;
        make_table(&mut store, &schema::ACCOUNT)?;
    }
    store::create(&config.log.database)?;
    let mut store = Store::open(&config.log.database, long_deadline(config))?;
    for schema in &schema::LOG {
        make_table(&mut store, schema)?;
    }
    Ok(true)
}

fn make_table(store: &mut Store, schema: &Schema) -> Result<(), Error> {
    let made = store.create_table(schema)?;
    let what = if made { "made" } else { "exists, left as it is" };
    say(&format!("table={} {what}", schema.table));
    Ok(())
}
