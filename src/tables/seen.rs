//! The countries and addresses from which accounts have logged in: for `policy.new_country`, and
//! for known good addresses.

use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

use crate::error::Error;
use crate::error::StoreFault;
use crate::store::Store;
use crate::store::Value;
use crate::tables::counters::name;

/// A login is not stored again within this time, in seconds, if only its time differs.
const FRESH: i64 = 3600;

/// A login of an account.
#[derive(Debug, Serialize, Deserialize)]
pub struct SeenLogin {
    /// The account's name.
    pub account: String,
    /// The address or network that limits count.
    pub remote: String,
    /// The country's code, or empty.
    pub country: String,
    /// The fingerprint of the stored password.
    pub fingerprint: String,
    /// Seconds since 1970.
    pub now: i64,
}

/// The fingerprint of the stored password with which an account has logged in from an address at
/// `since` or later, in seconds since 1970.
///
/// # Errors
/// The database cannot tell.
pub fn known_good(
    store: &mut Store,
    account: &str,
    remote: &str,
    since: i64,
) -> Result<Option<String>, Error> {
    const SQL: &str = "SELECT fingerprint FROM authpolicy_seen WHERE account = :account \
                       AND remote = :remote AND time >= :since AND fingerprint <> '' \
                       ORDER BY time DESC LIMIT 1";
    let parameters = [
        ("account", Value::text(&name(account))),
        ("remote", Value::text(remote)),
        ("since", Value::Int(since)),
    ];
    Ok(store.query(SQL, &parameters)?.first().map(|row| row.text("fingerprint")))
}

/// True if an account has logged in from other countries since `since`, but not from this one. The
/// first country of an account is not new.
///
/// # Errors
/// The database cannot tell.
pub fn is_new_country(store: &mut Store, login: &SeenLogin, since: i64) -> Result<bool, Error> {
    const SQL: &str = "SELECT EXISTS (SELECT 1 FROM authpolicy_seen WHERE account = :account \
                       AND country = :country AND time >= :since) AS here, \
                       EXISTS (SELECT 1 FROM authpolicy_seen WHERE account = :account \
                       AND country <> '' AND time >= :since) AS anywhere";
    let parameters = [
        ("account", Value::text(&name(&login.account))),
        ("country", Value::text(&login.country)),
        ("since", Value::Int(since)),
    ];
    let rows = store.query(SQL, &parameters)?;
    let Some(row) = rows.first() else {
        let (place, what) = (String::from("authpolicy_seen"), String::from("returned no row"));
        return Err(Error::Store { place, what, fault: StoreFault::Other });
    };
    Ok(!login.country.is_empty() && row.text("here") == "0" && row.text("anywhere") == "1")
}

/// Stores a login within the caller's transaction. It does not replace a later login.
///
/// # Errors
/// The database did not do it.
pub fn remember(store: &mut Store, login: &SeenLogin) -> Result<(), Error> {
    const KNOWN: &str = "SELECT 1 FROM authpolicy_seen WHERE account = :account \
                         AND remote = :remote AND country = :country \
                         AND (time > :now OR (fingerprint = :fingerprint AND time > :fresh))";
    const SQL: &str = "REPLACE INTO authpolicy_seen (account, remote, country, fingerprint, time) \
                       VALUES (:account, :remote, :country, :fingerprint, :now)";
    let parameters = [
        ("account", Value::text(&name(&login.account))),
        ("remote", Value::text(&login.remote)),
        ("country", Value::text(&login.country)),
        ("fingerprint", Value::text(&login.fingerprint)),
        ("now", Value::Int(login.now)),
        ("fresh", Value::Int(login.now.saturating_sub(FRESH))),
    ];
    if store.query(KNOWN, &parameters)?.is_empty() {
        store.execute(SQL, &parameters)?;
    }
    Ok(())
}

/// Makes an address of an account, or all of them, no longer known good. Returns the number of rows
/// changed.
///
/// # Errors
/// The database did not do it.
pub fn forget(store: &mut Store, account: &str, remote: Option<&str>) -> Result<u64, Error> {
    let sql = match remote {
        Some(_) => {
            "UPDATE authpolicy_seen SET fingerprint = '' WHERE account = :account AND \
             remote = :remote AND fingerprint <> ''"
        }
        None => {
            "UPDATE authpolicy_seen SET fingerprint = '' WHERE account = :account \
             AND fingerprint <> ''"
        }
    };
    store.transaction(|store| {
        let remote = Value::text(remote.unwrap_or_default());
        store.execute(sql, &[("account", Value::text(&name(account))), ("remote", remote)])
    })
}

/// Deletes a bounded number of logins older than `memory`; returns how many.
///
/// # Errors
/// The database did not do it.
pub fn prune(store: &mut Store, now: i64, memory: Duration) -> Result<u64, Error> {
    const OLD: &str = "SELECT account, remote, country FROM authpolicy_seen WHERE time < :before \
                       LIMIT 60";
    const SQL: &str = "DELETE FROM authpolicy_seen WHERE account = :account AND remote = :remote \
                       AND country = :country AND time < :before";
    let memory = i64::try_from(memory.as_secs()).unwrap_or(i64::MAX);
    let before = now.saturating_sub(memory);
    let old = store.query(OLD, &[("before", Value::Int(before))])?;
    store.transaction(|store| {
        let mut deleted: u64 = 0;
        for row in &old {
            let text = |column| (column, Value::text(&row.text(column)));
            let key = ["account", "remote", "country"].map(text);
            let parameters: Vec<_> =
                key.into_iter().chain([("before", Value::Int(before))]).collect();
            deleted = deleted.saturating_add(store.execute(SQL, &parameters)?);
        }
        Ok(deleted)
    })
}
