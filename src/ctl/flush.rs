//! `authpolicy flush`: stores the rows that wait in the journal, and says what is left in it.

use std::time::Duration;
use std::time::Instant;

use crate::config::Config;
use crate::config::Timeouts;
use crate::delivery;
use crate::delivery::Delivered;
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

/// How long one file of rows may take: nobody waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn run(config: &Config) -> Done {
    let log = |line: &str| eprintln!("{line}");
    let journal = Journal::new(&config.state_directory, config.durability, MailLog::new(&log));
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
        let deadline = Deadline::new(Instant::now(), timeouts);
        let mut store = Store::open(&config.log.database, deadline)?;
        let Some(one) = delivery::deliver(&mut store, &config.log, journal)? else { break };
        total.stored = total.stored.saturating_add(one.stored);
        total.known = total.known.saturating_add(one.known);
    }
    Ok(())
}

/// What `authpolicy config` says of the journal.
pub(super) fn check(config: &Config) -> Result<String, Error> {
    let directory = &config.state_directory;
    if !directory.exists() {
        return Ok(format!(
            "warning {} is missing: where the database takes no row, each AUTH is a 435. Run \
             `authpolicy db init`",
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
    let named: Vec<_> = foreign.iter().map(|path| path.display().to_string()).collect();
    let foreign = match named.is_empty() {
        true => String::new(),
        false => format!(", not ours: {}", named.join(", ")),
    };
    format!(
        "warning {waiting} rows wait{since}: run `authpolicy flush`; {set_aside} rows are set aside \
         in {}{foreign}",
        journal.directory().display()
    )
}
