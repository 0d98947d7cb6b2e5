//! `authpolicy hash`: makes a stored password for any account table.

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
    /// The scheme: ARGON2ID, BLF-CRYPT, SHA512-CRYPT, SHA256-CRYPT, PBKDF2, SCRAM-SHA-256,
    /// SCRAM-SHA-1, CRAM-MD5 or PLAIN.
    #[arg(long, value_name = "NAME", default_value = password::DEFAULT_SCHEME)]
    scheme: String,
    /// The cost: the exponent of bcrypt, the passes of Argon2, or the rounds of other schemes.
    #[arg(long, value_name = "N")]
    cost: Option<u32>,
}

pub(super) fn run(settings: &Settings, arguments: &HashArguments) -> Done {
    let hash = arguments.read_and_hash("New password: ", settings).map_err(Error::Call)?;
    say(&String::from_utf8_lossy(hash.expose()));
    Ok(true)
}

impl HashArguments {
    /// Reads a password and makes a stored password of it. The error names the problem.
    pub(super) fn read_and_hash(
        &self,
        prompt: &str,
        settings: &Settings,
    ) -> Result<Secret, String> {
        let password = read_password(prompt).map_err(|e| e.to_string())?;
        let length = password.expose().len();
        if !(1..=MAX_PASSWORD).contains(&length) || password.expose().contains(&0) {
            return Err(format!(
                "the password must have 1 to {MAX_PASSWORD} bytes and no NUL byte"
            ));
        }
        if self.scheme.eq_ignore_ascii_case("BLF-CRYPT") && length > 72 {
            eprintln!("authpolicy: note: bcrypt uses only the first 72 bytes of a password");
        }
        password::hash(&password, &self.scheme, self.cost, settings).map_err(|fault| fault.0)
    }
}
