//! Any bytes in the slots of the shared memory, beside values that were stored. A reader gets
//! nothing, or a value that was stored for this key, and no password is verified that never was.
//! The input does not know the memory's key.

use std::sync::LazyLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use authpolicy::shared::SharedMemory;
use authpolicy::shared::StretchedPassword;
use authpolicy::shared::Timestamp;
use libfuzzer_sys::arbitrary;
use libfuzzer_sys::arbitrary::Arbitrary;

const NOW: Timestamp =
    Timestamp { wall: Duration::from_secs(1_000_000), boot: Duration::from_secs(5000) };
/// A time that is over.
const LONG_AGO: Timestamp =
    Timestamp { wall: Duration::from_secs(900_000), boot: Duration::from_secs(1000) };
const LIFETIME: Duration = Duration::from_secs(30);
const STORED: &[u8] = b"$2b$stored";
const KEYS: [&[u8]; 4] = [b"alice", b"bob", b"carol", b"dave"];

/// The memory is never unmapped, so all executions use the same one.
static MEMORY: LazyLock<SharedMemory> =
    LazyLock::new(|| SharedMemory::with_slots(2, 2).expect("memory"));
/// Two passwords that are verified now, one that was long ago, and one that never was.
static PASSWORDS: LazyLock<[StretchedPassword; 4]> =
    LazyLock::new(|| KEYS.map(|name| MEMORY.stretch(name, b"secret", b"")));

/// One change of the memory, or a value that is stored.
#[derive(Arbitrary, Debug)]
pub enum Damage {
    /// Stores this value for a key.
    Account(u8, Vec<u8>),
    /// Forgets a key.
    Forget(u8),
    /// Stores a password as verified: one of the first two now, the third one long ago.
    Verified(u8),
    /// Puts these words into the memory, from this one on.
    Words(bool, u8, Vec<u64>),
    /// Changes bits of a word.
    Bits(bool, u8, u64),
    /// Copies so many words from one place to another.
    Copy(bool, u8, u8, u8),
}

/// The words of the passwords or the accounts, from this one on.
fn words(of_passwords: bool, at: u8) -> &'static [AtomicU64] {
    let [accounts, passwords] = MEMORY.slot_words();
    let words = if of_passwords { passwords } else { accounts };
    &words[usize::from(at) % words.len()..]
}

fn key(number: u8) -> usize {
    usize::from(number) % KEYS.len()
}

/// Makes all changes, and reads everything after each of them.
pub fn check(damages: &[Damage]) {
    let zero = |word: &AtomicU64| word.store(0, Ordering::Relaxed);
    MEMORY.slot_words().into_iter().flatten().for_each(zero);
    // All values that were stored since the beginning. A copy of an old slot may bring one back.
    let mut stored: [Vec<&[u8]>; 4] = Default::default();
    let mut verified = [false; 4];
    for damage in damages {
        match damage {
            Damage::Account(number, value) => {
                if MEMORY.store_account(&[KEYS[key(*number)]], NOW, value) {
                    stored[key(*number)].push(value);
                    assert_eq!(account(key(*number)).as_deref(), Some(&**value));
                } else {
                    assert!(value.len() > 440, "a value that fits is stored");
                }
            }
            Damage::Forget(number) => {
                MEMORY.forget_account(&[KEYS[key(*number)]]);
                assert_eq!(account(key(*number)), None);
            }
            Damage::Verified(number) => {
                let number = key(*number) % 3;
                let start = if number == 2 { LONG_AGO } else { NOW };
                MEMORY.store_verified(&PASSWORDS[number], STORED, start);
                verified[number] = number < 2;
                assert_eq!(is_verified(number), number < 2);
            }
            Damage::Words(of_passwords, at, values) => {
                let words = words(*of_passwords, *at).iter();
                words.zip(values).for_each(|(word, value)| word.store(*value, Ordering::Relaxed));
            }
            Damage::Bits(of_passwords, at, bits) => {
                words(*of_passwords, *at)[0].fetch_xor(*bits, Ordering::Relaxed);
            }
            Damage::Copy(of_passwords, from, to, count) => {
                let from = words(*of_passwords, *from).iter().take(usize::from(*count));
                let copy: Vec<_> = from.map(|word| word.load(Ordering::Relaxed)).collect();
                let to = words(*of_passwords, *to).iter();
                to.zip(copy).for_each(|(word, value)| word.store(value, Ordering::Relaxed));
            }
        }
        for (number, stored) in stored.iter().enumerate() {
            if let Some(found) = account(number) {
                assert!(stored.contains(&&*found), "a value that was not stored: {found:?}");
            }
            assert!(verified[number] || !is_verified(number), "never verified, or over");
        }
    }
}

fn account(number: usize) -> Option<Vec<u8>> {
    MEMORY.account(&[KEYS[number]], NOW, LIFETIME).map(|value| value.expose().to_vec())
}

fn is_verified(number: usize) -> bool {
    MEMORY.is_verified(&PASSWORDS[number], STORED, NOW, LIFETIME)
}
