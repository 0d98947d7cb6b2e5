//! The measured tables of accounts, with the stored passwords of each account.

use authpolicy::password;
use authpolicy::password::Settings;
use authpolicy::secret::Secret;

pub(crate) const PASSWORD: &str = "test";

/// A table of accounts. It has two accounts of each kind, an active one and a disabled one.
pub(crate) struct Table {
    pub(crate) name: &'static str,
    /// The names of the kinds, with their stored passwords: one for each row of the account.
    pub(crate) kinds: Vec<(&'static str, Vec<String>)>,
    /// True if refusals are expected to take equally long without `failure_time`, by the dummy
    /// alone.
    pub(crate) is_even: bool,
}

/// Makes a hash of this scheme and cost.
fn made(scheme: &str, cost: u32) -> String {
    let cost = (cost > 0).then_some(cost);
    let password = Secret::new(PASSWORD.as_bytes().to_vec());
    let made = password::hash(&password, scheme, cost, &Settings::default()).unwrap();
    String::from_utf8(made.expose().to_vec()).unwrap()
}

fn bcrypt() -> String {
    made("BLF-CRYPT", 8)
}

fn argon2() -> String {
    made("ARGON2ID", 0)
}

/// Hashes by other programs, because those of `authpolicy hash` take longer.
const MD5_CRYPT: &str = "$1$saltsalt$tTWg0JeO/sYmHvtKmZE8c.";
const SSHA512: &str = "{SSHA512}bIOOk04/7vrmz6U68RN11JVPhcb17YiMAs14BqcWltHLRJ8r546ebqMBqVyB8orYdm865YL5vqrDPH3Ct7qRh3NhbHQ=";

/// All tables. The costs, in schemes that have one, are so high that a missing dummy would show.
pub(crate) fn all() -> Vec<Table> {
    let alone = [
        ("BLF-CRYPT, cost 8", bcrypt()),
        ("SHA512-CRYPT, 40000 rounds", made("SHA512-CRYPT", 40_000)),
        ("ARGON2ID, our default", argon2()),
        ("PBKDF2, 100000 rounds", made("PBKDF2", 100_000)),
        ("SCRAM-SHA-256, 100000 it.", made("SCRAM-SHA-256", 100_000)),
        ("SSHA512", String::from(SSHA512)),
        ("MD5-CRYPT", String::from(MD5_CRYPT)),
        ("PLAIN", made("PLAIN", 0)),
    ];
    let alone =
        alone.map(|(name, stored)| Table { name, kinds: vec![("", vec![stored])], is_even: true });
    let three = || vec![bcrypt(), bcrypt(), bcrypt()];
    let mixed = |name, is_even, kinds: [_; 2]| Table { name, kinds: Vec::from(kinds), is_even };
    let mixed = [
        mixed(
            "ARGON2ID and PLAIN",
            true,
            [("dear", vec![argon2()]), ("cheap", vec![made("PLAIN", 0)])],
        ),
        mixed(
            "BLF-CRYPT 8 and MD5-CRYPT",
            true,
            [("dear", vec![bcrypt()]), ("cheap", vec![String::from(MD5_CRYPT)])],
        ),
        mixed(
            "BLF-CRYPT 8 and 6",
            false,
            [("dear", vec![bcrypt()]), ("cheap", vec![made("BLF-CRYPT", 6)])],
        ),
        Table { name: "three BLF-CRYPT 8 each", kinds: vec![("", three())], is_even: true },
        mixed("three BLF-CRYPT 8, or one", false, [("three", three()), ("one", vec![bcrypt()])]),
    ];
    alone.into_iter().chain(mixed).collect()
}
