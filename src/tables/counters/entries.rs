//! The statements that write and delete entries, each for the entries of several counters.

use super::Clock;
use super::Counter;
use super::LOCK_TIME;
use crate::store::Row;
use crate::store::Store;
use crate::store::Value;
use crate::store::dialect;
use crate::tables::assembly::Assembly;
use crate::tables::assembly::ROWS;

const DELETE: &str = "DELETE FROM authpolicy_count WHERE ";
/// The condition that selects one entry.
const KEY: &str = "rule = :rule AND account = :account AND remote = :remote \
                   AND value = :value AND attempt = :attempt";
/// The values of one entry.
const VALUES: &str = "(:rule, :account, :remote, :value, :attempt, :expires)";

/// An entry of the table.
pub(super) struct CounterEntry<'a> {
    pub(super) rule: &'a str,
    pub(super) account: &'a str,
    pub(super) remote: &'a str,
    pub(super) value: &'a str,
    pub(super) attempt: &'a str,
    pub(super) expires: i64,
}

impl CounterEntry<'_> {
    fn parameters(&self) -> [(&'static str, Value); 6] {
        [
            ("rule", Value::text(self.rule)),
            ("account", Value::text(self.account)),
            ("remote", Value::text(self.remote)),
            ("value", Value::text(self.value)),
            ("attempt", Value::text(self.attempt)),
            ("expires", Value::Int(self.expires)),
        ]
    }
}

/// Makes other attempts with these counters wait. A transaction of SQLite does that already.
pub(super) fn lock(store: &Store, counters: &[&Counter], clock: Clock) -> Vec<Assembly> {
    let Some(update) = dialect::lock_counts(store) else { return Vec::new() };
    let expires = clock.now.saturating_add(LOCK_TIME);
    let lock = |some: &[&Counter]| {
        let locks =
            some.iter().map(|counter| CounterEntry { value: "", ..counter.entry("", expires) });
        let mut assembly = insert("INSERT", locks);
        assembly.part(&[update], [("expires", Value::Int(expires))]);
        assembly
    };
    counters.chunks(ROWS).map(lock).collect()
}

/// Adds entries, or replaces those of the same attempts.
pub(super) fn replace(entries: &[CounterEntry<'_>]) -> Vec<Assembly> {
    entries.chunks(ROWS).map(|some| insert("REPLACE", some.iter())).collect()
}

/// Counts failures. Each comes with the latest plausible end of an existing one with this limit,
/// which it never shortens, unless that one ends later.
pub(super) fn count_failures(store: &Store, failures: &[(CounterEntry<'_>, i64)]) -> Vec<Assembly> {
    let count = |(entry, latest): &(CounterEntry<'_>, i64)| {
        let parameters = entry.parameters().into_iter().chain([("latest", Value::Int(*latest))]);
        Assembly::whole(&[dialect::count_failure(store)], parameters)
    };
    failures.iter().map(count).collect()
}

/// Deletes entries, each by its own statement: the optimizer would read more than the primary keys
/// of several, and so lock entries of others.
pub(super) fn delete(entries: &[CounterEntry<'_>]) -> Vec<Assembly> {
    let delete = |entry: &CounterEntry<'_>| Assembly::whole(&[DELETE, KEY], entry.parameters());
    entries.iter().map(delete).collect()
}

/// Deletes entries that were found in the table, if they still expire before this time. See
/// [`delete`].
pub(super) fn delete_expired(entries: &[Row], before: i64) -> Vec<Assembly> {
    let delete = |entry: &Row| {
        let key = ["rule", "account", "remote", "value", "attempt"];
        let key = key.map(|column| (column, Value::text(&entry.text(column))));
        let parameters = key.into_iter().chain([("before", Value::Int(before))]);
        Assembly::whole(&[DELETE, KEY, " AND expires < :before"], parameters)
    };
    entries.iter().map(delete).collect()
}

/// The beginning of a statement that inserts entries by this verb.
fn insert<'e>(
    verb: &'static str,
    entries: impl Iterator<Item = impl std::borrow::Borrow<CounterEntry<'e>>>,
) -> Assembly {
    let mut assembly = Assembly::new(verb);
    assembly
        .text(" INTO authpolicy_count (rule, account, remote, value, attempt, expires) VALUES ");
    assembly.parts(", ", &[VALUES], entries.map(|entry| entry.borrow().parameters()));
    assembly
}
