//! PBKDF2 (RFC 8018) in the layouts of Dovecot, passlib and Django.

use ::hmac::Hmac;
use ::hmac::KeyInit;
use ::hmac::Mac;
use base64ct::Base64;
use base64ct::Encoding as _;
use sha1::Sha1;
use sha2::Sha256;
use sha2::Sha512;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::Candidate;
use super::Fault;
use super::Settings;
use super::Stored;
use super::encoding::adapted_base64;
use super::encoding::anonymous;
use super::encoding::base64;
use super::encoding::hex;
use super::malformed;

/// Dovecot's key length in bytes.
pub(super) const DOVECOT_LENGTH: usize = 20;

/// The hash function inside PBKDF2 and HMAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Sha1,
    Sha256,
    Sha512,
}

impl Function {
    /// The length of its output in bytes.
    pub(super) const fn length(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    pub(super) fn pbkdf2(
        self,
        password: &[u8],
        salt: &[u8],
        rounds: u32,
        length: usize,
    ) -> Zeroizing<Vec<u8>> {
        let mut key = Zeroizing::new(vec![0; length]);
        match self {
            Self::Sha1 => ::pbkdf2::pbkdf2_hmac::<Sha1>(password, salt, rounds, &mut key),
            Self::Sha256 => ::pbkdf2::pbkdf2_hmac::<Sha256>(password, salt, rounds, &mut key),
            Self::Sha512 => ::pbkdf2::pbkdf2_hmac::<Sha512>(password, salt, rounds, &mut key),
        }
        key
    }

    pub(super) fn hmac(self, key: &[u8], data: &[u8]) -> Zeroizing<Vec<u8>> {
        // HMAC takes keys of any length, so `new_from_slice` cannot fail.
        let code = match self {
            Self::Sha1 => Hmac::<Sha1>::new_from_slice(key)
                .map(|mac| mac.chain_update(data).finalize().into_bytes().to_vec()),
            Self::Sha256 => Hmac::<Sha256>::new_from_slice(key)
                .map(|mac| mac.chain_update(data).finalize().into_bytes().to_vec()),
            Self::Sha512 => Hmac::<Sha512>::new_from_slice(key)
                .map(|mac| mac.chain_update(data).finalize().into_bytes().to_vec()),
        };
        Zeroizing::new(code.unwrap_or_default())
    }

    /// The estimated time in microseconds; see `Stored::work`.
    pub(super) fn work(self, rounds: u32, length: usize) -> u64 {
        let nanoseconds = match self {
            Self::Sha1 | Self::Sha256 => 120,
            Self::Sha512 => 410,
        };
        let blocks = u64::try_from(length.div_ceil(self.length())).unwrap_or(u64::MAX);
        u64::from(rounds).saturating_mul(nanoseconds).saturating_mul(blocks) / 1000
    }
}

struct Pbkdf2 {
    function: Function,
    rounds: u32,
    salt: Zeroizing<Vec<u8>>,
    key: Zeroizing<Vec<u8>>,
    same_cost_dummy: String,
}

/// Reads `$1$salt$rounds$key`. The salt is used as it is, the key is hexadecimal.
pub(super) fn dovecot(data: &[u8], settings: &Settings) -> Result<Box<dyn Stored>, Fault> {
    let parse = |text: &str| {
        let fields: Vec<_> = text.split('$').collect();
        let ["", "1", salt, rounds, key] = fields[..] else { return None };
        let rounds = rounds.parse().ok()?;
        let same_cost_dummy = format!("{{PBKDF2}}$1$nobody${rounds}${}", "0".repeat(key.len()));
        let salt = Zeroizing::new(salt.as_bytes().to_vec());
        let key = hex(key.as_bytes()).filter(|key| key.len() == DOVECOT_LENGTH)?;
        Some(Pbkdf2 { function: Function::Sha1, rounds, salt, key, same_cost_dummy })
    };
    read("PBKDF2", data, parse, settings)
}

/// Reads `$pbkdf2[-function]$rounds$salt$key` with passlib's base64.
pub(super) fn passlib(data: &[u8], settings: &Settings) -> Result<Box<dyn Stored>, Fault> {
    let parse = |text: &str| {
        let fields: Vec<_> = text.split('$').collect();
        let ["", name, rounds, salt, key] = fields[..] else { return None };
        let function = match name {
            "pbkdf2" | "pbkdf2-sha1" => Function::Sha1,
            "pbkdf2-sha256" => Function::Sha256,
            "pbkdf2-sha512" => Function::Sha512,
            _ => return None,
        };
        let start = name.len().checked_add(rounds.len())?.checked_add(3)?;
        let same_cost_dummy = anonymous(text, start, 'A')?;
        let (salt, key) = (adapted_base64(salt)?, adapted_base64(key)?);
        Some(Pbkdf2 { function, rounds: rounds.parse().ok()?, salt, key, same_cost_dummy })
    };
    read("passlib PBKDF2", data, parse, settings)
}

/// Reads `pbkdf2_sha256$rounds$salt$key`. The salt is used as it is.
pub(super) fn django(data: &[u8], settings: &Settings) -> Result<Box<dyn Stored>, Fault> {
    let parse = |text: &str| {
        let fields: Vec<_> = text.split('$').collect();
        let ["pbkdf2_sha256", rounds, salt, key] = fields[..] else { return None };
        let rounds = rounds.parse().ok()?;
        let (salt, key) = (Zeroizing::new(salt.as_bytes().to_vec()), base64(key.as_bytes())?);
        let nothing = Base64::encode_string(&vec![0; key.len()]);
        let same_cost_dummy = format!("pbkdf2_sha256${rounds}$nobody${nothing}");
        Some(Pbkdf2 { function: Function::Sha256, rounds, salt, key, same_cost_dummy })
    };
    read("Django PBKDF2", data, parse, settings)
}

fn read(
    name: &str,
    data: &[u8],
    parse: impl Fn(&str) -> Option<Pbkdf2>,
    settings: &Settings,
) -> Result<Box<dyn Stored>, Fault> {
    let read = std::str::from_utf8(data).ok().and_then(parse);
    // A key of one or two bytes would match by chance.
    let read = read.filter(|read| read.rounds > 0 && (16..=64).contains(&read.key.len()));
    let read = read.ok_or_else(|| malformed(name))?;
    settings.check_limit("a round count", read.rounds.into(), "max_rounds", settings.max_rounds)?;
    Ok(Box::new(read))
}

impl Stored for Pbkdf2 {
    fn matches(&self, candidate: Candidate<'_>) -> Result<bool, Fault> {
        let password = candidate.password.expose();
        let key = self.function.pbkdf2(password, &self.salt, self.rounds, self.key.len());
        Ok(bool::from(key.ct_eq(&self.key)))
    }

    fn work(&self) -> u64 {
        self.function.work(self.rounds, self.key.len())
    }

    fn same_cost_dummy(&self) -> Option<String> {
        Some(self.same_cost_dummy.clone())
    }
}
