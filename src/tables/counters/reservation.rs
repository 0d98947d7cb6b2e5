//! Reservations: room with all counters of an attempt, or with none.

use std::sync::Arc;

use super::AttemptLimits;
use super::Clock;
use super::Counter;
use super::Purpose;
use super::State;
use super::entries;
use super::states::queries;
use super::states::states;
use crate::error::Error;
use crate::store::Ending;
use crate::store::Store;
use crate::tables::assembly::run_all;
use crate::tables::assembly::run_all_and_commit;

/// The result of a reservation.
#[derive(Debug)]
pub enum Reserved {
    /// Each counter holds the reservation.
    Yes,
    /// Failures have reached these limits meanwhile.
    Reached(Vec<Arc<str>>),
    /// The attempts in progress leave no room with this limit.
    Full(Arc<str>),
}

impl Reserved {
    /// The reservation that these states of all counters allow.
    #[must_use]
    pub fn of_states(counters: &[&Counter], states: &[State]) -> Self {
        let with = |wanted| counters.iter().zip(states).filter(move |(_, state)| **state == wanted);
        let name = |(counter, _): (&&Counter, &State)| Arc::clone(&counter.limit.name);
        let reached: Vec<_> = with(State::Reached).map(name).collect();
        match with(State::Full).next() {
            _ if !reached.is_empty() => Self::Reached(reached),
            Some(full) => Self::Full(name(full)),
            None => Self::Yes,
        }
    }
}

/// Reserves room with all counters of an attempt, or with none: one transaction under all locks.
/// Earlier reservations of the attempt, for the keys of a SCRAM exchange, are released.
///
/// # Errors
/// The database did not do it, or did not confirm it. Reservations that it may have made are
/// settled with the attempt.
pub fn reserve(
    store: &mut Store,
    attempt_limits: &mut AttemptLimits,
    purpose: Purpose,
    clock: Clock,
) -> Result<Reserved, Error> {
    let before = attempt_limits.begin_reservation(purpose, clock);
    let mut counters: Vec<_> = attempt_limits.rejecting().collect();
    counters.sort_by(|one, other| one.key().cmp(&other.key()));
    let released: Vec<_> =
        counters.iter().flat_map(|counter| before.iter().map(|id| counter.entry(id, 0))).collect();
    let reserved = store.transaction_with_ending(|store| {
        let (are_locks_new, states) = lock_and_read(store, &counters, &released, clock)?;
        let reserved = Reserved::of_states(&counters, &states);
        let needed = counters.iter().zip(&states).filter(|(_, state)| needs_entry(**state, clock));
        let ids: Vec<_> = needed
            .map(|(counter, _)| (counter, attempt_limits.reservation(counter, purpose, clock)))
            .collect();
        let new: Vec<_> =
            ids.iter().map(|(counter, (id, expires))| counter.entry(id, *expires)).collect();
        let ending = match reserved {
            Reserved::Yes if !new.is_empty() => {
                run_all_and_commit(store, &entries::replace(&new))?;
                Ending::Commit
            }
            // Only the locks would be written. New ones are: if each attempt inserted them and rolled
            // that back, attempts that wait for them would end each other by deadlocks.
            _ if released.is_empty() && !are_locks_new => Ending::RollBack,
            Reserved::Yes | Reserved::Reached(_) | Reserved::Full(_) => Ending::Commit,
        };
        Ok((ending, reserved))
    })?;
    if !matches!(reserved, Reserved::Yes) {
        attempt_limits.forget_reservations();
    }
    Ok(reserved)
}

/// Takes all locks, releases earlier reservations, and reads the states of the counters. Returns
/// true if a lock had no entry before.
///
/// All locks are taken before the first SELECT. A transaction sees only what was committed before
/// that, which must include the work of all earlier holders of the locks.
fn lock_and_read(
    store: &mut Store,
    counters: &[&Counter],
    released: &[entries::CounterEntry<'_>],
    clock: Clock,
) -> Result<(bool, Vec<State>), Error> {
    let mut all = entries::lock(store, counters, clock);
    let locks = all.len();
    all.extend(entries::delete(released));
    let changes = all.len();
    all.extend(queries(store, counters, clock));
    let results = run_all(store, &all)?;
    let states = states(store, counters, clock, results.get(changes..).unwrap_or_default())?;
    // A server reports two changes for an entry that was there, and one for a new one.
    let changed =
        results.iter().take(locks).fold(0_u64, |sum, lock| sum.saturating_add(lock.changed));
    let of_old = u64::try_from(counters.len()).unwrap_or(u64::MAX).saturating_mul(2);
    Ok((locks > 0 && changed < of_old, states))
}

/// True if a reservation needs an entry. If the value has a failure that outlasts the attempt, it
/// needs none. So all attempts with the same value leave a single entry.
fn needs_entry(state: State, clock: Clock) -> bool {
    let outlasts = clock.now.saturating_add(clock.lease);
    !matches!(state, State::Known(until) if until > outlasts)
}
