//! What holds after a panic: nothing of the attempt, and no way on with it but "cannot tell".
//!
//! A function may have panicked before its first line, so this begins from its arguments alone.
#![forbid(unsafe_code)]

use std::time::Instant;

use crate::attempt::Proof;
use crate::attempt::Remote;
use crate::check::Allowed;
use crate::password::Keys;
use crate::session::Asked;
use crate::session::Scram;
use crate::session::Session;

const WHY: &str = "internal error, see the line above";

/// An attempt that nobody can say more about.
pub(super) fn attempt(session: &mut Session, _: Option<&[&[u8]]>) {
    session.begin();
}

/// `finish` comes yet: not to call the proof wrong.
pub(super) fn authorize(session: &mut Session, arguments: Option<&[&[u8]]>) {
    session.begin();
    session.authorized = argument(arguments, 0).map(|authcid| (authcid, String::new()));
}

/// The same.
pub(super) fn secret(session: &mut Session, arguments: Option<&[&[u8]]>) {
    session.begin();
    session.asked = argument(arguments, 0).map(|authcid| unknown(authcid, None));
}

/// The other keys of the attempt are empty, too, and `secret` is no way round them.
pub(super) fn scram(session: &mut Session, arguments: Option<&[&[u8]]>) {
    session.begin();
    let keys = Some(Scram { keys: Keys::none(), proof_came: false });
    session.asked = argument(arguments, 1).map(|authcid| unknown(authcid, keys));
}

/// Whether rules refuse the address, its attempts do not know.
pub(super) fn allow(session: &mut Session, arguments: Option<&[&[u8]]>) {
    let remote = Remote::parse(&argument(arguments, 0).unwrap_or_default());
    let error = Some(format!("allow: {WHY}"));
    session.allowed = Some((remote.text(), Allowed { rule: None, error }));
}

fn argument(arguments: Option<&[&[u8]]>, index: usize) -> Option<Vec<u8>> {
    arguments?.get(index).map(|argument| argument.to_vec())
}

fn unknown(authcid: Vec<u8>, scram: Option<Scram>) -> Asked {
    let proof = Proof::Unknown(String::from(WHY));
    Asked { authcid, start: Instant::now(), proof, standing: None, scram }
}
