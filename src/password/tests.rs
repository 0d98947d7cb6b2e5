//! Test vectors of other programs, and malformed text. tests/originals.rs runs those programs.

use super::*;

fn secret(text: &str) -> Secret {
    Secret::new(text.as_bytes().to_vec())
}

fn verify_with(settings: &Settings, stored: &[&str], password: &str) -> Result<bool, Fault> {
    let directory = tempfile::tempdir().unwrap();
    // The dummy is hashed often, so it is a cheap one.
    let dummy = format!("$2y$04${}", ".".repeat(53));
    let dummy = Dummy::load(directory.path(), Some(&dummy), settings);
    let stored: Vec<_> = stored.iter().map(|text| secret(text)).collect();
    let candidate = Candidate { password: &secret(password), login: "testuser1" };
    verify_any(&stored, settings, candidate, &dummy)
}

fn verify(stored: &str, password: &str) -> Result<bool, Fault> {
    verify_with(&Settings::default(), &[stored], password)
}

// Dovecot's test-password-scheme.c
const BCRYPT: &str = "$2y$05$11ipvo5dR6CwkzwmhwM26OXgzXwhV2PyPuLV.Qi31ILcRcThQpEiW";
const SHA1: &str = "{SHA1}qUqP5cyxm6YcTAhz05Hph5gvu9M=";
const ARGON2: &str = "{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$vBb99oJ12p3WAdYlaMHz1A$jtFOtbo/sYV9OSlTxDo/nVNq3uArHd5GJSEx0ty85Cc";
const PBKDF2: &str = "{PBKDF2}$1$bUnT4Pl7yFtYX0KU$5000$50a83cafdc517b9f46519415e53c6a858908680a";
const SCRAM: &str = "{SCRAM-SHA-1}4096,GetyLXdBuHzf1FWf8SLz2Q==,NA/OqmF4hhrsrB9KR7po+dliTGM=,QBiURvQaE6H6qYTmeghDHLANBFQ=";
const TEST: &[&str] = &[
    BCRYPT,
    SHA1,
    ARGON2,
    PBKDF2,
    SCRAM,
    "{SSHA}H/zrDv8FXUu1JmwvVYijfrYEF34jVZcO",
    "{SMD5}JTu1KRwptKZJg/RLd+6Vn5GUd0M=",
    "{LDAP-MD5}CY9rzUYh03PK3k6DJie09g==",
    "{PLAIN-MD5}098f6bcd4621d373cade4e832627b4f6",
    "{md5raw}098F6BCD4621D373CADE4E832627B4F6",
    "{MD5}098f6bcd4621d373cade4e832627b4f6",
    "{MD5}CY9rzUYh03PK3k6DJie09g==",
    "{PLAIN-MD5.b64}CY9rzUYh03PK3k6DJie09g==",
    "{SSHA256}jwj+CQrCPydeErByDFo1Bc5JY/MsJv6Wm56ryf4vkVMBAgME",
    "{CRAM-MD5}e02d374fde0dc75a17a557039a3a5338c7743304777dccd376f332bee68d2cf6",
    "{DIGEST-MD5}77c1a8c437c9b08ba2f460fe5d58db5d",
    "{CRYPT}//EsnG9FLTKjo.",
    "//EsnG9FLTKjo",
    "{PLAIN}test",
    "{PLAIN-TRUNC}2-te",
    "{PLAIN.HEX}74657374",
    "{CRYPT.B64}JDJ5JDA1JDExaXB2bzVkUjZDd2t6d21od00yNk9YZ3pYd2hWMlB5UHVMVi5RaTMxSUxjUmNUaFFwRWlX",
];
// Drepper's specification, "Hello world!" with salt saltstring
const SHA512: &str = "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1";
const SHA512_ROUNDS: &str = "$6$rounds=10000$saltstringsaltst$OW1/O6BYHV6BcXZu8QVeXbDWra3Oeqh0sbHbbMCVNSnCM/UrjmM0Dp8vOuZeHBy/YTBmSK6H9qs/y3RnOaw5v.";

#[test]
fn hashes_of_other_programs_match_the_right_password_only() {
    let b = BCRYPT.trim_start_matches("$2y$");
    let mut rows: Vec<(String, &str)> = TEST.iter().map(|s| ((*s).to_owned(), "test")).collect();
    rows.extend([
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
        (String::from("{PLAIN}!secret"), "!secret"),
    ]);
    for (stored, password) in rows {
        if stored == "{CRYPT}//EsnG9FLTKjo." {
            // DES-crypt has no such length; Dovecot's test vector ends with a full stop.
            continue;
        }
        assert_eq!(verify(&stored, password), Ok(true), "{stored}");
        assert_eq!(verify(&stored, ""), Ok(false), "{stored}");
        let truncated = stored.starts_with("{PLAIN-TRUNC}");
        let near = if truncated { String::from("ts") } else { format!("{password} ") };
        assert_eq!(verify(&stored, &near), Ok(false), "{stored}");
    }
}

#[test]
fn a_locked_account_matches_nothing() {
    for stored in [
        "",
        "!",
        "!!",
        "!!x",
        "*",
        "*0",
        "*1",
        "SUSPENDED",
        "{CRYPT}",
        "{PLAIN}",
        "{CRYPT}!",
        "!$2y$05$x",
        "!{SSHA}x",
        "*LK*",
        "{SHA}",
        "{ARGON2ID}!",
        "{SSHA}*0",
    ] {
        for password in ["", "!", "*0", "x", "SUSPENDED", "!!x", "!!"] {
            assert_eq!(verify(stored, password), Ok(false), "{stored:?} {password:?}");
        }
    }
    let clear = Settings { default_scheme: String::from("PLAIN"), ..Settings::default() };
    for locked in
        ["", "!", "!!", "!!x", "*", "*0", "*1", "*LK*", "*NP*", "SUSPENDED", "!{SSHA}x", "!$6$x"]
    {
        assert_eq!(verify_with(&clear, &[locked], locked), Ok(false), "{locked:?}");
    }
    assert_eq!(verify_with(&clear, &["!secret"], "!secret"), Ok(true), "somebody's password");
}

#[test]
fn a_malformed_hash_is_a_fault_and_not_a_mismatch() {
    let b = BCRYPT.trim_start_matches("$2y$05$");
    let h = SHA512.trim_start_matches("$6$saltstring$");
    let mut rows: Vec<String> = [
        "{NO-SUCH}x", "plain text", "$1$salt$hash", "$6$salt$", "$6$", "$2y", "$2$05$x",
        "{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M", "{SHA}qUqP5cyxm6YcTAhz05Hph5gvu8=", "{SHA256}AAAA",
        "{SSHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=", "{SHA.rot13}x", "{PLAIN-MD5}098f",
        "{PLAIN-TRUNC}x-te", "{PLAIN-TRUNC}test", "{PBKDF2}$1$salt$x$00", "{PBKDF2}$1$salt$5000$00",
        "{PBKDF2}$2$salt$5000$50a83cafdc517b9f46519415e53c6a858908680a",
        "{SCRAM-SHA-1}4095,GetyLXdBuHzf1FWf8SLz2Q==,NA/OqmF4hhrsrB9KR7po+dliTGM=,QBiURvQaE6H6qYTmeghDHLANBFQ=",
        "{SCRAM-SHA-256}4096,GetyLXdBuHzf1FWf8SLz2Q==,NA/OqmF4hhrsrB9KR7po+dliTGM=,QBiURvQaE6H6qYTmeghDHLANBFQ=",
        "{SCRAM-SHA-1}4096,,,", "$argon2id$v=19$m=65536,t=3,p=1$vBb99oJ12p3WAdYlaMHz1A",
        "$argon2id$v=20$m=64,t=3,p=1$vBb99oJ12p3WAdYlaMHz1A$jtFOtbo/sYV9OSlTxDo/nVNq3uArHd5GJSEx0ty85Cc",
        "$argon2id$v=19$m=64,t=3,p=1$vBb99oJ12p3WAdYlaMHz1A$jtFO",
        "$y$j9T$salt$short", "$y$j9T", "$7$C", "$sha1$x$salt$hash", "$md5,rounds=x$salt$$hash",
        "$md5,rounds=3888",
        "$sha1$20000$salt$hash",
        "$7$CU..../....salt$hash",
        "$pbkdf2-sha256$1000$c2FsdA$AAAA", "$pbkdf2-md5$1000$c2FsdA$AAAAAAAAAAAAAAAAAAAAAAAA",
        "pbkdf2_sha256$x$salt$AAAAAAAAAAAAAAAAAAAAAAAA", "$bcrypt-sha256$v=2,t=2b,r=5$short$short",
    ]
    .map(str::to_owned)
    .to_vec();
    rows.extend([
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
    ]);
    for stored in rows {
        let fault = verify(&stored, "test").expect_err(&stored);
        assert!(!fault.0.contains(&stored), "{}", fault.0);
    }
}

#[test]
fn rounds_with_a_sign_or_a_leading_zero_are_malformed_as_in_libcrypt() {
    for rounds in ["rounds=+10000", "rounds=010000"] {
        let stored = SHA512_ROUNDS.replace("rounds=10000", rounds);
        assert!(verify(&stored, "Hello world!").is_err(), "{stored}");
    }
}

#[test]
fn a_hash_above_a_limit_is_a_fault() {
    let settings = Settings {
        max_bcrypt_cost: 4,
        max_rounds: 1000,
        max_argon2_memory: 8,
        ..Settings::default()
    };
    for (stored, key) in [
        (BCRYPT, "max_bcrypt_cost = 4"),
        (SHA512, "max_rounds = 1000"),
        (PBKDF2, "max_rounds"),
        (SCRAM, "max_rounds"),
        (ARGON2, "max_argon2_memory = 8"),
        ("$sha1$20000$saltsalt$4jhtAp5L1lh.177c2eeZnTkYanpJ", "max_rounds"),
        ("$md5,rounds=2000$saltsalt$$pDxmNyAF/f7vP0CFDeHyK0", "max_rounds"),
        ("_..0.rasmHJqxwvNJG6s", "max_rounds"),
        ("$y$j9T$saltsalt$M8B9s7Va8RYZhmIp6UymHdZUGBExDfYb1/xqutXpI52", "max_argon2_memory"),
        ("$7$CU..../....saltsalt$zJ8oNJwp8XuKtKj/XE3hdiy3qpprJZxdtFvHNtoHA89", "max_argon2_memory"),
        (
            "$argon2id$v=19$m=8,t=999,p=1$vBb99oJ12p3WAdYlaMHz1A$jtFOtbo/sYV9OSlTxDo/nVNq3uArHd5GJSEx0ty85Cc",
            "passes",
        ),
        ("$pbkdf2-sha256$29000$c2FsdA$AAAAAAAAAAAAAAAAAAAAAAAA", "max_rounds"),
        ("pbkdf2_sha256$29000$salt$AAAAAAAAAAAAAAAAAAAAAAAAAAA=", "max_rounds"),
    ] {
        let fault = verify_with(&settings, &[stored], "test").expect_err(stored);
        assert!(fault.0.contains(key), "{stored}: {}", fault.0);
    }
}

#[test]
fn a_long_password_cannot_make_sha_crypt_work_for_seconds() {
    let (long, longer) = ("x".repeat(128), "x".repeat(129));
    let settings = Settings::default();
    let verify = |max_rounds, password: &str| {
        let stored = hash(&secret(password), "SHA512-CRYPT", Some(1000), &settings).unwrap();
        let text = std::str::from_utf8(stored.expose()).unwrap().to_owned();
        verify_with(&Settings { max_rounds, ..Settings::default() }, &[&text], password)
    };
    assert_eq!((verify(1000, &long), verify(1000, &longer)), (Ok(true), Ok(false)));
    assert_eq!(verify(5000, &longer), Ok(true), "the limit allows the work");
}

#[test]
fn too_much_work_for_several_passwords_is_a_fault() {
    let costly = format!("$2y$14${}", ".".repeat(53));
    let rows = vec![&*costly; 6];
    let fault = verify_with(&Settings::default(), &rows, "x").unwrap_err();
    assert!(fault.0.contains("6 passwords"), "{}", fault.0);
}

#[test]
fn the_memory_of_yescrypt_and_scrypt_is_what_their_parameters_say() {
    for (stored, kib) in [
        ("$y$j9T$saltsalt$M8B9s7Va8RYZhmIp6UymHdZUGBExDfYb1/xqutXpI52", 16_384),
        ("$y$j75$saltsalt$eHvR8ZJlkqwddxvgbSk4st9/WrHXzzsxEXH53c/g9n5", 1024),
        ("$7$CU..../....saltsalt$zJ8oNJwp8XuKtKj/XE3hdiy3qpprJZxdtFvHNtoHA89", 65_536),
    ] {
        let with = |max_argon2_memory| {
            let settings = Settings { max_argon2_memory, ..Settings::default() };
            verify_with(&settings, &[stored], "correct horse battery")
        };
        assert_eq!(with(kib), Ok(true), "{stored}");
        assert!(with(kib - 1).is_err(), "{stored}");
    }
}

#[test]
fn weak_schemes_are_accepted_unless_the_settings_refuse_them() {
    let strict = Settings { allow_weak_schemes: false, ..Settings::default() };
    for stored in TEST {
        if stored.ends_with('.') {
            continue;
        }
        let (_, weak) = describe(&secret(stored), &Settings::default()).unwrap().unwrap();
        let clear = stored.starts_with("{PLAIN}")
            || stored.starts_with("{PLAIN.")
            || stored.starts_with("{PLAIN-TRUNC}");
        let verdict = verify_with(&strict, &[stored], "test");
        if weak && !clear {
            assert!(verdict.unwrap_err().0.contains("allow_weak_schemes"), "{stored}");
        } else {
            assert_eq!(verdict, Ok(true), "{stored}");
        }
    }
    for (stored, scheme, weak) in [
        ("$1$saltsalt$qjXMvbEw8oaL.CzflDtaK/", "MD5-CRYPT", true),
        ("//EsnG9FLTKjo", "DES-CRYPT", true),
        ("{MD5}098f6bcd4621d373cade4e832627b4f6", "MD5", true),
        (ARGON2, "ARGON2ID", false),
        (SHA512, "SHA512-CRYPT", false),
        ("{PLAIN}x", "PLAIN", true),
    ] {
        assert_eq!(describe(&secret(stored), &Settings::default()), Ok(Some((scheme, weak))));
    }
    assert_eq!(describe(&secret("!"), &strict), Ok(None));
}

#[test]
fn a_fault_contains_no_part_of_a_password_in_clear() {
    let fault = verify("{NO-SUCH}x", "test").unwrap_err();
    assert!(fault.0.contains("{NO-SUCH}"), "{}", fault.0);
    let fault = verify("{hunter2}x", "test").unwrap_err();
    assert!(!fault.0.contains("hunter2"), "{}", fault.0);
    let clear = Settings { default_scheme: String::from("plain"), ..Settings::default() };
    let fault = verify_with(&clear, &["{pass}word"], "test").unwrap_err();
    assert!(!fault.0.contains("pass}"), "{}", fault.0);
}

#[test]
fn any_of_several_passwords_matches_even_if_another_one_is_broken() {
    let settings = Settings::default();
    let stored = ["{NO-SUCH}x", BCRYPT, "{PLAIN}other"];
    assert_eq!(verify_with(&settings, &stored, "test"), Ok(true));
    assert_eq!(verify_with(&settings, &stored, "other"), Ok(true));
    let wrong = verify_with(&settings, &stored, "wrong");
    assert!(wrong.is_err(), "the broken one might have matched");
    assert_eq!(verify_with(&settings, &[], "test"), Ok(false));
}

#[test]
fn a_same_cost_dummy_takes_the_same_work_and_contains_no_hash() {
    let settings = Settings::default();
    for stored in TEST.iter().chain(&[
        SHA512,
        SHA512_ROUNDS,
        "$5$saltsaltsalt$9ZURjmMOadyQOcorTsuSvXoPv7wEQSJbPU3LXY8gsN6",
        "$1$saltsalt$qjXMvbEw8oaL.CzflDtaK/",
        "$y$j9T$saltsalt$M8B9s7Va8RYZhmIp6UymHdZUGBExDfYb1/xqutXpI52",
        "$7$CU..../....saltsalt$zJ8oNJwp8XuKtKj/XE3hdiy3qpprJZxdtFvHNtoHA89",
        "$sha1$20000$saltsalt$4jhtAp5L1lh.177c2eeZnTkYanpJ",
        "$md5,rounds=1000$saltsalt$$pDxmNyAF/f7vP0CFDeHyK0",
        "_J9..rasmHJqxwvNJG6s",
        "$pbkdf2-sha512$29000$c2FsdHNhbHQ$AAAAAAAAAAAAAAABBBBBBBBB",
        "pbkdf2_sha256$29000$salt$AAAAAAAAAAAAAAAAABBBBBBBBBA=",
        "$bcrypt-sha256$v=2,t=2b,r=5$5Hg1DKFqPE8C2aflZ5vVoe$wOK1VFFtS8IGTrGa7.h5fs0u84qyPbS",
    ]) {
        let Ok(Content::Password(_, read)) = Content::read(&secret(stored), &settings) else {
            continue;
        };
        let Some(same_cost_dummy) = read.same_cost_dummy() else {
            assert_eq!(read.work(), 0, "{stored}");
            continue;
        };
        let Ok(Content::Password(_, again)) = Content::read(&secret(&same_cost_dummy), &settings)
        else {
            panic!("{stored}: {same_cost_dummy}");
        };
        assert_eq!(again.work(), read.work(), "{stored}: {same_cost_dummy}");
        assert!(read.work() > 0, "{stored}");
        let candidate = Candidate { password: &secret("x"), login: "" };
        assert_eq!(again.matches(candidate), Ok(false), "{same_cost_dummy}");
        let end: String = stored.chars().rev().take(9).collect();
        let end: String = end.chars().rev().collect();
        assert!(!same_cost_dummy.contains(&end), "{stored}: {same_cost_dummy}");
    }
}

#[test]
fn a_new_hash_is_accepted() {
    let settings = Settings::default();
    for (scheme, cost, start) in [
        ("ARGON2ID", None, "{ARGON2ID}$argon2id$v=19$m=19456,t=2,p=1$"),
        ("blf-crypt", Some(4), "{BLF-CRYPT}$2y$04$"),
        ("SHA512-CRYPT", Some(1000), "{SHA512-CRYPT}$6$rounds=1000$"),
        ("SHA256-CRYPT", Some(2000), "{SHA256-CRYPT}$5$rounds=2000$"),
        ("PBKDF2", Some(1000), "{PBKDF2}$1$"),
        ("SCRAM-SHA-1", Some(4096), "{SCRAM-SHA-1}4096,"),
        ("SCRAM-SHA-256", Some(4096), "{SCRAM-SHA-256}4096,"),
        ("CRAM-MD5", None, "{CRAM-MD5}"),
        ("PLAIN", None, "{PLAIN}new"),
    ] {
        let make = || hash(&secret("new"), scheme, cost, &settings).unwrap();
        let stored = make();
        let text = std::str::from_utf8(stored.expose()).unwrap();
        assert!(text.starts_with(start), "{text}");
        assert_eq!(verify(text, "new"), Ok(true), "{text}");
        assert_eq!(verify(text, "new "), Ok(false), "{text}");
        let unsalted = ["CRAM-MD5", "PLAIN"].contains(&scheme);
        assert_eq!(make().expose() == stored.expose(), unsalted, "{scheme} has a salt");
    }
    for (scheme, cost) in [
        ("ROT13", None),
        ("BLF-CRYPT", Some(3)),
        ("BLF-CRYPT", Some(31)),
        ("SHA512-CRYPT", Some(999)),
        ("SHA512-CRYPT", Some(3_000_000)),
        ("SCRAM-SHA-1", Some(4095)),
        ("ARGON2ID", Some(0)),
        ("PLAIN", Some(1)),
    ] {
        assert!(hash(&secret("new"), scheme, cost, &settings).is_err(), "{scheme} {cost:?}");
    }
}
