//! The states of counters, read together.

use std::collections::BTreeSet;

use super::Clock;
use super::Counter;
use super::FAILED;
use super::LIVE;
use super::bounds;
use crate::error::Error;
use crate::error::StoreFault;
use crate::store::QueryResult;
use crate::store::Row;
use crate::store::Sql;
use crate::store::Store;
use crate::store::Value;
use crate::store::dialect;
use crate::tables::assembly::Assembly;
use crate::tables::assembly::ROWS;
use crate::tables::assembly::run_all;

/// The most entries of one counter that are read at first.
const MAX_ENTRIES: u32 = 200;

/// The first row of each result. A result without it must not pass for one without failures.
const SENTINEL: &str = "SELECT -1 AS number, '' AS value, 0 AS expires, 0 AS failed";

/// The state of a counter, as one attempt sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// As many values have failed as the limit allows.
    Reached,
    /// The values in progress may reach the limit: there is no room for another one now.
    Full,
    /// The attempt's value has failed before, and takes no more room. It counts until this time, in
    /// milliseconds since 1970.
    Known(i64),
    /// The attempt's value has room.
    Available,
}

/// Reads the states of counters, from a bounded number of entries.
///
/// # Errors
/// The database cannot tell.
pub fn read_states(
    store: &mut Store,
    counters: &[&Counter],
    clock: Clock,
) -> Result<Vec<State>, Error> {
    let results = run_all(store, &queries(store, counters, clock))?;
    states(store, counters, clock, &results)
}

/// The statements that read the entries of counters, for [`states`].
///
/// A counter usually has few entries, and counting them here costs less than tables of distinct
/// values at the server. A counter with more entries than are read here is read again by
/// [`count`], unless its first entries show already that it is reached.
pub(in crate::tables) fn queries(
    store: &Store,
    counters: &[&Counter],
    clock: Clock,
) -> Vec<Assembly> {
    let (begin, end) = dialect::union_part(store);
    let from = dialect::from_live_counts(store);
    let select =
        [begin, ":number AS number, value, expires, ", FAILED, " AS failed ", from, LIVE, end];
    let numbered: Vec<_> = (0_i64..).zip(counters).collect();
    let query = |some: &[(i64, &&Counter)]| {
        let mut assembly = Assembly::new(SENTINEL);
        let rows = some.iter().map(|(number, counter)| {
            let more =
                [("number", Value::Int(*number)), ("max", Value::Int(max_entries(counter).into()))];
            counter.subject().into_iter().chain(bounds(&counter.limit, clock)).chain(more)
        });
        rows.for_each(|row| assembly.part(&select, row));
        assembly
    };
    numbered.chunks(ROWS).map(query).collect()
}

/// The most entries of this counter that are read at first: each value has one entry, or two while
/// it is both a failure and a reservation.
fn max_entries(counter: &Counter) -> u32 {
    counter.limit.max.saturating_mul(2).saturating_add(1).min(MAX_ENTRIES)
}

/// The states of counters, from the results of [`queries`].
///
/// # Errors
/// The database cannot tell.
pub(in crate::tables) fn states(
    store: &mut Store,
    counters: &[&Counter],
    clock: Clock,
    results: &[QueryResult],
) -> Result<Vec<State>, Error> {
    check_whole(counters, results)?;
    let rows: Vec<_> = results.iter().flat_map(|result| &result.rows).collect();
    let numbered = (0_i64..).zip(counters);
    let state = |(number, counter): (i64, &&Counter)| {
        let rows = rows.iter().copied().filter(|row| self::number(row, "number") == Some(number));
        of_entries(counter, rows).map_or_else(|| count(store, counter, clock), Ok)
    };
    numbered.map(state).collect()
}

/// Refuses results in which the entries of a counter may be missing.
fn check_whole(counters: &[&Counter], results: &[QueryResult]) -> Result<(), Error> {
    let is_whole = |result: &QueryResult| {
        result.rows.first().is_some_and(|row| number(row, "number") == Some(-1))
    };
    if results.len() == counters.len().div_ceil(ROWS) && results.iter().all(is_whole) {
        return Ok(());
    }
    let (place, what) = (String::from("authpolicy_count"), String::from("returned no result"));
    Err(Error::Store { place, what, fault: StoreFault::Other })
}

/// The state of a counter with these live entries; `None` if there may be more, and they matter.
fn of_entries<'r>(counter: &Counter, rows: impl Iterator<Item = &'r Row>) -> Option<State> {
    let (mut failed, mut other_values) = (BTreeSet::new(), BTreeSet::new());
    let (mut known, mut entries) = (None, 0_u32);
    for row in rows {
        let (value, has_failed) = (row.text("value"), row.text("failed") == "1");
        if value != counter.value {
            other_values.insert(value.clone());
        } else if has_failed {
            known = known.max(number(row, "expires"));
        }
        if has_failed {
            failed.insert(value);
        }
        entries = entries.saturating_add(1);
    }
    let is_below_max =
        |values: &BTreeSet<_>| u32::try_from(values.len()).is_ok_and(|n| n < counter.limit.max);
    if !is_below_max(&failed) {
        return Some(State::Reached);
    }
    let has_room = is_below_max(&other_values);
    (entries < max_entries(counter)).then_some(match (known, has_room) {
        (Some(until), _) => State::Known(until),
        (None, true) => State::Available,
        (None, false) => State::Full,
    })
}

/// Counts the values of one counter at the database, whatever the number of its entries.
///
/// # Errors
/// The database cannot tell.
fn count(store: &mut Store, counter: &Counter, clock: Clock) -> Result<State, Error> {
    let from = dialect::from_live_counts(store);
    let own = dialect::from_counts_of_value(store);
    let sql = Sql::of(&[
        "SELECT (SELECT COUNT(*) FROM (SELECT DISTINCT value ",
        from,
        LIVE,
        " AND ",
        FAILED,
        " LIMIT :max) AS failed) AS failed, (SELECT COUNT(*) FROM (SELECT DISTINCT value ",
        from,
        LIVE,
        " AND value <> :value LIMIT :max) AS other_values) AS other_values, (SELECT MAX(expires) ",
        own,
        LIVE,
        " AND value = :value AND ",
        FAILED,
        ") AS known",
    ]);
    let own =
        [("value", Value::text(&counter.value)), ("max", Value::Int(counter.limit.max.into()))];
    let parameters: Vec<_> =
        counter.subject().into_iter().chain(bounds(&counter.limit, clock)).chain(own).collect();
    let rows = store.query(sql, &parameters)?;
    let number = |column| rows.first().and_then(|row| number(row, column));
    let max = i64::from(counter.limit.max);
    let most = |column| number(column).unwrap_or(i64::MAX);
    Ok(if most("failed") >= max {
        State::Reached
    } else if let Some(until) = number("known") {
        State::Known(until)
    } else if most("other_values") < max {
        State::Available
    } else {
        State::Full
    })
}

fn number(row: &Row, column: &str) -> Option<i64> {
    row.text(column).parse().ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::policy::Action;
    use crate::policy::Count;
    use crate::policy::Limit;
    use crate::policy::Per;

    fn counter(max: u32) -> Counter {
        let limit = Limit {
            name: Arc::from("guessing"),
            per: Per::Account,
            count: Count::Passwords,
            max,
            within: Duration::from_secs(600),
            action: Action::Reject,
        };
        let (account, value) = (String::from("bob"), String::from("own"));
        Counter { limit, account, remote: String::new(), value, reservations: Vec::new() }
    }

    fn entry((value, has_failed, expires): &(&str, bool, i64)) -> Row {
        Row::new(vec![
            (String::from("value"), Value::text(value)),
            (String::from("failed"), Value::flag(Some(*has_failed))),
            (String::from("expires"), Value::Int(*expires)),
        ])
    }

    #[test]
    fn entries_decide_as_the_database_would() {
        const FAILED: bool = true;
        const TRIES: bool = false;
        for (name, entries, want) in [
            ("no entry", vec![], State::Available),
            ("one other failure", vec![("a", FAILED, 9)], State::Available),
            (
                "a failure, and another attempt with the same value",
                vec![("a", FAILED, 9), ("a", TRIES, 8)],
                State::Available,
            ),
            ("failures", vec![("a", FAILED, 9), ("b", FAILED, 9)], State::Reached),
            (
                "failures, one with its own value",
                vec![("a", FAILED, 9), ("own", FAILED, 9)],
                State::Reached,
            ),
            (
                "its own value has failed twice",
                vec![("own", FAILED, 7), ("own", FAILED, 9), ("own", FAILED, 8)],
                State::Known(9),
            ),
            (
                "its own value has failed, and others are tried",
                vec![("own", FAILED, 7), ("a", TRIES, 9), ("b", TRIES, 9)],
                State::Known(7),
            ),
            ("its own value is tried", vec![("own", TRIES, 9)], State::Available),
            ("others are tried", vec![("a", TRIES, 9), ("b", TRIES, 9)], State::Full),
            ("one failed and one is tried", vec![("a", FAILED, 9), ("b", TRIES, 9)], State::Full),
        ] {
            let rows: Vec<_> = entries.iter().map(entry).collect();
            assert_eq!(of_entries(&counter(2), rows.iter()), Some(want), "{name}");
        }
    }

    #[test]
    fn a_counter_with_more_entries_is_counted_by_the_database() {
        let same = [("a", true, 9); 5];
        let rows: Vec<_> = same.iter().map(entry).collect();
        assert_eq!(max_entries(&counter(2)), 5);
        assert_eq!(of_entries(&counter(2), rows.iter().take(4)), Some(State::Available));
        assert_eq!(of_entries(&counter(2), rows.iter()), None, "there may be others");
        assert_eq!(of_entries(&counter(1), rows.iter()), Some(State::Reached));
        assert_eq!(max_entries(&counter(u32::MAX)), MAX_ENTRIES);
    }

    #[test]
    fn a_result_without_its_first_row_is_an_error() {
        let counter = counter(2);
        let first = || Row::new(vec![(String::from("number"), Value::Int(-1))]);
        let result = |rows| QueryResult { rows, ..QueryResult::default() };
        for (results, is_ok) in [
            (vec![result(vec![first()])], true),
            (vec![result(Vec::new())], false),
            (vec![result(vec![entry(&("a", true, 9))])], false),
            (Vec::new(), false),
        ] {
            assert_eq!(check_whole(&[&counter], &results).is_ok(), is_ok, "{results:?}");
        }
    }
}
