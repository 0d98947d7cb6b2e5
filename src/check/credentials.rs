//! The account, and what its stored passwords say to the client's.

use std::sync::Arc;

use super::Context;
use super::Findings;
use super::Mode;
use super::failures;
use super::names;
use super::reserve;
use super::reserve::Permit;
use super::reserve::ReservationNeeds;
use crate::account;
use crate::account::Account;
use crate::account::AccountLookup;
use crate::account::cached::CachedAccount;
use crate::attempt::Attempt;
use crate::attempt::Proof;
use crate::error::Error;
use crate::error::StoreFault;
use crate::password;
use crate::password::Candidate;
use crate::password::Dummy;
use crate::policy;
use crate::policy::Credentials;
use crate::policy::DecisionKind;
use crate::secret::Secret;
use crate::store::Stores;
use crate::tables::counters::Purpose;

/// Where an account is remembered that we serve: of those whose password we look at.
pub(super) fn cached<'a>(
    context: Context<'a>,
    attempt: &Attempt,
    findings: &Findings,
) -> Option<CachedAccount<'a>> {
    let is_served = matches!(attempt.proof, Proof::Password(_));
    is_served.then(|| cache_entry(context, attempt, findings)).flatten()
}

fn cache_entry<'a>(
    context: Context<'a>,
    attempt: &Attempt,
    findings: &Findings,
) -> Option<CachedAccount<'a>> {
    let parameters =
        account::parameters(&findings.login, attempt, super::protocol(context, attempt));
    let (state, accounts) = (&context.config.state_directory, &context.config.accounts);
    CachedAccount::new(state, accounts, &parameters, findings.facts.seconds())
}

/// Finds the account; while no host can be reached, the one that is remembered.
pub(super) fn find(
    context: Context<'_>,
    attempt: &Attempt,
    stores: &mut Stores<'_>,
    cached: Option<&CachedAccount<'_>>,
    findings: &mut Findings,
) -> Result<Option<Account>, Error> {
    match (look_up(context, attempt, stores, findings), cached) {
        (Err(e), Some(cached)) if e.store_fault() == Some(StoreFault::Unreachable) => {
            findings.unreachable = Some(e);
            let lookup = AccountLookup::from_cache(cached.load(), &context.config.accounts);
            names::check(context, &lookup, stores, findings)?;
            Ok(lookup.account)
        }
        (found, _) => found,
    }
}

/// Remembers an account that is let in.
pub(super) fn update_cache(
    context: Context<'_>,
    account: Option<&Account>,
    cached: Option<&CachedAccount<'_>>,
    findings: &Findings,
) {
    let (Some(account), Some(cached)) = (account, cached) else { return };
    let decision = policy::decide(&context.config.policy, &findings.input);
    let is_fresh = findings.unreachable.is_none() && context.mode == Mode::Live;
    if is_fresh && decision.kind == DecisionKind::Accept {
        cached.save(account);
    }
}

/// Finds the account, and forgets it where it is no longer as it was remembered. Where somebody else
/// has the passwords, there need be no table of accounts.
pub(super) fn look_up(
    context: Context<'_>,
    attempt: &Attempt,
    stores: &mut Stores<'_>,
    findings: &Findings,
) -> Result<Option<Account>, Error> {
    let (accounts, login) = (&context.config.accounts, &findings.login);
    let parameters = account::parameters(login, attempt, super::protocol(context, attempt));
    let found = Account::find(stores.accounts()?, accounts, login, attempt, &parameters);
    if let (Ok(found), Mode::Live) = (&found, context.mode)
        && let Some(cached) = cache_entry(context, attempt, findings)
    {
        cached.delete_if_changed(found.account.as_ref());
    }
    let needs_table =
        accounts.are_given || matches!(attempt.proof, Proof::Password(_) | Proof::Awaited);
    match found {
        Err(e) if e.store_fault() == Some(StoreFault::NoTable) && !needs_table => Ok(None),
        Err(e) => Err(e),
        Ok(lookup) => {
            names::check(context, &lookup, stores, findings)?;
            names::report_pattern(context, &lookup, login);
            Ok(lookup.account)
        }
    }
}

/// Whether any of the account's stored passwords can be held against the client's.
fn is_readable(context: Context<'_>, account: Option<&Account>) -> bool {
    let stored = account.map_or(&[][..], |account| &account.passwords);
    password::is_guessable(stored, &context.config.accounts.passwords)
}

/// Takes the room that the attempt needs to have its password looked at; `None` if it is not looked
/// at. An attempt that is refused whatever its password takes no room from others. It is hashed
/// only if a slot is free at once; then its row tells if the password was right.
fn acquire_permit(
    context: Context<'_>,
    attempt: &Attempt,
    stores: &mut Stores<'_>,
    findings: &mut Findings,
) -> Result<Option<Permit>, Error> {
    let policy = &context.config.policy;
    if policy::skips_password(policy, &findings.input.policy_result) {
        return Ok(None);
    }
    if policy::refuses(policy, &findings.input.policy_result) || findings.input.disabled.is_some() {
        return reserve::acquire_idle_slot(context);
    }
    let needs = ReservationNeeds { purpose: Purpose::Guess, slot: true };
    let permit = reserve::acquire(context, stores, findings, needs)?;
    if permit.is_none() {
        failures::refuse(context, attempt, stores, findings);
    }
    Ok(permit)
}

/// Holds the password against those stored, or against a dummy where there is no account.
fn verify(
    context: Context<'_>,
    password: &Secret,
    account: Option<&Account>,
    stores: &mut Stores<'_>,
    findings: &mut Findings,
) -> Result<Credentials, Error> {
    let accounts = &context.config.accounts;
    let settings = &accounts.passwords;
    let stored = account.map_or(&[][..], |account| &account.passwords);
    let candidate = Candidate { password, login: findings.login.typed() };
    let refused = policy::refuses(&context.config.policy, &findings.input.policy_result)
        || findings.input.disabled.is_some();
    let verified = stores.pause_deadline(|| {
        let dummy = Dummy::load(&context.config.state_directory, accounts.dummy_hash(), settings);
        let verified = match refused {
            true => password::verify_all(stored, settings, candidate, &dummy),
            false => password::verify_any(stored, settings, candidate, &dummy),
        };
        if context.mode == Mode::Live && verified.is_ok() {
            dummy.learn(stored, settings);
        }
        verified
    });
    findings.counts_as_failure = !refused
        && match &verified {
            Err(_) => is_readable(context, account),
            // A wrong password of a remembered account gets 435, and counts for limits all the
            // same.
            Ok(right) => findings.unreachable.is_some() && account.is_some() && !right,
        };
    let login = findings.login.user();
    let right =
        verified.map_err(|fault| Error::Account { account: login.to_owned(), what: fault.0 })?;
    Ok(match (account, right) {
        (None, _) => Credentials::NoAccount,
        (Some(_), true) => Credentials::Right,
        (Some(_), false) => Credentials::Wrong,
    })
}

/// What is known about the password, or is found out.
pub(super) fn check(
    context: Context<'_>,
    attempt: &Attempt,
    account: Option<&Account>,
    stores: &mut Stores<'_>,
    findings: &mut Findings,
) -> Result<Credentials, Error> {
    Ok(match &attempt.proof {
        Proof::Proved => Credentials::Right,
        Proof::Refuted if account.is_none() && context.config.accounts.are_given => {
            Credentials::NoAccount
        }
        Proof::Refuted => Credentials::Wrong,
        Proof::Awaited => Credentials::CannotTell,
        Proof::GivenUp => Credentials::Malformed,
        Proof::Unchecked => Credentials::Unchecked,
        Proof::Unknown(why) => {
            let account = findings.login.user().to_owned();
            return Err(Error::Account { account, what: why.clone() });
        }
        Proof::LimitFull(limit) => return Err(Error::LimitFull { limit: Arc::clone(limit) }),
        Proof::Password(password) => match acquire_permit(context, attempt, stores, findings)? {
            Some(_permit) => verify(context, password, account, stores, findings)?,
            None => Credentials::Unchecked,
        },
    })
}
