//! `authpolicy flush`: stores the rows that wait in the journal, and says what is left in it.

use std::time::Duration;
use std::time::Instant;

use clap::Args;

use crate::config::Config;
use crate::config::Timeouts;
use crate::delivery;
use crate::delivery::Delivered;
use crate::delivery::Pace;
use crate::error::Error;
use crate::journal::Census;
use crate::journal::Journal;
use crate::maillog::MailLog;
use crate::stale;
use crate::store::Deadline;
use crate::store::Stores;

use super::Done;
use super::say;
use super::seconds_before_now;
use super::timestamp;

/// How long one transaction may take: nobody waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Args)]
pub(super) struct Arguments {
    /// Try those again that were set aside, too: the database has been mended.
    #[arg(long)]
    set_aside: bool,
}

pub(super) fn run(config: &Config, arguments: &Arguments) -> Done {
    let log = |line: &str| eprintln!("{line}");
    let journal = Journal::new(&config.state_directory, config.durability, MailLog::new(&log));
    if arguments.set_aside {
        journal.take_back()?;
    }
    let delivered = deliver(config, &journal);
    stale::prune(&config.state_directory, &config.accounts, seconds_before_now(Duration::ZERO));
    say(&format!("stored={}", delivered.stored));
    say(&format!("known={}", delivered.known));
    let census = journal.census()?;
    say(&format!("waiting={}", census.waiting));
    if let Some(since) = census.since {
        say(&format!("since={}", timestamp(since)));
    }
    say(&format!("set_aside={}", census.set_aside));
    for path in &census.foreign {
        say(&format!("foreign={}", path.display()));
    }
    delivered.trouble.map_or(Ok(!delivered.is_held), Err)
}

/// All that waits now: what comes meanwhile is the next one's.
fn deliver(config: &Config, journal: &Journal<'_>) -> Delivered {
    if !journal.has_rows() {
        return Delivered::default();
    }
    let timeouts = Timeouts { attempt: PATIENCE, ..config.timeouts };
    let deadline = || Deadline::new(Instant::now(), timeouts);
    let mut stores = Stores::new(config, deadline());
    let mut delivered = delivery::deliver(config, &mut stores, journal, Pace::of_flush(timeouts));
    // Where only `flush` delivers, nobody else does it.
    stores.replace_deadline(deadline());
    if let Err(e) = stores.log().and_then(delivery::prune) {
        delivered.trouble.get_or_insert(e);
    }
    delivered
}

/// What `authpolicy config` says of the journal.
pub(super) fn check(config: &Config) -> Result<String, Error> {
    let directory = &config.state_directory;
    if !directory.exists() {
        return Ok(format!(
            "warning {} is missing: where the database takes no row, each AUTH is a 435. Run \
             `authpolicy db init`, or correct state.directory",
            directory.display()
        ));
    }
    let log = |line: &str| eprintln!("{line}");
    let journal = Journal::new(directory, config.durability, MailLog::new(&log));
    journal.check()?;
    Ok(describe(&journal, &journal.census()?))
}

fn describe(journal: &Journal<'_>, census: &Census) -> String {
    let Census { waiting, since, set_aside, foreign } = census;
    if *waiting == 0 && *set_aside == 0 && foreign.is_empty() {
        return String::from("ok no row waits");
    }
    let since = since.map(|since| format!(" since {}", timestamp(since))).unwrap_or_default();
    let mut parts = Vec::new();
    if *waiting > 0 {
        parts.push(format!("{}{since}: run `authpolicy flush`", rows(*waiting, "waits", "wait")));
    }
    if *set_aside > 0 {
        parts.push(format!(
            "{} set aside in {}/set-aside: it has the reasons; when they are mended, run \
             `authpolicy flush --set-aside`",
            rows(*set_aside, "is", "are"),
            journal.directory().display()
        ));
    }
    parts.extend(foreign.iter().map(|path| format!("{} is not ours", path.display())));
    format!("warning {}", parts.join("; "))
}

fn rows(count: usize, one: &str, more: &str) -> String {
    if count == 1 { format!("1 row {one}") } else { format!("{count} rows {more}") }
}
