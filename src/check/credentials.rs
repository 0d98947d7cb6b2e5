//! Finds the account, and compares the client's password with the stored ones.

use std::sync::Arc;

use super::Mode;
use super::call::Call;
use super::history;
use super::names;
use super::reserve;
use super::reserve::Permit;
use super::reserve::ReservationNeeds;
use super::stages::AccountFound;
use super::stages::PasswordVerified;
use super::stages::RulesApplied;
use super::stages::shown;
use crate::account;
use crate::account::Account;
use crate::account::AccountLookup;
use crate::account::Login;
use crate::account::remembered::RememberedAccount;
use crate::attempt::Proof;
use crate::attempt::printable;
use crate::error::Error;
use crate::error::StoreFault;
use crate::password;
use crate::password::Candidate;
use crate::password::Dummy;
use crate::policy;
use crate::policy::Credentials;
use crate::policy::DecisionInput;
use crate::policy::DecisionKind;
use crate::tables::counters::Purpose;

/// Finds the account. While no host of its database can be reached, an attempt with a password is
/// served by a remembered account.
///
/// # Errors
/// The database cannot tell, or the account's data cannot be understood.
pub(super) fn find<'a>(call: &mut Call<'a>, login: &Login) -> Result<AccountFound<'a>, Error> {
    let is_served = matches!(call.attempt.proof, Proof::Password(_));
    let remembered = is_served.then(|| remembered_entry(call, login)).flatten();
    let (account, unreachable) = match (look_up(call, login), &remembered) {
        (Err(e), Some(remembered)) if e.store_fault() == Some(StoreFault::Unreachable) => {
            let lookup = AccountLookup::from_remembered(remembered.load(), &call.config().accounts);
            names::check(call, login, &lookup)?;
            (lookup.account, Some(e))
        }
        (found, _) => (found?, None),
    };
    let canonical = account.as_ref().and_then(|account| account.username.as_ref());
    let username = canonical.map_or_else(|| shown(login), |name| printable(name.as_bytes()));
    let fingerprint = history::fingerprint(&call.policy().limits, account.as_ref());
    Ok(AccountFound { account, username, fingerprint, remembered, unreachable })
}

/// The file of the remembered account; `None` if accounts are not remembered.
fn remembered_entry<'a>(call: &Call<'a>, login: &Login) -> Option<RememberedAccount<'a>> {
    let parameters = account::parameters(login, call.attempt, call.protocol());
    let config = call.config();
    RememberedAccount::new(&config.state_directory, &config.accounts, &parameters, call.seconds())
}

/// Asks the database for the account, and forgets the remembered account if it has changed. If another
/// program verifies the passwords, the table of accounts may be missing.
fn look_up(call: &mut Call<'_>, login: &Login) -> Result<Option<Account>, Error> {
    let (attempt, accounts) = (call.attempt, &call.config().accounts);
    let parameters = account::parameters(login, attempt, call.protocol());
    let found = Account::find(call.stores.accounts()?, accounts, login, attempt, &parameters);
    if let (Ok(found), Mode::Live) = (&found, call.context.mode)
        && let Some(remembered) = remembered_entry(call, login)
    {
        remembered.delete_if_changed(found.account.as_ref());
    }
    let needs_table =
        accounts.are_given || matches!(attempt.proof, Proof::Password(_) | Proof::Awaited);
    match found {
        Err(e) if e.store_fault() == Some(StoreFault::NoTable) && !needs_table => Ok(None),
        Err(e) => Err(e),
        Ok(lookup) => {
            names::check(call, login, &lookup)?;
            names::report_pattern(call.context, login, &lookup);
            Ok(lookup.account)
        }
    }
}

/// Remembers an account when it is accepted.
pub(super) fn remember(call: &Call<'_>, found: &AccountFound<'_>, input: &DecisionInput) {
    let (Some(account), Some(remembered)) = (&found.account, &found.remembered) else { return };
    let decision = policy::decide(call.policy(), input);
    let is_fresh = found.unreachable.is_none() && call.context.mode == Mode::Live;
    if is_fresh && decision.kind == DecisionKind::Accept {
        remembered.save(account);
    }
}

/// The result of `reserve`, which `verify` needs.
pub(super) struct Reservation {
    /// The permit to verify the password; `None` if the password is not verified.
    permit: Option<Permit>,
}

/// Reserves room with the limits and a slot to hash in, if there is a password to verify; `None` if
/// failures have reached a limit meanwhile.
///
/// An attempt that is refused whatever its password takes no room from others. Its password is
/// verified only if a slot is free at once. The row then says if the password was right.
///
/// # Errors
/// No room became free within `attempt_timeout`, or the database cannot tell.
pub(super) fn reserve(
    call: &mut Call<'_>,
    applied: &RulesApplied,
) -> Result<Option<Reservation>, Error> {
    let policy = call.policy();
    let is_ours = matches!(call.attempt.proof, Proof::Password(_));
    if !is_ours || policy::skips_password(policy, &applied.policy_result) {
        return Ok(Some(Reservation { permit: None }));
    }
    if applied.refuses(policy) {
        return Ok(Some(Reservation { permit: reserve::acquire_idle_slot(call)? }));
    }
    let needs = ReservationNeeds { purpose: Purpose::Guess, slot: true };
    let permit = reserve::acquire(call, needs)?;
    Ok(permit.map(|permit| Reservation { permit: Some(permit) }))
}

/// Verifies the password, or takes the result from the driver that did. The reservation's slot is
/// free again afterwards.
///
/// # Errors
/// The driver could not tell, or other attempts took all the room of a limit.
pub(super) fn verify(
    call: &mut Call<'_>,
    login: &Login,
    found: &AccountFound<'_>,
    applied: &RulesApplied,
    reservation: Reservation,
) -> Result<PasswordVerified, Error> {
    let attempt = call.attempt;
    Ok(PasswordVerified::known(match &attempt.proof {
        Proof::Password(password) => match reservation.permit {
            Some(_permit) => {
                let is_refused = applied.refuses(call.policy());
                let candidate = Candidate { password, login: login.typed() };
                return Ok(compare(call, found, candidate, is_refused));
            }
            None => Credentials::Unchecked,
        },
        Proof::Proved => Credentials::Right,
        Proof::Refuted if found.account.is_none() && call.config().accounts.are_given => {
            Credentials::NoAccount
        }
        Proof::Refuted => Credentials::Wrong,
        Proof::Awaited => Credentials::CannotTell,
        Proof::GivenUp => Credentials::Malformed,
        Proof::Unchecked => Credentials::Unchecked,
        Proof::Unknown(why) => {
            let account = login.user().to_owned();
            return Err(Error::Account { account, what: why.clone() });
        }
        Proof::LimitFull(limit) => return Err(Error::LimitFull { limit: Arc::clone(limit) }),
    }))
}

/// Compares the password with the stored ones, or with a dummy if there is no account. For an
/// attempt that is refused anyway, it compares with all of them, so that the time does not tell if
/// one matched.
fn compare(
    call: &mut Call<'_>,
    found: &AccountFound<'_>,
    candidate: Candidate<'_>,
    is_refused: bool,
) -> PasswordVerified {
    let config = call.config();
    let (accounts, settings) = (&config.accounts, &config.accounts.passwords);
    let (mode, stored) = (call.context.mode, found.passwords());
    let is_right = call.stores.pause_deadline(|| {
        let dummy = Dummy::load(&config.state_directory, accounts.dummy_hash(), settings);
        let is_right = match is_refused {
            true => password::verify_all(stored, settings, candidate, &dummy),
            false => password::verify_any(stored, settings, candidate, &dummy),
        };
        if mode == Mode::Live && is_right.is_ok() {
            dummy.learn(stored, settings);
        }
        is_right
    });
    let has_account = found.account.is_some();
    let counts_as_failure = !is_refused
        && match &is_right {
            // The password matched none of those that can be read.
            Err(_) => password::is_guessable(stored, settings),
            // A wrong password of a remembered account gets 435, and still counts.
            Ok(is_right) => found.unreachable.is_some() && has_account && !is_right,
        };
    let result = is_right.map(|is_right| match (has_account, is_right) {
        (false, _) => Credentials::NoAccount,
        (true, true) => Credentials::Right,
        (true, false) => Credentials::Wrong,
    });
    PasswordVerified { result, counts_as_failure }
}
