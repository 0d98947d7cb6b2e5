//! Checks each server of a list, because attempts silently pass over a server that they cannot use.
//! Also checks the names of their hosts, because some ways to look up a name have no time-out.

use std::fs;
use std::net::IpAddr;

use crate::long_deadline;
use authpolicy::config::Config;
use authpolicy::config::Database;
use authpolicy::config::DatabaseUrl;
use authpolicy::error::Error;
use authpolicy::error::StoreFault;
use authpolicy::store::Store;

/// The file that says how names are looked up.
const NSSWITCH: &str = "/etc/nsswitch.conf";

/// Modules of nsswitch.conf that answer at once, or before a deadline.
const TIMELY_MODULES: &[&str] =
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
    words.filter(|word| !TIMELY_MODULES.contains(word)).collect()
}

/// The databases that can be opened; an embedded one always counts.
pub(super) struct ReachableServers {
    pub(super) accounts: bool,
    /// Each server of the log's database that can be reached.
    pub(super) log: Vec<Database>,
}

/// Connects to each server of both databases.
pub(super) fn check(config: &Config) -> (Result<String, Error>, ReachableServers) {
    let (accounts, log) = (&config.accounts.database, &config.log.database);
    let of_accounts = connect_to_each(config, accounts);
    let of_log = (!log.is_same(accounts)).then(|| connect_to_each(config, log));
    let reached = ReachableServers {
        accounts: of_accounts.is_reached(),
        log: of_log.as_ref().unwrap_or(&of_accounts).reached.clone(),
    };
    let all: Vec<_> = std::iter::once(of_accounts).chain(of_log).collect();
    let mut failed = Vec::new();
    for connections in &all {
        failed.extend(connections.failed.iter().cloned());
    }
    let result = if let Some(place) = all.iter().find_map(|connections| connections.whole_failure())
    {
        Err(Error::Store { place, what: failed.join("; "), fault: StoreFault::Other })
    } else if failed.is_empty() {
        Ok(String::from("ok"))
    } else {
        Ok(format!("warning attempts pass over these servers: {}", failed.join("; ")))
    };
    (result, reached)
}

/// The connections to the servers of one database.
struct Connections {
    reached: Vec<Database>,
    /// The `place` of the last failure, used in the error if no server can be reached.
    place: String,
    /// The failures, each with its server.
    failed: Vec<String>,
}

impl Connections {
    fn is_reached(&self) -> bool {
        !self.reached.is_empty()
    }

    fn whole_failure(&self) -> Option<String> {
        (!self.is_reached()).then(|| self.place.clone())
    }
}

fn connect_to_each(config: &Config, database: &Database) -> Connections {
    let mut connections =
        Connections { reached: Vec::new(), place: String::new(), failed: Vec::new() };
    let Database::MySql(hosts) = database else {
        connections.reached.push(database.clone());
        return connections;
    };
    for host in hosts {
        let server = Database::MySql(vec![host.clone()]);
        match Store::open(&server, long_deadline(config)) {
            Ok(_) => connections.reached.push(server),
            Err(Error::Store { place, what, .. }) => {
                connections.place = place;
                connections.failed.push(what);
            }
            Err(e) => connections.failed.push(e.to_string()),
        }
    }
    connections
}

/// Warns of servers whose name is not checked against the certificate.
pub(super) fn check_tls(config: &Config) -> String {
    let databases = [&config.accounts.database, &config.log.database];
    let hosts = databases.into_iter().filter_map(|database| match database {
        Database::MySql(hosts) => Some(hosts),
        Database::Sqlite(_) => None,
    });
    let mut warnings: Vec<_> = hosts
        .flatten()
        .filter_map(|host| {
            let tls = host.tls().filter(|tls| tls.skip_domain_validation())?;
            let authority = tls.root_cert_path()?.display();
            Some(format!(
                "{host}: danger_skip_domain_validation=true skips the name in the certificate, so that anybody with a \
                 certificate from {authority} can pose as this server: use it only with an authority that signs \
                 nothing else"
            ))
        })
        .collect();
    warnings.dedup();
    if warnings.is_empty() {
        return String::from("ok");
    }
    format!("warning {}", warnings.join("; "))
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
