//! The row of an attempt that ended with a panic in our own code.

use std::time::SystemTime;

use super::Mode;
use super::Moment;
use super::World;
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
pub fn record_broken(world: World<'_>, attempt: &Attempt, moment: Moment) -> Result<(), Error> {
    if world.mode != Mode::Real || attempt.ticket.is_recorded() {
        return Ok(());
    }
    let verdict = Verdict::cannot_tell(attempt.shown.to_lowercase());
    let protocol = protocol(world, attempt);
    let entry = Entry { time: moment.time, attempt, verdict: &verdict, protocol };
    let config = world.config;
    let mut stores = Stores::new(config, Deadline::new(moment.start, config.timeouts));
    delivery::record_later(config, &mut stores, &entry.record()?, world.log)?;
    attempt.ticket.mark_recorded();
    Ok(())
}
