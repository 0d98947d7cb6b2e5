//! What drivers get that hold a client's proof against it themselves: a password, or SCRAM's keys.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Instant;

use super::calls::Answer;
use super::calls::mail_log;
use super::calls::miscounted;
use super::calls::moment;
use super::calls::world;
use super::kept;
use crate::attempt::Attempt;
use crate::attempt::Proof;
use crate::check;
use crate::check::Earlier;
use crate::check::Revealed;
use crate::error::Error;
use crate::password::Keys;
use crate::session::Asked;
use crate::session::Scram;
use crate::session::Session;
use crate::verdict::outcome::Outcome;

const NO_KEYS: &str = "has keys that could not be asked for, see the line above";

/// The password that a driver needs to prove for itself that the client has it.
pub(super) fn secret(session: &mut Session, arguments: Option<&[&[u8]]>) -> Answer {
    let start = Instant::now();
    let authcid = arguments.and_then(<[_]>::first).map(|authcid| authcid.to_vec());
    let could_not_tell = session.asked.as_ref().is_some_and(|asked| {
        let is_this = Some(&asked.authcid) == authcid.as_ref() && asked.scram.is_some();
        is_this && matches!(asked.proof, Proof::Unknown(_) | Proof::NoRoom(_))
    });
    if could_not_tell {
        // The keys are empty since nobody can tell: no other way round the policy.
        return Outcome::CannotTell.into();
    }
    session.begin();
    let revealed = arguments
        .ok_or_else(miscounted)
        .and_then(|arguments| Attempt::parse_proved("secret", Proof::Awaited, arguments))
        .and_then(|attempt| {
            let config = attempt.options.config.as_deref();
            let allowed = session.allowed(config, &attempt.remote.text());
            let settings = session.settings(config)?;
            let earlier = Earlier { allowed, standing: None };
            Ok(check::reveal(world(settings), &attempt, moment(), earlier))
        });
    let (revealed, standing) = revealed.unwrap_or_else(|e| (Err(e), None));
    let no_secret = || Outcome::NoSecret.into();
    let (answer, proof) = match revealed {
        Ok(Revealed::Password(password)) => {
            (kept::secret(&password).map_or_else(no_secret, Answer::text), Proof::Refuted)
        }
        Ok(Revealed::Nobody) => (no_secret(), Proof::Refuted),
        Ok(Revealed::Refused) => (no_secret(), Proof::Unchecked),
        Ok(Revealed::Untold(why)) => (no_secret(), Proof::Unknown(why)),
        Err(e) => {
            mail_log().trouble("secret", &e);
            (Outcome::CannotTell.into(), unknown(&e, "could not be asked for, see the line above"))
        }
    };
    session.asked = authcid.map(|authcid| Asked { authcid, start, proof, standing, scram: None });
    answer
}

/// One of the keys that gsasl's SCRAM needs; all come from the first call of an attempt.
pub(super) fn scram(session: &mut Session, arguments: Option<&[&[u8]]>) -> Answer {
    let Some([field, arguments @ ..]) = arguments else {
        mail_log().trouble("scram", &miscounted());
        return Answer::EMPTY;
    };
    let authcid = arguments.first().copied().unwrap_or_default();
    let is_of_proof = matches!(*field, b"stored_key" | b"server_key");
    // Salt and iterations come first: asked for after the proof, they begin another attempt.
    let goes_on = session.asked.as_ref().is_some_and(|asked| {
        let scram = asked.scram.as_ref();
        asked.authcid == authcid && scram.is_some_and(|scram| is_of_proof || !scram.proof_came)
    });
    if !goes_on {
        session.asked = Some(begin_scram(session, authcid, arguments));
    }
    if is_of_proof {
        note_proof(session, arguments);
    }
    let Some(scram) = session.asked.as_ref().and_then(|asked| asked.scram.as_ref()) else {
        return Answer::EMPTY;
    };
    let keys = &scram.keys;
    match *field {
        b"iter" => Answer::text(kept::plain(&keys.iterations)),
        b"salt" => Answer::text(kept::plain(&keys.salt)),
        b"stored_key" => Answer::text(kept::plain(&keys.stored_key)),
        b"server_key" => Answer::text(kept::plain(&keys.server_key)),
        _ => {
            let what = "knows salt, iter, stored_key, server_key: correct the ${dlfunc} call";
            mail_log().trouble("scram", &Error::Call(what.to_owned()));
            Answer::EMPTY
        }
    }
}

/// Takes room for a guess when the client's proof has come, before the driver gets the keys to
/// check it. Without room the driver gets no keys, and asks `secret`.
fn note_proof(session: &mut Session, arguments: &[&[u8]]) {
    let Some(mut asked) = session.asked.take() else { return };
    let is_first =
        asked.scram.as_mut().is_some_and(|scram| !std::mem::replace(&mut scram.proof_came, true));
    if is_first && asked.standing.is_some() {
        let proved =
            Attempt::parse_proved("scram", Proof::Awaited, arguments).and_then(|attempt| {
                let settings = session.settings(attempt.options.config.as_deref())?;
                let earlier = Earlier { allowed: None, standing: asked.standing.take() };
                Ok(check::prove(world(settings), &attempt, moment(), earlier))
            });
        let (proved, standing) = proved.unwrap_or_else(|e| (Err(e), asked.standing.take()));
        asked.standing = standing;
        let refused = match proved {
            Ok(true) => None,
            Ok(false) => Some(Proof::Unchecked),
            Err(e) => {
                mail_log().trouble("scram", &e);
                Some(unknown(&e, NO_KEYS))
            }
        };
        if let Some(proof) = refused {
            asked.scram = Some(Scram { keys: Keys::none(), proof_came: true });
            asked.proof = proof;
        }
    }
    session.asked = Some(asked);
}

/// A proof that could not be looked at, with the reason.
fn unknown(e: &Error, why: &str) -> Proof {
    if let Error::NoRoom { limit } = e {
        return Proof::NoRoom(Arc::clone(limit));
    }
    Proof::Unknown(why.to_owned())
}

fn begin_scram(session: &mut Session, authcid: &[u8], arguments: &[&[u8]]) -> Asked {
    let start = Instant::now();
    session.begin();
    let found = Attempt::parse_proved("scram", Proof::Awaited, arguments).and_then(|attempt| {
        let config = attempt.options.config.as_deref();
        let allowed = session.allowed(config, &attempt.remote.text());
        let settings = session.settings(config)?;
        let earlier = Earlier { allowed, standing: None };
        Ok(check::scram(world(settings), &attempt, moment(), earlier))
    });
    let (found, standing) = found.unwrap_or_else(|e| (Err(e), None));
    let (keys, proof) = match found {
        Ok(found) => (found.keys, found.proof),
        Err(e) => {
            mail_log().trouble("scram", &e);
            (Keys::none(), unknown(&e, NO_KEYS))
        }
    };
    let scram = Some(Scram { keys, proof_came: false });
    Asked { authcid: authcid.to_vec(), start, proof, standing, scram }
}
