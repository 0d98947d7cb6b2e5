//! Whether a password matches a stored one, whatever scheme it is stored in.
//!
//! One table names the schemes, one file holds each family. `Ok(false)` is "does not match"; what
//! cannot be understood is a [`Fault`] and ends as "cannot tell", so that a scheme we lack is never
//! logged as a wrong password.

mod bcrypt;
mod dummy;
mod plain;
mod sha_crypt;

pub use self::bcrypt::hash;
pub use self::dummy::DEFAULT_BCRYPT_COST;
pub use self::dummy::Dummy;
use crate::secret::Secret;

/// Why a stored password cannot be held against anything. Names the scheme, never the value.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault(pub String);

/// A way to store passwords.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// crypt(3): the `$` prefix tells which.
    Crypt,
    /// bcrypt
    BlfCrypt,
    /// SHA-512-crypt
    Sha512Crypt,
    /// In clear.
    Plain,
}

/// Every name, and the family it stands for.
const SCHEMES: &[(&str, Scheme)] = &[
    ("CRYPT", Scheme::Crypt),
    ("BLF-CRYPT", Scheme::BlfCrypt),
    ("SHA512-CRYPT", Scheme::Sha512Crypt),
    ("PLAIN", Scheme::Plain),
    ("CLEAR", Scheme::Plain),
    ("CLEARTEXT", Scheme::Plain),
];

impl Scheme {
    /// The names for error messages.
    #[must_use]
    pub fn names() -> String {
        SCHEMES.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }

    /// The scheme of this name, in any case.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        SCHEMES
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, scheme)| *scheme)
    }
}

/// A stored password, taken apart: what to compute, and how much work that is.
#[derive(Debug, PartialEq, Eq)]
enum Method<'a> {
    Bcrypt(bcrypt::Stored<'a>),
    Sha512Crypt(sha_crypt::Stored<'a>),
    Plain(&'a [u8]),
    /// Empty, or marked as locked: no password matches.
    Locked,
}

impl<'a> Method<'a> {
    fn of(stored: &'a Secret, default_scheme: &str) -> Result<Self, Fault> {
        let bytes = stored.expose();
        let (name, data) = split(bytes).unwrap_or((default_scheme, bytes));
        // The name may be part of a password stored in clear that begins with a brace.
        let scheme = Scheme::named(name).ok_or_else(|| {
            Fault(format!("has a stored password of an unknown scheme ({} bytes)", bytes.len()))
        })?;
        match scheme {
            _ if data.is_empty() => Ok(Self::Locked),
            Scheme::Plain => Ok(Self::Plain(data)),
            // shadow(5): a field that crypt cannot produce locks the account.
            Scheme::Crypt | Scheme::BlfCrypt | Scheme::Sha512Crypt
                if matches!(data.first(), Some(b'!' | b'*')) =>
            {
                Ok(Self::Locked)
            }
            // As in Dovecot, the label of a crypt format is not enforced.
            Scheme::Crypt | Scheme::BlfCrypt | Scheme::Sha512Crypt => crypt(data),
        }
    }

    fn matches(&self, password: &Secret) -> Result<bool, Fault> {
        match self {
            Self::Bcrypt(stored) => stored.matches(password),
            Self::Sha512Crypt(stored) => stored.matches(password),
            Self::Plain(stored) => Ok(plain::matches(stored, password)),
            Self::Locked => Ok(false),
        }
    }
}

/// `{SCHEME}data`
fn split(stored: &[u8]) -> Option<(&str, &[u8])> {
    let rest = stored.strip_prefix(b"{")?;
    let end = rest.iter().position(|&c| c == b'}')?;
    let name = std::str::from_utf8(rest.get(..end)?).ok()?;
    Some((name, rest.get(end.saturating_add(1)..)?))
}

fn crypt(data: &[u8]) -> Result<Method<'_>, Fault> {
    let text = std::str::from_utf8(data).map_err(|_| unknown_crypt())?;
    match text.get(..3) {
        Some("$2a" | "$2b" | "$2y") => bcrypt::Stored::parse(text).map(Method::Bcrypt),
        Some("$6$") => sha_crypt::Stored::parse(text).map(Method::Sha512Crypt),
        Some(_) | None => Err(unknown_crypt()),
    }
}

fn unknown_crypt() -> Fault {
    Fault(String::from("has a stored password in a crypt format that is not supported"))
}

/// Whether any of the stored passwords matches. Without one that takes hashing, because there is
/// no account, or it is locked or in clear, the dummy is hashed, so that a refusal takes as long.
///
/// # Errors
/// A stored password cannot be understood, and none of the others matches.
pub fn verify_any(
    stored: &[Secret],
    default_scheme: &str,
    password: &Secret,
    dummy: &Dummy,
) -> Result<bool, Fault> {
    let mut fault = None;
    let mut worked = false;
    for stored in stored {
        match Method::of(stored, default_scheme).and_then(|method| {
            worked |= matches!(method, Method::Bcrypt(_) | Method::Sha512Crypt(_));
            method.matches(password)
        }) {
            // An empty password matches nothing, not even a stored empty one.
            Ok(true) if !password.expose().is_empty() => return Ok(true),
            Ok(_) => {}
            Err(e) => fault = Some(e),
        }
    }
    if !worked {
        dummy.work(password);
    }
    fault.map_or(Ok(false), Err)
}

#[cfg(test)]
mod tests;
