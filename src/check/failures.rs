//! The limits for one attempt. If failures have reached one of them, the attempt is refused before
//! its password is verified.

use std::sync::Arc;

use super::Mode;
use super::call::Call;
use super::history;
use super::stages::AccountFound;
use super::stages::LimitsChecked;
use super::stages::Located;
use super::stages::shown;
use crate::account::Login;
use crate::attempt::Attempt;
use crate::attempt::Proof;
use crate::error::Error;
use crate::policy;
use crate::policy::GeoLookup;
use crate::policy::Limit;
use crate::policy::Per;
use crate::policy::Policy;
use crate::policy::PolicyResult;
use crate::row::delivery;
use crate::row::delivery::CaughtUp;
use crate::tables::counters;
use crate::tables::counters::AttemptLimits;
use crate::tables::counters::State;
use crate::tables::counters::Subject;
use crate::tables::look;
use crate::tables::look::Look;
use crate::tables::pwhash;
use crate::tables::pwhash::pwhash;
use crate::tables::seen;
use crate::tables::seen::AccountAddress;

const COUNT: &str = "authpolicy_count";

/// Adds a remedy to the error if the table of counters is missing.
pub(super) fn about_count(e: Error) -> Error {
    e.about_table(COUNT)
}

/// The truncated hash of the client's password, under one of the account's names; empty if a driver
/// checks the proof.
fn password_hash(policy: &Policy, attempt: &Attempt, account: &str) -> String {
    match &attempt.proof {
        Proof::Password(password) => {
            let nonce = policy.limits.hash_nonce.expose();
            pwhash(nonce, account, password.expose(), pwhash::BITS)
        }
        Proof::Awaited
        | Proof::Proved
        | Proof::Refuted
        | Proof::Unknown(_)
        | Proof::LimitFull(_)
        | Proof::Unchecked
        | Proof::GivenUp => String::new(),
    }
}

/// Checks the limits before the account is looked up. An attempt that an earlier call has checked
/// is not checked again.
pub(super) fn check(
    call: &mut Call<'_>,
    located: &Located,
    login: &Login,
) -> Result<LimitsChecked, Error> {
    let policy = call.policy();
    let is_checked = call.limits_were_checked || !is_limited(&call.attempt.proof);
    if is_checked || is_refused_anyway(policy, located, login) {
        return Ok(LimitsChecked { known_good: None });
    }
    if policy.limits.want_country() && located.facts.country == GeoLookup::Unavailable {
        return Err(call.geo_unavailable(&shown(login)));
    }
    if policy.limits.list.is_empty() {
        return Ok(LimitsChecked { known_good: None });
    }
    call.attempt_limits = Some(AttemptLimits::new()?);
    let is_trusted = is_trusted(call, located);
    // It is read together with the counters if the address is known good.
    let limits = policy.limits.list.iter().filter(|limit| limit.applies(is_trusted, false));
    let address = history::account_address(call, located, login.key());
    let known_good = check_counters(
        call,
        located,
        Checked { account: login.key(), address, limits: limits.collect() },
        |limit, known_good| limit.applies(is_trusted, known_good.is_some()),
    )?;
    Ok(LimitsChecked { known_good })
}

/// True if limits are checked for such a proof. They are not if a driver did not confirm the proof:
/// the cause may be an outage of the driver, which must not lock users out.
fn is_limited(proof: &Proof) -> bool {
    match proof {
        Proof::Password(_) | Proof::Awaited | Proof::Proved => true,
        Proof::Refuted
        | Proof::Unknown(_)
        | Proof::LimitFull(_)
        | Proof::Unchecked
        | Proof::GivenUp => false,
    }
}

/// True if a rule refuses the address for all accounts.
fn is_refused_anyway(policy: &Policy, located: &Located, login: &Login) -> bool {
    let layers = policy.layers(login.key(), None);
    let policy_result = policy::apply_rules(policy, &layers, &located.facts);
    policy::refuses(policy, &policy_result)
        && matches!(&policy_result, PolicyResult::Refuse(rule) if rule.is_final())
}

fn is_trusted(call: &Call<'_>, located: &Located) -> bool {
    call.context.mode != Mode::HostCheck && located.facts.is_trusted(call.policy())
}

/// Checks the limits that could not be checked before the account was known:
///
/// - those that the attempt was exempt from, if the password has changed since the login that made
///   its address known good;
/// - those of the account's canonical name, if the client gave another name.
pub(super) fn check_account(
    call: &mut Call<'_>,
    located: &Located,
    login: &Login,
    before: &LimitsChecked,
    found: &AccountFound<'_>,
) -> Result<(), Error> {
    if call.limits_were_checked || call.attempt_limits.is_none() {
        return Ok(());
    }
    let limits = &call.policy().limits;
    let those = |applies: &dyn Fn(Per) -> bool| -> Vec<_> {
        limits.list.iter().filter(|limit| applies(limit.per)).collect()
    };
    // A remembered account cannot show that its password has changed.
    let known_good = before.known_good.as_ref().filter(|_| found.unreachable.is_none());
    let is_changed = known_good.is_some_and(|known| *known != found.fingerprint);
    if is_changed && call.context.mode != Mode::DryRun {
        seen::forget(call.stores.log()?, login.key(), Some(&located.remote))?;
    }
    let canonical = found.account.as_ref().and_then(|account| account.username.as_deref());
    let canonical = canonical.map(|name| name.trim().to_lowercase());
    let canonical = canonical.filter(|name| name != login.key());
    if is_changed {
        let limits = those(&|per| per == Per::Account);
        let checked = Checked { account: login.key(), address: None, limits };
        check_counters(call, located, checked, |_, _| true)?;
    }
    if let Some(canonical) = &canonical {
        let address = history::account_address(call, located, canonical);
        let limits = those(&|per| per != Per::Remote);
        let checked = Checked { account: canonical, address, limits };
        check_counters(call, located, checked, |limit, known_good| {
            let is_known_good = known_good.is_some_and(|known| known == found.fingerprint);
            limit.per != Per::Account || !is_known_good
        })?;
    }
    Ok(())
}

/// Limits to check under one of the account's names.
struct Checked<'a> {
    account: &'a str,
    /// The address, if it may be known good.
    address: Option<AccountAddress<'a>>,
    limits: Vec<&'a Limit>,
}

/// Checks the counters of those limits that apply. `applies` gets the fingerprint by which the
/// address is known good. Returns that fingerprint.
fn check_counters(
    call: &mut Call<'_>,
    located: &Located,
    checked: Checked<'_>,
    applies: impl Fn(&Limit, Option<&str>) -> bool,
) -> Result<Option<String>, Error> {
    let Checked { account, address, limits } = checked;
    let clock = call.clock();
    let policy = call.policy();
    let Some(attempt_limits) = call.attempt_limits.as_mut().filter(|_| !limits.is_empty()) else {
        return Ok(None);
    };
    let country = located.facts.country.known().map(|country| country.to_string());
    let subject = Subject {
        account,
        remote: &located.remote,
        country: &country.unwrap_or_default(),
        pwhash: &password_hash(policy, call.attempt, account),
    };
    let counters: Vec<_> =
        limits.iter().map(|limit| attempt_limits.counter(limit, &subject)).collect();
    let each: Vec<_> = counters.iter().collect();
    let Look { known_good, states } =
        look::look(call.stores.log()?, address.as_ref(), &each, clock)?;
    for (counter, state) in counters.into_iter().zip(states) {
        if applies(counter.limit(), known_good.as_deref()) {
            attempt_limits.note(counter.limit(), state, policy.log_only);
            attempt_limits.add_counter(counter);
        }
    }
    catch_up(call)?;
    Ok(known_good)
}

/// Before a limit refuses, writes the settlements that wait in this host's journal, and checks the
/// limits again. Without its settlement, the reservation of a right password counts as a failure
/// when its lease is over.
pub(super) fn catch_up(call: &mut Call<'_>) -> Result<(), Error> {
    let refuses = call.context.mode == Mode::Live && !call.policy().log_only;
    if !refuses || !call.has_reached_limit() {
        return Ok(());
    }
    let caught_up = delivery::catch_up(call.config(), &mut call.stores, call.context.log);
    let clock = call.clock();
    let Some(attempt_limits) =
        call.attempt_limits.as_mut().filter(|_| caught_up != CaughtUp::Nothing)
    else {
        return Ok(());
    };
    let rejecting: Vec<_> = attempt_limits.rejecting().collect();
    let states = counters::read_states(call.stores.log()?, &rejecting, clock);
    let reached = rejecting
        .iter()
        .zip(states.map_err(about_count)?)
        .map(|(counter, state)| (Arc::clone(&counter.limit().name), state == State::Reached));
    attempt_limits.reached = reached.collect();
    let refusing = attempt_limits.reached.iter().find(|(_, is_reached)| *is_reached);
    match refusing {
        Some((limit, _)) if caught_up == CaughtUp::Waits => {
            Err(Error::Unsettled { limit: Arc::clone(limit) })
        }
        Some(_) | None => Ok(()),
    }
}

/// Checks the limits that hold for an address whatever the account; returns each of them, and true
/// if failures have reached it.
pub(super) fn check_address(
    call: &mut Call<'_>,
    located: &Located,
) -> Result<Vec<(Arc<str>, bool)>, Error> {
    let policy = call.policy();
    let is_trusted = is_trusted(call, located);
    let limits = policy.limits.list.iter();
    let limits =
        limits.filter(|limit| limit.per == Per::Remote && limit.applies(is_trusted, false));
    call.attempt_limits = Some(AttemptLimits::new()?);
    let checked = Checked { account: "", address: None, limits: limits.collect() };
    check_counters(call, located, checked, |_, _| true)?;
    Ok(call.attempt_limits.take().map(|limits| limits.reached).unwrap_or_default())
}

/// True if a limit refuses the attempt. If not, makes the client wait where a limit delays it.
pub(super) fn delay_or_refuse(call: &mut Call<'_>, located: &Located) -> bool {
    let is_reached = located.facts.has_reached_limit() || call.has_reached_limit();
    if let Some(attempt_limits) = &mut call.attempt_limits {
        let delay = std::mem::take(&mut attempt_limits.delay);
        if !delay.is_zero() && !is_reached {
            call.stores.close();
            call.stores.pause_deadline(|| (call.context.wait)(delay));
        }
    }
    is_reached && !call.policy().log_only
}
