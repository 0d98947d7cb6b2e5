//! bcrypt: `$2a$`, `$2b$` and `$2y$`, which differ in nothing but the letter for the passwords
//! that reach us (no NUL, at most 1024 bytes).

use super::Fault;
use crate::secret::Secret;

/// What the format allows at the least.
const MIN_COST: u32 = 4;
/// About a second here; more is a denial of service.
const MAX_COST: u32 = 14;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stored<'a> {
    text: &'a str,
    pub(super) cost: u32,
}

impl<'a> Stored<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, Fault> {
        let malformed = || Fault(String::from("has a malformed bcrypt hash"));
        let rest = text.get(3..).and_then(|rest| rest.strip_prefix('$')).ok_or_else(malformed)?;
        let (cost, hash) = rest.split_once('$').ok_or_else(malformed)?;
        let radix64 = |c: u8| c.is_ascii_alphanumeric() || c == b'.' || c == b'/';
        if cost.len() != 2 || hash.len() != 53 || !hash.bytes().all(radix64) {
            return Err(malformed());
        }
        let cost = cost.parse().map_err(|_| malformed())?;
        if cost < MIN_COST {
            return Err(malformed());
        }
        if cost > MAX_COST {
            return Err(Fault(format!(
                "has a bcrypt cost of {cost}, above the limit of {MAX_COST}"
            )));
        }
        Ok(Self { text, cost })
    }

    pub(super) fn matches(&self, password: &Secret) -> Result<bool, Fault> {
        bcrypt::verify(password.expose(), self.text)
            .map_err(|_| Fault(String::from("has a malformed bcrypt hash")))
    }
}

/// Makes a new hash for storage.
///
/// # Errors
/// The cost is not between 4 and 14, or the system gives no random salt.
pub fn hash(password: &Secret, cost: u32) -> Result<Secret, Fault> {
    if !(MIN_COST..=MAX_COST).contains(&cost) {
        return Err(Fault(format!(
            "a bcrypt cost of {cost} is not between {MIN_COST} and {MAX_COST}"
        )));
    }
    bcrypt::hash_with_result(password.expose(), cost)
        .map(|parts| {
            let hash = parts.format_for_version(bcrypt::Version::TwoY);
            Secret::new(format!("{{BLF-CRYPT}}{hash}").into_bytes())
        })
        .map_err(|_| Fault(String::from("the system gives no random salt")))
}
