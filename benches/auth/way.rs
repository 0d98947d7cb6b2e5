//! One way to decide an AUTH, with its own Exim.

use std::cell::Cell;
use std::fs;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;
use std::time::Instant;

use crate::common;
use crate::common::Client;
use crate::common::Exim;
use crate::common::Site;
use crate::common::exim::users;
use crate::exim_config;
use crate::place::COUNTRY;
use crate::place::PASSWORD;
use crate::place::REMOTE;

/// The kinds of databases.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Sqlite,
    MariaDb,
}

/// A configuration of the plugin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Setting {
    /// As README does it: rows go to the table at once, and the daemon calls `preload`.
    Readme,
    /// As in README, but without `preload`.
    NoPreload,
    Journal,
    /// With the journal and `accounts.cache`.
    Cache,
    /// With the journal, `accounts.cache` and `accounts.remember_verified`.
    Verified,
    /// As README does it, with two limits.
    Limits,
}

/// The identity of a way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Id {
    /// `server_condition = yes`.
    Yes,
    /// `crypteq` of a constant.
    Crypteq,
    Plugin(Kind, Setting),
    Lookup,
    Dovecot,
    Php,
}

impl Id {
    pub(crate) fn name(self) -> String {
        let kind = |kind| match kind {
            Kind::Sqlite => "SQLite",
            Kind::MariaDb => "MariaDB",
        };
        match self {
            Self::Yes => "`server_condition = yes`".into(),
            Self::Crypteq => "`crypteq` of a constant".into(),
            Self::Lookup => "Exim's `lookup mysql`, `crypteq`, INSERT (no country)".into(),
            Self::Dovecot => "D: Exim's `dovecot` driver, SQL, three policy calls (no row)".into(),
            Self::Php => "P: `readsocket` to nginx and php-fpm (all of it)".into(),
            Self::Plugin(on, Setting::Readme) => format!("authpolicy, {}, as in README", kind(on)),
            Self::Plugin(on, setting) => {
                let more = match setting {
                    Setting::Readme => "",
                    Setting::NoPreload => "without `preload`",
                    Setting::Journal => "journal",
                    Setting::Cache => "journal, cache",
                    Setting::Verified => "journal, cache, verified passwords",
                    Setting::Limits => "as in README, two limits",
                };
                format!("authpolicy, {}, {more}", kind(on))
            }
        }
    }

    /// True if each AUTH costs a hash.
    pub(crate) fn hashes(self) -> bool {
        !matches!(self, Self::Yes | Self::Plugin(_, Setting::Verified))
    }

    /// The `protocol` of its rows; `None` if it writes no rows.
    fn protocol(self) -> Option<&'static str> {
        match self {
            Self::Yes | Self::Crypteq | Self::Dovecot => None,
            Self::Plugin(..) => Some("SMTP"),
            Self::Lookup => Some("lookup"),
            Self::Php => Some("php"),
        }
    }

    /// A part that most lines of the plugin must have, because the shared memory answered.
    fn hit(self) -> Option<&'static str> {
        match self {
            Self::Plugin(_, Setting::Cache) => Some(" cache=account "),
            Self::Plugin(_, Setting::Verified) => Some(" cache=password "),
            Self::Yes
            | Self::Crypteq
            | Self::Plugin(..)
            | Self::Lookup
            | Self::Dovecot
            | Self::Php => None,
        }
    }
}

/// A way with a running Exim.
pub(crate) struct Way {
    pub(crate) id: Id,
    pub(crate) exim: Exim,
    pub(crate) site: Rc<Site>,
    directory: PathBuf,
    /// The attempts so far.
    attempts: Cell<usize>,
}

impl Way {
    /// Starts the Exim. `main` goes into its main section, `authenticator` into the only driver.
    pub(crate) fn start(id: Id, site: &Rc<Site>, main: &str, authenticator: &str) -> Self {
        let number = fs::read_dir(site.directory()).unwrap().count();
        let directory = site.path(&format!("way{number}"));
        for path in [directory.clone(), directory.join("spool"), directory.join("log")] {
            fs::create_dir(&path).unwrap();
            users::give_to_exim(&path);
        }
        let config = directory.join("exim.conf");
        fs::write(
            &config,
            exim_config::whole(&directory.display().to_string(), main, authenticator),
        )
        .unwrap();
        let exim = Exim::start(&config);
        Self { id, exim, site: Rc::clone(site), directory, attempts: Cell::new(0) }
    }

    /// Makes an attempt, which must be accepted.
    pub(crate) fn authenticate(&self, account: &str) -> (Client, Duration) {
        let client = Client::connect(self.exim.port);
        self.authenticate_on(client, account, "235")
    }

    /// Makes an attempt on this connection; returns it, and the time from AUTH to its reply.
    /// Dropping the client does not wait for the reply to QUIT, which Exim 4.96 delays by 200 ms.
    pub(crate) fn authenticate_on(
        &self,
        mut client: Client,
        account: &str,
        want: &str,
    ) -> (Client, Duration) {
        let start = Instant::now();
        let reply = client.plain(account.as_bytes(), PASSWORD.as_bytes());
        let taken = start.elapsed();
        assert!(reply.starts_with(want), "{:?}: {reply}\n{}", self.id, self.log());
        self.add_attempts(1);
        (client, taken)
    }

    pub(crate) fn attempts(&self) -> usize {
        self.attempts.get()
    }

    /// Counts attempts that others have made on this Exim.
    pub(crate) fn add_attempts(&self, more: usize) {
        self.attempts.set(self.attempts.get() + more);
    }

    pub(crate) fn log(&self) -> String {
        common::exim::main_log(&self.directory)
    }

    /// Delivers the rows that wait in the journal; returns their number and the time taken.
    pub(crate) fn deliver(&self) -> Option<(usize, Duration)> {
        let Id::Plugin(_, Setting::Journal | Setting::Cache | Setting::Verified) = self.id else {
            return None;
        };
        let start = Instant::now();
        assert_eq!(common::load::deliver(&self.site), 0, "{:?}: rows were set aside", self.id);
        Some((self.attempts(), start.elapsed()))
    }

    /// Checks that each attempt has a row, that the rows say "accepted", and that the shared memory
    /// has answered where it should.
    pub(crate) fn assert_recorded(&self) {
        if let Some(hit) = self.id.hit() {
            let hits = self.log().lines().filter(|line| line.contains(hit)).count();
            let attempts = self.attempts();
            // After each pause, all clients of the load ask the database once.
            assert!(hits * 2 >= attempts, "{:?}: {hits} hits of {attempts}", self.id);
        }
        let Some(protocol) = self.id.protocol() else { return };
        let country = if self.id == Id::Lookup { "" } else { COUNTRY };
        let rows = self.site.rows();
        let good = rows.iter().filter(|row| {
            row.protocol == protocol
                && row.country == country
                && row.remote_ip == REMOTE
                && row.auth_ok == Some(true)
                && row.policy_reject == Some(false)
        });
        let good = good.count();
        assert_eq!(good, self.attempts(), "{:?}: a row for each, {:?}", self.id, rows.last());
    }
}
