//! Single digests, without a salt and with the salt after the hash.

use ::digest::Digest;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;
use zeroize::Zeroizing;

use std::marker::PhantomData;

use super::Candidate;
use super::Fault;
use super::Settings;
use super::Stored;

/// The hash, followed by the salt.
struct Hashed<D> {
    stored: Zeroizing<Vec<u8>>,
    function: PhantomData<D>,
}

/// Reads `H(password)`. The table of schemes has checked the length.
pub(super) fn bare<D: Digest + 'static>(
    data: &[u8],
    _: &Settings,
) -> Result<Box<dyn Stored>, Fault> {
    Ok(Box::new(Hashed::<D> { stored: Zeroizing::new(data.to_vec()), function: PhantomData }))
}

/// Reads `H(password ‖ salt) ‖ salt`.
pub(super) fn salted<D: Digest + 'static>(
    data: &[u8],
    settings: &Settings,
) -> Result<Box<dyn Stored>, Fault> {
    if data.len() <= <D as Digest>::output_size() {
        return Err(Fault(String::from("has a salted hash without a salt")));
    }
    bare::<D>(data, settings)
}

impl<D: Digest> Stored for Hashed<D> {
    fn matches(&self, candidate: Candidate<'_>) -> Result<bool, Fault> {
        let length = <D as Digest>::output_size();
        let (hash, salt) = self.stored.split_at_checked(length).unwrap_or_default();
        let computed = digest::<D>(&[candidate.password.expose(), salt]);
        Ok(bool::from(computed.ct_eq(hash)))
    }
}

/// Hashes nothing, once with each function that asks the processor for its instructions at first use.
/// The processes that this one forks need not ask again. That traps in a virtual machine.
pub fn preload() {
    digest::<sha1::Sha1>(&[]);
    digest::<sha2::Sha256>(&[]);
    digest::<sha2::Sha512>(&[]);
}

/// Hashes these parts one after the other. The result is wiped when it is dropped.
pub(super) fn digest<D: Digest>(parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let hashed = parts.iter().fold(D::new(), |hash, part| hash.chain_update(part));
    let mut hashed = hashed.finalize();
    let kept = Zeroizing::new(hashed.to_vec());
    hashed.as_mut_slice().zeroize();
    kept
}
