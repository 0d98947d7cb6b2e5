//! `authpolicy flush`: stores the rows that are waiting in the journal, and prints the number left
//! in it.

use std::time::Duration;
use std::time::Instant;

use clap::Args;

use authpolicy::account::remembered;
use authpolicy::config::Config;
use authpolicy::config::Timeouts;
use authpolicy::error::Error;
use authpolicy::row::delivery;
use authpolicy::row::delivery::Delivered;
use authpolicy::row::delivery::Pace;
use authpolicy::row::journal::Backlog;
use authpolicy::row::journal::Journal;
use authpolicy::row::journal::JournalStatus;
use authpolicy::store::Deadline;
use authpolicy::store::Stores;
use authpolicy::verdict::maillog::MailLog;

use super::Done;
use super::progress::Progress;
use super::say;
use super::seconds_before_now;
use super::timestamp;

/// The time for one transaction. It is long, because no client waits.
const TRANSACTION_TIME: Duration = Duration::from_secs(60);
/// The time for which files locked by another process are tried again, and the pause before each
/// try. An attempt that delivers locks a file for at most 200 ms.
const LOCKED_TIME: Duration = Duration::from_secs(1);
const LOCKED_PAUSE: Duration = Duration::from_millis(100);

#[derive(Args)]
pub(super) struct FlushArguments {
    /// Also try the rows again that were set aside; use it after the database has been corrected.
    #[arg(long)]
    set_aside: bool,
}

pub(super) fn run(config: &Config, arguments: &FlushArguments) -> Done {
    let (state, durability) = (&config.state_directory, config.durability);
    let log = |line: &str| eprintln!("{line}");
    let journal = Journal::new(state, durability, MailLog::new(&log));
    if arguments.set_aside {
        journal.requeue_set_aside()?;
    }
    let waiting =
        || journal.status().map(|journal_status| u64::try_from(journal_status.waiting).ok());
    let progress = Progress::of_rows("rows stored", waiting)?;
    let log = |line: &str| progress.print_above(line);
    let journal = Journal::new(state, durability, MailLog::new(&log));
    let backlog = journal.backlog()?;
    let (delivered, marks) = match journal.has_rows() {
        true => deliver(config, &journal, &backlog, &progress)?,
        false => (Delivered::default(), Ok(())),
    };
    progress.finish();
    remembered::prune(
        &config.state_directory,
        &config.accounts,
        seconds_before_now(Duration::ZERO),
    );
    say(&format!("stored={}", delivered.stored));
    say(&format!("known={}", delivered.known));
    let journal_status = journal.status()?;
    say(&format!("waiting={}", journal_status.waiting));
    if let Some(since) = journal_status.since {
        say(&format!("since={}", timestamp(since)));
    }
    say(&format!("set_aside={}", journal_status.set_aside));
    for path in &journal_status.foreign {
        say(&format!("foreign={}", path.display()));
    }
    let left = journal.left(&backlog)?;
    match delivered.trouble {
        Some(e) if left > 0 => return Err(e),
        // All rows of the backlog are stored. Later rows are left to the next run.
        Some(e) => eprintln!("authpolicy: {e}"),
        None => {}
    }
    marks.map(|()| left == 0)
}

/// Delivers until no row of the backlog waits, or until a pass gets none of them out of the
/// journal. Also deletes old marks; returns the result of that separately.
fn deliver(
    config: &Config,
    journal: &Journal<'_>,
    backlog: &Backlog,
    progress: &Progress,
) -> Result<(Delivered, Result<(), Error>), Error> {
    let timeouts = Timeouts { attempt: TRANSACTION_TIME, ..config.timeouts };
    let deadline = || Deadline::new(Instant::now(), timeouts);
    let mut stores = Stores::new(config, deadline());
    let report = |rows| progress.add(u64::try_from(rows).unwrap_or(0));
    let mut all = Delivered::default();
    let mut left = usize::MAX;
    let mut stuck_since = None;
    let mut pace = Pace::of_flush(timeouts);
    loop {
        let done = delivery::deliver_with_progress(config, &mut stores, journal, pace, &report);
        let is_locked = done.is_locked;
        // Without a mark, the next pass could store a row again.
        let is_last = done.is_unavailable || done.is_unmarked;
        all = all.merge(done);
        let before = std::mem::replace(&mut left, journal.left(backlog)?);
        if left == 0 || is_last {
            break;
        }
        if left >= before {
            // Time is the limit and not the number of tries, because rows that fail may take long.
            let since: &mut Instant = stuck_since.get_or_insert_with(Instant::now);
            if !is_locked || since.elapsed() >= LOCKED_TIME {
                break;
            }
            std::thread::sleep(LOCKED_PAUSE);
        }
        pace = Pace::of_flush_again(timeouts);
    }
    // With `log.delivery = "journal"`, no attempt deletes old marks.
    stores.replace_deadline(deadline());
    let marks = stores.log().and_then(delivery::prune).map(drop);
    Ok((all, marks))
}

/// Checks the journal for `authpolicy config`.
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
    Ok(describe(&journal, &journal.status()?))
}

fn describe(journal: &Journal<'_>, journal_status: &JournalStatus) -> String {
    let JournalStatus { waiting, since, set_aside, foreign } = journal_status;
    if *waiting == 0 && *set_aside == 0 && foreign.is_empty() {
        return String::from("ok no row waits");
    }
    let since = since.map(|since| format!(" since {}", timestamp(since))).unwrap_or_default();
    let mut parts = Vec::new();
    if *waiting > 0 {
        parts.push(format!(
            "{}{since}: run `authpolicy flush`",
            describe_rows(*waiting, "waits", "wait")
        ));
    }
    if *set_aside > 0 {
        parts.push(format!(
            "{} set aside in {}/set-aside: it has the reasons; when they are mended, run \
             `authpolicy flush --set-aside`",
            describe_rows(*set_aside, "is", "are"),
            journal.directory().display()
        ));
    }
    parts.extend(foreign.iter().map(|path| format!("{} is not ours", path.display())));
    format!("warning {}", parts.join("; "))
}

fn describe_rows(count: usize, one: &str, more: &str) -> String {
    if count == 1 { format!("1 row {one}") } else { format!("{count} rows {more}") }
}
