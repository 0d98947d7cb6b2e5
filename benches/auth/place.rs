//! Sites of the measured ways: accounts with bcrypt hashes, the optimized plugin, and the GeoIP
//! file.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use mysql::prelude::Queryable;

use crate::common::Base;
use crate::common::Site;

pub(crate) const PASSWORD: &str = "correct horse battery";

/// An address in Great Britain. All ways get it in place of `$sender_host_address`: loopback has no
/// country, and Exim 4.96 asks the DNS for the name of each client that the PROXY protocol names.
pub(crate) const REMOTE: &str = "81.2.69.142";
pub(crate) const COUNTRY: &str = "GB";

/// An account for each measured bcrypt cost.
pub(crate) const COSTS: [(u32, &str); 2] = [(4, "cost4@example.com"), (10, "cost10@example.com")];

/// A limit per remote and one per account, with known good addresses.
pub(crate) const LIMITS: &str = "hash_nonce = \"nonce\"
[[policy.limit]]
name = \"spraying\"
per = \"remote\"
count = \"accounts\"
max = 10
within = \"10m\"
[[policy.limit]]
name = \"guessing\"
per = \"account\"
count = \"passwords\"
max = 10
within = \"1h\"
";

/// DB-IP's file, which `AUTHPOLICY_TEST_GEOIP` names.
pub(crate) fn geoip() -> PathBuf {
    let named = std::env::var_os("AUTHPOLICY_TEST_GEOIP").filter(|path| !path.is_empty());
    named.expect("AUTHPOLICY_TEST_GEOIP names a GeoIP file; `make bench` sets it").into()
}

/// A site with the accounts. `policy` goes into the section `[policy]`, and may begin others.
pub(crate) fn site(base: Base, plugin: &Path, policy: &str) -> Site {
    if let Base::MariaDb(server, ..) = &base {
        // As in production: the server confirms a row only after it is on disk.
        server.root("").query_drop("SET GLOBAL innodb_flush_log_at_trx_commit = 1").unwrap();
    }
    let site = Site::new(base, &format!("[policy]\nallow_countries = [\"{COUNTRY}\"]\n{policy}"));
    fs::copy(plugin, site.path("authpolicy.so")).unwrap();
    fs::copy(geoip(), site.path("country.mmdb")).unwrap();
    for (cost, account) in COSTS {
        site.tool(
            &["user", "add", account, "--scheme", "BLF-CRYPT", "--cost", &cost.to_string()],
            PASSWORD,
        );
    }
    // All ways can read the bare format of crypt(3).
    site.sql("UPDATE account SET password = REPLACE(password, '{BLF-CRYPT}', '')");
    site
}

/// The stored password of an account.
pub(crate) fn stored(site: &Site, account: &str) -> String {
    site.texts(&format!("SELECT password FROM account WHERE username = '{account}'")).remove(0)
}
