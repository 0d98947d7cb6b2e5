//! The settlement of a counter: the changes that the result of an attempt makes to it. It can
//! wait in the journal, so it holds plain texts and numbers, and no configuration.

use serde::Deserialize;
use serde::Serialize;

use super::AttemptLimits;
use super::Clock;
use super::entries;
use super::entries::CounterEntry;
use super::is_of_account;
use super::latest;
use crate::store::Store;
use crate::tables::assembly::Assembly;

/// The result of an attempt, as its limits count it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CountedAs {
    /// The password was wrong. It counts.
    Failed,
    /// A SCRAM client gave up after it had the keys, without a proof. This counts against its
    /// address, and not against the account.
    GivenUp,
    /// The password was right, or the client has learnt nothing about it. Nothing counts.
    Released,
}

/// The changes to write to one counter.
#[derive(Debug, Serialize, Deserialize)]
pub struct CounterSettlement {
    rule: String,
    account: String,
    remote: String,
    value: String,
    /// The ids of the reservations to delete.
    reservations: Vec<String>,
    failed: Option<Failed>,
}

/// A failure.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Failed {
    /// The time until which the value counts as failed, in milliseconds since 1970.
    until: i64,
    /// The latest plausible end of an existing failure. One that ends later comes from a wrong
    /// clock or from a longer `within`, and is replaced.
    latest: i64,
}

impl AttemptLimits {
    /// The changes to each counter.
    #[must_use]
    pub fn settle(&self, counted_as: CountedAs, clock: Clock) -> Vec<CounterSettlement> {
        let settled = self.counters().iter().filter_map(|counter| {
            let failed = match counted_as {
                CountedAs::Failed => true,
                CountedAs::GivenUp => !is_of_account(counter),
                CountedAs::Released => false,
            };
            (failed || !counter.reservations.is_empty()).then(|| CounterSettlement {
                rule: counter.limit.name.to_string(),
                account: counter.account.clone(),
                remote: counter.remote.clone(),
                value: counter.value.clone(),
                reservations: counter.reservations.clone(),
                failed: failed.then(|| Failed {
                    until: counter.expires(clock),
                    latest: latest(&counter.limit, clock),
                }),
            })
        });
        settled.collect()
    }
}

impl CounterSettlement {
    /// Prepares the settlement to be written later. It will not shorten any failure that another
    /// attempt has added by then.
    pub fn postpone(&mut self) {
        if let Some(failed) = &mut self.failed {
            failed.latest = i64::MAX;
        }
    }

    fn entry<'a>(&'a self, attempt: &'a str, expires: i64) -> CounterEntry<'a> {
        let (rule, account, remote) = (&*self.rule, &*self.account, &*self.remote);
        CounterEntry { rule, account, remote, value: &self.value, attempt, expires }
    }

    /// The sort key for taking locks, as that of its counter.
    fn key(&self) -> (&str, &str, &str) {
        (&self.rule, &self.account, &self.remote)
    }
}

/// The statements that settle several counters, which go in one packet.
pub(in crate::tables) fn settle(store: &Store, settled: &[CounterSettlement]) -> Vec<Assembly> {
    let mut settled: Vec<_> = settled.iter().collect();
    settled.sort_by(|one, other| one.key().cmp(&other.key()));
    let failures = settled.iter().filter_map(|settled| {
        settled.failed.map(|Failed { until, latest }| (settled.entry("", until), latest))
    });
    let failures: Vec<_> = failures.collect();
    let reservations = settled
        .iter()
        .flat_map(|settled| settled.reservations.iter().map(|id| settled.entry(id, 0)));
    let reservations: Vec<_> = reservations.collect();
    let mut all = entries::count_failures(store, &failures);
    all.extend(entries::delete(&reservations));
    all
}
