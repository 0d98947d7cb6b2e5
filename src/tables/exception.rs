//! Exceptions: countries and networks allowed to an account for a time, in a table beside the log.

use crate::error::Error;
use crate::policy::Exception;
use crate::policy::lists;
use crate::store::Row;
use crate::store::Store;
use crate::store::Value;

/// The exceptions of an account that have not ended; none if the table is missing.
///
/// # Errors
/// The database cannot tell, or a list in the table is not valid.
pub fn of_account(store: &mut Store, account: &str, now: i64) -> Result<Vec<Exception>, Error> {
    const SQL: &str = "SELECT id, countries, networks, expires FROM authpolicy_exception \
                       WHERE username = :account AND expires > :now";
    let parameters = [("account", Value::text(account)), ("now", Value::Int(now))];
    let rows = match store.query(SQL, &parameters) {
        // The database is older than this table, or the user has rights on the log alone.
        Err(e) if e.is_about_table() => return Ok(Vec::new()),
        rows => rows?,
    };
    rows.iter().map(|row| read(account, row)).collect()
}

/// True if any account has an exception that has not ended; false if the table does not exist.
///
/// # Errors
/// The database cannot tell.
pub fn any_in_force(store: &mut Store, now: i64) -> Result<bool, Error> {
    const SQL: &str = "SELECT id FROM authpolicy_exception WHERE expires > :now LIMIT 1";
    match store.query(SQL, &[("now", Value::Int(now))]) {
        Err(e) if e.is_about_table() => Ok(false),
        rows => Ok(!rows?.is_empty()),
    }
}

fn read(account: &str, row: &Row) -> Result<Exception, Error> {
    let broken = |what: String| Error::Account {
        account: account.to_owned(),
        what: format!("exception {}: {what}", row.text("id")),
    };
    Ok(Exception {
        countries: lists::countries(&row.text("countries")).map_err(broken)?,
        networks: lists::networks(&row.text("networks")).map_err(broken)?,
        until: row
            .text("expires")
            .parse()
            .map_err(|_| broken(String::from("expires is not a number")))?,
    })
}
