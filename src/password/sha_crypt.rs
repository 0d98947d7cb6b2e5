//! SHA-512-crypt: `$6$[rounds=N$]salt$hash` (Ulrich Drepper's specification, 2016).

use sha_crypt::PasswordVerifier;
use sha_crypt::ShaCrypt;

use super::Fault;
use crate::secret::Secret;

/// What the format does without `rounds=`.
const DEFAULT_ROUNDS: u32 = 5000;
/// libxcrypt refuses fewer.
const MIN_ROUNDS: u32 = 1000;
/// About a second here; more is a denial of service.
const MAX_ROUNDS: u32 = 2_000_000;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stored<'a> {
    text: &'a str,
    pub(super) rounds: u32,
}

impl<'a> Stored<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, Fault> {
        let malformed = || Fault(String::from("has a malformed SHA-512-crypt hash"));
        let rest = text.strip_prefix("$6$").ok_or_else(malformed)?;
        let (rounds, rest) = match rest.strip_prefix("rounds=").and_then(|r| r.split_once('$')) {
            Some((rounds, rest)) => (rounds.parse().map_err(|_| malformed())?, rest),
            None => (DEFAULT_ROUNDS, rest),
        };
        let (salt, hash) = rest.split_once('$').ok_or_else(malformed)?;
        let radix64 = |c: u8| c.is_ascii_alphanumeric() || c == b'.' || c == b'/';
        if salt.len() > 16 || hash.len() != 86 || !hash.bytes().all(radix64) || rounds < MIN_ROUNDS
        {
            return Err(malformed());
        }
        if rounds > MAX_ROUNDS {
            return Err(Fault(format!(
                "has {rounds} rounds of SHA-512-crypt, above the limit of {MAX_ROUNDS}"
            )));
        }
        Ok(Self { text, rounds })
    }

    pub(super) fn matches(&self, password: &Secret) -> Result<bool, Fault> {
        match ShaCrypt::default().verify_password(password.expose(), self.text) {
            Ok(()) => Ok(true),
            Err(sha_crypt::password_hash::Error::PasswordInvalid) => Ok(false),
            Err(_) => Err(Fault(String::from("has a malformed SHA-512-crypt hash"))),
        }
    }
}
