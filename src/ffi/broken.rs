//! What holds after a panic: nothing of the attempt, and no way on with it but "cannot tell".
//!
//! A function may have panicked before its first line, so this starts from its arguments alone. An
//! attempt that would have left a row leaves one for the panic, unless its own is recorded.
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

const WHY: &str = "internal error, see the line above";

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
        record(session, proved("finish", arguments));
    }
}

/// Ends an attempt; `finish` is still to come, and must not call the proof wrong.
pub(super) fn authorize(session: &mut Session, arguments: Option<&[&[u8]]>) {
    session.begin();
    session.authorized = argument(arguments, 0).map(|authcid| (authcid, String::new()));
    record(session, proved("authorize", arguments));
}

/// `finish` will leave the row, and must not call the proof wrong.
pub(super) fn secret(session: &mut Session, arguments: Option<&[&[u8]]>) {
    session.begin();
    session.exchange = argument(arguments, 0).map(|authcid| unknown(authcid, None));
}

fn proved(function: &str, arguments: Option<&[&[u8]]>) -> Option<Result<Attempt, Error>> {
    let proof = Proof::Unknown(String::from(WHY));
    arguments.map(|arguments| Attempt::parse_proved(function, proof, arguments))
}

/// Leaves the row. There is none if the call in Exim's configuration is wrong, or if the
/// configuration that it names cannot be read.
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

/// The other keys of the attempt are empty, too, and `secret` is no way round them.
pub(super) fn scram(session: &mut Session, arguments: Option<&[&[u8]]>) {
    session.begin();
    let keys = Some(ScramExchange { keys: Keys::none(), has_proof: false });
    session.exchange = argument(arguments, 1).map(|authcid| unknown(authcid, keys));
}

/// Whether rules refuse the address, its attempts do not know.
pub(super) fn allow(session: &mut Session, arguments: Option<&[&[u8]]>) {
    let remote = Remote::parse(&argument(arguments, 0).unwrap_or_default());
    let error = Some(format!("allow: {WHY}"));
    session.remember_allowed(None, remote.text(), Allowed { rule: None, error });
}

fn argument(arguments: Option<&[&[u8]]>, index: usize) -> Option<Vec<u8>> {
    arguments?.get(index).map(|argument| argument.to_vec())
}

fn unknown(authcid: Vec<u8>, scram: Option<ScramExchange>) -> DriverExchange {
    let proof = Proof::Unknown(String::from(WHY));
    DriverExchange { authcid, start: Instant::now(), proof, attempt_limits: None, scram }
}
