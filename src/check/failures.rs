//! The limits for one attempt: refuses it if failures have reached one, before its password is
//! looked at.

use std::sync::Arc;

use super::Findings;
use super::Mode;
use super::World;
use super::history;
use super::locate;
use crate::account::Account;
use crate::attempt::Attempt;
use crate::attempt::Proof;
use crate::error::Error;
use crate::policy;
use crate::policy::Credentials;
use crate::policy::Limit;
use crate::policy::Looked;
use crate::policy::Per;
use crate::policy::Ruling;
use crate::row::delivery;
use crate::row::delivery::CaughtUp;
use crate::store::Stores;
use crate::tables::counters;
use crate::tables::counters::Clock;
use crate::tables::counters::Standing;
use crate::tables::counters::State;
use crate::tables::counters::Subject;
use crate::tables::pwhash;
use crate::tables::pwhash::pwhash;
use crate::tables::seen;

const COUNT: &str = "authpolicy_count";

/// The time now. The attempt may have waited since it began.
pub(super) fn clock(world: World<'_>, findings: &Findings) -> Clock {
    let waited = i64::try_from(findings.start.elapsed().as_millis()).unwrap_or(i64::MAX);
    let lease = counters::lease(world.config.timeouts.attempt);
    Clock { now: findings.facts.now.saturating_add(waited), lease }
}

/// Adds a remedy where the table of counters is missing.
pub(super) fn about_count(e: Error) -> Error {
    e.about_table(COUNT)
}

/// The truncated hash of the client's password, under one of the account's names.
fn password_hash(world: World<'_>, attempt: &Attempt, account: &str) -> String {
    match &attempt.proof {
        Proof::Password(password) => {
            let nonce = world.config.policy.limits.hash_nonce.expose();
            pwhash(nonce, account, password.expose(), pwhash::BITS)
        }
        Proof::Awaited
        | Proof::Proved
        | Proof::Refuted
        | Proof::Unknown(_)
        | Proof::NoRoom(_)
        | Proof::Unchecked
        | Proof::GivenUp => String::new(),
    }
}

/// Checks the limits before the account is looked up; true if failures refuse the attempt. An
/// attempt that an earlier call has checked is not checked again.
pub(super) fn look(
    world: World<'_>,
    attempt: &Attempt,
    stores: &mut Stores<'_>,
    findings: &mut Findings,
) -> Result<bool, Error> {
    let policy = &world.config.policy;
    let layers = policy.layers(findings.login.key(), None);
    let ruling = policy::judge(policy, &layers, &findings.facts);
    // It is refused whatever the limits say.
    let is_barred = policy::refuses(policy, &ruling)
        && matches!(&ruling, Ruling::Refuse(rule) if rule.is_final());
    findings.was_looked_at = findings.standing.is_some();
    if !findings.was_looked_at && is_subject(&attempt.proof) && !is_barred {
        if policy.limits.want_country() && findings.facts.country == Looked::InVain {
            return Err(locate::unreadable(findings));
        }
        let login = findings.login.key().to_owned();
        findings.known_good = history::known_good(world, &login, stores, findings)?;
        let is_trusted = world.mode != Mode::Played && findings.facts.is_trusted(policy);
        let is_known_good = findings.known_good.is_some();
        let holds = |limit: &&Limit| limit.holds(is_trusted, is_known_good);
        let holding: Vec<_> = policy.limits.list.iter().filter(holds).collect();
        if !policy.limits.list.is_empty() {
            findings.standing = Some(Standing::new()?);
        }
        look_at(world, attempt, (&login, &holding), stores, findings)?;
    }
    Ok(refuse(world, attempt, stores, findings))
}

/// True if limits hold for such a proof. It is unknown why a driver did not find a proof right, and
/// an outage on its side must not lock users out.
fn is_subject(proof: &Proof) -> bool {
    match proof {
        Proof::Password(_) | Proof::Awaited | Proof::Proved => true,
        Proof::Refuted
        | Proof::Unknown(_)
        | Proof::NoRoom(_)
        | Proof::Unchecked
        | Proof::GivenUp => false,
    }
}

/// Checks the limits that could not be checked before the account was known; true if they refuse:
///
/// - those that the attempt was exempt from, if the password has changed since the login that made
///   its address known good;
/// - those of the account's canonical name, if the client gave another name.
pub(super) fn look_again(
    world: World<'_>,
    attempt: &Attempt,
    account: Option<&Account>,
    stores: &mut Stores<'_>,
    findings: &mut Findings,
) -> Result<bool, Error> {
    let limits = &world.config.policy.limits;
    findings.fingerprint = history::fingerprint(limits, account);
    if findings.was_looked_at || findings.standing.is_none() {
        return Ok(false);
    }
    let login = findings.login.key().to_owned();
    let canonical = account
        .and_then(|account| account.username.as_deref())
        .map(|name| name.trim().to_lowercase())
        .filter(|name| *name != login);
    let mut more: Vec<(String, Vec<&Limit>)> = Vec::new();
    let those =
        |holds: &dyn Fn(Per) -> bool| limits.list.iter().filter(|limit| holds(limit.per)).collect();
    // An account that cannot be reached is as it was.
    let is_asked = findings.unreachable.is_none();
    let was_good = findings.known_good.as_ref().filter(|_| is_asked);
    if was_good.is_some_and(|known| *known != findings.fingerprint) {
        if world.mode != Mode::Asked {
            seen::forget(stores.log()?, &login, Some(&locate::remote(world, findings)))?;
        }
        more.push((login, those(&|per| per == Per::Account)));
    }
    if let Some(canonical) = canonical {
        let known = history::known_good(world, &canonical, stores, findings)?;
        let is_known_good = known.is_some_and(|known| known == findings.fingerprint);
        let holding = those(&|per| match per {
            Per::Remote => false,
            Per::Account => !is_known_good,
            Per::AccountAndRemote => true,
        });
        more.push((canonical, holding));
    }
    let is_more = more.iter().any(|(_, holding)| !holding.is_empty());
    for (name, holding) in &more {
        look_at(world, attempt, (name, holding), stores, findings)?;
    }
    Ok(is_more && refuse(world, attempt, stores, findings))
}

/// Looks at the counters of these limits under one of the account's names.
fn look_at(
    world: World<'_>,
    attempt: &Attempt,
    (account, limits): (&str, &[&Limit]),
    stores: &mut Stores<'_>,
    findings: &mut Findings,
) -> Result<(), Error> {
    let clock = clock(world, findings);
    let remote = locate::remote(world, findings);
    let country = findings.facts.country.known().map(|country| country.to_string());
    let Some(standing) = findings.standing.as_mut().filter(|_| !limits.is_empty()) else {
        return Ok(());
    };
    let subject = Subject {
        account,
        remote: &remote,
        country: &country.unwrap_or_default(),
        pwhash: &password_hash(world, attempt, account),
    };
    for limit in limits {
        let counter = standing.counter(limit, &subject);
        let state = counters::look(stores.log()?, &counter, clock).map_err(about_count)?;
        standing.note(limit, state, world.config.policy.log_only);
        standing.count_with(counter);
    }
    catch_up(world, stores, findings)
}

/// Before a limit refuses, writes the settlements that wait in this host's journal, and looks
/// again. Without its settlement, the reservation of a right password counts as a failure in the
/// end.
pub(super) fn catch_up(
    world: World<'_>,
    stores: &mut Stores<'_>,
    findings: &mut Findings,
) -> Result<(), Error> {
    let refuses = world.mode == Mode::Real && !world.config.policy.log_only;
    if !refuses || !findings.standing.as_ref().is_some_and(Standing::is_refused) {
        return Ok(());
    }
    let caught_up = delivery::catch_up(world.config, stores, world.log);
    let clock = clock(world, findings);
    let Some(standing) = findings.standing.as_mut().filter(|_| caught_up != CaughtUp::Nothing)
    else {
        return Ok(());
    };
    let reached = standing.rejecting().map(|counter| {
        let state = counters::look(stores.log()?, counter, clock).map_err(about_count)?;
        Ok((Arc::clone(&counter.limit().name), state == State::Reached))
    });
    standing.reached = reached.collect::<Result<_, Error>>()?;
    let refusing = standing.reached.iter().find(|(_, is_reached)| *is_reached);
    match refusing {
        Some((limit, _)) if caught_up == CaughtUp::Waits => {
            Err(Error::Unsettled { limit: Arc::clone(limit) })
        }
        Some(_) | None => Ok(()),
    }
}

/// Looks at the limits that hold for an address whatever the account.
pub(super) fn look_at_address(
    world: World<'_>,
    stores: &mut Stores<'_>,
    findings: &mut Findings,
) -> Result<(), Error> {
    let policy = &world.config.policy;
    let is_trusted = world.mode != Mode::Played && findings.facts.is_trusted(policy);
    let limits = policy.limits.list.iter().filter(|limit| limit.per == Per::Remote);
    let remote = locate::remote(world, findings);
    let subject = Subject { account: "", remote: &remote, country: "", pwhash: "" };
    let clock = clock(world, findings);
    let mut standing = Standing::new()?;
    for limit in limits.filter(|limit| limit.holds(is_trusted, false)) {
        let counter = standing.counter(limit, &subject);
        let state = counters::look(stores.log()?, &counter, clock).map_err(about_count)?;
        standing.note(limit, state, policy.log_only);
        standing.count_with(counter);
    }
    findings.standing = Some(standing);
    catch_up(world, stores, findings)?;
    findings.facts.limits = findings.standing.take().map(|s| s.reached).unwrap_or_default();
    Ok(())
}

/// Makes the client wait where a limit delays it; true if a limit refuses the attempt.
pub(super) fn refuse(
    world: World<'_>,
    attempt: &Attempt,
    stores: &mut Stores<'_>,
    findings: &mut Findings,
) -> bool {
    let policy = &world.config.policy;
    if let Some(standing) = &mut findings.standing {
        findings.facts.limits.clone_from(&standing.reached);
        let delay = std::mem::take(&mut standing.delay);
        let is_refused = findings.facts.is_beyond_a_limit();
        if !delay.is_zero() && !is_refused {
            stores.close();
            stores.meanwhile(|| (world.wait)(delay));
        }
    }
    if policy.log_only || !findings.facts.is_beyond_a_limit() {
        return false;
    }
    let layers = policy.layers(&findings.username, None);
    findings.judge(policy, &layers);
    findings.found.credentials = match attempt.proof {
        Proof::Proved => Credentials::Right,
        Proof::Refuted => Credentials::Wrong,
        Proof::GivenUp => Credentials::Nonsense,
        Proof::Password(_)
        | Proof::Awaited
        | Proof::Unknown(_)
        | Proof::NoRoom(_)
        | Proof::Unchecked => Credentials::Unchecked,
    };
    true
}
