//! Checks for conditions that make limits count wrongly.

use std::time::Duration;

use humantime::format_duration;

use crate::long_deadline;
use crate::milliseconds_now;
use authpolicy::config::Config;
use authpolicy::error::Error;
use authpolicy::store::Store;
use authpolicy::store::dialect;
use authpolicy::tables::counters;

/// The largest difference of this host's clock from the database's, in milliseconds.
const CLOCK_MARGIN: u64 = 2000;

/// Warns of attempts that outlast their lease, and of clocks that differ.
pub(super) fn check(config: &Config, costliest_hash: Duration) -> Result<String, Error> {
    if config.policy.limits.list.is_empty() {
        return Ok(String::from("ok not used"));
    }
    let warnings: Vec<_> = [outlasts_lease(config, costliest_hash), check_clock(config)?]
        .into_iter()
        .flatten()
        .collect();
    Ok(if warnings.is_empty() {
        String::from("ok")
    } else {
        format!("warning {}", warnings.join("; "))
    })
}

/// Returns a warning if an attempt may take longer than its lease. It would count as a failure
/// until it ends.
fn outlasts_lease(config: &Config, costliest_hash: Duration) -> Option<String> {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let cpus = u32::try_from(cpus).unwrap_or(u32::MAX);
    let slots = super::max_parallel_hashes(config);
    let timeouts = &config.timeouts;
    let hash = costliest_hash.saturating_mul(slots.div_ceil(cpus.max(1)));
    let longest = hash.saturating_add(timeouts.attempt).saturating_add(timeouts.query);
    let lease = u64::try_from(counters::lease(timeouts.attempt)).unwrap_or(u64::MAX);
    let lease = Duration::from_millis(lease);
    (longest > lease).then(|| {
        format!(
            "{slots} attempts that hash at once on {cpus} CPUs may take {}, and one that takes longer than {} \
             counts as a failure until it ends: lower accounts.max_parallel_hashes, or the cost of stored \
             passwords",
            format_duration(longest),
            format_duration(lease)
        )
    })
}

/// Returns a warning if the clocks of this host and of the database server differ. Hosts that share
/// limits compare their times in the table.
fn check_clock(config: &Config) -> Result<Option<String>, Error> {
    let mut store = Store::open(&config.log.database, long_deadline(config))?;
    let Some(sql) = dialect::tool::server_clock(&store) else { return Ok(None) };
    let before = milliseconds_now();
    let rows = store.query(sql, &[])?;
    let after = milliseconds_now();
    let theirs = rows.first().and_then(|row| row.text("now").parse::<i64>().ok());
    // The server read its clock between `before` and `after`.
    let off = theirs.map_or(0, |theirs| {
        if theirs < before {
            before.abs_diff(theirs)
        } else {
            theirs.saturating_sub(after).max(0).unsigned_abs()
        }
    });
    Ok((off > CLOCK_MARGIN).then(|| {
        format!(
            "this host's clock and the database server's differ by {}: limits count too much or too little. \
             Have both set their clocks by NTP",
            format_duration(Duration::from_millis(off))
        )
    }))
}
