//! crypt(3), from the library that Exim has mapped for `crypteq` anyway.
//!
//! `crypt_rn` of libxcrypt, and not `crypt_r`: it is told how large the buffer is, so that another
//! implementation behind the same name could not write beyond it.

use std::ffi::CStr;
use std::ffi::CString;
use std::ffi::c_char;
use std::ffi::c_int;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::Fault;
use super::malformed;
use crate::secret::Secret;

/// libxcrypt takes passwords shorter than its `CRYPT_MAX_PASSPHRASE_SIZE`.
pub(super) const MAX_PASSWORD: usize = 511;

/// `struct crypt_data` is 32 kB (crypt(3)).
#[repr(C, align(16))]
struct Data([u8; 32_768]);

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

/// What crypt(3) makes of a password, or `None` where it refuses the setting.
#[allow(unsafe_code, reason = "calls libcrypt")]
pub(super) fn crypt(password: &[u8], setting: &str) -> Option<Zeroizing<String>> {
    let setting = CString::new(setting).ok()?;
    let mut phrase = Zeroizing::new(Vec::with_capacity(password.len().checked_add(1)?));
    phrase.extend_from_slice(password);
    phrase.push(0);
    let phrase = CStr::from_bytes_with_nul(&phrase).ok()?;
    let mut data = Box::new(Data([0; 32_768]));
    let size = c_int::try_from(size_of::<Data>()).ok()?;
    // SAFETY: both texts end with a NUL and outlive the call; `data` is zeroed, as its first use
    // wants, and ours alone, and the function is told its size.
    let result = unsafe { crypt_rn(phrase.as_ptr(), setting.as_ptr(), &raw mut *data, size) };
    let text = (!result.is_null()).then(|| {
        // SAFETY: a result is a text with a NUL at its end within `data`, which is still there.
        unsafe { CStr::from_ptr(result) }.to_str().map(|text| Zeroizing::new(text.to_owned()))
    });
    // SAFETY: the buffer is ours, and as large as said.
    unsafe { libc::explicit_bzero((&raw mut *data).cast(), size_of::<Data>()) };
    // Where it fails, some versions answer a text that no setting begins with.
    text?.ok().filter(|text| !text.starts_with('*'))
}

/// Whether this password makes this stored text.
pub(super) fn verify(password: &Secret, stored: &str, name: &str) -> Result<bool, Fault> {
    let password = password.expose();
    let beginning = password.get(..MAX_PASSWORD).unwrap_or(password);
    // Exim hands over texts without a NUL; from elsewhere it is no password that crypt(3) knows.
    let beginning = beginning.split(|&c| c == 0).next().unwrap_or_default();
    let computed = crypt(beginning, stored).ok_or_else(|| malformed(name))?;
    if computed.len() != stored.len() {
        return Err(malformed(name));
    }
    let equal = bool::from(computed.as_bytes().ct_eq(stored.as_bytes()));
    // The work is done all the same: a long password is no way to learn about an account.
    Ok(equal && beginning.len() == password.len())
}
