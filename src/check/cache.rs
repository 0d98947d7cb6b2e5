//! The cache in the memory that all connections share: accounts (`accounts.cache`), and passwords
//! that have been verified (`accounts.remember_verified`).
//!
//! A cached account answers only a right password. If the attempt is not accepted, the database is
//! asked again, and the attempt is examined again if the account has changed.
//!
//! A verified password saves the hash. It is asked for only where the right password is accepted.
//! Otherwise the time of a refusal would tell that the password was right.

use super::Mode;
use super::call::Call;
use super::stages::AccountFound;
use super::stages::PasswordVerified;
use crate::account;
use crate::account::Account;
use crate::account::AccountLookup;
use crate::account::Login;
use crate::account::cached::CachedAccount;
use crate::attempt::Proof;
use crate::password::Candidate;
use crate::policy::Credentials;
use crate::secret::Secret;
use crate::shared::SharedMemory;
use crate::shared::StretchedPassword;
use crate::shared::Timestamp;

/// The shared memory, and the clocks by which its content ages.
#[derive(Clone, Copy)]
pub struct SharedCache<'a> {
    /// The memory.
    pub memory: &'a SharedMemory,
    /// Reads both clocks.
    pub now: fn() -> Timestamp,
}

/// The time now on both clocks; `None` without shared memory.
pub(super) fn now(call: &Call<'_>) -> Option<Timestamp> {
    call.context.shared.map(|shared| (shared.now)())
}

/// The cached account; `None` if there is none.
pub(super) fn find(call: &Call<'_>, login: &Login) -> Option<AccountLookup> {
    let account = place(call, login)?.load(now(call)?)?;
    Some(AccountLookup::from_copy(Some(account), &call.config().accounts))
}

/// Removes the account, because it has changed.
pub(super) fn forget(call: &Call<'_>, login: &Login) {
    if let Some(place) = place(call, login) {
        place.forget();
    }
}

/// The account's place in the memory. Only an attempt with a password has one: the drivers that
/// verify a proof get the keys before a wrong password could show.
fn place<'a>(call: &Call<'a>, login: &Login) -> Option<CachedAccount<'a>> {
    let shared = call.context.shared?;
    let config = call.config();
    if call.context.mode != Mode::Live || !matches!(call.attempt.proof, Proof::Password(_)) {
        return None;
    }
    let parameters = account::parameters(login, call.attempt, call.protocol());
    CachedAccount::new(shared.memory, config.id.as_ref()?, &config.accounts, &parameters)
}

/// True if verified passwords are kept.
pub(super) fn keeps_passwords(call: &Call<'_>) -> bool {
    call.context.shared.is_some() && call.config().accounts.remember_verified.is_some()
}

/// Stretches the password, if verified passwords are kept. This is done for each password
/// that is verified, whatever the account, so that its time tells nothing.
pub(super) fn stretch(call: &Call<'_>, candidate: Candidate<'_>) -> Option<StretchedPassword> {
    let config = call.config();
    let (shared, id) = (call.context.shared?, config.id.as_ref()?);
    config.accounts.remember_verified?;
    let (name, password) = (candidate.login.as_bytes(), candidate.password.expose());
    Some(shared.memory.stretch(name, password, id.as_bytes()))
}

/// True if this name and password have matched exactly these stored passwords before.
pub(super) fn is_verified(
    call: &Call<'_>,
    found: &AccountFound<'_>,
    stretched: &StretchedPassword,
) -> bool {
    let (Some(shared), Some(account)) = (call.context.shared, &found.account) else {
        return false;
    };
    let Some(lifetime) = call.config().accounts.remember_verified else { return false };
    let is_usable = found.unreachable.is_none() && call.context.mode == Mode::Live;
    let stored = stored(account);
    is_usable && shared.memory.is_verified(stretched, stored.expose(), (shared.now)(), lifetime)
}

/// Keeps the account and the password of an attempt that is accepted, unless they come from here.
pub(super) fn keep(
    call: &Call<'_>,
    login: &Login,
    found: &AccountFound<'_>,
    verified: &PasswordVerified,
) {
    let (Some(shared), Some(account)) = (call.context.shared, &found.account) else { return };
    if found.unreachable.is_some() {
        return;
    }
    if !found.is_cached
        && let Some((place, start)) = place(call, login).zip(found.asked_at)
    {
        place.store(account, start);
    }
    if !verified.is_cached
        && verified.result == Ok(Credentials::Right)
        && let Some((stretched, start)) = &verified.stretched
    {
        shared.memory.store_verified(stretched, stored(account).expose(), *start);
    }
}

/// The account's stored passwords, each after its length.
fn stored(account: &Account) -> Secret {
    let passwords = account.sorted_passwords();
    let length = passwords.iter().map(|stored| stored.len().saturating_add(8));
    // The whole capacity is allocated at once, because growing would leave copies in memory.
    let length = length.fold(0_usize, usize::saturating_add);
    let mut all = Vec::with_capacity(length);
    for stored in passwords {
        all.extend_from_slice(&u64::try_from(stored.len()).unwrap_or(u64::MAX).to_le_bytes());
        all.extend_from_slice(stored);
    }
    Secret::new(all)
}
