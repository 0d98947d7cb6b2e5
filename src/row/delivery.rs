//! A row's way into the log's table, once.
//!
//! With its row, a transaction stores the row's id in `authpolicy_delivered`. So who does not know
//! whether a COMMIT was carried out, since no answer came or the process was killed, can store the
//! row again: what is marked is passed over. That holds for a row of its own attempt and for one
//! that waited in the journal, for another host of the same cluster, and for a journal that was
//! restored from a backup. A database without that table gets its rows, too, but one whose COMMIT
//! had no answer may then be there twice. The embedded one says whether it has committed, as a rule:
//! there, only rows that have waited are marked.

mod round;

use std::time::Duration;
use std::time::Instant;

pub use self::round::Delivered;
pub use self::round::Pace;
pub use self::round::deliver;
pub use self::round::deliver_with_progress;
use crate::config::Config;
use crate::config::Delivery;
use crate::config::Durability;
use crate::config::Log;
use crate::contain;
use crate::error::Error;
use crate::row::journal::Journal;
use crate::row::journal::Record;
use crate::sql::Sql;
use crate::store::Store;
use crate::store::Stores;
use crate::store::Value;
use crate::store::dialect;
use crate::verdict::maillog::MailLog;

/// How long a mark is kept, in seconds: 30 days. Only a row whose COMMIT had no answer, and that
/// waited longer than that, could be stored twice.
const MEMORY: i64 = 30 * 24 * 3600;
/// Old marks are deleted by the attempts whose id ends so: one in sixteen.
const PRUNED_BY: char = '0';
/// The pause before an attempt looks again for settlements that another process may have written.
const CATCH_UP_PAUSE: Duration = Duration::from_millis(50);
/// An attempt whose own row took longer than this takes none of others' along.
const FAST_STORE: Duration = Duration::from_millis(40);

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
    // A journal that panicked may have the row all the same: the mark tells.
    let may_wait = record.settlement.is_some();
    if may_wait {
        // The database has just failed to settle the attempt: row and settlement wait together.
        match journal.append(record) {
            Ok(()) => return Ok(()),
            // The attempt's reservations count as failures when their lease is over. They admit no
            // client.
            Err(e) => log.trouble("journal", &e),
        }
    }
    match config.log.delivery {
        Delivery::Direct => match timed(|| store_one(config, stores, record, may_wait)) {
            (Ok(stored), time) => {
                if stored.new == 0 && !may_wait {
                    log.trouble("log", &ended_transaction());
                }
                // A server that is far or busy has no time for others' rows: `flush` has.
                if time < FAST_STORE {
                    let delivered_waiting = contain::catch("help", || {
                        deliver_waiting(config, stores, &journal, record, log)
                    });
                    // The attempt's own row is stored.
                    delivered_waiting
                        .unwrap_or_else(|panic| log.trouble("journal", &Error::Bug(panic)));
                }
                Ok(())
            }
            (Err(e), _) => {
                if let Err(also) = journal.append(record) {
                    return Err(not_stored(e, also));
                }
                log.row_waits(&e);
                Ok(())
            }
        },
        Delivery::Journal => record_later(config, stores, record, log),
    }
}

/// Has a row stored later, by way of the journal; now where the journal does not take it.
///
/// # Errors
/// No place took it.
pub fn record_later(
    config: &Config,
    stores: &mut Stores<'_>,
    record: &Record,
    log: MailLog<'_>,
) -> Result<(), Error> {
    let journal = Journal::new(&config.state_directory, config.durability, log);
    let Err(e) = journal.append(record) else { return Ok(()) };
    // A journal that panicked may have the row all the same. Then the mark keeps it from being
    // stored twice.
    match store_one(config, stores, record, true) {
        Ok(_) => {
            log.trouble("journal", &e);
            Ok(())
        }
        Err(also) => Err(not_stored(also, e)),
    }
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let done = work();
    (done, start.elapsed())
}

fn not_stored(store: Error, journal: Error) -> Error {
    Error::RowNotStored { store: Box::new(store), journal: Box::new(journal) }
}

/// A row that nobody had stored before was there at the second try.
fn ended_transaction() -> Error {
    let what = "must neither begin nor end a transaction: rows may be lost, or be there twice";
    Error::System { place: String::from("log.insert"), source: std::io::Error::other(what) }
}

fn store_one(
    config: &Config,
    stores: &mut Stores<'_>,
    record: &Record,
    may_wait: bool,
) -> Result<StoredRows, Error> {
    let store = stores.log()?;
    let is_sure = store.confirms_commits() && config.durability == Durability::Process;
    store_rows(store, &config.log, &[record], may_wait || !is_sure, None)
}

/// The database works again: takes some of what waits along, and deletes some old marks. What cannot
/// be done now is somebody else's turn.
fn deliver_waiting(
    config: &Config,
    stores: &mut Stores<'_>,
    journal: &Journal<'_>,
    record: &Record,
    log: MailLog<'_>,
) {
    let mut delivered_waiting = Ok(());
    if journal.has_rows() {
        let delivered = deliver(config, stores, journal, Pace::of_attempt(config.timeouts));
        delivered_waiting = delivered.trouble.map_or(Ok(()), Err);
    }
    if record.id.ends_with(PRUNED_BY) {
        delivered_waiting = delivered_waiting.and_then(|()| prune(stores.log()?).map(|_| ()));
    }
    if let Err(e) = delivered_waiting {
        log.trouble("journal", &e);
    }
}

/// The result for the settlements that waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CaughtUp {
    /// None waited.
    Nothing,
    /// All are written.
    All,
    /// Some still wait.
    Waits,
}

/// Writes the settlements that wait in this host's journal, with their rows. Waits if another
/// process is writing them. All this takes about `query_timeout` at most, in all of an attempt.
pub fn catch_up(config: &Config, stores: &mut Stores<'_>, log: MailLog<'_>) -> CaughtUp {
    let journal = Journal::new(&config.state_directory, config.durability, log);
    if !journal.has_settlements() {
        return CaughtUp::Nothing;
    }
    let start = Instant::now();
    let most = config.timeouts.query.saturating_sub(stores.excluded());
    let mut caught_up = CaughtUp::Waits;
    while caught_up == CaughtUp::Waits && start.elapsed() < most {
        let pace = Pace::of_settlements(config.timeouts, most.saturating_sub(start.elapsed()));
        let delivered = deliver(config, stores, &journal, pace);
        if let Some(e) = &delivered.trouble {
            log.trouble("journal", e);
        }
        let is_done = !delivered.is_locked && !delivered.is_unsettled;
        if is_done || !journal.has_settlements() {
            caught_up = CaughtUp::All;
        } else if delivered.trouble.is_some() {
            break;
        } else {
            stores.close();
            std::thread::sleep(CATCH_UP_PAUSE);
        }
    }
    stores.exclude(start.elapsed());
    caught_up
}

/// How many rows a transaction had, and how many of them were new.
#[derive(Default)]
struct StoredRows {
    handled: usize,
    new: usize,
}

/// All of them, or none; or as many as there is time for, and at least one. With marks, who looks
/// for a row later finds that it is stored.
fn store_rows(
    store: &mut Store,
    log: &Log,
    records: &[&Record],
    has_marks: bool,
    until: Option<Instant>,
) -> Result<StoredRows, Error> {
    store.transaction(|store| {
        let (mut has_marks, mut are_transactional) = (has_marks, None);
        let mut done = StoredRows::default();
        for record in records {
            if done.handled > 0 && until.is_some_and(|until| Instant::now() >= until) {
                break;
            }
            let is_new = if has_marks { mark(store, &record.id) } else { Ok(true) };
            let is_new = match is_new {
                Err(e) if e.is_about_table() => {
                    has_marks = false;
                    true
                }
                is_new => is_new?,
            };
            done.handled = done.handled.saturating_add(1);
            if !is_new && marks_are_transactional(store, &mut are_transactional)? {
                continue;
            }
            store.insert(Sql::configured(&log.insert), &record.row)?;
            settle(store, record)?;
            done.new = done.new.saturating_add(1);
        }
        Ok(done)
    })
}

/// Writes the settlement that the attempt could not write itself. A database without the tables for
/// limits still gets the row.
fn settle(store: &mut Store, record: &Record) -> Result<(), Error> {
    let settlement = record.settlement.as_ref();
    match settlement.map_or(Ok(()), |settlement| settlement.write_within(store)) {
        Err(e) if e.is_about_table() => Ok(()),
        settled => settled,
    }
}

/// Settles an attempt whose row the table refuses for good.
fn settle_alone(store: &mut Store, record: &Record) -> Result<(), Error> {
    store.transaction(|store| settle(store, record))
}

/// Whether marks come and go with their rows: those that outlast a transaction that comes to nothing
/// say nothing.
fn marks_are_transactional(store: &mut Store, known: &mut Option<bool>) -> Result<bool, Error> {
    let is = match *known {
        Some(is) => is,
        None => store.has_transactions("authpolicy_delivered")?,
    };
    *known = Some(is);
    Ok(is)
}

/// Whether this is the first time. Where another process is at the same row, this one waits.
fn mark(store: &mut Store, id: &str) -> Result<bool, Error> {
    let sql = dialect::mark_delivered(store);
    Ok(store.execute(sql, &[("id", Value::text(id))])? > 0)
}

/// Deletes a bounded number of old marks; answers how many. The database's clock counts: one host
/// whose own is ahead would forget marks that others need.
///
/// # Errors
/// The database did not do it.
pub fn prune(store: &mut Store) -> Result<u64, Error> {
    let sql = dialect::prune_delivered(store);
    let memory = [("memory", Value::Int(MEMORY))];
    match store.transaction(|store| store.execute(sql, &memory)) {
        Err(e) if e.is_about_table() => Ok(0),
        deleted => deleted,
    }
}
