//! Transactions, which are tried again after a conflict with another one.

use super::QueryResult;
use super::Statement;
use super::Store;
use crate::contain;
use crate::error::Error;

/// The most tries of a transaction that conflicts with others. `attempt_timeout` may end them
/// sooner.
const MAX_TRIES: u32 = 50;

/// The end of a transaction without errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// COMMIT
    Commit,
    /// ROLLBACK, which is cheaper than COMMIT if the transaction only took locks.
    RollBack,
}

impl Store {
    /// Runs statements in one transaction, and again after a conflict with another transaction.
    ///
    /// A server gets BEGIN with the first statement, if [`Store::run_all`] runs that.
    ///
    /// # Errors
    /// A statement failed, or there were too many conflicts. None of the statements has an effect,
    /// unless COMMIT itself failed; see [`Store::confirms_commits`].
    pub fn transaction<T>(
        &mut self,
        mut work: impl FnMut(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.transaction_with_ending(|store| work(store).map(|done| (Ending::Commit, done)))
    }

    /// Runs statements in one transaction, and again after a conflict with another transaction.
    /// `work` returns how it ends.
    ///
    /// # Errors
    /// A statement failed, or there were too many conflicts. None of the statements has an effect,
    /// unless COMMIT itself failed; see [`Store::confirms_commits`].
    pub fn transaction_with_ending<T>(
        &mut self,
        work: impl FnMut(&mut Self) -> Result<(Ending, T), Error>,
    ) -> Result<T, Error> {
        self.run_transaction(work, |store, ending| match ending {
            Ending::Commit => store.commit(),
            Ending::RollBack => store.release(),
        })
    }

    /// Runs statements in a transaction and rolls it back. The statements must not include
    /// [`Store::run_all_and_commit`].
    ///
    /// # Errors
    /// One of them failed.
    pub fn dry_run<T>(
        &mut self,
        mut work: impl FnMut(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let work = |store: &mut Self| work(store).map(|done| (Ending::RollBack, done));
        self.run_transaction(work, |store, _| store.roll_back())
    }

    /// Runs the last statements of a transaction, and commits it. A server gets all of that in one
    /// packet. Nothing may follow in the transaction.
    ///
    /// If a statement has to wait for a lock until the time is over, the server may still carry it
    /// out later, with the COMMIT. A row that must not be stored after an error therefore needs its
    /// own COMMIT, which [`Store::transaction`] sends.
    ///
    /// # Errors
    /// The database refused a statement or took too long. If it took too long, it is unknown if the
    /// transaction is committed.
    pub fn run_all_and_commit(
        &mut self,
        statements: &[Statement<'_>],
    ) -> Result<Vec<QueryResult>, Error> {
        self.call("run-all", |store| match store {
            // The end of the transaction commits.
            Self::Sqlite(connection) => connection.run_all(statements),
            Self::MySql(connection) => connection.run_all_and_commit(statements),
        })
    }

    fn run_transaction<T>(
        &mut self,
        mut work: impl FnMut(&mut Self) -> Result<(Ending, T), Error>,
        end: fn(&mut Self, Ending) -> Result<(), Error>,
    ) -> Result<T, Error> {
        let mut tries: u32 = 0;
        loop {
            tries = tries.saturating_add(1);
            let done = self.begin().and_then(|()| work(self));
            let done = done.and_then(|(ending, done)| end(self, ending).map(|()| done));
            // Read now, because a ROLLBACK that fails overwrites it.
            let may_try_again = self.may_try_again();
            if done.is_err() && self.is_usable() {
                // The first error is returned, so this one is ignored.
                let _ = self.roll_back().ok();
            }
            match done {
                Err(_) if may_try_again && tries < MAX_TRIES => {}
                done => return done,
            }
        }
    }

    fn begin(&mut self) -> Result<(), Error> {
        self.call("begin", |store| match store {
            Self::Sqlite(connection) => connection.begin(),
            Self::MySql(connection) => {
                connection.begin();
                Ok(())
            }
        })
    }

    fn commit(&mut self) -> Result<(), Error> {
        let done = self.call("commit", |store| match store {
            Self::Sqlite(connection) => connection.commit(),
            Self::MySql(connection) => connection.commit(),
        });
        // After a panic of the driver, it is unknown if the transaction was committed. SQLite can
        // still tell, and must, because its rows have no marks. The rows of a server have marks.
        match self {
            Self::Sqlite(connection) if done.is_err() && !connection.is_usable => {
                let committed = contain::catch("ask", || connection.has_committed());
                if committed == Ok(true) { Ok(()) } else { done }
            }
            Self::Sqlite(_) | Self::MySql(_) => done,
        }
    }

    /// Rolls back a transaction without errors.
    fn release(&mut self) -> Result<(), Error> {
        self.call("roll-back", |store| match store {
            Self::Sqlite(connection) => connection.roll_back(),
            Self::MySql(connection) => connection.release(),
        })
    }

    fn roll_back(&mut self) -> Result<(), Error> {
        self.call("roll-back", |store| match store {
            Self::Sqlite(connection) => connection.roll_back(),
            Self::MySql(connection) => connection.roll_back(),
        })
    }

    fn may_try_again(&self) -> bool {
        match self {
            Self::Sqlite(_) => false,
            Self::MySql(connection) => connection.may_try_again,
        }
    }
}
