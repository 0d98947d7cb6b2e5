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
mod entries;
mod reservation;
mod settlement;
mod states;

use std::time::Duration;

pub use self::attempt_limits::AttemptLimits;
pub use self::attempt_limits::Subject;
use self::entries::CounterEntry;
pub use self::reservation::Reserved;
pub use self::reservation::reserve;
pub use self::settlement::CountedAs;
pub use self::settlement::CounterSettlement;
pub(in crate::tables) use self::settlement::settle;
pub use self::states::State;
pub(in crate::tables) use self::states::queries;
pub use self::states::read_states;
pub(in crate::tables) use self::states::states;
use crate::error::Error;
use crate::policy::Action;
use crate::policy::Count;
use crate::policy::Limit;
use crate::policy::Per;
use crate::store::Store;
use crate::store::Value;
use crate::tables::assembly::Assembly;
use crate::tables::assembly::prune_found;

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

    /// The parameters that select its entries.
    fn subject(&self) -> [(&'static str, Value); 3] {
        [
            ("rule", Value::text(&self.limit.name)),
            ("account", Value::text(&self.account)),
            ("remote", Value::text(&self.remote)),
        ]
    }

    /// An entry of its value.
    fn entry<'a>(&'a self, attempt: &'a str, expires: i64) -> CounterEntry<'a> {
        let (rule, account, remote) = (&*self.limit.name, &*self.account, &*self.remote);
        CounterEntry { rule, account, remote, value: &self.value, attempt, expires }
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

/// Deletes a bounded number of expired entries; returns how many. It finds them without a lock and
/// deletes each by its primary key, because a DELETE of a range would block attempts that add live
/// entries.
///
/// # Errors
/// The database did not do it.
pub fn prune(store: &mut Store, now: i64) -> Result<u64, Error> {
    const EXPIRED: &str = "SELECT rule, account, remote, value, attempt FROM authpolicy_count \
                        WHERE expires < :before LIMIT :batch";
    let before = now.saturating_sub(EXPIRED_KEPT);
    let parameters = [("before", Value::Int(before)), ("batch", Value::Int(PRUNE_BATCH))];
    prune_found(store, Assembly::whole(&[EXPIRED], parameters), |found| {
        entries::delete_expired(found, before)
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
