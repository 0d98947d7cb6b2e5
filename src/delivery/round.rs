//! Rows that wait, on their way into the table: file by file, and some rows at a time.

use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use super::Marks;
use super::known_marks;
use super::store_together;
use crate::config::Log;
use crate::config::Timeouts;
use crate::error::Error;
use crate::error::StoreFault;
use crate::journal::Journal;
use crate::journal::Line;
use crate::store::Deadline;
use crate::store::Store;

/// How many milliseconds an attempt helps others' rows along, and with how many at a time; and how
/// many bytes a file has at most that it looks at.
const HELP: Duration = Duration::from_millis(200);
const HELP_ROWS: usize = 8;
const HELP_LONGEST: u64 = 1 << 18;
/// How many rows are stored at a time where nobody waits for it.
const ROWS: usize = 200;

/// What became of some rows.
#[derive(Debug, Default)]
pub struct Delivered {
    /// How many were stored.
    pub stored: usize,
    /// How many were there already.
    pub known: usize,
    /// How many no table takes, or could not be read.
    pub set_aside: usize,
    /// What went wrong first with others, which go on waiting.
    pub trouble: Option<Error>,
}

/// How much is stored at a time, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    rows: usize,
    longest: u64,
    end: Option<Instant>,
    timeouts: Option<Timeouts>,
}

impl Pace {
    /// Somebody waits for an answer.
    pub(super) fn of_attempt() -> Self {
        let end = Instant::now().checked_add(HELP);
        Self { rows: HELP_ROWS, longest: HELP_LONGEST, end, timeouts: None }
    }

    /// Nobody waits: all of it, and each transaction has this time.
    #[must_use]
    pub fn of_flush(timeouts: Timeouts) -> Self {
        Self { rows: ROWS, longest: u64::MAX, end: None, timeouts: Some(timeouts) }
    }

    fn is_over(self) -> bool {
        self.end.is_some_and(|end| Instant::now() >= end)
    }
}

/// Stores the rows that wait and that nobody else is storing, but for those that are appended
/// meanwhile. What fails with one file leaves the others their turn.
pub fn deliver(store: &mut Store, log: &Log, journal: &Journal<'_>, pace: Pace) -> Delivered {
    let files = journal.batches().and_then(|files| Ok((files, known_marks(store)?)));
    let (files, marks) = match files {
        Ok(found) => found,
        Err(e) => return Delivered { trouble: Some(e), ..Delivered::default() },
    };
    let mut round = Round { store, log, journal, marks, pace, done: Delivered::default() };
    for file in files {
        if let Err(e) = round.take(file) {
            round.done.trouble.get_or_insert(e);
        }
        if pace.is_over() || !round.store.is_usable() {
            break;
        }
    }
    round.done
}

struct Round<'a> {
    store: &'a mut Store,
    log: &'a Log,
    journal: &'a Journal<'a>,
    marks: Marks,
    pace: Pace,
    done: Delivered,
}

impl Round<'_> {
    /// Stores the rows of a file, if nobody else does.
    fn take(&mut self, file: PathBuf) -> Result<(), Error> {
        let Some(mut batch) = self.journal.lock(file, self.pace.longest)? else { return Ok(()) };
        loop {
            let lines = batch.next(self.pace.rows)?;
            if lines.is_empty() {
                return batch.remove();
            }
            if let Some(timeouts) = self.pace.timeouts {
                self.store.set_deadline(Deadline::new(Instant::now(), timeouts));
            }
            let stored = store(self.store, self.log, &lines, self.marks)?;
            let set_aside = self.journal.settle(&batch, &lines, &stored.refused)?;
            self.done.stored = self.done.stored.saturating_add(stored.new);
            self.done.known = self.done.known.saturating_add(stored.known);
            self.done.set_aside = self.done.set_aside.saturating_add(set_aside);
            if self.pace.is_over() {
                return Ok(());
            }
        }
    }
}

/// What transactions came to.
#[derive(Default)]
struct Stored {
    new: usize,
    known: usize,
    /// The index of each line whose row the database will never take, and what it says.
    refused: Vec<(usize, String)>,
}

/// All rows of these lines, or none, but for what the database refuses for good.
fn store(store: &mut Store, log: &Log, lines: &[Line], marks: Marks) -> Result<Stored, Error> {
    let rows = lines.iter().enumerate();
    let rows: Vec<_> = rows.filter_map(|(at, line)| Some((at, line.record.as_ref()?))).collect();
    let records: Vec<_> = rows.iter().map(|(_, record)| *record).collect();
    let mut stored = Stored::default();
    match store_together(store, log, &records, marks) {
        Ok(new) => {
            stored.new = new;
            stored.known = records.len().saturating_sub(new);
        }
        // One by one, since some databases end the transaction with the row that they refuse.
        Err(e) if is_about_row(&e) => {
            for (at, record) in rows {
                match store_together(store, log, &[record], marks) {
                    Ok(0) => stored.known = stored.known.saturating_add(1),
                    Ok(_) => stored.new = stored.new.saturating_add(1),
                    Err(e) if is_about_row(&e) => stored.refused.push((at, e.to_string())),
                    Err(e) => return Err(e),
                }
            }
        }
        Err(e) => return Err(e),
    }
    Ok(stored)
}

fn is_about_row(e: &Error) -> bool {
    e.store_fault() == Some(StoreFault::Row)
}
