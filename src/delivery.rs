//! A row's way into the log's table, once.
//!
//! With its row, a transaction stores the row's id in `authpolicy_delivered`. So who does not know
//! whether a COMMIT was carried out, since no answer came or the process was killed, can store the
//! row again: what is marked is passed over. That holds for a row of its own attempt and for one
//! that waited in the journal, for another host of the same cluster, and for a journal that was
//! restored from a backup. A database without that table gets its rows, too, but one whose COMMIT
//! had no answer may then be there twice.

use crate::config::Config;
use crate::config::Delivery;
use crate::config::Log;
use crate::error::Error;
use crate::error::StoreFault;
use crate::journal::Journal;
use crate::journal::Record;
use crate::maillog::MailLog;
use crate::sql::Sql;
use crate::store::Store;
use crate::store::Stores;
use crate::store::Value;

/// How long a mark is kept, in milliseconds: 30 days. Only a row whose COMMIT had no answer, and
/// that waited longer than that, could be stored twice.
const MEMORY: i64 = 30 * 24 * 3600 * 1000;
/// Old marks are deleted by the attempts whose id ends so: one in sixteen.
const PRUNED_BY: char = '0';

/// What became of some rows.
#[derive(Debug, Default)]
pub struct Delivered {
    /// How many were stored.
    pub stored: usize,
    /// How many were there already.
    pub known: usize,
    /// How many no table takes, or could not be read.
    pub set_aside: usize,
}

/// Has the row of an attempt stored, at the latest when the database is back.
///
/// # Errors
/// No place took it.
pub fn record(
    config: &Config,
    stores: &mut Stores<'_>,
    record: &Record,
    log: MailLog<'_>,
) -> Result<(), Error> {
    let journal = Journal::new(&config.state_directory, config.durability, log);
    match config.log.delivery {
        Delivery::Direct => match store_one(config, stores, record) {
            Ok(()) => {
                help(config, stores, &journal, record, log);
                Ok(())
            }
            Err(e) => {
                journal.append(record).map_err(|also| nowhere(&e, &also))?;
                log.waits(&e);
                Ok(())
            }
        },
        Delivery::Journal => journal.append(record).or_else(|e| {
            store_one(config, stores, record).map_err(|also| nowhere(&also, &e))?;
            log.trouble("journal", &e);
            Ok(())
        }),
    }
}

fn nowhere(store: &Error, journal: &Error) -> Error {
    let what = format!("no place took the row: {store}; {journal}");
    Error::System { place: String::from("log"), source: std::io::Error::other(what) }
}

fn store_one(config: &Config, stores: &mut Stores<'_>, record: &Record) -> Result<(), Error> {
    let stored = store(stores.log()?, &config.log, std::slice::from_ref(record))?;
    stored.refused.into_iter().next().map_or(Ok(()), |(_, e)| Err(e))
}

/// The database works again: takes some of what waits along, and deletes some old marks. What cannot
/// be done now is somebody else's turn.
fn help(
    config: &Config,
    stores: &mut Stores<'_>,
    journal: &Journal<'_>,
    record: &Record,
    log: MailLog<'_>,
) {
    let helped = stores.log().and_then(|store| {
        if journal.has_rows() {
            deliver(store, &config.log, journal)?;
        }
        if record.id.ends_with(PRUNED_BY) {
            prune(store, record.time().saturating_mul(1000))?;
        }
        Ok(())
    });
    if let Err(e) = helped {
        log.trouble("journal", &e);
    }
}

/// Stores one file of rows that waited; `None` where there is none.
///
/// # Errors
/// The database did not take them, and they go on waiting; or the journal cannot be read.
pub fn deliver(
    store: &mut Store,
    log: &Log,
    journal: &Journal<'_>,
) -> Result<Option<Delivered>, Error> {
    let Some(batch) = journal.take()? else { return Ok(None) };
    let stored = self::store(store, log, &batch.records)?;
    let refused: Vec<_> = stored.refused.iter().map(|(at, e)| (*at, e.to_string())).collect();
    let set_aside = journal.finish(batch, &refused)?;
    Ok(Some(Delivered { stored: stored.new, known: stored.known, set_aside }))
}

/// What a transaction came to.
#[derive(Default)]
struct Stored {
    new: usize,
    known: usize,
    /// The index of each row that the database will never take.
    refused: Vec<(usize, Error)>,
}

/// All of them, or none, but for what the database refuses for good.
fn store(store: &mut Store, log: &Log, records: &[Record]) -> Result<Stored, Error> {
    store.transaction(|store| {
        let mut stored = Stored::default();
        let mut has_marks = true;
        for (index, record) in records.iter().enumerate() {
            match if has_marks { mark(store, &record.id) } else { Ok(true) } {
                Ok(true) => {}
                Ok(false) => {
                    stored.known = stored.known.saturating_add(1);
                    continue;
                }
                Err(e) if e.is_about_table() => has_marks = false,
                Err(e) => return Err(e),
            }
            match store.insert(Sql::configured(&log.insert), &record.row) {
                Ok(()) => stored.new = stored.new.saturating_add(1),
                Err(e) if e.store_fault() == Some(StoreFault::Row) => {
                    if has_marks {
                        unmark(store, &record.id)?;
                    }
                    stored.refused.push((index, e));
                }
                Err(e) => return Err(e),
            }
        }
        Ok(stored)
    })
}

/// Whether this is the first time. Where another process is at the same row, this one waits.
fn mark(store: &mut Store, id: &str) -> Result<bool, Error> {
    let sql = store.dialect(
        "INSERT OR IGNORE INTO authpolicy_delivered (id) VALUES (:id)",
        "INSERT IGNORE INTO authpolicy_delivered (id) VALUES (:id)",
    );
    Ok(store.execute(sql, &[("id", Value::text(id))])? > 0)
}

fn unmark(store: &mut Store, id: &str) -> Result<(), Error> {
    let sql = "DELETE FROM authpolicy_delivered WHERE id = :id";
    store.execute(sql, &[("id", Value::text(id))]).map(|_| ())
}

/// Deletes a bounded number of old marks; answers how many. `now` is in milliseconds since 1970.
///
/// # Errors
/// The database did not do it.
pub fn prune(store: &mut Store, now: i64) -> Result<u64, Error> {
    let sql = store.dialect(
        "DELETE FROM authpolicy_delivered WHERE id IN (SELECT id FROM authpolicy_delivered \
         WHERE id < :before ORDER BY id LIMIT 100)",
        "DELETE FROM authpolicy_delivered WHERE id < :before ORDER BY id LIMIT 100",
    );
    let before = format!("{:012x}", now.saturating_sub(MEMORY).max(0));
    match store.transaction(|store| store.execute(sql, &[("before", Value::text(&before))])) {
        Err(e) if e.is_about_table() => Ok(0),
        deleted => deleted,
    }
}
