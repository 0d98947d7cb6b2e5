//! Trial writes: runs the statements of attempts in transactions that are rolled back, because a
//! server may accept a statement and then refuse to run it.

mod obstacle;
mod result;
mod target;

use std::time::Duration;
use std::time::Instant;

use self::obstacle::Obstacle;
use self::result::Failure;
use self::result::Results;
use crate::seconds_before_now;
use authpolicy::config::Config;
use authpolicy::config::Database;
use authpolicy::config::INSERT_PARAMETERS;
use authpolicy::config::Timeouts;
use authpolicy::error::Error;
use authpolicy::error::StoreFault;
use authpolicy::policy::NewCountry;
use authpolicy::store::Deadline;
use authpolicy::store::Sql;
use authpolicy::store::Store;
use authpolicy::store::Value;

/// The time for all trial writes on one server. Each statement has only the time that it has in an
/// attempt, because another process may hold a lock.
const TRIAL_TIME: Duration = Duration::from_secs(60);

/// The statements that attempts run on the plugin's own tables. Each of them changes only a row of
/// this trial.
const DELIVERED_STATEMENTS: &[&str] = &[
    "INSERT INTO authpolicy_delivered (id) VALUES ('config')",
    "DELETE FROM authpolicy_delivered WHERE id = 'config'",
];
const COUNT_STATEMENTS: &[&str] = &[
    "REPLACE INTO authpolicy_count (rule, account, remote, value, attempt, expires) \
     VALUES ('', '', '', 'config', 'config', 0)",
    "DELETE FROM authpolicy_count WHERE rule = '' AND account = '' AND remote = '' \
     AND value = 'config' AND attempt = 'config'",
];
const SEEN_STATEMENTS: &[&str] = &[
    "REPLACE INTO authpolicy_seen (account, remote, country, fingerprint, time) \
     VALUES ('', 'config', '', '', 0)",
    "UPDATE authpolicy_seen SET fingerprint = 'x' \
     WHERE account = '' AND remote = 'config' AND country = ''",
];
/// Attempts only read this table, and an INSERT would leave a gap in the numbers that
/// administrators use.
const EXCEPTION_STATEMENTS: &[&str] = &["DELETE FROM authpolicy_exception WHERE id = 0"];

/// Tries the writes on each of these servers of the log's database.
pub(super) fn check(config: &Config, servers: &[Database]) -> Result<String, Error> {
    let mut results = Results::default();
    for server in servers {
        let attempt = config.timeouts.attempt.max(TRIAL_TIME);
        let deadline = Deadline::new(Instant::now(), Timeouts { attempt, ..config.timeouts });
        let is_first = results.is_empty();
        let opened = Store::open(server, deadline).map_err(Failure::from);
        let tried = opened.and_then(|store| {
            Trial { config, store, is_first, warnings: Vec::new(), unseen: Vec::new() }.run()
        });
        results.add(server.to_string(), tried);
    }
    results.into_finding()
}

/// The trial writes on one server.
struct Trial<'a> {
    config: &'a Config,
    store: Store,
    /// True for the server that the other checks use. If it cannot prepare a statement, these have
    /// reported that.
    is_first: bool,
    warnings: Vec<String>,
    /// The tables and statements that are not tried, because triggers cannot be seen.
    unseen: Vec<&'static str>,
}

impl Trial<'_> {
    /// Runs all trials; returns the warnings.
    fn run(mut self) -> Result<Vec<String>, Failure> {
        let policy = &self.config.policy;
        let limits = !policy.limits.list.is_empty();
        let seen = policy.limits.want_known_good() || policy.new_country != NewCountry::Ignore;
        self.try_insert()?;
        self.try_table("authpolicy_delivered", DELIVERED_STATEMENTS, false)?;
        if limits {
            self.try_table("authpolicy_count", COUNT_STATEMENTS, true)?;
        }
        if seen {
            self.try_table("authpolicy_seen", SEEN_STATEMENTS, true)?;
        }
        self.try_table("authpolicy_exception", EXCEPTION_STATEMENTS, false)?;
        if !self.unseen.is_empty() {
            let names = self.unseen.join(", ");
            self.warnings.push(format!("{names} not tried, because this user cannot see triggers"));
        }
        Ok(self.warnings)
    }

    /// Tries `log.insert`.
    fn try_insert(&mut self) -> Result<(), Failure> {
        let config = self.config;
        let insert = || Sql::configured(&config.log.insert);
        if let Err(e) = self.store.prepare(insert()) {
            let error = super::about_log(config, e);
            return Err(Failure { error, is_known: self.is_first });
        }
        if !self.may_try_insert()? {
            return Ok(());
        }
        let row: Vec<_> =
            INSERT_PARAMETERS.iter().map(|name| (*name, sample(config, name))).collect();
        let tried = self.store.dry_run(|store| store.insert(insert(), &row));
        tried.map_err(|e| with_subject("log.insert", e).into())
    }

    /// True if the row of `log.insert` can be rolled back completely; otherwise adds a warning.
    fn may_try_insert(&mut self) -> Result<bool, Error> {
        let insert = &self.config.log.insert;
        let Some(target) = target::of(insert) else {
            return Ok(self.skip_insert("it is not a plain INSERT"));
        };
        if let Some(name) = target.database
            && !obstacle::is_current(&mut self.store, name)?
        {
            return Ok(self.skip_insert("it names another database"));
        }
        if let Some(name) = obstacle::called_function(&mut self.store, insert)? {
            return Ok(self.skip_insert(&format!("it may call the stored function {name}")));
        }
        let obstacle = obstacle::find(&mut self.store, target.table)?;
        Ok(self.has_no_obstacle(obstacle, "log.insert", target.table))
    }

    /// Adds a warning; returns false.
    fn skip_insert(&mut self, reason: &str) -> bool {
        self.warnings.push(format!("log.insert is not tried: {reason}"));
        false
    }

    /// Tries the statements of attempts on one of the plugin's own tables.
    fn try_table(
        &mut self,
        table: &'static str,
        statements: &[&'static str],
        is_needed: bool,
    ) -> Result<(), Failure> {
        let prepared = statements.iter().try_for_each(|sql| self.store.prepare(*sql).map(drop));
        if let Err(e) = prepared {
            return self.cannot_use(table, e.about_table(table), is_needed);
        }
        let obstacle = obstacle::find(&mut self.store, table)?;
        if !self.has_no_obstacle(obstacle, table, "it") {
            return Ok(());
        }
        let tried = self.store.dry_run(|store| {
            statements.iter().try_for_each(|sql| store.execute(*sql, &[]).map(drop))
        });
        tried.map_err(|e| with_subject(table, e).into())
    }

    /// Fails if the table is needed; otherwise adds a warning, unless check.tables has one.
    fn cannot_use(&mut self, table: &str, error: Error, is_needed: bool) -> Result<(), Failure> {
        if is_needed || !error.is_about_table() {
            return Err(Failure { error, is_known: self.is_first });
        }
        if let Error::Store { what, .. } = error
            && !self.is_first
        {
            self.warnings.push(format!("{table} cannot be used: {what}"));
        }
        Ok(())
    }

    /// True without an obstacle; otherwise adds a warning.
    fn has_no_obstacle(
        &mut self,
        obstacle: Option<Obstacle>,
        subject: &'static str,
        table: &str,
    ) -> bool {
        let reason = match obstacle {
            None => return true,
            Some(Obstacle::Unseen) => {
                self.unseen.push(subject);
                return false;
            }
            Some(Obstacle::Triggers) => "has triggers",
            Some(Obstacle::Engine) => "is a view, or its engine has no transactions",
        };
        self.warnings.push(format!("{subject} is not tried: {table} {reason}"));
        false
    }
}

/// Adds the statement or table to an error.
fn with_subject(subject: &str, e: Error) -> Error {
    let Error::Store { place, what, fault } = e else { return e };
    let reason = match fault == StoreFault::Row {
        true => "the table refuses an ordinary row, so that rows would be set aside: ",
        false => "",
    };
    Error::Store { place, what: format!("{subject}: {reason}{what}"), fault }
}

/// The parameters of the trial row: a wrong password for an example account from an example
/// address.
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
        "tls" => Value::text("TLS1.3:TLS_AES_256_GCM_SHA384:256"),
        "helo" => Value::text("client.example.com"),
        _ => Value::text(""),
    }
}
