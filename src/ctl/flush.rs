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
use crate::store::Store;

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
    let mut total = Delivered::default();
    let delivered = deliver_all(config, &journal, &mut total);
    stale::prune(&config.state_directory, &config.accounts, seconds_before_now(Duration::ZERO));
    say(&format!("stored={}", total.stored));
    say(&format!("known={}", total.known));
    let census = journal.census()?;
    say(&format!("waiting={}", census.waiting));
    if let Some(since) = census.since {
        say(&format!("since={}", timestamp(since)));
    }
    say(&format!("set_aside={}", census.set_aside));
    for path in &census.foreign {
        say(&format!("foreign={}", path.display()));
    }
    delivered.map(|()| census.waiting == 0)
}

fn deliver_all(config: &Config, journal: &Journal<'_>, total: &mut Delivered) -> Result<(), Error> {
    let timeouts = Timeouts { attempt: PATIENCE, ..config.timeouts };
    while journal.has_rows() {
        let mut store = Store::open(&config.log.database, Deadline::new(Instant::now(), timeouts))?;
        store.make_durable(config.durability)?;
        let some = delivery::deliver(&mut store, &config.log, journal, Pace::of_flush(timeouts));
        total.stored = total.stored.saturating_add(some.stored);
        total.known = total.known.saturating_add(some.known);
        if let Some(e) = some.trouble {
            return Err(e);
        }
        // Where only `flush` delivers, nobody else does it.
        delivery::prune(&mut store)?;
        if some.stored == 0 && some.known == 0 && some.set_aside == 0 {
            // Somebody else has the rest.
            break;
        }
    }
    Ok(())
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
