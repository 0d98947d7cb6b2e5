//! Tests of the shared memory in one process. `tests/shared_killed.rs` has those with several.

use super::*;

const NOW: Timestamp = at(1_000_000, 5000);
const LIFETIME: Duration = Duration::from_secs(30);
const SETTINGS: &[u8] = b"default_scheme=CRYPT";

const fn at(wall: u64, boot: u64) -> Timestamp {
    Timestamp { wall: Duration::from_secs(wall), boot: Duration::from_secs(boot) }
}

fn memory() -> SharedMemory {
    SharedMemory::with_slots(16, 16).unwrap()
}

/// The value as text.
fn account(memory: &SharedMemory, key: &[&[u8]], now: Timestamp) -> Option<String> {
    let value = memory.account(key, now, LIFETIME)?;
    Some(String::from_utf8(value.expose().to_vec()).unwrap())
}

fn load(word: &AtomicU64) -> u64 {
    word.load(Ordering::Relaxed)
}

/// The words that are not zero.
fn used(words: &[AtomicU64]) -> Vec<(usize, u64)> {
    let words = words.iter().map(load).enumerate();
    words.filter(|(_, value)| *value != 0).collect()
}

#[test]
fn an_account_is_found_by_its_key_until_it_is_replaced_or_forgotten() {
    let memory = SharedMemory::new().unwrap();
    let (bob, eve): (&[&[u8]], &[&[u8]]) = (&[b"config", b"bob"], &[b"config", b"eve"]);
    assert_eq!(account(&memory, bob, NOW), None, "it begins empty");
    assert!(memory.store_account(bob, NOW, b"first"));
    assert_eq!(account(&memory, bob, NOW).as_deref(), Some("first"));
    assert_eq!(account(&memory, eve, NOW), None);
    assert!(memory.store_account(eve, NOW, b""));
    assert!(memory.store_account(bob, NOW, b"second"));
    assert_eq!(account(&memory, bob, NOW).as_deref(), Some("second"));
    assert_eq!(account(&memory, eve, NOW).as_deref(), Some(""), "an empty value is a value");
    memory.forget_account(bob);
    assert_eq!(account(&memory, bob, NOW), None);
    assert_eq!(account(&memory, eve, NOW).as_deref(), Some(""));
}

#[test]
fn a_password_is_verified_only_for_what_matched() {
    let memory = SharedMemory::new().unwrap();
    let stretch =
        |name: &[u8], password: &[u8], settings: &[u8]| memory.stretch(name, password, settings);
    let is_verified =
        |password: &_, stored: &[u8]| memory.is_verified(password, stored, NOW, LIFETIME);
    let right = stretch(b"bob", b"secret", SETTINGS);
    assert!(!is_verified(&right, b"$2b$x"), "it begins empty");
    memory.store_verified(&right, b"$2b$x", NOW);
    assert!(is_verified(&stretch(b"bob", b"secret", SETTINGS), b"$2b$x"));
    assert!(!is_verified(&right, b"$2b$y"), "another stored password");
    assert!(!is_verified(&right, b""));
    let long = [b'x'; 100];
    let (nul, hash) = (b"secret\0", <sha2::Sha256 as sha2::Digest>::digest(long));
    memory.store_verified(&stretch(b"long", &long, SETTINGS), b"$2b$x", NOW);
    assert!(is_verified(&stretch(b"long", &long, SETTINGS), b"$2b$x"));
    for (name, password, settings) in [
        (&b"eve"[..], &b"secret"[..], SETTINGS),
        (b"bo", b"bsecret", SETTINGS),
        (b"bob", b"Secret", SETTINGS),
        (b"bob", b"", SETTINGS),
        (b"bob", b"secret", b"default_scheme=PLAIN"),
        (b"bobdefault_scheme=CRYPT", b"secret", b""),
        // PBKDF2 itself takes these two pairs of passwords as equal.
        (b"bob", nul, SETTINGS),
        (b"long", &hash, SETTINGS),
    ] {
        let wrong = stretch(name, password, settings);
        assert!(!is_verified(&wrong, b"$2b$x"), "{name:?} {password:?} {settings:?}");
    }
    let (accounts, passwords) = (memory.slot_words()[0], memory.slot_words()[1]);
    assert!(used(accounts).is_empty());
    assert_eq!(used(passwords).len(), 2 * PASSWORD_WORDS, "two slots");
}

#[test]
fn both_clocks_must_agree_that_the_time_is_not_over() {
    let memory = memory();
    let password = memory.stretch(b"bob", b"secret", SETTINGS);
    assert!(memory.store_account(&[b"bob"], NOW, b"value"));
    memory.store_verified(&password, b"stored", NOW);
    for (name, now, is_valid) in [
        ("at once", NOW, true),
        ("shortly before the end", at(1_000_029, 5029), true),
        ("at the end", at(1_000_030, 5030), false),
        ("only the wall clock went on", at(1_000_030, 5000), false),
        ("only the wall clock was set back", at(1_000_000, 5030), false),
        ("the wall clock was set before the start", at(999_999, 5001), false),
        ("after a restart of the system", at(1_000_001, 4999), false),
        ("long after", at(u64::MAX, u64::MAX), false),
    ] {
        assert_eq!(account(&memory, &[b"bob"], now).is_some(), is_valid, "{name}");
        assert_eq!(memory.is_verified(&password, b"stored", now, LIFETIME), is_valid, "{name}");
    }
    let late = Timestamp { wall: NOW.wall + LIFETIME - Duration::from_nanos(1), boot: NOW.boot };
    assert!(account(&memory, &[b"bob"], late).is_some(), "nanoseconds are kept");
    assert!(memory.account(&[b"bob"], NOW, Duration::ZERO).is_none(), "no lifetime");
    assert!(memory.account(&[b"bob"], NOW, Duration::MAX).is_some());
}

#[test]
fn a_time_beyond_the_range_of_a_slot_is_not_stored() {
    let memory = memory();
    assert!(memory.store_account(&[b"bob"], NOW, b"value"));
    for start in [at(u64::MAX, 5000), at(1_000_000, u64::MAX)] {
        assert!(!memory.store_account(&[b"bob"], start, b"other"));
        assert!(memory.account(&[b"bob"], NOW, Duration::MAX).is_none(), "the old value is gone");
        memory.store_verified(&memory.stretch(b"bob", b"secret", SETTINGS), b"stored", start);
    }
    assert!(used(memory.slot_words()[1]).is_empty());
}

#[test]
fn different_lists_of_parts_are_different_keys() {
    let memory = SharedMemory::new().unwrap();
    let keys: &[&[&[u8]]] = &[
        &[b"ab", b"c"],
        &[b"a", b"bc"],
        &[b"abc"],
        &[b"abc", b""],
        &[b"", b"abc"],
        &[b""],
        &[],
        &[b"\x03\0\0\0\0\0\0\0abc"],
        // As long as the block that ends each hash.
        &[b"abc", &[0; 56]],
    ];
    for (number, key) in keys.iter().enumerate() {
        assert!(memory.store_account(key, NOW, number.to_string().as_bytes()));
    }
    for (number, key) in keys.iter().enumerate() {
        assert_eq!(account(&memory, key, NOW), Some(number.to_string()), "{key:?}");
    }
}

#[test]
fn a_value_fits_up_to_440_bytes() {
    let memory = memory();
    for length in [0, 1, 7, 8, 9, 439, 440] {
        let value = "v".repeat(length);
        assert!(memory.store_account(&[b"bob"], NOW, value.as_bytes()), "{length}");
        assert_eq!(account(&memory, &[b"bob"], NOW), Some(value));
    }
    for length in [441, 448, 449, 10_000] {
        assert!(memory.store_account(&[b"bob"], NOW, b"old"));
        assert!(!memory.store_account(&[b"bob"], NOW, "v".repeat(length).as_bytes()), "{length}");
        assert_eq!(account(&memory, &[b"bob"], NOW), None, "the old value is gone");
    }
}

#[test]
fn unused_bytes_of_a_slot_are_zero() {
    let memory = SharedMemory::with_slots(1, 1).unwrap();
    assert!(memory.store_account(&[b"bob"], NOW, "v".repeat(440).as_bytes()));
    assert!(memory.store_account(&[b"bob"], NOW, b"short"));
    let used = used(memory.slot_words()[0]);
    // The tag, two times, the length, one word of the value, and the checksum.
    assert_eq!(
        used.iter().map(|(at, _)| *at).collect::<Vec<_>>(),
        [0, 1, 2, 3, 4, 5, 6, 7, 62, 63]
    );
    memory.forget_account(&[b"bob"]);
    assert!(memory.slot_words()[0].iter().all(|word| load(word) == 0));
}

#[test]
fn another_account_in_the_slot_is_replaced_by_storing_but_stays_when_one_is_forgotten() {
    let memory = SharedMemory::with_slots(1, 1).unwrap();
    assert!(memory.store_account(&[b"bob"], NOW, b"value"));
    memory.forget_account(&[b"eve"]);
    assert_eq!(account(&memory, &[b"bob"], NOW).as_deref(), Some("value"));
    assert!(memory.store_account(&[b"eve"], NOW, b"other"));
    assert_eq!(account(&memory, &[b"bob"], NOW), None);
    assert_eq!(account(&memory, &[b"eve"], NOW).as_deref(), Some("other"));
}

#[test]
fn a_slot_with_any_bit_changed_is_empty_and_can_be_written_again() {
    let memory = SharedMemory::with_slots(1, 1).unwrap();
    let password = memory.stretch(b"bob", b"secret", SETTINGS);
    let is_found = || {
        let value = memory.account(&[b"bob"], NOW, LIFETIME);
        [value.is_some(), memory.is_verified(&password, b"stored", NOW, LIFETIME)]
    };
    let store = || {
        assert!(memory.store_account(&[b"bob"], NOW, b"value"));
        memory.store_verified(&password, b"stored", NOW);
    };
    store();
    for (kind, words) in memory.slot_words().into_iter().enumerate() {
        for (at, word) in words.iter().enumerate() {
            for bit in 0..64 {
                word.fetch_xor(1 << bit, Ordering::Relaxed);
                let mut want = [true, true];
                want[kind] = false;
                assert_eq!(is_found(), want, "kind {kind}, word {at}, bit {bit}");
                if bit == 63 {
                    store();
                } else {
                    word.fetch_xor(1 << bit, Ordering::Relaxed);
                }
                assert_eq!(is_found(), [true, true]);
            }
        }
    }
}

#[test]
fn content_in_another_slot_is_not_read() {
    let memory = SharedMemory::with_slots(2, 2).unwrap();
    let names: Vec<_> = (0_u8..20).map(|number| [number]).collect();
    let slot = |name: &[u8]| {
        memory.forget_account(&[name]);
        assert!(memory.store_account(&[name], NOW, name));
        let at = used(memory.slot_words()[0]).first().map(|(at, _)| at / ACCOUNT_WORDS).unwrap();
        memory.forget_account(&[name]);
        at
    };
    let in_first = names.iter().find(|name| slot(*name) == 0).unwrap();
    let in_second = names.iter().find(|name| slot(*name) == 1).unwrap();
    assert!(memory.store_account(&[in_first], NOW, b"first"));
    assert!(memory.store_account(&[in_second], NOW, b"second"));
    let (first, second) = memory.slot_words()[0].split_at(ACCOUNT_WORDS);
    let swap = || {
        for (left, right) in first.iter().zip(second) {
            right.store(left.swap(load(right), Ordering::Relaxed), Ordering::Relaxed);
        }
    };
    let found = || [in_first, in_second].map(|name| account(&memory, &[name], NOW));
    assert_eq!(found(), [Some("first".into()), Some("second".into())]);
    swap();
    assert_eq!(found(), [None, None]);
    swap();
    assert_eq!(found(), [Some("first".into()), Some("second".into())]);
}

/// The checksum itself depends on the kind and the number of the slot. Otherwise only the tag would
/// keep slots apart.
#[test]
fn a_checksum_depends_on_the_kind_and_the_number_of_the_slot() {
    let memory = memory();
    let key = memory.key();
    let checksum = key.checksum("account slot", 1, &[1, 2, 3]);
    assert_eq!(key.checksum("account slot", 1, &[1, 2, 3]), checksum);
    assert_ne!(key.checksum("account slot", 2, &[1, 2, 3]), checksum);
    assert_ne!(key.checksum("password slot", 1, &[1, 2, 3]), checksum);
    assert_ne!(key.checksum("account slot", 1, &[1, 2, 4]), checksum);
    assert_ne!(key.checksum("account slot", 1, &[1, 2, 3, 0]), checksum);
}

#[test]
fn two_memories_have_different_keys() {
    let (one, other) = (memory(), memory());
    let password = one.stretch(b"bob", b"secret", SETTINGS);
    assert!(one.store_account(&[b"bob"], NOW, b"value"));
    one.store_verified(&password, b"stored", NOW);
    for (from, to) in one.slot_words().into_iter().zip(other.slot_words()) {
        from.iter().zip(to).for_each(|(from, to)| to.store(load(from), Ordering::Relaxed));
    }
    assert!(account(&one, &[b"bob"], NOW).is_some());
    assert!(account(&other, &[b"bob"], NOW).is_none());
    assert!(!other.is_verified(&password, b"stored", NOW, LIFETIME));
    let password = other.stretch(b"bob", b"secret", SETTINGS);
    assert!(!other.is_verified(&password, b"stored", NOW, LIFETIME));
    // With the same key, the copies are found.
    for (from, to) in one.key.iter().zip(other.key) {
        to.store(load(from), Ordering::Relaxed);
    }
    assert!(account(&other, &[b"bob"], NOW).is_some());
}

#[test]
fn neither_a_password_nor_an_account_is_printed() {
    let memory = memory();
    assert_eq!(format!("{memory:?}"), "SharedMemory(…)");
    let password = memory.stretch(b"bob", b"secret", SETTINGS);
    assert_eq!(format!("{password:?}"), "StretchedPassword(…)");
}

#[test]
fn the_memory_has_at_most_4_mib() {
    let slots = ACCOUNTS * ACCOUNT_WORDS + PASSWORDS * PASSWORD_WORDS;
    assert!((HEADER_WORDS + slots) * WORD <= 4 << 20);
    let memory = SharedMemory::new().unwrap();
    assert_eq!(memory.slot_words().map(<[_]>::len).iter().sum::<usize>(), slots);
}
