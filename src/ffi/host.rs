//! What Exim offers to those it loads: found by name at run time, and done without where it is
//! not there. The names are exported by Debian's binary (`nm -D`); their types are those of
//! `local_scan.h` and `functions.h`, unchanged from 4.90 to 4.99 but where noted.

use std::ffi::CStr;
use std::ffi::CString;
use std::ffi::c_char;
use std::ffi::c_int;
use std::ffi::c_uint;
use std::ffi::c_void;
use std::ptr;

/// `LOG_MAIN`
const LOG_MAIN: c_int = 1;

/// `void log_write(unsigned int selector, int flags, const char *format, ...)`
type LogWrite = unsafe extern "C" fn(c_uint, c_int, *const c_char, ...);

/// `void *store_get_perm_3(int size, const void *proto_mem, const char *func, int line)`; before
/// 4.96 the second is a `BOOL`, for which 1 is true.
type StoreGetPerm = unsafe extern "C" fn(c_int, *const c_void, *const c_char, c_int) -> *mut c_void;

/// `GET_TAINTED`
const TAINTED: usize = 1;

fn symbol(name: &CStr) -> Option<*mut c_void> {
    // SAFETY: `name` is NUL-terminated; dlsym reads it and keeps nothing.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!found.is_null()).then_some(found)
}

/// Writes a line to Exim's main log, or to syslog's mail.info where Exim does not offer that.
pub(super) fn log(line: &str) {
    #[cfg(feature = "deliberate-panic")]
    super::deliberate::at_the_end(line);
    // No NUL can be in there: what could contain one is escaped.
    let Ok(line) = CString::new(line) else { return };
    match symbol(c"log_write") {
        Some(found) => {
            // SAFETY: a symbol of this name in Exim's process is the function of this type.
            let log_write = unsafe { std::mem::transmute::<*mut c_void, LogWrite>(found) };
            // SAFETY: the format takes one string, and gets one that outlives the call.
            unsafe { log_write(0, LOG_MAIN, c"%s".as_ptr(), line.as_ptr()) };
        }
        None => {
            // SAFETY: as for `log_write`. The connection that libc opens is close-on-exec.
            unsafe {
                libc::syslog(libc::LOG_MAIL | libc::LOG_INFO, c"%s".as_ptr(), line.as_ptr());
            }
        }
    }
}

/// Whether Exim plays through a dialogue for an administrator (`-bh`): no row then.
pub(super) fn is_host_checking() -> bool {
    symbol(c"host_checking").is_some_and(|found| {
        // SAFETY: a symbol of this name in Exim's process is a `BOOL`, an unsigned int, that lives
        // as long as the process.
        unsafe { found.cast::<c_uint>().read() != 0 }
    })
}

/// A copy that Exim treats like the client's own words, so that it refuses to use them as a file
/// name; `None` where Exim does not track that (before 4.93, or built without the symbols).
pub(super) fn tainted(text: &CStr) -> Option<&'static CStr> {
    // Before 4.93 `store_get_perm_3` exists with another type; this one came with tracking.
    symbol(c"string_copy_taint_function")?;
    let found = symbol(c"store_get_perm_3")?;
    // SAFETY: a symbol of this name beside the one above is the function of this type.
    let store_get_perm = unsafe { std::mem::transmute::<*mut c_void, StoreGetPerm>(found) };
    let bytes = text.to_bytes_with_nul();
    let size = c_int::try_from(bytes.len()).ok()?;
    let proto = ptr::without_provenance(TAINTED);
    // SAFETY: a positive size; the name is static, and the memory is never given back.
    let memory = unsafe { store_get_perm(size, proto, c"authpolicy".as_ptr(), 0) };
    let memory = memory.cast::<u8>();
    if memory.is_null() {
        return None;
    }
    // SAFETY: `size` fresh bytes, which cannot overlap with the text.
    unsafe { memory.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    // SAFETY: NUL-terminated by the copy just made; permanent store lives as long as the process.
    Some(unsafe { CStr::from_ptr(memory.cast::<c_char>()) })
}
