//! The countries and addresses from which accounts have logged in: for `policy.new_country`, and
//! for known good addresses.

use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

use crate::error::Error;
use crate::error::StoreFault;
use crate::store::QueryResult;
use crate::store::Row;
use crate::store::Store;
use crate::store::Value;
use crate::store::dialect;
use crate::tables::assembly::Assembly;
use crate::tables::assembly::ROWS;
use crate::tables::assembly::prune_found;
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

impl SeenLogin {
    fn parameters(&self) -> [(&'static str, Value); 6] {
        [
            ("account", Value::text(&name(&self.account))),
            ("remote", Value::text(&self.remote)),
            ("country", Value::text(&self.country)),
            ("fingerprint", Value::text(&self.fingerprint)),
            ("now", Value::Int(self.now)),
            ("fresh", Value::Int(self.now.saturating_sub(FRESH))),
        ]
    }
}

/// An address that may be known good for an account.
#[derive(Debug)]
pub struct AccountAddress<'a> {
    /// The account's name.
    pub account: &'a str,
    /// The address or network that limits count.
    pub remote: &'a str,
    /// The time of the oldest login that counts, in seconds since 1970.
    pub since: i64,
}

/// The statement that reads the fingerprint of the stored password with which an account has last
/// logged in from an address, for [`known_good`].
pub(super) fn known_good_query(address: &AccountAddress<'_>) -> Assembly {
    const SQL: &str = "SELECT fingerprint FROM authpolicy_seen WHERE account = :account \
                       AND remote = :remote AND time >= :since AND fingerprint <> '' \
                       ORDER BY time DESC LIMIT 1";
    let parameters = [
        ("account", Value::text(&name(address.account))),
        ("remote", Value::text(address.remote)),
        ("since", Value::Int(address.since)),
    ];
    Assembly::whole(&[SQL], parameters)
}

/// The fingerprint in the result of [`known_good_query`]; `None` if the address is not known good.
pub(super) fn known_good(found: &QueryResult) -> Option<String> {
    found.rows.first().map(|row| row.text("fingerprint"))
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

/// The statements that store logins. They do not replace later ones.
pub(super) fn remember(store: &Store, logins: &[SeenLogin]) -> Vec<Assembly> {
    // Those of one attempt differ only in the account's name.
    let is_same = |one: &SeenLogin, other: &SeenLogin| {
        one.now == other.now && one.fingerprint == other.fingerprint
    };
    let statement = |some: &[SeenLogin]| {
        let mut insert = Assembly::new("INSERT INTO authpolicy_seen ");
        insert.text("(account, remote, country, fingerprint, time) VALUES ");
        let values = "(:account, :remote, :country, :fingerprint, :now)";
        insert.parts(", ", &[values], some.iter().map(SeenLogin::parameters));
        insert.part(
            &[dialect::keep_login(store)],
            some.first().into_iter().flat_map(SeenLogin::parameters),
        );
        insert
    };
    logins.chunk_by(is_same).flat_map(|some| some.chunks(ROWS)).map(statement).collect()
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
    const DELETE: &str = "DELETE FROM authpolicy_seen WHERE account = :account \
                          AND remote = :remote AND country = :country AND time < :before";
    let memory = i64::try_from(memory.as_secs()).unwrap_or(i64::MAX);
    let before = now.saturating_sub(memory);
    let delete = |login: &Row| {
        let key = ["account", "remote", "country"];
        let key = key.map(|column| (column, Value::text(&login.text(column))));
        Assembly::whole(&[DELETE], key.into_iter().chain([("before", Value::Int(before))]))
    };
    let find = Assembly::whole(&[OLD], [("before", Value::Int(before))]);
    prune_found(store, find, |old| old.iter().map(delete).collect())
}
