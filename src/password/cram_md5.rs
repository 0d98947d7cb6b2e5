//! CRAM-MD5: the states of HMAC-MD5's outer and inner hash after the key.

use md5::Md5;
use md5::block_api::compress;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::Candidate;
use super::Fault;
use super::Settings;
use super::Stored;
use super::digest::digest;

/// The state before the first block (RFC 1321, 3.3).
const INITIAL: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
const BLOCK: usize = 64;

struct CramMd5(Zeroizing<Vec<u8>>);

pub(super) fn read(data: &[u8], _: &Settings) -> Result<Box<dyn Stored>, Fault> {
    Ok(Box::new(CramMd5(Zeroizing::new(data.to_vec()))))
}

impl Stored for CramMd5 {
    fn matches(&self, candidate: Candidate<'_>) -> Result<bool, Fault> {
        Ok(bool::from(states(candidate.password.expose()).ct_eq(&self.0[..])))
    }
}

/// The outer and the inner state, sixteen bytes each, least significant byte first.
pub(super) fn states(password: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut key = Zeroizing::new([0_u8; BLOCK]);
    let digest = (password.len() > BLOCK).then(|| digest::<Md5>(&[password]));
    let short = digest.as_ref().map_or(password, |digest| &digest[..]);
    key.iter_mut().zip(short).for_each(|(to, from)| *to = *from);
    let mut states = Zeroizing::new(Vec::with_capacity(32));
    for pad in [0x5c_u8, 0x36] {
        let block = Zeroizing::new(key.map(|byte| byte ^ pad));
        let mut state = Zeroizing::new(INITIAL);
        compress(&mut state, std::slice::from_ref(&*block));
        states.extend(state.iter().flat_map(|word| word.to_le_bytes()));
    }
    states
}
