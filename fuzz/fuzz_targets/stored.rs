//! Any bytes as a stored password, any password, any login: no panic, no secret in a fault, and no
//! match for an empty password or a locked account.
//!
//! An input is a byte for the default scheme, the password, a line feed, the login, a line feed,
//! and the stored password. `fuzz/seeds/stored.list` has a seed for each format.

#![no_main]

use std::path::Path;

use authpolicy::password;
use authpolicy::password::Dummy;
use authpolicy::password::Fault;
use authpolicy::password::Settings;
use authpolicy_fuzz::SCHEMES;
use authpolicy_fuzz::no_dummy;
use authpolicy_fuzz::secret;
use authpolicy_fuzz::settings;
use authpolicy_fuzz::verify;
use libfuzzer_sys::fuzz_target;

/// The number of stored bytes that, found in a fault, may be an echo. Shorter parts may be words of
/// the message.
const WINDOW: usize = 6;

fuzz_target!(|data: &[u8]| {
    let Some((&scheme, rest)) = data.split_first() else { return };
    let mut parts = rest.splitn(3, |&c| c == b'\n');
    let (Some(password), Some(login), Some(stored)) = (parts.next(), parts.next(), parts.next())
    else {
        return;
    };
    let login = String::from_utf8_lossy(login);
    let settings = settings(&SCHEMES[usize::from(scheme) % SCHEMES.len()]);

    let verdict = verify(stored, password, &login, &settings);
    let described = password::describe(&secret(stored), &settings);
    let clear = password::clear(&secret(stored), &settings);
    assert_eq!(clear.as_ref().err(), described.as_ref().err());
    if verdict == Ok(true) {
        assert!(!password.is_empty(), "an empty password matches");
        assert!(matches!(described, Ok(Some(_))), "a match, but described as {described:?}");
    }
    if verdict.is_err() {
        // The fault is the same with another password, so it contains nothing of the password.
        assert_eq!(verdict, verify(stored, b"another", "another", &settings));
        assert_no_echo(stored, |stored| verify(stored, password, &login, &settings).err());
    }
    assert_dummy_takes_same_work(stored, &settings);
});

/// Checks that the message of a fault does not contain parts of the data after the label. If a part
/// is found, it is replaced: a message with the replacement is an echo, not a coincidence. Numbers
/// and parts of the label may be in a message.
fn assert_no_echo(stored: &[u8], fault: impl Fn(&[u8]) -> Option<Fault>) {
    let label = stored.iter().position(|&c| c == b'}').filter(|_| stored.starts_with(b"{"));
    let start = label.map_or(0, |end| end + 1);
    let Some(message) = fault(stored) else { return };
    for at in start..stored.len().saturating_sub(WINDOW - 1) {
        let part = &stored[at..at + WINDOW];
        let is_allowed = part.iter().all(u8::is_ascii_digit) || contains(&stored[..start], part);
        if is_allowed || !contains(message.0.as_bytes(), part) {
            continue;
        }
        let mut other = stored.to_vec();
        for byte in &mut other[at..at + WINDOW] {
            *byte = if *byte == b'x' { b'y' } else { b'x' };
        }
        let echo = fault(&other).is_some_and(|m| contains(m.0.as_bytes(), &other[at..at + WINDOW]));
        assert!(!echo, "stored data in the message: {}", message.0);
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|at| at == part)
}

/// Checks the dummy that is derived from this stored password: it must be readable, and take the
/// same work.
fn assert_dummy_takes_same_work(stored: &[u8], settings: &Settings) {
    let Ok(text) = std::str::from_utf8(stored) else { return };
    // A configured dummy is read line by line, and with this default.
    if settings.default_scheme != "CRYPT" || text.contains('\n') {
        return;
    }
    let original = Dummy::load(Path::new("/nonexistent"), Some(text), settings).work();
    let derived = no_dummy(settings).or_costlier(&[secret(stored)], settings).work();
    assert_eq!(derived, original, "the dummy takes other work than the account");
}
