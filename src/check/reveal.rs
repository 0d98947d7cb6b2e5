//! What a driver needs to hold the client's proof against.

use super::Allowed;
use super::Context;
use super::EarlierCalls;
use super::Findings;
use super::StartTime;
use super::credentials;
use super::failures;
use super::locate::locate;
use super::place;
use super::reserve;
use super::reserve::ReservationNeeds;
use crate::account::Account;
use crate::attempt::Attempt;
use crate::attempt::Proof;
use crate::attempt::printable;
use crate::error::Error;
use crate::password;
use crate::password::Decoy;
use crate::password::Fault;
use crate::password::Keys;
use crate::policy;
use crate::policy::Credentials;
use crate::policy::DecisionKind;
use crate::policy::Layer;
use crate::policy::PolicyResult;
use crate::policy::Rules;
use crate::secret::Secret;
use crate::state::key;
use crate::store::Deadline;
use crate::store::Stores;
use crate::tables::counters::AttemptLimits;
use crate::tables::counters::Purpose;

/// What a driver gets that needs the password itself.
pub enum Revealed {
    /// The password in clear.
    Password(Secret),
    /// There is no such account, or it is disabled.
    NoAccount,
    /// A limit refuses the attempt.
    Refused,
    /// The account has no password that could be told; why not.
    NoClearPassword(String),
}

/// Takes room with the limits, and finds the one password of an account that is stored in clear.
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
    let mut stores =
        Stores::new(context.config, Deadline::new(start_time.start, context.config.timeouts));
    let mut findings = locate(context, attempt, start_time, earlier);
    let revealed = secret_of(context, attempt, &mut stores, &mut findings);
    (revealed, findings.attempt_limits.take())
}

/// What there is to say before anybody looks at the stored password.
enum AccountCheck {
    /// A limit refuses the attempt.
    Refused,
    /// There is no such account, or the client's words cannot be one.
    NoAccount,
    /// There is.
    Account(Account),
}

fn check_account(
    context: Context<'_>,
    attempt: &Attempt,
    stores: &mut Stores<'_>,
    findings: &mut Findings,
) -> Result<AccountCheck, Error> {
    if let Some(why) = findings.earlier_error.take() {
        return Err(Error::Call(why));
    }
    if attempt.authcid.is_none() {
        return Ok(AccountCheck::NoAccount);
    }
    findings.username = printable(findings.login.user().as_bytes());
    if failures::check(context, attempt, stores, findings)? {
        return Ok(AccountCheck::Refused);
    }
    let found = credentials::look_up(context, attempt, stores, findings)?;
    if failures::check_account(context, attempt, found.as_ref(), stores, findings)? {
        return Ok(AccountCheck::Refused);
    }
    if let Some(canonical) = found.as_ref().and_then(|account| account.username.as_ref()) {
        findings.username = printable(canonical.as_bytes());
    }
    Ok(found.map_or(AccountCheck::NoAccount, AccountCheck::Account))
}

fn secret_of(
    context: Context<'_>,
    attempt: &Attempt,
    stores: &mut Stores<'_>,
    findings: &mut Findings,
) -> Result<Revealed, Error> {
    let account = match check_account(context, attempt, stores, findings)? {
        AccountCheck::Refused => return Ok(Revealed::Refused),
        AccountCheck::Account(account) => Some(account),
        AccountCheck::NoAccount => None,
    };
    let own = account.as_ref().map(|account| &account.rules);
    let layers = context.config.policy.layers(&findings.username, own);
    // A guess at a disabled account, or from a refused place, tells nothing and takes no room.
    if layers.iter().any(|(_, rules)| rules.disabled) {
        return Ok(Revealed::NoAccount);
    }
    if attempt.authcid.is_some() && !is_refused_by_rule(context, &layers, stores, findings)? {
        let needs = ReservationNeeds { purpose: Purpose::Guess, slot: false };
        if reserve::acquire(context, stores, findings, needs)?.is_none() {
            return Ok(Revealed::Refused);
        }
    }
    let Some(account) = account else { return Ok(Revealed::NoAccount) };
    let [stored] = &account.passwords[..] else {
        let what = "has not exactly one password, and this mechanism needs it in clear";
        return Ok(Revealed::NoClearPassword(what.to_owned()));
    };
    let clear = password::clear(stored, &context.config.accounts.passwords)
        .map_err(|fault| broken(findings, fault))?;
    Ok(clear.map_or_else(
        || {
            Revealed::NoClearPassword(String::from(
                "has no password in clear ({PLAIN}), which this mechanism needs",
            ))
        },
        Revealed::Password,
    ))
}

/// True if a rule refuses the attempt; `authorize` or `finish` tells the client. Rules are checked
/// only if the attempt would take room.
fn is_refused_by_rule(
    context: Context<'_>,
    layers: &[(Layer, &Rules)],
    stores: &mut Stores<'_>,
    findings: &mut Findings,
) -> Result<bool, Error> {
    let needs_reservation = findings
        .attempt_limits
        .as_ref()
        .is_some_and(|attempt_limits| attempt_limits.rejecting().next().is_some());
    if !needs_reservation {
        return Ok(false);
    }
    place::apply(context, layers, stores, findings)?;
    Ok(policy::refuses(&context.config.policy, &findings.input.policy_result))
}

fn broken(findings: &Findings, fault: Fault) -> Error {
    Error::Account { account: findings.login.user().to_owned(), what: fault.0 }
}

/// What a SCRAM server gets.
pub struct ScramKeys {
    /// The account's keys, or keys that no password leads to.
    pub keys: Keys,
    /// What is known of the client's proof unless `authorize` comes.
    pub proof: Proof,
}

/// Takes room with the limits, and finds the keys that SCRAM needs. A right proof is confirmed to
/// the client before Exim can ask for the policy. So the policy comes first here. `finish` settles
/// the attempt with the limits.
///
/// # Errors
/// The database cannot tell, there is no room, or the account's data cannot be understood.
pub fn scram(
    context: Context<'_>,
    attempt: &Attempt,
    start_time: StartTime,
    earlier: EarlierCalls,
) -> (Result<ScramKeys, Error>, Option<AttemptLimits>) {
    let mut stores =
        Stores::new(context.config, Deadline::new(start_time.start, context.config.timeouts));
    let mut findings = locate(context, attempt, start_time, earlier);
    let scram = keys_of(context, attempt, &mut stores, &mut findings);
    (scram, findings.attempt_limits.take())
}

/// Takes room for a guess when the client of a SCRAM exchange has shown its proof; false if
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
    let mut stores =
        Stores::new(context.config, Deadline::new(start_time.start, context.config.timeouts));
    let mut findings = locate(context, attempt, start_time, earlier);
    let needs = ReservationNeeds { purpose: Purpose::Guess, slot: false };
    let taken = match findings.attempt_limits.as_ref().is_some_and(AttemptLimits::has_reserved_keys)
    {
        true => reserve::acquire(context, &mut stores, &mut findings, needs)
            .map(|permit| permit.is_some()),
        false => Ok(true),
    };
    (taken, findings.attempt_limits.take())
}

fn keys_of(
    context: Context<'_>,
    attempt: &Attempt,
    stores: &mut Stores<'_>,
    findings: &mut Findings,
) -> Result<ScramKeys, Error> {
    let settings = &context.config.accounts.passwords;
    let mechanism = attempt.options.mechanism.as_deref().unwrap_or("SCRAM-SHA-256");
    let decoy = decoy(context, findings.login.key(), mechanism)?;
    let fake = |proof| ScramKeys { keys: decoy.keys(settings, mechanism), proof };
    let account = match check_account(context, attempt, stores, findings)? {
        AccountCheck::Refused => return Ok(fake(Proof::Unchecked)),
        AccountCheck::Account(account) => Some(account),
        AccountCheck::NoAccount => None,
    };
    let name = findings.username.clone();
    let policy = &context.config.policy;
    let layers = policy.layers(&name, account.as_ref().map(|account| &account.rules));
    place::apply(context, &layers, stores, findings)?;
    if policy::refuses(policy, &findings.input.policy_result) || findings.input.disabled.is_some() {
        return Ok(fake(Proof::Unchecked));
    }
    // The keys of a password in clear are made anew each time.
    let is_clear = |stored| matches!(password::clear(stored, settings), Ok(Some(_)));
    let passwords = account.as_ref().map_or(&[][..], |account| &account.passwords);
    let needs = ReservationNeeds { purpose: Purpose::Keys, slot: passwords.iter().any(is_clear) };
    let is_subject = attempt.authcid.is_some();
    let permit =
        is_subject.then(|| reserve::acquire(context, stores, findings, needs)).transpose()?;
    if matches!(permit, Some(None)) {
        return Ok(fake(Proof::Unchecked));
    }
    let Some(account) = &account else { return Ok(fake(Proof::Refuted)) };
    // A right proof is confirmed before anybody could say that its country is new.
    findings.input.credentials = Credentials::Right;
    place::check_new_country(context, &layers, stores, findings)?;
    if policy::decide(policy, &findings.input).kind == DecisionKind::Reject {
        return Ok(fake(Proof::Unchecked));
    }
    for stored in &account.passwords {
        let keys = password::scram(stored, settings, mechanism, &decoy)
            .map_err(|fault| broken(findings, fault))?;
        if let Some(keys) = keys {
            return Ok(ScramKeys { keys, proof: Proof::Refuted });
        }
    }
    Ok(fake(Proof::Unknown(format!("has no password that {mechanism} can use"))))
}

/// Made up from what all hosts of one database have in common, where they have.
fn decoy(context: Context<'_>, name: &str, mechanism: &str) -> Result<Decoy, Error> {
    let nonce = context.config.policy.limits.hash_nonce.expose();
    let key = match nonce.is_empty() {
        false => Secret::new(nonce.to_vec()),
        true => key::key(&context.config.state_directory)?,
    };
    Ok(Decoy::new(&key, name, mechanism))
}

/// Decides what hangs on the address alone.
#[must_use]
pub fn allow(context: Context<'_>, attempt: &Attempt, start_time: StartTime) -> Allowed {
    let mut stores =
        Stores::new(context.config, Deadline::new(start_time.start, context.config.timeouts));
    let mut findings = locate(context, attempt, start_time, EarlierCalls::default());
    let looked = failures::check_address(context, &mut stores, &mut findings);
    let policy = &context.config.policy;
    let policy_result = policy::apply_rules(policy, &policy.layers("", None), &findings.facts);
    match (looked, policy_result) {
        (Err(e), _) => Allowed { rule: None, error: Some(e.to_string()) },
        (Ok(()), PolicyResult::Refuse(rule)) if !policy.log_only => {
            Allowed { rule: Some(rule), error: None }
        }
        (Ok(()), PolicyResult::CannotTell(rule)) => {
            let why = findings.geo_error.map(|e| e.to_string());
            let why = why.unwrap_or_else(|| format!("the rule {rule} cannot be held"));
            Allowed { rule: None, error: Some(why) }
        }
        (Ok(()), PolicyResult::Pass(_) | PolicyResult::Refuse(_)) => Allowed::default(),
    }
}
