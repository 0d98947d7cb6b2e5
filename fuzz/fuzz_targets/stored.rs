//! Any bytes as a stored password, any password, any login: no panic, no secret in a fault, and no
//! match for an empty password or a locked account.
//!
//! An input is a byte for the default scheme, the password, a line feed, the login, a line feed,
//! and what is stored. `fuzz/seeds/stored.list` has one to begin with for each format.

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

/// So much of a stored text in a fault may be an echo; less is a word of the message.
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
        assert!(matches!(described, Ok(Some(_))), "a match, and described as {described:?}");
    }
    if verdict.is_err() {
        // What it says is about what is stored, so that nothing of a password is in it.
        assert_eq!(verdict, verify(stored, b"another", "another", &settings));
        echoes_nothing(stored, |stored| verify(stored, password, &login, &settings).err());
    }
    twin_takes_the_same_work(stored, &settings);
});

/// Where a part of the data behind the label is in the message, and another in its place, too, it
/// is no coincidence. Numbers may be named, and what was in the label.
fn echoes_nothing(stored: &[u8], ask: impl Fn(&[u8]) -> Option<Fault>) {
    let label = stored.iter().position(|&c| c == b'}').filter(|_| stored.starts_with(b"{"));
    let start = label.map_or(0, |end| end + 1);
    let Some(message) = ask(stored) else { return };
    for at in start..stored.len().saturating_sub(WINDOW - 1) {
        let part = &stored[at..at + WINDOW];
        let named = part.iter().all(u8::is_ascii_digit) || contains(&stored[..start], part);
        if named || !contains(message.0.as_bytes(), part) {
            continue;
        }
        let mut other = stored.to_vec();
        for byte in &mut other[at..at + WINDOW] {
            *byte = if *byte == b'x' { b'y' } else { b'x' };
        }
        let echo = ask(&other).is_some_and(|m| contains(m.0.as_bytes(), &other[at..at + WINDOW]));
        assert!(!echo, "stored data in: {}", message.0);
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|at| at == part)
}

/// What is remembered of the dearest account must be readable, and as dear.
fn twin_takes_the_same_work(stored: &[u8], settings: &Settings) {
    let Ok(text) = std::str::from_utf8(stored) else { return };
    // A configured dummy is read line by line, and with this default.
    if settings.default_scheme != "CRYPT" || text.contains('\n') {
        return;
    }
    let original = Dummy::load(Path::new("/nonexistent"), Some(text), settings).work();
    let twin = no_dummy(settings).or_dearer(&[secret(stored)], settings).work();
    assert_eq!(twin, original, "the twin takes other work");
}
