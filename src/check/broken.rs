//! The row of an attempt that ended with a panic in our own code.

use std::time::SystemTime;

use super::Context;
use super::Mode;
use super::StartTime;
use super::protocol;
use crate::attempt::Attempt;
use crate::attempt::Ticket;
use crate::error::Error;
use crate::row::delivery;
use crate::row::entry;
use crate::row::entry::Entry;
use crate::store::Deadline;
use crate::store::Stores;
use crate::verdict::Verdict;

/// Gives the row of an attempt its id, before anything can fail.
#[must_use]
pub fn ticket(time: SystemTime) -> Ticket {
    entry::ticket(time)
}

/// Writes a row with the decision "cannot tell", unless the attempt's own row is recorded. Both
/// have the same id. So the database stores only one of them, even if the panic came after the
/// first was stored and before that was noted.
///
/// # Errors
/// No place took the row.
pub fn record_broken(
    context: Context<'_>,
    attempt: &Attempt,
    start_time: StartTime,
) -> Result<(), Error> {
    if context.mode != Mode::Live || attempt.ticket.is_recorded() {
        return Ok(());
    }
    let verdict = Verdict::cannot_tell(attempt.shown.to_lowercase());
    let protocol = protocol(context, attempt);
    let entry = Entry { time: start_time.time, attempt, verdict: &verdict, protocol };
    let config = context.config;
    let mut stores = Stores::new(config, Deadline::new(start_time.start, config.timeouts));
    delivery::record_later(config, &mut stores, &entry.record()?, context.log)?;
    attempt.ticket.mark_recorded();
    Ok(())
}
