//! The settlement of one counter: what the outcome of an attempt changes there. It can wait in the journal, so
//! it names rows and values, and no configuration.

use serde::Deserialize;
use serde::Serialize;

use super::Clock;
use super::Counter;
use super::Standing;
use super::delete;
use super::is_of_account;
use crate::error::Error;
use crate::store::Store;
use crate::store::Value;

/// What the outcome of an attempt means to its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The guess was wrong: it counts.
    Failed,
    /// A SCRAM client gave up after it had the keys, without a proof: this counts against its address, and
    /// not against the account.
    GivenUp,
    /// The password was right, or the client has learnt nothing about it: nothing counts.
    Released,
}

/// What is to be written to one counter.
#[derive(Debug, Serialize, Deserialize)]
pub struct Settled {
    rule: String,
    account: String,
    remote: String,
    value: String,
    /// The id of the reservation to delete.
    reservation: Option<String>,
    /// Until when the value counts as failed, in milliseconds since 1970.
    failed_until: Option<i64>,
}

impl Standing {
    /// What the outcome changes with each counter.
    #[must_use]
    pub fn settle(&self, outcome: Outcome, clock: Clock) -> Vec<Settled> {
        let settled = self.counters().iter().filter_map(|counter| {
            let failed = match outcome {
                Outcome::Failed => true,
                Outcome::GivenUp => !is_of_account(counter),
                Outcome::Released => false,
            };
            let reservation = self.held(counter, clock);
            (failed || reservation.is_some()).then(|| Settled {
                rule: counter.limit.name.to_string(),
                account: counter.account.clone(),
                remote: counter.remote.clone(),
                value: counter.value.clone(),
                reservation,
                failed_until: failed.then(|| counter.expires(clock)),
            })
        });
        settled.collect()
    }

    /// The id of the attempt's reservation with a counter, if it has one.
    fn held(&self, counter: &Counter, clock: Clock) -> Option<String> {
        let purpose = self.holds.filter(|_| counter.is_held)?;
        Some(self.reservation(counter, purpose, clock).0)
    }
}

impl Settled {
    /// Writes it, within a transaction of the caller.
    ///
    /// # Errors
    /// The database did not do it.
    pub fn write(&self, store: &mut Store) -> Result<(), Error> {
        // A failure that is there already never ends sooner by another one.
        const FAIL: (&str, &str) = (
            "INSERT INTO authpolicy_count (rule, account, remote, value, attempt, expires) \
             VALUES (:rule, :account, :remote, :value, :attempt, :expires) \
             ON CONFLICT DO UPDATE SET expires = MAX(expires, excluded.expires)",
            "INSERT INTO authpolicy_count (rule, account, remote, value, attempt, expires) \
             VALUES (:rule, :account, :remote, :value, :attempt, :expires) \
             ON DUPLICATE KEY UPDATE expires = GREATEST(expires, :expires)",
        );
        if let Some(until) = self.failed_until {
            let sql = store.dialect(FAIL.0, FAIL.1);
            store.execute(sql, &self.parameters("", until))?;
        }
        if let Some(reservation) = &self.reservation {
            delete(store, &self.parameters(reservation, 0))?;
        }
        Ok(())
    }

    fn parameters(&self, attempt: &str, expires: i64) -> [(&'static str, Value); 6] {
        [
            ("rule", Value::text(&self.rule)),
            ("account", Value::text(&self.account)),
            ("remote", Value::text(&self.remote)),
            ("value", Value::text(&self.value)),
            ("attempt", Value::text(attempt)),
            ("expires", Value::Int(expires)),
        ]
    }
}
