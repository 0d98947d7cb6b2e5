//! Passwords stored in clear.

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::Candidate;
use super::Fault;
use super::Settings;
use super::Stored;
use super::malformed;

struct Plain {
    password: Zeroizing<Vec<u8>>,
    /// The bytes of the client's password that are compared. The rest was cut off when it was stored.
    length: usize,
}

pub(super) fn read(data: &[u8], _: &Settings) -> Result<Box<dyn Stored>, Fault> {
    Ok(Box::new(Plain { password: Zeroizing::new(data.to_vec()), length: usize::MAX }))
}

/// Reads `length-password`. If the password has that length, longer passwords match it, too.
pub(super) fn truncated(data: &[u8], settings: &Settings) -> Result<Box<dyn Stored>, Fault> {
    let name = "PLAIN-TRUNC";
    let dash = data.iter().position(|&c| c == b'-').ok_or_else(|| malformed(name))?;
    let (length, password) = data.split_at(dash);
    let length = std::str::from_utf8(length).ok().and_then(|length| length.parse().ok());
    let length: usize = length.filter(|length| *length > 0).ok_or_else(|| malformed(name))?;
    let password = password.get(1..).unwrap_or_default();
    if password.len() != length {
        return read(password, settings);
    }
    Ok(Box::new(Plain { password: Zeroizing::new(password.to_vec()), length }))
}

impl Stored for Plain {
    /// Compares in constant time. Only the length could be measured, by an attacker who measures
    /// nanoseconds despite `failure_time`.
    fn matches(&self, candidate: Candidate<'_>) -> Result<bool, Fault> {
        let password = candidate.password.expose();
        let password = password.get(..self.length).unwrap_or(password);
        Ok(!self.password.is_empty() && bool::from(self.password.ct_eq(password)))
    }

    fn clear(&self) -> Option<&[u8]> {
        (self.length == usize::MAX).then_some(&self.password)
    }
}
