//! Shared parts of the fuzz targets: small limits, oracles, and the check of a password.

pub mod arguments;
pub mod columns;
pub mod configuration;
mod database;
pub mod dns;
pub mod journal;
pub mod literals;
pub mod mmdb;
pub mod oracle;
pub mod shared;

use std::path::Path;
use std::sync::LazyLock;

use authpolicy::password;
use authpolicy::password::Candidate;
use authpolicy::password::Dummy;
use authpolicy::password::Fault;
use authpolicy::password::Settings;
use authpolicy::secret::Secret;

/// The names of all schemes.
pub static SCHEMES: LazyLock<Vec<String>> =
    LazyLock::new(|| password::names().split(", ").map(str::to_owned).collect());

/// Limits that are so low that an execution takes milliseconds.
pub fn settings(default_scheme: &str) -> Settings {
    Settings {
        default_scheme: default_scheme.to_owned(),
        allow_weak_schemes: true,
        max_bcrypt_cost: 4,
        max_rounds: 5000,
        max_argon2_memory: 64,
        ..Settings::default()
    }
}

/// A copy as a secret.
pub fn secret(bytes: &[u8]) -> Secret {
    Secret::new(bytes.to_vec())
}

/// An empty dummy, because hashing the same dummy again and again finds nothing.
pub fn no_dummy(settings: &Settings) -> Dummy {
    Dummy::load(Path::new("/nonexistent"), Some(""), settings)
}

/// Checks a password with the library.
pub fn verify(
    stored: &[u8],
    password: &[u8],
    login: &str,
    settings: &Settings,
) -> Result<bool, Fault> {
    let (stored, password) = ([secret(stored)], secret(password));
    let candidate = Candidate { password: &password, login };
    password::verify_any(&stored, settings, candidate, &no_dummy(settings))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seed_matches_except_the_last_ones() {
        let seeds = include_str!("../seeds/stored.list");
        for (password, stored) in seeds.lines().filter_map(|line| line.split_once(' ')) {
            let never_matches = ["!", "*", "SUSPENDED", "{CRYPT}", "{CRYPT}!", "{NO-SUCH}data"]
                .contains(&stored)
                || ["{SHA.rot13}data", "no label"].contains(&stored);
            let settings = settings("CRYPT");
            let verdict =
                verify(stored.as_bytes(), password.as_bytes(), "user@example.com", &settings);
            assert_eq!(verdict == Ok(true), !never_matches, "{stored}: {verdict:?}");
        }
    }
}
