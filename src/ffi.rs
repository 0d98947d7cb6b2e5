//! The exported functions: everything that Exim's `${dlfunc}` can call.
//!
//! Each export is one call of [`call_contained`], which turns Exim's argument vector into slices,
//! catches panics and sets the answer. An answer stays valid until the process ends.
//! `include/authpolicy.h` has the contract for C, docs/exim.md describes Exim's side.
#![allow(unsafe_code, reason = "the boundary to C")]

mod broken;
mod calls;
#[cfg(feature = "deliberate-panic")]
mod deliberate;
mod interned;
mod reveal;

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

/// The most arguments that Exim counts correctly. With eight, its `argc` is 16 or 17, which is
/// beyond the end of the vector (expand.c, `read_subs`).
const MAX_ARGUMENTS: c_int = 7;

/// Exim is single-threaded. The lock is there because a static needs one. A poisoned lock is used
/// all the same, so that the plugin still works after a panic.
static SESSION: Mutex<Session> = Mutex::new(Session::new());

/// Decides an attempt whose password the client has sent (PLAIN, LOGIN).
///
/// - Arguments: authcid, password, remote, up to four named ones.
/// - Answer: `yes` or `no`; FAIL if the plugin cannot tell.
/// - Writes one row and one log line.
///
/// # Safety
/// `answer` is NULL or valid for writing. `argv` holds `argc` NUL-terminated strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn check(
    answer: *mut *mut c_uchar,
    argc: c_int,
    argv: *mut *mut c_uchar,
) -> c_int {
    // SAFETY: our caller promises what `call_contained` requires.
    unsafe { call_contained(answer, argc, argv, &CHECK) }
}

/// Decides what depends on the client's address alone, before the client gives a name.
///
/// - Arguments: remote, `config=`, `protocol=`.
/// - Answer: `no` if a rule refuses the address for accounts without their own rules, else `yes`.
///   Never fails; if the plugin cannot tell, the answer is `yes`, and the AUTH that follows gets
///   435.
/// - Remembers the decision for this address and configuration until the connection ends.
/// - Writes no row, and no log line unless there is an error in the call.
///
/// # Safety
/// As for `check`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn allow(
    answer: *mut *mut c_uchar,
    argc: c_int,
    argv: *mut *mut c_uchar,
) -> c_int {
    // SAFETY: our caller promises what `call_contained` requires.
    unsafe { call_contained(answer, argc, argv, &ALLOW) }
}

/// Decides an attempt whose password another program has proved.
///
/// - Arguments: authcid, remote, up to four named ones.
/// - Answer: `yes` or `no`; FAIL if the plugin cannot tell.
/// - Writes one row and one log line.
///
/// # Safety
/// As for `check`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn authorize(
    answer: *mut *mut c_uchar,
    argc: c_int,
    argv: *mut *mut c_uchar,
) -> c_int {
    // SAFETY: our caller promises what `call_contained` requires.
    unsafe { call_contained(answer, argc, argv, &AUTHORIZE) }
}

/// Ends an attempt of a driver that uses `authorize`.
///
/// - Arguments: authcid, remote, up to four named ones.
/// - Answer: the account's canonical name, or the authcid. Empty if there was no attempt. Never
///   fails.
/// - If `authorize` was not called, the proof was wrong: writes one row and one log line.
///
/// # Safety
/// As for `check`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn finish(
    answer: *mut *mut c_uchar,
    argc: c_int,
    argv: *mut *mut c_uchar,
) -> c_int {
    // SAFETY: our caller promises what `call_contained` requires.
    unsafe { call_contained(answer, argc, argv, &FINISH) }
}

/// Returns the password of an account, for a driver that checks the client's proof itself.
///
/// - Arguments: authcid, remote, up to four named ones.
/// - Answer: the password, if the account has exactly one, stored in clear. FAIL_FORCED if it does
///   not, if there is no such account, or if a limit refuses the attempt. FAIL if the plugin cannot
///   tell.
/// - Writes no row: `authorize` or `finish` does.
///
/// # Safety
/// As for `check`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn secret(
    answer: *mut *mut c_uchar,
    argc: c_int,
    argv: *mut *mut c_uchar,
) -> c_int {
    // SAFETY: our caller promises what `call_contained` requires.
    unsafe { call_contained(answer, argc, argv, &SECRET) }
}

/// Returns one of the account's SCRAM keys, for a driver that checks the client's proof itself.
///
/// - Arguments: a field (`salt`, `iter`, `stored_key` or `server_key`), authcid, remote, up to four
///   named ones.
/// - Answer: the field. Fake keys, which no password matches, if there is no account or a rule
///   refuses the attempt. Empty if the plugin cannot tell. Never fails.
/// - Writes no row: `authorize` or `finish` does.
///
/// # Safety
/// As for `check`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn scram(
    answer: *mut *mut c_uchar,
    argc: c_int,
    argv: *mut *mut c_uchar,
) -> c_int {
    // SAFETY: our caller promises what `call_contained` requires.
    unsafe { call_contained(answer, argc, argv, &SCRAM) }
}

/// Returns the country of an address.
///
/// - Arguments: remote, `config=`.
/// - Answer: the ISO 3166-1 alpha-2 code, or empty if the country is unknown. Never fails.
///
/// # Safety
/// As for `check`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn country(
    answer: *mut *mut c_uchar,
    argc: c_int,
    argv: *mut *mut c_uchar,
) -> c_int {
    // SAFETY: our caller promises what `call_contained` requires.
    unsafe { call_contained(answer, argc, argv, &COUNTRY) }
}

/// Returns one fact of the latest attempt in this SMTP connection.
///
/// - Argument: a field (`status`, `reason`, `rule`, `country`, `asn`, `username`, `auth_ok` or
///   `policy_reject`).
/// - Answer: the fact, or empty if there is none. Never fails.
///
/// # Safety
/// As for `check`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn last(
    answer: *mut *mut c_uchar,
    argc: c_int,
    argv: *mut *mut c_uchar,
) -> c_int {
    // SAFETY: our caller promises what `call_contained` requires.
    unsafe { call_contained(answer, argc, argv, &LAST) }
}

/// Reads the configuration and the GeoIP files in Exim's daemon, for all processes that it forks.
///
/// - Arguments: a value, which may be empty, and `config=`.
/// - Answer: the value, unchanged. Never fails.
/// - Connects to no database.
///
/// # Safety
/// As for `check`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn preload(
    answer: *mut *mut c_uchar,
    argc: c_int,
    argv: *mut *mut c_uchar,
) -> c_int {
    // SAFETY: our caller promises what `call_contained` requires.
    let code = unsafe { call_contained(answer, argc, argv, &PRELOAD) };
    // The value is returned even after a panic: Exim would read an empty answer as "no limit".
    if argc > 0 && !argv.is_null() && !answer.is_null() {
        // SAFETY: `argc` says that there is a first argument.
        let value = unsafe { argv.read() };
        if !value.is_null() {
            // SAFETY: `answer` is not NULL, so our caller promises that it is valid for writing.
            unsafe { answer.write(value) };
        }
    }
    code
}

/// Returns the name and the version of the plugin.
///
/// - Arguments: none.
/// - Answer: `authpolicy` and the version. Never fails.
///
/// # Safety
/// As for `check`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn version(
    answer: *mut *mut c_uchar,
    argc: c_int,
    argv: *mut *mut c_uchar,
) -> c_int {
    // SAFETY: our caller promises what `call_contained` requires.
    unsafe { call_contained(answer, argc, argv, &VERSION) }
}

/// One exported function.
struct ExportedFunction {
    /// The name that Exim's configuration uses.
    name: &'static str,
    /// Does the work. The arguments are `None` if the call is invalid.
    call: fn(&mut Session, Option<&[&[u8]]>) -> ReturnValue,
    /// The return value after a panic in `call`.
    on_panic: fn() -> ReturnValue,
    /// Updates the session after a panic in `call`.
    after_panic: fn(&mut Session, Option<&[&[u8]]>),
}

/// The defaults of functions that never fail: after a panic, they return an empty answer.
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

/// Calls a function for Exim: reads the arguments, catches a panic, and sets the answer.
///
/// # Safety
/// `answer` is NULL or valid for writing. `argv` holds `argc` NUL-terminated strings.
unsafe fn call_contained(
    answer: *mut *mut c_uchar,
    argc: c_int,
    argv: *mut *mut c_uchar,
    function: &ExportedFunction,
) -> c_int {
    let _blocked = BlockedSignals::new();
    let returned = contain::catch("wall", || {
        // The default hook would write to descriptor 2, which may be the client's connection.
        contain::install_hook();
        // SAFETY: our caller promises that `argv` holds `argc` strings.
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
        let updated = contain::catch("after-panic", || {
            // SAFETY: our caller promises that `argv` holds `argc` strings.
            let arguments = unsafe { arguments(argc, argv) };
            let mut session = SESSION.lock().unwrap_or_else(PoisonError::into_inner);
            (function.after_panic)(&mut session, arguments.as_deref());
        });
        // A second panic cannot be reported: reporting may be what panics.
        let _ = reported.and(updated).ok();
        (function.on_panic)()
    });
    if !answer.is_null() {
        // SAFETY: `answer` is not NULL, so our caller promises that it is valid for writing. `text`
        // may be a constant, because Exim does not write to it.
        unsafe { answer.write(text.as_ptr().cast_mut().cast::<c_uchar>()) };
    }
    code
}

/// Exim's argument vector as slices; `None` if one is NULL or there are more than Exim can count.
///
/// # Safety
/// `argv` holds `argc` NUL-terminated strings, which do not change during the call.
unsafe fn arguments<'a>(argc: c_int, argv: *mut *mut c_uchar) -> Option<Vec<&'a [u8]>> {
    if argc > MAX_ARGUMENTS || (argv.is_null() && argc > 0) {
        return None;
    }
    let mut arguments = Vec::new();
    for index in 0..usize::try_from(argc).unwrap_or(0) {
        // SAFETY: `index` is below `argc`, the length of the vector.
        let slot = unsafe { argv.add(index) };
        // SAFETY: `slot` is in the vector.
        let text = unsafe { slot.read() };
        if text.is_null() {
            return None;
        }
        // SAFETY: it is not NULL, and our caller promises that it is NUL-terminated and does not
        // change during the call.
        arguments.push(unsafe { CStr::from_ptr(text.cast::<c_char>()) }.to_bytes());
    }
    Some(arguments)
}

#[cfg(test)]
mod tests;
