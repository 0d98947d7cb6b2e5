//! No authority, in place of the public ones in the crate `webpki-roots`.
//!
//! `mysql` trusts this list beside `root_cert_path`. With the public authorities in it, anybody who has a certificate
//! for the name of the database's host could take its place.

use rustls_pki_types::TrustAnchor;

/// The authorities that are trusted whatever the URL says: none.
pub const TLS_SERVER_ROOTS: &[TrustAnchor<'static>] = &[];
