//! Passwords and SCRAM keys for drivers that check the client's proof themselves.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Instant;

use super::calls::ReturnValue;
use super::calls::context;
use super::calls::mail_log;
use super::calls::start_time;
use super::calls::too_many_arguments;
use super::interned;
use crate::attempt::Attempt;
use crate::attempt::Proof;
use crate::check;
use crate::check::EarlierCalls;
use crate::check::Revealed;
use crate::error::Error;
use crate::password::Keys;
use crate::session::DriverExchange;
use crate::session::ScramExchange;
use crate::session::Session;
use crate::verdict::reply::Reply;

/// The reason in the row if the SCRAM keys cannot be read.
const NO_KEYS: &str = "has SCRAM keys that the driver could not get, see the line above";

/// Returns the password that a driver needs to check the client's proof.
pub(super) fn secret(session: &mut Session, arguments: Option<&[&[u8]]>) -> ReturnValue {
    let start = Instant::now();
    let authcid = arguments.and_then(<[_]>::first).map(|authcid| authcid.to_vec());
    let has_no_keys = session.exchange.as_ref().is_some_and(|exchange| {
        let is_this = Some(&exchange.authcid) == authcid.as_ref() && exchange.scram.is_some();
        is_this && matches!(exchange.proof, Proof::Unknown(_) | Proof::LimitFull(_))
    });
    if has_no_keys {
        // The SCRAM keys are empty because the plugin cannot tell. The driver then asks for the
        // password, which would bypass the policy.
        return Reply::CannotTell.into();
    }
    session.begin();
    let revealed = arguments
        .ok_or_else(too_many_arguments)
        .and_then(|arguments| Attempt::parse_proved("secret", Proof::Awaited, arguments))
        .and_then(|attempt| {
            let config = attempt.options.config.as_deref();
            let allowed = session.allowed(config, &attempt.remote.text());
            let settings = session.settings(config)?;
            let earlier = EarlierCalls { allowed, attempt_limits: None };
            Ok(check::reveal(context(settings), &attempt, start_time(), earlier))
        });
    let (revealed, attempt_limits) = revealed.unwrap_or_else(|e| (Err(e), None));
    let no_secret = || Reply::NoSecret.into();
    let (answer, proof) = match revealed {
        Ok(Revealed::Password(password)) => {
            (interned::secret(&password).map_or_else(no_secret, ReturnValue::text), Proof::Refuted)
        }
        Ok(Revealed::NoAccount) => (no_secret(), Proof::Refuted),
        Ok(Revealed::Refused) => (no_secret(), Proof::Unchecked),
        Ok(Revealed::NoClearPassword(why)) => (no_secret(), Proof::Unknown(why)),
        Err(e) => {
            mail_log().trouble("secret", &e);
            (
                Reply::CannotTell.into(),
                unknown_proof(
                    &e,
                    "has a password that the driver could not get, see the line above",
                ),
            )
        }
    };
    session.exchange = authcid.map(|authcid| DriverExchange {
        authcid,
        start,
        proof,
        attempt_limits,
        scram: None,
    });
    answer
}

/// Returns one of the keys that gsasl's SCRAM needs. All come from the first call of an attempt.
pub(super) fn scram(session: &mut Session, arguments: Option<&[&[u8]]>) -> ReturnValue {
    let (field, arguments) = match arguments {
        Some([field, arguments @ ..]) => (field, arguments),
        Some([]) => {
            let what = "scram needs a field, authcid and remote, but got no argument: correct the \
                        ${dlfunc} call";
            mail_log().trouble("scram", &Error::Call(what.to_owned()));
            return ReturnValue::EMPTY;
        }
        None => {
            mail_log().trouble("scram", &too_many_arguments());
            return ReturnValue::EMPTY;
        }
    };
    let authcid = arguments.first().copied().unwrap_or_default();
    let is_after_proof = matches!(*field, b"stored_key" | b"server_key");
    // A driver asks for salt and iterations before the proof. Asking after it begins a new attempt.
    let continues = session.exchange.as_ref().is_some_and(|exchange| {
        let scram = exchange.scram.as_ref();
        exchange.authcid == authcid && scram.is_some_and(|scram| is_after_proof || !scram.has_proof)
    });
    if !continues {
        session.exchange = Some(begin_scram(session, authcid, arguments));
    }
    if is_after_proof {
        reserve_for_proof(session, arguments);
    }
    let Some(scram) = session.exchange.as_ref().and_then(|exchange| exchange.scram.as_ref()) else {
        return ReturnValue::EMPTY;
    };
    let keys = &scram.keys;
    match *field {
        b"iter" => ReturnValue::text(interned::plain(&keys.iterations)),
        b"salt" => ReturnValue::text(interned::plain(&keys.salt)),
        b"stored_key" => ReturnValue::text(interned::plain(&keys.stored_key)),
        b"server_key" => ReturnValue::text(interned::plain(&keys.server_key)),
        _ => {
            let what = "the field is not one of salt, iter, stored_key, server_key: correct the \
                        ${dlfunc} call";
            mail_log().trouble("scram", &Error::Call(what.to_owned()));
            ReturnValue::EMPTY
        }
    }
}

/// Reserves room with the limits when the client's proof has come, before the driver gets the keys
/// to check it. Without room, the driver gets no keys, and asks `secret`.
fn reserve_for_proof(session: &mut Session, arguments: &[&[u8]]) {
    let Some(mut exchange) = session.exchange.take() else { return };
    let is_first =
        exchange.scram.as_mut().is_some_and(|scram| !std::mem::replace(&mut scram.has_proof, true));
    if is_first && exchange.attempt_limits.is_some() {
        let proved =
            Attempt::parse_proved("scram", Proof::Awaited, arguments).and_then(|attempt| {
                let settings = session.settings(attempt.options.config.as_deref())?;
                let earlier =
                    EarlierCalls { allowed: None, attempt_limits: exchange.attempt_limits.take() };
                Ok(check::prove(context(settings), &attempt, start_time(), earlier))
            });
        let (proved, attempt_limits) =
            proved.unwrap_or_else(|e| (Err(e), exchange.attempt_limits.take()));
        exchange.attempt_limits = attempt_limits;
        let refused = match proved {
            Ok(true) => None,
            Ok(false) => Some(Proof::Unchecked),
            Err(e) => {
                mail_log().trouble("scram", &e);
                Some(unknown_proof(&e, NO_KEYS))
            }
        };
        if let Some(proof) = refused {
            exchange.scram = Some(ScramExchange { keys: Keys::none(), has_proof: true });
            exchange.proof = proof;
        }
    }
    session.exchange = Some(exchange);
}

/// A proof that could not be checked, with the reason.
fn unknown_proof(e: &Error, why: &str) -> Proof {
    if let Error::LimitFull { limit } = e {
        return Proof::LimitFull(Arc::clone(limit));
    }
    Proof::Unknown(why.to_owned())
}

/// Begins an attempt: finds the keys of the account.
fn begin_scram(session: &mut Session, authcid: &[u8], arguments: &[&[u8]]) -> DriverExchange {
    let start = Instant::now();
    session.begin();
    let found = Attempt::parse_proved("scram", Proof::Awaited, arguments).and_then(|attempt| {
        let config = attempt.options.config.as_deref();
        let allowed = session.allowed(config, &attempt.remote.text());
        let settings = session.settings(config)?;
        let earlier = EarlierCalls { allowed, attempt_limits: None };
        Ok(check::scram(context(settings), &attempt, start_time(), earlier))
    });
    let (found, attempt_limits) = found.unwrap_or_else(|e| (Err(e), None));
    let (keys, proof) = match found {
        Ok(found) => (found.keys, found.proof),
        Err(e) => {
            mail_log().trouble("scram", &e);
            (Keys::none(), unknown_proof(&e, NO_KEYS))
        }
    };
    let scram = Some(ScramExchange { keys, has_proof: false });
    DriverExchange { authcid: authcid.to_vec(), start, proof, attempt_limits, scram }
}
