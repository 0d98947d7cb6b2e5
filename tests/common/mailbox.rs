//! Sites whose accounts are in the administrator's own table. Their query returns the column
//! `username`, or does not.

use super::Base;
use super::Site;
use super::config::config;
use super::config::value;

/// A query without the column `username`: the account has the name that the client sent.
pub const QUERY_WITHOUT_USERNAME: &str =
    "SELECT password, allow_countries FROM mailbox WHERE address = :user";
/// A query that returns the stored name as `username`.
pub const QUERY_WITH_USERNAME: &str =
    "SELECT password, allow_countries, address AS username FROM mailbox WHERE address = :user";
pub const POLICY: &str = "[policy]\nfailure_time = \"0s\"\nhash_nonce = \"nonce\"\n";

/// A site whose accounts are in a table `mailbox`. On MariaDB, the table's collation ignores case
/// and accents.
pub fn site(base: Base) -> Site {
    let site = Site::new(base, "");
    let collation = match site.base {
        Base::Sqlite => "",
        Base::MariaDb(..) => "CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci",
    };
    site.sql(&format!(
        "CREATE TABLE mailbox (address varchar(80) NOT NULL, password varchar(80), \
         allow_countries varchar(80)) {collation}"
    ));
    for (name, password) in [("p", "secret"), ("mike", "secret"), ("other", "another")] {
        site.sql(&format!(
            "INSERT INTO mailbox (address, password) VALUES ('{name}@example.com', '{{PLAIN}}{password}')"
        ));
    }
    site
}

pub fn configure(site: &Site, query: &str, policy: &str) {
    let accounts = format!("[accounts]\nquery = \"{query}\"\n");
    site.configure(&format!("{accounts}{}\n{POLICY}{policy}", site.geoip()));
}

/// Runs `authpolicy config`; returns its exit status and the value of `check.NAME`.
pub fn check(site: &Site, name: &str) -> (i32, String) {
    let (status, printed, _) = config(site);
    (status, value(&printed, name).to_owned())
}
