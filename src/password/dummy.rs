//! The work done for an account that does not exist, so that its answer takes as long.
//!
//! How long that is depends on the administrator's table, which cannot be asked for "the usual
//! scheme". So the dearest scheme seen in it is remembered in the state directory, as a hash of
//! nothing with the same cost; until one has been seen, it is what `user passwd` makes. The file
//! holds no account's hash.

use std::fs;
use std::fs::OpenOptions;
use std::io::Read;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;

use super::Method;
use crate::secret::Secret;

/// The cost of new hashes, of `user add` and `user passwd`.
pub const DEFAULT_BCRYPT_COST: u32 = 10;

const FILE_NAME: &str = "dummy-hash";
const MAX_FILE: u64 = 256;

/// A stored password that belongs to nobody.
#[derive(Debug)]
pub struct Dummy {
    file: PathBuf,
    stored: Secret,
}

impl Dummy {
    /// Reads what was remembered in the state directory, or takes the default.
    #[must_use]
    pub fn load(state_directory: &Path) -> Self {
        let file = state_directory.join(FILE_NAME);
        let default = || bcrypt_of_nothing(DEFAULT_BCRYPT_COST);
        let stored = read(&file).filter(|text| work(text) > 0).unwrap_or_else(default);
        Self { file, stored: Secret::new(stored.into_bytes()) }
    }

    /// Hashes the password to no end.
    pub fn work(&self, password: &Secret) {
        let method = Method::of(&self.stored, "CRYPT");
        let _ = method.and_then(|method| method.matches(password)).ok();
    }

    /// Remembers the cost of these stored passwords if they are dearer than what is known.
    /// Whoever cannot write there, learns nothing; that is no reason to refuse a client.
    pub fn learn(&self, seen: &[Secret], default_scheme: &str) {
        let known = self.file.exists();
        if let Some(text) = self.dearest(seen, default_scheme, known) {
            let _ = write(&self.file, &text).ok();
        }
    }

    /// A hash of nothing as dear as the dearest of these, if what is known is cheaper.
    fn dearest(&self, seen: &[Secret], default_scheme: &str, known: bool) -> Option<String> {
        let stored = std::str::from_utf8(self.stored.expose()).unwrap_or_default();
        let least = if known { work(stored) } else { 0 };
        seen.iter()
            .filter_map(|stored| of_same_cost(&Method::of(stored, default_scheme).ok()?))
            .max_by_key(|text| work(text))
            .filter(|text| work(text) > least)
    }
}

/// A hash of nothing that takes as long as this one.
fn of_same_cost(method: &Method<'_>) -> Option<String> {
    match method {
        Method::Bcrypt(stored) => Some(bcrypt_of_nothing(stored.cost)),
        Method::Sha512Crypt(stored) => {
            Some(format!("$6$rounds={}$nobody${}", stored.rounds, ".".repeat(86)))
        }
        Method::Plain(_) | Method::Locked => None,
    }
}

fn bcrypt_of_nothing(cost: u32) -> String {
    format!("$2y${cost:02}${}", ".".repeat(53))
}

/// Roughly how long a stored password takes to check, in microseconds of a machine of 2020; only
/// for comparing one with another. 0 is no hash at all.
fn work(text: &str) -> u64 {
    let stored = Secret::new(text.as_bytes().to_vec());
    match Method::of(&stored, "CRYPT") {
        Ok(Method::Bcrypt(stored)) => 60_u64.checked_shl(stored.cost).unwrap_or(u64::MAX),
        Ok(Method::Sha512Crypt(stored)) => u64::from(stored.rounds).div_ceil(2),
        Ok(Method::Plain(_) | Method::Locked) | Err(_) => 0,
    }
}

fn read(file: &Path) -> Option<String> {
    let mut text = String::new();
    let file =
        OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(file);
    file.ok()?.take(MAX_FILE).read_to_string(&mut text).ok()?;
    Some(text.trim_end().to_owned())
}

/// By rename, since other processes read it meanwhile.
fn write(file: &Path, text: &str) -> std::io::Result<()> {
    // Root never leaves a file here that Exim's user could not replace.
    if nix::unistd::Uid::effective().is_root() {
        return Ok(());
    }
    let fresh = file.with_extension(format!("{}", std::process::id()));
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    let written = options.open(&fresh).and_then(|mut file| writeln!(file, "{text}"));
    let renamed = written.and_then(|()| fs::rename(&fresh, file));
    if renamed.is_err() {
        let _ = fs::remove_file(&fresh).ok();
    }
    renamed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(text: &str) -> Secret {
        Secret::new(text.as_bytes().to_vec())
    }

    #[test]
    fn the_dearest_scheme_seen_is_remembered_and_no_accounts_hash() {
        let directory = tempfile::tempdir().unwrap();
        let remember = |text: &str| fs::write(directory.path().join(FILE_NAME), text).unwrap();
        let dearest = |seen: &[&str], known| {
            let seen: Vec<_> = seen.iter().map(|text| stored(text)).collect();
            Dummy::load(directory.path()).dearest(&seen, "CRYPT", known)
        };
        let eleven = "$2y$11$11ipvo5dR6CwkzwmhwM26OXgzXwhV2PyPuLV.Qi31ILcRcThQpEiW";
        assert_eq!(dearest(&["{PLAIN}secret", "!"], false), None, "they cost nothing");
        let cheap = bcrypt_of_nothing(4);
        assert_eq!(dearest(&[&cheap], false), Some(cheap), "nothing better is known");
        assert_eq!(dearest(&[eleven], false), Some(bcrypt_of_nothing(11)), "no hash of theirs");
        remember(&bcrypt_of_nothing(11));
        assert_eq!(dearest(&[eleven, &bcrypt_of_nothing(5)], true), None, "no dearer");
        assert_eq!(dearest(&[&bcrypt_of_nothing(12)], true), Some(bcrypt_of_nothing(12)));
        remember("garbage");
        assert_eq!(dearest(&[eleven], true), Some(bcrypt_of_nothing(11)), "garbage is nothing");
    }

    #[test]
    fn root_leaves_no_file() {
        if nix::unistd::Uid::effective().is_root() {
            let directory = tempfile::tempdir().unwrap();
            Dummy::load(directory.path()).learn(&[stored(&bcrypt_of_nothing(12))], "CRYPT");
            assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        }
    }

    #[test]
    fn costs_compare() {
        let sha512 = |rounds| format!("$6$rounds={rounds}$nobody${}", ".".repeat(86));
        assert!(work(&bcrypt_of_nothing(12)) > work(&bcrypt_of_nothing(10)));
        assert!(work(&bcrypt_of_nothing(10)) > work(&sha512(5000)));
        assert!(work(&sha512(500_000)) > work(&bcrypt_of_nothing(8)));
        assert_eq!(work("{PLAIN}x"), 0);
    }
}
