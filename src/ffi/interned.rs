//! Texts that outlive a call, as Exim keeps pointers to what it was answered.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::ffi::CStr;
use std::ffi::CString;
use std::sync::Mutex;
use std::sync::PoisonError;

use super::host;
use crate::secret::Secret;

/// A text that lives as long as the process. Each is kept once: countries and facts are few, and
/// names at most as many as attempts in one connection.
pub(super) fn plain(text: &str) -> &'static CStr {
    static KEPT: Mutex<BTreeSet<&'static CStr>> = Mutex::new(BTreeSet::new());
    let Ok(text) = CString::new(text) else { return c"" };
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    match kept.get(text.as_c_str()) {
        Some(known) => known,
        None => {
            let fresh: &'static CStr = Box::leak(text.into_boxed_c_str());
            kept.insert(fresh);
            fresh
        }
    }
}

/// The same for what a client sent, which Exim must go on distrusting.
pub(super) fn tainted(text: &str) -> &'static CStr {
    let plain = plain(text);
    host::tainted(plain).unwrap_or(plain)
}

/// A password, for as long as the process lives: Exim may hold on to what it was given. Kept apart
/// from the texts that are handed out twice.
pub(super) fn secret(password: &Secret) -> Option<&'static CStr> {
    // No client could prove that it has one with NUL in it.
    let text = CString::new(password.expose()).ok()?;
    Some(Box::leak(text.into_boxed_c_str()))
}
