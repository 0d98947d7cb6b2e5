//! What `authpolicy config` says about a site.

use std::sync::Arc;

use super::Base;
use super::MariaDb;
use super::Site;
use super::limits::attempt;
use super::limits::limit;
use super::limits::site;
use super::site::GB;
use super::smtp::ACCEPTED;

/// Exit status, what `config` prints, and what it complains of.
pub fn config(site: &Site) -> (i32, String, String) {
    let output = site.run_tool(&["config"], "");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

pub fn check(site: &Site, what: &str) -> String {
    let (_, said, _) = config(site);
    value(&said, what).to_owned()
}

pub fn value<'a>(said: &'a str, what: &str) -> &'a str {
    let start = format!("check.{what}=");
    let line = said.lines().find_map(|line| line.strip_prefix(&start));
    line.unwrap_or_else(|| panic!("no {start}: {said}"))
}

/// A site with limits on a server of its own, which has logged somebody in.
pub fn stage() -> (Site, Arc<MariaDb>, String) {
    stage_on(MariaDb::start())
}

pub fn stage_on(server: MariaDb) -> (Site, Arc<MariaDb>, String) {
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

/// What every table holds, and the number of the next row.
pub fn contents(site: &Site) -> Vec<i64> {
    TABLES.map(|table| site.count(&format!("SELECT COUNT(*) FROM {table}"))).to_vec()
}
