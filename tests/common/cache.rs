//! A site with `accounts.cache` and `accounts.remember_verified`, whose daemon calls `preload`.

use super::Base;
use super::Client;
use super::Exim;
use super::Site;
use super::site::GB;
use super::smtp::ACCEPTED;

/// The keys that switch both on.
pub const CACHE: &str = "cache = \"1h\"\n";
pub const VERIFIED: &str = "remember_verified = \"1h\"\n";
/// The fields of a line whose account or password came from the cache.
pub const ACCOUNT: &str = " cache=account ";
pub const PASSWORD: &str = " cache=password ";

pub struct Rig {
    pub site: Site,
    pub exim: Exim,
}

/// A site with these keys of `[accounts]`, this policy, and the accounts `u`, `v` and `w`, whose
/// password is `secret`.
pub fn rig(base: Base, keys: &str, policy: &str) -> Rig {
    let site = site(base, keys, policy);
    site.set_preload(Some(""));
    let exim = site.exim();
    Rig { site, exim }
}

/// The site alone. Its daemon does not call `preload`.
pub fn site(base: Base, keys: &str, policy: &str) -> Site {
    let policy = format!(
        "[policy]\nallow_countries = [\"GB\"]\nfailure_time = \"0s\"\n\
         hash_nonce = \"nonce\"\n{policy}"
    );
    let site = Site::new(base, &policy);
    for name in ["u", "v", "w"] {
        site.account(&format!("{name}@example.com"), "secret");
    }
    let config = site.read("authpolicy.toml");
    site.write_config(&config.replace("[accounts]\n", &format!("[accounts]\n{keys}")));
    site
}

impl Rig {
    /// An attempt from GB at `name@example.com`: the reply, and the attempt's line.
    pub fn attempt(&self, name: &str, password: &str) -> (String, String) {
        self.attempt_from(GB, &format!("{name}@example.com"), password)
    }

    pub fn attempt_from(&self, remote: &str, name: &str, password: &str) -> (String, String) {
        let client = Client::connect_from(self.exim.port, remote);
        let reply = { client }.plain(name.as_bytes(), password.as_bytes());
        (reply, self.site.lines().pop().unwrap())
    }

    /// Checks that the right password is accepted, and that exactly these parts come from the cache.
    pub fn assert_accepted(&self, name: &str, password: &str, fields: &[&str]) {
        let (reply, line) = self.attempt(name, password);
        assert_eq!(reply, ACCEPTED, "{line}");
        for field in [ACCOUNT, PASSWORD] {
            assert_eq!(line.contains(field), fields.contains(&field), "{field}: {line}");
        }
    }

    /// Checks that the attempt gets this reply, that its line begins with this, and that nothing
    /// comes from the cache.
    pub fn assert_asked(&self, name: &str, password: &str, reply: &str, line: &str) {
        let (replied, found) = self.attempt(name, password);
        assert_eq!(replied, reply, "{found}");
        assert!(found.starts_with(&format!("attempt {line} ")), "{found}");
        assert!(!found.contains(" cache="), "{found}");
    }

    pub fn update(&self, name: &str, change: &str) {
        self.site
            .sql(&format!("UPDATE account SET {change} WHERE username = '{name}@example.com'"));
    }

    /// Sets another password for an account.
    pub fn set_password(&self, name: &str, password: &str) {
        let stored = self.site.tool(&["hash", "--scheme", "BLF-CRYPT", "--cost", "4"], password);
        self.update(name, &format!("password = '{}'", stored.trim_end()));
    }

    /// The flags of each row, and nothing in Exim's panic log.
    pub fn flags(&self) -> Vec<(Option<bool>, Option<bool>)> {
        assert_eq!(self.site.panic_log(), "");
        self.site.rows().iter().map(|row| (row.auth_ok, row.policy_reject)).collect()
    }
}
