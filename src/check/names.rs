//! Names that a database may take for others: accents, letters that it does not see, patterns.
//!
//! What we keep or decide by name is safe only if one account has one name. A query that returns
//! `username` sees to that. Without it, only names in printable ASCII are taken.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use super::Findings;
use super::World;
use super::pattern;
use crate::account::Login;
use crate::account::Lookup;
use crate::error::Error;
use crate::exception;
use crate::store::Stores;

/// Refuses to tell where the name might be another spelling of an account's. That depends on the
/// login and on the columns, so that it does not tell whether there is such an account.
pub(super) fn check(
    world: World<'_>,
    lookup: &Lookup,
    stores: &mut Stores<'_>,
    findings: &Findings,
) -> Result<(), Error> {
    let config = world.config;
    if lookup.has_one_name {
        return Ok(());
    }
    let broken = |what: String| Err(Error::Config { file: config.path.clone(), what });
    if let Some(rule) = &config.ambiguous_rule {
        return broken(rule.clone());
    }
    if findings.login.is_plain() {
        return Ok(());
    }
    if config.policy.depends_on_names() || are_exceptions_in_use(stores, findings) {
        return broken(String::from(
            "accounts.query: no column username, or an empty one: a login with other characters than printable \
             ASCII may be another spelling of an account, and rules and limits by name would not hold for it. \
             Return the name as it is stored, AS username",
        ));
    }
    Ok(())
}

/// False if the log's database cannot tell: then nobody gets in by an exception either.
fn are_exceptions_in_use(stores: &mut Stores<'_>, findings: &Findings) -> bool {
    let now = findings.facts.seconds();
    let any = stores.log().and_then(|store| exception::are_there_any(store, now));
    any.unwrap_or(false)
}

/// Says once in this process that the query takes names for patterns.
pub(super) fn report_pattern(world: World<'_>, lookup: &Lookup, login: &Login) {
    static IS_REPORTED: AtomicBool = AtomicBool::new(false);
    let username = lookup.account.as_ref().and_then(|account| account.username.as_deref());
    let Some(username) = username.filter(|username| pattern::is_pattern(login, username)) else {
        return;
    };
    if !IS_REPORTED.swap(true, Ordering::Relaxed) {
        world.log.pattern(login.typed(), username);
    }
}
