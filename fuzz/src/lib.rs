//! What the fuzz targets share: small limits, libcrypt as an oracle, and the question itself.

pub mod arguments;
pub mod columns;
pub mod configuration;
mod database;
pub mod dns;
pub mod journal;
pub mod mmdb;
pub mod oracle;

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

/// Limits that let an execution take milliseconds.
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

/// A secret copy.
pub fn secret(bytes: &[u8]) -> Secret {
    Secret::new(bytes.to_vec())
}

/// No dummy: hashing the same again and again finds nothing.
pub fn no_dummy(settings: &Settings) -> Dummy {
    Dummy::load(Path::new("/nonexistent"), Some(""), settings)
}

/// Whether our code says that this password is the stored one.
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
    fn every_seed_is_a_match_but_for_the_last_which_are_none() {
        let seeds = include_str!("../seeds/stored.list");
        for (password, stored) in seeds.lines().filter_map(|line| line.split_once(' ')) {
            let is_none = ["!", "*", "SUSPENDED", "{CRYPT}", "{CRYPT}!", "{NO-SUCH}data"]
                .contains(&stored)
                || ["{SHA.rot13}data", "no label"].contains(&stored);
            let settings = settings("CRYPT");
            let verdict =
                verify(stored.as_bytes(), password.as_bytes(), "user@example.com", &settings);
            assert_eq!(verdict == Ok(true), !is_none, "{stored}: {verdict:?}");
        }
    }
}
