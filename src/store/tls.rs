//! Advice for connections that fail because of TLS or its absence.

use std::fs::File;
use std::io::ErrorKind;

use crate::config::DatabaseUrl;

/// Advice for a denied login. The server does not say that the user must use TLS or show a
/// certificate.
pub(super) fn denied_login_hint(host: &DatabaseUrl) -> &'static str {
    match host.tls() {
        None if host.options().get_socket().is_some() => "",
        None => {
            "; if this user must use TLS (REQUIRE SSL or X509), add ?root_cert_path=FILE to \
             database.url"
        }
        Some(tls) if tls.client_identity().is_none() => {
            "; if this user must show a certificate (REQUIRE X509), add cert_chain_path=FILE and \
             priv_key_path=FILE to database.url"
        }
        Some(_) => "",
    }
}

/// Advice for an error with this message that does not come from the server.
pub(super) fn remedy(message: &str, host: &DatabaseUrl) -> String {
    if host.tls().is_none() {
        return String::new();
    }
    if let Some(unreadable) = unreadable_file(host) {
        return unreadable;
    }
    // The text is compared, because two other crates wrap the errors of rustls.
    if message.contains("UnknownIssuer") || message.contains("CaUsedAsEndEntity") {
        return ": root_cert_path must name the authority that signed the server's certificate, and no other is trusted"
            .to_owned();
    }
    if message.contains("BadEncoding") {
        return ": the server's certificate or root_cert_path is not a certificate in PEM"
            .to_owned();
    }
    if message.contains("UnsupportedCertVersion") {
        return ": the server needs a certificate of X.509 version 3".to_owned();
    }
    if message.contains("not valid for name") || message.contains("NotValidForName") {
        return ": give the server a certificate for the host in database.url. For MySQL's own certificate, which names \
                no host, see \"TLS to the database\" in docs/reference.md"
            .to_owned();
    }
    String::new()
}

/// Finds the file that cannot be read, because the driver does not name it.
fn unreadable_file(host: &DatabaseUrl) -> Option<String> {
    let tls = host.tls()?;
    let identity = tls.client_identity();
    let files = [
        ("root_cert_path", tls.root_cert_path()),
        ("cert_chain_path", identity.map(|identity| identity.cert_chain_path())),
        ("priv_key_path", identity.map(|identity| identity.priv_key_path())),
    ];
    files.into_iter().find_map(|(name, path)| {
        let path = path?;
        let e = File::open(path).err()?;
        let remedy = match e.kind() == ErrorKind::NotFound {
            true => "correct the path",
            false => "Exim's user must be able to read it",
        };
        Some(format!(": {name} {}: {e}: {remedy}", path.display()))
    })
}
