//! Exim's side of a call: an argument vector, an answer, and the log.

use std::ffi::CStr;
use std::ffi::CString;
use std::ffi::c_char;
use std::ffi::c_int;
use std::ffi::c_uchar;
use std::ffi::c_uint;
use std::panic;
use std::ptr;
use std::sync::Mutex;

use authpolicy::ffi;

use super::Function;

/// The log lines of the current call.
static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// The answer that Exim gets.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) code: c_int,
    pub(super) text: String,
}

type Export = unsafe extern "C" fn(*mut *mut c_uchar, c_int, *mut *mut c_uchar) -> c_int;

/// Exim's `log_write`, for a format with one text: `host::log` of the plugin uses no other.
#[unsafe(no_mangle)]
extern "C" fn log_write(_: c_uint, _: c_int, _: *const c_char, line: *const c_char) {
    // SAFETY: the plugin passes a text that outlives the call.
    let line = unsafe { CStr::from_ptr(line) }.to_string_lossy().into_owned();
    LINES.lock().expect("one thread").push(line);
}

/// Exim's `expand_string_2`, for `$version_number` alone. The plugin calls `log_write` with the
/// types of this version.
#[unsafe(no_mangle)]
extern "C" fn expand_string_2(_: *const c_uchar, _: *mut c_uint) -> *const c_uchar {
    c"4.99.1".as_ptr().cast()
}

/// Cuts an argument at its first NUL, as in a C string.
pub(super) fn cut(argument: &mut Vec<u8>) {
    argument.truncate(argument.iter().position(|&c| c == 0).unwrap_or(argument.len()));
}

/// Makes the plugin forget the previous connection.
pub(super) fn begin_connection() {
    call(Function::Finish, &[]);
    call(Function::Allow, &[]);
    let (_, lines) = call(Function::Check, &[]);
    assert_eq!(lines.len(), 1, "the plugin does not find log_write");
}

/// Calls a function as Exim does; returns its answer and its log lines.
pub(super) fn call(function: Function, arguments: &[Vec<u8>]) -> (Answer, Vec<String>) {
    let export: Export = match function {
        Function::Check => ffi::check,
        Function::Allow => ffi::allow,
        Function::Authorize => ffi::authorize,
        Function::Finish => ffi::finish,
        Function::Secret => ffi::secret,
        Function::Scram => ffi::scram,
        Function::Country => ffi::country,
        Function::Last => ffi::last,
        Function::Preload => ffi::preload,
        Function::Version => ffi::version,
    };
    let texts = arguments.iter().map(|argument| CString::new(argument.as_slice()));
    let texts: Vec<_> = texts.map(|text| text.expect("no NUL")).collect();
    let mut vector: Vec<_> = texts.iter().map(|text| text.as_ptr().cast_mut().cast()).collect();
    let argc = c_int::try_from(vector.len()).expect("few arguments");
    let mut answer = ptr::null_mut();
    // SAFETY: the vector holds `argc` texts that outlive the call, and the answer may be written.
    let code = unsafe { export(&raw mut answer, argc, vector.as_mut_ptr()) };
    // The plugin's panic hook would hide this target's own panics.
    drop(panic::take_hook());
    assert!(!answer.is_null(), "{function:?} did not set the answer");
    // SAFETY: by the contract, the answer is static text or the first argument, which `texts` owns.
    let text = unsafe { CStr::from_ptr(answer.cast()) }.to_string_lossy().into_owned();
    (Answer { code, text }, std::mem::take(&mut LINES.lock().expect("one thread")))
}
