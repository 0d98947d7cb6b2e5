//! Memory that all connections of a daemon share: accounts, and passwords that have been verified.
//!
//! Exim's daemon maps it before it forks, and the processes of connections inherit it. It has no
//! file, no name and no descriptor, so no other program can open it. It ends with the last process
//! that has it. Its size is fixed. It is left out of core dumps, and locked in memory if the limit
//! of locked memory allows that.
//!
//! # It is correct whatever happens
//!
//! Processes are killed and stopped at any instruction, and several write to a slot at once.
//!
//! - **No locks.** All access is by single atomic words, so no process waits for another one. A
//!   process that dies leaves nothing to release.
//! - **Complete or empty.** A slot ends with a checksum of all its words (`slot`). A reader copies
//!   the slot, and then checks the copy. So a slot that is half-written, or that mixes two writes,
//!   is as good as an empty one. The next write repairs it. A sequence number would not do: after a
//!   writer was killed, it would say for ever that a write is in progress.
//! - **In its place.** The checksum includes the kind of the slot and its number. So content that
//!   was copied to another slot is not read there.
//! - **Never too old.** Each slot has the time at which its content was true, inside the checksum.
//!   Reading does not renew it. A process that is stopped while it writes, and goes on much later,
//!   writes an old value with its old time. That can replace a newer value, or bring a forgotten
//!   one back, but no value outlives its time.
//! - **Two clocks.** A slot is valid only if its time has come, and is not over, by the wall clock
//!   and by the clock since boot. So setting the wall clock back does not prolong it.
//!
//! # A verified password cannot lead to a wrong "yes"
//!
//! A password's slot holds no password, only a tag. The tag is HMAC-SHA-256 under a key that only
//! this memory holds. It covers the stored password and the stretched password, which covers the
//! name, the password and the settings of the schemes. Each part is preceded by its length, so two
//! lists of parts never have the same bytes. [`SharedMemory::is_verified`] computes the tag from
//! the attempt's own values, and compares all its 256 bits with the slot's. Only
//! [`SharedMemory::store_verified`] writes tags. So "yes" means that it was called with exactly
//! these values, less than the lifetime ago. A slot that another process has damaged, or a client
//! that chooses names and passwords, could only make another "yes" with a collision or forgery of
//! HMAC-SHA-256, truncated to no less than 128 bits.
//!
//! Stretching makes a guess cost about 0.2 ms for those who can read the memory. The checksum is
//! needed here, too: it keeps the tag of an old slot from standing beside the time of a new one.
//!
//! # What it does not protect against
//!
//! A process that has this memory can read its key. If an attacker controls such a process, he can
//! read the accounts, test guesses of recent passwords, and write accounts and tags that others
//! accept. So nothing uses the memory unless the administrator asks for it.

mod keyed;
mod mapping;
mod slot;
mod table;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use zeroize::Zeroize;
use zeroize::Zeroizing;

use self::keyed::KEY_WORDS;
use self::keyed::MacKey;
use self::table::Table;
use crate::secret::Secret;

/// The bytes of a word.
const WORD: usize = 8;
/// The words before the slots: one page, which begins with the key.
const HEADER_WORDS: usize = 512;
/// The slots for accounts: 2 MiB.
const ACCOUNTS: usize = 4096;
/// The words of such a slot: 512 bytes, of which 440 are left for the value.
const ACCOUNT_WORDS: usize = 64;
/// The slots for verified passwords: 1 MiB.
const PASSWORDS: usize = 16_384;
/// The words of such a slot: 64 bytes.
const PASSWORD_WORDS: usize = 8;

/// One point in time on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timestamp {
    /// The wall clock: the time since 1970.
    pub wall: Duration,
    /// CLOCK_BOOTTIME: the time since the system was started, including suspension.
    pub boot: Duration,
}

impl Timestamp {
    /// True if both clocks agree that `start` is not in the future, and less than `lifetime` ago.
    fn is_within(self, start: Self, lifetime: Duration) -> bool {
        let is_within = |now: Duration, start: Duration| {
            now.checked_sub(start).is_some_and(|age| age < lifetime)
        };
        is_within(self.wall, start.wall) && is_within(self.boot, start.boot)
    }
}

/// A name, a password and the settings of the schemes, stretched so that guessing takes time. It is
/// wiped when it is dropped.
pub struct StretchedPassword(Zeroizing<[u8; 32]>);

impl fmt::Debug for StretchedPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StretchedPassword(…)")
    }
}

/// The memory. The daemon makes it once, and forked processes use it without any preparation. It
/// stays mapped until the process ends.
pub struct SharedMemory {
    key: &'static [AtomicU64],
    accounts: Table,
    passwords: Table,
}

impl fmt::Debug for SharedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedMemory(…)")
    }
}

impl SharedMemory {
    /// Maps the memory, for this process and those that it forks. `None` if the system refuses the
    /// memory or random numbers.
    #[must_use]
    pub fn new() -> Option<Self> {
        Self::with_slots(ACCOUNTS, PASSWORDS)
    }

    /// Maps memory with these numbers of slots, for tests that need few. Passwords come first.
    #[doc(hidden)]
    #[must_use]
    pub fn with_slots(accounts: usize, passwords: usize) -> Option<Self> {
        let account_words = accounts.checked_mul(ACCOUNT_WORDS)?;
        let password_words = passwords.checked_mul(PASSWORD_WORDS)?;
        let slot_words = account_words.checked_add(password_words)?;
        // The key exists before the memory, so that no memory is mapped without one.
        let mut key = Zeroizing::new([0; KEY_WORDS]);
        for word in key.iter_mut() {
            *word = getrandom::u64().ok()?;
        }
        let words = mapping::map(HEADER_WORDS.checked_add(slot_words)?)?;
        let (header, slots) = words.split_at_checked(HEADER_WORDS)?;
        let (passwords, accounts) = slots.split_at_checked(password_words)?;
        let header = header.get(..KEY_WORDS)?;
        header.iter().zip(key.iter()).for_each(|(to, from)| to.store(*from, Ordering::Relaxed));
        let accounts = Table::new("account slot", accounts, ACCOUNT_WORDS);
        let passwords = Table::new("password slot", passwords, PASSWORD_WORDS);
        Some(Self { key: header, accounts, passwords })
    }

    /// The words of all slots, for tests that damage them: those of accounts, and of passwords.
    #[doc(hidden)]
    #[must_use]
    pub fn slot_words(&self) -> [&'static [AtomicU64]; 2] {
        [self.accounts.words(), self.passwords.words()]
    }

    /// A copy of the key. The page that holds it is never written again.
    fn key(&self) -> MacKey {
        MacKey::load(self.key)
    }

    /// The value stored under this key, if both clocks say that it is younger than `lifetime`.
    ///
    /// A key is a list of parts, and two keys are equal if all their parts are.
    #[must_use]
    pub fn account(&self, key: &[&[u8]], now: Timestamp, lifetime: Duration) -> Option<Secret> {
        let mac_key = self.key();
        let tag = mac_key.tag("account", key);
        let payload = self.accounts.find(&mac_key, &tag, |start| now.is_within(start, lifetime))?;
        unpack(&payload)
    }

    /// Stores a value that was true at `start`, and stays valid for the lifetime from then on.
    ///
    /// Returns false if the value has more than 440 bytes, or the time is after the year 2500. Then
    /// the key has no value any more.
    pub fn store_account(&self, key: &[&[u8]], start: Timestamp, value: &[u8]) -> bool {
        let mac_key = self.key();
        let tag = mac_key.tag("account", key);
        let is_stored = pack(value, self.accounts.payload_words())
            .is_some_and(|payload| self.accounts.store(&mac_key, &tag, start, &payload));
        if !is_stored {
            self.accounts.remove(&mac_key, &tag);
        }
        is_stored
    }

    /// Removes the value stored under this key. Another account in the same slot stays.
    ///
    /// A process that was stopped while it stored the value can bring it back, but not beyond its
    /// lifetime.
    pub fn forget_account(&self, key: &[&[u8]]) {
        let mac_key = self.key();
        self.accounts.remove(&mac_key, &mac_key.tag("account", key));
    }

    /// Stretches a name and a password, in about 0.2 ms. `settings` is the text of all settings
    /// that have an influence on the comparison with a stored password.
    #[must_use]
    pub fn stretch(&self, name: &[u8], password: &[u8], settings: &[u8]) -> StretchedPassword {
        StretchedPassword(self.key().stretch(&[name, settings, password]))
    }

    /// True if exactly this name and password matched `stored`, under these settings, less than
    /// `lifetime` ago by both clocks.
    #[must_use]
    pub fn is_verified(
        &self,
        password: &StretchedPassword,
        stored: &[u8],
        now: Timestamp,
        lifetime: Duration,
    ) -> bool {
        let mac_key = self.key();
        let tag = mac_key.tag("verified", &[&*password.0, stored]);
        self.passwords.find(&mac_key, &tag, |start| now.is_within(start, lifetime)).is_some()
    }

    /// Notes that this name and password matched `stored` at `start`.
    pub fn store_verified(&self, password: &StretchedPassword, stored: &[u8], start: Timestamp) {
        let mac_key = self.key();
        let tag = mac_key.tag("verified", &[&*password.0, stored]);
        self.passwords.store(&mac_key, &tag, start, &[]);
    }
}

/// The length of a value and its bytes, as words. `None` if these are too many.
fn pack(value: &[u8], words: usize) -> Option<Zeroizing<Vec<u64>>> {
    let mut payload = Zeroizing::new(Vec::with_capacity(words));
    payload.push(u64::try_from(value.len()).ok()?);
    for part in value.chunks(WORD) {
        let mut bytes = [0; WORD];
        bytes.iter_mut().zip(part).for_each(|(to, from)| *to = *from);
        if payload.len() == words {
            return None;
        }
        payload.push(u64::from_le_bytes(bytes));
        bytes.zeroize();
    }
    Some(payload)
}

/// The value in these words.
fn unpack(payload: &[u64]) -> Option<Secret> {
    let (length, words) = payload.split_first()?;
    let length = usize::try_from(*length).ok()?;
    let mut value = Vec::with_capacity(words.len().checked_mul(WORD)?);
    value.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    value.truncate(length);
    let is_complete = value.len() == length;
    let value = Secret::new(value);
    is_complete.then_some(value)
}
