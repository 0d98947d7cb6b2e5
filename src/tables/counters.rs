//! The counters behind limits, in a table that all hosts of one log database share.
//!
//! A counter belongs to a limit and its subject: an address, an account, or both. It holds values:
//! passwords, accounts, or whatever else the limit counts. An entry of the table is one of these:
//!
//! - a failure: `attempt` is empty. Only failures refuse.
//! - a reservation of an attempt in progress, under the attempt's id. It takes room, so that
//!   parallel guesses get no more answers than the limit. When its lease is over, it counts as a
//!   failure: the attempt's process was killed or stopped, and its guess must not be free.
//! - a reservation of a SCRAM exchange that has shown no proof yet ([`KEYS_PREFIX`]). It takes
//!   room, and never counts as a failure of the account.
//! - a lock: `value` is empty.

mod attempt_limits;
mod settlement;

use std::sync::Arc;
use std::time::Duration;

pub use self::attempt_limits::AttemptLimits;
pub use self::attempt_limits::Subject;
pub use self::settlement::CountedAs;
pub use self::settlement::CounterSettlement;
use crate::error::Error;
use crate::policy::Action;
use crate::policy::Count;
use crate::policy::Limit;
use crate::policy::Per;
use crate::sql::Sql;
use crate::store::Store;
use crate::store::Value;
use crate::store::dialect;

/// The longest name that is counted, in bytes. Longer names are cut.
const MAX_NAME: usize = 255;
/// The most expired entries that one attempt deletes.
const PRUNE_BATCH: i64 = 60;
/// The time that expired entries are kept, in milliseconds, because another host's clock may be
/// behind.
const EXPIRED_KEPT: i64 = 600_000;
/// The time by which another host's clock may be ahead, in milliseconds, before its reservations
/// count as failures.
const CLOCK_MARGIN: i64 = 20_000;
/// The time that a lock stays in the table, in milliseconds. No transaction holds it that long.
const LOCK_TIME: i64 = 60_000;
/// The time by which a lease is longer than twice `attempt_timeout`, in milliseconds. It allows for
/// hashing on a busy machine.
const LEASE_MARGIN: i64 = 20_000;
/// The first character of `attempt` in a reservation of a SCRAM exchange without a proof. It sorts
/// after all hexadecimal digits.
const KEYS_PREFIX: char = '~';

/// The time after which an attempt in progress counts as a failure, in milliseconds.
#[must_use]
pub fn lease(attempt_timeout: Duration) -> i64 {
    milliseconds(attempt_timeout).saturating_mul(2).saturating_add(LEASE_MARGIN)
}

/// The time at which an attempt reads or changes the table, and the length of its lease.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// Milliseconds since 1970.
    pub now: i64,
    /// See [`lease`].
    pub lease: i64,
}

/// One limit's counter for one subject, and the value that the attempt would add.
#[derive(Debug, Clone)]
pub struct Counter {
    limit: Limit,
    account: String,
    remote: String,
    value: String,
    /// The ids of the reservations that the table may hold for the attempt.
    reservations: Vec<String>,
}

impl Counter {
    /// Its limit.
    #[must_use]
    pub fn limit(&self) -> &Limit {
        &self.limit
    }

    /// True if an attempt needs room with this counter before its password is checked.
    fn is_rejecting(&self) -> bool {
        self.limit.action == Action::Reject
    }

    /// The sort key for taking locks. All attempts take them in one order, so that two of them
    /// never wait for each other.
    fn key(&self) -> (&str, &str, &str) {
        (&self.limit.name, &self.account, &self.remote)
    }

    fn expires(&self, clock: Clock) -> i64 {
        clock.now.saturating_add(milliseconds(self.limit.within))
    }

    fn parameters(&self, value: &str, attempt: &str, expires: i64) -> [(&'static str, Value); 6] {
        [
            ("rule", Value::text(&self.limit.name)),
            ("account", Value::text(&self.account)),
            ("remote", Value::text(&self.remote)),
            ("value", Value::text(value)),
            ("attempt", Value::text(attempt)),
            ("expires", Value::Int(expires)),
        ]
    }
}

/// Cuts a name to the length that the table holds.
#[must_use]
pub fn name(name: &str) -> String {
    let mut end = name.len().min(MAX_NAME);
    while !name.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    name.get(..end).unwrap_or_default().to_owned()
}

fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// The state of a counter, as one attempt sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// As many values have failed as the limit allows.
    Reached,
    /// The values in progress may reach the limit: there is no room for another one now.
    Full,
    /// The attempt's value has failed before, and takes no more room. It counts until this time, in
    /// milliseconds since 1970.
    Known(i64),
    /// The attempt's value has room.
    Available,
}

/// The condition of an entry that counts as a failure; see [`bounds`].
pub const FAILED: &str =
    "attempt < '~' AND (attempt = '' OR expires <= :begun OR expires > :ahead)";
/// The condition of an entry that counts at all.
const LIVE: &str = "rule = :rule AND account = :account AND remote = :remote \
                    AND expires > :now AND expires < :latest AND value <> ''";

/// The parameters of [`FAILED`], and of the condition that an entry counts at all.
///
/// - `now`: an entry that expires by then has expired.
/// - `latest`: an entry that expires then or later comes from a wrong clock or from a longer
///   `within`, and does not count.
/// - `begun`: a reservation that expires by then is older than its lease.
/// - `ahead`: a reservation that expires later comes from a host whose clock is ahead by more than
///   `CLOCK_MARGIN`.
#[must_use]
pub fn bounds(limit: &Limit, clock: Clock) -> [(&'static str, Value); 4] {
    let within = milliseconds(limit.within);
    let end = clock.now.saturating_add(within);
    [
        ("now", Value::Int(clock.now)),
        ("latest", Value::Int(latest(limit, clock))),
        ("begun", Value::Int(end.saturating_sub(clock.lease))),
        ("ahead", Value::Int(end.saturating_add(CLOCK_MARGIN))),
    ]
}

/// The latest time at which an entry may expire, in milliseconds since 1970. A later one comes from
/// a wrong clock or from a longer `within`, and does not count.
fn latest(limit: &Limit, clock: Clock) -> i64 {
    clock.now.saturating_add(milliseconds(limit.within).saturating_mul(2))
}

/// Reads the state of a counter, from a bounded number of entries.
///
/// # Errors
/// The database cannot tell.
pub fn read_state(store: &mut Store, counter: &Counter, clock: Clock) -> Result<State, Error> {
    let from = dialect::from_live_counts(store);
    let own = dialect::from_counts_of_value(store);
    let sql = Sql::of(&[
        "SELECT (SELECT COUNT(*) FROM (SELECT DISTINCT value ",
        from,
        LIVE,
        " AND ",
        FAILED,
        " LIMIT :max) AS failed) AS failed, (SELECT COUNT(*) FROM (SELECT DISTINCT value ",
        from,
        LIVE,
        " AND value <> :value LIMIT :max) AS other_values) AS other_values, (SELECT MAX(expires) ",
        own,
        LIVE,
        " AND value = :value AND ",
        FAILED,
        ") AS known",
    ]);
    let own = [
        ("rule", Value::text(&counter.limit.name)),
        ("account", Value::text(&counter.account)),
        ("remote", Value::text(&counter.remote)),
        ("value", Value::text(&counter.value)),
        ("max", Value::Int(counter.limit.max.into())),
    ];
    let parameters: Vec<_> = own.into_iter().chain(bounds(&counter.limit, clock)).collect();
    let rows = store.query(sql, &parameters)?;
    let number = |column| rows.first().and_then(|row| row.text(column).parse::<i64>().ok());
    let max = i64::from(counter.limit.max);
    let most = |column| number(column).unwrap_or(i64::MAX);
    Ok(if most("failed") >= max {
        State::Reached
    } else if let Some(until) = number("known") {
        State::Known(until)
    } else if most("other_values") < max {
        State::Available
    } else {
        State::Full
    })
}

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
    let reserved = store.transaction(|store| {
        // Takes all locks before the first SELECT. A transaction sees only what was committed
        // before that, which must include the work of all earlier holders of the locks.
        counters.iter().try_for_each(|counter| lock(store, counter, clock))?;
        release(store, &counters, &before)?;
        let states = counters.iter().map(|counter| read_state(store, counter, clock));
        let states: Vec<_> = states.collect::<Result<_, _>>()?;
        let with =
            |wanted| counters.iter().zip(&states).filter(move |(_, state)| **state == wanted);
        let name = |(counter, _): (&&Counter, &State)| Arc::clone(&counter.limit.name);
        let reached: Vec<_> = with(State::Reached).map(name).collect();
        if !reached.is_empty() {
            return Ok(Reserved::Reached(reached));
        }
        if let Some(full) = with(State::Full).next() {
            return Ok(Reserved::Full(name(full)));
        }
        for (counter, state) in counters.iter().zip(&states) {
            let (attempt, expires) = attempt_limits.reservation(counter, purpose, clock);
            // If the value has a failure that outlasts the attempt, it needs no reservation. So all
            // attempts with the same value leave a single entry.
            let outlasts = clock.now.saturating_add(clock.lease);
            if !matches!(state, State::Known(until) if *until > outlasts) {
                replace(store, &counter.parameters(&counter.value, &attempt, expires))?;
            }
        }
        Ok(Reserved::Yes)
    })?;
    if !matches!(reserved, Reserved::Yes) {
        attempt_limits.forget_reservations();
    }
    Ok(reserved)
}

/// Deletes earlier reservations of the attempt.
fn release(store: &mut Store, counters: &[&Counter], ids: &[String]) -> Result<(), Error> {
    for counter in counters {
        for id in ids {
            delete(store, &counter.parameters(&counter.value, id, 0))?;
        }
    }
    Ok(())
}

/// The purpose of a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A guess: the password, or a proof of it, is here.
    Guess,
    /// The keys of a SCRAM exchange, whose client may never show a proof.
    Keys,
}

/// True if the counter counts for an account alone, so that the account's owner suffers from
/// guesses of others.
fn is_of_account(counter: &Counter) -> bool {
    counter.limit.per == Per::Account
}

/// Makes other attempts with this counter wait. A transaction of SQLite does that already.
fn lock(store: &mut Store, counter: &Counter, clock: Clock) -> Result<(), Error> {
    if let Some(sql) = dialect::lock_count(store) {
        let expires = clock.now.saturating_add(LOCK_TIME);
        store.execute(sql, &counter.parameters("", "", expires))?;
    }
    Ok(())
}

fn replace(store: &mut Store, parameters: &[(&'static str, Value)]) -> Result<(), Error> {
    const SQL: &str = "REPLACE INTO authpolicy_count (rule, account, remote, value, attempt, expires) \
                       VALUES (:rule, :account, :remote, :value, :attempt, :expires)";
    store.execute(SQL, parameters).map(|_| ())
}

fn delete(store: &mut Store, parameters: &[(&'static str, Value)]) -> Result<(), Error> {
    const SQL: &str = "DELETE FROM authpolicy_count WHERE rule = :rule AND account = :account \
                       AND remote = :remote AND value = :value AND attempt = :attempt";
    store.execute(SQL, parameters).map(|_| ())
}

/// Deletes a bounded number of expired entries; returns how many. It finds them without a lock and
/// deletes them one by one, because a DELETE of a range would block attempts that add live entries.
///
/// # Errors
/// The database did not do it.
pub fn prune(store: &mut Store, now: i64) -> Result<u64, Error> {
    const EXPIRED: &str = "SELECT rule, account, remote, value, attempt FROM authpolicy_count \
                        WHERE expires < :before LIMIT :batch";
    const SQL: &str = "DELETE FROM authpolicy_count WHERE rule = :rule AND account = :account \
                       AND remote = :remote AND value = :value AND attempt = :attempt \
                       AND expires < :before";
    let before = now.saturating_sub(EXPIRED_KEPT);
    let parameters = [("before", Value::Int(before)), ("batch", Value::Int(PRUNE_BATCH))];
    let expired = store.query(EXPIRED, &parameters)?;
    store.transaction(|store| {
        let mut deleted: u64 = 0;
        for row in &expired {
            let text = |column| (column, Value::text(&row.text(column)));
            let key = ["rule", "account", "remote", "value", "attempt"].map(text);
            let parameters: Vec<_> =
                key.into_iter().chain([("before", Value::Int(before))]).collect();
            deleted = deleted.saturating_add(store.execute(SQL, &parameters)?);
        }
        Ok(deleted)
    })
}

/// Deletes the entries of an account, of an address, or all of them; returns how many.
///
/// # Errors
/// The database did not do it.
pub fn clear(store: &mut Store, account: Option<&str>, remote: Option<&str>) -> Result<u64, Error> {
    let sql = match (account, remote) {
        (Some(_), Some(_)) => {
            "DELETE FROM authpolicy_count WHERE value <> '' AND account = :account \
             AND remote = :remote"
        }
        (Some(_), None) => "DELETE FROM authpolicy_count WHERE value <> '' AND account = :account",
        (None, Some(_)) => "DELETE FROM authpolicy_count WHERE value <> '' AND remote = :remote",
        (None, None) => "DELETE FROM authpolicy_count WHERE value <> ''",
    };
    let text = |text: Option<&str>| Value::text(text.unwrap_or_default());
    store.transaction(|store| {
        store.execute(sql, &[("account", text(account)), ("remote", text(remote))])
    })
}
