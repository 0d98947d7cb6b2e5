//! crypt(3), from the library that Exim has mapped for `crypteq` anyway.
//!
//! `crypt_rn` of libxcrypt, and not `crypt_r`: it is told how large the buffer is, so that another
//! implementation behind the same name could not write beyond it.

use std::ffi::CStr;
use std::ffi::CString;
use std::ffi::c_char;
use std::ffi::c_int;
use std::mem::MaybeUninit;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::Fault;
use super::malformed;

/// libxcrypt takes passwords shorter than its `CRYPT_MAX_PASSPHRASE_SIZE`.
pub(super) const MAX_PASSWORD: usize = 511;

/// `struct crypt_data` (crypt(3)): results first, then what the library works in.
#[repr(C, align(16))]
struct Data {
    results: [u8; RESULTS],
    scratch: [u8; 30_720],
}

/// `output`, the one of them that crypt_rn writes, has 384 bytes.
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

/// Shows what crypt(3) makes of a password, or answers `None` where it refuses the setting.
#[allow(unsafe_code, reason = "calls libcrypt")]
pub(super) fn crypt<T>(password: &[u8], setting: &str, look: impl FnOnce(&[u8]) -> T) -> Option<T> {
    let setting = CString::new(setting).ok()?;
    let mut phrase = Zeroizing::new(Vec::with_capacity(password.len().checked_add(1)?));
    phrase.extend_from_slice(password);
    phrase.push(0);
    let phrase = CStr::from_bytes_with_nul(&phrase).ok()?;
    // Neither zeroed nor wiped as a whole, which would take longer than DES: crypt_rn reads nothing
    // that it did not write, and wipes its scratch (libxcrypt's crypt.c, do_crypt).
    let mut data = MaybeUninit::<Data>::uninit();
    let size = c_int::try_from(size_of::<Data>()).ok()?;
    // SAFETY: both texts end with a NUL and outlive the call; `data` is ours alone, and the
    // function is told its size.
    let result = unsafe { crypt_rn(phrase.as_ptr(), setting.as_ptr(), data.as_mut_ptr(), size) };
    let seen = (!result.is_null()).then(|| {
        // SAFETY: a result is a text with a NUL at its end within `data`, which is still there.
        let text = unsafe { CStr::from_ptr(result) }.to_bytes();
        // Where it fails, some versions answer a text that no setting begins with.
        (!text.starts_with(b"*")).then(|| look(text))
    });
    // SAFETY: the output is at the start of the buffer, which is ours and longer.
    unsafe { libc::explicit_bzero(data.as_mut_ptr().cast(), OUTPUT) };
    wipe_stack();
    seen.flatten()
}

/// Overwrites what the functions that were just called have left below: libcrypt's MD5 keeps blocks
/// of the password there, and sha1crypt the key of its HMAC.
#[inline(never)]
#[allow(unsafe_code, reason = "calls libc")]
fn wipe_stack() {
    let mut room = MaybeUninit::<[u8; 8192]>::uninit();
    // SAFETY: the room is ours, and as long.
    unsafe { libc::explicit_bzero(room.as_mut_ptr().cast(), size_of_val(&room)) };
}

/// Whether this password makes this stored text.
pub(super) fn verify(password: &[u8], stored: &str, name: &str) -> Result<bool, Fault> {
    let beginning = password.get(..MAX_PASSWORD).unwrap_or(password);
    // Exim hands over texts without a NUL; from elsewhere it is no password that crypt(3) knows.
    let beginning = beginning.split(|&c| c == 0).next().unwrap_or_default();
    let compared = crypt(beginning, stored, |computed| {
        (computed.len() == stored.len()).then(|| bool::from(computed.ct_eq(stored.as_bytes())))
    });
    let equal = compared.flatten().ok_or_else(|| malformed(name))?;
    // The work is done all the same: a long password is no way to learn about an account.
    Ok(equal && beginning.len() == password.len())
}
