//! A server's certificate.

use std::process::Command;

use super::Site;
use super::exim;

/// Makes a self-signed certificate for the server of this name; returns its path, and the server's
/// options for it.
pub fn certificate(site: &Site, name: &str) -> (String, Vec<String>) {
    let path = |kind: &str| site.path(&format!("{name}.{kind}")).display().to_string();
    let (certificate, key) = (path("crt"), path("key"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(["-nodes", "-days", "2", "-subj", &format!("/CN={name}")])
        .args(["-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-out", &certificate, "-keyout", &key])
        .output()
        .expect("openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    exim::users::give_to_exim(site.path(&format!("{name}.crt")).as_path());
    let arguments = vec![format!("--ssl-cert={certificate}"), format!("--ssl-key={key}")];
    (certificate, arguments)
}
