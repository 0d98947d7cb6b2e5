//! The story of one attempt, from the client's words to the answer, one verb a line.
//!
//! There is no path from an error to an acceptance: every `Err` ends in "cannot tell".

use std::time::Instant;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use crate::account::Account;
use crate::account::Login;
use crate::attempt::Attempt;
use crate::attempt::Proof;
use crate::attempt::Remote;
use crate::attempt::printable;
use crate::config::Config;
use crate::entry::Entry;
use crate::error::Error;
use crate::geo::Asns;
use crate::geo::Geo;
use crate::maillog::MailLog;
use crate::password;
use crate::password::Candidate;
use crate::password::Dummy;
use crate::policy;
use crate::policy::Credentials;
use crate::policy::Decision;
use crate::policy::Facts;
use crate::policy::Layer;
use crate::policy::Looked;
use crate::policy::Rule;
use crate::policy::Rules;
use crate::policy::Ruling;
use crate::secret::Secret;
use crate::store::Deadline;
use crate::store::Store;
use crate::store::Stores;
use crate::verdict::Verdict;

/// What surrounds an attempt.
#[derive(Clone, Copy)]
pub struct World<'a> {
    /// The rules and places.
    pub config: &'a Config,
    /// The GeoIP file, where one is configured.
    pub geo: Option<&'a Geo>,
    /// The file of autonomous systems, where one is configured.
    pub asns: Option<&'a Asns>,
    /// Where lines go.
    pub log: MailLog<'a>,
    /// Whether a row is written: not under `exim -bh`, nor by the tool.
    pub recorded: bool,
}

/// When an attempt began, by the calendar and by the stopwatch.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// For the row.
    pub time: SystemTime,
    /// For time-outs.
    pub start: Instant,
}

/// What was found out about an attempt, in the order of finding it.
struct Findings {
    username: String,
    facts: Facts,
    /// Why the country or the autonomous system cannot be known, where a file should tell it.
    geo_error: Option<Error>,
    found: policy::Findings,
}

/// Decides an attempt, writes its row and its line.
#[must_use]
pub fn check(world: World<'_>, attempt: &Attempt, moment: Moment) -> Verdict {
    let mut stores = Stores::new(world.config, Deadline::new(moment.start, world.config.timeouts));
    let mut findings = locate(world, attempt, moment);
    let mut error = examine(world, attempt, &mut stores, &mut findings).err();
    let mut verdict = conclude(world, &findings);
    if let Err(e) = record(world, attempt, &mut stores, &verdict, moment) {
        verdict.decision = Decision::CANNOT_TELL;
        error = error.or(Some(e));
    }
    // Before any wait for `failure_time`: a client that is made to wait holds no connection.
    drop(stores);
    world.log.attempt(attempt, &verdict, error.or(findings.geo_error).as_ref());
    verdict
}

/// Finds out where the client is.
fn locate(world: World<'_>, attempt: &Attempt, moment: Moment) -> Findings {
    let address = match attempt.remote {
        Remote::Local | Remote::Unusable(_) => None,
        Remote::Address(address) => Some(address),
    };
    let mut geo_error = None;
    let country = address.map_or(Looked::Up(None), |address| {
        look(world.geo.map(|geo| geo.country(address)), &mut geo_error)
    });
    let asn = address.map_or(Looked::Up(None), |address| {
        look(world.asns.map(|asns| asns.number(address)), &mut geo_error)
    });
    let since_1970 = moment.time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Findings {
        username: attempt.shown.to_lowercase(),
        facts: Facts {
            address,
            country,
            asn,
            protocol: protocol(world, attempt).to_uppercase(),
            now: i64::try_from(since_1970.as_secs()).unwrap_or(0),
            refused_before: None,
            limits: Vec::new(),
            exceptions: Vec::new(),
        },
        geo_error,
        found: policy::Findings {
            ruling: Ruling::CannotTell(Rule::UnknownCountry),
            disabled: None,
            is_new_country: false,
            credentials: Credentials::CannotTell,
        },
    }
}

/// What a file says, if there is one; its error is kept, since not every attempt needs it.
fn look<T>(said: Option<Result<Option<T>, Error>>, error: &mut Option<Error>) -> Looked<T> {
    match said {
        None => Looked::InVain,
        Some(Ok(known)) => Looked::Up(known),
        Some(Err(e)) => {
            error.get_or_insert(e);
            Looked::InVain
        }
    }
}

/// Finds the account, holds its rules against the place, and its passwords against the client's.
fn examine(
    world: World<'_>,
    attempt: &Attempt,
    stores: &mut Stores<'_>,
    findings: &mut Findings,
) -> Result<(), Error> {
    let policy = &world.config.policy;
    if matches!(attempt.remote, Remote::Unusable(_)) {
        let what = "the argument remote is no address: pass $sender_host_address";
        return Err(Error::Call(what.to_owned()));
    }
    let Some(authcid) = &attempt.authcid else {
        let name = findings.username.clone();
        findings.found.ruling = policy::judge(policy, &policy.layers(&name, None), &findings.facts);
        findings.found.credentials = Credentials::Nonsense;
        return Ok(());
    };
    let accounts = &world.config.accounts;
    let login = Login::new(authcid, &accounts.default_domain);
    findings.username = printable(login.user().as_bytes());
    let protocol = protocol(world, attempt);
    let account = look_up(stores.accounts()?, world, attempt, &login, protocol)?;
    let account = account.as_ref();
    if let Some(canonical) = account.and_then(|account| account.username.as_ref()) {
        findings.username = printable(canonical.as_bytes());
    }
    let name = findings.username.clone();
    let layers = policy.layers(&name, account.map(|account| &account.rules));
    rule(world, &layers, &login, findings)?;
    findings.found.credentials = match &attempt.proof {
        Proof::Proved => Credentials::Right,
        Proof::Refuted if account.is_none() && accounts.are_given => Credentials::NoAccount,
        Proof::Refuted => Credentials::Wrong,
        Proof::Unknown(why) => {
            return Err(Error::Account { account: login.user().to_owned(), what: why.clone() });
        }
        Proof::Password(_) if policy::skips_password(policy, &findings.found.ruling) => {
            Credentials::Unchecked
        }
        Proof::Password(password) => {
            stores.meanwhile(|| verify(world, password, account, &login, &findings.found))?
        }
    };
    Ok(())
}

/// Holds the rules against the facts.
fn rule(
    world: World<'_>,
    layers: &[(Layer, &Rules)],
    login: &Login,
    findings: &mut Findings,
) -> Result<(), Error> {
    let found = &mut findings.found;
    found.disabled = layers.iter().find(|(_, rules)| rules.disabled).map(|(layer, _)| *layer);
    found.ruling = policy::judge(&world.config.policy, layers, &findings.facts);
    let Ruling::CannotTell(rule) = &found.ruling else { return Ok(()) };
    // The configuration has no such rule without a file, but an account may.
    Err(findings.geo_error.take().unwrap_or_else(|| Error::Account {
        account: login.user().to_owned(),
        what: format!("has the rule {rule}, and the configuration no [geoip] database"),
    }))
}

/// What a driver gets that needs the password itself.
pub enum Revealed {
    /// The password in clear.
    Password(Secret),
    /// There is no such account, or it is disabled.
    Nobody,
    /// The account has no password that could be told; why not.
    Untold(String),
}

/// Finds the one password of an account that is stored in clear.
///
/// # Errors
/// The database cannot tell, or the account's data cannot be understood.
pub fn reveal(world: World<'_>, attempt: &Attempt, moment: Moment) -> Result<Revealed, Error> {
    let Some(authcid) = &attempt.authcid else { return Ok(Revealed::Nobody) };
    let accounts = &world.config.accounts;
    let login = Login::new(authcid, &accounts.default_domain);
    let mut stores = Stores::new(world.config, Deadline::new(moment.start, world.config.timeouts));
    let protocol = protocol(world, attempt);
    let found = Account::find(stores.accounts()?, accounts, &login, attempt, protocol)?;
    let Some(account) = found else { return Ok(Revealed::Nobody) };
    let name = account.username.as_deref().unwrap_or(login.user());
    let layers = world.config.policy.layers(name, Some(&account.rules));
    if layers.iter().any(|(_, rules)| rules.disabled) {
        return Ok(Revealed::Nobody);
    }
    let [stored] = &account.passwords[..] else {
        let what = "has not exactly one password, and this mechanism needs it in clear";
        return Ok(Revealed::Untold(what.to_owned()));
    };
    let clear = password::clear(stored, &accounts.passwords)
        .map_err(|fault| Error::Account { account: login.user().to_owned(), what: fault.0 })?;
    Ok(clear.map_or_else(
        || {
            Revealed::Untold(String::from(
                "has no password in clear ({PLAIN}), which this mechanism needs",
            ))
        },
        Revealed::Password,
    ))
}

/// Finds the account. Where somebody else has the passwords, there need be no table of accounts.
fn look_up(
    store: &mut Store,
    world: World<'_>,
    attempt: &Attempt,
    login: &Login,
    protocol: &str,
) -> Result<Option<Account>, Error> {
    let accounts = &world.config.accounts;
    let found = Account::find(store, accounts, login, attempt, protocol);
    let needs_table = accounts.are_given || matches!(attempt.proof, Proof::Password(_));
    match found {
        Err(Error::NoTable { .. }) if !needs_table => Ok(None),
        found => found,
    }
}

/// Holds the password against those stored, or against a dummy where there is no account.
fn verify(
    world: World<'_>,
    password: &Secret,
    account: Option<&Account>,
    login: &Login,
    found: &policy::Findings,
) -> Result<Credentials, Error> {
    let accounts = &world.config.accounts;
    let settings = &accounts.passwords;
    let configured = accounts.dummy_hash();
    let dummy = Dummy::load(&world.config.state_directory, configured, settings);
    let stored = account.map_or(&[][..], |account| &account.passwords);
    let candidate = Candidate { password, login: login.typed() };
    let refused = policy::refuses(&world.config.policy, &found.ruling);
    let verify = match refused || found.disabled.is_some() {
        true => password::verify_all,
        false => password::verify_any,
    };
    let right = verify(stored, settings, candidate, &dummy)
        .map_err(|fault| Error::Account { account: login.user().to_owned(), what: fault.0 })?;
    if world.recorded {
        dummy.learn(stored, settings);
    }
    Ok(match (account, right) {
        (None, _) => Credentials::NoAccount,
        (Some(_), true) => Credentials::Right,
        (Some(_), false) => Credentials::Wrong,
    })
}

/// Puts what was found together.
fn conclude(world: World<'_>, findings: &Findings) -> Verdict {
    Verdict {
        decision: policy::decide(&world.config.policy, &findings.found),
        country: findings.facts.country.known(),
        asn: findings.facts.asn.known(),
        username: findings.username.clone(),
    }
}

/// Writes the row.
fn record(
    world: World<'_>,
    attempt: &Attempt,
    stores: &mut Stores<'_>,
    verdict: &Verdict,
    moment: Moment,
) -> Result<(), Error> {
    if !world.recorded {
        return Ok(());
    }
    let protocol = protocol(world, attempt);
    let entry = Entry { time: moment.time, attempt, verdict, protocol };
    entry.append(stores.log()?, &world.config.log)
}

fn protocol<'a>(world: World<'a>, attempt: &'a Attempt) -> &'a str {
    attempt.options.protocol.as_deref().unwrap_or(&world.config.log.protocol)
}
