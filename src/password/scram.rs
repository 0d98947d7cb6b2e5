//! SCRAM (RFC 5802): keys stored as `iterations,salt,StoredKey,ServerKey`, and a password in clear
//! verified against them.

use base64ct::Base64;
use base64ct::Encoding as _;
use sha1::Sha1;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::Candidate;
use super::Fault;
use super::Settings;
use super::Stored;
use super::digest::digest;
use super::encoding::base64;
use super::malformed;
use super::pbkdf2::Function;

/// The fewest iterations (RFC 5802, 5.1).
pub(super) const MIN_ITERATIONS: u32 = 4096;

struct StoredScram {
    function: Function,
    iterations: u32,
    salt: Zeroizing<Vec<u8>>,
    stored_key: Zeroizing<Vec<u8>>,
    server_key: Zeroizing<Vec<u8>>,
}

pub(super) fn sha1(data: &[u8], settings: &Settings) -> Result<Box<dyn Stored>, Fault> {
    read(Function::Sha1, data, settings)
}

pub(super) fn sha256(data: &[u8], settings: &Settings) -> Result<Box<dyn Stored>, Fault> {
    read(Function::Sha256, data, settings)
}

fn read(function: Function, data: &[u8], settings: &Settings) -> Result<Box<dyn Stored>, Fault> {
    let malformed = || malformed(name(function));
    let text = std::str::from_utf8(data).map_err(|_| malformed())?;
    let mut parts = text.split(',');
    let mut next = || parts.next().ok_or_else(malformed);
    let iterations: u32 = next()?.parse().map_err(|_| malformed())?;
    let mut bytes = || base64(next()?.as_bytes()).ok_or_else(malformed);
    let (salt, stored_key, server_key) = (bytes()?, bytes()?, bytes()?);
    let length = function.length();
    let lengths = stored_key.len() == length && server_key.len() == length && !salt.is_empty();
    if iterations < MIN_ITERATIONS || !lengths || parts.next().is_some() {
        return Err(malformed());
    }
    settings.check_limit(
        "an iteration count",
        iterations.into(),
        "max_rounds",
        settings.max_rounds,
    )?;
    Ok(Box::new(StoredScram { function, iterations, salt, stored_key, server_key }))
}

/// Makes StoredKey and ServerKey from a password.
pub(super) fn keys(
    function: Function,
    password: &[u8],
    salt: &[u8],
    iterations: u32,
) -> (Zeroizing<Vec<u8>>, Zeroizing<Vec<u8>>) {
    let salted = function.pbkdf2(password, salt, iterations, function.length());
    let client_key = function.hmac(&salted, b"Client Key");
    let stored_key = match function {
        Function::Sha1 => digest::<Sha1>(&[&client_key]),
        Function::Sha256 | Function::Sha512 => digest::<Sha256>(&[&client_key]),
    };
    (stored_key, function.hmac(&salted, b"Server Key"))
}

/// The hash function of a mechanism such as SCRAM-SHA-256-PLUS.
pub(super) fn function(mechanism: &str) -> Option<Function> {
    let mechanism = mechanism.to_ascii_uppercase();
    match mechanism.strip_suffix("-PLUS").unwrap_or(&mechanism) {
        "SCRAM-SHA-1" => Some(Function::Sha1),
        "SCRAM-SHA-256" => Some(Function::Sha256),
        _ => None,
    }
}

/// The keys with which a server verifies a client's proof. Salt and keys are base64.
pub struct Keys {
    /// The iteration count.
    pub iterations: String,
    /// The salt.
    pub salt: String,
    /// RFC 5802's StoredKey.
    pub stored_key: Zeroizing<String>,
    /// RFC 5802's ServerKey.
    pub server_key: Zeroizing<String>,
}

impl Keys {
    /// Empty keys. A driver that gets them asks for the password. It needs salt and iterations in
    /// any case.
    #[must_use]
    pub fn none() -> Self {
        Self::new(MIN_ITERATIONS, &[0; 16], &[], &[])
    }

    pub(super) fn new(iterations: u32, salt: &[u8], stored_key: &[u8], server_key: &[u8]) -> Self {
        let text = Base64::encode_string;
        Self {
            iterations: iterations.to_string(),
            salt: text(salt),
            stored_key: Zeroizing::new(text(stored_key)),
            server_key: Zeroizing::new(text(server_key)),
        }
    }
}

const fn name(function: Function) -> &'static str {
    match function {
        Function::Sha1 => "SCRAM-SHA-1",
        Function::Sha256 | Function::Sha512 => "SCRAM-SHA-256",
    }
}

impl Stored for StoredScram {
    fn matches(&self, candidate: Candidate<'_>) -> Result<bool, Fault> {
        let password = candidate.password.expose();
        let (stored_key, server_key) = keys(self.function, password, &self.salt, self.iterations);
        Ok(bool::from(stored_key.ct_eq(&self.stored_key) & server_key.ct_eq(&self.server_key)))
    }

    fn scram(&self, function: Function) -> Option<Keys> {
        let Self { iterations, salt, stored_key, server_key, .. } = self;
        (self.function == function).then(|| Keys::new(*iterations, salt, stored_key, server_key))
    }

    fn work(&self) -> u64 {
        self.function.work(self.iterations, self.function.length())
    }

    fn same_cost_dummy(&self) -> Option<String> {
        let key = Base64::encode_string(&vec![0; self.function.length()]);
        Some(format!("{{{}}}{},AAAA,{key},{key}", name(self.function), self.iterations))
    }
}
