//! The example configurations for administrators. Only paths and ports are changed.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use super::Site;
use super::exim::free_port;
use super::exim::users::give_to_exim;

/// The URL of the embedded database in the examples.
pub const EMBEDDED: &str = "sqlite:/var/lib/authpolicy/authpolicy.db";

pub fn example(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("exim-config-examples").join(name);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Replaces texts, each of which must occur.
pub fn with(text: &str, changes: &[(&str, &str)]) -> String {
    changes.iter().fold(text.to_owned(), |text, (old, new)| {
        assert!(text.contains(old), "{old} does not occur in the text");
        text.replace(old, new)
    })
}

/// Gives macros in an Exim configuration other values.
pub fn define(text: &str, macros: &[(&str, &str)]) -> String {
    let lines = text.lines().map(|line| {
        let name = line.split('=').next().unwrap_or_default().trim();
        match macros.iter().find(|(known, _)| *known == name && line.contains(" = ")) {
            Some((name, value)) => format!("{name} = {value}"),
            None => line.to_owned(),
        }
    });
    lines.collect::<Vec<_>>().join("\n") + "\n"
}

/// Makes a self-signed certificate; returns the paths of the certificate and its key.
pub fn certificate(site: &Site) -> (PathBuf, PathBuf) {
    let (certificate, key) = (site.path("exim.crt"), site.path("exim.key"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=mx.example.com"])
        .args(["-days", "2", "-out"])
        .arg(&certificate)
        .arg("-keyout")
        .arg(&key)
        .output()
        .expect("openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    give_to_exim(&certificate);
    give_to_exim(&key);
    (certificate, key)
}

/// Writes a complete configuration with this site's ports and paths; returns the ports for STARTTLS
/// and for TLS from the start.
pub fn complete(site: &Site, name: &str, more: &[(&str, &str)]) -> (u16, u16) {
    let (certificate, key) = certificate(site);
    let (starttls, tls) = (free_port(), free_port());
    let text = define(
        &example(name),
        &[
            ("AUTHPOLICY_SO", &site.path("authpolicy.so").display().to_string()),
            ("AUTHPOLICY_TOML", &site.path("authpolicy.toml").display().to_string()),
            ("CERTIFICATE", &certificate.display().to_string()),
            ("PRIVATE_KEY", &key.display().to_string()),
            ("LISTEN_ON", "127.0.0.1"),
            ("SMTP_PORTS", &format!("{starttls} : {tls}")),
            ("TLS_ONLY_PORTS", &tls.to_string()),
            ("SPOOL_DIRECTORY", &site.path("spool").display().to_string()),
            ("LOG_DIRECTORY", &site.path("log").display().to_string()),
        ],
    );
    site.write("exim.conf", &define(&text, more));
    (starttls, tls)
}
