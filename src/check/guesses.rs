//! An attempt and the limits: where it stands before its password is looked at, and what becomes
//! of its entry when its outcome is known.

use zeroize::Zeroizing;

use super::Findings;
use super::Mode;
use super::World;
use super::rules;
use crate::account::Account;
use crate::attempt::Attempt;
use crate::attempt::Proof;
use crate::error::Error;
use crate::limit;
use crate::limit::Standing;
use crate::limit::Subject;
use crate::policy;
use crate::policy::Answer;
use crate::policy::Credentials;
use crate::policy::Decision;
use crate::policy::FailType;
use crate::policy::Limit;
use crate::policy::Limits;
use crate::policy::Looked;
use crate::policy::NewCountry;
use crate::policy::Per;
use crate::policy::Rule;
use crate::policy::Ruling;
use crate::pwhash;
use crate::pwhash::pwhash;
use crate::secret::Secret;
use crate::seen;
use crate::store::Stores;
use crate::verdict::Verdict;

const COUNT: &str = "authpolicy_count";
const SEEN: &str = "authpolicy_seen";
/// The one address of this machine, and of whoever plays with `exim -bh`.
const LOCAL: &str = "local";
/// What is over is deleted by one attempt in so many.
const TIDIED_BY_ONE_IN: i64 = 4;
/// Enough to tell a changed password from the one before, and too few to find it out.
const FINGERPRINT_BITS: u8 = 20;

/// What the address of an attempt counts as.
fn remote(world: World<'_>, findings: &Findings) -> String {
    match (world.mode, findings.facts.address) {
        (Mode::Played, _) | (_, None) => LOCAL.to_owned(),
        (Mode::Real | Mode::Asked, Some(address)) => world.config.policy.limits.remote(address),
    }
}

/// The attempt as limits see it, under one of the account's names.
fn subject(
    world: World<'_>,
    attempt: &Attempt,
    account: &str,
    findings: &Findings,
) -> Result<Subject, Error> {
    let limits = &world.config.policy.limits;
    let hash = match &attempt.proof {
        Proof::Password(password) => {
            pwhash(limits.hash_nonce.expose(), account, password.expose(), pwhash::BITS)
        }
        Proof::Awaited
        | Proof::Proved
        | Proof::Refuted
        | Proof::Unknown(_)
        | Proof::Unchecked
        | Proof::GivenUp => String::new(),
    };
    let country = findings.facts.country.known();
    let country = country.map(|country| country.to_string()).unwrap_or_default();
    Subject::new(account, remote(world, findings), country, hash, findings.facts.now)
}

/// Enters an attempt, unless it was entered before; answers whether a limit refuses it, so that
/// nobody asks for its account.
pub(super) fn enter(
    world: World<'_>,
    attempt: &Attempt,
    stores: &mut Stores<'_>,
    findings: &mut Findings,
) -> Result<bool, Error> {
    let policy = &world.config.policy;
    // Refused whatever comes: no guess, and no entry.
    let layers = policy.layers(findings.login.key(), None);
    let ruling = policy::judge(policy, &layers, &findings.facts);
    let is_barred = policy::refuses(policy, &ruling)
        && matches!(&ruling, Ruling::Refuse(rule) if rule.is_final());
    let asks = asks(&attempt.proof);
    findings.was_entered = findings.standing.is_some();
    if !findings.was_entered && asks != Asks::Nothing && !is_barred {
        if policy.limits.want_country() && findings.facts.country == Looked::InVain {
            return Err(rules::unreadable(findings));
        }
        let login = findings.login.key().to_owned();
        findings.known_good = known_good(world, &login, stores, findings)?;
        let is_trusted = world.mode != Mode::Played && findings.facts.is_trusted(policy);
        let limits = &policy.limits.list;
        let is_known_good = findings.known_good.is_some();
        let holding = limits.iter().filter(|limit| limit.holds(is_trusted, is_known_good));
        let holding: Vec<_> = holding.collect();
        let subject = || subject(world, attempt, &login, findings);
        findings.standing = Some(stand(world, asks, stores, &holding, subject)?);
    }
    Ok(refuse(world, attempt, stores, findings))
}

/// What the limits are asked about a proof.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asks {
    /// Whether there is room for another guess, which this may be.
    ForRoom,
    /// Whether it is beyond them: it was right, and counts in no case.
    ForRefusal,
    /// Nothing: nobody knows why somebody else did not find it right, and an outage of theirs must
    /// lock nobody out.
    Nothing,
}

fn asks(proof: &Proof) -> Asks {
    match proof {
        Proof::Password(_) | Proof::Awaited => Asks::ForRoom,
        Proof::Proved => Asks::ForRefusal,
        Proof::Refuted | Proof::Unknown(_) | Proof::Unchecked | Proof::GivenUp => Asks::Nothing,
    }
}

/// Enters an attempt with the limits that it was not entered with before the account was known:
/// those that it was exempt from, if the password has changed since the login that made its address
/// known good; and those of the account's canonical name, where the client gave another.
pub(super) fn enter_again(
    world: World<'_>,
    attempt: &Attempt,
    account: Option<&Account>,
    stores: &mut Stores<'_>,
    findings: &mut Findings,
) -> Result<bool, Error> {
    let limits = &world.config.policy.limits;
    let asks = asks(&attempt.proof);
    findings.fingerprint = fingerprint(limits, account);
    if findings.was_entered || findings.standing.is_none() {
        return Ok(false);
    }
    let login = findings.login.key().to_owned();
    let canonical = account
        .and_then(|account| account.username.as_deref())
        .map(|name| name.trim().to_lowercase());
    let canonical = canonical.filter(|name| *name != login);
    let mut more = Vec::new();
    // An account that could not be asked for is as it was.
    let is_asked = findings.unreachable.is_none();
    let was_good = findings.known_good.as_ref().filter(|_| is_asked);
    if was_good.is_some_and(|known| *known != findings.fingerprint) {
        if world.mode != Mode::Asked {
            seen::forget(stores.log()?, &login, Some(&remote(world, findings)))?;
        }
        more.push((login, true));
    }
    if let Some(canonical) = canonical.filter(|_| asks != Asks::Nothing) {
        let known = known_good(world, &canonical, stores, findings)?;
        let is_known_good = known.is_some_and(|known| known == findings.fingerprint);
        more.push((canonical, !is_known_good));
    }
    let mut joined = Standing::default();
    for (name, holds_per_account) in more {
        let is_login = name == findings.login.key();
        let holds = |limit: &&Limit| match limit.per {
            Per::Remote => false,
            Per::Account => holds_per_account,
            Per::AccountAndRemote => !is_login,
        };
        let holding: Vec<_> = limits.list.iter().filter(holds).collect();
        let subject = || subject(world, attempt, &name, findings);
        joined.join(stand(world, asks, stores, &holding, subject)?);
    }
    let is_silent = joined.crossed.is_empty() && joined.delay.is_zero();
    findings.standing.get_or_insert_default().join(joined);
    Ok(!is_silent && refuse(world, attempt, stores, findings))
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
    let limits: Vec<_> = limits.filter(|limit| limit.holds(is_trusted, false)).collect();
    if limits.is_empty() {
        return Ok(());
    }
    let (remote, now) = (remote(world, findings), findings.facts.now);
    let subject = Subject::new("", remote, String::new(), String::new(), now)?;
    let looked = limit::look(stores.log()?, &limits, &subject, policy.log_only);
    findings.facts.limits = looked.map_err(|e| e.about_table(COUNT))?.crossed;
    Ok(())
}

fn stand(
    world: World<'_>,
    asks: Asks,
    stores: &mut Stores<'_>,
    limits: &[&Limit],
    subject: impl FnOnce() -> Result<Subject, Error>,
) -> Result<Standing, Error> {
    if limits.is_empty() {
        return Ok(Standing::default());
    }
    let subject = &subject()?;
    let log_only = world.config.policy.log_only;
    let stood = if world.mode == Mode::Asked || asks != Asks::ForRoom {
        limit::look(stores.log()?, limits, subject, log_only)
    } else {
        limit::enter(stores.log()?, limits, subject, log_only)
    };
    stood.map_err(|e| e.about_table(COUNT))
}

/// Has the limits say their word, and makes the client wait; answers whether one refuses.
fn refuse(
    world: World<'_>,
    attempt: &Attempt,
    stores: &mut Stores<'_>,
    findings: &mut Findings,
) -> bool {
    let policy = &world.config.policy;
    if let Some(standing) = &mut findings.standing {
        findings.facts.limits.clone_from(&standing.crossed);
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
        Proof::Password(_) | Proof::Awaited | Proof::Unknown(_) | Proof::Unchecked => {
            Credentials::Unchecked
        }
    };
    true
}

/// The fingerprint that this address of the account is known by.
fn known_good(
    world: World<'_>,
    account: &str,
    stores: &mut Stores<'_>,
    findings: &Findings,
) -> Result<Option<String>, Error> {
    let limits = &world.config.policy.limits;
    let remote = remote(world, findings);
    if !limits.want_known_good() || remote == LOCAL {
        return Ok(None);
    }
    let memory = i64::try_from(limits.known_good.as_secs()).unwrap_or(i64::MAX);
    let since = findings.facts.seconds().saturating_sub(memory);
    seen::known_good(stores.log()?, account, &remote, since).map_err(|e| e.about_table(SEEN))
}

/// The same whatever the order of the account's stored passwords, and whatever name the client gave.
fn fingerprint(limits: &Limits, account: Option<&Account>) -> String {
    if !limits.want_known_good() {
        return String::new();
    }
    let stored = account.map_or(&[][..], |account| &account.passwords);
    let mut each: Vec<_> = stored.iter().map(Secret::expose).collect();
    each.sort_unstable();
    // Room for all of it at once: growing would leave copies behind.
    let length = each.iter().map(|stored| stored.len().saturating_add(1)).sum();
    let mut all = Zeroizing::new(Vec::with_capacity(length));
    for stored in each {
        all.extend_from_slice(stored);
        all.push(0);
    }
    pwhash(limits.hash_nonce.expose(), "", &all, FINGERPRINT_BITS)
}

/// Whether the account has not been seen in this country, but in others.
pub(super) fn is_new_country(
    world: World<'_>,
    stores: &mut Stores<'_>,
    findings: &Findings,
) -> Result<bool, Error> {
    let memory = world.config.policy.country_memory.as_secs();
    let now = findings.facts.seconds();
    let since = now.saturating_sub(i64::try_from(memory).unwrap_or(i64::MAX));
    let country = findings.facts.country.known();
    let country = country.map(|country| country.to_string()).unwrap_or_default();
    let account = findings.username.trim().to_lowercase();
    let login =
        seen::Login { account: &account, remote: "", country: &country, fingerprint: "", now };
    seen::is_new_country(stores.log()?, &login, since).map_err(|e| e.about_table(SEEN))
}

/// Whether an attempt was a guess that failed. A right password that a new country refuses is taken
/// for one, since a wrong one from there is: else the limits would tell which it was.
fn counts(findings: &Findings, decision: &Decision) -> bool {
    let failed = matches!(decision.reason, Some(FailType::Credentials | FailType::Account));
    let is_new = decision.answer == Answer::Reject && decision.rule == Some(Rule::NewCountry);
    failed || is_new || findings.was_guess
}

/// Keeps or takes back the entry of an attempt; remembers where an account was let in from.
pub(super) fn settle(
    world: World<'_>,
    stores: &mut Stores<'_>,
    findings: &mut Findings,
    verdict: &Verdict,
) -> Result<(), Error> {
    if world.mode == Mode::Asked {
        return Ok(());
    }
    let decision = &verdict.decision;
    if let Some(mut standing) = findings.standing.take().filter(|standing| !standing.is_empty()) {
        limit::settle(stores.log()?, &mut standing, counts(findings, decision))?;
    }
    let let_in = decision.answer == Answer::Accept
        && (decision.rule.is_none() || decision.rule == Some(Rule::NewCountry))
        && decision.reason != Some(FailType::WouldReject);
    let policy = &world.config.policy;
    let wanted = policy.limits.want_known_good() || policy.new_country != NewCountry::Ignore;
    let remote = remote(world, findings);
    if !let_in || !wanted || remote == LOCAL {
        return Ok(());
    }
    let canonical = findings.username.trim().to_lowercase();
    let country = verdict.country_text();
    let mut names = vec![&*canonical];
    names.extend(Some(findings.login.key()).filter(|login| *login != canonical));
    for account in names {
        let login = seen::Login {
            account,
            remote: &remote,
            country: &country,
            fingerprint: &findings.fingerprint,
            now: findings.facts.seconds(),
        };
        seen::remember(stores.log()?, &login).map_err(|e| e.about_table(SEEN))?;
    }
    Ok(())
}

/// Now and then, when all is done, deletes some of what is over. If it cannot be done now, it is
/// somebody else's turn.
pub(super) fn tidy(world: World<'_>, stores: &mut Stores<'_>, findings: &Findings) {
    let policy = &world.config.policy;
    if world.mode == Mode::Asked || findings.facts.now.rem_euclid(TIDIED_BY_ONE_IN) != 0 {
        return;
    }
    if !policy.limits.list.is_empty() {
        let now = findings.facts.now;
        let _ = stores.log().and_then(|log| limit::prune(log, now)).ok();
    }
    if policy.limits.want_known_good() || policy.new_country != NewCountry::Ignore {
        let memory = policy.country_memory.max(policy.limits.known_good);
        let now = findings.facts.seconds();
        let _ = stores.log().and_then(|log| seen::prune(log, now, memory)).ok();
    }
}
