//! The look at an attempt before its account is looked up: the known good address and the states
//! of counters, read together.

use crate::error::Error;
use crate::store::Store;
use crate::tables::assembly::run_all;
use crate::tables::counters;
use crate::tables::counters::Clock;
use crate::tables::counters::Counter;
use crate::tables::counters::State;
use crate::tables::seen;
use crate::tables::seen::AccountAddress;

/// The tables that are looked at.
const TABLES: [&str; 2] = ["authpolicy_count", "authpolicy_seen"];

/// The result of a look.
#[derive(Debug)]
pub struct Look {
    /// The fingerprint of the password that the account last used from the address; `None` if the
    /// address is not known good, or was not asked for.
    pub known_good: Option<String>,
    /// The state of each counter, in their order.
    pub states: Vec<State>,
}

/// Reads if an address is known good, and the states of counters.
///
/// # Errors
/// The database cannot tell.
pub fn look(
    store: &mut Store,
    address: Option<&AccountAddress<'_>>,
    counters: &[&Counter],
    clock: Clock,
) -> Result<Look, Error> {
    let mut all: Vec<_> = address.map(seen::known_good_query).into_iter().collect();
    let others = all.len();
    all.extend(counters::queries(store, counters, clock));
    let looked = run_all(store, &all).and_then(|results| {
        let (known_good, entries) = results.split_at_checked(others).unwrap_or_default();
        let known_good = known_good.iter().find_map(seen::known_good);
        let states = counters::states(store, counters, clock, entries)?;
        Ok(Look { known_good, states })
    });
    looked.map_err(|e| e.about_tables(&TABLES))
}
