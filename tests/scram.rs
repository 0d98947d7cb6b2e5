//! SCRAM: the values that gsasl's options get, expanded by a real Exim, and exchanges over them with
//! a real client, libgsasl's.
//!
//! Debian's Exim is built without the driver, so that the server's side of the exchange (RFC 5802)
//! stands here, and calls the options in the order in which Exim 4.99 does.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    reason = "test code"
)]

mod common;

use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::process::Child;
use std::process::ChildStdin;
use std::process::ChildStdout;
use std::process::Command;
use std::process::Stdio;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use common::Base;
use common::Site;
use common::driver;
use common::example::example;
use common::exim::users;
use common::gsasl::Gsasl;
use common::site::CN;
use common::site::GB;
use digest::Digest;
use digest::KeyInit;
use hmac::Mac;
use sha1::Sha1;
use sha2::Sha256;

const YES: Option<bool> = Some(true);
const NO: Option<bool> = Some(false);

/// One process of Exim's, which expands the options of the example one after the other, as that of
/// a connection does.
struct Connection {
    exim: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    options: Vec<(String, String)>,
}

impl Connection {
    fn open(site: &Site, mechanism: &str) -> Self {
        let log = site.path("log/%slog").display().to_string();
        let spool = site.path("spool").display().to_string();
        let config =
            format!("keep_environment =\nlog_file_path = {log}\nspool_directory = {spool}\n");
        site.write("be.conf", &config);
        let (uid, gid) = users::exim();
        let mut exim = Command::new("setpriv")
            .args(["--reuid", &uid, "--regid", &gid, "--clear-groups", "exim4", "-C"])
            .arg(site.path("be.conf"))
            .arg("-be")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdin = exim.stdin.take().unwrap();
        let stdout = BufReader::new(exim.stdout.take().unwrap());
        Self { exim, stdin, stdout, options: options(site, mechanism) }
    }

    /// What Exim gets for an option, or `None` where the expansion fails.
    fn expand(&mut self, option: &str, authcid: &str, remote: &str) -> Option<String> {
        let (_, text) = self.options.iter().find(|(name, _)| name == option).unwrap();
        let text = text.replace("$auth1", authcid).replace("$sender_host_address", remote);
        // The prompt comes without a newline: each answer gets marks of its own.
        writeln!(self.stdin, "<{text}>").unwrap();
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        let answer = line.trim_end().trim_start_matches("> ");
        if answer.starts_with("Failed") {
            return None;
        }
        Some(answer.strip_prefix('<').unwrap().strip_suffix('>').unwrap().to_owned())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let _ = self.exim.kill();
        let _ = self.exim.wait();
    }
}

/// The options of an authenticator of the example, with its macros put in.
fn options(site: &Site, mechanism: &str) -> Vec<(String, String)> {
    let text = example("gsasl/exim.conf");
    let (_, own) = text.split_once(&format!("  public_name = {mechanism}\n")).unwrap();
    let macros = text.lines().find_map(|line| line.strip_prefix("SCRAM_ARGUMENTS = ")).unwrap();
    let lines = own.lines().take_while(|line| line.starts_with("  "));
    let options = lines.map(|line| {
        let (name, value) = line.trim().split_once(" = ").unwrap();
        let value = value
            .replace("SCRAM_ARGUMENTS", macros)
            .replace("AUTHPOLICY_SO", site.path("authpolicy.so").to_str().unwrap())
            .replace("AUTHPOLICY_TOML", site.path("authpolicy.toml").to_str().unwrap());
        (name.to_owned(), value)
    });
    options.collect()
}

fn hmac<D: digest::common::BlockSizeUser + Digest>(key: &[u8], data: &str) -> Vec<u8>
where
    hmac::SimpleHmac<D>: Mac + KeyInit,
{
    let mut mac = <hmac::SimpleHmac<D> as KeyInit>::new_from_slice(key).unwrap();
    mac.update(data.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn sign(mechanism: &str, key: &[u8], data: &str) -> Vec<u8> {
    if mechanism == "SCRAM-SHA-1" { hmac::<Sha1>(key, data) } else { hmac::<Sha256>(key, data) }
}

fn hash(mechanism: &str, data: &[u8]) -> Vec<u8> {
    if mechanism == "SCRAM-SHA-1" {
        Sha1::digest(data).to_vec()
    } else {
        Sha256::digest(data).to_vec()
    }
}

fn bytes(text: &str) -> Vec<u8> {
    BASE64_STANDARD.decode(text).unwrap()
}

/// How an attempt ends, as the client and Exim see it.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Accepted,
    WrongProof,
    /// The proof was right, and `authorize` said no.
    Refused,
    /// No keys, and `secret` failed.
    NoKeys,
}

/// One attempt as the driver makes it.
fn attempt(site: &Site, mechanism: &str, remote: &str, authcid: &str, password: &str) -> End {
    let mut exim = Connection::open(site, mechanism);
    let mut client = Gsasl::start(mechanism, authcid, password);
    let first = client.says();
    let first_bare = first.strip_prefix("n,,").unwrap();
    let (name, nonce) = first_bare.strip_prefix("n=").unwrap().split_once(",r=").unwrap();
    assert_eq!(name, authcid);
    let iterations = exim.expand("server_scram_iter", authcid, remote).unwrap();
    let salt = exim.expand("server_scram_salt", authcid, remote).unwrap();
    let server_first = format!("r={nonce}server,s={salt},i={iterations}");
    client.hears(&server_first);
    let last = client.says();
    let (without_proof, proof) = last.split_once(",p=").unwrap();
    let server_key = exim.expand("server_key", authcid, remote).unwrap();
    let stored_key = exim.expand("server_skey", authcid, remote).unwrap();
    let end = if server_key.is_empty() {
        assert_eq!(exim.expand("server_password", authcid, remote), None);
        End::NoKeys
    } else {
        let message = format!("{first_bare},{server_first},{without_proof}");
        let signature = sign(mechanism, &bytes(&stored_key), &message);
        let client_key: Vec<u8> =
            bytes(proof).iter().zip(&signature).map(|(proof, byte)| proof ^ byte).collect();
        if hash(mechanism, &client_key) == bytes(&stored_key) {
            let signature = sign(mechanism, &bytes(&server_key), &message);
            client.hears(&format!("v={}", BASE64_STANDARD.encode(signature)));
            assert!(client.ends_well(), "the client knows the server by its key");
            match exim.expand("server_condition", authcid, remote).as_deref() {
                Some("yes") => End::Accepted,
                other => {
                    assert_eq!(other, Some("no"));
                    End::Refused
                }
            }
        } else {
            End::WrongProof
        }
    };
    assert_eq!(exim.expand("server_set_id", authcid, remote).as_deref(), Some(authcid));
    end
}

fn site(base: Base) -> Site {
    let site = driver::site(base, "gsasl");
    let cheap = site.read("authpolicy.toml").replace("= 100000", "= 4096");
    site.write_config(&cheap);
    for (name, scheme) in [
        ("u@example.com", "SCRAM-SHA-256"),
        ("off@example.com", "SCRAM-SHA-256"),
        ("one@example.com", "SCRAM-SHA-1"),
        ("clear@example.com", "PLAIN"),
    ] {
        let cost: &[&str] = if scheme == "PLAIN" { &[] } else { &["--cost", "4096"] };
        site.tool(&[&["user", "add", name, "--scheme", scheme], cost].concat(), "secret");
    }
    site.account("hash@example.com", "secret");
    site.tool(&["user", "disable", "off@example.com"], "");
    site
}

#[test]
fn a_real_client_is_convinced_and_each_attempt_is_one_row() {
    for base in Base::all() {
        let site = site(base);
        let (sha1, sha256) = ("SCRAM-SHA-1", "SCRAM-SHA-256");
        for (mechanism, remote, authcid, password, end, flags) in [
            (sha256, GB, "u@example.com", "secret", End::Accepted, (YES, NO)),
            (sha256, GB, "u@example.com", "wrong", End::WrongProof, (NO, NO)),
            (sha256, GB, "nobody@example.com", "secret", End::WrongProof, (NO, NO)),
            // What is refused has keys that no password leads to.
            (sha256, CN, "u@example.com", "secret", End::WrongProof, (None, YES)),
            (sha256, CN, "nobody@example.com", "secret", End::WrongProof, (None, YES)),
            (sha256, GB, "off@example.com", "secret", End::WrongProof, (None, YES)),
            (sha1, GB, "one@example.com", "secret", End::Accepted, (YES, NO)),
            (sha1, GB, "one@example.com", "wrong", End::WrongProof, (NO, NO)),
            (sha1, GB, "clear@example.com", "secret", End::Accepted, (YES, NO)),
            (sha256, GB, "clear@example.com", "secret", End::Accepted, (YES, NO)),
            // Keys of another mechanism, or only a hash: the administrator's omission.
            (sha1, GB, "u@example.com", "secret", End::WrongProof, (None, NO)),
            (sha256, GB, "hash@example.com", "secret", End::WrongProof, (None, NO)),
        ] {
            let before = site.rows().len();
            let got = attempt(&site, mechanism, remote, authcid, password);
            let name = format!("{mechanism} {remote} {authcid} {password}");
            assert_eq!(got, end, "{name}");
            let rows = site.rows();
            assert_eq!(rows.len(), before + 1, "{name}");
            let row = rows.last().unwrap();
            assert_eq!((row.auth_ok, row.policy_reject), flags, "{name}");
            let head = match flags {
                (YES, _) => "attempt status=204 reason=- rule=- auth_ok=1 policy_reject=0 ",
                (NO, _) if authcid.starts_with("nobody") => {
                    "attempt status=403 reason=account rule=- auth_ok=0 "
                }
                (NO, _) => "attempt status=403 reason=credentials rule=- auth_ok=0 ",
                (_, NO) => "attempt status=503 reason=internal rule=- auth_ok=- policy_reject=0 ",
                _ if authcid.starts_with("off") => "attempt status=403 reason=disabled ",
                _ => "attempt status=403 reason=policy rule=policy.allow_countries auth_ok=- ",
            };
            let lines = site.lines();
            let line = lines.last().unwrap_or_else(|| panic!("{name}: no line"));
            assert!(line.starts_with(head), "{name}: {line}");
            assert_eq!((&*row.username, &*row.remote_ip), (authcid, remote), "{name}");
        }
    }
}

#[test]
fn what_nobody_has_looks_the_same_each_time_and_like_what_accounts_have() {
    let site = site(Base::Sqlite);
    let seen = |authcid: &str, remote: &str| {
        let mut exim = Connection::open(&site, "SCRAM-SHA-256");
        let iterations = exim.expand("server_scram_iter", authcid, remote).unwrap();
        let salt = exim.expand("server_scram_salt", authcid, remote).unwrap();
        // A client that has seen enough.
        exim.expand("server_set_id", authcid, remote);
        (iterations, salt)
    };
    let account = seen("u@example.com", GB);
    assert_eq!(account, seen("u@example.com", GB));
    let row = site.rows().pop().unwrap();
    assert_eq!((row.auth_ok, row.policy_reject), (None, NO), "it gave up before its proof");
    let nobody = seen("nobody@example.com", GB);
    assert_eq!(nobody, seen("nobody@example.com", GB));
    assert_eq!(nobody, seen("nobody@example.com", CN));
    assert_ne!(nobody.1, seen("another@example.com", GB).1);
    assert_eq!((&nobody.0, nobody.1.len()), (&account.0, account.1.len()));
    let key = fs::metadata(site.path("state/decoy-key")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&key.permissions()) & 0o777, 0o600);
    assert_eq!(attempt(&site, "SCRAM-SHA-256", GB, "u@example.com", "secret"), End::Accepted);
}

#[test]
fn without_a_database_the_driver_is_told_that_nobody_can_tell() {
    for base in Base::all() {
        let site = site(base);
        let mechanism = "SCRAM-SHA-256";
        assert_eq!(attempt(&site, mechanism, GB, "u@example.com", "secret"), End::Accepted);
        let good = site.read("authpolicy.toml");
        site.write_config(&good.replace("authpolicy.db", "no-such.db").replace("/sock\"", "/no\""));
        assert_eq!(attempt(&site, mechanism, GB, "u@example.com", "secret"), End::NoKeys);
        // A password in clear is no way round a policy that cannot be asked.
        site.write_config(&good.replace("country.mmdb", "no-such.mmdb"));
        assert_eq!(attempt(&site, mechanism, GB, "clear@example.com", "secret"), End::NoKeys);
        let row = &site.rows()[1];
        assert_eq!((&*row.username, row.auth_ok), ("clear@example.com", None));
        site.write_config(&good);
        // With the one that had to wait for its table.
        assert_eq!(site.rows().len(), 3);
        assert_eq!(attempt(&site, mechanism, GB, "u@example.com", "secret"), End::Accepted);
    }
}

/// Adds this to `[policy]`.
fn with_policy(site: &Site, policy: &str) {
    let config = site.read("authpolicy.toml");
    site.write_config(&config.replace("\n[state]", &format!("{policy}\n[state]")));
}

/// The proof is confirmed before anybody can say that its country is new, so that nobody gets there.
#[test]
fn a_new_country_gets_no_proof_confirmed() {
    for base in Base::all() {
        let site = site(base);
        let config = site.read("authpolicy.toml").replace("allow_countries", "# ");
        site.write_config(&config);
        with_policy(&site, "new_country = \"reject\"\n");
        let mechanism = "SCRAM-SHA-256";
        assert_eq!(attempt(&site, mechanism, GB, "u@example.com", "secret"), End::Accepted);
        for password in ["secret", "wrong"] {
            assert_eq!(attempt(&site, mechanism, CN, "u@example.com", password), End::WrongProof);
            let row = site.rows().pop().unwrap();
            assert_eq!((row.auth_ok, row.policy_reject), (None, YES), "{password}");
        }
        assert_eq!(attempt(&site, mechanism, GB, "u@example.com", "secret"), End::Accepted);
    }
}

/// What a client takes to answer is not the databases' time.
#[test]
fn a_slow_client_is_decided_and_recorded() {
    let site = site(Base::Sqlite);
    let short = "connect_timeout = \"200ms\"\nattempt_timeout = \"500ms\"\n";
    let config =
        site.read("authpolicy.toml").replace("\n[accounts]", &format!("{short}\n[accounts]"));
    site.write_config(&config);
    assert_eq!(attempt(&site, "SCRAM-SHA-256", GB, "u@example.com", "secret"), End::Accepted);
    let mut exim = Connection::open(&site, "SCRAM-SHA-256");
    exim.expand("server_scram_salt", "u@example.com", GB).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(700));
    exim.expand("server_key", "u@example.com", GB).unwrap();
    let answer = exim.expand("server_condition", "u@example.com", GB);
    assert_eq!(answer.as_deref(), Some("yes"));
    assert_eq!(site.rows().len(), 2);
}

/// Keys that are stored take no work; those of a password in clear do.
#[test]
fn keys_of_a_password_in_clear_wait_for_a_slot() {
    let site = site(Base::Sqlite);
    let given = "attempt_timeout = \"2s\"\n\n[accounts]\nmax_parallel_hashes = 1\n";
    site.write_config(&site.read("authpolicy.toml").replace("\n[accounts]\n", given));
    let play = |name| attempt(&site, "SCRAM-SHA-256", GB, name, "secret");
    assert_eq!(play("clear@example.com"), End::Accepted);
    let held = authpolicy::slots::Slots::open(&site.path("state"), Some(1)).unwrap();
    assert!(held.take().unwrap());
    assert_eq!(play("u@example.com"), End::Accepted);
    assert_eq!(play("clear@example.com"), End::NoKeys);
    assert_eq!(site.rows()[2].auth_ok, None);
    assert!(site.main_log().contains("function=scram") && site.main_log().contains("hash-slots"));
}

/// Guesses with SCRAM are guesses, whatever is counted; one that nobody waits for is none, and
/// what the policy refuses is none.
#[test]
fn scram_is_under_limits() {
    let all = Base::all().into_iter().zip(["failures", "passwords"]);
    for (base, count) in all {
        let site = site(base);
        with_policy(
            &site,
            &format!(
                "hash_nonce = \"x\"\nknown_good = \"0s\"\n[[policy.limit]]\nname = \"guessing\"\n\
                 per = \"account\"\ncount = \"{count}\"\nmax = 2\nwithin = \"10m\"\n"
            ),
        );
        let mechanism = "SCRAM-SHA-256";
        let play = |password| attempt(&site, mechanism, GB, "u@example.com", password);
        assert_eq!(play("secret"), End::Accepted);
        for _ in 0..3 {
            let mut exim = Connection::open(&site, mechanism);
            exim.expand("server_scram_salt", "u@example.com", GB).unwrap();
            exim.expand("server_set_id", "u@example.com", GB);
        }
        for _ in 0..3 {
            // Refused, and gone without a word.
            let mut exim = Connection::open(&site, mechanism);
            exim.expand("server_scram_salt", "u@example.com", CN).unwrap();
        }
        assert_eq!(play("wrong"), End::WrongProof);
        assert_eq!(play("secret"), End::Accepted);
        assert_eq!(play("wrong"), End::WrongProof);
        assert_eq!(play("secret"), End::WrongProof, "no keys of the account beyond the limit");
        let row = site.rows().pop().unwrap();
        assert_eq!((row.auth_ok, row.policy_reject), (None, YES));
    }
}
