//! The slots of one kind. A tag decides which slot its content may be in: no other one is looked at.
//!
//! The words of a slot are its tag, its time by both clocks, its payload, and its checksum.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::Timestamp;
use super::keyed::MacKey;
use super::keyed::Tag;
use super::slot;

/// The words of a slot besides its payload: the tag, two times and the checksum.
const OTHER_WORDS: usize = 8;

/// Slots of one kind and size.
pub(super) struct Table {
    /// The kind, as the checksums include it.
    label: &'static str,
    words: &'static [AtomicU64],
    slot_words: usize,
}

impl Table {
    /// A table with a slot for each `slot_words` of these words.
    pub(super) fn new(label: &'static str, words: &'static [AtomicU64], slot_words: usize) -> Self {
        Self { label, words, slot_words }
    }

    /// All words of the table.
    pub(super) fn words(&self) -> &'static [AtomicU64] {
        self.words
    }

    /// The number of words that a payload may have.
    pub(super) fn payload_words(&self) -> usize {
        self.slot_words.saturating_sub(OTHER_WORDS)
    }

    /// The payload with this tag, if `is_valid` accepts its time.
    pub(super) fn find(
        &self,
        key: &MacKey,
        tag: &Tag,
        is_valid: impl Fn(Timestamp) -> bool,
    ) -> Option<Zeroizing<Vec<u64>>> {
        let (index, slot) = self.slot(tag)?;
        let mut content = slot::read(slot, |content| key.checksum(self.label, index, content))?;
        let (found, rest) = content.split_first_chunk::<4>()?;
        let is_equal = bool::from(found.ct_eq(&**tag));
        let ([wall, boot], _) = rest.split_first_chunk::<2>()?;
        let start =
            Timestamp { wall: Duration::from_nanos(*wall), boot: Duration::from_nanos(*boot) };
        (is_equal && is_valid(start)).then(|| {
            content.drain(..6);
            content
        })
    }

    /// Stores a payload. False if it does not fit, or if a clock's nanoseconds exceed 64 bits.
    pub(super) fn store(&self, key: &MacKey, tag: &Tag, start: Timestamp, payload: &[u64]) -> bool {
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).ok();
        let times = nanoseconds(start.wall).zip(nanoseconds(start.boot));
        let fits = payload.len() <= self.payload_words();
        let (Some((wall, boot)), true, Some((index, slot))) = (times, fits, self.slot(tag)) else {
            return false;
        };
        let mut content = Zeroizing::new(Vec::with_capacity(self.slot_words));
        content.extend_from_slice(&**tag);
        content.extend([wall, boot]);
        content.extend_from_slice(payload);
        slot::write(slot, content, |content| key.checksum(self.label, index, content));
        true
    }

    /// Empties the slot of this tag, unless it has another content.
    pub(super) fn remove(&self, key: &MacKey, tag: &Tag) {
        let Some((index, slot)) = self.slot(tag) else { return };
        let content = slot::read(slot, |content| key.checksum(self.label, index, content));
        let is_other = content.is_some_and(|content| {
            content.first_chunk::<4>().is_some_and(|found| !bool::from(found.ct_eq(&**tag)))
        });
        if !is_other {
            slot::clear(slot);
        }
    }

    /// The slot that belongs to this tag, and its number.
    fn slot(&self, tag: &Tag) -> Option<(u64, &'static [AtomicU64])> {
        let mut slots = self.words.chunks_exact(self.slot_words);
        let count = u64::try_from(slots.len()).ok()?;
        let index = tag.first()?.checked_rem(count)?;
        Some((index, slots.nth(usize::try_from(index).ok()?)?))
    }
}
