//! The protocol of a slot: atomic words, of which the last ones are a checksum of the others.
//!
//! A writer stores word after word, in any order that the CPU likes, and does not look at the slot
//! before. A reader loads word after word, and then checks the checksum of its copy. If the copy
//! mixes the words of several writes, or of a write that never ended, the checksum does not fit. So
//! no order between the words is needed, and relaxed access is enough.
//!
//! The words and the checksum are parameters, so that a model checker can try all orders.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

#[cfg(test)]
mod tests;

/// One word that several processes read and write.
pub(super) trait Word {
    /// Its value.
    fn load(&self) -> u64;
    /// Replaces its value.
    fn store(&self, value: u64);
}

impl Word for AtomicU64 {
    fn load(&self) -> u64 {
        self.load(Ordering::Relaxed)
    }

    fn store(&self, value: u64) {
        self.store(value, Ordering::Relaxed);
    }
}

/// Copies a slot, and returns its content if the checksum of the copy is right.
pub(super) fn read<W: Word, const N: usize>(
    slot: &[W],
    checksum: impl Fn(&[u64]) -> [u64; N],
) -> Option<Zeroizing<Vec<u64>>> {
    let mut copy = Zeroizing::new(Vec::with_capacity(slot.len()));
    copy.extend(slot.iter().map(W::load));
    let (content, found) = copy.split_last_chunk::<N>()?;
    let is_right = checksum(content).ct_eq(found);
    let length = content.len();
    copy.truncate(length);
    bool::from(is_right).then_some(copy)
}

/// Writes this content and zeros after it. The caller makes sure that it fits.
pub(super) fn write<W: Word, const N: usize>(
    slot: &[W],
    mut content: Zeroizing<Vec<u64>>,
    checksum: impl Fn(&[u64]) -> [u64; N],
) {
    let Some((words, last)) = slot.split_last_chunk::<N>() else { return };
    content.resize(words.len(), 0);
    let sum = checksum(&content);
    words.iter().zip(content.iter()).for_each(|(word, value)| word.store(*value));
    last.iter().zip(sum).for_each(|(word, value)| word.store(value));
}

/// Makes the slot empty.
pub(super) fn clear<W: Word>(slot: &[W]) {
    slot.iter().for_each(|word| word.store(0));
}
