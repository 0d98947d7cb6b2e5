//! An empty list of certificate authorities, in place of the public ones in the crate
//! `webpki-roots`.
//!
//! `mysql` trusts this list in addition to `root_cert_path`. With public authorities in it, anyone
//! with a certificate for the name of the database's host could impersonate the database.

use rustls_pki_types::TrustAnchor;

/// The authorities that are trusted with any URL: none.
pub const TLS_SERVER_ROOTS: &[TrustAnchor<'static>] = &[];
