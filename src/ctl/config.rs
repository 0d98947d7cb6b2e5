//! `authpolicy config`: checks what the configuration says and names, and prints what is in force.

use crate::config::Config;
use crate::config::QUERY_PARAMETERS;
use crate::error::Error;
use crate::geo::Geo;
use crate::policy::Countries;
use crate::policy::WhenRejected;
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
    ];
    let mut first = None;
    for (what, result) in checks {
        match result {
            Ok(found) => say(&format!("check.{what}=ok {found}")),
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
    let time = |time| humantime::format_duration(time).to_string();
    let geoip = config.geoip.as_ref().map(|path| path.display().to_string());
    let rejected = match policy.when_rejected {
        WhenRejected::Verify => "verify",
        WhenRejected::Skip => "skip",
    };
    let unknown = if policy.reject_unknown_country { "reject" } else { "allow" };
    for (key, value) in [
        ("config", config.path.display().to_string()),
        ("database.connect_timeout", time(config.timeouts.connect)),
        ("database.query_timeout", time(config.timeouts.query)),
        ("database.attempt_timeout", time(config.timeouts.attempt)),
        ("accounts.url", config.accounts.database.to_string()),
        ("accounts.query", config.accounts.query.clone()),
        ("accounts.default_scheme", config.accounts.default_scheme.clone()),
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
        return Ok(String::from("the query runs"));
    }
    let what = String::from("accounts.query returns no column named password: use AS password");
    Err(Error::Config { file: config.path.clone(), what })
}

fn check_log(config: &Config) -> Result<String, Error> {
    let mut store = Store::open(&config.log.database, patience(config))?;
    if config.log.insert.contains("connection_log") && !store.has_table("connection_log")? {
        let place = config.log.database.to_string();
        let what = String::from("has no table connection_log: run `authpolicy db init`");
        return Err(Error::Store { place, what });
    }
    store.prepare(&config.log.insert)?;
    Ok(String::from("the statement fits the table"))
}

fn check_geoip(config: &Config) -> Result<String, Error> {
    let Some(path) = &config.geoip else {
        return Ok(String::from("not used, the country is empty"));
    };
    let (kind, built) = Geo::new(path).verify()?;
    let built = std::time::UNIX_EPOCH.checked_add(std::time::Duration::from_secs(built));
    let built = built.map(|time| humantime::format_rfc3339_seconds(time).to_string());
    Ok(format!("type={kind:?} built={}", built.unwrap_or_default()))
}
