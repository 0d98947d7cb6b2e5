//! What a driver needs to hold the client's proof against.

use super::Allowed;
use super::Earlier;
use super::Findings;
use super::Moment;
use super::World;
use super::credentials;
use super::failures;
use super::locate::locate;
use super::place;
use super::reserve;
use super::reserve::Needs;
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
use crate::policy::Answer;
use crate::policy::Credentials;
use crate::policy::Layer;
use crate::policy::Rules;
use crate::policy::Ruling;
use crate::secret::Secret;
use crate::state::key;
use crate::store::Deadline;
use crate::store::Stores;
use crate::tables::counters::Purpose;
use crate::tables::counters::Standing;

/// What a driver gets that needs the password itself.
pub enum Revealed {
    /// The password in clear.
    Password(Secret),
    /// There is no such account, or it is disabled.
    Nobody,
    /// A limit refuses the attempt.
    Refused,
    /// The account has no password that could be told; why not.
    Untold(String),
}

/// Takes room with the limits, and finds the one password of an account that is stored in clear.
/// `finish` settles the attempt with the limits.
///
/// # Errors
/// The database cannot tell, there is no room, or the account's data cannot be understood.
pub fn reveal(
    world: World<'_>,
    attempt: &Attempt,
    moment: Moment,
    earlier: Earlier,
) -> (Result<Revealed, Error>, Option<Standing>) {
    let mut stores = Stores::new(world.config, Deadline::new(moment.start, world.config.timeouts));
    let mut findings = locate(world, attempt, moment, earlier);
    let revealed = secret_of(world, attempt, &mut stores, &mut findings);
    (revealed, findings.standing.take())
}

/// What there is to say before anybody looks at the stored password.
enum Approached {
    /// A limit refuses the attempt.
    Refused,
    /// There is no such account, or the client's words cannot be one.
    Nobody,
    /// There is.
    Account(Account),
}

fn approach(
    world: World<'_>,
    attempt: &Attempt,
    stores: &mut Stores<'_>,
    findings: &mut Findings,
) -> Result<Approached, Error> {
    if let Some(why) = findings.earlier_error.take() {
        return Err(Error::Call(why));
    }
    if attempt.authcid.is_none() {
        return Ok(Approached::Nobody);
    }
    findings.username = printable(findings.login.user().as_bytes());
    if failures::look(world, attempt, stores, findings)? {
        return Ok(Approached::Refused);
    }
    let found = credentials::look_up(world, attempt, stores, findings)?;
    if failures::look_again(world, attempt, found.as_ref(), stores, findings)? {
        return Ok(Approached::Refused);
    }
    if let Some(canonical) = found.as_ref().and_then(|account| account.username.as_ref()) {
        findings.username = printable(canonical.as_bytes());
    }
    Ok(found.map_or(Approached::Nobody, Approached::Account))
}

fn secret_of(
    world: World<'_>,
    attempt: &Attempt,
    stores: &mut Stores<'_>,
    findings: &mut Findings,
) -> Result<Revealed, Error> {
    let account = match approach(world, attempt, stores, findings)? {
        Approached::Refused => return Ok(Revealed::Refused),
        Approached::Account(account) => Some(account),
        Approached::Nobody => None,
    };
    let own = account.as_ref().map(|account| &account.rules);
    let layers = world.config.policy.layers(&findings.username, own);
    // A guess at a disabled account, or from a refused place, tells nothing and takes no room.
    if layers.iter().any(|(_, rules)| rules.disabled) {
        return Ok(Revealed::Nobody);
    }
    if attempt.authcid.is_some() && !is_refused_by_rule(world, &layers, stores, findings)? {
        let needs = Needs { purpose: Purpose::Guess, slot: false };
        if reserve::take(world, stores, findings, needs)?.is_none() {
            return Ok(Revealed::Refused);
        }
    }
    let Some(account) = account else { return Ok(Revealed::Nobody) };
    let [stored] = &account.passwords[..] else {
        let what = "has not exactly one password, and this mechanism needs it in clear";
        return Ok(Revealed::Untold(what.to_owned()));
    };
    let clear = password::clear(stored, &world.config.accounts.passwords)
        .map_err(|fault| broken(findings, fault))?;
    Ok(clear.map_or_else(
        || {
            Revealed::Untold(String::from(
                "has no password in clear ({PLAIN}), which this mechanism needs",
            ))
        },
        Revealed::Password,
    ))
}

/// True if a rule refuses the attempt; `authorize` or `finish` tells the client. Rules are checked
/// only if the attempt would take room.
fn is_refused_by_rule(
    world: World<'_>,
    layers: &[(Layer, &Rules)],
    stores: &mut Stores<'_>,
    findings: &mut Findings,
) -> Result<bool, Error> {
    let needs_room =
        findings.standing.as_ref().is_some_and(|standing| standing.rejecting().next().is_some());
    if !needs_room {
        return Ok(false);
    }
    place::hold(world, layers, stores, findings)?;
    Ok(policy::refuses(&world.config.policy, &findings.found.ruling))
}

fn broken(findings: &Findings, fault: Fault) -> Error {
    Error::Account { account: findings.login.user().to_owned(), what: fault.0 }
}

/// What a SCRAM server gets.
pub struct Scram {
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
    world: World<'_>,
    attempt: &Attempt,
    moment: Moment,
    earlier: Earlier,
) -> (Result<Scram, Error>, Option<Standing>) {
    let mut stores = Stores::new(world.config, Deadline::new(moment.start, world.config.timeouts));
    let mut findings = locate(world, attempt, moment, earlier);
    let scram = keys_of(world, attempt, &mut stores, &mut findings);
    (scram, findings.standing.take())
}

/// Takes room for a guess when the client of a SCRAM exchange has shown its proof; false if
/// failures have reached a limit since it got its keys.
///
/// # Errors
/// The database cannot tell, or there is no room.
pub fn prove(
    world: World<'_>,
    attempt: &Attempt,
    moment: Moment,
    earlier: Earlier,
) -> (Result<bool, Error>, Option<Standing>) {
    let mut stores = Stores::new(world.config, Deadline::new(moment.start, world.config.timeouts));
    let mut findings = locate(world, attempt, moment, earlier);
    let needs = Needs { purpose: Purpose::Guess, slot: false };
    let taken = match findings.standing.as_ref().is_some_and(Standing::holds_keys) {
        true => {
            reserve::take(world, &mut stores, &mut findings, needs).map(|leave| leave.is_some())
        }
        false => Ok(true),
    };
    (taken, findings.standing.take())
}

fn keys_of(
    world: World<'_>,
    attempt: &Attempt,
    stores: &mut Stores<'_>,
    findings: &mut Findings,
) -> Result<Scram, Error> {
    let settings = &world.config.accounts.passwords;
    let mechanism = attempt.options.mechanism.as_deref().unwrap_or("SCRAM-SHA-256");
    let decoy = decoy(world, findings.login.key(), mechanism)?;
    let fake = |proof| Scram { keys: decoy.keys(settings, mechanism), proof };
    let account = match approach(world, attempt, stores, findings)? {
        Approached::Refused => return Ok(fake(Proof::Unchecked)),
        Approached::Account(account) => Some(account),
        Approached::Nobody => None,
    };
    let name = findings.username.clone();
    let policy = &world.config.policy;
    let layers = policy.layers(&name, account.as_ref().map(|account| &account.rules));
    place::hold(world, &layers, stores, findings)?;
    if policy::refuses(policy, &findings.found.ruling) || findings.found.disabled.is_some() {
        return Ok(fake(Proof::Unchecked));
    }
    // The keys of a password in clear are made anew each time.
    let is_clear = |stored| matches!(password::clear(stored, settings), Ok(Some(_)));
    let passwords = account.as_ref().map_or(&[][..], |account| &account.passwords);
    let needs = Needs { purpose: Purpose::Keys, slot: passwords.iter().any(is_clear) };
    let is_subject = attempt.authcid.is_some();
    let leave = is_subject.then(|| reserve::take(world, stores, findings, needs)).transpose()?;
    if matches!(leave, Some(None)) {
        return Ok(fake(Proof::Unchecked));
    }
    let Some(account) = &account else { return Ok(fake(Proof::Refuted)) };
    // A right proof is confirmed before anybody could say that its country is new.
    findings.found.credentials = Credentials::Right;
    place::greet(world, &layers, stores, findings)?;
    if policy::decide(policy, &findings.found).answer == Answer::Reject {
        return Ok(fake(Proof::Unchecked));
    }
    for stored in &account.passwords {
        let keys = password::scram(stored, settings, mechanism, &decoy)
            .map_err(|fault| broken(findings, fault))?;
        if let Some(keys) = keys {
            return Ok(Scram { keys, proof: Proof::Refuted });
        }
    }
    Ok(fake(Proof::Unknown(format!("has no password that {mechanism} can use"))))
}

/// Made up from what all hosts of one database have in common, where they have.
fn decoy(world: World<'_>, name: &str, mechanism: &str) -> Result<Decoy, Error> {
    let nonce = world.config.policy.limits.hash_nonce.expose();
    let key = match nonce.is_empty() {
        false => Secret::new(nonce.to_vec()),
        true => key::key(&world.config.state_directory)?,
    };
    Ok(Decoy::new(&key, name, mechanism))
}

/// Decides what hangs on the address alone.
#[must_use]
pub fn allow(world: World<'_>, attempt: &Attempt, moment: Moment) -> Allowed {
    let mut stores = Stores::new(world.config, Deadline::new(moment.start, world.config.timeouts));
    let mut findings = locate(world, attempt, moment, Earlier::default());
    let looked = failures::look_at_address(world, &mut stores, &mut findings);
    let policy = &world.config.policy;
    let ruling = policy::judge(policy, &policy.layers("", None), &findings.facts);
    match (looked, ruling) {
        (Err(e), _) => Allowed { rule: None, error: Some(e.to_string()) },
        (Ok(()), Ruling::Refuse(rule)) if !policy.log_only => {
            Allowed { rule: Some(rule), error: None }
        }
        (Ok(()), Ruling::CannotTell(rule)) => {
            let why = findings.geo_error.map(|e| e.to_string());
            let why = why.unwrap_or_else(|| format!("the rule {rule} cannot be held"));
            Allowed { rule: None, error: Some(why) }
        }
        (Ok(()), Ruling::Pass(_) | Ruling::Refuse(_)) => Allowed::default(),
    }
}
