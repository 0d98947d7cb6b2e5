//! Trial writes: runs the statements of attempts in transactions that are rolled back, because a server may
//! accept a statement and then refuse to run it.

use std::time::Duration;
use std::time::Instant;

use crate::config::Config;
use crate::config::INSERT_PARAMETERS;
use crate::config::Timeouts;
use crate::ctl::seconds_before_now;
use crate::error::Error;
use crate::error::StoreFault;
use crate::policy::NewCountry;
use crate::sql::Sql;
use crate::store::Deadline;
use crate::store::Store;
use crate::store::Value;

/// The time for all trial writes. A statement has only its time in an attempt: another process may hold a lock.
const PATIENCE: Duration = Duration::from_secs(60);

/// What attempts write to the tables of ours; each touches its own row alone.
const OF_DELIVERED: &[&str] = &[
    "INSERT INTO authpolicy_delivered (id) VALUES ('config')",
    "DELETE FROM authpolicy_delivered WHERE id = 'config'",
];
const OF_COUNT: &[&str] = &[
    "REPLACE INTO authpolicy_count (rule, account, remote, value, attempt, expires) \
     VALUES ('', '', '', 'config', 'config', 0)",
    "DELETE FROM authpolicy_count WHERE rule = '' AND account = '' AND remote = '' \
     AND value = 'config' AND attempt = 'config'",
];
const OF_SEEN: &[&str] = &[
    "REPLACE INTO authpolicy_seen (account, remote, country, fingerprint, time) \
     VALUES ('', 'config', '', '', 0)",
    "UPDATE authpolicy_seen SET fingerprint = 'x' \
     WHERE account = '' AND remote = 'config' AND country = ''",
];
/// Attempts only read this table, and an INSERT would leave a gap in the numbers that administrators use.
const OF_EXCEPTION: &[&str] = &["DELETE FROM authpolicy_exception WHERE id = 0"];

pub(super) fn check(config: &Config) -> Result<String, Error> {
    let policy = &config.policy;
    let limits = !policy.limits.list.is_empty();
    let seen = policy.limits.want_known_good() || policy.new_country != NewCountry::Ignore;
    let timeouts = Timeouts { attempt: config.timeouts.attempt.max(PATIENCE), ..config.timeouts };
    let mut store = Store::open(&config.log.database, Deadline::new(Instant::now(), timeouts))?;
    let mut warnings = Vec::new();
    if let Some(warning) = try_row(config, &mut store)? {
        warnings.push(warning);
    }
    for (table, statements, is_used) in [
        // Optional tables are tried if they exist. check.tables reports missing ones.
        ("authpolicy_delivered", OF_DELIVERED, true),
        ("authpolicy_count", OF_COUNT, limits),
        ("authpolicy_seen", OF_SEEN, seen),
        ("authpolicy_exception", OF_EXCEPTION, true),
    ] {
        if !is_used || !store.has_table(table)? {
            continue;
        }
        if !store.has_transactions(table)? {
            warnings.push(format!("{table} is not tried: its engine has no transactions"));
            continue;
        }
        let tried = store.dry_run(|store| {
            statements.iter().try_for_each(|sql| store.execute(*sql, &[]).map(|_| ()))
        });
        match tried {
            // check.tables reports it.
            Err(e) if e.is_about_table() => {}
            tried => tried.map_err(|e| refused(table, e))?,
        }
    }
    if warnings.is_empty() {
        return Ok(String::from("ok tried, and rolled back"));
    }
    Ok(format!("warning {}", warnings.join("; ")))
}

/// Tries `log.insert`; returns a warning if it could not be tried, or if the table refuses the row.
fn try_row(config: &Config, store: &mut Store) -> Result<Option<String>, Error> {
    let insert = &config.log.insert;
    let Some(table) = table_of(insert) else {
        return Ok(Some(String::from("log.insert is not tried: it is not a plain INSERT")));
    };
    if !can_be_rolled_back(store, table)? {
        return Ok(Some(format!(
            "log.insert is not tried: a row in {table} could not be rolled back, because {table} is a view, \
             has triggers, or uses an engine without transactions"
        )));
    }
    let row: Vec<_> = INSERT_PARAMETERS.iter().map(|name| (*name, sample(config, name))).collect();
    let tried = store.dry_run(|store| store.insert(Sql::configured(insert), &row));
    match tried {
        Ok(()) => Ok(None),
        Err(e) if e.store_fault() == Some(StoreFault::Row) => {
            Ok(Some(format!("log.insert: the table refuses the row of a wrong password: {e}")))
        }
        Err(e) if table == "connection_log" => Err(refused("log.insert", e.about_table(table))),
        Err(e) => Err(refused("log.insert", e)),
    }
}

/// Adds the statement or table to an error. Errors about tables stay unchanged, so that each cause is printed once.
fn refused(what_of: &str, e: Error) -> Error {
    if e.is_about_table() {
        return e;
    }
    if let Error::Store { place, what, fault } = e {
        return Error::Store { place, what: format!("{what_of}: {what}"), fault };
    }
    e
}

/// The parameters of the trial row: a wrong password for an example account from an example address.
fn sample(config: &Config, parameter: &str) -> Value {
    match parameter {
        "time" => Value::Int(seconds_before_now(Duration::ZERO)),
        "protocol" => Value::text(&config.log.protocol),
        "username" => Value::text("nobody@example.com"),
        "remote_ip" => Value::text("192.0.2.1"),
        "auth_ok" | "policy_reject" => Value::Int(0),
        "asn" => Value::Null,
        "reason" => Value::text("credentials"),
        "mechanism" => Value::text("PLAIN"),
        _ => Value::text(""),
    }
}

/// The table of a plain INSERT, without quotes. A procedure, or a second statement, could commit.
fn table_of(sql: &str) -> Option<&str> {
    let mut words = sql.split_whitespace();
    let first = words.next()?;
    let is = |word: &str, wanted: &str| word.eq_ignore_ascii_case(wanted);
    if !(is(first, "INSERT") || is(first, "REPLACE"))
        || sql.trim_end().trim_end_matches(';').contains(';')
    {
        return None;
    }
    let name = words.find(|word| {
        !["LOW_PRIORITY", "HIGH_PRIORITY", "DELAYED", "IGNORE", "OR", "REPLACE", "INTO"]
            .iter()
            .any(|known| is(word, known))
    })?;
    let name = name.split('(').next()?.trim_matches(['`', '"']);
    let is_plain = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    (!name.is_empty() && name.chars().all(is_plain)).then_some(name)
}

/// True if nothing of a row stays behind in this table, or by its triggers in another one.
fn can_be_rolled_back(store: &mut Store, table: &str) -> Result<bool, Error> {
    if !store.has_transactions(table)? {
        // A table that is not there is reported when the row is tried.
        return Ok(!store.has_table(table)?);
    }
    let triggers = store.dialect(
        "",
        "SELECT trigger_name AS name FROM information_schema.triggers \
         WHERE event_object_schema = DATABASE() AND event_object_table = :name",
    );
    if triggers.is_empty() {
        return Ok(true);
    }
    Ok(store.query(triggers, &[("name", Value::text(table))])?.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_inserts_are_tried() {
        for (sql, table) in [
            ("INSERT INTO connection_log (a) VALUES (1)", Some("connection_log")),
            ("insert ignore into `log`(a) values (1);", Some("log")),
            ("INSERT OR REPLACE INTO log (a) VALUES (1)", Some("log")),
            ("REPLACE\n INTO \"log\" VALUES (1)", Some("log")),
            ("INSERT INTO other.log (a) VALUES (1)", None),
            ("INSERT INTO log (a) VALUES (1); COMMIT", None),
            ("CALL log_attempt(:username)", None),
            ("WITH x AS (SELECT 1) INSERT INTO log SELECT * FROM x", None),
            ("", None),
        ] {
            assert_eq!(table_of(sql), table, "{sql}");
        }
    }
}
