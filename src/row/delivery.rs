//! Delivers rows to the log's table, each row once.
//!
//! A transaction stores a row together with its mark: the row's id in `authpolicy_delivered`. If
//! COMMIT gets no answer or the process is killed, it is unknown if the row is stored. Then it can
//! be stored again, because a row with a mark is skipped. This holds for the row of the attempt
//! itself and for rows from the journal, on all hosts of a cluster, and for a journal that was
//! restored from a backup.
//!
//! A database without that table gets its rows, too, but a row whose COMMIT got no answer may be
//! stored twice. An embedded database can usually tell if it has committed. There, only rows that
//! have waited are marked.

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
use crate::error::StoreFault;
use crate::row::journal::Journal;
use crate::row::journal::Record;
use crate::sql::Sql;
use crate::store::Statement;
use crate::store::Store;
use crate::store::Stores;
use crate::store::Value;
use crate::store::dialect;
use crate::verdict::maillog::MailLog;

/// The time that a mark is kept, in seconds: 30 days. Only a row whose COMMIT got no answer, and
/// that then waited longer than this, could be stored twice.
const MARK_LIFETIME: i64 = 30 * 24 * 3600;
/// Attempts whose id ends in this digit also delete old marks: one in sixteen.
const PRUNING_DIGIT: char = '0';
/// The pause before an attempt looks again for settlements that another process may have written.
const CATCH_UP_PAUSE: Duration = Duration::from_millis(50);
/// An attempt that took longer than this to store its own row delivers no waiting rows.
const FAST_STORE: Duration = Duration::from_millis(40);

/// Stores the row of an attempt, or appends it to the journal until the database is back.
///
/// # Errors
/// Neither the table nor the journal took the row.
pub fn record(
    config: &Config,
    stores: &mut Stores<'_>,
    record: &Record,
    log: MailLog<'_>,
) -> Result<(), Error> {
    let journal = Journal::new(&config.state_directory, config.durability, log);
    // The journal may have the row even if appending to it panics. So a row that is appended first
    // is stored with a mark. A delivery of the journal then skips it.
    let may_be_waiting = record.settlement.is_some();
    if may_be_waiting {
        // The database has just failed to write the settlement, so row and settlement wait
        // together.
        match journal.append(record) {
            Ok(()) => return Ok(()),
            // Reservations of the attempt count as failures when their lease is over, and never
            // admit a client.
            Err(e) => log.trouble("journal", &e),
        }
    }
    match config.log.delivery {
        Delivery::Direct => match timed(|| store_one(config, stores, record, may_be_waiting)) {
            (Ok(stored), time) => {
                if stored.new == 0 && !may_be_waiting {
                    log.trouble("log", &ended_transaction());
                }
                // With a distant or busy server, waiting rows are left to `flush`.
                if time < FAST_STORE {
                    let delivered_waiting = contain::catch("help", || {
                        deliver_waiting(config, stores, &journal, record, log)
                    });
                    // The attempt's own row is stored, so this is only logged.
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

/// Appends a row to the journal, or stores it now if the journal does not take it.
///
/// # Errors
/// Neither the journal nor the table took the row.
pub fn record_later(
    config: &Config,
    stores: &mut Stores<'_>,
    record: &Record,
    log: MailLog<'_>,
) -> Result<(), Error> {
    let journal = Journal::new(&config.state_directory, config.durability, log);
    let Err(e) = journal.append(record) else { return Ok(()) };
    // The journal may have the row even if appending to it panicked. The mark keeps the row from
    // being stored twice.
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

/// The error for a new row that was found stored when its transaction was tried again: `log.insert`
/// has ended the transaction.
fn ended_transaction() -> Error {
    let what = "must not begin or end a transaction, because rows may be lost or stored twice";
    Error::System { place: String::from("log.insert"), source: std::io::Error::other(what) }
}

/// Stores one row. It gets a mark if the journal may have it, too, or if a failed COMMIT may have
/// stored it.
fn store_one(
    config: &Config,
    stores: &mut Stores<'_>,
    record: &Record,
    may_be_waiting: bool,
) -> Result<StoredRows, Error> {
    let store = stores.log()?;
    let is_sure = store.confirms_commits() && config.durability == Durability::Process;
    store_rows(store, &config.log, &[record], may_be_waiting || !is_sure, None)
}

/// Delivers some waiting rows and deletes some old marks, since the database works. If that fails,
/// later attempts try again.
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
    if record.id.ends_with(PRUNING_DIGIT) {
        delivered_waiting = delivered_waiting.and_then(|()| prune(stores.log()?).map(|_| ()));
    }
    if let Err(e) = delivered_waiting {
        log.trouble("journal", &e);
    }
}

/// The result of [`catch_up`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CaughtUp {
    /// No settlement waited.
    Nothing,
    /// All waiting settlements are written.
    All,
    /// Some settlements still wait.
    Waits,
}

/// Writes the settlements that wait in this host's journal, with their rows. Waits while another
/// process writes them. All calls for one attempt together take about `query_timeout` at most.
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

/// The result of a transaction that stores rows.
#[derive(Default)]
struct StoredRows {
    /// The number of rows that are stored now.
    handled: usize,
    /// The number of those that were not stored before.
    new: usize,
}

/// Stores rows in one transaction: at least one, and as many as there is time for. With marks, rows
/// that are stored already are skipped.
fn store_rows(
    store: &mut Store,
    log: &Log,
    records: &[&Record],
    has_marks: bool,
    until: Option<Instant>,
) -> Result<StoredRows, Error> {
    if let ([record], true) = (records, has_marks)
        && let Some(done) = store_at_once(store, log, record)?
    {
        return Ok(done);
    }
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

/// Stores a row and its mark in two round trips: one packet with both, and COMMIT. Returns `None` if
/// nothing is stored, and the row needs the other way: it has a mark already, does not fit its
/// columns, or needs another statement than the default one.
///
/// COMMIT is not in the same packet. If an INSERT has to wait for a lock until the time is over, the
/// server must not store the row after a 435.
fn store_at_once(
    store: &mut Store,
    log: &Log,
    record: &Record,
) -> Result<Option<StoredRows>, Error> {
    let (Some(mark), Some(insert), None) =
        (dialect::mark_new(store), log.default_insert(), &record.settlement)
    else {
        return Ok(None);
    };
    let id = [("id", Value::text(&record.id))];
    let statements = [Statement::new(mark, &id), Statement::new(insert, &record.row)];
    match store.transaction(|store| store.run_all(&statements)) {
        Ok(_) => Ok(Some(StoredRows { handled: 1, new: 1 })),
        Err(e) if e.is_about_table() || e.store_fault() == Some(StoreFault::Row) => Ok(None),
        Err(e) => Err(e),
    }
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

/// Writes the settlement of an attempt whose row could not be stored.
fn settle_alone(store: &mut Store, record: &Record) -> Result<(), Error> {
    store.transaction(|store| settle(store, record))
}

/// True if marks are rolled back with their rows. Otherwise a mark does not show that its row is
/// stored. `known` keeps the answer.
fn marks_are_transactional(store: &mut Store, known: &mut Option<bool>) -> Result<bool, Error> {
    let is = match *known {
        Some(is) => is,
        None => store.has_transactions("authpolicy_delivered")?,
    };
    *known = Some(is);
    Ok(is)
}

/// Marks a row; false if it was marked before. Waits while another process stores the same row.
fn mark(store: &mut Store, id: &str) -> Result<bool, Error> {
    let id = [("id", Value::text(id))];
    let marked = store.run_all(&[Statement::new(dialect::mark_delivered(store), &id)])?;
    Ok(marked.iter().any(|result| result.changed > 0))
}

/// Deletes a bounded number of old marks; returns how many. It goes by the database's clock,
/// because a host whose clock is ahead would delete marks that other hosts need.
///
/// # Errors
/// The database did not do it.
pub fn prune(store: &mut Store) -> Result<u64, Error> {
    let sql = dialect::prune_delivered(store);
    let memory = [("memory", Value::Int(MARK_LIFETIME))];
    let delete = Statement::new(sql, &memory);
    match store.transaction(|store| store.run_all_and_commit(std::slice::from_ref(&delete))) {
        Err(e) if e.is_about_table() => Ok(0),
        deleted => Ok(deleted?.iter().map(|result| result.changed).sum()),
    }
}
