//! The table that maps scheme names to families.

use md4::Md4;
use md5::Md5;
use sha1::Sha1;
use sha2::Sha256;
use sha2::Sha512;

use super::Fault;
use super::Settings;
use super::Stored;
use super::argon2;
use super::bcrypt_sha256;
use super::cram_md5;
use super::crypt;
use super::digest;
use super::digest_md5;
use super::encoding::Encoding;
use super::malformed;
use super::pbkdf2;
use super::plain;
use super::scram;

/// Parses the data of a scheme.
type Read = fn(&[u8], &Settings) -> Result<Box<dyn Stored>, Fault>;

/// A way to store passwords.
pub(super) struct Scheme {
    pub(super) name: &'static str,
    encoding: Encoding,
    read: Read,
    /// Dovecot 2.4 refuses these unless told otherwise.
    pub(super) weak: bool,
}

const fn text(name: &'static str, read: Read) -> Scheme {
    Scheme { name, encoding: Encoding::Text, read, weak: false }
}

/// A scheme of binary data with this length in bytes; 0 is any length.
const fn bytes(name: &'static str, length: usize, read: Read) -> Scheme {
    Scheme { name, encoding: Encoding::Bytes(length), read, weak: false }
}

const fn weak(scheme: Scheme) -> Scheme {
    Scheme { weak: true, ..scheme }
}

/// All schemes.
#[rustfmt::skip]
static SCHEMES: &[Scheme] = &[
    text("CRYPT", by_prefix),
    // The label of a crypt format is not enforced, as in Dovecot.
    text("BLF-CRYPT", by_prefix),
    text("SHA256-CRYPT", by_prefix),
    text("SHA512-CRYPT", by_prefix),
    weak(text("MD5-CRYPT", by_prefix)),
    weak(text("DES-CRYPT", by_prefix)),
    text("ARGON2I", argon2::read),
    text("ARGON2ID", argon2::read),
    text("ARGON2", argon2::read),
    text("PBKDF2", pbkdf2::dovecot),
    text("SCRAM-SHA-1", scram::sha1),
    text("SCRAM-SHA-256", scram::sha256),
    bytes("SHA", 20, digest::bare::<Sha1>),
    bytes("SHA1", 20, digest::bare::<Sha1>),
    bytes("SHA256", 32, digest::bare::<Sha256>),
    bytes("SHA512", 64, digest::bare::<Sha512>),
    bytes("SSHA", 0, digest::salted::<Sha1>),
    bytes("SSHA256", 0, digest::salted::<Sha256>),
    bytes("SSHA512", 0, digest::salted::<Sha512>),
    weak(bytes("SMD5", 0, digest::salted::<Md5>)),
    weak(bytes("LDAP-MD5", 16, digest::bare::<Md5>)),
    weak(bytes("PLAIN-MD5", 16, digest::bare::<Md5>)),
    weak(bytes("PLAIN-MD4", 16, digest::bare::<Md4>)),
    // Courier's name for it.
    weak(bytes("MD5RAW", 16, digest::bare::<Md5>)),
    weak(text("MD5", md5)),
    weak(bytes("CRAM-MD5", 32, cram_md5::read)),
    weak(bytes("HMAC-MD5", 32, cram_md5::read)),
    bytes("DIGEST-MD5", 16, digest_md5::read),
    text("PLAIN", plain::read),
    text("CLEAR", plain::read),
    text("CLEARTEXT", plain::read),
    text("PLAIN-TRUNC", plain::truncated),
];

/// The formats that are recognized by their prefix. crypt(3) knows the others.
const PREFIXES: &[(&str, Read)] = &[
    ("$argon2", argon2::read),
    ("$bcrypt-sha256$", bcrypt_sha256::read),
    ("$pbkdf2", pbkdf2::passlib),
    ("pbkdf2_sha256$", pbkdf2::django),
];

/// The names of all schemes, for error messages.
#[must_use]
pub fn names() -> String {
    SCHEMES.iter().map(|scheme| scheme.name).collect::<Vec<_>>().join(", ")
}

impl Scheme {
    /// Finds a scheme by its name, in any case and with any encoding suffix.
    pub(super) fn find(name: &str) -> Option<&'static Self> {
        let (name, _) = encoded(name);
        SCHEMES.iter().find(|scheme| scheme.name.eq_ignore_ascii_case(name))
    }

    /// Parses the data. The suffix of `name` is its encoding.
    pub(super) fn read(
        &self,
        name: &str,
        data: &[u8],
        settings: &Settings,
    ) -> Result<Box<dyn Stored>, Fault> {
        let (_, suffix) = encoded(name);
        if self.encoding == Encoding::Text && suffix.is_none() {
            return (self.read)(data, settings);
        }
        let data = self.encoding.decode(suffix, data).ok_or_else(|| malformed(self.name))?;
        (self.read)(&data, settings)
    }

    /// True if the data marks a locked account, as in shadow(5). In clear text, only a value
    /// without a label can be a mark, and only one that is not used as a password.
    pub(super) fn marks_locked(&self, data: &[u8], labelled: bool) -> bool {
        let mark = matches!(data, b"*" | b"*0" | b"*1" | b"*LK*" | b"*NP*" | b"!" | b"SUSPENDED")
            || matches!(data, [b'!', b'!' | b'{' | b'$', ..] | [b'*', b'{' | b'$', ..]);
        if self.is_clear() {
            return mark && !labelled;
        }
        mark || matches!(data.first(), Some(b'!' | b'*'))
    }

    /// True if the password is stored in clear.
    pub(super) fn is_clear(&self) -> bool {
        ["PLAIN", "CLEAR", "CLEARTEXT", "PLAIN-TRUNC"].contains(&self.name)
    }

    /// True if a reader can log in with the stored value, by some mechanism.
    pub(super) fn is_equivalent(&self) -> bool {
        ["CRAM-MD5", "HMAC-MD5", "DIGEST-MD5"].contains(&self.name) || self.is_clear()
    }
}

/// Splits `SCHEME.ENCODING`.
fn encoded(name: &str) -> (&str, Option<&str>) {
    name.split_once('.').map_or((name, None), |(name, suffix)| (name, Some(suffix)))
}

fn by_prefix(data: &[u8], settings: &Settings) -> Result<Box<dyn Stored>, Fault> {
    match PREFIXES.iter().find(|(prefix, _)| data.starts_with(prefix.as_bytes())) {
        Some((_, read)) => read(data, settings),
        None => crypt::read(data, settings),
    }
}

/// Reads `{MD5}`, which is MD5-crypt or a bare digest, as in Dovecot.
fn md5(data: &[u8], settings: &Settings) -> Result<Box<dyn Stored>, Fault> {
    if data.starts_with(b"$1$") {
        return crypt::read(data, settings);
    }
    let digest = Encoding::Bytes(16).decode(None, data).ok_or_else(|| malformed("MD5"))?;
    digest::bare::<Md5>(&digest, settings)
}
