//! What each export does, in safe code: the clock is read here, and nowhere below.
#![forbid(unsafe_code)]

use std::ffi::CStr;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

use super::host;
use super::kept;
use crate::attempt::Attempt;
use crate::attempt::Options;
use crate::attempt::Proof;
use crate::attempt::Remote;
use crate::attempt::Ticket;
use crate::attempt::printable;
use crate::check;
use crate::check::Allowed;
use crate::check::Earlier;
use crate::check::Mode;
use crate::check::Moment;
use crate::check::World;
use crate::contain::Panic;
use crate::error::Error;
use crate::session;
use crate::session::Asked;
use crate::session::Session;
use crate::session::Settings;
use crate::tables::counters::Standing;
use crate::verdict::Verdict;
use crate::verdict::maillog::MailLog;
use crate::verdict::outcome::Outcome;

/// What Exim gets back.
pub(super) struct Answer {
    pub(super) code: i32,
    pub(super) text: &'static CStr,
}

impl Answer {
    /// An answer of functions that never fail.
    pub(super) const EMPTY: Self = Self { code: 0, text: c"" };

    pub(super) fn text(text: &'static CStr) -> Self {
        Self { code: 0, text }
    }
}

impl From<Outcome> for Answer {
    fn from(outcome: Outcome) -> Self {
        let (code, text) = outcome.to_exim();
        Self { code, text }
    }
}

pub(super) fn mail_log() -> MailLog<'static> {
    MailLog::new(&host::log)
}

pub(super) fn miscounted() -> Error {
    Error::Call(String::from(
        "got more than 7 arguments, which Exim cannot count: correct the ${dlfunc} call",
    ))
}

/// Says that a call panicked.
pub(super) fn report_bug(function: &str, panic: &Panic) {
    mail_log().bug(function, panic);
}

/// Decides an attempt.
pub(super) fn check(session: &mut Session, arguments: Option<&[&[u8]]>) -> Answer {
    let start = Instant::now();
    session.begin();
    let attempt = arguments.ok_or_else(miscounted).and_then(Attempt::parse);
    answer(session, "check", attempt, start, None)
}

/// The same for an attempt whose password somebody else has found right.
pub(super) fn authorize(session: &mut Session, arguments: Option<&[&[u8]]>) -> Answer {
    let authcid = arguments.and_then(<[_]>::first).map(|authcid| authcid.to_vec());
    // A right proof that is refused takes as long as a wrong one: from the same start.
    let asked = session.asked.take().filter(|asked| Some(&asked.authcid) == authcid.as_ref());
    let start = asked.as_ref().map_or_else(Instant::now, |asked| asked.start);
    let standing = asked.and_then(|asked| asked.standing);
    session.begin();
    session.authorized = authcid.clone().map(|authcid| (authcid, String::new()));
    let attempt = arguments
        .ok_or_else(miscounted)
        .and_then(|arguments| Attempt::parse_proved("authorize", Proof::Proved, arguments));
    let answer = answer(session, "authorize", attempt, start, standing);
    let username = session.last.as_ref().map(|verdict| verdict.username.clone());
    session.authorized = authcid.zip(username);
    answer
}

fn answer(
    session: &mut Session,
    function: &str,
    attempt: Result<Attempt, Error>,
    start: Instant,
    standing: Option<Standing>,
) -> Answer {
    let mut attempt = match attempt {
        Ok(attempt) => attempt,
        Err(e) => {
            mail_log().trouble(function, &e);
            return Outcome::CannotTell.into();
        }
    };
    let (outcome, failure_time) = decide(session, &mut attempt, standing);
    if outcome == Outcome::Reject {
        hold_back(start, failure_time);
    }
    outcome.into()
}

/// Decides what hangs on the address alone, and remembers it for this connection.
pub(super) fn allow(session: &mut Session, arguments: Option<&[&[u8]]>) -> Answer {
    let attempt = arguments
        .ok_or_else(miscounted)
        .and_then(|arguments| Attempt::parse_address("allow", arguments));
    let attempt = match attempt {
        Ok(attempt) => attempt,
        Err(e) => {
            mail_log().trouble("allow", &e);
            let remote = arguments.and_then(<[_]>::first).copied().unwrap_or_default();
            let error = Some(format!("allow could not be asked: {e}"));
            let allowed = Allowed { rule: None, error };
            session.remember_allowed(None, Remote::parse(remote).text(), allowed);
            return Outcome::Accept.into();
        }
    };
    let config = attempt.options.config.as_deref();
    let allowed = match session.current_settings(config) {
        Ok(settings) => check::allow(world(settings), &attempt, moment()),
        Err(e) => Allowed { rule: None, error: Some(e.to_string()) },
    };
    let outcome = if allowed.is_no() { Outcome::Reject } else { Outcome::Accept };
    session.remember_allowed(Some(session::path(config)), attempt.remote.text(), allowed);
    outcome.into()
}

/// Ends an attempt of a driver that asks `authorize` after its own proof: where it did not come to
/// that, the proof was wrong.
pub(super) fn finish(session: &mut Session, arguments: Option<&[&[u8]]>) -> Answer {
    let authcid = arguments.and_then(<[_]>::first).copied().unwrap_or_default();
    let authorized = session.authorized.take();
    if authorized.is_some() {
        // `authorize` has left the row.
        let ticket = Ticket::default();
        ticket.mark_recorded();
        session.ticket = Some(Arc::new(ticket));
    }
    let asked = session.asked.take().filter(|asked| asked.authcid == authcid);
    // Without a name, somebody has begun a proof, or it is no attempt.
    if authcid.is_empty() && asked.is_none() && authorized.is_none() {
        return Answer::EMPTY;
    }
    let name = match authorized {
        Some((known, username)) => {
            // Nobody becomes who was not authorized, whatever this call was told.
            if !is_same_name(authcid, &known, &username) {
                record_other(session, arguments);
            }
            if username.is_empty() {
                return Answer::text(kept::tainted(&printable(&known)));
            }
            username
        }
        None => fail(session, asked, arguments),
    };
    let name = if name.is_empty() { printable(authcid) } else { name };
    Answer::text(kept::tainted(&name))
}

/// True if `finish` came for the name that `authorize` decided about, or for the account's own.
fn is_same_name(authcid: &[u8], authorized: &[u8], username: &str) -> bool {
    authcid.eq_ignore_ascii_case(authorized) || authcid.eq_ignore_ascii_case(username.as_bytes())
}

/// Records that `finish` was called for another name than `authorize`. Nothing is known about this name.
/// `last` still returns the decision of `authorize`.
fn record_other(session: &mut Session, arguments: Option<&[&[u8]]>) {
    let what = "finish got another authcid than authorize: correct the ${dlfunc} call";
    let is_named = arguments.and_then(<[_]>::first).is_some_and(|authcid| !authcid.is_empty());
    let proof = Proof::Unknown(what.to_owned());
    match Attempt::parse_proved("finish", proof, arguments.unwrap_or_default()) {
        Ok(mut attempt) if is_named => {
            let authorized = session.last.take();
            let _ = decide(session, &mut attempt, None);
            session.last = authorized;
        }
        Ok(_) => mail_log().trouble("finish", &Error::Call(what.to_owned())),
        Err(e) => mail_log().trouble("finish", &e),
    }
}

/// Records an attempt whose client gets no 235; answers the name of the account.
fn fail(session: &mut Session, asked: Option<Asked>, arguments: Option<&[&[u8]]>) -> String {
    let start = asked.as_ref().map_or_else(Instant::now, |asked| asked.start);
    session.begin();
    let (proof, standing) = asked.map_or((Proof::Refuted, None), |asked| {
        let gave_up = asked.scram.is_some_and(|scram| !scram.proof_came);
        let gave_up = gave_up && matches!(asked.proof, Proof::Refuted);
        (if gave_up { Proof::GivenUp } else { asked.proof }, asked.standing)
    });
    let attempt = arguments
        .ok_or_else(miscounted)
        .and_then(|arguments| Attempt::parse_proved("finish", proof, arguments));
    match attempt {
        Ok(mut attempt) => {
            let (_, failure_time) = decide(session, &mut attempt, standing);
            // Whatever we say, the driver may have decided on a 535.
            hold_back(start, failure_time);
            session.last.as_ref().map(|verdict| verdict.username.clone()).unwrap_or_default()
        }
        Err(e) => {
            mail_log().trouble("finish", &e);
            String::new()
        }
    }
}

/// A refusal does not leave before `failure_time` is over.
fn hold_back(start: Instant, failure_time: Duration) {
    std::thread::sleep(failure_time.saturating_sub(start.elapsed()));
}

/// The outcome, and how long a refusal takes at the least.
fn decide(
    session: &mut Session,
    attempt: &mut Attempt,
    standing: Option<Standing>,
) -> (Outcome, Duration) {
    let moment = moment();
    attempt.ticket = Arc::new(check::ticket(moment.time));
    session.ticket = Some(Arc::clone(&attempt.ticket));
    #[cfg(feature = "deliberate-panic")]
    super::deliberate::in_decide();
    let config = attempt.options.config.as_deref();
    let earlier = Earlier { allowed: session.allowed(config, &attempt.remote.text()), standing };
    let (verdict, failure_time) = match session.settings(config) {
        Ok(settings) => {
            let verdict = check::check(world(settings), attempt, moment, earlier);
            (verdict, settings.config.failure_time)
        }
        // Nobody knows where the row would go: the line is all there is.
        Err(e) => {
            let verdict = Verdict::cannot_tell(attempt.shown.to_lowercase());
            mail_log().attempt(attempt, &verdict, Some(&e));
            (verdict, Duration::ZERO)
        }
    };
    let outcome = verdict.outcome();
    session.last = Some(verdict);
    (outcome, failure_time)
}

pub(super) fn world(settings: &Settings) -> World<'_> {
    World {
        config: &settings.config,
        geo: settings.geo.as_ref(),
        asns: settings.asns.as_ref(),
        log: mail_log(),
        mode: if host::is_host_checking() { Mode::Played } else { Mode::Real },
        wait: std::thread::sleep,
    }
}

/// Of this call, not of the attempt: what a client took to answer is no time of the databases.
#[allow(clippy::disallowed_methods, reason = "this is where the clock is read")]
pub(super) fn moment() -> Moment {
    Moment { time: SystemTime::now(), start: Instant::now() }
}

/// The country of an address.
pub(super) fn country(session: &mut Session, arguments: Option<&[&[u8]]>) -> Answer {
    match look_up(session, arguments) {
        Ok(code) => Answer::text(kept::plain(&code)),
        Err(e) => {
            mail_log().trouble("country", &e);
            Answer::EMPTY
        }
    }
}

fn look_up(session: &mut Session, arguments: Option<&[&[u8]]>) -> Result<String, Error> {
    let [remote, options @ ..] = arguments.ok_or_else(miscounted)? else {
        return Err(Error::Call(String::from("country wants an address, and got no argument")));
    };
    let options = Options::parse(options)?;
    let settings = session.current_settings(options.config.as_deref())?;
    let country = match (Remote::parse(remote), &settings.geo) {
        (Remote::Address(address), Some(geo)) => {
            geo.country(settings.config.policy.nat64.read(address).effective())?
        }
        (Remote::Local | Remote::Address(_) | Remote::Unusable(_), _) => None,
    };
    Ok(country.map(|country| country.to_string()).unwrap_or_default())
}

/// One fact of the latest verdict.
pub(super) fn last(session: &mut Session, arguments: Option<&[&[u8]]>) -> Answer {
    let field = arguments.and_then(|arguments| arguments.first());
    let field = field.and_then(|field| std::str::from_utf8(field).ok()).unwrap_or_default();
    let Some(verdict) = &session.last else { return Answer::EMPTY };
    match verdict.fact(field) {
        Some(fact) if field == "username" => Answer::text(kept::tainted(&fact)),
        Some(fact) => Answer::text(kept::plain(&fact)),
        None => {
            let what = "knows status, reason, rule, country, asn, username, auth_ok, policy_reject: \
                        correct the ${dlfunc} call";
            mail_log().trouble("last", &Error::Call(what.to_owned()));
            Answer::EMPTY
        }
    }
}

/// Reads what attempts will need, in the daemon that their processes are forked from; the value that
/// Exim asked for comes back as it was. What is wrong with a file, the attempts will say: here it
/// would be a line for each connection.
pub(super) fn preload(session: &mut Session, arguments: Option<&[&[u8]]>) -> Answer {
    let options = arguments
        .ok_or_else(miscounted)
        .and_then(|arguments| Options::parse(arguments.get(1..).unwrap_or_default()));
    match options {
        Ok(options) => drop(session.preload(options.config.as_deref())),
        Err(e) => mail_log().trouble("preload", &e),
    }
    // The boundary puts the value in its place.
    Answer::EMPTY
}

/// Who we are.
pub(super) fn version(_: &mut Session, _: Option<&[&[u8]]>) -> Answer {
    Answer::text(kept::plain(concat!("authpolicy ", env!("CARGO_PKG_VERSION"))))
}
