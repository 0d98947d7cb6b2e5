//! One fault after the other on a running site, with clients on it from before until after.

use std::process::Child;
use std::process::Command;
use std::process::Stdio;

use super::Base;
use super::Exim;
use super::Site;
use super::load;
use super::load::Load;
use super::load::Tally;
use super::load::Terms;
use super::smtp::ACCEPTED;

/// What most sites here have: a country rule, and no waiting.
pub const POLICY: &str = "[policy]\nallow_countries = [\"GB\"]\nfailure_time = \"0s\"\n";
/// The rest of it where rows are delivered later.
pub const LATER: &str = "[log]\ndelivery = \"journal\"\n";
/// Time-outs for tests in which databases hang.
const SHORT: &str = "connect_timeout = \"1s\"\nquery_timeout = \"1s\"\n\
                     attempt_timeout = \"4s\"\n";
pub const CLIENTS: usize = 8;

/// A site for load with short time-outs.
pub fn site(base: Base, policy: &str) -> Site {
    let site = Site::new(base, policy);
    load::prepare(&site);
    let config = site.read("authpolicy.toml");
    site.write_config(&config.replace("[state]", &format!("{SHORT}[state]")));
    site
}

/// Begins to deliver what waits.
pub fn flush(site: &Site) -> Child {
    Command::new(super::tool())
        .arg("--config")
        .arg(site.path("authpolicy.toml"))
        .arg("flush")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// A fault, and what it excuses.
#[derive(Default)]
pub struct Fault<'a> {
    pub name: &'a str,
    pub terms: Terms<'a>,
}

impl<'a> Fault<'a> {
    pub fn named(name: &'a str) -> Self {
        Self { name, ..Self::default() }
    }

    pub fn rowless(self, causes: &'a [&'a str]) -> Self {
        Self { terms: Terms { rowless: causes, ..self.terms }, ..self }
    }

    pub fn returning(self) -> Self {
        Self { terms: Terms { place_returns: true, ..self.terms }, ..self }
    }

    pub fn refusing(self) -> Self {
        Self { terms: Terms { rules_refuse: true, ..self.terms }, ..self }
    }

    pub fn torn(self) -> Self {
        Self { terms: Terms { torn: true, ..self.terms }, ..self }
    }

    pub fn nameless(self, attempts: usize) -> Self {
        Self { terms: Terms { nameless: attempts, ..self.terms }, ..self }
    }

    /// Has clients on this Exim while something breaks and is mended; they begin and end in good
    /// times. When nothing waits any more, each is held to the promise.
    pub fn play(&self, site: &Site, exim: &Exim, work: impl FnOnce(&Load)) -> Tally {
        let attempts = load::run(exim.port, CLIENTS, |load| {
            load.wait_for(ACCEPTED);
            work(load);
            load.wait_for(ACCEPTED);
            load.wait(CLIENTS);
        });
        if self.terms.torn {
            load::deliver(site);
        } else {
            load::flush(site);
        }
        let tally = load::hold_to(&self.terms, site, &attempts);
        load::report(self.name, &tally);
        assert!(tally.accepted > 0 && tally.refused > 0, "{tally:?}");
        tally
    }
}
