//! The account, and what its stored passwords say to the client's.

use std::sync::Arc;

use super::Findings;
use super::Mode;
use super::World;
use super::failures;
use super::names;
use super::reserve;
use super::reserve::Leave;
use super::reserve::Needs;
use crate::account;
use crate::account::Account;
use crate::account::Lookup;
use crate::account::cached::Memory;
use crate::attempt::Attempt;
use crate::attempt::Proof;
use crate::error::Error;
use crate::error::StoreFault;
use crate::password;
use crate::password::Candidate;
use crate::password::Dummy;
use crate::policy;
use crate::policy::Answer;
use crate::policy::Credentials;
use crate::secret::Secret;
use crate::store::Stores;
use crate::tables::counters::Purpose;

/// Where an account is remembered that we serve: of those whose password we look at.
pub(super) fn memory<'a>(
    world: World<'a>,
    attempt: &Attempt,
    findings: &Findings,
) -> Option<Memory<'a>> {
    let is_served = matches!(attempt.proof, Proof::Password(_));
    is_served.then(|| place(world, attempt, findings)).flatten()
}

fn place<'a>(world: World<'a>, attempt: &Attempt, findings: &Findings) -> Option<Memory<'a>> {
    let parameters = account::parameters(&findings.login, attempt, super::protocol(world, attempt));
    let (state, accounts) = (&world.config.state_directory, &world.config.accounts);
    Memory::new(state, accounts, &parameters, findings.facts.seconds())
}

/// Finds the account; while no host can be reached, the one that is remembered.
pub(super) fn find(
    world: World<'_>,
    attempt: &Attempt,
    stores: &mut Stores<'_>,
    memory: Option<&Memory<'_>>,
    findings: &mut Findings,
) -> Result<Option<Account>, Error> {
    match (look_up(world, attempt, stores, findings), memory) {
        (Err(e), Some(memory)) if e.store_fault() == Some(StoreFault::Unreachable) => {
            findings.unreachable = Some(e);
            let lookup = Lookup::remembered(memory.recall(), &world.config.accounts);
            names::check(world, &lookup, stores, findings)?;
            Ok(lookup.account)
        }
        (found, _) => found,
    }
}

/// Remembers an account that is let in.
pub(super) fn remember(
    world: World<'_>,
    account: Option<&Account>,
    memory: Option<&Memory<'_>>,
    findings: &Findings,
) {
    let (Some(account), Some(memory)) = (account, memory) else { return };
    let decision = policy::decide(&world.config.policy, &findings.found);
    let is_fresh = findings.unreachable.is_none() && world.mode == Mode::Real;
    if is_fresh && decision.answer == Answer::Accept {
        memory.keep(account);
    }
}

/// Finds the account, and forgets it where it is no longer as it was remembered. Where somebody else
/// has the passwords, there need be no table of accounts.
pub(super) fn look_up(
    world: World<'_>,
    attempt: &Attempt,
    stores: &mut Stores<'_>,
    findings: &Findings,
) -> Result<Option<Account>, Error> {
    let (accounts, login) = (&world.config.accounts, &findings.login);
    let parameters = account::parameters(login, attempt, super::protocol(world, attempt));
    let found = Account::find(stores.accounts()?, accounts, login, attempt, &parameters);
    if let (Ok(found), Mode::Real) = (&found, world.mode)
        && let Some(memory) = place(world, attempt, findings)
    {
        memory.compare(found.account.as_ref());
    }
    let needs_table =
        accounts.are_given || matches!(attempt.proof, Proof::Password(_) | Proof::Awaited);
    match found {
        Err(e) if e.store_fault() == Some(StoreFault::NoTable) && !needs_table => Ok(None),
        Err(e) => Err(e),
        Ok(lookup) => {
            names::check(world, &lookup, stores, findings)?;
            names::report_pattern(world, &lookup, login);
            Ok(lookup.account)
        }
    }
}

/// Whether any of the account's stored passwords can be held against the client's.
fn is_readable(world: World<'_>, account: Option<&Account>) -> bool {
    let stored = account.map_or(&[][..], |account| &account.passwords);
    password::is_guessable(stored, &world.config.accounts.passwords)
}

/// Takes the room that the attempt needs to have its password looked at; `None` if it is not looked
/// at. An attempt that is refused whatever its password takes no room from others. It is hashed
/// only if a slot is free at once; then its row tells if the password was right.
fn approach(
    world: World<'_>,
    attempt: &Attempt,
    stores: &mut Stores<'_>,
    findings: &mut Findings,
) -> Result<Option<Leave>, Error> {
    let policy = &world.config.policy;
    if policy::skips_password(policy, &findings.found.ruling) {
        return Ok(None);
    }
    if policy::refuses(policy, &findings.found.ruling) || findings.found.disabled.is_some() {
        return reserve::take_idle_slot(world);
    }
    let needs = Needs { purpose: Purpose::Guess, slot: true };
    let leave = reserve::take(world, stores, findings, needs)?;
    if leave.is_none() {
        failures::refuse(world, attempt, stores, findings);
    }
    Ok(leave)
}

/// Holds the password against those stored, or against a dummy where there is no account.
fn verify(
    world: World<'_>,
    password: &Secret,
    account: Option<&Account>,
    stores: &mut Stores<'_>,
    findings: &mut Findings,
) -> Result<Credentials, Error> {
    let accounts = &world.config.accounts;
    let settings = &accounts.passwords;
    let stored = account.map_or(&[][..], |account| &account.passwords);
    let candidate = Candidate { password, login: findings.login.typed() };
    let refused = policy::refuses(&world.config.policy, &findings.found.ruling)
        || findings.found.disabled.is_some();
    let verified = stores.meanwhile(|| {
        let dummy = Dummy::load(&world.config.state_directory, accounts.dummy_hash(), settings);
        let verified = match refused {
            true => password::verify_all(stored, settings, candidate, &dummy),
            false => password::verify_any(stored, settings, candidate, &dummy),
        };
        if world.mode == Mode::Real && verified.is_ok() {
            dummy.learn(stored, settings);
        }
        verified
    });
    findings.was_guess = !refused
        && match &verified {
            Err(_) => is_readable(world, account),
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
pub(super) fn weigh(
    world: World<'_>,
    attempt: &Attempt,
    account: Option<&Account>,
    stores: &mut Stores<'_>,
    findings: &mut Findings,
) -> Result<Credentials, Error> {
    Ok(match &attempt.proof {
        Proof::Proved => Credentials::Right,
        Proof::Refuted if account.is_none() && world.config.accounts.are_given => {
            Credentials::NoAccount
        }
        Proof::Refuted => Credentials::Wrong,
        Proof::Awaited => Credentials::CannotTell,
        Proof::GivenUp => Credentials::Nonsense,
        Proof::Unchecked => Credentials::Unchecked,
        Proof::Unknown(why) => {
            let account = findings.login.user().to_owned();
            return Err(Error::Account { account, what: why.clone() });
        }
        Proof::NoRoom(limit) => return Err(Error::NoRoom { limit: Arc::clone(limit) }),
        Proof::Password(password) => match approach(world, attempt, stores, findings)? {
            Some(_leave) => verify(world, password, account, stores, findings)?,
            None => Credentials::Unchecked,
        },
    })
}
