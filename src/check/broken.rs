//! The row of an attempt that ended by a panic of ours.

use std::time::SystemTime;

use super::Mode;
use super::Moment;
use super::World;
use super::protocol;
use crate::attempt::Attempt;
use crate::attempt::Ticket;
use crate::delivery;
use crate::entry;
use crate::entry::Entry;
use crate::error::Error;
use crate::store::Deadline;
use crate::store::Stores;
use crate::verdict::Verdict;

/// Names the row of an attempt, before anything can fail.
#[must_use]
pub fn ticket(time: SystemTime) -> Ticket {
    entry::ticket(time)
}

/// Writes a row which says that nobody can tell, unless the attempt's own row is recorded. The two
/// have the same name, so that the database stores one of them even where the panic came between
/// the first and its mark.
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
