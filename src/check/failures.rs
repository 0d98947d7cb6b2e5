//! The limits for one attempt: refuses it if failures have reached one, before its password is
//! looked at.

use std::sync::Arc;

use super::Context;
use super::Findings;
use super::Mode;
use super::history;
use super::locate;
use crate::account::Account;
use crate::attempt::Attempt;
use crate::attempt::Proof;
use crate::error::Error;
use crate::policy;
use crate::policy::Credentials;
use crate::policy::GeoLookup;
use crate::policy::Limit;
use crate::policy::Per;
use crate::policy::PolicyResult;
use crate::row::delivery;
use crate::row::delivery::CaughtUp;
use crate::store::Stores;
use crate::tables::counters;
use crate::tables::counters::AttemptLimits;
use crate::tables::counters::Clock;
use crate::tables::counters::State;
use crate::tables::counters::Subject;
use crate::tables::pwhash;
use crate::tables::pwhash::pwhash;
use crate::tables::seen;

const COUNT: &str = "authpolicy_count";

/// The time now. The attempt may have waited since it began.
pub(super) fn clock(context: Context<'_>, findings: &Findings) -> Clock {
    let waited = i64::try_from(findings.start.elapsed().as_millis()).unwrap_or(i64::MAX);
    let lease = counters::lease(context.config.timeouts.attempt);
    Clock { now: findings.facts.now.saturating_add(waited), lease }
}

/// Adds a remedy where the table of counters is missing.
pub(super) fn about_count(e: Error) -> Error {
    e.about_table(COUNT)
}

/// The truncated hash of the client's password, under one of the account's names.
fn password_hash(context: Context<'_>, attempt: &Attempt, account: &str) -> String {
    match &attempt.proof {
        Proof::Password(password) => {
            let nonce = context.config.policy.limits.hash_nonce.expose();
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

/// Checks the limits before the account is looked up; true if failures refuse the attempt. An
/// attempt that an earlier call has checked is not checked again.
pub(super) fn check(
    context: Context<'_>,
    attempt: &Attempt,
    stores: &mut Stores<'_>,
    findings: &mut Findings,
) -> Result<bool, Error> {
    let policy = &context.config.policy;
    let layers = policy.layers(findings.login.key(), None);
    let policy_result = policy::apply_rules(policy, &layers, &findings.facts);
    // It is refused whatever the limits say.
    let is_refused = policy::refuses(policy, &policy_result)
        && matches!(&policy_result, PolicyResult::Refuse(rule) if rule.is_final());
    findings.limits_were_checked = findings.attempt_limits.is_some();
    if !findings.limits_were_checked && is_limited(&attempt.proof) && !is_refused {
        if policy.limits.want_country() && findings.facts.country == GeoLookup::Unavailable {
            return Err(locate::geo_unavailable(findings));
        }
        let login = findings.login.key().to_owned();
        findings.known_good = history::known_good(context, &login, stores, findings)?;
        let is_trusted = context.mode != Mode::HostCheck && findings.facts.is_trusted(policy);
        let is_known_good = findings.known_good.is_some();
        let applies = |limit: &&Limit| limit.applies(is_trusted, is_known_good);
        let applicable: Vec<_> = policy.limits.list.iter().filter(applies).collect();
        if !policy.limits.list.is_empty() {
            findings.attempt_limits = Some(AttemptLimits::new()?);
        }
        check_counters(context, attempt, (&login, &applicable), stores, findings)?;
    }
    Ok(refuse(context, attempt, stores, findings))
}

/// True if limits hold for such a proof. It is unknown why a driver did not find a proof right, and
/// an outage on its side must not lock users out.
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

/// Checks the limits that could not be checked before the account was known; true if they refuse:
///
/// - those that the attempt was exempt from, if the password has changed since the login that made
///   its address known good;
/// - those of the account's canonical name, if the client gave another name.
pub(super) fn check_account(
    context: Context<'_>,
    attempt: &Attempt,
    account: Option<&Account>,
    stores: &mut Stores<'_>,
    findings: &mut Findings,
) -> Result<bool, Error> {
    let limits = &context.config.policy.limits;
    findings.fingerprint = history::fingerprint(limits, account);
    if findings.limits_were_checked || findings.attempt_limits.is_none() {
        return Ok(false);
    }
    let login = findings.login.key().to_owned();
    let canonical = account
        .and_then(|account| account.username.as_deref())
        .map(|name| name.trim().to_lowercase())
        .filter(|name| *name != login);
    let mut more: Vec<(String, Vec<&Limit>)> = Vec::new();
    let those = |applies: &dyn Fn(Per) -> bool| {
        limits.list.iter().filter(|limit| applies(limit.per)).collect()
    };
    // An account that cannot be reached is as it was.
    let is_asked = findings.unreachable.is_none();
    let was_good = findings.known_good.as_ref().filter(|_| is_asked);
    if was_good.is_some_and(|known| *known != findings.fingerprint) {
        if context.mode != Mode::DryRun {
            seen::forget(stores.log()?, &login, Some(&locate::remote(context, findings)))?;
        }
        more.push((login, those(&|per| per == Per::Account)));
    }
    if let Some(canonical) = canonical {
        let known = history::known_good(context, &canonical, stores, findings)?;
        let is_known_good = known.is_some_and(|known| known == findings.fingerprint);
        let applicable = those(&|per| match per {
            Per::Remote => false,
            Per::Account => !is_known_good,
            Per::AccountAndRemote => true,
        });
        more.push((canonical, applicable));
    }
    let is_more = more.iter().any(|(_, applicable)| !applicable.is_empty());
    for (name, applicable) in &more {
        check_counters(context, attempt, (name, applicable), stores, findings)?;
    }
    Ok(is_more && refuse(context, attempt, stores, findings))
}

/// Looks at the counters of these limits under one of the account's names.
fn check_counters(
    context: Context<'_>,
    attempt: &Attempt,
    (account, limits): (&str, &[&Limit]),
    stores: &mut Stores<'_>,
    findings: &mut Findings,
) -> Result<(), Error> {
    let clock = clock(context, findings);
    let remote = locate::remote(context, findings);
    let country = findings.facts.country.known().map(|country| country.to_string());
    let Some(attempt_limits) = findings.attempt_limits.as_mut().filter(|_| !limits.is_empty())
    else {
        return Ok(());
    };
    let subject = Subject {
        account,
        remote: &remote,
        country: &country.unwrap_or_default(),
        pwhash: &password_hash(context, attempt, account),
    };
    for limit in limits {
        let counter = attempt_limits.counter(limit, &subject);
        let state = counters::read_state(stores.log()?, &counter, clock).map_err(about_count)?;
        attempt_limits.note(limit, state, context.config.policy.log_only);
        attempt_limits.add_counter(counter);
    }
    catch_up(context, stores, findings)
}

/// Before a limit refuses, writes the settlements that wait in this host's journal, and looks
/// again. Without its settlement, the reservation of a right password counts as a failure in the
/// end.
pub(super) fn catch_up(
    context: Context<'_>,
    stores: &mut Stores<'_>,
    findings: &mut Findings,
) -> Result<(), Error> {
    let refuses = context.mode == Mode::Live && !context.config.policy.log_only;
    if !refuses || !findings.attempt_limits.as_ref().is_some_and(AttemptLimits::is_refused) {
        return Ok(());
    }
    let caught_up = delivery::catch_up(context.config, stores, context.log);
    let clock = clock(context, findings);
    let Some(attempt_limits) =
        findings.attempt_limits.as_mut().filter(|_| caught_up != CaughtUp::Nothing)
    else {
        return Ok(());
    };
    let reached = attempt_limits.rejecting().map(|counter| {
        let state = counters::read_state(stores.log()?, counter, clock).map_err(about_count)?;
        Ok((Arc::clone(&counter.limit().name), state == State::Reached))
    });
    attempt_limits.reached = reached.collect::<Result<_, Error>>()?;
    let refusing = attempt_limits.reached.iter().find(|(_, is_reached)| *is_reached);
    match refusing {
        Some((limit, _)) if caught_up == CaughtUp::Waits => {
            Err(Error::Unsettled { limit: Arc::clone(limit) })
        }
        Some(_) | None => Ok(()),
    }
}

/// Looks at the limits that hold for an address whatever the account.
pub(super) fn check_address(
    context: Context<'_>,
    stores: &mut Stores<'_>,
    findings: &mut Findings,
) -> Result<(), Error> {
    let policy = &context.config.policy;
    let is_trusted = context.mode != Mode::HostCheck && findings.facts.is_trusted(policy);
    let limits = policy.limits.list.iter().filter(|limit| limit.per == Per::Remote);
    let remote = locate::remote(context, findings);
    let subject = Subject { account: "", remote: &remote, country: "", pwhash: "" };
    let clock = clock(context, findings);
    let mut attempt_limits = AttemptLimits::new()?;
    for limit in limits.filter(|limit| limit.applies(is_trusted, false)) {
        let counter = attempt_limits.counter(limit, &subject);
        let state = counters::read_state(stores.log()?, &counter, clock).map_err(about_count)?;
        attempt_limits.note(limit, state, policy.log_only);
        attempt_limits.add_counter(counter);
    }
    findings.attempt_limits = Some(attempt_limits);
    catch_up(context, stores, findings)?;
    findings.facts.limits = findings.attempt_limits.take().map(|s| s.reached).unwrap_or_default();
    Ok(())
}

/// Makes the client wait where a limit delays it; true if a limit refuses the attempt.
pub(super) fn refuse(
    context: Context<'_>,
    attempt: &Attempt,
    stores: &mut Stores<'_>,
    findings: &mut Findings,
) -> bool {
    let policy = &context.config.policy;
    if let Some(attempt_limits) = &mut findings.attempt_limits {
        findings.facts.limits.clone_from(&attempt_limits.reached);
        let delay = std::mem::take(&mut attempt_limits.delay);
        let is_refused = findings.facts.has_reached_limit();
        if !delay.is_zero() && !is_refused {
            stores.close();
            stores.pause_deadline(|| (context.wait)(delay));
        }
    }
    if policy.log_only || !findings.facts.has_reached_limit() {
        return false;
    }
    let layers = policy.layers(&findings.username, None);
    findings.apply_rules(policy, &layers);
    findings.input.credentials = match attempt.proof {
        Proof::Proved => Credentials::Right,
        Proof::Refuted => Credentials::Wrong,
        Proof::GivenUp => Credentials::Malformed,
        Proof::Password(_)
        | Proof::Awaited
        | Proof::Unknown(_)
        | Proof::LimitFull(_)
        | Proof::Unchecked => Credentials::Unchecked,
    };
    true
}
