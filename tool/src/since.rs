//! A moment in the past, as a bound for the log's column `datetime`.
//!
//! The embedded database stores UTC. A server stores the local time of its sessions. After the
//! clocks go back, a newer row may have a smaller `datetime` than an older one. The bound is the
//! smallest `datetime` that a row from after this moment can have. So `log` shows every newer row,
//! and `prune` deletes none. Rows that are up to an hour older may count as newer.

use std::time::Duration;

use authpolicy::store::Store;
use authpolicy::store::Value;
use authpolicy::store::dialect;

use super::seconds_before_now;

/// The largest step by which clocks may go back. It is an hour today; two hours leave a margin for
/// other rules.
const LONGEST_JUMP: Duration = Duration::from_secs(2 * 3600);

/// The bound in SQL, for the parameters of `parameters`.
pub(super) fn bound(store: &Store) -> &'static str {
    dialect::tool::oldest_datetime(store)
}

/// The moment `ago` before now, one shortly after it that is not in the future, and the time
/// between.
pub(super) fn parameters(ago: Duration) -> [(&'static str, Value); 3] {
    let since = seconds_before_now(ago);
    let gap = i64::try_from(ago.min(LONGEST_JUMP).as_secs()).unwrap_or(0);
    let later = since.saturating_add(gap);
    [("since", Value::Int(since)), ("later", Value::Int(later)), ("gap", Value::Int(gap))]
}
