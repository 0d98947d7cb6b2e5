//! Hashes under the memory's key: tags, checksums and stretched passwords.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use hmac::Hmac;
use hmac::KeyInit;
use hmac::Mac;
use sha2::Sha256;
use zeroize::Zeroize;
use zeroize::Zeroizing;

use super::WORD;

/// The words of the key: 64 bytes, one block of SHA-256.
pub(super) const KEY_WORDS: usize = 8;
const KEY_BYTES: usize = KEY_WORDS * WORD;
/// The iterations of PBKDF2. They take about 0.2 ms with SHA instructions.
const ITERATIONS: u32 = 1500;
/// One block of SHA-256.
const BLOCK: [u8; 64] = [0; 64];

/// A tag is the identity of a slot's content: an HMAC of all that it depends on.
pub(super) type Tag = Zeroizing<[u64; 4]>;

/// A copy of the key, wiped when it is dropped.
pub(super) struct MacKey(Zeroizing<[u8; KEY_BYTES]>);

impl MacKey {
    /// Copies the key from the memory.
    pub(super) fn load(words: &[AtomicU64]) -> Self {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        for (to, from) in key.as_chunks_mut::<WORD>().0.iter_mut().zip(words) {
            *to = from.load(Ordering::Relaxed).to_le_bytes();
        }
        Self(key)
    }

    /// The tag of these parts. Labels keep tags of different purposes apart.
    pub(super) fn tag(&self, label: &str, parts: &[&[u8]]) -> Tag {
        let hash = self.mac(label, parts.iter().copied());
        let mut tag = Zeroizing::new([0; 4]);
        for (to, from) in tag.iter_mut().zip(hash.as_chunks::<WORD>().0) {
            *to = u64::from_le_bytes(*from);
        }
        tag
    }

    /// The checksum of a slot's content: the first 128 bits of an HMAC. The label says the kind of
    /// the slot.
    pub(super) fn checksum(&self, label: &str, index: u64, content: &[u64]) -> [u64; 2] {
        let mut bytes = Zeroizing::new(Vec::with_capacity(size_of_val(content)));
        bytes.extend(content.iter().flat_map(|word| word.to_le_bytes()));
        let tag = self.tag(label, &[&index.to_le_bytes(), &bytes]);
        let [first, second, _, _] = *tag;
        [first, second]
    }

    /// A slow hash of these parts.
    ///
    /// PBKDF2 gets an HMAC of the parts instead of a password, because PBKDF2 takes some different
    /// passwords as equal: one with and without a NUL at its end, and a long one and its hash.
    pub(super) fn stretch(&self, parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
        let hash = self.mac("password", parts.iter().copied());
        let mut stretched = Zeroizing::new([0; 32]);
        pbkdf2::pbkdf2_hmac::<Sha256>(&*hash, b"stretched", ITERATIONS, &mut *stretched);
        stretched
    }

    /// HMAC-SHA-256 of a label and parts, each after its length.
    fn mac<'a>(
        &self,
        label: &'a str,
        parts: impl Iterator<Item = &'a [u8]>,
    ) -> Zeroizing<[u8; 32]> {
        let mut mac = Hmac::<Sha256>::new((&*self.0).into());
        for part in std::iter::once(label.as_bytes()).chain(parts) {
            // A length has at most 64 bits on all systems that Rust knows.
            mac.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
            mac.update(part);
        }
        // The hash keeps the end of its input until a block is full. This block takes the place of
        // the last part, which may be a password.
        mac.update(&BLOCK);
        let mut hash = mac.finalize().into_bytes();
        let kept = Zeroizing::new(hash.into());
        hash.as_mut_slice().zeroize();
        kept
    }
}
