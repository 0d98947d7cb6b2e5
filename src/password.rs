//! Verifies a password against stored passwords of all schemes.
//!
//! `schemes.rs` has the table of scheme names. Each other file implements one family of schemes.
//! `Ok(false)` means "does not match". A stored password that cannot be understood, or would take
//! too much work, is a [`Fault`]. A fault ends as "cannot tell" and is never logged as a wrong
//! password.

mod argon2;
mod bcrypt_sha256;
mod cram_md5;
mod crypt;
mod decoy;
mod digest;
mod digest_md5;
mod dummy;
mod encoding;
mod libcrypt;
mod new;
mod pbkdf2;
mod plain;
mod schemes;
mod scram;
mod sha_crypt;

pub use self::decoy::Decoy;
pub use self::digest::preload;
pub use self::dummy::Dummy;
pub use self::new::DEFAULT_SCHEME;
pub use self::new::NEW_SCHEMES;
pub use self::new::hash;
use self::pbkdf2::Function;
use self::schemes::Scheme;
pub use self::schemes::names;
pub use self::scram::Keys;
use crate::contain;
use crate::contain::Panic;
use crate::secret::Secret;

/// The reason why a stored password cannot be verified. It names the scheme and never the value.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault(pub String);

/// The default scheme, and the limits on the work for one stored password.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The scheme of a stored password without `{SCHEME}`.
    pub default_scheme: String,
    /// True if schemes that are as easy to read as clear text are accepted.
    pub allow_weak_schemes: bool,
    /// The largest bcrypt cost, an exponent of two.
    pub max_bcrypt_cost: u32,
    /// The most rounds of SHA-crypt, PBKDF2 and all other schemes that count rounds.
    pub max_rounds: u32,
    /// The most memory of Argon2, scrypt and yescrypt, in KiB.
    pub max_argon2_memory: u32,
    /// The iterations of SCRAM keys made from clear text, and of those for a name without an
    /// account.
    pub scram_iterations: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            default_scheme: String::from("CRYPT"),
            allow_weak_schemes: true,
            // These take up to a few seconds. More would be a denial of service.
            max_bcrypt_cost: 14,
            max_rounds: 2_000_000,
            max_argon2_memory: 256 * 1024,
            scram_iterations: 100_000,
        }
    }
}

impl Settings {
    /// Returns a fault if a cost is above its limit.
    fn check_limit(&self, what: &str, has: u64, key: &str, most: u32) -> Result<(), Fault> {
        if has <= u64::from(most) {
            return Ok(());
        }
        Err(Fault(format!("has {what} of {has}, above accounts.{key} = {most}")))
    }
}

/// The password to verify.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// The password that the client sent.
    pub password: &'a Secret,
    /// The name as the client typed it. DIGEST-MD5 hashes it with the password.
    pub login: &'a str,
}

/// A parsed stored password of one family.
trait Stored {
    /// Returns true if this password was stored.
    ///
    /// # Errors
    /// The system cannot do the work, or the stored password turns out to be malformed.
    fn matches(&self, candidate: Candidate<'_>) -> Result<bool, Fault>;

    /// The name of the format, if the scheme has several.
    fn format(&self) -> Option<&'static str> {
        None
    }

    /// The password, if it is stored in clear.
    fn clear(&self) -> Option<&[u8]> {
        None
    }

    /// The keys of a SCRAM server, if they are stored for this hash function.
    fn scram(&self, _function: Function) -> Option<Keys> {
        None
    }

    /// True if the hash takes so little work that guessing is easy.
    fn is_weak(&self) -> bool {
        false
    }

    /// The estimated time of `matches`, in microseconds on a machine of 2020. It is only compared
    /// with other estimates. 0 means a time that cannot be measured over a network.
    fn work(&self) -> u64 {
        0
    }

    /// A stored password with the same cost, without this salt and hash.
    fn same_cost_dummy(&self) -> Option<String> {
        None
    }
}

/// True if a scheme of this name exists.
#[must_use]
pub fn is_scheme(name: &str) -> bool {
    Scheme::find(name).is_some()
}

/// The parsed content of the password column.
enum Content {
    Password(&'static Scheme, Box<dyn Stored>),
    /// Empty or marked as locked. No password matches.
    Locked,
}

impl Content {
    fn read(stored: &Secret, settings: &Settings) -> Result<Self, Fault> {
        contain::catch("hash-read", || Self::parse(stored, settings))
            .unwrap_or_else(|panic| Err(unusable(&panic)))
    }

    fn parse(stored: &Secret, settings: &Settings) -> Result<Self, Fault> {
        let bytes = stored.expose();
        let labelled = split(bytes);
        let (name, data) = labelled.unwrap_or((&settings.default_scheme, bytes));
        let scheme = Scheme::find(name).ok_or_else(|| unknown(name, settings))?;
        if data.is_empty() || scheme.marks_locked(data, labelled.is_some()) {
            return Ok(Self::Locked);
        }
        let read = scheme.read(name, data, settings)?;
        if !settings.allow_weak_schemes && (scheme.weak || read.is_weak()) {
            let name = read.format().unwrap_or(scheme.name);
            return Err(Fault(format!(
                "has a {name} hash, and accounts.allow_weak_schemes = false"
            )));
        }
        Ok(Self::Password(scheme, read))
    }

    fn work(&self) -> u64 {
        match self {
            Self::Password(_, stored) => stored.work(),
            Self::Locked => 0,
        }
    }

    /// Returns true if this password was stored.
    fn matches(&self, candidate: Candidate<'_>) -> Result<bool, Fault> {
        self.try_matches(candidate).unwrap_or_else(|panic| Err(unusable(&panic)))
    }

    /// Does the same, and tells a panic of a hash crate from malformed text.
    fn try_matches(&self, candidate: Candidate<'_>) -> Result<Result<bool, Fault>, Panic> {
        contain::catch("hash", || match self {
            Self::Password(_, stored) => stored.matches(candidate),
            Self::Locked => Ok(false),
        })
    }
}

/// A stored password at which a hash crate panicked.
fn unusable(panic: &Panic) -> Fault {
    Fault(format!("has a stored password that cannot be used: {panic}"))
}

/// Splits `{SCHEME}data` into scheme and data.
fn split(stored: &[u8]) -> Option<(&str, &[u8])> {
    let rest = stored.strip_prefix(b"{")?;
    let end = rest.iter().position(|&c| c == b'}')?;
    let name = std::str::from_utf8(rest.get(..end)?).ok()?;
    Some((name, rest.get(end.saturating_add(1)..)?))
}

/// A stored password of an unknown scheme. The word in braces may be part of a password in clear,
/// so it is named only if it looks like a scheme, and never in a table of clear texts.
fn unknown(name: &str, settings: &Settings) -> Fault {
    let is_clear = Scheme::find(&settings.default_scheme).is_none_or(|scheme| scheme.is_clear());
    let is_name = name.len() <= 32
        && name.bytes().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || b"-.".contains(&c));
    Fault(if is_clear || !is_name {
        String::from("has a stored password of an unknown scheme")
    } else {
        format!("has a stored password of the unknown scheme {{{name}}}")
    })
}

/// Returns true if any of the stored passwords matches. If that took less work than the most
/// expensive account does, the dummy is hashed, so that all refusals take as long. This is the case
/// without an account, and for accounts that are locked or in clear.
///
/// # Errors
/// A stored password cannot be understood, and none of the others matches.
pub fn verify_any(
    stored: &[Secret],
    settings: &Settings,
    candidate: Candidate<'_>,
    dummy: &Dummy,
) -> Result<bool, Fault> {
    verify(stored, settings, candidate, dummy, true)
}

/// Does the same as `verify_any`, and does all the work even if one matches. This is for an attempt
/// that is refused whatever its password: the time of its refusal must not tell that a guess was
/// right.
///
/// # Errors
/// As for `verify_any`.
pub fn verify_all(
    stored: &[Secret],
    settings: &Settings,
    candidate: Candidate<'_>,
    dummy: &Dummy,
) -> Result<bool, Fault> {
    verify(stored, settings, candidate, dummy, false)
}

fn verify(
    stored: &[Secret],
    settings: &Settings,
    candidate: Candidate<'_>,
    dummy: &Dummy,
    may_stop: bool,
) -> Result<bool, Fault> {
    let mut fault = None;
    let mut work = 0_u64;
    let mut found = false;
    check_total_work(stored, settings)?;
    for stored in stored {
        let matched = Content::read(stored, settings).and_then(|content| {
            let matched = content.try_matches(candidate);
            // A hash crate that panicked may have taken no time, so the dummy does the work.
            work = work.saturating_add(if matched.is_ok() { content.work() } else { 0 });
            matched.unwrap_or_else(|panic| Err(unusable(&panic)))
        });
        match matched {
            // An empty password matches nothing, not even a stored empty one.
            Ok(true) if !candidate.password.expose().is_empty() => found = true,
            Ok(_) => {}
            Err(e) => fault = Some(e),
        }
        if found && may_stop {
            return Ok(true);
        }
    }
    dummy.top_up(work, candidate);
    match fault {
        // If the attempt is refused anyway, a fault would tell that the password was wrong.
        Some(fault) if !(found && may_stop) => Err(fault),
        _ => Ok(found),
    }
}

/// The most work for all passwords of an account, in microseconds. More would keep a process busy
/// for too long. A single password has its own limit.
const MAX_WORK: u64 = 5_000_000;

/// True if a wrong password can be verified against one of several stored passwords, although
/// another one cannot be read.
#[must_use]
pub fn is_guessable(stored: &[Secret], settings: &Settings) -> bool {
    check_total_work(stored, settings).is_ok()
        && stored.len() > 1
        && stored.iter().any(|stored| matches!(describe(stored, settings), Ok(Some(_))))
}

fn check_total_work(stored: &[Secret], settings: &Settings) -> Result<(), Fault> {
    if stored.len() < 2 {
        return Ok(());
    }
    let works = stored.iter().filter_map(|stored| Content::read(stored, settings).ok());
    let work = works.fold(0_u64, |sum, content| sum.saturating_add(content.work()));
    if work > MAX_WORK {
        let count = stored.len();
        return Err(Fault(format!("has {count} passwords, too much work for one attempt")));
    }
    Ok(())
}

/// Returns the name of the scheme, and true if it is weak or clear text; `None` for a locked
/// account.
///
/// # Errors
/// It cannot be understood, or is above a limit.
pub fn describe(
    stored: &Secret,
    settings: &Settings,
) -> Result<Option<(&'static str, bool)>, Fault> {
    Ok(match Content::read(stored, settings)? {
        Content::Password(scheme, read) => {
            let weak = scheme.weak || scheme.is_clear() || read.is_weak();
            Some((read.format().unwrap_or(scheme.name), weak))
        }
        Content::Locked => None,
    })
}

/// True if a copy may be kept outside of the database: it is a hash, and the hash alone is not
/// enough to log in.
#[must_use]
pub fn may_be_remembered(stored: &Secret, settings: &Settings) -> bool {
    match Content::read(stored, settings) {
        Ok(Content::Password(scheme, read)) => {
            // NTLM accepts this hash in place of the password.
            let is_equivalent = scheme.is_equivalent() || read.format() == Some("NTHASH");
            !is_equivalent && read.clear().is_none()
        }
        Ok(Content::Locked) | Err(_) => false,
    }
}

/// Returns the password if it is stored in clear, for mechanisms that need it.
///
/// # Errors
/// It cannot be understood.
pub fn clear(stored: &Secret, settings: &Settings) -> Result<Option<Secret>, Fault> {
    Ok(match Content::read(stored, settings)? {
        Content::Password(_, read) => read.clear().map(|clear| Secret::new(clear.to_vec())),
        Content::Locked => None,
    })
}

/// Returns the keys of a SCRAM server for a mechanism: as they are stored, or made from a password
/// in clear with the salt of `decoy`. Returns `None` if the stored password allows neither.
///
/// # Errors
/// It cannot be understood.
pub fn scram(
    stored: &Secret,
    settings: &Settings,
    mechanism: &str,
    decoy: &Decoy,
) -> Result<Option<Keys>, Fault> {
    let Some(function) = scram::function(mechanism) else { return Ok(None) };
    let Content::Password(_, read) = Content::read(stored, settings)? else { return Ok(None) };
    let keys = || {
        read.scram(function).or_else(|| {
            let clear = read.clear()?;
            let (salt, iterations) = (decoy.salt(), settings.scram_iterations);
            let (stored_key, server_key) = scram::keys(function, clear, &salt, iterations);
            Some(Keys::new(iterations, &salt, &stored_key, &server_key))
        })
    };
    contain::catch("hash", keys).map_err(|panic| unusable(&panic))
}

/// A stored password of this format that cannot be parsed.
fn malformed(name: &str) -> Fault {
    Fault(format!("has a malformed {name} hash"))
}

#[cfg(test)]
mod tests;
