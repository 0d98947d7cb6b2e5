//! Exim's own functions and variables, found by name at run time. The plugin also works without
//! them.
//!
//! Debian's binary exports the names (`nm -D`). Their types are those of `local_scan.h`,
//! `functions.h` and `mytypes.h`, and some depend on the version. The plugin asks Exim for its
//! version. If that is unknown, it calls nothing whose type depends on it.
#![allow(unsafe_code, reason = "Exim's exports are functions and variables of C")]

mod version;

use std::ffi::CStr;
use std::ffi::CString;
use std::ffi::c_char;
use std::ffi::c_int;
use std::ffi::c_uint;
use std::ffi::c_void;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicPtr;
use std::sync::atomic::Ordering;

use self::version::HostVersion;
use crate::verdict::maillog::MailLog;

/// `LOG_MAIN`
const LOG_MAIN: c_int = 1;

/// `void log_write(unsigned int selector, int flags, const char *format, ...)`, up to 4.99.
type LogWrite = unsafe extern "C" fn(c_uint, c_int, *const c_char, ...);

/// `void log_write(int flags, const char *format, ...)`, from 4.100.
type LogWriteFrom4100 = unsafe extern "C" fn(c_int, *const c_char, ...);

/// `const uschar *expand_string_2(const uschar *string, BOOL *textonly)`, from 4.97. The type is
/// the same in all versions, because it does not contain the size of a `BOOL`.
type ExpandString2 = unsafe extern "C" fn(*const c_char, *mut c_void) -> *const c_char;

/// `uschar *expand_string(uschar *string)`, up to 4.98.
type ExpandString = unsafe extern "C" fn(*mut c_char) -> *mut c_char;

/// `void *store_get_perm_3(int size, const void *proto_mem, const char *func, int line)`, from 4.96
/// to 4.100; before 4.96 the second argument is a `BOOL`, for which 1 is true.
type StoreGetPerm = unsafe extern "C" fn(c_int, *const c_void, *const c_char, c_int) -> *mut c_void;

/// `GET_TAINTED`
const TAINTED: usize = 1;

static EXPAND_STRING_2: Symbol = Symbol::new(c"expand_string_2");
static EXPAND_STRING: Symbol = Symbol::new(c"expand_string");
static LOG_WRITE: Symbol = Symbol::new(c"log_write");
static HOST_CHECKING: Symbol = Symbol::new(c"host_checking");
static STRING_COPY_TAINT_FUNCTION: Symbol = Symbol::new(c"string_copy_taint_function");
static STORE_GET_PERM_3: Symbol = Symbol::new(c"store_get_perm_3");

/// A function or variable of Exim. Each process looks for it once, and inherits what its parent has
/// found: both run the same program. A name that Exim does not export is looked for in all of its
/// libraries, and that takes longer than reading the configuration.
struct Symbol {
    name: &'static CStr,
    /// NULL if Exim does not export the name.
    address: OnceLock<AtomicPtr<c_void>>,
}

impl Symbol {
    const fn new(name: &'static CStr) -> Self {
        Self { name, address: OnceLock::new() }
    }

    /// The address, or `None` if Exim does not export the name.
    fn find(&self) -> Option<*mut c_void> {
        let found = self.address.get_or_init(|| {
            // SAFETY: `name` is NUL-terminated. dlsym reads it and keeps no pointer to it.
            AtomicPtr::new(unsafe { libc::dlsym(libc::RTLD_DEFAULT, self.name.as_ptr()) })
        });
        let found = found.load(Ordering::Relaxed);
        (!found.is_null()).then_some(found)
    }
}

/// Looks for the exports and the version that each attempt needs, in the daemon, so that the
/// processes that it forks need not.
pub(crate) fn preload() {
    version();
    for symbol in [&LOG_WRITE, &HOST_CHECKING, &STRING_COPY_TAINT_FUNCTION, &STORE_GET_PERM_3] {
        symbol.find();
    }
}

/// The version of the Exim that has loaded the plugin. A process asks once. Its children run the
/// same program and need not ask.
fn version() -> &'static HostVersion {
    static VERSION: OnceLock<HostVersion> = OnceLock::new();
    VERSION.get_or_init(|| HostVersion::read(query_version().as_deref()))
}

/// Has Exim expand `$version_number`, within the expansion that calls the plugin. `None` if Exim
/// exports no function for that.
fn query_version() -> Option<Vec<u8>> {
    // The type of `expand_string` allows it to write to the text.
    let mut text = *b"$version_number\0";
    let answer: *const c_char = if let Some(found) = EXPAND_STRING_2.find() {
        // SAFETY: a symbol of this name in Exim's process is a function of this type.
        let expand = unsafe { std::mem::transmute::<*mut c_void, ExpandString2>(found) };
        // SAFETY: the text is NUL-terminated and outlives the call; the second argument may be
        // NULL.
        unsafe { expand(text.as_ptr().cast(), ptr::null_mut()) }
    } else {
        let found = EXPAND_STRING.find()?;
        // SAFETY: a symbol of this name in Exim's process is a function of this type.
        let expand = unsafe { std::mem::transmute::<*mut c_void, ExpandString>(found) };
        // SAFETY: the text is NUL-terminated, outlives the call, and may be written to.
        unsafe { expand(text.as_mut_ptr().cast()) }
    };
    if answer.is_null() {
        return None;
    }
    // The copy is needed because Exim reuses the memory when the outer expansion ends.
    // SAFETY: it is not NULL, so it is NUL-terminated text, which does not change during the copy.
    Some(unsafe { CStr::from_ptr(answer) }.to_bytes().to_vec())
}

/// Writes a line to Exim's main log. If Exim exports no `log_write` or its version is unknown,
/// writes to syslog's mail.info instead.
pub(crate) fn log(line: &str) {
    let version = version();
    if let HostVersion::Unknown(answer) = version {
        static REPORTED: AtomicBool = AtomicBool::new(false);
        if !REPORTED.swap(true, Ordering::Relaxed) {
            MailLog::new(&to_syslog).unknown_version(answer.as_deref());
        }
    }
    match (version, LOG_WRITE.find()) {
        (HostVersion::Unknown(_), _) | (_, None) => to_syslog(line),
        (HostVersion::UpTo4_99, Some(found)) => {
            // SAFETY: in these versions of Exim, a symbol of this name is a function of this type.
            let log_write = unsafe { std::mem::transmute::<*mut c_void, LogWrite>(found) };
            let Some(line) = c_string(line) else { return };
            // SAFETY: the format takes one string, and `line` outlives the call.
            unsafe { log_write(0, LOG_MAIN, c"%s".as_ptr(), line.as_ptr()) };
        }
        (HostVersion::From4_100, Some(found)) => {
            // SAFETY: in this version of Exim, a symbol of this name is a function of this type.
            let log_write = unsafe { std::mem::transmute::<*mut c_void, LogWriteFrom4100>(found) };
            let Some(line) = c_string(line) else { return };
            // SAFETY: the format takes one string, and `line` outlives the call.
            unsafe { log_write(LOG_MAIN, c"%s".as_ptr(), line.as_ptr()) };
        }
    }
}

fn to_syslog(line: &str) {
    let Some(line) = c_string(line) else { return };
    // SAFETY: the format takes one string, and `line` outlives the call. The connection that libc
    // opens is close-on-exec.
    unsafe { libc::syslog(libc::LOG_MAIL | libc::LOG_INFO, c"%s".as_ptr(), line.as_ptr()) };
}

/// The line as a C string. It contains no NUL, because control characters in it are escaped.
fn c_string(line: &str) -> Option<CString> {
    CString::new(line).ok()
}

/// True if Exim simulates a dialogue for an administrator (`-bh`). Then there is no row.
///
/// The variable is a `BOOL` of four bytes or of one, and another variable may follow it
/// immediately. On a little-endian machine, its first byte is the value in both cases.
pub(crate) fn is_host_checking() -> bool {
    HOST_CHECKING.find().is_some_and(|found| {
        let is_wide = cfg!(target_endian = "big") && *version() == HostVersion::UpTo4_99;
        if is_wide {
            // SAFETY: in these versions of Exim, a symbol of this name is an unsigned int that
            // exists until the process ends.
            unsafe { found.cast::<c_uint>().read_unaligned() != 0 }
        } else {
            // SAFETY: a symbol of this name in Exim's process is a variable of at least one byte
            // that exists until the process ends.
            unsafe { found.cast::<u8>().read() != 0 }
        }
    })
}

/// A copy that Exim treats as tainted, so that it refuses to use the text as a file name. `None` if
/// Exim does not track taint (before 4.93, or built without the symbols), or its version is
/// unknown.
pub(crate) fn tainted(text: &CStr) -> Option<&'static CStr> {
    if matches!(version(), HostVersion::Unknown(_)) {
        return None;
    }
    // Before 4.93 `store_get_perm_3` has another type. This function exists only since then.
    STRING_COPY_TAINT_FUNCTION.find()?;
    let found = STORE_GET_PERM_3.find()?;
    // SAFETY: in a known version of Exim that has the function above, a symbol of this name is a
    // function of this type.
    let store_get_perm = unsafe { std::mem::transmute::<*mut c_void, StoreGetPerm>(found) };
    let bytes = text.to_bytes_with_nul();
    let size = c_int::try_from(bytes.len()).ok()?;
    let proto = ptr::without_provenance(TAINTED);
    // SAFETY: the size is positive, and the name is static. The memory is never freed.
    let memory = unsafe { store_get_perm(size, proto, c"authpolicy".as_ptr(), 0) };
    let memory = memory.cast::<u8>();
    if memory.is_null() {
        return None;
    }
    // SAFETY: the memory has `size` new bytes, so that it cannot overlap with the text.
    unsafe { memory.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    // SAFETY: the copy ends with the NUL of the text. Permanent store is valid until the process
    // ends.
    Some(unsafe { CStr::from_ptr(memory.cast::<c_char>()) })
}
