//! DIGEST-MD5: the hash that RFC 2831 calls A1's first part.

use ::digest::Digest;
use md5::Md5;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::Candidate;
use super::Fault;
use super::Settings;
use super::Stored;

/// `MD5(user ":" realm ":" password)`
struct DigestMd5(Zeroizing<Vec<u8>>);

pub(super) fn read(data: &[u8], _: &Settings) -> Result<Box<dyn Stored>, Fault> {
    Ok(Box::new(DigestMd5(Zeroizing::new(data.to_vec()))))
}

impl Stored for DigestMd5 {
    fn matches(&self, candidate: Candidate<'_>) -> Result<bool, Fault> {
        let (user, realm) = candidate.login.rsplit_once('@').unwrap_or((candidate.login, ""));
        let mut computed = Md5::new();
        for part in [user.as_bytes(), b":", realm.as_bytes(), b":", candidate.password.expose()] {
            computed.update(part);
        }
        Ok(bool::from(computed.finalize().ct_eq(&self.0[..])))
    }
}
