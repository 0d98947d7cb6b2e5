//! Logins that a database may take for another name, because of accents, ignored letters or
//! patterns.
//!
//! Rules and counters by name are safe only if an account has one name. A query that returns
//! `username` ensures that. Without it, only names in printable ASCII are accepted.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use super::Context;
use super::call::Call;
use crate::account::AccountLookup;
use crate::account::Login;
use crate::error::Error;
use crate::tables::exception;

/// Makes sure that the login is the only spelling of the account's name. For a query without the
/// column `username`, the result does not reveal if the account exists.
///
/// # Errors
/// It may be another spelling.
pub(super) fn check(
    call: &mut Call<'_>,
    login: &Login,
    lookup: &AccountLookup,
) -> Result<(), Error> {
    let config = call.config();
    if lookup.is_name_canonical {
        return Ok(());
    }
    let ambiguous = |what: String| Err(Error::Config { file: config.path.clone(), what });
    if let Some(rule) = &config.ambiguous_rule {
        return ambiguous(rule.clone());
    }
    if login.is_plain() {
        return Ok(());
    }
    if config.policy.depends_on_names() || are_exceptions_in_use(call) {
        return ambiguous(String::from(
            "accounts.query: no column username, or an empty one. A login that is not printable ASCII, \
             accounts.default_domain included, may be another spelling of an account, and rules and limits \
             by name would not hold for it: return the name as it is stored, AS username",
        ));
    }
    Ok(())
}

/// True if any exception is in force. False if the log's database cannot be asked, because then no
/// exception admits anybody either.
fn are_exceptions_in_use(call: &mut Call<'_>) -> bool {
    let now = call.seconds();
    let any = call.stores.log().and_then(|store| exception::any_in_force(store, now));
    any.unwrap_or(false)
}

/// Logs, once in each process, a login that the account query takes for a pattern.
pub(super) fn report_pattern(context: Context<'_>, login: &Login, lookup: &AccountLookup) {
    static IS_REPORTED: AtomicBool = AtomicBool::new(false);
    let username = lookup.account.as_ref().and_then(|account| account.username.as_deref());
    let Some(username) = username.filter(|username| login.is_pattern_of(username)) else {
        return;
    };
    if !IS_REPORTED.swap(true, Ordering::Relaxed) {
        context.log.login_is_pattern(login.typed(), username);
    }
}
