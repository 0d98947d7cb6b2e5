//! The identity of a configuration's content.

use sha2::Digest;
use sha2::Sha256;

/// SHA-256 of the text of a configuration. Two files with the same text have the same identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConfigId([u8; 32]);

impl ConfigId {
    /// The identity of this text.
    #[must_use]
    pub(super) fn of(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }

    /// The hash.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}
