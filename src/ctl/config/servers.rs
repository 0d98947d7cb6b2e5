//! The servers of a list: one that is of no use is passed over by each attempt, and nobody would know.

use crate::config::Config;
use crate::config::Database;
use crate::ctl::patience;
use crate::store::Store;

/// Whether each of several takes us in.
pub(super) fn check(config: &Config) -> String {
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
        return String::from("ok");
    }
    format!("warning each attempt asks these in vain: {}", passed_over.join("; "))
}
