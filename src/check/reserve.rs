//! Room for an attempt before its password is verified: a reservation with each limit, and a slot to
//! hash in.
//!
//! No password is verified before the attempt has both. Otherwise a client could send many guesses
//! in parallel, and get all the answers before the first failure counts.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::Mode;
use super::call::Call;
use super::failures;
use crate::error::Error;
use crate::state::slots::Slots;
use crate::tables::counters;
use crate::tables::counters::Purpose;
use crate::tables::counters::Reserved;

/// The first sleep of an attempt that waits, and the longest. Each sleep is 1.5 times the one
/// before.
const FIRST_SLEEP: Duration = Duration::from_millis(50);
const LONGEST_SLEEP: Duration = Duration::from_millis(400);

/// The room that an attempt needs.
#[derive(Clone, Copy)]
pub(super) struct ReservationNeeds {
    /// The purpose of its reservations with limits.
    pub purpose: Purpose,
    /// True if it needs a slot, because it hashes.
    pub slot: bool,
}

/// The permission to verify the password. Dropping it frees the slot.
pub(super) struct Permit {
    _slot: Option<Slots>,
}

/// Takes all the room that an attempt needs, and waits for it if necessary. `None` if failures have
/// reached a limit meanwhile.
///
/// # Errors
/// No room became free within `attempt_timeout`, or the database cannot tell.
pub(super) fn acquire(
    call: &mut Call<'_>,
    needs: ReservationNeeds,
) -> Result<Option<Permit>, Error> {
    let mut sleeps = Backoff::new(call.config().timeouts.attempt);
    let full = call.attempt_limits.as_mut().and_then(|attempt_limits| attempt_limits.full.take());
    let full = full.filter(|_| reserves(call));
    let mut blocked_by = full.map(BlockedBy::Limit);
    loop {
        let blocked = match try_acquire(call, needs, blocked_by)? {
            Acquisition::Permitted(permit) => return Ok(Some(permit)),
            Acquisition::Refused => return Ok(None),
            Acquisition::Blocked(blocked) => blocked,
        };
        // An attempt that waits holds nothing: no reservation, slot, lock or connection.
        call.stores.close();
        let Some(sleep) = sleeps.next() else { return Err(blocked.into_error()) };
        call.stores.pause_deadline(|| thread::sleep(sleep));
        blocked_by = Some(blocked);
    }
}

/// Takes a slot if one is free now, for an attempt that is refused whatever its password.
///
/// # Errors
/// The file of slots cannot be used, and the configuration sets `max_parallel_hashes`.
pub(super) fn acquire_idle_slot(call: &Call<'_>) -> Result<Option<Permit>, Error> {
    Ok(match acquire_slot(call)? {
        Slot::Free(slots) => Some(Permit { _slot: Some(slots) }),
        Slot::Unbounded => Some(Permit { _slot: None }),
        Slot::Busy(_) => None,
    })
}

/// The result of one try.
enum Acquisition {
    Permitted(Permit),
    Refused,
    Blocked(BlockedBy),
}

/// The room that an attempt waits for.
enum BlockedBy {
    /// Other attempts fill the room of this limit.
    Limit(Arc<str>),
    /// All slots are taken.
    Slots(Slots),
}

impl BlockedBy {
    fn into_error(self) -> Error {
        match self {
            Self::Limit(limit) => Error::LimitFull { limit },
            Self::Slots(slots) => slots.exhausted(),
        }
    }
}

fn try_acquire(
    call: &mut Call<'_>,
    needs: ReservationNeeds,
    blocked_by: Option<BlockedBy>,
) -> Result<Acquisition, Error> {
    // An attempt that has waited checks the limits without locks first. While it waits for a slot,
    // it sends no queries to the database.
    let (for_limit, for_slot) = match blocked_by {
        Some(BlockedBy::Limit(_)) => (true, false),
        Some(BlockedBy::Slots(_)) => (false, true),
        None => (false, false),
    };
    if for_limit {
        match check_limits(call)? {
            Reserved::Yes => {}
            Reserved::Reached(limits) => return refuse(call, limits),
            Reserved::Full(limit) => return Ok(Acquisition::Blocked(BlockedBy::Limit(limit))),
        }
    }
    let slot = match needs.slot.then(|| acquire_slot(call)).transpose()? {
        Some(Slot::Busy(slots)) => return Ok(Acquisition::Blocked(BlockedBy::Slots(slots))),
        Some(Slot::Free(slots)) => Some(slots),
        Some(Slot::Unbounded) | None => None,
    };
    let checked = if for_slot { check_limits(call)? } else { Reserved::Yes };
    let reserved = match checked {
        Reserved::Yes => reserve(call, needs.purpose)?,
        no_room @ (Reserved::Reached(_) | Reserved::Full(_)) => no_room,
    };
    match reserved {
        Reserved::Yes => Ok(Acquisition::Permitted(Permit { _slot: slot })),
        Reserved::Reached(limits) => {
            // Frees the slot first, because checking the limits again may take time.
            drop(slot);
            refuse(call, limits)
        }
        Reserved::Full(limit) => Ok(Acquisition::Blocked(BlockedBy::Limit(limit))),
    }
}

/// Refuses the attempt because failures have reached these limits, unless waiting settlements
/// change that.
fn refuse(call: &mut Call<'_>, limits: Vec<Arc<str>>) -> Result<Acquisition, Error> {
    if let Some(attempt_limits) = &mut call.attempt_limits {
        attempt_limits.note_reached(&limits);
    }
    failures::catch_up(call)?;
    let limit = limits.into_iter().next().filter(|_| !call.has_reached_limit());
    Ok(limit.map_or(Acquisition::Refused, |limit| Acquisition::Blocked(BlockedBy::Limit(limit))))
}

/// Checks if the limits have room, without a lock.
fn check_limits(call: &mut Call<'_>) -> Result<Reserved, Error> {
    if !reserves(call) {
        return Ok(Reserved::Yes);
    }
    let clock = call.clock();
    let rejecting = call.attempt_limits.iter().flat_map(counters::AttemptLimits::rejecting);
    let rejecting: Vec<_> = rejecting.collect();
    if rejecting.is_empty() {
        return Ok(Reserved::Yes);
    }
    let states = counters::read_states(call.stores.log()?, &rejecting, clock);
    Ok(Reserved::of_states(&rejecting, &states.map_err(failures::about_count)?))
}

/// True if the attempt reserves room. Under `log_only` no attempt is refused, and a trial attempt
/// of the tool changes nothing.
fn reserves(call: &Call<'_>) -> bool {
    !call.config().policy.log_only && call.context.mode != Mode::DryRun
}

/// Reserves room with all limits that reject.
fn reserve(call: &mut Call<'_>, purpose: Purpose) -> Result<Reserved, Error> {
    let (is_needed, clock) = (reserves(call), call.clock());
    match &mut call.attempt_limits {
        Some(attempt_limits) if is_needed && attempt_limits.rejecting().next().is_some() => {
            let reserved = counters::reserve(call.stores.log()?, attempt_limits, purpose, clock);
            reserved.map_err(failures::about_count)
        }
        Some(_) | None => Ok(Reserved::Yes),
    }
}

/// A slot to hash in.
enum Slot {
    Free(Slots),
    Busy(Slots),
    /// The file of slots cannot be used, and `max_parallel_hashes` is not set. `authpolicy config`
    /// warns of it.
    Unbounded,
}

fn acquire_slot(call: &Call<'_>) -> Result<Slot, Error> {
    let given = call.config().accounts.max_parallel_hashes;
    let slots = Slots::open(&call.config().state_directory, given);
    match slots.and_then(|slots| Ok((slots.take()?, slots))) {
        Ok((true, slots)) => Ok(Slot::Free(slots)),
        Ok((false, slots)) => Ok(Slot::Busy(slots)),
        Err(e) if given.is_some() => Err(e),
        Err(_) => Ok(Slot::Unbounded),
    }
}

/// The sleeps of one attempt.
struct Backoff {
    next: Duration,
    left: Duration,
}

impl Backoff {
    /// All sleeps together take at most `most`.
    fn new(most: Duration) -> Self {
        Self { next: FIRST_SLEEP, left: most }
    }

    /// The next sleep, longer or shorter at random by up to half, so that waiting attempts do not
    /// wake together; `None` if the time is used up.
    fn next(&mut self) -> Option<Duration> {
        if self.left.is_zero() {
            return None;
        }
        let mut random = [0_u8; 1];
        // Without random numbers, all sleep the shortest time.
        let _ = getrandom::fill(&mut random).ok();
        let [random] = random;
        let half = self.next.checked_div(2).unwrap_or_default();
        let more = self.next.saturating_mul(random.into()).checked_div(255).unwrap_or_default();
        let sleep = half.saturating_add(more).min(self.left);
        self.left = self.left.saturating_sub(sleep);
        self.next = self.next.saturating_add(half).min(LONGEST_SLEEP);
        Some(sleep)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleeps_grow_vary_and_end() {
        let most = Duration::from_secs(5);
        let mut sleeps = Backoff::new(most);
        let all: Vec<_> = std::iter::from_fn(|| sleeps.next()).collect();
        assert_eq!(all.iter().sum::<Duration>(), most);
        let within = |sleep: Duration, of: u64| {
            (of / 2..=of + of / 2).contains(&u64::try_from(sleep.as_millis()).unwrap())
        };
        for (sleep, of) in all.iter().zip([50, 75, 112, 168, 253, 379, 400, 400]) {
            assert!(within(*sleep, of), "{all:?}");
        }
    }
}
