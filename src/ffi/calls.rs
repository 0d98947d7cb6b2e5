//! The work of each export, in safe code. The clock is read here, and in no module below.
#![forbid(unsafe_code)]

use std::ffi::CStr;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use nix::time::ClockId;
use nix::time::clock_gettime;

use super::interned;
use crate::attempt::Attempt;
use crate::attempt::Options;
use crate::attempt::Proof;
use crate::attempt::Remote;
use crate::attempt::Ticket;
use crate::attempt::printable;
use crate::check;
use crate::check::Allowed;
use crate::check::Context;
use crate::check::EarlierCalls;
use crate::check::Mode;
use crate::check::SharedCache;
use crate::check::StartTime;
use crate::contain::Panic;
use crate::error::Error;
use crate::exim;
use crate::session;
use crate::session::DriverExchange;
use crate::session::LoadedConfig;
use crate::session::Session;
use crate::shared::Timestamp;
use crate::tables::counters::AttemptLimits;
use crate::verdict::Verdict;
use crate::verdict::maillog::MailLog;
use crate::verdict::reply::Reply;

/// The return code and the answer of a function.
pub(super) struct ReturnValue {
    pub(super) code: i32,
    pub(super) text: &'static CStr,
}

impl ReturnValue {
    /// The empty answer.
    pub(super) const EMPTY: Self = Self { code: 0, text: c"" };

    /// Success with this answer.
    pub(super) fn text(text: &'static CStr) -> Self {
        Self { code: 0, text }
    }
}

impl From<Reply> for ReturnValue {
    fn from(reply: Reply) -> Self {
        let (code, text) = reply.to_exim();
        Self { code, text }
    }
}

pub(super) fn mail_log() -> MailLog<'static> {
    MailLog::new(&write_line)
}

fn write_line(line: &str) {
    #[cfg(feature = "deliberate-panic")]
    super::deliberate::panic_on_log_line(line);
    exim::log(line);
}

/// The error of a call with more arguments than Exim counts correctly.
pub(super) fn too_many_arguments() -> Error {
    Error::Call(String::from(
        "got more than 7 arguments, which Exim cannot count: correct the ${dlfunc} call",
    ))
}

/// Logs that a call panicked.
pub(super) fn report_bug(function: &str, panic: &Panic) {
    mail_log().bug(function, panic);
}

/// Decides an attempt.
pub(super) fn check(session: &mut Session, arguments: Option<&[&[u8]]>) -> ReturnValue {
    let start = Instant::now();
    session.begin();
    let attempt = arguments.ok_or_else(too_many_arguments).and_then(Attempt::parse);
    reply(session, "check", attempt, start, None)
}

/// Decides an attempt whose password another program has proved.
pub(super) fn authorize(session: &mut Session, arguments: Option<&[&[u8]]>) -> ReturnValue {
    let authcid = arguments.and_then(<[_]>::first).map(|authcid| authcid.to_vec());
    // A right proof that is refused must take as long as a wrong one, so both have the same start.
    let exchange =
        session.exchange.take().filter(|exchange| Some(&exchange.authcid) == authcid.as_ref());
    let start = exchange.as_ref().map_or_else(Instant::now, |exchange| exchange.start);
    let attempt_limits = exchange.and_then(|exchange| exchange.attempt_limits);
    session.begin();
    session.authorized = authcid.clone().map(|authcid| (authcid, String::new()));
    let attempt = arguments
        .ok_or_else(too_many_arguments)
        .and_then(|arguments| Attempt::parse_proved("authorize", Proof::Proved, arguments));
    let answer = reply(session, "authorize", attempt, start, attempt_limits);
    let username = session.last.as_ref().map(|verdict| verdict.username.clone());
    session.authorized = authcid.zip(username);
    answer
}

/// Decides an attempt, and makes a refusal wait for `policy.failure_time`.
fn reply(
    session: &mut Session,
    function: &str,
    attempt: Result<Attempt, Error>,
    start: Instant,
    attempt_limits: Option<AttemptLimits>,
) -> ReturnValue {
    let mut attempt = match attempt {
        Ok(attempt) => attempt,
        Err(e) => {
            mail_log().trouble(function, &e);
            return Reply::CannotTell.into();
        }
    };
    let (reply, failure_time) = decide(session, &mut attempt, attempt_limits);
    if reply == Reply::Reject {
        wait_for_failure_time(start, failure_time);
    }
    reply.into()
}

/// Decides what depends on the address alone, and remembers it for this connection.
pub(super) fn allow(session: &mut Session, arguments: Option<&[&[u8]]>) -> ReturnValue {
    let attempt = arguments
        .ok_or_else(too_many_arguments)
        .and_then(|arguments| Attempt::parse_address("allow", arguments));
    let attempt = match attempt {
        Ok(attempt) => attempt,
        Err(e) => {
            mail_log().trouble("allow", &e);
            let remote = arguments.and_then(<[_]>::first).copied().unwrap_or_default();
            let error = Some(format!("the call of allow is invalid: {e}"));
            let allowed = Allowed { rule: None, error };
            session.remember_allowed(None, Remote::parse(remote).text(), allowed);
            return Reply::Accept.into();
        }
    };
    let config = attempt.options.config.as_deref();
    let allowed = match session.current_settings(config) {
        Ok(settings) => check::allow(context(settings), &attempt, start_time()),
        Err(e) => Allowed { rule: None, error: Some(e.to_string()) },
    };
    let reply = if allowed.is_refused() { Reply::Reject } else { Reply::Accept };
    session.remember_allowed(Some(session::path(config)), attempt.remote.text(), allowed);
    reply.into()
}

/// Ends an attempt of a driver that calls `authorize` after a right proof. Without that call, the
/// proof was wrong.
pub(super) fn finish(session: &mut Session, arguments: Option<&[&[u8]]>) -> ReturnValue {
    let authcid = arguments.and_then(<[_]>::first).copied().unwrap_or_default();
    let authorized = session.authorized.take();
    if authorized.is_some() {
        // `authorize` has written the row.
        let ticket = Ticket::default();
        ticket.mark_recorded();
        session.ticket = Some(Arc::new(ticket));
    }
    let exchange = session.exchange.take().filter(|exchange| exchange.authcid == authcid);
    // A call without a name is an attempt only if an earlier call began one.
    if authcid.is_empty() && exchange.is_none() && authorized.is_none() {
        return ReturnValue::EMPTY;
    }
    let name = match authorized {
        Some((known, username)) => {
            // Only the authorized name is returned, even if this call has another one.
            if !is_same_name(authcid, &known, &username) {
                record_other_name(session, arguments);
            }
            if username.is_empty() {
                return ReturnValue::text(interned::tainted(&printable(&known)));
            }
            username
        }
        None => record_failure(session, exchange, arguments),
    };
    let name = if name.is_empty() { printable(authcid) } else { name };
    ReturnValue::text(interned::tainted(&name))
}

/// True if `finish` was called for the name that `authorize` decided about, or for the canonical
/// name of its account.
fn is_same_name(authcid: &[u8], authorized: &[u8], username: &str) -> bool {
    authcid.eq_ignore_ascii_case(authorized) || authcid.eq_ignore_ascii_case(username.as_bytes())
}

/// Records that `finish` was called for another name than `authorize`. Nothing is known about this
/// name. `last` still returns the decision of `authorize`.
fn record_other_name(session: &mut Session, arguments: Option<&[&[u8]]>) {
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

/// Records an attempt that `authorize` did not decide. Returns the name of the account.
fn record_failure(
    session: &mut Session,
    exchange: Option<DriverExchange>,
    arguments: Option<&[&[u8]]>,
) -> String {
    let start = exchange.as_ref().map_or_else(Instant::now, |exchange| exchange.start);
    session.begin();
    let (proof, attempt_limits) = exchange.map_or((Proof::Refuted, None), |exchange| {
        let gave_up = exchange.scram.is_some_and(|scram| !scram.has_proof);
        let gave_up = gave_up && matches!(exchange.proof, Proof::Refuted);
        (if gave_up { Proof::GivenUp } else { exchange.proof }, exchange.attempt_limits)
    });
    let attempt = arguments
        .ok_or_else(too_many_arguments)
        .and_then(|arguments| Attempt::parse_proved("finish", proof, arguments));
    match attempt {
        Ok(mut attempt) => {
            let (_, failure_time) = decide(session, &mut attempt, attempt_limits);
            // The driver may have decided to reply 535, whatever our decision is.
            wait_for_failure_time(start, failure_time);
            session.last.as_ref().map(|verdict| verdict.username.clone()).unwrap_or_default()
        }
        Err(e) => {
            mail_log().trouble("finish", &e);
            String::new()
        }
    }
}

/// Waits until `failure_time` has passed since the start of the attempt.
fn wait_for_failure_time(start: Instant, failure_time: Duration) {
    std::thread::sleep(failure_time.saturating_sub(start.elapsed()));
}

/// Decides an attempt. Returns the reply, and the shortest time that a refusal must take.
fn decide(
    session: &mut Session,
    attempt: &mut Attempt,
    attempt_limits: Option<AttemptLimits>,
) -> (Reply, Duration) {
    let start_time = start_time();
    attempt.ticket = Arc::new(check::ticket(start_time.time));
    session.ticket = Some(Arc::clone(&attempt.ticket));
    #[cfg(feature = "deliberate-panic")]
    super::deliberate::panic_in_decide();
    let config = attempt.options.config.as_deref();
    let earlier =
        EarlierCalls { allowed: session.allowed(config, &attempt.remote.text()), attempt_limits };
    let shared = session.shared.map(|memory| SharedCache { memory, now: timestamp });
    let (verdict, failure_time) = match session.settings(config) {
        Ok(settings) => {
            let context = Context { shared, ..context(settings) };
            let verdict = check::check(context, attempt, start_time, earlier);
            (verdict, settings.config.failure_time)
        }
        // Without a configuration, there is no database for the row: the log line is the only
        // record.
        Err(e) => {
            let verdict = Verdict::cannot_tell(attempt.shown.to_lowercase());
            mail_log().attempt(attempt, &verdict, &[e]);
            (verdict, Duration::ZERO)
        }
    };
    let reply = verdict.reply();
    session.last = Some(verdict);
    (reply, failure_time)
}

/// The surroundings of an attempt under this configuration.
pub(super) fn context(settings: &LoadedConfig) -> Context<'_> {
    Context {
        config: &settings.config,
        geo: settings.geo.as_ref(),
        asns: settings.asns.as_ref(),
        log: mail_log(),
        mode: if exim::is_host_checking() { Mode::HostCheck } else { Mode::Live },
        wait: std::thread::sleep,
        shared: None,
    }
}

/// The start of this call. It is not the start of the attempt, because `database.attempt_timeout`
/// does not include the time that the client takes to reply.
#[allow(clippy::disallowed_methods, reason = "the only place that reads the clock")]
pub(super) fn start_time() -> StartTime {
    StartTime { time: SystemTime::now(), start: Instant::now() }
}

/// The time by which the content of shared memory ages, on both clocks.
#[allow(clippy::disallowed_methods, reason = "the only place that reads the clock")]
fn timestamp() -> Timestamp {
    let boot = clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from);
    Timestamp {
        wall: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
        // Without this clock, nothing in the memory is valid.
        boot: boot.unwrap_or(Duration::MAX),
    }
}

/// Returns the country of an address.
pub(super) fn country(session: &mut Session, arguments: Option<&[&[u8]]>) -> ReturnValue {
    match country_of(session, arguments) {
        Ok(code) => ReturnValue::text(interned::plain(&code)),
        Err(e) => {
            mail_log().trouble("country", &e);
            ReturnValue::EMPTY
        }
    }
}

fn country_of(session: &mut Session, arguments: Option<&[&[u8]]>) -> Result<String, Error> {
    let [remote, options @ ..] = arguments.ok_or_else(too_many_arguments)? else {
        return Err(Error::Call(String::from(
            "country needs an address, but got no argument: correct the ${dlfunc} call",
        )));
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

/// Returns one fact of the latest verdict.
pub(super) fn last(session: &mut Session, arguments: Option<&[&[u8]]>) -> ReturnValue {
    let field = arguments.and_then(|arguments| arguments.first());
    let field = field.and_then(|field| std::str::from_utf8(field).ok()).unwrap_or_default();
    let Some(verdict) = &session.last else { return ReturnValue::EMPTY };
    match verdict.fact(field) {
        Some(fact) if field == "username" => ReturnValue::text(interned::tainted(&fact)),
        Some(fact) => ReturnValue::text(interned::plain(&fact)),
        None => {
            let what = "the field is not one of status, reason, rule, country, asn, username, auth_ok, \
                        policy_reject: correct the ${dlfunc} call";
            mail_log().trouble("last", &Error::Call(what.to_owned()));
            ReturnValue::EMPTY
        }
    }
}

/// Reads the configuration and the GeoIP files in the daemon that forks the processes of attempts.
/// Does not report a wrong file, because each connection would write a line: the attempts report
/// it.
pub(super) fn preload(session: &mut Session, arguments: Option<&[&[u8]]>) -> ReturnValue {
    let options = arguments
        .ok_or_else(too_many_arguments)
        .and_then(|arguments| Options::parse(arguments.get(1..).unwrap_or_default()));
    exim::preload();
    match options {
        Ok(options) => drop(session.preload(options.config.as_deref())),
        Err(e) => mail_log().trouble("preload", &e),
    }
    // `super::preload` replaces this by the value.
    ReturnValue::EMPTY
}

/// Returns the name and the version of the plugin.
pub(super) fn version(_: &mut Session, _: Option<&[&[u8]]>) -> ReturnValue {
    ReturnValue::text(interned::plain(concat!("authpolicy ", env!("CARGO_PKG_VERSION"))))
}
