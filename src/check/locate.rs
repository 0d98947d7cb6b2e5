//! The place of the client: its country and its autonomous system.

use std::time::UNIX_EPOCH;

use super::Context;
use super::EarlierCalls;
use super::Findings;
use super::Mode;
use super::StartTime;
use crate::account::Login;
use crate::attempt::Attempt;
use crate::attempt::Remote;
use crate::error::Error;
use crate::policy;
use crate::policy::Credentials;
use crate::policy::Facts;
use crate::policy::GeoLookup;
use crate::policy::PolicyResult;
use crate::policy::Rule;

/// The one address of this machine, and of each client that `exim -bh` plays.
pub(super) const LOCAL: &str = "local";

/// Finds out where the client is.
pub(super) fn locate(
    context: Context<'_>,
    attempt: &Attempt,
    start_time: StartTime,
    earlier: EarlierCalls,
) -> Findings {
    let address = match attempt.remote {
        Remote::Local | Remote::Unusable(_) => None,
        Remote::Address(address) => Some(context.config.policy.nat64.read(address)),
    };
    let mut geo_error = None;
    let country = address.map_or(GeoLookup::Read(None), |address| {
        geo_lookup(context.geo.map(|geo| geo.country(address.effective())), &mut geo_error)
    });
    let asn = address.map_or(GeoLookup::Read(None), |address| {
        geo_lookup(context.asns.map(|asns| asns.number(address.effective())), &mut geo_error)
    });
    let allowed = earlier.allowed.unwrap_or_default();
    let authcid = attempt.authcid.as_deref().unwrap_or_default();
    let login = Login::new(authcid, &context.config.accounts.default_domain);
    let since_1970 = start_time.time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Findings {
        username: attempt.shown.to_lowercase(),
        facts: Facts {
            address,
            country,
            asn,
            protocol: super::protocol(context, attempt).to_uppercase(),
            now: i64::try_from(since_1970.as_millis()).unwrap_or(0),
            // What an account may overturn is asked again.
            refused_before: allowed.rule.filter(Rule::is_final),
            limits: Vec::new(),
            exceptions: Vec::new(),
        },
        geo_error,
        login,
        earlier_error: allowed.error,
        attempt_limits: earlier.attempt_limits,
        limits_were_checked: false,
        start: start_time.start,
        known_good: None,
        fingerprint: String::new(),
        counts_as_failure: false,
        unreachable: None,
        evaluated: Vec::new(),
        input: policy::DecisionInput {
            policy_result: PolicyResult::CannotTell(Rule::UnknownCountry),
            disabled: None,
            is_new_country: false,
            credentials: Credentials::CannotTell,
        },
    }
}

/// What a file says, if there is one; its error is kept, since not every attempt needs it.
fn geo_lookup<T>(
    result: Option<Result<Option<T>, Error>>,
    error: &mut Option<Error>,
) -> GeoLookup<T> {
    match result {
        None => GeoLookup::Unavailable,
        Some(Ok(known)) => GeoLookup::Read(known),
        Some(Err(e)) => {
            error.get_or_insert(e);
            GeoLookup::Unavailable
        }
    }
}

/// Why a rule about countries or autonomous systems cannot be held against the facts.
pub(super) fn geo_unavailable(findings: &mut Findings) -> Error {
    let what = String::from("has a country rule, and the configuration no [geoip] database");
    let account = findings.username.clone();
    findings.geo_error.take().unwrap_or(Error::Account { account, what })
}

/// The name under which the address of an attempt is counted.
pub(super) fn remote(context: Context<'_>, findings: &Findings) -> String {
    match (context.mode, findings.facts.address) {
        (Mode::HostCheck, _) | (_, None) => LOCAL.to_owned(),
        (Mode::Live | Mode::DryRun, Some(address)) => context.config.policy.limits.remote(address),
    }
}
