//! `authpolicy config`: checks the configuration with the files and databases that it names, and
//! prints the effective settings.

mod accounts;
mod embedded;
mod geoip;
mod limits;
mod print;
mod sections;
mod servers;
mod writes;

use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use humantime::format_duration;
use nix::errno::Errno;
use nix::unistd::AccessFlags;
use nix::unistd::Uid;
use nix::unistd::access;

use authpolicy::attempt::MAX_PASSWORD;
use authpolicy::config::Config;
use authpolicy::config::Database;
use authpolicy::error::Error;
use authpolicy::password::Candidate;
use authpolicy::password::Dummy;
use authpolicy::policy::NewCountry;
use authpolicy::secret::Secret;
use authpolicy::state::slots;
use authpolicy::state::slots::Slots;
use authpolicy::store::Sql;
use authpolicy::store::Store;
use authpolicy::store::Value;
use authpolicy::store::dialect;

use super::Done;
use super::flush;
use super::long_deadline;
use super::owner;
use super::say;
use super::user;

pub(super) fn run(config: Config) -> Done {
    // Only root can see the files that Exim's processes keep open.
    let holders = embedded::find_holders(&config);
    let config = &owner::become_owner(config)?;
    print::print(config);
    let (servers, reached) = servers::check(config);
    let hashed = if reached.accounts { Some(time_costliest_hash(config)) } else { None };
    let costliest_hash = hashed.as_ref().and_then(|hashed| hashed.as_ref().ok()).copied();
    let log_is_reached = !reached.log.is_empty();
    let with_accounts = |check: fn(&Config) -> _| if_reached(reached.accounts, || check(config));
    let with_log = |check: fn(&Config) -> _| if_reached(log_is_reached, || check(config));
    let checks = [
        ("sections", Ok(sections::check(config))),
        ("servers", servers),
        ("embedded", embedded::check(config, &holders)),
        ("host_names", Ok(servers::check_names(config))),
        ("tls", Ok(servers::check_tls(config))),
        ("accounts", with_accounts(accounts::check)),
        ("accounts_list", with_accounts(user::check)),
        ("log", with_log(check_log)),
        ("tables", with_log(check_tables)),
        ("writes", if_reached(log_is_reached, || writes::check(config, &reached.log))),
        ("journal", owner::check_entry(config).and_then(|()| flush::check(config))),
        ("names", with_accounts(accounts::check_names)),
        ("serve_stale", Ok(check_serve_stale(config))),
        ("preload", Ok(check_preload(config))),
        ("geoip", geoip::check(config)),
        (
            "failure_time",
            hashed.map_or_else(
                || Ok(skipped()),
                |hashed| hashed.map(|time| check_failure_time(config, time)),
            ),
        ),
        ("max_parallel_hashes", check_slots(config)),
        (
            "limits",
            if_reached(log_is_reached, || {
                limits::check(config, costliest_hash.unwrap_or_default())
            }),
        ),
    ];
    let mut failed: Vec<(&str, Error)> = Vec::new();
    for (what, result) in checks {
        match result {
            Ok(found) => say(&format!("check.{what}={found}")),
            Err(e) => {
                // Several checks may need the same file or table: each cause is printed once.
                match failed.iter().find(|(_, other)| other.to_string() == e.to_string()) {
                    Some((first, _)) => say(&format!("check.{what}=failed, see check.{first}")),
                    None => say(&format!("check.{what}=failed {e}")),
                }
                failed.push((what, e));
            }
        }
    }
    failed.into_iter().next().map_or(Ok(true), |(_, e)| Err(e))
}

/// Runs a check if the server that it needs has been reached.
fn if_reached(
    is_reached: bool,
    check: impl FnOnce() -> Result<String, Error>,
) -> Result<String, Error> {
    if is_reached { check() } else { Ok(skipped()) }
}

fn skipped() -> String {
    String::from("skipped, see check.servers")
}

/// Measures the time to check the most expensive stored password known.
fn time_costliest_hash(config: &Config) -> Result<Duration, Error> {
    let accounts = &config.accounts;
    let settings = &accounts.passwords;
    let mut dummy = Dummy::load(&config.state_directory, accounts.dummy_hash(), settings);
    if accounts.query_is_default {
        let mut store = Store::open(&accounts.database, long_deadline(config))?;
        for mut row in store.query("SELECT password FROM account", &[])? {
            if let Some(Value::Text(stored)) = row.take("password") {
                dummy = dummy.or_costlier(&[stored], settings);
            }
        }
    }
    // The longest password allowed, because SHA-crypt takes longer for longer ones.
    let password = Secret::new(vec![b'x'; MAX_PASSWORD]);
    let start = Instant::now();
    dummy.top_up(0, Candidate { password: &password, login: "" });
    Ok(start.elapsed())
}

/// Warns if checking the costliest stored password takes longer than `failure_time`.
fn check_failure_time(config: &Config, costliest_hash: Duration) -> String {
    let time = Duration::from_millis(u64::try_from(costliest_hash.as_millis()).unwrap_or(0));
    let (time, floor) = (time.max(Duration::from_millis(1)), config.failure_time);
    let found = format!("the dearest stored password known takes {}", format_duration(time));
    if time < floor {
        return format!("ok {found}");
    }
    let floor = format_duration(floor);
    let directory = config.state_directory.display();
    format!(
        "warning {found}, policy.failure_time = {floor} is no longer: where accounts are stored in \
         different ways, the time of a 535 tells them apart. Raise it, or remove \
         {directory}/dummy-hash where no account is that dear any more"
    )
}

/// The number of attempts that may hash at the same time.
fn max_parallel_hashes(config: &Config) -> u32 {
    config.accounts.max_parallel_hashes.unwrap_or_else(slots::default_count)
}

/// Makes the file of the hashing slots and takes a slot, if that is possible.
fn check_slots(config: &Config) -> Result<String, Error> {
    let slots = Slots::open(&config.state_directory, Some(max_parallel_hashes(config)));
    match slots.and_then(|slots| slots.take()) {
        Ok(_) => Ok(String::from("ok")),
        Err(e) if config.accounts.max_parallel_hashes.is_some() => Err(e),
        Err(e) => Ok(format!("warning {e}. Until then any number of attempts hash at once")),
    }
}

fn check_log(config: &Config) -> Result<String, Error> {
    let log = &config.log;
    let mut store = Store::open(&log.database, long_deadline(config))?;
    // This comes first, because a user without rights on a table may not see that it exists.
    store.prepare(Sql::configured(&log.insert)).map_err(|e| about_log(config, e))?;
    if let Database::Sqlite(path) = &log.database {
        check_writable(path)?;
    }
    if let Some(table) = table_without_transactions(config, &mut store)? {
        return Ok(format!(
            "warning the statement fits the table, but {table} is of an engine without transactions: \
             a row may be stored twice after an outage. ALTER TABLE {table} ENGINE = InnoDB"
        ));
    }
    Ok(String::from("ok the statement fits the table"))
}

/// Adds to an error what to do about the log's table, if it is the one that `db init` makes.
fn about_log(config: &Config, e: Error) -> Error {
    let is_known = config.log.insert.contains("connection_log");
    if is_known { e.about_table("connection_log") } else { e }
}

/// Fails if the embedded database cannot be written. SQLite would open it, and fail at the first
/// row.
fn check_writable(path: &Path) -> Result<(), Error> {
    let beside = |end: &str| PathBuf::from(format!("{}{end}", path.display()));
    let directory = path.parent().unwrap_or(path).to_owned();
    let places = [
        (path.to_owned(), AccessFlags::W_OK, "600"),
        (beside("-wal"), AccessFlags::W_OK, "600"),
        (beside("-shm"), AccessFlags::W_OK, "600"),
        (directory, AccessFlags::W_OK | AccessFlags::X_OK, "700"),
    ];
    for (place, rights, mode) in places {
        match access(&place, rights) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(e) => {
                let what = format!(
                    "{}, but the embedded database and all files beside it must be writable: chown it to \
                     uid {}, Exim's user, and chmod it to {mode}",
                    e.desc(),
                    Uid::effective()
                );
                let place = place.display().to_string();
                return Err(Error::System { place, source: io::Error::other(what) });
            }
        }
    }
    Ok(())
}

/// Returns a table without transactions, where a row and its mark may not be stored together.
fn table_without_transactions(config: &Config, store: &mut Store) -> Result<Option<String>, Error> {
    let Some(sql) = dialect::tool::tables_without_transactions(store) else { return Ok(None) };
    let tables = store.query(sql, &[])?;
    let mut names = tables.iter().map(|row| row.text("name"));
    let insert = &config.log.insert;
    Ok(names.find(|name| name != "connection_log" || insert.contains(name)))
}

/// The statements of the plugin and the tool on each of the plugin's own tables.
const DELIVERED_STATEMENTS: &[&str] = &[
    "INSERT INTO authpolicy_delivered (id) VALUES ('')",
    "SELECT id FROM authpolicy_delivered",
    "DELETE FROM authpolicy_delivered",
];
const COUNT_STATEMENTS: &[&str] = &[
    "REPLACE INTO authpolicy_count (rule, account, remote, value, attempt, expires) \
     VALUES ('', '', '', '', '', 0)",
    "SELECT expires FROM authpolicy_count",
    "UPDATE authpolicy_count SET expires = expires",
];
const SEEN_STATEMENTS: &[&str] = &[
    "REPLACE INTO authpolicy_seen (account, remote, country, fingerprint, time) \
     VALUES ('', '', '', '', 0)",
    "SELECT fingerprint FROM authpolicy_seen",
    "UPDATE authpolicy_seen SET fingerprint = fingerprint",
];
const EXCEPTION_STATEMENTS: &[&str] = &[
    "SELECT expires FROM authpolicy_exception",
    "INSERT INTO authpolicy_exception (username, expires) VALUES ('', 0)",
    "DELETE FROM authpolicy_exception",
];

/// Prepares the statements on the plugin's own tables without running them.
fn check_tables(config: &Config) -> Result<String, Error> {
    let policy = &config.policy;
    let limits = !policy.limits.list.is_empty();
    let seen = policy.limits.want_known_good() || policy.new_country != NewCountry::Ignore;
    let mut store = Store::open(&config.log.database, long_deadline(config))?;
    let mut found = Vec::new();
    let mut all_fit = true;
    for (table, statements, is_needed, otherwise) in [
        (
            "authpolicy_delivered",
            DELIVERED_STATEMENTS,
            false,
            "a row may be stored twice after an outage",
        ),
        ("authpolicy_count", COUNT_STATEMENTS, limits, "there can be no limit"),
        ("authpolicy_seen", SEEN_STATEMENTS, seen, "there can be no known_good or new_country"),
        ("authpolicy_exception", EXCEPTION_STATEMENTS, false, "exceptions may be missing"),
    ] {
        let checked = statements.iter().try_for_each(|sql| store.prepare(*sql).map(|_| ()));
        match checked {
            Ok(()) => found.push(format!("{table} ok")),
            Err(e) if e.is_about_table() && !is_needed => {
                all_fit = false;
                let e = e.about_table(table);
                found.push(format!("{table} cannot be used, so that {otherwise}: {e}"));
            }
            Err(e) => return Err(e.about_table(table)),
        }
    }
    let result = if all_fit { "ok:" } else { "warning" };
    Ok(format!("{result} {}", found.join(", ")))
}

/// Says if the configuration needs `preload` in Exim's daemon. The tool does not read Exim's
/// configuration.
fn check_preload(config: &Config) -> String {
    let accounts = &config.accounts;
    let keys = [("cache", accounts.cache), ("remember_verified", accounts.remember_verified)];
    let keys = keys.into_iter().filter(|(_, time)| time.is_some());
    let keys: Vec<_> = keys.map(|(key, _)| format!("accounts.{key}")).collect();
    if keys.is_empty() {
        return String::from("ok: not needed, but each AUTH is faster with it");
    }
    format!(
        "ok: needed for {}: Exim's main section must have smtp_accept_max_per_host = \
         ${{dlfunc{{/usr/lib/exim/authpolicy.so}}{{preload}}{{}}}}",
        keys.join(" and ")
    )
}

/// Warns if `serve_stale` has no effect, because limits need the same database.
fn check_serve_stale(config: &Config) -> String {
    let is_wanted = config.accounts.serve_stale.is_some();
    let (limits, log) = (&config.policy.limits.list, &config.log.database);
    if is_wanted && !limits.is_empty() && log.is_same(&config.accounts.database) {
        return String::from(
            "warning is of no use with limits in the same database: while that is away, they make \
             each AUTH a 435. Have log.url name another server, or do without one of the two",
        );
    }
    String::from("ok")
}
