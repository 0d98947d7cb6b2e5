//! Transactions of MariaDB and MySQL. Each end of one takes a round trip, and its beginning none.

use mysql::prelude::Queryable;

use super::MySqlConnection;
use crate::error::Error;
use crate::error::StoreFault;
use crate::store::QueryResult;
use crate::store::Statement;

/// The error code for a missing savepoint.
const NO_SAVEPOINT: u16 = 1305;

/// After so many lost transactions in succession, `log.insert` is at fault, and not another node.
const MAX_LOST: u32 = 3;

/// Begins a transaction with a savepoint, by which COMMIT recognizes it. A node of a Galera cluster
/// may abort a transaction because of another node's without an error. It then runs the next
/// statement in a new transaction.
pub(super) const BEGIN: [&str; 2] = ["START TRANSACTION", "SAVEPOINT authpolicy"];

/// Commits the transaction if it is still the one that was begun.
const COMMIT: [&str; 2] = ["RELEASE SAVEPOINT authpolicy", "COMMIT"];

/// Rolls the transaction back if it is still the one that was begun. Otherwise its statements ran
/// without the locks of the earlier ones.
const ROLLBACK: [&str; 2] = ["RELEASE SAVEPOINT authpolicy", "ROLLBACK"];

/// The state of the caller's transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transaction {
    /// There is none. A statement that changes something is committed alone.
    None,
    /// The caller has begun it. The server will hear of it with the first statement.
    Unsent,
    /// The server has begun it.
    Open,
    /// It was committed with its last statements.
    Committed,
}

impl MySqlConnection {
    /// Begins a transaction. It sees all that others have committed before its first SELECT.
    pub(in crate::store) fn begin(&mut self) {
        self.may_try_again = false;
        self.transaction = Transaction::Unsent;
    }

    pub(in crate::store) fn commit(&mut self) -> Result<(), Error> {
        self.end(COMMIT)
    }

    /// Rolls back a transaction without errors.
    pub(in crate::store) fn release(&mut self) -> Result<(), Error> {
        self.end(ROLLBACK)
    }

    /// Runs the last statements of a transaction and commits it.
    pub(in crate::store) fn run_all_and_commit(
        &mut self,
        statements: &[Statement<'_>],
    ) -> Result<Vec<QueryResult>, Error> {
        if self.transaction == Transaction::None {
            return self.run_all(statements);
        }
        let (results, done) = self.send_all(statements, &COMMIT)?;
        self.ended(done)?;
        self.transaction = Transaction::Committed;
        Ok(results)
    }

    pub(in crate::store) fn roll_back(&mut self) -> Result<(), Error> {
        if std::mem::replace(&mut self.transaction, Transaction::None) != Transaction::Open {
            return Ok(());
        }
        let done = self.limit().and_then(|()| {
            self.connection.query_drop("ROLLBACK").map_err(|e| self.store_error(&e))
        });
        // Otherwise the next transaction would commit the statements of this one.
        self.out_of_step |= done.is_err();
        done
    }

    /// Ends the transaction by these statements, if it has any at the server.
    fn end(&mut self, by: [&str; 2]) -> Result<(), Error> {
        if self.transaction == Transaction::Open {
            let (_, done) = self.send_all(&[], &by)?;
            self.ended(done)?;
        }
        self.transaction = Transaction::None;
        Ok(())
    }

    /// The result of a transaction, after the statements that end it.
    fn ended(&mut self, done: mysql::Result<()>) -> Result<(), Error> {
        match done {
            Err(mysql::Error::MySqlError(e)) if e.code == NO_SAVEPOINT => {
                self.lost = self.lost.saturating_add(1);
                self.may_try_again = self.lost < MAX_LOST;
                let what = "the transaction was ended: log.insert must not begin or end one";
                Err(Error::Store {
                    place: self.place.clone(),
                    what: what.to_owned(),
                    fault: StoreFault::Row,
                })
            }
            done => {
                self.lost = 0;
                done.map_err(|e| self.store_error(&e))
            }
        }
    }
}
