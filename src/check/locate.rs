//! The place of the client: its country and its autonomous system.

use super::Allowed;
use super::Mode;
use super::call::Call;
use super::stages::Located;
use crate::attempt::Attempt;
use crate::attempt::Remote;
use crate::error::Error;
use crate::policy::Facts;
use crate::policy::GeoLookup;
use crate::policy::Rule;

/// The remote that limits count for all clients on this machine, and for each client that
/// `exim -bh` simulates.
pub(super) const LOCAL: &str = "local";

/// Looks up the client's address. `allowed` is the decision of `allow` for it.
pub(super) fn locate(call: &mut Call<'_>, allowed: Option<Allowed>) -> Located {
    let context = call.context;
    let limits = &context.config.policy.limits;
    let address = match call.attempt.remote {
        Remote::Local | Remote::Unusable(_) => None,
        Remote::Address(address) => Some(context.config.policy.nat64.read(address)),
    };
    let remote = match (context.mode, address) {
        (Mode::HostCheck, _) | (_, None) => LOCAL.to_owned(),
        (Mode::Live | Mode::DryRun, Some(address)) => limits.remote(address),
    };
    let error = &mut call.geo_error;
    let country = address.map_or(GeoLookup::Read(None), |address| {
        geo_lookup(context.geo.map(|geo| geo.country(address.effective())), error)
    });
    let asn = address.map_or(GeoLookup::Read(None), |address| {
        geo_lookup(context.asns.map(|asns| asns.number(address.effective())), error)
    });
    let allowed = allowed.unwrap_or_default();
    let facts = Facts {
        address,
        country,
        asn,
        protocol: call.protocol().to_uppercase(),
        now: call.milliseconds(),
        // Rules that an account may override are applied again.
        refused_before: allowed.rule.filter(Rule::is_final),
        limits: Vec::new(),
        exceptions: Vec::new(),
    };
    Located { facts, remote, allow_error: allowed.error }
}

/// The result of a lookup. An error is kept for later, because not every attempt needs the fact.
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

/// Makes sure that Exim passed an address.
///
/// # Errors
/// It passed something else.
pub(super) fn require_address(attempt: &Attempt) -> Result<(), Error> {
    match attempt.remote {
        Remote::Local | Remote::Address(_) => Ok(()),
        Remote::Unusable(_) => {
            let what = "the argument remote is not an address: pass $sender_host_address";
            Err(Error::Call(what.to_owned()))
        }
    }
}

impl Located {
    /// Makes sure that an earlier `allow` could decide about the address.
    ///
    /// # Errors
    /// It could not.
    pub(super) fn require_allow(&self) -> Result<(), Error> {
        self.allow_error.clone().map_or(Ok(()), |why| Err(Error::Call(why)))
    }
}
