//! Whether a password matches a stored one, whatever scheme it is stored in.
//!
//! `schemes.rs` has the table of names, each other file one family. `Ok(false)` is "does not
//! match"; what cannot be understood, or would take too much work, is a [`Fault`] and ends as
//! "cannot tell", so that it is never logged as a wrong password.

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

/// Why a stored password cannot be held against anything. Names the scheme, never the value.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault(pub String);

/// How stored passwords are read, and how much work one may take.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Of a stored password without `{SCHEME}`.
    pub default_scheme: String,
    /// Whether schemes that are as good as clear text are taken.
    pub allow_weak_schemes: bool,
    /// The exponent of the rounds.
    pub max_bcrypt_cost: u32,
    /// Of SHA-crypt, PBKDF2 and what else counts rounds.
    pub max_rounds: u32,
    /// In KiB; of scrypt and yescrypt, too.
    pub max_argon2_memory: u32,
    /// Of SCRAM keys that are made, and that nobody has.
    pub scram_iterations: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            default_scheme: String::from("CRYPT"),
            allow_weak_schemes: true,
            // From half a second to a few here; more is a denial of service.
            max_bcrypt_cost: 14,
            max_rounds: 2_000_000,
            max_argon2_memory: 256 * 1024,
            scram_iterations: 100_000,
        }
    }
}

impl Settings {
    /// Refuses what takes more work than the administrator wants to do for one attempt.
    fn limit(&self, what: &str, has: u64, key: &str, most: u32) -> Result<(), Fault> {
        if has <= u64::from(most) {
            return Ok(());
        }
        Err(Fault(format!("has {what} of {has}, above accounts.{key} = {most}")))
    }
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// The password that the client sent.
    pub password: &'a Secret,
    /// The name as the client typed it: one scheme hashes it, too.
    pub login: &'a str,
}

/// A stored password of one family, taken apart.
trait Stored {
    /// Whether this password was stored.
    ///
    /// # Errors
    /// The system cannot do the work, or what is stored turns out to be malformed.
    fn matches(&self, candidate: Candidate<'_>) -> Result<bool, Fault>;

    /// What the format calls itself, where one scheme has several.
    fn format(&self) -> Option<&'static str> {
        None
    }

    /// The password itself, where it is stored in clear.
    fn clear(&self) -> Option<&[u8]> {
        None
    }

    /// What a SCRAM server needs, where it is stored for this hash function.
    fn scram(&self, _function: Function) -> Option<Keys> {
        None
    }

    /// Whether guessing it is as easy as it was in the last century.
    fn is_weak(&self) -> bool {
        false
    }

    /// About how long `matches` takes, in microseconds of a machine of 2020: for comparing with
    /// others. 0 is nothing that could be measured over a network.
    fn work(&self) -> u64 {
        0
    }

    /// A stored password that belongs to nobody and takes as long.
    fn twin(&self) -> Option<String> {
        None
    }
}

/// Whether there is a scheme of this name.
#[must_use]
pub fn is_scheme(name: &str) -> bool {
    Scheme::named(name).is_some()
}

/// What is in the column.
enum Content {
    Password(&'static Scheme, Box<dyn Stored>),
    /// Empty, or marked as locked: no password matches.
    Locked,
}

impl Content {
    fn read(stored: &Secret, settings: &Settings) -> Result<Self, Fault> {
        contain::catch("hash-read", || Self::take_apart(stored, settings))
            .unwrap_or_else(|panic| Err(unusable(&panic)))
    }

    fn take_apart(stored: &Secret, settings: &Settings) -> Result<Self, Fault> {
        let bytes = stored.expose();
        let labelled = split(bytes);
        let (name, data) = labelled.unwrap_or((&settings.default_scheme, bytes));
        let scheme = Scheme::named(name).ok_or_else(|| unknown(name, settings))?;
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

    /// True if this password was stored.
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

/// `{SCHEME}data`
fn split(stored: &[u8]) -> Option<(&str, &[u8])> {
    let rest = stored.strip_prefix(b"{")?;
    let end = rest.iter().position(|&c| c == b'}')?;
    let name = std::str::from_utf8(rest.get(..end)?).ok()?;
    Some((name, rest.get(end.saturating_add(1)..)?))
}

/// In a table of clear texts, what stands in braces may be part of a password.
fn unknown(name: &str, settings: &Settings) -> Fault {
    let is_clear = Scheme::named(&settings.default_scheme).is_none_or(|scheme| scheme.is_clear());
    let is_name = name.len() <= 32
        && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'.');
    Fault(if is_clear || !is_name {
        String::from("has a stored password of an unknown scheme")
    } else {
        format!("has a stored password of the unknown scheme {{{name}}}")
    })
}

/// Whether any of the stored passwords matches. Where that took less work than the dearest account
/// does, because there is no account, or it is locked or in clear, the dummy is hashed, so that a
/// refusal takes as long.
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

/// The same without saving work where one matches: for an attempt that is refused whatever the
/// password, so that the time of its refusal does not tell that a guess was right.
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
    too_many(stored, settings)?;
    for stored in stored {
        let matched = Content::read(stored, settings).and_then(|content| {
            let matched = content.try_matches(candidate);
            // A check that panicked may have taken no time, so the dummy does the work.
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
        // Who is refused whatever the password must not hear by a fault that it was wrong.
        Some(fault) if !(found && may_stop) => Err(fault),
        _ => Ok(found),
    }
}

/// However many passwords an account has: beyond this, in microseconds, one attempt would keep a
/// process for too long. A single one is held against its own limit.
const MAX_WORK: u64 = 5_000_000;

/// Whether a wrong password would be held against any of these, although another cannot be read.
#[must_use]
pub fn is_guessable(stored: &[Secret], settings: &Settings) -> bool {
    too_many(stored, settings).is_ok()
        && stored.len() > 1
        && stored.iter().any(|stored| matches!(describe(stored, settings), Ok(Some(_))))
}

fn too_many(stored: &[Secret], settings: &Settings) -> Result<(), Fault> {
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

/// What a stored password is, for administrators: its scheme, and whether that is weak or clear
/// text. `None` is a locked account.
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

/// Whether it is a hash that nobody can log in with, and may be kept beside the database.
#[must_use]
pub fn may_be_remembered(stored: &Secret, settings: &Settings) -> bool {
    match Content::read(stored, settings) {
        Ok(Content::Password(scheme, read)) => {
            // NTLM takes that hash for the password.
            let is_equivalent = scheme.is_equivalent() || read.format() == Some("NTHASH");
            !is_equivalent && read.clear().is_none()
        }
        Ok(Content::Locked) | Err(_) => false,
    }
}

/// The password itself, where it is stored in clear, for mechanisms that need it.
///
/// # Errors
/// It cannot be understood.
pub fn clear(stored: &Secret, settings: &Settings) -> Result<Option<Secret>, Fault> {
    Ok(match Content::read(stored, settings)? {
        Content::Password(_, read) => read.clear().map(|clear| Secret::new(clear.to_vec())),
        Content::Locked => None,
    })
}

/// What a SCRAM server needs of a mechanism: as it is stored, or made of a password in clear with
/// the salt of `decoy`; `None` where the stored password is good for neither.
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

/// A stored password of this format that its family cannot take apart.
fn malformed(name: &str) -> Fault {
    Fault(format!("has a malformed {name} hash"))
}

#[cfg(test)]
mod tests;
