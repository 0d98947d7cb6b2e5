//! SHA-256-crypt and SHA-512-crypt: `$5$` and `$6$`, `[rounds=N$]salt$hash` (Ulrich Drepper's
//! specification, 2016). A crate does the work, because it is faster than libcrypt and takes
//! passwords of any length. libcrypt does it for salts that the crate does not read.

use sha_crypt::Algorithm;
use sha_crypt::CustomizedPasswordHasher;
use sha_crypt::Params;
use sha_crypt::PasswordVerifier;
use sha_crypt::ShaCrypt;
use zeroize::Zeroizing;

use super::Candidate;
use super::Fault;
use super::Settings;
use super::Stored;
use super::encoding::anonymous;
use super::encoding::is_radix64;
use super::libcrypt;
use super::malformed;
use crate::secret::Secret;

/// The rounds of a text without `rounds=`.
const DEFAULT_ROUNDS: u32 = 5000;
/// The fewest rounds that libxcrypt accepts.
const MIN_ROUNDS: u32 = 1000;
const MAX_SALT: usize = 16;

/// The bytes of a password that take about as long as a round. The format hashes the whole password
/// in each round.
const BYTES_OF_A_ROUND: u32 = 32;
/// The bytes of a password that are used in any case, whatever the limit.
const MIN_USED_LENGTH: usize = 128;

struct ShaCryptHash {
    text: Zeroizing<String>,
    is_sha512: bool,
    rounds: u32,
    /// The bytes of a password that are used. A longer one could take seconds.
    used_length: usize,
    has_plain_salt: bool,
    same_cost_dummy: Option<String>,
}

pub(super) fn read(text: &str, settings: &Settings) -> Result<Box<dyn Stored>, Fault> {
    let is_sha512 = text.starts_with("$6$");
    let malformed = || malformed(name(is_sha512));
    let rest = text.get(3..).ok_or_else(malformed)?;
    let (rounds, rest) = match rest.strip_prefix("rounds=").and_then(|r| r.split_once('$')) {
        // Rust reads these as numbers, but crypt(3) neither writes nor accepts them.
        Some((rounds, _)) if rounds.starts_with(['+', '0']) => return Err(malformed()),
        Some((rounds, rest)) => (rounds.parse().map_err(|_| malformed())?, rest),
        None => (DEFAULT_ROUNDS, rest),
    };
    let (salt, hash) = rest.split_once('$').ok_or_else(malformed)?;
    let length = if is_sha512 { 86 } else { 43 };
    if salt.len() > MAX_SALT
        || hash.len() != length
        || !hash.bytes().all(is_radix64)
        || rounds < MIN_ROUNDS
    {
        return Err(malformed());
    }
    settings.check_limit("a round count", rounds.into(), "max_rounds", settings.max_rounds)?;
    let start = text.len().saturating_sub(rest.len());
    let used_length =
        settings.max_rounds.checked_div(rounds).unwrap_or(0).saturating_mul(BYTES_OF_A_ROUND);
    Ok(Box::new(ShaCryptHash {
        text: Zeroizing::new(text.to_owned()),
        is_sha512,
        rounds,
        used_length: usize::try_from(used_length).unwrap_or(usize::MAX).max(MIN_USED_LENGTH),
        has_plain_salt: !salt.is_empty() && salt.bytes().all(is_radix64),
        same_cost_dummy: anonymous(text, start, '.')
            .map(|same_cost_dummy| same_cost_dummy.replacen("$$", "$.$", 1)),
    }))
}

const fn name(is_sha512: bool) -> &'static str {
    if is_sha512 { "SHA512-CRYPT" } else { "SHA256-CRYPT" }
}

/// Makes a new hash for storage.
pub(super) fn hash(
    is_sha512: bool,
    rounds: u32,
    password: &Secret,
    salt: &[u8],
) -> Result<String, Fault> {
    let algorithm = if is_sha512 { Algorithm::Sha512Crypt } else { Algorithm::Sha256Crypt };
    let fail = || Fault(format!("{} has no cost of {rounds}", name(is_sha512)));
    let params = Params::new(rounds).map_err(|_| fail())?;
    let hasher = ShaCrypt::from(algorithm);
    let hashed = hasher.hash_password_customized(password.expose(), salt, None, None, params);
    hashed.map(|hash| hash.to_string()).map_err(|_| fail())
}

impl Stored for ShaCryptHash {
    fn matches(&self, candidate: Candidate<'_>) -> Result<bool, Fault> {
        let password = candidate.password.expose();
        let used = password.get(..self.used_length).unwrap_or(password);
        // A longer password takes the same work and does not match.
        let is_whole = used.len() == password.len();
        if !self.has_plain_salt {
            let matches = libcrypt::verify(used, &self.text, name(self.is_sha512))?;
            return Ok(matches && is_whole);
        }
        match ShaCrypt::default().verify_password(used, &**self.text) {
            Ok(()) => Ok(is_whole),
            Err(sha_crypt::password_hash::Error::PasswordInvalid) => Ok(false),
            Err(_) => Err(malformed(name(self.is_sha512))),
        }
    }

    fn format(&self) -> Option<&'static str> {
        Some(name(self.is_sha512))
    }

    fn work(&self) -> u64 {
        let nanoseconds = if self.is_sha512 { 340 } else { 110 };
        u64::from(self.rounds).saturating_mul(nanoseconds) / 1000
    }

    fn same_cost_dummy(&self) -> Option<String> {
        self.same_cost_dummy.clone()
    }
}
