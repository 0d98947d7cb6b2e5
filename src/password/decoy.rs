//! SCRAM keys for names without an account. A name gets the same keys each time, so that a client
//! cannot tell them from an account's.

use sha2::Digest;
use sha2::Sha256;

use super::Settings;
use super::pbkdf2::Function;
use super::scram;
use super::scram::Keys;
use crate::secret::Secret;

/// The length of a salt in bytes, as Dovecot and `new.rs` make them.
const SALT_LENGTH: usize = 16;

/// The source of the keys for one name. It depends on the host's own key.
pub struct Decoy {
    seed: [u8; 32],
}

impl Decoy {
    /// The decoy for a name and a mechanism, made with the host's key.
    #[must_use]
    pub fn new(key: &Secret, name: &str, mechanism: &str) -> Self {
        let key = Sha256::digest(key.expose());
        let seed = Function::Sha256.hmac(&key, format!("{mechanism}\0{name}").as_bytes());
        let mut own = [0; 32];
        own.copy_from_slice(&seed);
        Self { seed: own }
    }

    /// The salt. An account with a password in clear uses it, too, so that the salt stays the same
    /// when the password changes.
    pub(super) fn salt(&self) -> Vec<u8> {
        let mut salt = self.bytes("salt", SALT_LENGTH);
        salt.truncate(SALT_LENGTH);
        salt
    }

    /// Keys that match no password.
    #[must_use]
    pub fn keys(&self, settings: &Settings, mechanism: &str) -> Keys {
        let length = scram::function(mechanism).unwrap_or(Function::Sha256).length();
        let key = |purpose| self.bytes(purpose, length);
        Keys::new(settings.scram_iterations, &self.salt(), &key("stored"), &key("server"))
    }

    fn bytes(&self, purpose: &str, length: usize) -> Vec<u8> {
        let mut bytes = Function::Sha256.hmac(&self.seed, purpose.as_bytes()).to_vec();
        bytes.truncate(length);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decoy_is_stable_and_of_one_name() {
        let settings = Settings::default();
        let salt = |key: &str, name: &str, mechanism: &str| {
            let key = Secret::new(key.as_bytes().to_vec());
            Decoy::new(&key, name, mechanism).keys(&settings, mechanism).salt
        };
        let mine = salt("key", "u@example.com", "SCRAM-SHA-256");
        assert_eq!(mine, salt("key", "u@example.com", "SCRAM-SHA-256"));
        assert_ne!(mine, salt("key", "v@example.com", "SCRAM-SHA-256"));
        assert_ne!(mine, salt("other", "u@example.com", "SCRAM-SHA-256"));
        assert_ne!(mine, salt("key", "u@example.com", "SCRAM-SHA-1"));
        let keys =
            Decoy::new(&Secret::new(Vec::new()), "u", "SCRAM-SHA-1").keys(&settings, "SCRAM-SHA-1");
        // Base64 of 16 and of 20 bytes.
        assert_eq!((keys.salt.len(), keys.stored_key.len(), keys.server_key.len()), (24, 28, 28));
    }
}
