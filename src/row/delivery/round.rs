//! Delivers rows from the journal to the table: one file after the other, a few rows at a time.

use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use super::StoredRows;
use super::settle_alone;
use super::store_rows;
use crate::config::Config;
use crate::config::Timeouts;
use crate::error::Error;
use crate::error::StoreFault;
use crate::row::journal::Journal;
use crate::row::journal::Line;
use crate::row::journal::MAX_FILES;
use crate::row::journal::Record;
use crate::row::journal::RowStatus;
use crate::store::Deadline;
use crate::store::Stores;

/// The time that an attempt spends on waiting rows.
const ATTEMPT_TIME: Duration = Duration::from_millis(200);
/// The rows that an attempt stores in one transaction.
const ATTEMPT_ROWS: usize = 8;
/// The longest file that an attempt delivers, in bytes.
const ATTEMPT_FILE_LENGTH: u64 = 1 << 18;
/// The rows that other deliveries store in one transaction.
const ROWS: usize = 200;
/// After this many consecutive failures, each of a single row and without a known fault of the row,
/// the delivery of these lines stops. The database is taken to be at fault.
const MAX_FAILURES: u32 = 3;

/// The result of a delivery.
#[derive(Debug, Default)]
pub struct Delivered {
    /// The number of rows that were stored.
    pub stored: usize,
    /// The number of rows that were stored before.
    pub known: usize,
    /// The number of lines that were set aside: the table refuses them for good, or they could not
    /// be read.
    pub set_aside: usize,
    /// True if another process is delivering some of the rows.
    pub is_locked: bool,
    /// True if the database accepts no row at present.
    pub is_unavailable: bool,
    /// True if the line of a stored row could not be commented out. The next delivery finds it
    /// again.
    pub is_unmarked: bool,
    /// True if some of the settlements may still wait.
    pub is_unsettled: bool,
    /// The first error of a row that still waits.
    pub trouble: Option<Error>,
}

impl Delivered {
    /// Adds the counts of the next pass. Everything else is taken from the next pass, because it
    /// has seen all rows that are left.
    #[must_use]
    pub fn merge(self, next: Self) -> Self {
        Self {
            stored: self.stored.saturating_add(next.stored),
            known: self.known.saturating_add(next.known),
            set_aside: self.set_aside.saturating_add(next.set_aside),
            ..next
        }
    }
}

/// The amount of work and the time of a delivery.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// The most rows in one transaction.
    rows: usize,
    /// The longest file that is delivered, in bytes.
    longest: u64,
    /// The start of the delivery, if its time is limited as a whole. `None` if each transaction has
    /// its own time.
    start: Option<Instant>,
    /// True if only rows with settlements are delivered.
    settlements: bool,
    /// A new file is begun only while fewer files than this wait.
    files: usize,
    timeouts: Timeouts,
}

impl Pace {
    /// The pace of an attempt, whose client waits for an answer.
    pub(super) fn of_attempt(timeouts: Timeouts) -> Self {
        let timeouts = Timeouts { attempt: ATTEMPT_TIME, ..timeouts };
        Self {
            rows: ATTEMPT_ROWS,
            longest: ATTEMPT_FILE_LENGTH,
            start: Some(Instant::now()),
            settlements: false,
            files: MAX_FILES,
            timeouts,
        }
    }

    /// The pace of an attempt that cannot be decided before other attempts are settled.
    pub(super) fn of_settlements(timeouts: Timeouts, time: Duration) -> Self {
        let timeouts = Timeouts { attempt: time, ..timeouts };
        let start = Some(Instant::now());
        let (rows, longest, files) = (ROWS, u64::MAX, MAX_FILES);
        Self { rows, longest, start, settlements: true, files, timeouts }
    }

    /// The pace of `flush`: all rows, and the time-outs hold for each transaction.
    #[must_use]
    pub fn of_flush(timeouts: Timeouts) -> Self {
        let (rows, longest, files) = (ROWS, u64::MAX, MAX_FILES);
        Self { rows, longest, start: None, settlements: false, files, timeouts }
    }

    /// The pace of `flush` after its first pass: the database takes rows, so all files are
    /// delivered.
    #[must_use]
    pub fn of_flush_again(timeouts: Timeouts) -> Self {
        Self { files: usize::MAX, ..Self::of_flush(timeouts) }
    }

    /// The moment when half of the time is over. Then no more rows are stored, and the rest of the
    /// time is for the COMMIT.
    fn half(&self, start: Instant) -> Option<Instant> {
        start.checked_add(self.timeouts.attempt.checked_div(2)?)
    }

    fn is_out_of_time(&self) -> bool {
        let half = self.start.and_then(|start| self.half(start));
        half.is_some_and(|half| Instant::now() >= half)
    }
}

/// Delivers the waiting rows, except those that another process is delivering and those that are
/// appended meanwhile. A file that fails does not keep the others waiting.
pub fn deliver(
    config: &Config,
    stores: &mut Stores<'_>,
    journal: &Journal<'_>,
    pace: Pace,
) -> Delivered {
    deliver_with_progress(config, stores, journal, pace, &|_| ())
}

/// Does the work of `deliver`, and calls `report` with the number of rows done since the last call.
pub fn deliver_with_progress(
    config: &Config,
    stores: &mut Stores<'_>,
    journal: &Journal<'_>,
    pace: Pace,
    report: &dyn Fn(usize),
) -> Delivered {
    let files = match pace.settlements {
        true => journal.batches_of_settlements(),
        false => journal.batches(pace.files),
    };
    let mut files = match files {
        Ok(files) => files,
        Err(e) => return Delivered { trouble: Some(e), ..Delivered::default() },
    };
    if pace.start.is_some() && !files.is_empty() {
        // Attempts start at different files, so that a file that fails does not block the rest.
        let first = random_start(files.len());
        files.rotate_left(first);
    }
    let own = Deadline::new(Instant::now(), pace.timeouts);
    let before = stores.replace_deadline(own);
    let done = Delivered::default();
    let mut round = Round { config, stores, journal, pace, report, done };
    for file in files {
        if pace.is_out_of_time() || round.done.is_unavailable {
            round.done.is_unsettled = true;
            break;
        }
        if let Err(e) = round.deliver_file(file) {
            round.done.is_unsettled = true;
            round.done.trouble.get_or_insert(e);
        }
    }
    let done = round.done;
    stores.replace_deadline(before);
    done
}

/// An index below `length`, which differs between processes.
fn random_start(length: usize) -> usize {
    let id = usize::try_from(std::process::id()).unwrap_or(0);
    id.checked_rem(length).unwrap_or(0)
}

struct Round<'a, 's> {
    config: &'a Config,
    stores: &'a mut Stores<'s>,
    journal: &'a Journal<'a>,
    pace: Pace,
    report: &'a dyn Fn(usize),
    done: Delivered,
}

impl Round<'_, '_> {
    /// Delivers the rows of a file, unless another process does.
    fn deliver_file(&mut self, file: PathBuf) -> Result<(), Error> {
        let Some(mut batch) = self.journal.lock(file.clone(), self.pace.longest)? else {
            self.done.is_locked |= file.exists();
            return Ok(());
        };
        let mut is_done = true;
        while !self.pace.is_out_of_time() && !self.done.is_unavailable {
            let lines = batch.next(self.pace.rows)?;
            if lines.is_empty() {
                return if is_done { batch.remove() } else { Ok(()) };
            }
            let statuses = self.store(&lines);
            is_done &= !statuses.iter().any(|status| matches!(status, RowStatus::Waits));
            batch
                .comment_out_stored(&lines, &statuses)
                .inspect_err(|_| self.done.is_unmarked = true)?;
            let set_aside = self.journal.set_aside(&batch, &lines, &statuses)?;
            self.done.set_aside = self.done.set_aside.saturating_add(set_aside);
            (self.report)(
                statuses.iter().filter(|status| !matches!(status, RowStatus::Waits)).count(),
            );
        }
        // The file may have more lines.
        self.done.is_unsettled = true;
        Ok(())
    }

    /// Stores the rows of some lines in one transaction. If that fails, it stores them one by one,
    /// because the database may refuse only one of them.
    fn store(&mut self, lines: &[Line]) -> Vec<RowStatus> {
        let waits =
            |line: &Line| if line.record.is_some() { RowStatus::Waits } else { RowStatus::Done };
        let mut statuses: Vec<_> = lines.iter().map(waits).collect();
        let rows = lines.iter().enumerate();
        let mut left: Vec<_> =
            rows.filter_map(|(at, line)| Some((at, line.record.as_ref()?))).collect();
        let (mut is_alone, mut failures) = (false, 0_u32);
        while !left.is_empty() && !self.pace.is_out_of_time() && failures < MAX_FAILURES {
            let length = if is_alone { 1 } else { left.len() };
            let some: Vec<_> = left.iter().take(length).copied().collect();
            match self.store_some(&some) {
                Ok(done) => {
                    for (at, _) in left.drain(..done.handled.min(length)) {
                        set(&mut statuses, at, RowStatus::Done);
                    }
                    failures = 0;
                }
                Err(e) if length > 1 && !self.done.is_unavailable && may_be_about_row(&e) => {
                    is_alone = true;
                    // The next delivery starts at another row, so that failing rows do not block
                    // the rest.
                    let first = random_start(left.len());
                    left.rotate_left(first);
                }
                Err(e) => {
                    let (at, record) = left.remove(0);
                    let is_settled = self.settle(record, &e);
                    let is_failure = !self.pace.settlements || !is_settled;
                    failures = failures.saturating_add(u32::from(is_failure));
                    if e.store_fault() == Some(StoreFault::Row) && is_settled {
                        set(&mut statuses, at, RowStatus::Refused(e.to_string()));
                        failures = 0;
                    } else {
                        self.done.is_unavailable |= !may_be_about_row(&e);
                        failures = if self.done.is_unavailable { MAX_FAILURES } else { failures };
                        self.done.trouble.get_or_insert(e);
                    }
                }
            }
        }
        self.done.is_unsettled |= !left.is_empty();
        keep_rest_of_line(lines, &mut statuses);
        statuses
    }

    /// Writes the settlement of a row that could not be stored for this reason. Returns false if
    /// the settlement has to wait. Writing it again later, with the row, does no harm.
    fn settle(&mut self, record: &Record, reason: &Error) -> bool {
        if record.settlement.is_none() {
            return true;
        }
        let may_work = reason.store_fault() != Some(StoreFault::Unreachable);
        let settled = may_work
            .then(|| self.stores.log().and_then(|store| settle_alone(store, record)))
            .is_some_and(|settled| settled.is_ok());
        self.done.is_unsettled |= !settled;
        settled
    }

    fn store_some(&mut self, rows: &[(usize, &Record)]) -> Result<StoredRows, Error> {
        let start = self.pace.start.unwrap_or_else(Instant::now);
        self.stores.replace_deadline(Deadline::new(start, self.pace.timeouts));
        let records: Vec<_> = rows.iter().map(|(_, record)| *record).collect();
        let (log, half) = (&self.config.log, self.pace.half(start));
        // After a failed connection, this delivery does not connect again.
        let store = self.stores.log().and_then(|store| store.make_ready().map(|()| store));
        let store = store.inspect_err(|_| self.done.is_unavailable = true)?;
        let done = store_rows(store, log, &records, true, half)?;
        self.done.stored = self.done.stored.saturating_add(done.new);
        let known = done.handled.saturating_sub(done.new);
        self.done.known = self.done.known.saturating_add(known);
        Ok(done)
    }
}

fn set(statuses: &mut [RowStatus], at: usize, to: RowStatus) {
    if let Some(status) = statuses.get_mut(at) {
        *status = to;
    }
}

/// Leaves the rest of a line unchanged while the row before it on the line waits. Otherwise the row
/// could no longer be read.
fn keep_rest_of_line(lines: &[Line], statuses: &mut [RowStatus]) {
    let mut waits = false;
    for (line, status) in lines.iter().zip(statuses) {
        if line.is_on_same_line && waits {
            *status = RowStatus::Waits;
        }
        waits = matches!(status, RowStatus::Waits);
    }
}

/// True if another row might still be stored; false if the table or the database is missing.
fn may_be_about_row(e: &Error) -> bool {
    matches!(e.store_fault(), Some(StoreFault::Row | StoreFault::Other))
}
