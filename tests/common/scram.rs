//! SCRAM with expansions by a real Exim, and with a real client, libgsasl's. Debian's Exim is built
//! without the driver. So the server's side of the exchange (RFC 5802) is here. It expands the
//! options in the order of Exim 4.99.

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
use digest::Digest;
use digest::KeyInit;
use hmac::Mac;
use sha1::Sha1;
use sha2::Sha256;

use super::Base;
use super::Site;
use super::driver;
use super::example::example;
use super::exim::users;
use super::gsasl::Gsasl;

/// An Exim process that expands the options of the example one after the other, as the process of a
/// connection does.
pub struct Connection {
    exim: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    options: Vec<(String, String)>,
}

impl Connection {
    pub fn open(site: &Site, mechanism: &str) -> Self {
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

    /// The expansion of an option, or `None` if it fails.
    pub fn expand(&mut self, option: &str, authcid: &str, remote: &str) -> Option<String> {
        let (_, text) = self.options.iter().find(|(name, _)| name == option).unwrap();
        let text = text.replace("$auth1", authcid).replace("$sender_host_address", remote);
        // Exim prints its prompt without a newline, so the result is enclosed in marks.
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

/// The options of an authenticator in the example, with the macros replaced by their values.
pub fn options(site: &Site, mechanism: &str) -> Vec<(String, String)> {
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

pub fn hmac<D: digest::common::BlockSizeUser + Digest>(key: &[u8], data: &str) -> Vec<u8>
where
    hmac::SimpleHmac<D>: Mac + KeyInit,
{
    let mut mac = <hmac::SimpleHmac<D> as KeyInit>::new_from_slice(key).unwrap();
    mac.update(data.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

pub fn sign(mechanism: &str, key: &[u8], data: &str) -> Vec<u8> {
    if mechanism == "SCRAM-SHA-1" { hmac::<Sha1>(key, data) } else { hmac::<Sha256>(key, data) }
}

pub fn hash(mechanism: &str, data: &[u8]) -> Vec<u8> {
    if mechanism == "SCRAM-SHA-1" {
        Sha1::digest(data).to_vec()
    } else {
        Sha256::digest(data).to_vec()
    }
}

pub fn bytes(text: &str) -> Vec<u8> {
    BASE64_STANDARD.decode(text).unwrap()
}

/// The result of an attempt for the client and Exim.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    Accepted,
    WrongProof,
    /// The proof was right, and `authorize` returned "no".
    Refused,
    /// The keys were empty, and `secret` failed.
    NoKeys,
}

/// Makes one attempt as the driver does.
pub fn attempt(site: &Site, mechanism: &str, remote: &str, authcid: &str, password: &str) -> End {
    let mut exim = Connection::open(site, mechanism);
    let mut client = Gsasl::start(mechanism, authcid, password);
    let first = client.message();
    let first_bare = first.strip_prefix("n,,").unwrap();
    let (name, nonce) = first_bare.strip_prefix("n=").unwrap().split_once(",r=").unwrap();
    assert_eq!(name, authcid);
    let iterations = exim.expand("server_scram_iter", authcid, remote).unwrap();
    let salt = exim.expand("server_scram_salt", authcid, remote).unwrap();
    let server_first = format!("r={nonce}server,s={salt},i={iterations}");
    client.send(&server_first);
    let last = client.message();
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
            client.send(&format!("v={}", BASE64_STANDARD.encode(signature)));
            assert!(client.finish(), "the client does not accept the server's signature");
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

pub fn site(base: Base) -> Site {
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

/// Adds keys to `[policy]`.
pub fn with_policy(site: &Site, policy: &str) {
    let config = site.read("authpolicy.toml");
    site.write_config(&config.replace("\n[state]", &format!("{policy}\n[state]")));
}
