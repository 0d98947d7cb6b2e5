//! `authpolicy hash`: a new stored password for an account table of whatever making.

use clap::Args;

use authpolicy::attempt::MAX_PASSWORD;
use authpolicy::error::Error;
use authpolicy::password;
use authpolicy::password::Settings;
use authpolicy::secret::Secret;

use super::Done;
use super::read_password;
use super::say;

#[derive(Args)]
pub(super) struct HashArguments {
    /// How it is stored: ARGON2ID, BLF-CRYPT, SHA512-CRYPT, SHA256-CRYPT, PBKDF2, SCRAM-SHA-256,
    /// SCRAM-SHA-1, CRAM-MD5 or PLAIN.
    #[arg(long, value_name = "NAME", default_value = password::DEFAULT_SCHEME)]
    scheme: String,
    /// What a guess costs: bcrypt's exponent, Argon2's passes, the rounds of others.
    #[arg(long, value_name = "N")]
    cost: Option<u32>,
}

pub(super) fn run(settings: &Settings, arguments: &HashArguments) -> Done {
    let hash = arguments.read("New password: ", settings).map_err(Error::Call)?;
    say(&String::from_utf8_lossy(hash.expose()));
    Ok(true)
}

impl HashArguments {
    /// Asks for a password and hashes it; an error says what is wrong with the one or the other.
    pub(super) fn read(&self, prompt: &str, settings: &Settings) -> Result<Secret, String> {
        let password = read_password(prompt).map_err(|e| e.to_string())?;
        let length = password.expose().len();
        if !(1..=MAX_PASSWORD).contains(&length) || password.expose().contains(&0) {
            return Err(format!("a password has 1 to {MAX_PASSWORD} bytes, and no NUL"));
        }
        if self.scheme.eq_ignore_ascii_case("BLF-CRYPT") && length > 72 {
            eprintln!("authpolicy: note: bcrypt looks at the first 72 bytes of a password only");
        }
        password::hash(&password, &self.scheme, self.cost, settings).map_err(|fault| fault.0)
    }
}
