//! A site whose accounts are in the administrator's own table, with a query that returns `username` or
//! does not.

use super::Base;
use super::Site;
use super::config::config;
use super::config::value;

/// A query that leaves the name to what the client typed.
pub const NAMELESS: &str = "SELECT password, allow_countries FROM mailbox WHERE address = :user";
/// One that does not.
pub const NAMED: &str =
    "SELECT password, allow_countries, address AS username FROM mailbox WHERE address = :user";
pub const POLICY: &str = "[policy]\nfailure_time = \"0s\"\nhash_nonce = \"nonce\"\n";

/// A site whose accounts are in the administrator's own table, which folds accents.
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

/// The exit status of `authpolicy config`, and what it prints of one check.
pub fn check(site: &Site, name: &str) -> (i32, String) {
    let (status, said, _) = config(site);
    (status, value(&said, name).to_owned())
}
