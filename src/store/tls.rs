//! What to do about a server that TLS, or the lack of it, keeps from taking us in.

use std::fs::File;

use super::refusal::message;
use crate::config::DatabaseUrl;

/// What a denied login may lack: the server does not say that its user must use TLS, or show a certificate.
pub(super) fn maybe_missing(host: &DatabaseUrl) -> &'static str {
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

/// What to do about an error that no server has sent.
pub(super) fn remedy(e: &mysql::Error, host: &DatabaseUrl) -> String {
    if host.tls().is_none() {
        return String::new();
    }
    if let Some(unreadable) = unreadable_file(host) {
        return unreadable;
    }
    let what = message(e);
    // The words of rustls: its errors are wrapped in those of two other crates.
    if what.contains("UnknownIssuer") || what.contains("CaUsedAsEndEntity") {
        return ": root_cert_path must name the authority that signed the server's certificate, and no other is trusted"
            .to_owned();
    }
    if what.contains("not valid for name") || what.contains("NotValidForName") {
        return ": have a certificate for the host's name in database.url; for MySQL's own, which has no name, see \
                database.url in docs/reference.md"
            .to_owned();
    }
    String::new()
}

/// The driver does not say which file it could not read.
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
        Some(format!(": {name} {}: {e}: Exim's user must be able to read it", path.display()))
    })
}
