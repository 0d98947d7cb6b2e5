//! After a call, the plugin leaves no copy of the password in memory.
//!
//! Exim keeps its own copies, in `$auth3` and in the line from the client. So the caller here is a
//! small program (tests/host/host.c): it wipes its own copy, and then searches all of its memory,
//! including the stack of the call.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test code"
)]

mod common;

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use common::Base;
use common::Site;
use common::exim::users;
use common::site::GB;

/// Long, so that the allocator's own data does not overwrite all of it after a free. Short enough for
/// the first block of every hash function, and for the bytes that bcrypt uses.
const CANARY: &str = "Tz9+canary-Wq7!xBv3kLm#pR5nYc8-Hd2sGf6jKx4Zt1Qw0";

/// With this limit, every function that gets a password also counts it.
const POLICY: &str = "[policy]\nfailure_time = \"0s\"\nhash_nonce = \"nonce\"\n[[policy.limit]]\n\
                      name = \"guesses\"\nper = \"remote\"\ncount = \"passwords\"\nmax = 1000\n\
                      within = \"10m\"\n";

fn host() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let host = Path::new(env!("CARGO_TARGET_TMPDIR")).join("host");
        let built = Command::new("cc")
            .args([
                "-O2",
                "-Wall",
                "-Wextra",
                "-Werror",
                "tests/host/host.c",
                "-ldl",
                "-lpthread",
                "-o",
            ])
            .arg(&host)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .expect("cc");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        host
    })
}

fn site(base: Base) -> Site {
    let site = Site::new(base, POLICY);
    // Exim's user must be able to run it.
    std::fs::copy(host(), site.path("host")).unwrap();
    site.account("u@example.com", "secret");
    site
}

/// The answer of `check`, and the places where the password is found afterwards.
fn check(site: &Site, authcid: &str, password: &str) -> (String, Vec<String>) {
    let hidden: String = password.bytes().map(|byte| format!("{:02x}", byte ^ 0x5a)).collect();
    let (uid, gid) = users::exim();
    let output = Command::new("setpriv")
        .args(["--reuid", &uid, "--regid", &gid, "--clear-groups"])
        .arg(site.path("host"))
        .arg(site.path("authpolicy.so"))
        .args(["check", "1", authcid, &hidden, GB])
        .arg(format!("config={}", site.path("authpolicy.toml").display()))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    let mut lines = text.lines().map(str::to_owned);
    (lines.next().unwrap(), lines.collect())
}

const YES: &str = "code=0 answer=yes";
const NO: &str = "code=0 answer=no";
const CANNOT_TELL: &str = "code=2 answer=authpolicy cannot tell, see its line above";

fn store(site: &Site, stored: &str) {
    site.sql(&format!("UPDATE account SET password = '{stored}' WHERE username = 'u@example.com'"));
}

#[test]
fn the_search_finds_a_password_that_stays_in_memory() {
    let site = site(Base::Sqlite);
    assert_eq!(check(&site, "u@example.com", "secret").0, YES);
    // An administrator's mistake: the password is passed as the name, which the plugin keeps.
    let (_, found) = check(&site, CANARY, CANARY);
    assert!(!found.is_empty(), "the plugin keeps the name");
}

/// Accepted and refused passwords, with every scheme, on both databases.
#[test]
fn a_checked_password_does_not_stay_in_memory() {
    for base in Base::all() {
        let site = site(base);
        for scheme in [
            "BLF-CRYPT",
            "SHA512-CRYPT",
            "SHA256-CRYPT",
            "ARGON2ID",
            "PBKDF2",
            "SCRAM-SHA-256",
            "SCRAM-SHA-1",
        ] {
            let cost = match scheme {
                "BLF-CRYPT" => "4",
                "ARGON2ID" => "1",
                _ => "5000",
            };
            let name = format!("{}@example.com", scheme.to_lowercase());
            site.tool(&["user", "add", &name, "--scheme", scheme, "--cost", cost], CANARY);
            assert_eq!(check(&site, &name, CANARY), (YES.to_owned(), vec![]), "{scheme}");
        }
        let wrong = (NO.to_owned(), vec![]);
        assert_eq!(check(&site, "nobody@example.com", CANARY), wrong);
        let seeds = include_str!("../fuzz/seeds/stored.list");
        let seeds = seeds.lines().filter_map(|line| line.split_once(' '));
        let every = if matches!(site.base, Base::Sqlite) { 1 } else { 8 };
        let mut hashed = 0;
        for (_, stored) in seeds.step_by(every) {
            store(&site, stored);
            let (answer, found) = check(&site, "u@example.com", CANARY);
            assert_eq!(found, [""; 0], "{stored}");
            hashed += usize::from(answer == NO);
        }
        // The others are malformed, or have an unknown scheme.
        assert!(hashed * every > 60, "{hashed}");
    }
}

#[test]
fn an_unchecked_password_does_not_stay_in_memory() {
    for base in Base::all() {
        let site = site(base);
        assert_eq!(check(&site, "u@example.com", "secret").0, YES);
        let cannot_tell = (CANNOT_TELL.to_owned(), vec![]);
        store(&site, "{NO-SUCH}x");
        assert_eq!(check(&site, "u@example.com", CANARY), cannot_tell);
        site.sql("DROP TABLE connection_log");
        let row_waits = (NO.to_owned(), vec![]);
        assert_eq!(check(&site, "nobody@example.com", CANARY), row_waits);
        let good = site.read("authpolicy.toml");
        let away =
            good.replace("authpolicy.db", "no-such.db").replace("/sock\"", "/no-such-sock\"");
        for bad in [away.as_str(), "nonsense", ""] {
            site.write_config(bad);
            assert_eq!(check(&site, "u@example.com", CANARY), cannot_tell);
        }
    }
}
