//! What a driver needs to hold the client's proof against.

use super::Allowed;
use super::Earlier;
use super::Findings;
use super::Moment;
use super::World;
use super::credentials;
use super::guesses;
use super::locate;
use crate::attempt::Attempt;
use crate::attempt::printable;
use crate::error::Error;
use crate::limit;
use crate::limit::Standing;
use crate::password;
use crate::policy;
use crate::policy::Ruling;
use crate::secret::Secret;
use crate::store::Deadline;
use crate::store::Stores;

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

/// Enters an attempt with the limits, and finds the one password of an account that is stored in
/// clear.
///
/// # Errors
/// The database cannot tell, or the account's data cannot be understood.
pub fn reveal(
    world: World<'_>,
    attempt: &Attempt,
    moment: Moment,
    earlier: Earlier,
) -> Result<(Revealed, Standing), Error> {
    let mut stores = Stores::new(world.config, Deadline::new(moment.start, world.config.timeouts));
    let mut findings = locate(world, attempt, moment, earlier);
    let revealed = secret_of(world, attempt, &mut stores, &mut findings);
    let standing = findings.standing.take().unwrap_or_default();
    match revealed {
        Ok(revealed) => Ok((revealed, standing)),
        Err(e) => {
            // What we cannot tell is no guess.
            if !standing.is_empty() {
                let _ = stores.log().and_then(|log| limit::settle(log, standing, false)).ok();
            }
            Err(e)
        }
    }
}

fn secret_of(
    world: World<'_>,
    attempt: &Attempt,
    stores: &mut Stores<'_>,
    findings: &mut Findings,
) -> Result<Revealed, Error> {
    if let Some(why) = findings.earlier_error.take() {
        return Err(Error::Call(why));
    }
    if attempt.authcid.is_none() {
        return Ok(Revealed::Nobody);
    }
    findings.username = printable(findings.login.user().as_bytes());
    if guesses::enter(world, attempt, stores, findings)? {
        return Ok(Revealed::Refused);
    }
    let found = credentials::look_up(world, attempt, stores, &findings.login)?;
    if guesses::enter_again(world, attempt, found.as_ref(), stores, findings)? {
        return Ok(Revealed::Refused);
    }
    let Some(account) = found else { return Ok(Revealed::Nobody) };
    let login = findings.login.user();
    let name = account.username.as_deref().unwrap_or(login);
    let layers = world.config.policy.layers(name, Some(&account.rules));
    if layers.iter().any(|(_, rules)| rules.disabled) {
        return Ok(Revealed::Nobody);
    }
    let [stored] = &account.passwords[..] else {
        let what = "has not exactly one password, and this mechanism needs it in clear";
        return Ok(Revealed::Untold(what.to_owned()));
    };
    let clear = password::clear(stored, &world.config.accounts.passwords)
        .map_err(|fault| Error::Account { account: login.to_owned(), what: fault.0 })?;
    Ok(clear.map_or_else(
        || {
            Revealed::Untold(String::from(
                "has no password in clear ({PLAIN}), which this mechanism needs",
            ))
        },
        Revealed::Password,
    ))
}

/// Decides what hangs on the address alone.
#[must_use]
pub fn allow(world: World<'_>, attempt: &Attempt, moment: Moment) -> Allowed {
    let mut stores = Stores::new(world.config, Deadline::new(moment.start, world.config.timeouts));
    let mut findings = locate(world, attempt, moment, Earlier::default());
    let looked = guesses::look_at_address(world, &mut stores, &mut findings);
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
