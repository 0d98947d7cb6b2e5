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

/// A buffer, kept from one call to the next: that costs least.
pub(crate) struct Libcrypt(Box<Data>);

impl Libcrypt {
    pub(crate) fn new() -> Self {
        Self(Box::new(Data([0; 32_768])))
    }

    /// What it makes of a password. Where it refuses the setting, that begins with `*`.
    #[allow(unsafe_code, reason = "calls libcrypt")]
    pub(crate) fn crypt(&mut self, password: &CStr, setting: &CStr) -> &CStr {
        // SAFETY: both texts end with a NUL and outlive the call; the buffer is as large as its
        // structure, was zeroed before its first use, and is ours alone.
        let result = unsafe { crypt_r(password.as_ptr(), setting.as_ptr(), &raw mut *self.0) };
        assert!(!result.is_null(), "{setting:?}");
        // SAFETY: a text with a NUL at its end within the buffer, which is borrowed as long.
        unsafe { CStr::from_ptr(result) }
    }

    /// Whether this password makes this stored text.
    pub(crate) fn verify(&mut self, password: &CStr, stored: &CStr) -> bool {
        self.crypt(password, stored) == stored
    }

    /// A text to store.
    pub(crate) fn make(&mut self, password: &CStr, setting: &str) -> CString {
        let made = self.crypt(password, &CString::new(setting).unwrap()).to_owned();
        assert!(!made.as_bytes().starts_with(b"*"), "{setting}");
        made
    }
}
