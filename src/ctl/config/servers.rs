//! The servers of a list: one that is of no use is passed over by each attempt, and nobody would know.

use crate::config::Config;
use crate::config::Database;
use crate::ctl::patience;
use crate::error::Error;
use crate::store::Store;

/// Whether each of several takes us in.
pub(super) fn check(config: &Config) -> Result<String, Error> {
    let (accounts, log) = (&config.accounts.database, &config.log.database);
    let mut passed_over = Vec::new();
    for database in std::iter::once(accounts).chain((!log.is_same(accounts)).then_some(log)) {
        let Database::MySql(hosts) = database else { continue };
        // Of a single one, the other checks tell.
        for host in hosts.iter().filter(|_| hosts.len() > 1) {
            if let Err(e) = Store::open(&Database::MySql(vec![host.clone()]), patience(config)) {
                passed_over.push(e.to_string());
            }
        }
    }
    if passed_over.is_empty() {
        return Ok(String::from("ok"));
    }
    Ok(format!("warning each attempt asks these in vain: {}", passed_over.join("; ")))
}

/// Whether anybody would be served by what is remembered.
pub(super) fn check_serve_stale(config: &Config) -> Result<String, Error> {
    let is_wanted = config.accounts.serve_stale.is_some();
    let (limits, log) = (&config.policy.limits.list, &config.log.database);
    if is_wanted && !limits.is_empty() && log.is_same(&config.accounts.database) {
        return Ok(String::from(
            "warning is of no use with limits in the same database: while that is away, they make \
             each AUTH a 435. Have log.url name another server, or do without one of the two",
        ));
    }
    Ok(String::from("ok"))
}
