//! The place of the client: its country and its autonomous system.

use std::time::UNIX_EPOCH;

use super::Earlier;
use super::Findings;
use super::Mode;
use super::Moment;
use super::World;
use crate::account::Login;
use crate::attempt::Attempt;
use crate::attempt::Remote;
use crate::error::Error;
use crate::policy;
use crate::policy::Credentials;
use crate::policy::Facts;
use crate::policy::Looked;
use crate::policy::Rule;
use crate::policy::Ruling;

/// The one address of this machine, and of each client that `exim -bh` plays.
pub(super) const LOCAL: &str = "local";

/// Finds out where the client is.
pub(super) fn locate(
    world: World<'_>,
    attempt: &Attempt,
    moment: Moment,
    earlier: Earlier,
) -> Findings {
    let address = match attempt.remote {
        Remote::Local | Remote::Unusable(_) => None,
        Remote::Address(address) => Some(world.config.policy.nat64.read(address)),
    };
    let mut geo_error = None;
    let country = address.map_or(Looked::Up(None), |address| {
        look(world.geo.map(|geo| geo.country(address.effective())), &mut geo_error)
    });
    let asn = address.map_or(Looked::Up(None), |address| {
        look(world.asns.map(|asns| asns.number(address.effective())), &mut geo_error)
    });
    let allowed = earlier.allowed.unwrap_or_default();
    let authcid = attempt.authcid.as_deref().unwrap_or_default();
    let login = Login::new(authcid, &world.config.accounts.default_domain);
    let since_1970 = moment.time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Findings {
        username: attempt.shown.to_lowercase(),
        facts: Facts {
            address,
            country,
            asn,
            protocol: super::protocol(world, attempt).to_uppercase(),
            now: i64::try_from(since_1970.as_millis()).unwrap_or(0),
            // What an account may overturn is asked again.
            refused_before: allowed.rule.filter(Rule::is_final),
            limits: Vec::new(),
            exceptions: Vec::new(),
        },
        geo_error,
        login,
        earlier_error: allowed.error,
        standing: earlier.standing,
        was_looked_at: false,
        start: moment.start,
        known_good: None,
        fingerprint: String::new(),
        was_guess: false,
        unreachable: None,
        weighed: Vec::new(),
        found: policy::Findings {
            ruling: Ruling::CannotTell(Rule::UnknownCountry),
            disabled: None,
            is_new_country: false,
            credentials: Credentials::CannotTell,
        },
    }
}

/// What a file says, if there is one; its error is kept, since not every attempt needs it.
fn look<T>(said: Option<Result<Option<T>, Error>>, error: &mut Option<Error>) -> Looked<T> {
    match said {
        None => Looked::InVain,
        Some(Ok(known)) => Looked::Up(known),
        Some(Err(e)) => {
            error.get_or_insert(e);
            Looked::InVain
        }
    }
}

/// Why a rule about countries or autonomous systems cannot be held against the facts.
pub(super) fn unreadable(findings: &mut Findings) -> Error {
    let what = String::from("has a country rule, and the configuration no [geoip] database");
    let account = findings.username.clone();
    findings.geo_error.take().unwrap_or(Error::Account { account, what })
}

/// The name under which the address of an attempt is counted.
pub(super) fn remote(world: World<'_>, findings: &Findings) -> String {
    match (world.mode, findings.facts.address) {
        (Mode::Played, _) | (_, None) => LOCAL.to_owned(),
        (Mode::Real | Mode::Asked, Some(address)) => world.config.policy.limits.remote(address),
    }
}
