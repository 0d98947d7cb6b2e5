//! The session after a panic: the attempt is forgotten, and its later calls cannot tell.
//!
//! A function may have panicked before it did anything, so this uses its arguments alone. The
//! attempt gets a row that records the panic, unless its own row is already recorded.
#![forbid(unsafe_code)]

use std::time::Instant;

use super::calls;
use crate::attempt::Attempt;
use crate::attempt::Proof;
use crate::attempt::Remote;
use crate::check;
use crate::check::Allowed;
use crate::error::Error;
use crate::password::Keys;
use crate::session::DriverExchange;
use crate::session::ScramExchange;
use crate::session::Session;

/// The error of the row and of later calls.
const ERROR: &str = "internal error, see the line above";

/// Ends an attempt as "cannot tell".
pub(super) fn check(session: &mut Session, arguments: Option<&[&[u8]]>) {
    session.begin();
    record(session, arguments.map(Attempt::parse));
}

/// Ends an attempt, unless `authorize` has already ended it.
pub(super) fn finish(session: &mut Session, arguments: Option<&[&[u8]]>) {
    let has_name = argument(arguments, 0).is_some_and(|authcid| !authcid.is_empty());
    let is_attempt = session.authorized.is_none() && (has_name || session.exchange.is_some());
    session.begin();
    if is_attempt {
        record(session, proved_attempt("finish", arguments));
    }
}

/// Ends an attempt. The `finish` that follows must not record a wrong proof.
pub(super) fn authorize(session: &mut Session, arguments: Option<&[&[u8]]>) {
    session.begin();
    session.authorized = argument(arguments, 0).map(|authcid| (authcid, String::new()));
    record(session, proved_attempt("authorize", arguments));
}

/// Makes `finish` record that the proof is unknown, not that it is wrong.
pub(super) fn secret(session: &mut Session, arguments: Option<&[&[u8]]>) {
    session.begin();
    session.exchange = argument(arguments, 0).map(|authcid| unknown_exchange(authcid, None));
}

fn proved_attempt(function: &str, arguments: Option<&[&[u8]]>) -> Option<Result<Attempt, Error>> {
    let proof = Proof::Unknown(String::from(ERROR));
    arguments.map(|arguments| Attempt::parse_proved(function, proof, arguments))
}

/// Writes the row. There is none if the call in Exim's configuration is wrong, or if its
/// `authpolicy.toml` cannot be read.
fn record(session: &mut Session, attempt: Option<Result<Attempt, Error>>) {
    let Some(Ok(mut attempt)) = attempt else { return };
    let start_time = calls::start_time();
    let ticket = session.ticket.take();
    attempt.ticket = ticket.unwrap_or_else(|| check::ticket(start_time.time).into());
    let recorded = session
        .settings(attempt.options.config.as_deref())
        .and_then(|settings| check::record_broken(calls::context(settings), &attempt, start_time));
    if let Err(e) = recorded {
        calls::mail_log().trouble("journal", &e);
    }
}

/// Makes the other keys of the attempt empty, and makes `secret` fail for it.
pub(super) fn scram(session: &mut Session, arguments: Option<&[&[u8]]>) {
    session.begin();
    let keys = Some(ScramExchange { keys: Keys::none(), has_proof: false });
    session.exchange = argument(arguments, 1).map(|authcid| unknown_exchange(authcid, keys));
}

/// Makes attempts of this address get 435, because it is unknown if rules refuse it.
pub(super) fn allow(session: &mut Session, arguments: Option<&[&[u8]]>) {
    let remote = Remote::parse(&argument(arguments, 0).unwrap_or_default());
    let error = Some(format!("allow: {ERROR}"));
    session.remember_allowed(None, remote.text(), Allowed { rule: None, error });
}

fn argument(arguments: Option<&[&[u8]]>, index: usize) -> Option<Vec<u8>> {
    arguments?.get(index).map(|argument| argument.to_vec())
}

/// An exchange whose proof could not be checked.
fn unknown_exchange(authcid: Vec<u8>, scram: Option<ScramExchange>) -> DriverExchange {
    let proof = Proof::Unknown(String::from(ERROR));
    DriverExchange { authcid, start: Instant::now(), proof, attempt_limits: None, scram }
}
