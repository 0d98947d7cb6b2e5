//! Vectors from others, and the traps.

use super::*;

fn secret(text: &str) -> Secret {
    Secret::new(text.as_bytes().to_vec())
}

fn verify(stored: &str, password: &str) -> Result<bool, Fault> {
    let directory = tempfile::tempdir().unwrap();
    let dummy = Dummy::load(directory.path());
    verify_any(&[secret(stored)], "CRYPT", &secret(password), &dummy)
}

// Dovecot's test-password-scheme.c
const BCRYPT: &str = "$2y$05$11ipvo5dR6CwkzwmhwM26OXgzXwhV2PyPuLV.Qi31ILcRcThQpEiW";
// Drepper's specification, "Hello world!" with salt saltstring
const SHA512: &str = "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1";
const SHA512_ROUNDS: &str = "$6$rounds=10000$saltstringsaltst$OW1/O6BYHV6BcXZu8QVeXbDWra3Oeqh0sbHbbMCVNSnCM/UrjmM0Dp8vOuZeHBy/YTBmSK6H9qs/y3RnOaw5v.";

#[test]
fn what_others_hashed_is_accepted_and_a_near_miss_is_not() {
    let b = BCRYPT.trim_start_matches("$2y$");
    let rows = [
        (String::from(BCRYPT), "test"),
        (format!("$2a${b}"), "test"),
        (format!("$2b${b}"), "test"),
        (format!("{{BLF-CRYPT}}{BCRYPT}"), "test"),
        (format!("{{blf-crypt}}{BCRYPT}"), "test"),
        (format!("{{CRYPT}}{BCRYPT}"), "test"),
        (String::from(SHA512), "Hello world!"),
        (format!("{{SHA512-CRYPT}}{SHA512_ROUNDS}"), "Hello world!"),
        (format!("{{CRYPT}}{SHA512}"), "Hello world!"),
        (String::from("{PLAIN}pässword"), "pässword"),
        (String::from("{plain}{x}y"), "{x}y"),
    ];
    for (stored, password) in rows {
        assert_eq!(verify(&stored, password), Ok(true), "{stored}");
        let near = format!("{password} ");
        assert_eq!(verify(&stored, &near), Ok(false), "{stored}");
        assert_eq!(verify(&stored, ""), Ok(false), "{stored}");
    }
}

#[test]
fn a_locked_account_matches_nothing() {
    for stored in ["", "!", "!!", "*", "*0", "*1", "{CRYPT}", "{PLAIN}", "{CRYPT}!", "!$2y$05$x"] {
        for password in ["", "!", "*0", "x"] {
            assert_eq!(verify(stored, password), Ok(false), "{stored:?} {password:?}");
        }
    }
}

#[test]
fn what_cannot_be_understood_is_no_mismatch() {
    let b = BCRYPT.trim_start_matches("$2y$05$");
    let h = SHA512.trim_start_matches("$6$saltstring$");
    let rows = [
        String::from("{NO-SUCH}x"),
        String::from("plain text"),
        String::from("$1$salt$hash"),
        format!("$2y$31${b}"),
        format!("$2y$5${b}"),
        format!("$2y$05${b}x"),
        format!("$2y$03${b}"),
        format!("$2y$15${b}"),
        format!("$2y$05$ü{b}"),
        format!("$6$rounds=999$salt${h}"),
        format!("$6$rounds=x$salt${h}"),
        format!("$6$rounds=999999999$salt${h}"),
        format!("$6$saltsaltsaltsalts${h}"),
        String::from("$6$salt$"),
        String::from("$6$"),
        String::from("$2y"),
    ];
    for stored in rows {
        let fault = verify(&stored, "test").unwrap_err();
        assert!(!fault.0.contains(&stored), "{}", fault.0);
    }
}

#[test]
fn any_of_several_passwords_matches_and_a_broken_one_hides_no_match() {
    let directory = tempfile::tempdir().unwrap();
    let dummy = Dummy::load(directory.path());
    let stored = [secret("{NO-SUCH}x"), secret(BCRYPT), secret("{PLAIN}other")];
    let verify = |password| verify_any(&stored, "CRYPT", &secret(password), &dummy);
    assert_eq!(verify("test"), Ok(true));
    assert_eq!(verify("other"), Ok(true));
    assert!(verify("wrong").is_err(), "the broken one might have matched");
    assert_eq!(verify_any(&[], "CRYPT", &secret("test"), &dummy), Ok(false));
}

#[test]
fn a_new_hash_is_accepted() {
    let hash = hash(&secret("new"), 4).unwrap();
    let text = std::str::from_utf8(hash.expose()).unwrap();
    assert!(text.starts_with("{BLF-CRYPT}$2y$04$"), "{text}");
    assert_eq!(verify(text, "new"), Ok(true));
    assert!(super::hash(&secret("new"), 31).is_err());
}
