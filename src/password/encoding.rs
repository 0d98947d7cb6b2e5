//! Bytes as text, as strictly as Dovecot reads them.

use base64ct::Base64;
use base64ct::Base64Unpadded;
use base64ct::Encoding as _;
use zeroize::Zeroizing;

/// How the data after `{SCHEME}` is written, unless `{SCHEME.B64}` or `{SCHEME.HEX}` says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// As it is.
    Text,
    /// Hexadecimal if it has the length for this many bytes, else base64; 0 is any length.
    Bytes(usize),
}

impl Encoding {
    /// The bytes, or `None` where they are not written that way.
    pub(super) fn decode(self, suffix: Option<&str>, data: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let bytes = match (self, suffix) {
            (_, Some(suffix)) if suffix.eq_ignore_ascii_case("HEX") => hex(data),
            (_, Some(suffix))
                if suffix.eq_ignore_ascii_case("B64") || suffix.eq_ignore_ascii_case("BASE64") =>
            {
                base64(data)
            }
            (_, Some(_)) => None,
            (Self::Text, None) => Some(Zeroizing::new(data.to_vec())),
            (Self::Bytes(length), None) => Some(data)
                .filter(|data| length > 0 && data.len() == length.saturating_mul(2))
                .and_then(hex)
                .or_else(|| base64(data)),
        }?;
        match self {
            Self::Bytes(length) if length > 0 && bytes.len() != length => None,
            Self::Text | Self::Bytes(_) => Some(bytes),
        }
    }
}

/// With its padding; blanks around it are no part of it.
pub(super) fn base64(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let text = std::str::from_utf8(text).ok()?.trim();
    Base64::decode_vec(text).ok().map(Zeroizing::new)
}

/// Without padding, and with `.` for `+`, as passlib writes it.
pub(super) fn adapted_base64(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    Base64Unpadded::decode_vec(&text.replace('.', "+")).ok().map(Zeroizing::new)
}

/// In either case.
pub(super) fn hex(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    base16ct::mixed::decode_vec(text).ok().map(Zeroizing::new)
}

/// The same text with its salt and hash, from `start` on, replaced: what is left are the parameters.
pub(super) fn anonymous(text: &str, start: usize, filler: char) -> Option<String> {
    let (parameters, rest) = text.split_at_checked(start)?;
    let rest = rest.chars().map(|c| if c == '$' { c } else { filler });
    Some(parameters.chars().chain(rest).collect())
}
