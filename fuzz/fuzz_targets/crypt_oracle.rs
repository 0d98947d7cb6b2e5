//! Compares bare crypt formats with libcrypt. The password of a hash must match. After any change
//! of the hash or the password, the library must find a match if, and only if, libcrypt makes the
//! same text again.

#![no_main]

use authpolicy_fuzz::oracle::crypt;
use authpolicy_fuzz::settings;
use authpolicy_fuzz::verify;
use libfuzzer_sys::arbitrary;
use libfuzzer_sys::arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;

/// Prefixes with parameters that are fast; `N` stands for a number.
const PREFIXES: &[&str] = &[
    "",
    "_/...",
    "_z/..",
    "$1$",
    "$2a$04$",
    "$2b$04$",
    "$2x$04$",
    "$2y$04$",
    "$2y$4$",
    "$3$$",
    "$5$",
    "$6$",
    "$5$rounds=N$",
    "$6$rounds=N$",
    "$y$j/.$",
    "$y$j//$",
    "$y$j/0$",
    "$y$j5.$",
    "$gy$j/.$",
    "$gy$j//$",
    "$7$0/..../....",
    "$7$2/..../....",
    "$7$10..../....",
    "$sha1$N$",
    "$md5$",
    "$md5,rounds=N$",
];
/// The bytes of salts: first the digits, then bytes that are invalid in a salt or have a meaning.
const SALT: &[u8] =
    b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz$$=,-_ +:*!\\\xc3\xbc";
/// libcrypt's limit.
const MAX_PASSWORD: usize = 511;

#[derive(Arbitrary, Debug)]
enum Change {
    Replace(u8, u8),
    Insert(u8, u8),
    Remove(u8),
    SwapCase(u8),
    Truncate(u8),
    /// Inserts a sign or a zero before the number after `=`, or before the one between two `$`.
    Prolong(bool),
}

#[derive(Arbitrary, Debug)]
struct Input {
    prefix: u8,
    number: u16,
    salt: [u8; 24],
    salt_length: u8,
    /// True if the salt may have other bytes than digits.
    is_odd: bool,
    hash_change: Change,
    another_change: Option<Change>,
    password_change: Option<Change>,
    /// The last field, so that it takes all remaining bytes of the input.
    password: Vec<u8>,
}

fuzz_target!(|input: Input| {
    let prefix = PREFIXES[usize::from(input.prefix) % PREFIXES.len()];
    let number = input.number % 6000;
    let mut setting = prefix.replace('N', &number.to_string()).into_bytes();
    // Only bcrypt needs a salt of a fixed length.
    let length = if prefix.starts_with("$2") { 22 } else { usize::from(input.salt_length) };
    let digit = |byte: u8| SALT[usize::from(byte) % 64];
    let byte = |&byte: &u8| if input.is_odd { likely(byte) } else { digit(byte) };
    setting.extend(input.salt.iter().take(length).map(byte));
    let password = input.password;
    if !is_password(&password) {
        return;
    }
    let Some(stored) = crypt(&password, &setting) else { return };
    agree(&stored, &password);
    if !password.is_empty() && !is_cut(&stored, &password) && is_usual(prefix, number, &setting) {
        let ours = verify(&stored, &password, "", &settings("CRYPT"));
        assert_eq!(ours, Ok(true), "{}", String::from_utf8_lossy(&stored));
    }

    let changed = apply(&[Some(input.hash_change), input.another_change], stored.clone());
    let other = apply(&[input.password_change], password.clone());
    if changed != stored {
        agree(&changed, &password);
    }
    if other != password && is_password(&other) {
        agree(&stored, &other);
    }
});

/// True for settings that generators make, within the limits. The library must understand these.
fn is_usual(prefix: &str, number: u16, setting: &[u8]) -> bool {
    let salt = &setting[prefix.replace('N', &number.to_string()).len()..];
    let digits = |c: &u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'/');
    let rounds = !prefix.contains('N') || (1000..=5000).contains(&number);
    // With a longer salt, crypt(3) takes DES for another format, which hashes a password in pieces.
    let des = match prefix {
        "" => salt.len() == 2,
        _ => !prefix.starts_with('_') || salt.len() == 4,
    };
    !salt.is_empty() && salt.iter().all(digits) && rounds && des
}

/// Returns, in most cases, a byte that occurs in hashes.
fn likely(byte: u8) -> u8 {
    if byte < 200 { SALT[usize::from(byte) % SALT.len()] } else { byte }
}

fn is_password(bytes: &[u8]) -> bool {
    bytes.len() <= MAX_PASSWORD && !bytes.contains(&0)
}

/// True if the limits may prevent SHA-crypt from hashing the whole password. Then it never matches.
fn is_cut(stored: &[u8], password: &[u8]) -> bool {
    password.len() > 128 && (stored.starts_with(b"$5$") || stored.starts_with(b"$6$"))
}

/// Checks that both agree. A fault is allowed, because refusing a format is safe.
fn agree(stored: &[u8], password: &[u8]) {
    let Ok(ours) = verify(stored, password, "", &settings("CRYPT")) else { return };
    // A locked account, and an empty password, never match, whatever the result of libcrypt.
    let never = password.is_empty() || matches!(stored.first(), None | Some(b'!' | b'*'));
    let theirs = !never && crypt(password, stored).as_deref() == Some(stored);
    if !ours && is_cut(stored, password) {
        return;
    }
    let text = String::from_utf8_lossy(stored);
    assert_eq!(ours, theirs, "{text} and {:?}", String::from_utf8_lossy(password));
}

fn apply(changes: &[Option<Change>], mut bytes: Vec<u8>) -> Vec<u8> {
    for change in changes.iter().flatten() {
        let at = |place: u8| usize::from(place) % bytes.len().max(1);
        match *change {
            Change::Insert(place, byte) => bytes.insert(at(place), likely(byte)),
            _ if bytes.is_empty() => {}
            Change::Replace(place, byte) => {
                let at = at(place);
                bytes[at] = likely(byte);
            }
            Change::Remove(place) => {
                bytes.remove(at(place));
            }
            Change::SwapCase(place) => {
                let at = at(place);
                bytes[at] ^= 0x20;
            }
            Change::Prolong(sign) => {
                let equals = bytes.iter().position(|&c| c == b'=');
                let dollar = || bytes.iter().skip(1).position(|&c| c == b'$').map(|at| at + 1);
                let at = equals.or_else(dollar).map_or(0, |at| at + 1);
                bytes.insert(at, if sign { b'+' } else { b'0' });
            }
            Change::Truncate(place) => bytes.truncate(at(place)),
        }
    }
    bytes
}
