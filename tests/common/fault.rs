//! Faults on a running site. Clients make attempts before, during and after each fault.

use std::process::Child;
use std::process::Command;
use std::process::Stdio;

use super::Base;
use super::Exim;
use super::Site;
use super::load;
use super::load::Load;
use super::load::Tally;
use super::load::Tolerances;
use super::smtp::ACCEPTED;

/// The policy of most sites here: a country rule, and refusals without a delay.
pub const POLICY: &str = "[policy]\nallow_countries = [\"GB\"]\nfailure_time = \"0s\"\n";
/// Makes attempts write their rows to the journal, for a later delivery.
pub const LATER: &str = "[log]\ndelivery = \"journal\"\n";
/// Time-outs for tests in which databases hang.
const SHORT: &str = "connect_timeout = \"1s\"\nquery_timeout = \"1s\"\n\
                     attempt_timeout = \"4s\"\n";
pub const CLIENTS: usize = 8;

/// A site for load, with short time-outs.
pub fn site(base: Base, policy: &str) -> Site {
    let site = Site::new(base, policy);
    load::prepare(&site);
    let config = site.read("authpolicy.toml");
    site.write_config(&config.replace("[state]", &format!("{SHORT}[state]")));
    site
}

/// Starts `authpolicy flush`, and does not wait for its end.
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

/// A fault, and the deviations that it may cause.
#[derive(Default)]
pub struct Fault<'a> {
    pub name: &'a str,
    pub tolerances: Tolerances<'a>,
}

impl<'a> Fault<'a> {
    pub fn named(name: &'a str) -> Self {
        Self { name, ..Self::default() }
    }

    /// Attempts whose log line has one of these causes may have no row.
    pub fn without_rows_for(self, causes: &'a [&'a str]) -> Self {
        Self { tolerances: Tolerances { causes_without_row: causes, ..self.tolerances }, ..self }
    }

    /// Attempts without a row may write it later, because the place for rows is restored.
    pub fn with_late_rows(self) -> Self {
        Self { tolerances: Tolerances { place_returns: true, ..self.tolerances }, ..self }
    }

    /// Rules may refuse right passwords.
    pub fn with_refusals_by_rules(self) -> Self {
        Self { tolerances: Tolerances { rules_refuse: true, ..self.tolerances }, ..self }
    }

    /// The journal may contain torn lines.
    pub fn with_torn_lines(self) -> Self {
        Self { tolerances: Tolerances { torn_lines: true, ..self.tolerances }, ..self }
    }

    /// This many rows may have an empty name.
    pub fn with_empty_names(self, attempts: usize) -> Self {
        Self { tolerances: Tolerances { empty_names: attempts, ..self.tolerances }, ..self }
    }

    /// Runs clients on this Exim while `work` breaks and repairs something. Attempts are accepted
    /// before and after it. Then delivers the waiting rows, and checks every attempt.
    pub fn run(&self, site: &Site, exim: &Exim, work: impl FnOnce(&Load)) -> Tally {
        let attempts = load::run(exim.port, CLIENTS, |load| {
            load.wait_for(ACCEPTED);
            work(load);
            load.wait_for(ACCEPTED);
            load.wait(CLIENTS);
        });
        if self.tolerances.torn_lines {
            load::deliver(site);
        } else {
            load::flush(site);
        }
        let tally = load::assert_consistent_within(&self.tolerances, site, &attempts);
        load::report(self.name, &tally);
        assert!(tally.accepted > 0 && tally.refused > 0, "{tally:?}");
        tally
    }
}
