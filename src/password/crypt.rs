//! The formats of crypt(3): those that begin with `$` and a name, and two older ones.
//!
//! libcrypt does the work, except for SHA-crypt. It made most of these texts, it knows the history
//! of each format (`$2x$`, and `$2a$` for passwords that are not ASCII), and nothing is faster.

use zeroize::Zeroizing;

use super::Candidate;
use super::Fault;
use super::Settings;
use super::Stored;
use super::encoding::anonymous;
use super::encoding::is_radix64;
use super::libcrypt;
use super::malformed;
use super::sha_crypt;

/// The bytes of a password that bcrypt uses.
const BCRYPT_PASSWORD: usize = 72;
/// The bytes of a password that DES uses.
const DES_PASSWORD: usize = 8;

struct CryptHash {
    text: Zeroizing<String>,
    format: Format,
}

/// The properties of a text that are known without doing the work.
struct Format {
    name: &'static str,
    weak: bool,
    /// The bytes of a password that are used.
    used_length: usize,
    /// See [`Stored::work`].
    work: u64,
    /// The offset after the parameters.
    start: usize,
}

pub(super) fn read(data: &[u8], settings: &Settings) -> Result<Box<dyn Stored>, Fault> {
    let unknown = || {
        Fault(String::from(
            "has a stored password in a crypt format that is not supported: see accounts.default_scheme",
        ))
    };
    let text = std::str::from_utf8(data).map_err(|_| unknown())?;
    if text.bytes().any(|c| c.is_ascii_control()) {
        // libcrypt would stop at a NUL, and take less work than the text names.
        return Err(unknown());
    }
    match text.get(..3) {
        Some("$5$" | "$6$") => return sha_crypt::read(text, settings),
        Some("$2a" | "$2b" | "$2x" | "$2y") => return bcrypt(data, settings),
        Some("$1$") => return Ok(Box::new(Md5Crypt::read(text)?)),
        Some(_) | None => {}
    }
    let format = if text.starts_with("$y$") || text.starts_with("$gy$") {
        yescrypt(text, settings)
    } else if text.starts_with("$7$") {
        scrypt(text, settings)
    } else if text.starts_with("$sha1$") {
        sha1_crypt(text, settings)
    } else if text.starts_with("$md5") {
        sun_md5(text, settings)
    } else if text.starts_with("$3$$") && text.len() == 36 {
        Ok(Format { name: "NTHASH", weak: true, used_length: usize::MAX, work: 0, start: 4 })
    } else if text.len() == 20 && text.starts_with('_') && text.bytes().skip(1).all(is_radix64) {
        bsdi(text, settings)
    } else if text.len() == 13 && text.bytes().all(is_radix64) {
        Ok(Format { name: "DES-CRYPT", weak: true, used_length: DES_PASSWORD, work: 4, start: 0 })
    } else {
        Err(unknown())
    }?;
    Ok(Box::new(CryptHash { text: Zeroizing::new(text.to_owned()), format }))
}

/// True if the last field has this many digits.
fn ends_with_hash(text: &str, length: usize) -> bool {
    let hash = text.rsplit_once('$').map_or("", |(_, hash)| hash);
    hash.len() == length && hash.bytes().all(is_radix64)
}

/// The value of a digit of crypt(3)'s base64.
fn digit(c: u8) -> Option<u32> {
    const DIGITS: &[u8] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    DIGITS.iter().position(|&known| known == c).and_then(|at| u32::try_from(at).ok())
}

/// Reads bcrypt: `$2y$10$` and 53 digits.
pub(super) fn bcrypt(data: &[u8], settings: &Settings) -> Result<Box<dyn Stored>, Fault> {
    let name = "bcrypt";
    let text = std::str::from_utf8(data).map_err(|_| malformed(name))?;
    let fields: Vec<_> = text.split('$').collect();
    let ["", "2a" | "2b" | "2x" | "2y", cost, hash] = fields[..] else {
        return Err(malformed(name));
    };
    if cost.len() != 2 || hash.len() != 53 || !hash.bytes().all(is_radix64) {
        return Err(malformed(name));
    }
    let cost: u32 = cost.parse().map_err(|_| malformed(name))?;
    if !(4..=31).contains(&cost) {
        return Err(malformed(name));
    }
    settings.check_limit(
        "a bcrypt cost",
        cost.into(),
        "max_bcrypt_cost",
        settings.max_bcrypt_cost,
    )?;
    let work = 55_u64.checked_shl(cost).unwrap_or(u64::MAX);
    let format =
        Format { name: "BLF-CRYPT", weak: false, used_length: BCRYPT_PASSWORD, work, start: 7 };
    Ok(Box::new(CryptHash { text: Zeroizing::new(text.to_owned()), format }))
}

/// Reads yescrypt: `$y$`, parameters in yescrypt's own number format, salt and hash.
fn yescrypt(text: &str, settings: &Settings) -> Result<Format, Fault> {
    let malformed = || malformed("yescrypt");
    let fields: Vec<_> = text.split('$').collect();
    let ["", prefix, parameters, _, _] = fields[..] else { return Err(malformed()) };
    let mut rest = parameters.bytes();
    let _flavour = packed(&mut rest, 0).ok_or_else(malformed)?;
    let exponent = packed(&mut rest, 1).ok_or_else(malformed)?;
    let block = packed(&mut rest, 1).ok_or_else(malformed)?;
    if rest.next().is_some() {
        // Lanes, passes and ROMs, which no known password file uses.
        return Err(Fault(String::from("has a yescrypt hash with unusual parameters")));
    }
    if !ends_with_hash(text, 43) {
        return Err(malformed());
    }
    let memory = memory(exponent, block, 1).ok_or_else(malformed)?;
    let most = settings.max_argon2_memory;
    settings.check_limit("a yescrypt memory in KiB", memory, "max_argon2_memory", most)?;
    let start = prefix.len().saturating_add(parameters.len()).saturating_add(3);
    let work = memory.saturating_mul(8) / 10;
    Ok(Format { name: "YESCRYPT", weak: false, used_length: usize::MAX, work, start })
}

/// Reads a number in yescrypt's format of variable length.
fn packed(digits: &mut impl Iterator<Item = u8>, least: u32) -> Option<u32> {
    let mut digit = || digits.next().and_then(digit);
    let first = digit()?;
    let (mut start, mut end, mut value, mut more) = (0_u32, 47_u32, least, 0_u32);
    while first > end {
        let width = end.checked_add(1)?.checked_sub(start)?;
        value = value.checked_add(width.checked_shl(more.checked_mul(6)?)?)?;
        start = end.checked_add(1)?;
        end = start.checked_add(62_u32.checked_sub(end)? / 2)?;
        more = more.checked_add(1)?;
    }
    let shift = |digit: u32, place: u32| digit.checked_shl(place.checked_mul(6)?);
    value = value.checked_add(shift(first.checked_sub(start)?, more)?)?;
    for place in (0..more).rev() {
        value = value.checked_add(shift(digit()?, place)?)?;
    }
    Some(value)
}

/// Reads scrypt: `$7$`, one digit for N, five each for r and p, salt and hash.
fn scrypt(text: &str, settings: &Settings) -> Result<Format, Fault> {
    let malformed = || malformed("scrypt");
    let number = |from: usize, to: usize| {
        let digits = text.as_bytes().get(from..to).ok_or_else(malformed)?;
        digits
            .iter()
            .rev()
            .try_fold(0_u32, |number, &c| {
                digit(c).and_then(|digit| number.checked_mul(64)?.checked_add(digit))
            })
            .ok_or_else(malformed)
    };
    if !ends_with_hash(text, 43) {
        return Err(malformed());
    }
    let (exponent, block, lanes) = (number(3, 4)?, number(4, 9)?, number(9, 14)?);
    let memory = memory(exponent, block, lanes).ok_or_else(malformed)?;
    let most = settings.max_argon2_memory;
    settings.check_limit("a scrypt memory in KiB", memory, "max_argon2_memory", most)?;
    let work = memory.saturating_mul(36) / 10;
    Ok(Format { name: "SCRYPT", weak: false, used_length: usize::MAX, work, start: 14 })
}

/// The memory of scrypt in KiB. All lanes are added, as if each had its own.
fn memory(exponent: u32, block: u32, lanes: u32) -> Option<u64> {
    let blocks = 1_u64.checked_shl(exponent).filter(|_| exponent < 48)?;
    Some(blocks.checked_mul(block.into())?.checked_mul(lanes.into())?.div_ceil(8))
}

/// Reads `$sha1$rounds$salt$hash`.
fn sha1_crypt(text: &str, settings: &Settings) -> Result<Format, Fault> {
    let fields: Vec<_> = text.split('$').collect();
    let ["", "sha1", rounds, _, _] = fields[..] else { return Err(malformed("sha1crypt")) };
    if !ends_with_hash(text, 28) {
        return Err(malformed("sha1crypt"));
    }
    let start = rounds.len().saturating_add(7);
    let rounds = rounds.parse::<u32>().map_err(|_| malformed("sha1crypt"))?;
    settings.check_limit("a round count", rounds.into(), "max_rounds", settings.max_rounds)?;
    let work = u64::from(rounds).saturating_mul(6) / 10;
    Ok(Format { name: "SHA1-CRYPT", weak: false, used_length: usize::MAX, work, start })
}

/// Reads `$md5[,rounds=N]$salt$[$]hash`. The format does 4096 rounds more than it names.
fn sun_md5(text: &str, settings: &Settings) -> Result<Format, Fault> {
    let malformed = || malformed("SunMD5");
    if !ends_with_hash(text, 22) {
        return Err(malformed());
    }
    let parameters = text.get(4..).and_then(|rest| rest.split('$').next()).unwrap_or_default();
    let rounds: u32 = match parameters.strip_prefix(",rounds=") {
        Some(rounds) => rounds.parse().map_err(|_| malformed())?,
        None if parameters.is_empty() => 0,
        None => return Err(malformed()),
    };
    settings.check_limit("a round count", rounds.into(), "max_rounds", settings.max_rounds)?;
    let work = u64::from(rounds).saturating_add(4096).saturating_mul(24) / 10;
    let start = parameters.len().saturating_add(5);
    Ok(Format { name: "SUNMD5", weak: true, used_length: usize::MAX, work, start })
}

/// Reads BSDi DES: `_`, four digits for the rounds, four of salt, and the hash.
fn bsdi(text: &str, settings: &Settings) -> Result<Format, Fault> {
    let rounds = text.as_bytes().get(1..5).unwrap_or_default();
    let rounds = rounds.iter().rev().try_fold(0_u64, |rounds, &c| {
        digit(c).map(|digit| rounds.saturating_mul(64).saturating_add(u64::from(digit)))
    });
    let rounds = rounds.ok_or_else(|| malformed("BSDi DES"))?;
    settings.check_limit("a round count", rounds, "max_rounds", settings.max_rounds)?;
    let work = rounds.saturating_mul(13) / 100;
    Ok(Format { name: "BSDI-CRYPT", weak: true, used_length: usize::MAX, work, start: 5 })
}

impl Stored for CryptHash {
    fn matches(&self, candidate: Candidate<'_>) -> Result<bool, Fault> {
        let password = candidate.password.expose();
        let used = password.get(..self.format.used_length).unwrap_or(password);
        libcrypt::verify(used, &self.text, self.format.name)
    }

    fn format(&self) -> Option<&'static str> {
        Some(self.format.name)
    }

    fn is_weak(&self) -> bool {
        self.format.weak
    }

    fn work(&self) -> u64 {
        self.format.work
    }

    fn same_cost_dummy(&self) -> Option<String> {
        anonymous(&self.text, self.format.start, '.')
    }
}

/// `$1$salt$hash`. A crate hashes passwords that are too long for libcrypt.
struct Md5Crypt {
    text: Zeroizing<String>,
}

impl Md5Crypt {
    const NAME: &str = "MD5-CRYPT";

    fn read(text: &str) -> Result<Self, Fault> {
        let fields: Vec<_> = text.split('$').collect();
        let ["", "1", salt, hash] = fields[..] else { return Err(malformed(Self::NAME)) };
        if salt.len() > 8 || hash.len() != 22 || !hash.bytes().all(is_radix64) {
            return Err(malformed(Self::NAME));
        }
        Ok(Self { text: Zeroizing::new(text.to_owned()) })
    }
}

impl Stored for Md5Crypt {
    fn matches(&self, candidate: Candidate<'_>) -> Result<bool, Fault> {
        use subtle::ConstantTimeEq;
        let password = candidate.password.expose();
        if password.len() <= libcrypt::MAX_PASSWORD {
            return libcrypt::verify(password, &self.text, Self::NAME);
        }
        let salt = self.text.split('$').nth(2).unwrap_or_default();
        let computed = Zeroizing::new(md5crypt::md5crypt(password, salt.as_bytes()));
        Ok(bool::from(computed.ct_eq(self.text.as_bytes())))
    }

    fn format(&self) -> Option<&'static str> {
        Some(Self::NAME)
    }

    fn is_weak(&self) -> bool {
        true
    }

    fn work(&self) -> u64 {
        180
    }

    fn same_cost_dummy(&self) -> Option<String> {
        anonymous(&self.text, 3, '.')
    }
}
