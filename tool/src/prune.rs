//! `authpolicy prune`: deletes old rows of the log, in small batches, so that no AUTH waits long.

use std::time::Duration;

use clap::Args;

use authpolicy::account::remembered;
use authpolicy::config::Config;
use authpolicy::error::Error;
use authpolicy::row::delivery;
use authpolicy::store::Sql;
use authpolicy::store::Store;
use authpolicy::store::Value;
use authpolicy::store::dialect;
use authpolicy::tables::counters;
use authpolicy::tables::seen;

use super::Done;
use super::long_deadline;
use super::progress::Progress;
use super::say;
use super::seconds_before_now;
use super::since;

/// The number of rows that a statement deletes. It locks them for some ten milliseconds.
const BATCH: i64 = 5000;

#[derive(Args)]
pub(super) struct PruneArguments {
    /// The age up to which rows are kept, such as 90d; at least a day.
    #[arg(long, value_parser = at_least_a_day, value_name = "DURATION")]
    keep: Duration,
}

/// Parses a duration of at least a day, so that a typing error cannot delete the whole log.
fn at_least_a_day(text: &str) -> Result<Duration, String> {
    let day = Duration::from_secs(24 * 3600);
    let keep = humantime::parse_duration(text).map_err(|e| e.to_string())?;
    if keep < day { Err(String::from("must be at least a day, such as 90d")) } else { Ok(keep) }
}

pub(super) fn run(config: &Config, arguments: &PruneArguments) -> Done {
    let mut store = Store::open(&config.log.database, long_deadline(config))?;
    let before = || {
        let batch = [("batch", Value::Int(BATCH))];
        since::parameters(arguments.keep).into_iter().chain(batch).collect::<Vec<_>>()
    };
    let bound = since::bound(&store);
    let progress = Progress::of_rows("rows deleted", || {
        let count = ["SELECT COUNT(*) AS n FROM connection_log WHERE datetime < ", bound];
        let counted = store.query(Sql::of(&count), &before());
        let counted = counted.map_err(|e| e.about_table("connection_log"))?;
        Ok::<_, Error>(counted.first().and_then(|row| row.text("n").parse().ok()))
    })?;
    let mut deleted: u64 = 0;
    loop {
        let batch = store.execute(dialect::tool::delete_old_rows(&store), &before());
        let batch = batch.map_err(|e| e.about_table("connection_log"))?;
        deleted = deleted.saturating_add(batch);
        progress.add(batch);
        if i64::try_from(batch).unwrap_or(0) < BATCH {
            break;
        }
    }
    progress.finish();
    say(&format!("deleted={deleted}"));
    remembered::prune(
        &config.state_directory,
        &config.accounts,
        seconds_before_now(Duration::ZERO),
    );
    prune_own_tables(config, &mut store)?;
    Ok(true)
}

/// Deletes expired entries from the plugin's own tables, if they exist.
fn prune_own_tables(config: &Config, store: &mut Store) -> Result<(), Error> {
    let now = seconds_before_now(Duration::ZERO);
    while delivery::prune(store)? > 0 {}
    if store.has_table("authpolicy_count")? {
        while counters::prune(store, now.saturating_mul(1000))? > 0 {}
    }
    if store.has_table("authpolicy_seen")? {
        let policy = &config.policy;
        let memory = policy.country_memory.max(policy.limits.known_good);
        while seen::prune(store, now, memory)? > 0 {}
    }
    Ok(())
}
