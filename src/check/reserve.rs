//! Room for an attempt before its password is looked at: a reservation with each limit, and a slot
//! to hash in.
//!
//! Nothing looks at the password before the attempt has both. Otherwise the right one of many
//! parallel guesses could be answered first, and limits would not hold for it.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::Findings;
use super::Mode;
use super::World;
use super::failures;
use crate::error::Error;
use crate::state::slots::Slots;
use crate::store::Stores;
use crate::tables::counters;
use crate::tables::counters::Purpose;
use crate::tables::counters::Reserved;
use crate::tables::counters::State;

/// The first sleep of an attempt that waits, and the longest. Each sleep is 1.5 times the one
/// before.
const FIRST_SLEEP: Duration = Duration::from_millis(50);
const LONGEST_SLEEP: Duration = Duration::from_millis(400);

/// The room that an attempt needs.
#[derive(Clone, Copy)]
pub(super) struct Needs {
    /// The purpose of its reservations with limits.
    pub purpose: Purpose,
    /// True if it hashes.
    pub slot: bool,
}

/// Leave to look at the password. The slot is given back when this is dropped.
pub(super) struct Leave {
    _slot: Option<Slots>,
}

/// Takes all the room that an attempt needs, and waits for it. `None` if failures have reached a
/// limit meanwhile.
///
/// # Errors
/// There was no room for `attempt_timeout`, or the database cannot tell.
pub(super) fn take(
    world: World<'_>,
    stores: &mut Stores<'_>,
    findings: &mut Findings,
    needs: Needs,
) -> Result<Option<Leave>, Error> {
    let mut sleeps = Sleeps::new(world.config.timeouts.attempt);
    let full = findings.standing.as_mut().and_then(|standing| standing.full.take());
    let full = full.filter(|_| reserves(world));
    let mut blocked_by = full.map(Blocked::Limit);
    loop {
        let blocked = match try_to_take(world, stores, findings, needs, blocked_by)? {
            Tried::Taken(leave) => return Ok(Some(leave)),
            Tried::Refused => return Ok(None),
            Tried::Blocked(blocked) => blocked,
        };
        // An attempt that waits holds nothing: no reservation, slot, lock or connection.
        stores.close();
        let Some(sleep) = sleeps.next() else { return Err(blocked.into_error()) };
        stores.meanwhile(|| thread::sleep(sleep));
        blocked_by = Some(blocked);
    }
}

/// Takes a slot if one is free now, for an attempt that is refused whatever its password.
///
/// # Errors
/// The state directory cannot hold the slots, and the configuration asks for a bound.
pub(super) fn take_idle_slot(world: World<'_>) -> Result<Option<Leave>, Error> {
    Ok(match take_slot(world)? {
        Slot::Free(slots) => Some(Leave { _slot: Some(slots) }),
        Slot::Unbounded => Some(Leave { _slot: None }),
        Slot::Busy(_) => None,
    })
}

/// The result of one try.
enum Tried {
    Taken(Leave),
    Refused,
    Blocked(Blocked),
}

/// The room that an attempt waits for.
enum Blocked {
    /// Other attempts fill the room of this limit.
    Limit(Arc<str>),
    /// All slots are taken.
    Slots(Slots),
}

impl Blocked {
    fn into_error(self) -> Error {
        match self {
            Self::Limit(limit) => Error::NoRoom { limit },
            Self::Slots(slots) => slots.exhausted(),
        }
    }
}

fn try_to_take(
    world: World<'_>,
    stores: &mut Stores<'_>,
    findings: &mut Findings,
    needs: Needs,
    blocked_by: Option<Blocked>,
) -> Result<Tried, Error> {
    // Look without locks before taking locks. An attempt that waits for a slot does not ask the
    // database.
    let (for_room, for_slot) = match blocked_by {
        Some(Blocked::Limit(_)) => (true, false),
        Some(Blocked::Slots(_)) => (false, true),
        None => (false, false),
    };
    if for_room {
        match look(world, stores, findings)? {
            Reserved::Yes => {}
            Reserved::Reached(limits) => return refuse(world, stores, findings, limits),
            Reserved::Full(limit) => return Ok(Tried::Blocked(Blocked::Limit(limit))),
        }
    }
    let slot = match needs.slot.then(|| take_slot(world)).transpose()? {
        Some(Slot::Busy(slots)) => return Ok(Tried::Blocked(Blocked::Slots(slots))),
        Some(Slot::Free(slots)) => Some(slots),
        Some(Slot::Unbounded) | None => None,
    };
    let seen = if for_slot { look(world, stores, findings)? } else { Reserved::Yes };
    let reserved = match seen {
        Reserved::Yes => reserve(world, stores, findings, needs.purpose)?,
        full @ (Reserved::Reached(_) | Reserved::Full(_)) => full,
    };
    match reserved {
        Reserved::Yes => Ok(Tried::Taken(Leave { _slot: slot })),
        Reserved::Reached(limits) => {
            // The slot is given back first: to look again may take time.
            drop(slot);
            refuse(world, stores, findings, limits)
        }
        Reserved::Full(limit) => Ok(Tried::Blocked(Blocked::Limit(limit))),
    }
}

/// Refuses the attempt because failures have reached these limits, unless waiting settlements
/// change that.
fn refuse(
    world: World<'_>,
    stores: &mut Stores<'_>,
    findings: &mut Findings,
    limits: Vec<Arc<str>>,
) -> Result<Tried, Error> {
    if let Some(standing) = &mut findings.standing {
        standing.note_reached(&limits);
    }
    failures::catch_up(world, stores, findings)?;
    let is_refused = findings.standing.as_ref().is_some_and(counters::Standing::is_refused);
    let limit = limits.into_iter().next().filter(|_| !is_refused);
    Ok(limit.map_or(Tried::Refused, |limit| Tried::Blocked(Blocked::Limit(limit))))
}

/// Looks whether the limits have room, without a lock.
fn look(world: World<'_>, stores: &mut Stores<'_>, findings: &Findings) -> Result<Reserved, Error> {
    if !reserves(world) {
        return Ok(Reserved::Yes);
    }
    let clock = failures::clock(world, findings);
    let (mut reached, mut full) = (Vec::new(), None);
    for counter in findings.standing.iter().flat_map(counters::Standing::rejecting) {
        let state = counters::look(stores.log()?, counter, clock);
        let name = &counter.limit().name;
        match state.map_err(failures::about_count)? {
            State::Reached => reached.push(Arc::clone(name)),
            State::Full => full = full.or_else(|| Some(Arc::clone(name))),
            State::Known(_) | State::Room => {}
        }
    }
    if !reached.is_empty() {
        return Ok(Reserved::Reached(reached));
    }
    Ok(full.map_or(Reserved::Yes, Reserved::Full))
}

/// True if attempts reserve room. Under `log_only` no attempt is refused, and a question of the
/// tool is not an attempt.
fn reserves(world: World<'_>) -> bool {
    !world.config.policy.log_only && world.mode != Mode::Asked
}

/// Reserves room with all limits that reject.
fn reserve(
    world: World<'_>,
    stores: &mut Stores<'_>,
    findings: &mut Findings,
    purpose: Purpose,
) -> Result<Reserved, Error> {
    let clock = failures::clock(world, findings);
    match &mut findings.standing {
        Some(standing) if reserves(world) && standing.rejecting().next().is_some() => {
            let reserved = counters::reserve(stores.log()?, standing, purpose, clock);
            reserved.map_err(failures::about_count)
        }
        Some(_) | None => Ok(Reserved::Yes),
    }
}

/// A slot to hash in.
enum Slot {
    Free(Slots),
    Busy(Slots),
    /// The state directory cannot hold slots, and the configuration sets no bound; `authpolicy
    /// config` warns of it.
    Unbounded,
}

fn take_slot(world: World<'_>) -> Result<Slot, Error> {
    let given = world.config.accounts.max_parallel_hashes;
    let slots = Slots::open(&world.config.state_directory, given);
    match slots.and_then(|slots| Ok((slots.take()?, slots))) {
        Ok((true, slots)) => Ok(Slot::Free(slots)),
        Ok((false, slots)) => Ok(Slot::Busy(slots)),
        Err(e) if given.is_some() => Err(e),
        Err(_) => Ok(Slot::Unbounded),
    }
}

/// The sleeps of one attempt.
struct Sleeps {
    next: Duration,
    left: Duration,
}

impl Sleeps {
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
        let mut sleeps = Sleeps::new(most);
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
