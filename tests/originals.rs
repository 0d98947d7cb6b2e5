//! Stored passwords compared with the original implementations: the library must understand the
//! hashes of Dovecot, libxcrypt and passlib, and Dovecot must understand those of the library.
//!
//! Needs Debian's dovecot-core, perl, python3-passlib, python3-bcrypt and python3-argon2; nothing
//! is skipped. Passwords are random, and a failure prints them in hexadecimal.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    clippy::expect_used,
    reason = "test code"
)]

#[path = "common/tool.rs"]
#[allow(unreachable_pub, reason = "shared with tests of other kinds")]
mod tool;

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;

use authpolicy::password;
use authpolicy::password::Candidate;
use authpolicy::password::Dummy;
use authpolicy::password::Fault;
use authpolicy::password::Settings;
use authpolicy::secret::Secret;

/// DIGEST-MD5 includes it in its hash.
const LOGIN: &str = "user@realm";
/// libxcrypt refuses longer passwords.
const LIBXCRYPT_MAX_LENGTH: usize = 511;

fn hex(bytes: &[u8]) -> String {
    base16ct::lower::encode_string(bytes)
}

/// Random printable ASCII.
fn random(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    getrandom::fill(&mut bytes).unwrap();
    bytes.iter().map(|byte| b' ' + byte % 95).collect()
}

fn passwords() -> Vec<Vec<u8>> {
    let mut passwords: Vec<_> = [1, 8, 71, 72, 73, 128, 1000].map(random).to_vec();
    // Latin-1: such a run of bytes is not UTF-8.
    passwords.push(random(12).iter().map(|byte| byte | 0xc0).collect());
    passwords.push([random(5), "pässwörd-€-パス-🔑".into()].concat());
    passwords
}

/// Similar passwords: the first or the last byte changed, one byte more, one byte less.
fn near_misses(password: &[u8]) -> Vec<Vec<u8>> {
    let changed = |at: usize| {
        let mut changed = password.to_vec();
        changed[at] ^= 1;
        changed
    };
    let (last, shorter) = (password.len() - 1, &password[..password.len() - 1]);
    vec![changed(0), changed(last), [password, b"x"].concat(), shorter.to_vec()]
}

struct Library {
    settings: Settings,
    dummy: Dummy,
}

impl Library {
    fn new() -> Self {
        let settings = Settings::default();
        // Cheap, because it is hashed often. With this setting, no directory is read.
        let cheap = format!("$2y$04${}", ".".repeat(53));
        let dummy = Dummy::load("/nonexistent".as_ref(), Some(&cheap), &settings);
        Self { settings, dummy }
    }

    fn verify(&self, stored: &[u8], password: &[u8]) -> Result<bool, Fault> {
        let password = Secret::new(password.to_vec());
        let candidate = Candidate { password: &password, login: LOGIN };
        password::verify_any(
            &[Secret::new(stored.to_vec())],
            &self.settings,
            candidate,
            &self.dummy,
        )
    }

    /// Checks that the library decides as the original does. But an empty password never matches.
    fn assert_agrees(&self, stored: &[u8], password: &[u8], original: bool) {
        let want = Ok(original && !password.is_empty());
        let text = String::from_utf8_lossy(stored);
        assert_eq!(self.verify(stored, password), want, "{text}, password {}", hex(password));
    }

    /// Checks that only this password matches, for formats that use all of its bytes.
    fn assert_only_match(&self, stored: &[u8], password: &[u8]) {
        self.assert_agrees(stored, password, true);
        for other in near_misses(password).into_iter().chain([Vec::new()]) {
            self.assert_agrees(stored, &other, false);
        }
    }

    fn hash(&self, password: &[u8], scheme: &str, cost: Option<u32>) -> Result<Secret, Fault> {
        password::hash(&Secret::new(password.to_vec()), scheme, cost, &self.settings)
    }
}

fn doveadm(arguments: &[&[u8]]) -> Output {
    let mut command = Command::new("doveadm");
    command.args(["-O", "pw", "-u", LOGIN]).stdin(Stdio::null());
    command.args(arguments.iter().map(|argument| OsStr::from_bytes(argument)));
    command.output().expect("doveadm: install dovecot-core")
}

/// A new hash with its label, or `None` if doveadm refuses.
fn dovecot_hash(scheme: &str, password: &[u8]) -> Option<Vec<u8>> {
    let family = scheme.split('.').next().unwrap();
    let rounds = match family {
        "BLF-CRYPT" | "CRYPT" => Some("4"),
        "SHA256-CRYPT" | "SHA512-CRYPT" | "PBKDF2" => Some("1000"),
        _ => None,
    };
    let mut arguments: Vec<&[u8]> = vec![b"-s", scheme.as_bytes()];
    if let Some(rounds) = rounds {
        arguments.extend([&b"-r"[..], rounds.as_bytes()]);
    }
    // doveadm leaves the length to its caller. For passwords of even length it is right here, so
    // that longer passwords match, too.
    let cut = format!("{}-", password.len() + password.len() % 2);
    let prefix = if family == "PLAIN-TRUNC" { cut.as_bytes() } else { b"" };
    let given = [prefix, password].concat();
    arguments.extend([&b"-p"[..], &given]);
    let output = doveadm(&arguments);
    let made = output.stdout.strip_suffix(b"\n").unwrap_or_default().to_vec();
    let label = format!("{{{}}}", scheme.to_uppercase());
    // crypt(3)'s refusal is `*0`, which doveadm encodes and prints as if it were a hash.
    let refusals = ["*0", "2a30", "KjA="].map(|refusal| format!("{label}{refusal}").into_bytes());
    let refused = !output.status.success() || refusals.contains(&made);
    assert!(refused || made.starts_with(label.as_bytes()), "{scheme}: {output:?}");
    (!refused).then_some(made)
}

fn dovecot_verifies(stored: &[u8], password: &[u8]) -> bool {
    let output = doveadm(&[b"-t", stored, b"-p", password]);
    let verified = output.stdout.ends_with(b"(verified)\n");
    assert_eq!(output.status.success(), verified, "{output:?}");
    verified
}

/// True if Dovecot computes the scheme with crypt(3).
fn is_libxcrypt(scheme: &str) -> bool {
    ["SHA256-CRYPT", "SHA512-CRYPT", "DES-CRYPT"].contains(&scheme.split('.').next().unwrap())
}

/// The schemes of Dovecot that the library does not support.
const UNSUPPORTED: &[&str] = &["OTP"];

const ENCODED: &[&str] = &[
    "PLAIN.hex",
    "PLAIN.b64",
    "SHA.hex",
    "SHA256.b64",
    "SSHA.hex",
    "SSHA256.hex",
    "SSHA512.base64",
    "SMD5.hex",
    "LDAP-MD5.hex",
    "PLAIN-MD4.b64",
    "PLAIN-MD5.base64",
    "MD5.hex",
    "MD5-CRYPT.b64",
    "DES-CRYPT.hex",
    "BLF-CRYPT.b64",
    "CRYPT.hex",
    "SHA512-CRYPT.b64",
    "CRAM-MD5.b64",
    "DIGEST-MD5.base64",
    "SCRAM-SHA-1.hex",
    "PBKDF2.b64",
];

fn compare_with_dovecot(library: &Library, scheme: &str) {
    let mut passwords = passwords();
    if scheme.starts_with("ARGON2") {
        // Each takes a tenth of a second.
        passwords.drain(1..passwords.len() - 1);
    } else if scheme.contains('.') {
        // Without the encoding, the hashes are those of schemes that are tested already.
        passwords.drain(1..5);
    }
    for password in &passwords {
        let Some(stored) = dovecot_hash(scheme, password) else {
            assert!(is_libxcrypt(scheme) && password.len() > LIBXCRYPT_MAX_LENGTH, "{scheme}");
            continue;
        };
        assert!(dovecot_verifies(&stored, password), "{scheme}: {}", hex(password));
        library.assert_agrees(&stored, password, true);
        library.assert_agrees(&stored, b"", false);
        for (index, other) in near_misses(password).iter().enumerate() {
            // Every scheme uses the first byte.
            let is_first = index == 0;
            let original = !is_first && !other.is_empty() && dovecot_verifies(&stored, other);
            library.assert_agrees(&stored, other, original);
        }
    }
    let empty = dovecot_hash(scheme, b"").unwrap();
    for password in [&b""[..], b"x"] {
        assert_ne!(library.verify(&empty, password), Ok(true), "{scheme} of the empty password");
    }
}

#[test]
fn dovecots_hashes_are_checked_as_dovecot_checks_them() {
    let library = Library::new();
    let list = Command::new("doveadm").args(["-O", "pw", "-l"]).output();
    let list = String::from_utf8(list.expect("doveadm: install dovecot-core").stdout).unwrap();
    let schemes: Vec<_> = list.split_whitespace().collect();
    assert!(schemes.len() >= 30, "{list}");
    assert!(UNSUPPORTED.iter().all(|scheme| schemes.contains(scheme)), "{list}");
    for scheme in schemes.iter().chain(ENCODED) {
        if UNSUPPORTED.contains(scheme) {
            let stored = dovecot_hash(scheme, b"test").unwrap();
            assert!(library.verify(&stored, b"test").is_err(), "{scheme}");
        } else {
            compare_with_dovecot(&library, scheme);
        }
    }
}

/// The schemes for new hashes, each with a low cost.
const COSTS: &[(&str, Option<u32>)] = &[
    ("ARGON2ID", Some(1)),
    ("BLF-CRYPT", Some(4)),
    ("SHA512-CRYPT", Some(1000)),
    ("SHA256-CRYPT", Some(1000)),
    ("PBKDF2", Some(1000)),
    ("SCRAM-SHA-256", Some(4096)),
    ("SCRAM-SHA-1", Some(4096)),
    ("CRAM-MD5", None),
    ("PLAIN", None),
];

/// Checks that Dovecot and the library match the same passwords.
fn assert_dovecot_agrees(library: &Library, scheme: &str, stored: &[u8], password: &[u8]) {
    let checks = |password: &[u8]| dovecot_verifies(stored, password);
    let can_check = !is_libxcrypt(scheme) || password.len() <= LIBXCRYPT_MAX_LENGTH;
    let text = String::from_utf8_lossy(stored);
    assert_eq!(checks(password), can_check, "{text}, password {}", hex(password));
    library.assert_agrees(stored, password, true);
    for other in near_misses(password).iter().filter(|other| !other.is_empty()) {
        let is_cut =
            scheme == "BLF-CRYPT" && other.get(..72).is_some_and(|o| password.starts_with(o));
        assert_eq!(checks(other), is_cut, "{text}, password {}", hex(other));
        library.assert_agrees(stored, other, is_cut);
    }
}

#[test]
fn dovecot_understands_hashes_of_the_library() {
    let library = Library::new();
    let names: Vec<_> = COSTS.iter().map(|(name, _)| *name).collect();
    let all: Vec<_> = password::NEW_SCHEMES.iter().map(|(name, ..)| *name).collect();
    assert_eq!(names, all);
    for &(scheme, cost) in COSTS {
        for password in passwords() {
            match library.hash(&password, scheme, cost) {
                Ok(stored) => assert_dovecot_agrees(&library, scheme, stored.expose(), &password),
                Err(fault) => {
                    let is_text = std::str::from_utf8(&password).is_ok();
                    assert!(scheme == "PLAIN" && !is_text, "{scheme}: {fault:?}");
                }
            }
        }
    }
}

/// Runs a process that answers each line of input with one line, and returns its answers.
fn lines(mut command: Command, input: &[String]) -> Vec<String> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("install perl, and Debian's python3");
    let mut pipe = child.stdin.take().unwrap();
    let text: String = input.iter().map(|line| format!("{line}\n")).collect();
    // The process answers after it has read everything, so that neither blocks the other.
    pipe.write_all(text.as_bytes()).unwrap();
    drop(pipe);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{command:?}");
    let answers: Vec<_> =
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(answers.len(), input.len(), "{command:?}");
    answers
}

#[test]
fn dovecot_understands_hashes_of_the_tool() {
    let library = Library::new();
    for (scheme, cost) in COSTS {
        let mut command = Command::new(tool::tool());
        command.args(["--config", "/nonexistent", "hash", "--scheme", scheme]);
        if let Some(cost) = cost {
            command.args(["--cost", &cost.to_string()]);
        }
        let password = format!("{}pässwörd", String::from_utf8(random(20)).unwrap());
        let stored = lines(command, std::slice::from_ref(&password)).remove(0);
        assert_dovecot_agrees(&library, scheme, stored.as_bytes(), password.as_bytes());
    }
}

/// crypt(3) of each password and setting; `None` if it refuses.
fn crypt(inputs: &[(Vec<u8>, String)]) -> Vec<Option<String>> {
    const SCRIPT: &str = r#"
        my @lines = <STDIN>;
        for (@lines) {
            my ($password, $setting) = map { pack("H*", $_) } /^([0-9a-f]*) ([0-9a-f]*)$/;
            my $made = crypt($password, $setting);
            print defined $made ? $made : "*0", "\n";
        }"#;
    let input: Vec<_> = inputs
        .iter()
        .map(|(p, setting)| format!("{} {}", hex(p), hex(setting.as_bytes())))
        .collect();
    let mut command = Command::new("perl");
    command.args(["-e", SCRIPT]);
    let made = lines(command, &input).into_iter();
    made.map(|made| Some(made).filter(|made| !made.starts_with('*'))).collect()
}

#[rustfmt::skip]
const SETTINGS: &[&str] = &[
    "$1$saltsalt", "$1$s", "$1$", "$1$-=+,sal", "$1$longer-than-eight",
    "$2a$04$abcdefghijklmnopqrstuu", "$2b$04$./ABCDEFGHIJKLMNOPQRSz",
    "$2x$04$abcdefghijklmnopqrstuu", "$2y$05$......................",
    "$5$saltsalt", "$5$", "$5$-=,+#%", "$5$saltsaltsaltsaltsalt", "$5$rounds=1000$", "$5$rounds=1001$a-b=c",
    "$6$saltsalt", "$6$", "$6$-=,+#%", "$6$saltsaltsaltsaltsalt", "$6$rounds=1000$", "$6$rounds=1001$a-b=c",
    "$5$rounds=5000$salt", "$6$rounds=5000$salt",
    "$7$46..../....saltsalt", "$7$46....0....salt",
    "$y$j75$saltsalt", "$y$j75$", "$gy$j75$saltsalt",
    "$sha1$40$saltsalt", "$sha1$41$s",
    "$md5$saltsalt", "$md5$saltsalt$", "$md5$saltsalt$$", "$md5,rounds=10$saltsalt$", "$md5,rounds=10$othersal$$",
    "$3$", "_/...salt", "_5/..././", "ab", "./", "zZ",
];

#[test]
fn a_password_matches_a_crypt_hash_exactly_if_crypt_returns_that_hash() {
    let library = Library::new();
    let inputs: Vec<_> = passwords()
        .iter()
        .flat_map(|password| SETTINGS.iter().map(|&s| (password.clone(), s.to_owned())))
        .collect();
    let made = crypt(&inputs);
    let mut again = Vec::new();
    for ((password, setting), made) in inputs.iter().zip(made) {
        let Some(made) = made else {
            assert!(password.len() > LIBXCRYPT_MAX_LENGTH, "{setting}, password {}", hex(password));
            continue;
        };
        let others = near_misses(password).into_iter().chain([password.clone(), Vec::new()]);
        again.extend(others.map(|other| (other, made.clone())));
    }
    assert_eq!(again.len(), (passwords().len() - 1) * SETTINGS.len() * 6);
    for ((password, stored), made) in again.iter().zip(crypt(&again)) {
        library.assert_agrees(stored.as_bytes(), password, made.as_ref() == Some(stored));
    }
}

#[test]
fn hashes_of_passlib_are_accepted() {
    const SCRIPT: &str = r#"
import sys
from passlib import hash as h
makers = [
    h.bcrypt_sha256.using(rounds=4, version=2), h.bcrypt_sha256.using(rounds=4, version=1),
    h.pbkdf2_sha1.using(rounds=9), h.pbkdf2_sha256.using(rounds=9), h.pbkdf2_sha512.using(rounds=9),
    h.pbkdf2_sha256.using(rounds=9, salt_size=0), h.django_pbkdf2_sha256.using(rounds=9),
    h.sha512_crypt.using(rounds=1000), h.sha256_crypt.using(rounds=1000), h.md5_crypt,
    h.sha512_crypt.using(rounds=5000), h.sha256_crypt.using(rounds=5000),
] + [h.argon2.using(type=t, time_cost=2, memory_cost=64, parallelism=p) for t in ["I", "D", "ID"] for p in [1, 2]]
for line in sys.stdin.read().splitlines():
    password = bytes.fromhex(line)
    print(*[maker.hash(password) for maker in makers])
"#;
    const MAKERS: usize = 18;
    let library = Library::new();
    let passwords = passwords();
    let input: Vec<_> = passwords.iter().map(|password| hex(password)).collect();
    // Debian's own Python, for which Debian's packages are installed.
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", SCRIPT]);
    for (password, made) in passwords.iter().zip(lines(command, &input)) {
        let made: Vec<_> = made.split(' ').collect();
        assert_eq!(made.len(), MAKERS, "{made:?}");
        for stored in made {
            library.assert_only_match(stored.as_bytes(), password);
        }
    }
}
