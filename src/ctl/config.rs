//! `authpolicy config`: checks what the configuration says and names, and prints what is in force.

use std::time::Duration;
use std::time::Instant;

use humantime::format_duration;

use crate::attempt::MAX_PASSWORD;
use crate::config::Config;
use crate::config::QUERY_PARAMETERS;
use crate::error::Error;
use crate::geo::Geo;
use crate::password::Candidate;
use crate::password::Dummy;
use crate::policy::Countries;
use crate::policy::WhenRejected;
use crate::secret::Secret;
use crate::store::Store;
use crate::store::Value;

use super::Done;
use super::patience;
use super::say;

pub(super) fn run(config: &Config) -> Done {
    print(config);
    let checks = [
        ("accounts", check_accounts(config)),
        ("log", check_log(config)),
        ("geoip", check_geoip(config)),
        ("failure_time", check_failure_time(config)),
    ];
    let mut first = None;
    for (what, result) in checks {
        match result {
            Ok(found) => say(&format!("check.{what}={found}")),
            Err(e) => {
                say(&format!("check.{what}=failed {e}"));
                first = first.or(Some(e));
            }
        }
    }
    first.map_or(Ok(true), Err)
}

fn print(config: &Config) {
    let countries = |list: &Option<Countries>| match list {
        None => String::new(),
        Some(Countries::Any) => String::from("*"),
        Some(Countries::These(list)) => {
            list.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
        }
    };
    let policy = &config.policy;
    let networks: Vec<_> = policy.trusted_networks.iter().map(ToString::to_string).collect();
    let time = |time| format_duration(time).to_string();
    let geoip = config.geoip.as_ref().map(|path| path.display().to_string());
    let rejected = match policy.when_rejected {
        WhenRejected::Verify => "verify",
        WhenRejected::Skip => "skip",
    };
    let unknown = if policy.reject_unknown_country { "reject" } else { "allow" };
    let passwords = &config.accounts.passwords;
    // It may be somebody's hash.
    let dummy_hash = if config.accounts.dummy_hash.is_some() { "given" } else { "learnt" };
    for (key, value) in [
        ("config", config.path.display().to_string()),
        ("database.connect_timeout", time(config.timeouts.connect)),
        ("database.query_timeout", time(config.timeouts.query)),
        ("database.attempt_timeout", time(config.timeouts.attempt)),
        ("accounts.url", config.accounts.database.to_string()),
        ("accounts.query", config.accounts.query.clone()),
        ("accounts.default_scheme", passwords.default_scheme.clone()),
        ("accounts.allow_weak_schemes", passwords.allow_weak_schemes.to_string()),
        ("accounts.max_bcrypt_cost", passwords.max_bcrypt_cost.to_string()),
        ("accounts.max_rounds", passwords.max_rounds.to_string()),
        ("accounts.max_argon2_memory", passwords.max_argon2_memory.to_string()),
        ("accounts.dummy_hash", dummy_hash.to_owned()),
        ("accounts.default_domain", config.accounts.default_domain.clone()),
        ("geoip.database", geoip.unwrap_or_default()),
        ("policy.allow_countries", countries(&policy.default.allow_countries)),
        ("policy.deny_countries", countries(&policy.default.deny_countries)),
        ("policy.unknown_country", unknown.to_owned()),
        ("policy.trusted_networks", networks.join(",")),
        ("policy.when_rejected", rejected.to_owned()),
        ("policy.failure_time", time(config.failure_time)),
        ("policy.log_only", policy.log_only.to_string()),
        ("log.url", config.log.database.to_string()),
        ("log.insert", config.log.insert.clone()),
        ("log.protocol", config.log.protocol.clone()),
        ("state.directory", config.state_directory.display().to_string()),
    ] {
        say(&format!("{key}={value}"));
    }
}

/// Runs the account query for a name that nobody has.
fn check_accounts(config: &Config) -> Result<String, Error> {
    let mut store = Store::open(&config.accounts.database, patience(config))?;
    let parameters = QUERY_PARAMETERS.iter().map(|name| (*name, Value::text("")));
    let found = store.find(&config.accounts.query, &parameters.collect::<Vec<_>>())?;
    if found.columns.iter().any(|name| name == "password") {
        return Ok(String::from("ok the query runs"));
    }
    let what = String::from("accounts.query returns no column named password: use AS password");
    Err(Error::Config { file: config.path.clone(), what })
}

/// Measures what a refusal costs for the dearest account known.
fn check_failure_time(config: &Config) -> Result<String, Error> {
    let accounts = &config.accounts;
    let settings = &accounts.passwords;
    let mut dummy = Dummy::load(&config.state_directory, accounts.dummy_hash(), settings);
    if accounts.query_is_default {
        let mut store = Store::open(&accounts.database, patience(config))?;
        for mut row in store.query("SELECT password FROM account", &[])? {
            if let Some(Value::Text(stored)) = row.take("password") {
                dummy = dummy.or_dearer(&[stored], settings);
            }
        }
    }
    // The longest that is hashed: SHA-crypt takes longer for longer ones.
    let nobody = Secret::new(vec![b'x'; MAX_PASSWORD]);
    let start = Instant::now();
    dummy.top_up(0, Candidate { password: &nobody, login: "" });
    let time = Duration::from_millis(u64::try_from(start.elapsed().as_millis()).unwrap_or(0));
    let (time, floor) = (time.max(Duration::from_millis(1)), config.failure_time);
    let found = format!("the dearest stored password known takes {}", format_duration(time));
    if time < floor {
        return Ok(format!("ok {found}"));
    }
    let floor = format_duration(floor);
    let directory = config.state_directory.display();
    Ok(format!(
        "warning {found}, policy.failure_time = {floor} is no longer: where accounts are stored in \
         different ways, the time of a 535 tells them apart. Raise it, or remove \
         {directory}/dummy-hash where no account is that dear any more"
    ))
}

fn check_log(config: &Config) -> Result<String, Error> {
    let mut store = Store::open(&config.log.database, patience(config))?;
    if config.log.insert.contains("connection_log") && !store.has_table("connection_log")? {
        let place = config.log.database.to_string();
        let what = String::from("has no table connection_log: run `authpolicy db init`");
        return Err(Error::Store { place, what });
    }
    store.prepare(&config.log.insert)?;
    Ok(String::from("ok the statement fits the table"))
}

fn check_geoip(config: &Config) -> Result<String, Error> {
    let Some(path) = &config.geoip else {
        return Ok(String::from("ok not used, the country is empty"));
    };
    let (kind, built) = Geo::new(path).verify()?;
    let built = std::time::UNIX_EPOCH.checked_add(Duration::from_secs(built));
    let built = built.map(|time| humantime::format_rfc3339_seconds(time).to_string());
    Ok(format!("ok type={kind:?} built={}", built.unwrap_or_default()))
}
