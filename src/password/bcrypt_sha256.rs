//! passlib's `$bcrypt-sha256$`: bcrypt of a SHA-256, so that all bytes of a long password are used.

use base64ct::Base64;
use base64ct::Encoding as _;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::Candidate;
use super::Fault;
use super::Settings;
use super::Stored;
use super::crypt;
use super::digest::digest;
use super::encoding::anonymous;
use super::malformed;
use super::pbkdf2::Function;
use crate::secret::Secret;

const NAME: &str = "passlib bcrypt-sha256";

struct BcryptSha256 {
    /// The key of the SHA-256, in the second version of the format.
    key: Option<String>,
    bcrypt: Box<dyn Stored>,
    same_cost_dummy: Option<String>,
}

/// Reads `$bcrypt-sha256$v=2,t=2b,r=12$salt$hash`, and `$bcrypt-sha256$2b,12$salt$hash` of the first
/// version.
pub(super) fn read(data: &[u8], settings: &Settings) -> Result<Box<dyn Stored>, Fault> {
    let text = std::str::from_utf8(data).map_err(|_| malformed(NAME))?;
    let fields: Vec<_> = text.split('$').collect();
    let ["", "bcrypt-sha256", parameters, salt, hash] = fields[..] else {
        return Err(malformed(NAME));
    };
    let parameters: Vec<_> = parameters.split(',').collect();
    let (kind, cost, key) = match parameters[..] {
        ["v=2", kind, cost] => {
            (kind.strip_prefix("t="), cost.strip_prefix("r="), Some(salt.to_owned()))
        }
        [kind, cost] => (Some(kind), Some(cost), None),
        _ => (None, None, None),
    };
    let (Some(kind), Some(cost)) = (kind, cost) else { return Err(malformed(NAME)) };
    if salt.len() != 22 {
        return Err(malformed(NAME));
    }
    let bcrypt = Zeroizing::new(format!("${kind}${cost:0>2}${salt}{hash}"));
    let start = text.len().saturating_sub(salt.len().saturating_add(hash.len()).saturating_add(1));
    Ok(Box::new(BcryptSha256 {
        key,
        bcrypt: crypt::bcrypt(bcrypt.as_bytes(), settings)
            .map_err(|fault| if fault == malformed("bcrypt") { malformed(NAME) } else { fault })?,
        same_cost_dummy: anonymous(text, start, '.'),
    }))
}

impl Stored for BcryptSha256 {
    fn matches(&self, candidate: Candidate<'_>) -> Result<bool, Fault> {
        let password = candidate.password.expose();
        let digest = match &self.key {
            Some(key) => Function::Sha256.hmac(key.as_bytes(), password),
            None => digest::<Sha256>(&[password]),
        };
        let text = Secret::new(Base64::encode_string(&digest).into_bytes());
        self.bcrypt.matches(Candidate { password: &text, login: candidate.login })
    }

    fn work(&self) -> u64 {
        self.bcrypt.work()
    }

    fn same_cost_dummy(&self) -> Option<String> {
        self.same_cost_dummy.clone()
    }
}
