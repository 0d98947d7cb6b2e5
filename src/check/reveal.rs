//! Answers the drivers that verify a client's proof themselves: a password in clear, or SCRAM keys.

use super::Allowed;
use super::Context;
use super::EarlierCalls;
use super::StartTime;
use super::call::Call;
use super::credentials;
use super::failures;
use super::locate::locate;
use super::place;
use super::reserve;
use super::reserve::ReservationNeeds;
use super::stages::AccountFound;
use super::stages::Located;
use super::stages::unreadable_account;
use crate::account::Account;
use crate::account::Login;
use crate::attempt::Attempt;
use crate::attempt::Proof;
use crate::error::Error;
use crate::password;
use crate::password::Decoy;
use crate::password::Keys;
use crate::policy;
use crate::policy::Credentials;
use crate::policy::DecisionKind;
use crate::policy::Facts;
use crate::policy::PolicyResult;
use crate::secret::Secret;
use crate::state::key;
use crate::tables::counters::AttemptLimits;
use crate::tables::counters::Purpose;

/// The answer to a driver that needs the password itself.
pub enum Revealed {
    /// The password in clear.
    Password(Secret),
    /// There is no such account, or it is disabled.
    NoAccount,
    /// A limit refuses the attempt.
    Refused,
    /// The account has no password in clear, for this reason.
    NoClearPassword(String),
}

/// Reserves room with the limits, and finds the one password of an account that is stored in clear.
/// `finish` settles the attempt with the limits.
///
/// # Errors
/// The database cannot tell, there is no room, or the account's data cannot be understood.
pub fn reveal(
    context: Context<'_>,
    attempt: &Attempt,
    start_time: StartTime,
    earlier: EarlierCalls,
) -> (Result<Revealed, Error>, Option<AttemptLimits>) {
    let mut call = Call::new(context, attempt, start_time, earlier.attempt_limits);
    let located = locate(&mut call, earlier.allowed);
    let revealed = secret_of(&mut call, &located);
    (revealed, call.attempt_limits)
}

/// The stages of an attempt up to its account.
enum AccountCheck<'a> {
    /// A limit refuses the attempt.
    Refused,
    /// The client gave no name.
    NoName,
    /// The account has been looked up.
    Found(Login, Box<AccountFound<'a>>),
}

fn check_account<'a>(call: &mut Call<'a>, located: &Located) -> Result<AccountCheck<'a>, Error> {
    located.require_allow()?;
    let Some(authcid) = &call.attempt.authcid else { return Ok(AccountCheck::NoName) };
    let login = call.login(authcid);
    let limits = failures::check(call, located, &login)?;
    if failures::delay_or_refuse(call, located) {
        return Ok(AccountCheck::Refused);
    }
    let found = credentials::find_in_database(call, &login)?;
    failures::check_account(call, located, &login, &limits, &found)?;
    if failures::delay_or_refuse(call, located) {
        return Ok(AccountCheck::Refused);
    }
    Ok(AccountCheck::Found(login, Box::new(found)))
}

fn secret_of(call: &mut Call<'_>, located: &Located) -> Result<Revealed, Error> {
    let (login, found) = match check_account(call, located)? {
        AccountCheck::Refused => return Ok(Revealed::Refused),
        AccountCheck::NoName => return Ok(Revealed::NoAccount),
        AccountCheck::Found(login, found) => (login, found),
    };
    // A guess at a disabled account, or from a refused place, learns nothing and takes no room.
    if found.layers(call.policy()).iter().any(|(_, rules)| rules.disabled) {
        return Ok(Revealed::NoAccount);
    }
    if !is_refused_by_rule(call, located, &found)? {
        let needs = ReservationNeeds { purpose: Purpose::Guess, slot: false };
        if reserve::acquire(call, needs)?.is_none() {
            return Ok(Revealed::Refused);
        }
    }
    found.account.map_or(Ok(Revealed::NoAccount), |account| clear_password(call, &login, &account))
}

/// The one password of an account, if it is stored in clear.
fn clear_password(call: &Call<'_>, login: &Login, account: &Account) -> Result<Revealed, Error> {
    let [stored] = &account.passwords[..] else {
        let what = "does not have exactly one password, and this mechanism needs it in clear";
        return Ok(Revealed::NoClearPassword(what.to_owned()));
    };
    let clear = password::clear(stored, &call.config().accounts.passwords)
        .map_err(|fault| unreadable_account(login, &fault))?;
    Ok(clear.map_or_else(
        || {
            Revealed::NoClearPassword(String::from(
                "has no password in clear ({PLAIN}), which this mechanism needs",
            ))
        },
        Revealed::Password,
    ))
}

/// True if a rule refuses the attempt; `authorize` or `finish` tells the client. Rules are applied
/// only if the attempt would take room.
fn is_refused_by_rule(
    call: &mut Call<'_>,
    located: &Located,
    found: &AccountFound<'_>,
) -> Result<bool, Error> {
    let needs_reservation =
        call.attempt_limits.as_ref().is_some_and(|limits| limits.rejecting().next().is_some());
    if !needs_reservation {
        return Ok(false);
    }
    let policy = call.policy();
    Ok(place::apply(call, located, found, &mut None)?.refuses(policy))
}

/// The answer to a SCRAM server.
pub struct ScramKeys {
    /// The account's keys, or keys that no password leads to.
    pub keys: Keys,
    /// The proof of the attempt if `authorize` is not called.
    pub proof: Proof,
}

/// Reserves room with the limits, and finds the keys that SCRAM needs. `finish` settles the attempt
/// with the limits.
///
/// A right proof is confirmed to the client before Exim can ask for the policy. So the rules are
/// applied first here.
///
/// # Errors
/// The database cannot tell, there is no room, or the account's data cannot be understood.
pub fn scram(
    context: Context<'_>,
    attempt: &Attempt,
    start_time: StartTime,
    earlier: EarlierCalls,
) -> (Result<ScramKeys, Error>, Option<AttemptLimits>) {
    let mut call = Call::new(context, attempt, start_time, earlier.attempt_limits);
    let located = locate(&mut call, earlier.allowed);
    let scram = keys_of(&mut call, &located);
    (scram, call.attempt_limits)
}

/// Reserves room for a guess when the client of a SCRAM exchange has sent its proof; false if
/// failures have reached a limit since it got its keys.
///
/// # Errors
/// The database cannot tell, or there is no room.
pub fn prove(
    context: Context<'_>,
    attempt: &Attempt,
    start_time: StartTime,
    earlier: EarlierCalls,
) -> (Result<bool, Error>, Option<AttemptLimits>) {
    let mut call = Call::new(context, attempt, start_time, earlier.attempt_limits);
    let needs = ReservationNeeds { purpose: Purpose::Guess, slot: false };
    let has_keys = call.attempt_limits.as_ref().is_some_and(AttemptLimits::has_reserved_keys);
    let reserved = match has_keys {
        true => reserve::acquire(&mut call, needs).map(|permit| permit.is_some()),
        false => Ok(true),
    };
    (reserved, call.attempt_limits)
}

fn keys_of(call: &mut Call<'_>, located: &Located) -> Result<ScramKeys, Error> {
    let (policy, settings) = (call.policy(), &call.config().accounts.passwords);
    let mechanism = call.attempt.options.mechanism.as_deref().unwrap_or("SCRAM-SHA-256");
    let name = call.login(call.attempt.authcid.as_deref().unwrap_or_default());
    let decoy = decoy(call, name.key(), mechanism)?;
    let fake = |proof| ScramKeys { keys: decoy.keys(settings, mechanism), proof };
    let (login, found) = match check_account(call, located)? {
        AccountCheck::Refused => return Ok(fake(Proof::Unchecked)),
        AccountCheck::NoName => return Ok(fake(proof_without_name(call, located)?)),
        AccountCheck::Found(login, found) => (login, found),
    };
    let mut rules = None;
    let applied = place::apply(call, located, &found, &mut rules)?;
    if applied.refuses(policy) {
        return Ok(fake(Proof::Unchecked));
    }
    // The keys of a password in clear are made anew each time, which takes as long as a hash.
    let is_clear = |stored| matches!(password::clear(stored, settings), Ok(Some(_)));
    let slot = found.passwords().iter().any(is_clear);
    let permit = reserve::acquire(call, ReservationNeeds { purpose: Purpose::Keys, slot })?;
    if permit.is_none() {
        return Ok(fake(Proof::Unchecked));
    }
    let Some(account) = &found.account else { return Ok(fake(Proof::Refuted)) };
    // The driver confirms a right proof before `authorize` could refuse it for a new country.
    place::check_new_country(call, located, &found, applied, Credentials::Right)?;
    let decision = policy::decide(policy, &applied.decision_input(Credentials::Right));
    if decision.kind == DecisionKind::Reject {
        return Ok(fake(Proof::Unchecked));
    }
    for stored in &account.passwords {
        let keys = password::scram(stored, settings, mechanism, &decoy)
            .map_err(|fault| unreadable_account(&login, &fault))?;
        if let Some(keys) = keys {
            return Ok(ScramKeys { keys, proof: Proof::Refuted });
        }
    }
    Ok(fake(Proof::Unknown(format!("has no password that {mechanism} can use"))))
}

/// The proof of an attempt without a name, which has no account and reserves no room.
fn proof_without_name(call: &mut Call<'_>, located: &Located) -> Result<Proof, Error> {
    let username = call.attempt.shown.to_lowercase();
    let applied = place::apply_by_name(call, located, &username);
    match applied.policy_result {
        PolicyResult::CannotTell(_) => Err(call.geo_unavailable(&username)),
        PolicyResult::Refuse(_) if applied.refuses(call.policy()) => Ok(Proof::Unchecked),
        PolicyResult::Refuse(_) | PolicyResult::Pass(_) => Ok(Proof::Refuted),
    }
}

/// Makes keys that no password leads to. All hosts with the same `hash_nonce` make the same ones.
fn decoy(call: &Call<'_>, name: &str, mechanism: &str) -> Result<Decoy, Error> {
    let nonce = call.policy().limits.hash_nonce.expose();
    let key = match nonce.is_empty() {
        false => Secret::new(nonce.to_vec()),
        true => key::key(&call.config().state_directory)?,
    };
    Ok(Decoy::new(&key, name, mechanism))
}

/// Decides about the address alone, before the client gives a name.
#[must_use]
pub fn allow(context: Context<'_>, attempt: &Attempt, start_time: StartTime) -> Allowed {
    let mut call = Call::new(context, attempt, start_time, None);
    let located = locate(&mut call, None);
    let policy = call.policy();
    let limits = match failures::check_address(&mut call, &located) {
        Ok(limits) => limits,
        Err(e) => return Allowed { rule: None, error: Some(e.to_string()) },
    };
    let facts = Facts { limits, ..located.facts };
    match policy::apply_rules(policy, &policy.layers("", None), &facts) {
        PolicyResult::Refuse(rule) if !policy.log_only => Allowed { rule: Some(rule), error: None },
        PolicyResult::CannotTell(rule) => {
            let why = call.geo_error.map(|e| e.to_string());
            let why = why.unwrap_or_else(|| format!("the rule {rule} cannot be applied"));
            Allowed { rule: None, error: Some(why) }
        }
        PolicyResult::Pass(_) | PolicyResult::Refuse(_) => Allowed::default(),
    }
}
