//! crypt(3), from the library that Exim has loaded for `crypteq` anyway.
//!
//! This calls `crypt_rn` of libxcrypt and not `crypt_r`. `crypt_rn` gets the size of the buffer, so
//! that another implementation of the same name could not write beyond it.

use std::ffi::CStr;
use std::ffi::CString;
use std::ffi::c_char;
use std::ffi::c_int;
use std::mem::MaybeUninit;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::Fault;
use super::malformed;

/// The longest password in bytes: one less than libxcrypt's `CRYPT_MAX_PASSPHRASE_SIZE`.
pub(super) const MAX_PASSWORD: usize = 511;

/// `struct crypt_data` (crypt(3)): results, then the scratch space of the library.
#[repr(C, align(16))]
struct Data {
    results: [u8; RESULTS],
    scratch: [u8; 30_720],
}

/// The bytes of all results, and of `output`, which is the only one that crypt_rn writes.
const RESULTS: usize = 2048;
const OUTPUT: usize = 384;

#[link(name = "crypt")]
#[allow(unsafe_code, reason = "declares a function of libcrypt")]
// SAFETY: as in libxcrypt's crypt.h.
unsafe extern "C" {
    fn crypt_rn(
        phrase: *const c_char,
        setting: *const c_char,
        data: *mut Data,
        size: c_int,
    ) -> *const c_char;
}

/// Calls `look` with the result of crypt(3); `None` if crypt(3) refuses the setting.
#[allow(unsafe_code, reason = "calls libcrypt")]
pub(super) fn crypt<T>(password: &[u8], setting: &str, look: impl FnOnce(&[u8]) -> T) -> Option<T> {
    let setting = CString::new(setting).ok()?;
    let mut phrase = Zeroizing::new(Vec::with_capacity(password.len().checked_add(1)?));
    phrase.extend_from_slice(password);
    phrase.push(0);
    let phrase = CStr::from_bytes_with_nul(&phrase).ok()?;
    // The buffer is neither zeroed nor wiped as a whole, because that would take longer than DES.
    // crypt_rn reads only bytes that it wrote, and wipes its scratch (libxcrypt's crypt.c,
    // do_crypt).
    // On the heap, only the pages that libcrypt uses are mapped. On the stack, each page is touched.
    let mut data = Box::<Data>::new_uninit();
    let size = c_int::try_from(size_of::<Data>()).ok()?;
    // SAFETY: both texts end with a NUL and outlive the call; `data` is ours alone, and the
    // function is told its size.
    let result = unsafe { crypt_rn(phrase.as_ptr(), setting.as_ptr(), data.as_mut_ptr(), size) };
    let seen = (!result.is_null()).then(|| {
        // SAFETY: a result is a text with a NUL at its end within `data`, which is still there.
        let text = unsafe { CStr::from_ptr(result) }.to_bytes();
        // On failure, some versions return a text that begins with `*`.
        (!text.starts_with(b"*")).then(|| look(text))
    });
    // SAFETY: the output is at the start of the buffer, which is ours and longer.
    unsafe { libc::explicit_bzero(data.as_mut_ptr().cast(), OUTPUT) };
    wipe_stack();
    seen.flatten()
}

/// Overwrites the stack below, where the functions just called have left data: libcrypt's MD5
/// leaves blocks of the password there, and sha1crypt the key of its HMAC.
#[inline(never)]
#[allow(unsafe_code, reason = "calls libc")]
fn wipe_stack() {
    let mut room = MaybeUninit::<[u8; 8192]>::uninit();
    // SAFETY: `room` is a local array, and the length is its own.
    unsafe { libc::explicit_bzero(room.as_mut_ptr().cast(), size_of_val(&room)) };
}

/// Returns true if this password makes this stored text.
pub(super) fn verify(password: &[u8], stored: &str, name: &str) -> Result<bool, Fault> {
    let beginning = password.get(..MAX_PASSWORD).unwrap_or(password);
    // Exim passes texts without a NUL. crypt(3) would stop at a NUL that comes from elsewhere.
    let beginning = beginning.split(|&c| c == 0).next().unwrap_or_default();
    let compared = crypt(beginning, stored, |computed| {
        (computed.len() == stored.len()).then(|| bool::from(computed.ct_eq(stored.as_bytes())))
    });
    let equal = compared.flatten().ok_or_else(|| malformed(name))?;
    // The work is done in any case, so that a long password tells nothing about an account.
    Ok(equal && beginning.len() == password.len())
}
