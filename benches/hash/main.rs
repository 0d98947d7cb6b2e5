//! Compares checks of stored passwords by the library with those by the host's libcrypt.
//!
//! `cargo bench --bench hash` times both in turn, scheme by scheme, and prints medians side by
//! side; docs/performance.md has results. It needs libxcrypt, which Debian has.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::print_stdout,
    reason = "test code that reports"
)]

mod libcrypt;
#[path = "../auth/quantile.rs"]
mod quantile;

use std::ffi::CStr;
use std::ffi::CString;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use authpolicy::password;
use authpolicy::password::Candidate;
use authpolicy::password::Dummy;
use authpolicy::password::Settings;
use authpolicy::secret::Secret;
use libcrypt::Libcrypt;
use quantile::quantile;

const PASSWORD: &CStr = c"test";
/// The highest ratio of the library's time to libcrypt's.
const MAX_RATIO: f64 = 1.05;
/// The duration of a sample: one call, or as many as take this long. So the time for reading the
/// clock does not count.
const SAMPLE: Duration = Duration::from_millis(1);
/// The time for measuring each side of a scheme, and the lowest number of samples.
const MEASURED: Duration = Duration::from_millis(800);
const MIN_SAMPLES: usize = 31;

/// The schemes that both have, with settings for crypt(3).
const BOTH: &[(&str, &str)] = &[
    ("bcrypt, cost 4", "$2y$04$saltsaltsaltsaltsaltsu"),
    ("bcrypt, cost 10", "$2y$10$saltsaltsaltsaltsaltsu"),
    ("MD5-crypt ($1$)", "$1$saltsalt$"),
    ("SHA-256-crypt ($5$)", "$5$saltsaltsaltsalt$"),
    ("SHA-512-crypt ($6$)", "$6$saltsaltsaltsalt$"),
    ("yescrypt ($y$j9T)", "$y$j9T$saltsaltsaltsalt$"),
    ("scrypt ($7$, 64 MiB)", "$7$CU..../....saltsalt$"),
    ("SHA-1-crypt, 20000 rounds", "$sha1$20000$saltsalt$"),
    ("SunMD5", "$md5$saltsalt$"),
    ("DES", "sa"),
    ("BSDi DES, 725 rounds", "_J9..salt"),
];

/// Schemes that libcrypt lacks, with hashes of the same password by other programs.
const LIBRARY_ONLY: &[(&str, &str)] = &[
    (
        "Argon2id, Dovecot's default",
        "$argon2id$v=19$m=65536,t=3,p=1$vBb99oJ12p3WAdYlaMHz1A$jtFOtbo/sYV9OSlTxDo/nVNq3uArHd5GJSEx0ty85Cc",
    ),
    (
        "PBKDF2, 5000 rounds",
        "{PBKDF2}$1$bUnT4Pl7yFtYX0KU$5000$50a83cafdc517b9f46519415e53c6a858908680a",
    ),
    (
        "passlib's pbkdf2-sha256, 29000",
        "$pbkdf2-sha256$29000$c2FsdHNhbHRzYWx0c2FsdA$iVMIJK3QohyPJ2acWKcX0pzT6qWZpagf5M6YuvJrucM",
    ),
    (
        "SSHA512",
        "{SSHA512}bIOOk04/7vrmz6U68RN11JVPhcb17YiMAs14BqcWltHLRJ8r546ebqMBqVyB8orYdm865YL5vqrDPH3Ct7qRh3NhbHQ=",
    ),
    ("CRAM-MD5", "{CRAM-MD5}e02d374fde0dc75a17a557039a3a5338c7743304777dccd376f332bee68d2cf6"),
];

/// The library, with a dummy that is never hashed.
struct Library {
    settings: Settings,
    dummy: Dummy,
    password: Secret,
}

impl Library {
    fn new() -> Self {
        let settings = Settings::default();
        let dummy = Dummy::load(Path::new("/nonexistent"), Some(""), &settings);
        Self { settings, dummy, password: Secret::new(PASSWORD.to_bytes().to_vec()) }
    }

    fn verify(&self, stored: &[Secret]) -> bool {
        let candidate = Candidate { password: &self.password, login: "testuser1" };
        password::verify_any(stored, &self.settings, candidate, &self.dummy) == Ok(true)
    }
}

fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("measures only under `cargo bench`");
        return;
    }
    let (library, mut libcrypt) = (Library::new(), Libcrypt::new());
    println!("\nverification in microseconds, medians\n");
    println!("{:32}{:>12}{:>12}{:>8}", "", "authpolicy", "libxcrypt", "ratio");
    let ratios: Vec<_> = BOTH
        .iter()
        .map(|(name, setting)| {
            let stored = libcrypt.make(PASSWORD, setting);
            let [ours, theirs] = compare(&library, &mut libcrypt, &stored);
            println!("{name:32}{ours:>12.2}{theirs:>12.2}{:>8.3}", ours / theirs);
            (*name, ours / theirs)
        })
        .collect();
    for (name, stored) in made(&library)
        .iter()
        .map(|(name, made)| (*name, &**made))
        .chain(LIBRARY_ONLY.iter().map(|(name, stored)| (*name, stored.as_bytes())))
    {
        let stored = [Secret::new(stored.to_vec())];
        let mut times = measure([&mut || library.verify(&stored)]);
        println!("{name:32}{:>12.2}", quantile(&mut times[0], 50));
    }
    compare_with_targets(&ratios);
}

/// Hashes by `authpolicy hash`: with its default scheme, and with Dovecot's number of iterations.
fn made(library: &Library) -> [(&'static str, Vec<u8>); 2] {
    let make = |scheme, cost| {
        let made = password::hash(&library.password, scheme, cost, &library.settings);
        made.unwrap().expose().to_vec()
    };
    [
        ("Argon2id, our default", make(password::DEFAULT_SCHEME, None)),
        ("SCRAM-SHA-256, 4096 iterations", make("SCRAM-SHA-256", Some(4096))),
    ]
}

/// The median times of both.
fn compare(library: &Library, libcrypt: &mut Libcrypt, stored: &CString) -> [f64; 2] {
    let secrets = [Secret::new(stored.as_bytes().to_vec())];
    let times =
        measure([&mut || library.verify(&secrets), &mut || libcrypt.verify(PASSWORD, stored)]);
    times.map(|mut times| quantile(&mut times, 50))
}

/// The times of single calls in microseconds. The sides take turns, and each is first in turn.
fn measure<const SIDES: usize>(mut sides: [&mut dyn FnMut() -> bool; SIDES]) -> [Vec<f64>; SIDES] {
    let once = sides.each_mut().map(|side| sample(side, 1)).into_iter().max().unwrap_or_default();
    let calls = (SAMPLE.as_nanos() / once.as_nanos().max(1)).max(1) as u32;
    let rounds = (MEASURED.as_nanos() / (once * calls).as_nanos().max(1)) as usize;
    let mut times = [const { Vec::new() }; SIDES];
    for round in 0..rounds.max(MIN_SAMPLES) {
        for turn in 0..SIDES {
            let side = (round + turn) % SIDES;
            let taken = sample(&mut sides[side], calls).as_secs_f64();
            times[side].push(taken * 1e6 / f64::from(calls));
        }
    }
    times
}

fn sample(side: &mut &mut dyn FnMut() -> bool, calls: u32) -> Duration {
    let start = Instant::now();
    for _ in 0..calls {
        assert!(side(), "the right password does not match");
    }
    start.elapsed()
}

/// Prints whether each ratio meets the target. A miss is not an error, because machines differ.
fn compare_with_targets(ratios: &[(&str, f64)]) {
    println!();
    for (name, ratio) in ratios {
        let verdict = if *ratio <= MAX_RATIO { "pass" } else { "MISS" };
        println!("{verdict}  {name}: {ratio:.2} of libxcrypt's time, target: at most {MAX_RATIO}");
    }
}
