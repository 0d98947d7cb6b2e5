//! Finds the account, and compares the client's password with the stored ones.

use std::sync::Arc;

use super::Mode;
use super::cache;
use super::call::Call;
use super::history;
use super::names;
use super::place;
use super::reserve;
use super::reserve::Permit;
use super::reserve::ReservationNeeds;
use super::stages::AccountFound;
use super::stages::LimitsChecked;
use super::stages::Located;
use super::stages::PasswordVerified;
use super::stages::RulesApplied;
use super::stages::Stages;
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

/// Finds the account, in the cache or in its database.
///
/// A cached account whose password differs from that of the latest login from this address is not
/// used: it may be out of date.
///
/// # Errors
/// As for `find_in_database`.
pub(super) fn find<'a>(
    call: &mut Call<'a>,
    login: &Login,
    limits: &LimitsChecked,
) -> Result<AccountFound<'a>, Error> {
    if let Some(lookup) = cache::find(call, login) {
        names::check(call, login, &lookup)?;
        names::report_pattern(call.context, login, &lookup);
        let found = AccountFound { is_cached: true, ..account_found(call, login, lookup.account) };
        if limits.known_good.as_ref().is_none_or(|known| *known == found.fingerprint) {
            return Ok(found);
        }
    }
    find_in_database(call, login)
}

/// Asks the database for an account that came from the cache, unless the attempt is accepted. True
/// if the account has changed, so that the attempt has to be examined again.
///
/// # Errors
/// The database cannot tell. A remembered account does not stand in for it: the cached one is newer.
pub(super) fn is_out_of_date<'a>(
    call: &mut Call<'a>,
    stages: &mut Stages<'a>,
    examined: &Result<(), Error>,
) -> Result<bool, Error> {
    let decision = stages.decide(call.policy());
    let (Some(login), Some(cached)) = (&stages.login, &mut stages.account) else {
        return Ok(false);
    };
    if !cached.is_cached || (examined.is_ok() && decision.is_plain_acceptance()) {
        return Ok(false);
    }
    let found = match find_in_database(call, login)? {
        AccountFound { unreachable: Some(e), .. } => return Err(e),
        found => found,
    };
    let is_changed = match (&cached.account, &found.account) {
        (Some(cached), Some(found)) => !cached.is_same(found),
        (cached, found) => cached.is_some() != found.is_some(),
    };
    *cached = found;
    if is_changed {
        cache::forget(call, login);
        stages.rules = None;
        // A guess that has failed counts, even if the attempt does not get as far again.
        stages.password = stages.password.take().map(PasswordVerified::out_of_date);
    }
    Ok(is_changed)
}

/// Asks the database for the account. While none of its hosts can be reached, an attempt with a
/// password is served by a remembered account.
///
/// # Errors
/// The database cannot tell, or the account's data cannot be understood.
pub(super) fn find_in_database<'a>(
    call: &mut Call<'a>,
    login: &Login,
) -> Result<AccountFound<'a>, Error> {
    let is_served = matches!(call.attempt.proof, Proof::Password(_));
    let remembered = is_served.then(|| remembered_entry(call, login)).flatten();
    let asked_at = cache::now(call);
    let (account, unreachable) = match (look_up(call, login), &remembered) {
        (Err(e), Some(remembered)) if e.store_fault() == Some(StoreFault::Unreachable) => {
            let lookup = AccountLookup::from_copy(remembered.load(), &call.config().accounts);
            names::check(call, login, &lookup)?;
            (lookup.account, Some(e))
        }
        (found, _) => (found?, None),
    };
    Ok(AccountFound { remembered, unreachable, asked_at, ..account_found(call, login, account) })
}

/// An account, or none, with the name for its row and the fingerprint of its passwords.
fn account_found<'a>(call: &Call<'a>, login: &Login, account: Option<Account>) -> AccountFound<'a> {
    let canonical = account.as_ref().and_then(|account| account.username.as_ref());
    let username = canonical.map_or_else(|| shown(login), |name| printable(name.as_bytes()));
    let fingerprint = history::fingerprint(&call.policy().limits, account.as_ref());
    AccountFound {
        account,
        username,
        fingerprint,
        remembered: None,
        unreachable: None,
        is_cached: false,
        asked_at: None,
    }
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

/// Keeps the account of an attempt that is accepted: in the cache, and on disk for an outage.
pub(super) fn keep(
    call: &Call<'_>,
    login: &Login,
    found: &AccountFound<'_>,
    verified: &PasswordVerified,
    input: &DecisionInput,
) {
    let decision = policy::decide(call.policy(), input);
    let is_kept = found.unreachable.is_none() && call.context.mode == Mode::Live;
    if !is_kept || decision.kind != DecisionKind::Accept {
        return;
    }
    cache::keep(call, login, found, verified);
    if let (Some(account), Some(remembered)) = (&found.account, &found.remembered) {
        remembered.save(account);
    }
}

/// The result of `reserve`, which `verify` needs.
pub(super) struct Reservation {
    /// The permit to verify the password; `None` if the password is not verified.
    permit: Option<Permit>,
    /// True if the right password is accepted, so that the cache may be asked: its answer is fast.
    is_accepted_if_right: bool,
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
    located: &Located,
    found: &AccountFound<'_>,
    applied: &RulesApplied,
) -> Result<Option<Reservation>, Error> {
    let policy = call.policy();
    let refused = |permit| Some(Reservation { permit, is_accepted_if_right: false });
    let is_ours = matches!(call.attempt.proof, Proof::Password(_));
    if !is_ours || policy::skips_password(policy, &applied.policy_result) {
        return Ok(refused(None));
    }
    if applied.refuses(policy) {
        return Ok(refused(reserve::acquire_idle_slot(call)?));
    }
    let needs = ReservationNeeds { purpose: Purpose::Guess, slot: true };
    let permit = reserve::acquire(call, needs)?;
    let is_accepted_if_right = permit.is_some()
        && cache::keeps_passwords(call)
        && !place::may_refuse_country(call, located, found);
    Ok(permit.map(|permit| Reservation { permit: Some(permit), is_accepted_if_right }))
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
                let candidate = Candidate { password, login: login.typed() };
                let stretched = cache::stretch(call, candidate).zip(cache::now(call));
                let known = stretched.as_ref().filter(|_| reservation.is_accepted_if_right);
                let is_cached = known.is_some_and(|(it, _)| cache::is_verified(call, found, it));
                let verified = match is_cached {
                    true => PasswordVerified::known(Credentials::Right),
                    false => compare(call, found, candidate, applied.refuses(call.policy())),
                };
                return Ok(PasswordVerified { stretched, is_cached, ..verified });
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
            // A wrong password of a remembered account gets 435, and still counts. So does that of a
            // cached one while the database cannot be asked again.
            Ok(is_right) => found.is_copy() && has_account && !is_right,
        };
    let result = is_right.map(|is_right| match (has_account, is_right) {
        (false, _) => Credentials::NoAccount,
        (true, true) => Credentials::Right,
        (true, false) => Credentials::Wrong,
    });
    PasswordVerified { counts_as_failure, result, stretched: None, is_cached: false }
}
