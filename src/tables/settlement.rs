//! The settlement of an attempt: the changes that its result makes to its counters, and to the
//! addresses and countries remembered. It can wait in the journal, so it holds plain texts and
//! numbers, and no configuration.

use serde::Deserialize;
use serde::Serialize;

use crate::error::Error;
use crate::store::Store;
use crate::tables::counters;
use crate::tables::counters::AttemptLimits;
use crate::tables::counters::Clock;
use crate::tables::counters::CountedAs;
use crate::tables::seen;

const COUNT: &str = "authpolicy_count";
const SEEN: &str = "authpolicy_seen";

/// The changes to write when the result of an attempt is known. Writing them twice does no harm.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Settlement {
    counters: Vec<counters::CounterSettlement>,
    /// The logins that were admitted, one for each name of the account.
    seen: Vec<seen::SeenLogin>,
}

impl Settlement {
    /// The settlement of an attempt.
    #[must_use]
    pub fn new(
        attempt_limits: Option<&AttemptLimits>,
        counted_as: CountedAs,
        seen: Vec<seen::SeenLogin>,
        clock: Clock,
    ) -> Self {
        let counters = attempt_limits
            .map_or_else(Vec::new, |attempt_limits| attempt_limits.settle(counted_as, clock));
        Self { counters, seen }
    }

    /// True if there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counters.is_empty() && self.seen.is_empty()
    }

    /// Prepares it to be written later.
    pub fn postpone(&mut self) {
        self.counters.iter_mut().for_each(counters::CounterSettlement::postpone);
    }

    /// Writes all of it, or nothing.
    ///
    /// # Errors
    /// The database did not do it.
    pub fn write(&self, store: &mut Store) -> Result<(), Error> {
        store.transaction(|store| self.write_within(store))
    }

    /// Writes all of it within the caller's transaction.
    ///
    /// # Errors
    /// The database did not do it.
    pub fn write_within(&self, store: &mut Store) -> Result<(), Error> {
        for settled in &self.counters {
            settled.write(store).map_err(|e| e.about_table(COUNT))?;
        }
        for login in &self.seen {
            seen::remember(store, login).map_err(|e| e.about_table(SEEN))?;
        }
        Ok(())
    }
}
