//! Texts that stay valid until the process ends, because Exim keeps pointers to answers.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::ffi::CStr;
use std::ffi::CString;
use std::sync::Mutex;
use std::sync::PoisonError;

use crate::exim;
use crate::secret::Secret;

/// A text that is valid until the process ends. Each is stored once. There are few countries and
/// facts, and at most one name for each attempt of a connection.
pub(super) fn plain(text: &str) -> &'static CStr {
    static INTERNED: Mutex<BTreeSet<&'static CStr>> = Mutex::new(BTreeSet::new());
    let Ok(text) = CString::new(text) else { return c"" };
    let mut interned = INTERNED.lock().unwrap_or_else(PoisonError::into_inner);
    match interned.get(text.as_c_str()) {
        Some(known) => known,
        None => {
            let fresh: &'static CStr = Box::leak(text.into_boxed_c_str());
            interned.insert(fresh);
            fresh
        }
    }
}

/// A text that contains what a client sent. Exim treats it as tainted, if its version allows that.
pub(super) fn tainted(text: &str) -> &'static CStr {
    let plain = plain(text);
    exim::tainted(plain).unwrap_or(plain)
}

/// A password, valid until the process ends. It is not stored with the texts that are returned
/// again.
pub(super) fn secret(password: &Secret) -> Option<&'static CStr> {
    // No client can prove a password that contains NUL.
    let text = CString::new(password.expose()).ok()?;
    Some(Box::leak(text.into_boxed_c_str()))
}
