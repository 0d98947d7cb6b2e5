//! A site whose database URL has a host name.

use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use super::Base;
use super::Client;
use super::Exim;
use super::MariaDb;
use super::Site;
use super::site::GB;
use super::smtp::ACCEPTED;
use super::smtp::CANNOT_TELL;
use super::smtp::REFUSED;

const POLICY: &str = "[policy]\nallow_countries = [\"GB\"]\nfailure_time = \"0s\"\n";
const TIMEOUTS: &str = "connect_timeout = \"1s\"\nattempt_timeout = \"5s\"\n";
/// Longer than any attempt may take here, and far shorter than libc's time-outs for silent servers.
pub const SOON: Duration = Duration::from_secs(20);

/// A site whose database is on the loopback interface, and its Exim.
pub struct Rig {
    pub site: Site,
    pub server: Arc<MariaDb>,
    pub exim: Exim,
}

impl Rig {
    pub fn new() -> Self {
        let server = Arc::new(MariaDb::start());
        let name = server.database();
        let url = server.tcp_url(&name);
        let site = Site::new(Base::MariaDb(Arc::clone(&server), name, url), POLICY);
        site.account("u@example.com", "secret");
        let exim = site.exim();
        Self { site, server, exim }
    }

    /// The URL of the database, with this host instead of its address.
    pub fn url(&self, host: &str) -> String {
        self.site.url().replace("@127.0.0.1:", &format!("@{host}:"))
    }

    /// Configures these database URLs.
    pub fn set_urls(&self, urls: &[String]) {
        self.set_urls_with_timeouts(urls, TIMEOUTS);
    }

    /// Configures these database URLs and time-outs.
    pub fn set_urls_with_timeouts(&self, urls: &[String], timeouts: &str) {
        let config = self.site.read("authpolicy.toml");
        let (_, rest) = config.split_once("[state]").unwrap();
        self.site.write_config(&format!("[database]\nurl = {urls:?}\n{timeouts}[state]{rest}"));
    }

    /// Makes one attempt in its own connection; returns the reply and the plugin's lines.
    pub fn attempt(&self, password: &str) -> (String, String) {
        let before = self.site.lines().len();
        let mut client = Client::connect_from(self.exim.port, GB);
        let start = Instant::now();
        let reply = client.plain(b"u@example.com", password.as_bytes());
        assert!(start.elapsed() < SOON, "the attempt took {:?}", start.elapsed());
        (reply, self.site.lines()[before..].join("\n"))
    }

    /// Checks that a right and a wrong password get their replies, rows and lines.
    pub fn assert_served(&self) {
        self.assert_served_and(|lines| assert!(!lines.contains("error="), "{lines}"));
    }

    /// Checks the same, and that the line before the attempt's says that the plugin used a
    /// remembered address.
    pub fn assert_served_from_memory(&self) {
        self.assert_served_and(|lines| {
            let (first, second) = lines.split_once('\n').expect(lines);
            assert!(first.starts_with("trouble function=check error="), "{lines}");
            assert!(first.contains("no name server could tell (127.0.0.2: "), "{lines}");
            assert!(first.ends_with(": connected to a remembered address\""), "{lines}");
            assert!(!second.contains("error="), "{lines}");
        });
    }

    fn assert_served_and(&self, look_at: impl Fn(&str)) {
        let before = self.site.rows().len();
        for (password, wanted) in [("secret", ACCEPTED), ("wrong", REFUSED)] {
            let (reply, lines) = self.attempt(password);
            assert_eq!(reply, wanted, "{lines}");
            look_at(&lines);
        }
        let rows = self.site.rows();
        // Rows of earlier attempts, which were "cannot tell", may now arrive from the journal.
        let flags: Vec<_> = rows[before..].iter().filter_map(|row| row.auth_ok).collect();
        assert_eq!(flags, [true, false]);
        assert_eq!(self.site.panic_log(), "");
    }

    /// Checks that a right password gets "cannot tell" for this reason, and that the row waits in
    /// the journal.
    pub fn assert_unserved(&self, reason: &str) {
        let waiting = || {
            let rows = self.site.read("state/journal/rows");
            rows.lines().filter(|line| line.contains("u@example.com")).count()
        };
        let before = waiting();
        let (reply, lines) = self.attempt("secret");
        assert_eq!(reply, CANNOT_TELL, "{lines}");
        assert!(lines.contains(reason), "{reason}: {lines}");
        assert!(lines.contains("the row waits in the journal"), "{lines}");
        assert_eq!(waiting(), before + 1);
    }
}
