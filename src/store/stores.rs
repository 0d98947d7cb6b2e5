//! The databases of one attempt.

use std::time::Duration;
use std::time::Instant;

use super::Deadline;
use super::Store;
use crate::config::Config;
use crate::config::Database;
use crate::error::Error;

/// The connections of one attempt, opened when first needed and closed when dropped. There is one
/// connection if accounts and log share a database.
pub struct Stores<'a> {
    config: &'a Config,
    deadline: Deadline,
    accounts: Option<Store>,
    log: Option<Store>,
    /// True if the connections were idle for a while, so that a server may have ended them.
    were_idle: bool,
    /// The time that was spent on other attempts.
    excluded: Duration,
}

impl<'a> Stores<'a> {
    /// The databases of a configuration. None is opened yet.
    #[must_use]
    pub fn new(config: &'a Config, deadline: Deadline) -> Self {
        Self {
            config,
            deadline,
            accounts: None,
            log: None,
            were_idle: false,
            excluded: Duration::ZERO,
        }
    }

    /// Does work that needs no database. It does not count against `attempt_timeout`.
    pub fn pause_deadline<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let done = work();
        self.deadline.extend(start.elapsed());
        self.were_idle = true;
        for store in [&mut self.accounts, &mut self.log].into_iter().flatten() {
            store.set_deadline(self.deadline);
        }
        done
    }

    /// Excludes time that was spent on other attempts from `attempt_timeout`.
    pub fn exclude(&mut self, time: Duration) {
        self.excluded = self.excluded.saturating_add(time);
        self.deadline.extend(time);
        self.were_idle = true;
    }

    /// The time that was spent on other attempts.
    #[must_use]
    pub fn excluded(&self) -> Duration {
        self.excluded
    }

    /// Replaces the deadline for later calls, and returns the one before it.
    pub fn replace_deadline(&mut self, deadline: Deadline) -> Deadline {
        std::mem::replace(&mut self.deadline, deadline)
    }

    /// Faults that did not prevent the databases from being opened.
    pub fn troubles(&self) -> impl Iterator<Item = Error> {
        [&self.accounts, &self.log].into_iter().flatten().filter_map(Store::trouble)
    }

    /// Closes the connections, so that a client that has to wait does not hold any.
    pub fn close(&mut self) {
        self.accounts = None;
        self.log = None;
    }

    /// The database of the accounts.
    ///
    /// # Errors
    /// It cannot be reached.
    pub fn accounts(&mut self) -> Result<&mut Store, Error> {
        if self.were_idle {
            self.accounts = self.accounts.take().filter(|store| !store.is_disconnected());
        }
        open(&mut self.accounts, &self.config.accounts.database, self.deadline)
    }

    /// The database of the log.
    ///
    /// # Errors
    /// It cannot be reached.
    pub fn log(&mut self) -> Result<&mut Store, Error> {
        let shared = self.config.log.database.is_same(&self.config.accounts.database);
        let slot = if shared { &mut self.accounts } else { &mut self.log };
        if self.were_idle {
            *slot = slot.take().filter(|store| !store.is_disconnected());
        }
        let store = open(slot, &self.config.log.database, self.deadline)?;
        store.make_durable(self.config.durability)?;
        Ok(store)
    }
}

fn open<'s>(
    slot: &'s mut Option<Store>,
    database: &Database,
    deadline: Deadline,
) -> Result<&'s mut Store, Error> {
    let store = match slot.take().filter(Store::is_usable) {
        Some(mut store) => {
            store.set_deadline(deadline);
            store
        }
        None => Store::open_for_use(database, deadline)?,
    };
    Ok(slot.insert(store))
}
