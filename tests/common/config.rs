//! Runs `authpolicy config` on a site, and reads its output.

use std::sync::Arc;

use super::Base;
use super::MariaDb;
use super::Site;
use super::limits::attempt;
use super::limits::limit;
use super::limits::site;
use super::site::GB;
use super::smtp::ACCEPTED;

/// Runs `authpolicy config`; returns its exit status, standard output and standard error.
pub fn config(site: &Site) -> (i32, String, String) {
    let output = site.run_tool(&["config"], "");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// Runs `authpolicy config`; returns the value of `check.NAME`.
pub fn check(site: &Site, name: &str) -> String {
    let (_, printed, _) = config(site);
    value(&printed, name).to_owned()
}

/// The value of `check.NAME` in the output of `authpolicy config`.
pub fn value<'a>(printed: &'a str, name: &str) -> &'a str {
    let start = format!("check.{name}=");
    let line = printed.lines().find_map(|line| line.strip_prefix(&start));
    line.unwrap_or_else(|| panic!("no {start} in: {printed}"))
}

/// A site with a limit on its own server. One attempt has been accepted.
pub fn site_with_limit() -> (Site, Arc<MariaDb>, String) {
    site_with_limit_on(MariaDb::start())
}

pub fn site_with_limit_on(server: MariaDb) -> (Site, Arc<MariaDb>, String) {
    let server = Arc::new(server);
    let name = server.database();
    let url = server.tcp_url(&name);
    let base = Base::MariaDb(Arc::clone(&server), name.clone(), url);
    let limits = [limit("guessing", "account", "failures", 3)];
    let site = site(base, "new_country = \"log\"", &limits);
    let exim = site.exim();
    assert_eq!(attempt(&exim, GB, "u@example.com", "secret"), ACCEPTED, "{}", site.main_log());
    (site, server, name)
}

pub const TABLES: [&str; 5] = [
    "connection_log",
    "authpolicy_count",
    "authpolicy_seen",
    "authpolicy_delivered",
    "authpolicy_exception",
];

/// The number of rows in each table.
pub fn contents(site: &Site) -> Vec<i64> {
    TABLES.map(|table| site.count(&format!("SELECT COUNT(*) FROM {table}"))).to_vec()
}
