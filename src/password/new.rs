//! Makes new hashes for storage.

use ::argon2::Algorithm;
use ::argon2::Params;
use ::argon2::Version;
use base64ct::Base64;
use base64ct::Base64Unpadded;
use base64ct::Encoding as _;

use super::Candidate;
use super::Content;
use super::Fault;
use super::Settings;
use super::argon2;
use super::cram_md5;
use super::libcrypt;
use super::pbkdf2;
use super::pbkdf2::Function;
use super::scram;
use super::sha_crypt;
use super::unusable;
use crate::contain;
use crate::secret::Secret;

/// OWASP's first choice, with the parameters it gives for 19 MiB of memory.
pub const DEFAULT_SCHEME: &str = "ARGON2ID";
const ARGON2_MEMORY: u32 = 19_456;
const ARGON2_PASSES: u32 = 2;

/// The schemes of new hashes: name, meaning of the cost, and default cost.
pub const NEW_SCHEMES: &[(&str, &str, u32)] = &[
    (DEFAULT_SCHEME, "passes over 19 MiB", ARGON2_PASSES),
    ("BLF-CRYPT", "exponent of the rounds", 12),
    ("SHA512-CRYPT", "rounds", 500_000),
    ("SHA256-CRYPT", "rounds", 500_000),
    ("PBKDF2", "rounds", 1_300_000),
    ("SCRAM-SHA-256", "iterations", 100_000),
    ("SCRAM-SHA-1", "iterations", 100_000),
    ("CRAM-MD5", "", 0),
    ("PLAIN", "", 0),
];

/// Makes a new hash with its `{SCHEME}`.
///
/// # Errors
/// The scheme is unknown, the cost is not possible or above a limit, or the system has no random
/// numbers.
pub fn hash(
    password: &Secret,
    scheme: &str,
    cost: Option<u32>,
    settings: &Settings,
) -> Result<Secret, Fault> {
    let known = NEW_SCHEMES.iter().find(|(name, ..)| name.eq_ignore_ascii_case(scheme));
    let Some((name, meaning, default)) = known else {
        let names: Vec<_> = NEW_SCHEMES.iter().map(|(name, ..)| *name).collect();
        return Err(Fault(format!(
            "{scheme} is not supported for new hashes; supported are {}",
            names.join(", ")
        )));
    };
    if meaning.is_empty() && cost.is_some() {
        return Err(Fault(format!("{name} has no cost")));
    }
    let cost = cost.unwrap_or(match name.starts_with("SCRAM-") {
        // A client must not be able to tell such an account from a name without an account.
        true => settings.scram_iterations,
        false => *default,
    });
    let with_name = |fault: Fault| Fault(format!("{name} {}", fault.0));
    match *name {
        "BLF-CRYPT" => {
            let most = settings.max_bcrypt_cost;
            settings
                .check_limit("a cost", cost.into(), "max_bcrypt_cost", most)
                .map_err(with_name)?;
        }
        DEFAULT_SCHEME => {
            let nothing = Secret::new(argon2_dummy(cost).into_bytes());
            Content::read(&nothing, settings).map_err(with_name)?;
        }
        _ => {
            let most = settings.max_rounds;
            settings.check_limit("a cost", cost.into(), "max_rounds", most).map_err(with_name)?;
        }
    }
    let made = contain::catch("hash", || make(name, cost, password));
    let made = made.unwrap_or_else(|panic| Err(unusable(&panic)))?;
    let stored = Secret::new(format!("{{{name}}}{made}").into_bytes());
    // A hash that its owner could not log in with must not be stored.
    let candidate = Candidate { password, login: "" };
    if Content::read(&stored, settings).map_err(with_name)?.matches(candidate)? {
        return Ok(stored);
    }
    Err(Fault(format!(
        "{name} of cost {cost} does not accept a password of {} bytes",
        password.expose().len()
    )))
}

fn make(name: &str, cost: u32, password: &Secret) -> Result<String, Fault> {
    let bytes = password.expose();
    let no_such_cost = || Fault(format!("{name} has no cost of {cost}"));
    Ok(match name {
        "BLF-CRYPT" => {
            if !(4..=31).contains(&cost) {
                return Err(no_such_cost());
            }
            let salt = radix64(&random::<16>()?);
            let bytes = bytes.get(..72).unwrap_or(bytes);
            let setting = format!("$2y${cost:02}${salt}");
            let made =
                libcrypt::crypt(bytes, &setting, |text| String::from_utf8_lossy(text).into_owned());
            made.ok_or_else(no_such_cost)?
        }
        "SHA512-CRYPT" | "SHA256-CRYPT" => {
            sha_crypt::hash(name == "SHA512-CRYPT", cost, password, &random::<12>()?)?
        }
        "PBKDF2" => {
            let salt = Base64Unpadded::encode_string(&random::<12>()?).replace('+', ".");
            let key = Function::Sha1.pbkdf2(bytes, salt.as_bytes(), cost, pbkdf2::DOVECOT_LENGTH);
            format!("$1${salt}${cost}${}", base16ct::lower::encode_string(&key))
        }
        "SCRAM-SHA-256" | "SCRAM-SHA-1" => {
            if cost < scram::MIN_ITERATIONS {
                return Err(no_such_cost());
            }
            let function = if name == "SCRAM-SHA-1" { Function::Sha1 } else { Function::Sha256 };
            let salt = random::<16>()?;
            let (stored_key, server_key) = scram::keys(function, bytes, &salt, cost);
            let text = Base64::encode_string;
            format!("{cost},{},{},{}", text(&salt), text(&stored_key), text(&server_key))
        }
        "CRAM-MD5" => base16ct::lower::encode_string(&cram_md5::states(bytes)),
        "PLAIN" => String::from_utf8(bytes.to_vec())
            .map_err(|_| Fault(String::from("a password in clear must be UTF-8")))?,
        _ => {
            let params = Params::new(ARGON2_MEMORY, cost, 1, Some(32));
            let params = params.map_err(|_| no_such_cost())?;
            let salt = random::<16>()?;
            let kind = (Algorithm::Argon2id, Version::V0x13);
            let hash = argon2::compute(kind, params, bytes, &salt)?;
            let text = Base64Unpadded::encode_string;
            format!("$argon2id$v=19$m={ARGON2_MEMORY},t={cost},p=1${}${}", text(&salt), text(&hash))
        }
    })
}

/// A hash of the default scheme and cost, made of zeros.
pub(super) fn same_cost_dummy() -> String {
    argon2_dummy(ARGON2_PASSES)
}

fn argon2_dummy(passes: u32) -> String {
    let (salt, hash) = ("A".repeat(22), "A".repeat(43));
    format!("{{ARGON2ID}}$argon2id$v=19$m={ARGON2_MEMORY},t={passes},p=1${salt}${hash}")
}

fn random<const LENGTH: usize>() -> Result<[u8; LENGTH], Fault> {
    let mut bytes = [0; LENGTH];
    let filled = getrandom::fill(&mut bytes);
    filled.map_err(|_| Fault(String::from("the system gives no random numbers")))?;
    Ok(bytes)
}

/// Encodes 16 bytes in bcrypt's base64.
fn radix64(bytes: &[u8; 16]) -> String {
    base64ct::Base64Bcrypt::encode_string(bytes)
}
