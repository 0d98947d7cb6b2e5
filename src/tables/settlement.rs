//! The settlement of an attempt: the changes that its result makes to its counters, and to the
//! addresses and countries remembered. It can wait in the journal, so it holds plain texts and
//! numbers, and no configuration.

use serde::Deserialize;
use serde::Serialize;

use crate::error::Error;
use crate::store::Store;
use crate::tables::assembly::Assembly;
use crate::tables::assembly::run_all;
use crate::tables::assembly::run_all_and_commit;
use crate::tables::counters;
use crate::tables::counters::AttemptLimits;
use crate::tables::counters::Clock;
use crate::tables::counters::CountedAs;
use crate::tables::seen;

/// The tables that a settlement changes.
const TABLES: [&str; 2] = ["authpolicy_count", "authpolicy_seen"];

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
    /// The database did not do it, or did not confirm it.
    pub fn write(&self, store: &mut Store) -> Result<(), Error> {
        let written = store.transaction(|store| run_all_and_commit(store, &self.statements(store)));
        written.map(drop).map_err(about)
    }

    /// Writes all of it within the caller's transaction.
    ///
    /// # Errors
    /// The database did not do it.
    pub fn write_within(&self, store: &mut Store) -> Result<(), Error> {
        run_all(store, &self.statements(store)).map(drop).map_err(about)
    }

    fn statements(&self, store: &Store) -> Vec<Assembly> {
        let mut all = counters::settle(store, &self.counters);
        all.extend(seen::remember(store, &self.seen));
        all
    }
}

fn about(e: Error) -> Error {
    e.about_tables(&TABLES)
}
