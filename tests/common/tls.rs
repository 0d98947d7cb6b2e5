//! Certificates of servers and clients.

use std::process::Command;

use super::Site;
use super::exim;

/// A private certificate authority, with a certificate for a server and one for a client.
pub struct Authority {
    /// The file of the authority's own certificate.
    pub root: String,
    /// The options of the database server for its certificate.
    pub server: Vec<String>,
    /// The parameters of a database URL for the client's certificate and key.
    pub client: String,
}

/// Makes an authority with this name, for a server at 127.0.0.1.
pub fn authority(site: &Site, name: &str) -> Authority {
    let path = |kind: &str| site.path(&format!("{name}-{kind}")).display().to_string();
    let make = |kind: &str, extensions: &str, more: &[&str]| {
        let (certificate, key) = (path(&format!("{kind}.crt")), path(&format!("{kind}.key")));
        let mut openssl = Command::new("openssl");
        openssl
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
            .args(["-nodes", "-days", "2", "-subj", &format!("/CN={name} {kind}")])
            .args(["-out", &certificate, "-keyout", &key])
            .args(more);
        for extension in extensions.split(' ') {
            openssl.args(["-addext", extension]);
        }
        let made = openssl.output().expect("openssl");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        exim::users::give_to_exim(certificate.as_ref());
        exim::users::give_to_exim(key.as_ref());
        (certificate, key)
    };
    let (root, root_key) = make("root", "basicConstraints=critical,CA:TRUE", &[]);
    let signed = ["-CA", &root, "-CAkey", &root_key];
    let leaf = "basicConstraints=critical,CA:FALSE";
    let (certificate, key) =
        make("server", &format!("{leaf} subjectAltName=IP:127.0.0.1"), &signed);
    let (client, client_key) =
        make("client", &format!("{leaf} extendedKeyUsage=clientAuth"), &signed);
    Authority {
        server: vec![
            format!("--ssl-ca={root}"),
            format!("--ssl-cert={certificate}"),
            format!("--ssl-key={key}"),
        ],
        root,
        client: format!("cert_chain_path={client}&priv_key_path={client_key}"),
    }
}

/// Makes a self-signed certificate with this name; returns its path, and the database server's
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
