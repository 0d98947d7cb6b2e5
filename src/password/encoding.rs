//! Encodings of binary data as text, read as strictly as Dovecot does.

use base64ct::Base64;
use base64ct::Base64Unpadded;
use base64ct::Encoding as _;
use zeroize::Zeroizing;

/// The encoding of the data after `{SCHEME}`. `{SCHEME.B64}` and `{SCHEME.HEX}` override it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// Text as it is.
    Text,
    /// Hexadecimal if the length fits this many bytes, else base64; 0 is any length.
    Bytes(usize),
}

impl Encoding {
    /// Decodes the data; `None` if it is not in this encoding.
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

/// Decodes base64 with its padding. Blanks around it are ignored.
pub(super) fn base64(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let text = std::str::from_utf8(text).ok()?.trim();
    Base64::decode_vec(text).ok().map(Zeroizing::new)
}

/// Decodes passlib's base64, which has no padding and `.` for `+`.
pub(super) fn adapted_base64(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    Base64Unpadded::decode_vec(&text.replace('.', "+")).ok().map(Zeroizing::new)
}

/// Decodes hexadecimal digits in either case.
pub(super) fn hex(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    base16ct::mixed::decode_vec(text).ok().map(Zeroizing::new)
}

/// True for a digit of crypt(3)'s base64: `./0-9A-Za-z`.
pub(super) const fn is_radix64(c: u8) -> bool {
    c.is_ascii_alphanumeric() || c == b'.' || c == b'/'
}

/// Replaces salt and hash, from `start` on, so that only the parameters are left.
pub(super) fn anonymous(text: &str, start: usize, filler: char) -> Option<String> {
    let (parameters, rest) = text.split_at_checked(start)?;
    let rest = rest.chars().map(|c| if c == '$' { c } else { filler });
    Some(parameters.chars().chain(rest).collect())
}
