//! `crypt_r` of the host's libcrypt, as any other program calls it.

use std::ffi::CStr;
use std::ffi::CString;
use std::ffi::c_char;

/// `struct crypt_data` is 32 kB (crypt(3)).
#[repr(C, align(16))]
struct Data([u8; 32_768]);

#[link(name = "crypt")]
#[allow(unsafe_code, reason = "declares a function of libcrypt")]
// SAFETY: as in libxcrypt's crypt.h.
unsafe extern "C" {
    fn crypt_r(phrase: *const c_char, setting: *const c_char, data: *mut Data) -> *const c_char;
}

/// libcrypt with a buffer that all calls use, which is fastest.
pub(crate) struct Libcrypt(Box<Data>);

impl Libcrypt {
    pub(crate) fn new() -> Self {
        Self(Box::new(Data([0; 32_768])))
    }

    /// Hashes a password. The result begins with `*` if libcrypt refuses the setting.
    #[allow(unsafe_code, reason = "calls libcrypt")]
    pub(crate) fn crypt(&mut self, password: &CStr, setting: &CStr) -> &CStr {
        // SAFETY: both texts end with a NUL and outlive the call. The buffer has the size of the
        // structure, was zeroed before its first use, and is borrowed exclusively.
        let result = unsafe { crypt_r(password.as_ptr(), setting.as_ptr(), &raw mut *self.0) };
        assert!(!result.is_null(), "{setting:?}");
        // SAFETY: the result is NUL-terminated text within the buffer, which stays borrowed as long
        // as the text.
        unsafe { CStr::from_ptr(result) }
    }

    /// True if this password has this stored hash.
    pub(crate) fn verify(&mut self, password: &CStr, stored: &CStr) -> bool {
        self.crypt(password, stored) == stored
    }

    /// Makes a hash to store.
    pub(crate) fn make(&mut self, password: &CStr, setting: &str) -> CString {
        let made = self.crypt(password, &CString::new(setting).unwrap()).to_owned();
        assert!(!made.as_bytes().starts_with(b"*"), "{setting}");
        made
    }
}
