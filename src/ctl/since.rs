//! A time ago, as a bound for the log's column `datetime`.
//!
//! The embedded database keeps UTC. A server keeps the local time of its sessions, which jumps: after
//! the clocks go back, rows that are newer than a moment may have a smaller `datetime` than that moment
//! had. The bound is the least `datetime` that a row can have which is not older, so `log` shows each of
//! them and `prune` deletes none of them. Rows that are up to an hour older may count as newer.

use std::time::Duration;

use crate::store::Store;
use crate::store::Value;

use super::seconds_before_now;

/// The time after a moment in which the clocks may go back behind it. They go back by an hour at most;
/// this leaves room for others' rules.
const LONGEST_JUMP: Duration = Duration::from_secs(2 * 3600);

/// The bound in SQL, for the parameters of `parameters`.
pub(super) fn bound(store: &Store) -> &'static str {
    store.dialect(
        "datetime(:since, 'unixepoch')",
        "LEAST(FROM_UNIXTIME(:since), FROM_UNIXTIME(:later) - INTERVAL :gap SECOND)",
    )
}

/// The moment `ago` before now, one shortly after it that is not in the future, and the time between.
pub(super) fn parameters(ago: Duration) -> [(&'static str, Value); 3] {
    let since = seconds_before_now(ago);
    let gap = i64::try_from(ago.min(LONGEST_JUMP).as_secs()).unwrap_or(0);
    let later = since.saturating_add(gap);
    [("since", Value::Int(since)), ("later", Value::Int(later)), ("gap", Value::Int(gap))]
}
