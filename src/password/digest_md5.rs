//! DIGEST-MD5: the first part of A1 in RFC 2831.

use md5::Md5;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::Candidate;
use super::Fault;
use super::Settings;
use super::Stored;
use super::digest::digest;

/// `MD5(user ":" realm ":" password)`
struct DigestMd5(Zeroizing<Vec<u8>>);

pub(super) fn read(data: &[u8], _: &Settings) -> Result<Box<dyn Stored>, Fault> {
    Ok(Box::new(DigestMd5(Zeroizing::new(data.to_vec()))))
}

impl Stored for DigestMd5 {
    fn matches(&self, candidate: Candidate<'_>) -> Result<bool, Fault> {
        let (user, realm) = candidate.login.rsplit_once('@').unwrap_or((candidate.login, ""));
        let password = candidate.password.expose();
        let computed = digest::<Md5>(&[user.as_bytes(), b":", realm.as_bytes(), b":", password]);
        Ok(bool::from(computed.ct_eq(&self.0)))
    }
}
