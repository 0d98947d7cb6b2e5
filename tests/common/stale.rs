//! A site with `accounts.serve_stale`. Its accounts are on its own server, which a test may damage.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use super::Base;
use super::Client;
use super::Exim;
use super::MariaDb;
use super::Site;
use super::site::GB;

const POLICY: &str = "[policy]\nallow_countries = [\"GB\"]\nfailure_time = \"0s\"\n";

pub struct Rig {
    pub site: Site,
    pub server: Arc<MariaDb>,
    pub exim: Exim,
}

/// A site with these accounts, whose password is `secret`.
pub fn rig(serve_stale: &str, names: &[&str]) -> Rig {
    let server = Arc::new(MariaDb::start());
    let name = server.database();
    let url = server.url(&name);
    let site = Site::new(Base::MariaDb(server.clone(), name, url), POLICY);
    for name in names {
        site.account(&format!("{name}@example.com"), "secret");
    }
    let config = site.read("authpolicy.toml");
    site.write_config(&config.replace("[accounts]\n", &format!("[accounts]\n{serve_stale}")));
    let exim = site.exim();
    Rig { site, server, exim }
}

impl Rig {
    /// The URL of the accounts' database, over TCP.
    pub fn tcp_url(&self) -> String {
        let Base::MariaDb(_, name, _) = &self.site.base else { panic!("it is on MariaDB") };
        self.server.tcp_url(name)
    }

    /// Gives the log its own database, which is available without that of the accounts.
    pub fn split(&self) {
        let log = self.site.path("state/log.db");
        let config = self.site.read("authpolicy.toml");
        let log = format!("[log]\nurl = \"sqlite:{}\"\n", log.display());
        self.site.write_config(&format!("{config}{log}"));
        self.site.tool(&["db", "init"], "");
    }

    /// Configures these database URLs and time-outs.
    pub fn set_urls(&self, urls: &[&str], timeouts: &str) {
        let config = self.site.read("authpolicy.toml");
        let (_, rest) = config.split_once("[state]").unwrap();
        self.site.write_config(&format!("[database]\nurl = {urls:?}\n{timeouts}[state]{rest}"));
    }

    pub fn attempt(&self, name: &str, password: &str) -> String {
        self.attempt_from(GB, name, password)
    }

    pub fn attempt_from(&self, remote: &str, name: &str, password: &str) -> String {
        let name = format!("{name}@example.com");
        Client::connect_from(self.exim.port, remote).plain(name.as_bytes(), password.as_bytes())
    }

    /// The files of the remembered accounts.
    pub fn remembered_account_files(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.site.path("state/remembered")) else {
            return Vec::new();
        };
        entries.map(|entry| entry.unwrap().path()).collect()
    }
}
