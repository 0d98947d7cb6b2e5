//! The only exports: what Exim's `${dlfunc}` calls.
//!
//! Each export is one line around [`call_contained`], which turns Exim's argument vector into slices, keeps
//! panics inside and writes one answer. What an answer points to lives as long as the process.
//! See `include/authpolicy.h` for the contract as C sees it, docs/exim.md for Exim's side.
#![allow(unsafe_code, reason = "the boundary to C")]

mod broken;
mod calls;
#[cfg(feature = "deliberate-panic")]
mod deliberate;
mod host;
mod interned;
mod reveal;
mod version;

use std::ffi::CStr;
use std::ffi::c_char;
use std::ffi::c_int;
use std::ffi::c_uchar;
use std::sync::Mutex;
use std::sync::PoisonError;

use self::calls::ReturnValue;
use crate::contain;
use crate::session::Session;
use crate::signals::BlockedSignals;
use crate::verdict::reply::Reply;

/// More arguments than this Exim miscounts: with eight, its `argc` is 16 or 17 and reads past the
/// vector (expand.c, `read_subs`).
const MAX_ARGUMENTS: c_int = 7;

/// Exim is single-threaded; the lock is there for the type, and a panic must not poison it.
static SESSION: Mutex<Session> = Mutex::new(Session::new());

/// `check`: authcid, password, remote, then up to four name=value. `yes` or `no`, or a failure
/// when we cannot tell. Ends the attempt: one row, one log line.
///
/// # Safety
/// `answer` is valid for writing, `argv` holds `argc` NUL-terminated strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn check(
    answer: *mut *mut c_uchar,
    argc: c_int,
    argv: *mut *mut c_uchar,
) -> c_int {
    // SAFETY: our caller's promise is the one that `call_contained` asks for.
    unsafe { call_contained(answer, argc, argv, &CHECK) }
}

/// `allow`: remote. `no` where rules refuse the address for accounts without rules of their own,
/// else `yes`. Remembered for this address and configuration until the connection ends. No row, no
/// log line. Never fails.
///
/// # Safety
/// As for `check`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn allow(
    answer: *mut *mut c_uchar,
    argc: c_int,
    argv: *mut *mut c_uchar,
) -> c_int {
    // SAFETY: our caller's promise is the one that `call_contained` asks for.
    unsafe { call_contained(answer, argc, argv, &ALLOW) }
}

/// `authorize`: authcid, remote, then up to four name=value; the password was proved to somebody
/// else. `yes` or `no`, or a failure when we cannot tell. One row, one log line.
///
/// # Safety
/// As for `check`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn authorize(
    answer: *mut *mut c_uchar,
    argc: c_int,
    argv: *mut *mut c_uchar,
) -> c_int {
    // SAFETY: our caller's promise is the one that `call_contained` asks for.
    unsafe { call_contained(answer, argc, argv, &AUTHORIZE) }
}

/// `finish`: authcid, remote, then up to four name=value. The canonical username, or the authcid.
/// Ends the attempt: unless `authorize` decided it, one row and one log line of a wrong password.
/// Never fails.
///
/// # Safety
/// As for `check`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn finish(
    answer: *mut *mut c_uchar,
    argc: c_int,
    argv: *mut *mut c_uchar,
) -> c_int {
    // SAFETY: our caller's promise is the one that `call_contained` asks for.
    unsafe { call_contained(answer, argc, argv, &FINISH) }
}

/// `secret`: authcid, remote, then up to four name=value. The account's password, where it is
/// stored in clear; a forced failure where there is none, or a failure when we cannot tell.
///
/// # Safety
/// As for `check`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn secret(
    answer: *mut *mut c_uchar,
    argc: c_int,
    argv: *mut *mut c_uchar,
) -> c_int {
    // SAFETY: our caller's promise is the one that `call_contained` asks for.
    unsafe { call_contained(answer, argc, argv, &SECRET) }
}

/// `scram`: a field (salt, iter, stored_key, server_key), authcid, remote, then up to four
/// name=value. That field of the account's SCRAM keys; of keys that nobody has where there is no
/// account or a rule refuses; empty keys where we cannot tell. Never fails.
///
/// # Safety
/// As for `check`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn scram(
    answer: *mut *mut c_uchar,
    argc: c_int,
    argv: *mut *mut c_uchar,
) -> c_int {
    // SAFETY: our caller's promise is the one that `call_contained` asks for.
    unsafe { call_contained(answer, argc, argv, &SCRAM) }
}

/// `country`: remote. Its ISO 3166-1 code, or empty. Never fails.
///
/// # Safety
/// As for `check`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn country(
    answer: *mut *mut c_uchar,
    argc: c_int,
    argv: *mut *mut c_uchar,
) -> c_int {
    // SAFETY: our caller's promise is the one that `call_contained` asks for.
    unsafe { call_contained(answer, argc, argv, &COUNTRY) }
}

/// `last`: a field (status, reason, rule, country, asn, username, auth_ok, policy_reject). That fact
/// of the latest verdict, or empty. Never fails.
///
/// # Safety
/// As for `check`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn last(
    answer: *mut *mut c_uchar,
    argc: c_int,
    argv: *mut *mut c_uchar,
) -> c_int {
    // SAFETY: our caller's promise is the one that `call_contained` asks for.
    unsafe { call_contained(answer, argc, argv, &LAST) }
}

/// `preload`: value, then `config=`. The value, unchanged. Reads the configuration and the GeoIP
/// files, for the processes that are forked from this one. Never fails.
///
/// # Safety
/// As for `check`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn preload(
    answer: *mut *mut c_uchar,
    argc: c_int,
    argv: *mut *mut c_uchar,
) -> c_int {
    // SAFETY: our caller's promise is the one that `call_contained` asks for.
    let code = unsafe { call_contained(answer, argc, argv, &PRELOAD) };
    // The value itself, on every path: empty would be "no limit" to Exim.
    if argc > 0 && !argv.is_null() && !answer.is_null() {
        // SAFETY: there is a first argument.
        let value = unsafe { argv.read() };
        if !value.is_null() {
            // SAFETY: valid for writing by our own contract.
            unsafe { answer.write(value) };
        }
    }
    code
}

/// `version`: no argument. `authpolicy` and the version. Never fails.
///
/// # Safety
/// As for `check`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn version(
    answer: *mut *mut c_uchar,
    argc: c_int,
    argv: *mut *mut c_uchar,
) -> c_int {
    // SAFETY: our caller's promise is the one that `call_contained` asks for.
    unsafe { call_contained(answer, argc, argv, &VERSION) }
}

/// A function of Exim's configuration.
struct ExportedFunction {
    name: &'static str,
    call: fn(&mut Session, Option<&[&[u8]]>) -> ReturnValue,
    /// The answer where it panicked.
    on_panic: fn() -> ReturnValue,
    /// What the session says from then on.
    after_panic: fn(&mut Session, Option<&[&[u8]]>),
}

/// One that never fails, and tells without deciding anything.
const NEVER_FAILS: ExportedFunction = ExportedFunction {
    name: "",
    call: |_, _| ReturnValue::EMPTY,
    on_panic: || ReturnValue::EMPTY,
    after_panic: |_, _| {},
};

const CHECK: ExportedFunction = ExportedFunction {
    name: "check",
    call: calls::check,
    on_panic: || Reply::Bug.into(),
    after_panic: broken::check,
};
const ALLOW: ExportedFunction = ExportedFunction {
    name: "allow",
    call: calls::allow,
    on_panic: || Reply::Accept.into(),
    after_panic: broken::allow,
};
const AUTHORIZE: ExportedFunction = ExportedFunction {
    name: "authorize",
    call: calls::authorize,
    after_panic: broken::authorize,
    ..CHECK
};
const FINISH: ExportedFunction = ExportedFunction {
    name: "finish",
    call: calls::finish,
    after_panic: broken::finish,
    ..NEVER_FAILS
};
const SECRET: ExportedFunction =
    ExportedFunction { name: "secret", call: reveal::secret, after_panic: broken::secret, ..CHECK };
const SCRAM: ExportedFunction = ExportedFunction {
    name: "scram",
    call: reveal::scram,
    after_panic: broken::scram,
    ..NEVER_FAILS
};
const COUNTRY: ExportedFunction =
    ExportedFunction { name: "country", call: calls::country, ..NEVER_FAILS };
const LAST: ExportedFunction = ExportedFunction { name: "last", call: calls::last, ..NEVER_FAILS };
const PRELOAD: ExportedFunction =
    ExportedFunction { name: "preload", call: calls::preload, ..NEVER_FAILS };
const VERSION: ExportedFunction =
    ExportedFunction { name: "version", call: calls::version, ..NEVER_FAILS };

/// Runs a function between Exim and the rest: arguments in, no panic out, one answer.
///
/// # Safety
/// `answer` is valid for writing, `argv` holds `argc` NUL-terminated strings.
unsafe fn call_contained(
    answer: *mut *mut c_uchar,
    argc: c_int,
    argv: *mut *mut c_uchar,
    function: &ExportedFunction,
) -> c_int {
    let _blocked = BlockedSignals::new();
    let returned = contain::catch("wall", || {
        // The default hook would write to descriptor 2, which may be a client.
        contain::install_hook();
        // SAFETY: `argv` holds `argc` strings by our own contract.
        let arguments = unsafe { arguments(argc, argv) };
        let mut session = SESSION.lock().unwrap_or_else(PoisonError::into_inner);
        session.renew(std::process::id());
        session.ticket = None;
        #[cfg(feature = "deliberate-panic")]
        deliberate::panic_on_entry(function.name, arguments.as_deref());
        (function.call)(&mut session, arguments.as_deref())
    });
    let ReturnValue { code, text } = returned.unwrap_or_else(|panic| {
        let reported = contain::catch("report", || calls::report_bug(function.name, &panic));
        let forgotten = contain::catch("after-panic", || {
            // SAFETY: as above.
            let arguments = unsafe { arguments(argc, argv) };
            let mut session = SESSION.lock().unwrap_or_else(PoisonError::into_inner);
            (function.after_panic)(&mut session, arguments.as_deref());
        });
        // There is nobody left to tell of another panic.
        let _ = reported.and(forgotten).ok();
        (function.on_panic)()
    });
    if !answer.is_null() {
        // SAFETY: not null, and valid for writing by our own contract. Exim does not write to what
        // it points to, so that pointing to constants is sound.
        unsafe { answer.write(text.as_ptr().cast_mut().cast::<c_uchar>()) };
    }
    code
}

/// Exim's argument vector as slices; `None` where there are more than Exim can count.
///
/// # Safety
/// `argv` holds `argc` NUL-terminated strings that nobody changes during the call.
unsafe fn arguments<'a>(argc: c_int, argv: *mut *mut c_uchar) -> Option<Vec<&'a [u8]>> {
    if argc > MAX_ARGUMENTS || (argv.is_null() && argc > 0) {
        return None;
    }
    let mut arguments = Vec::new();
    for index in 0..usize::try_from(argc).unwrap_or(0) {
        // SAFETY: `index` is below `argc`, up to which the vector is readable.
        let slot = unsafe { argv.add(index) };
        // SAFETY: as above.
        let text = unsafe { slot.read() };
        if text.is_null() {
            return None;
        }
        // SAFETY: not null, NUL-terminated, and Exim's for the whole call by our own contract.
        arguments.push(unsafe { CStr::from_ptr(text.cast::<c_char>()) }.to_bytes());
    }
    Some(arguments)
}

#[cfg(test)]
mod tests;
