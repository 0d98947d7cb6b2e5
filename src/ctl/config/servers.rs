//! Checks of the servers of a list, because attempts silently pass over a server that they cannot
//! use. Also checks the names of their hosts, because some ways to look a name up have no time-out.

use std::fs;
use std::net::IpAddr;

use crate::config::Config;
use crate::config::Database;
use crate::config::DatabaseUrl;
use crate::ctl::patience;
use crate::store::Store;

/// The file that says how names are looked up.
const NSSWITCH: &str = "/etc/nsswitch.conf";

/// Modules of nsswitch.conf that answer at once, or under a deadline.
const IN_TIME: &[&str] =
    &["files", "dns", "myhostname", "mdns_minimal", "mdns4_minimal", "mdns6_minimal"];

/// Warns of host names whose lookup may take longer than `connect_timeout`.
pub(super) fn check_names(config: &Config) -> String {
    let databases = [&config.accounts.database, &config.log.database];
    let mut names = Vec::new();
    for database in databases {
        let Database::MySql(hosts) = database else { continue };
        let by_tcp = hosts.iter().filter(|host| host.options().get_socket().is_none());
        let by_name = by_tcp.map(DatabaseUrl::name).filter(|name| !is_address(name));
        names.extend(by_name);
    }
    let text = fs::read_to_string(NSSWITCH).unwrap_or_default();
    let modules = modules_without_limit(&text);
    if names.is_empty() || modules.is_empty() {
        return String::from("ok");
    }
    names.dedup();
    format!(
        "warning {NSSWITCH} has the hosts of databases ({}) looked up by {}, which may take longer than \
         database.connect_timeout: name a socket or an address, or enter the names in /etc/hosts",
        names.join(", "),
        modules.join(", ")
    )
}

fn is_address(name: &str) -> bool {
    name.parse::<IpAddr>().is_ok()
}

/// The modules of the line `hosts:` that may have no time-out.
fn modules_without_limit(text: &str) -> Vec<&str> {
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix("hosts:"));
    let line = line.and_then(|line| line.split('#').next()).unwrap_or_default();
    // The words in brackets are actions, not modules.
    let words = line.split(['[', ']']).step_by(2).flat_map(str::split_whitespace);
    words.filter(|word| !IN_TIME.contains(word)).collect()
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_without_a_limit_are_found() {
        for (text, wanted) in [
            ("", &[][..]),
            ("passwd: files\nhosts: files dns\n", &[]),
            ("hosts:\tfiles mdns4_minimal [NOTFOUND=return] dns myhostname", &[]),
            ("hosts: files resolve [!UNAVAIL=return] dns # nis\n", &["resolve"]),
            ("hosts: files nis ldap\n", &["nis", "ldap"]),
        ] {
            assert_eq!(modules_without_limit(text), wanted, "{text}");
        }
    }
}
