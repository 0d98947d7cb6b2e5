//! The version of the Exim that has loaded the plugin. The types of Exim's exports depend on it.
//!
//! The names of the exports do not tell the version: Debian's 4.100.1 exports the same names as
//! 4.99, with other types.
#![forbid(unsafe_code)]

/// The last 4.x that has `log_write(selector, flags, format, ...)` and a `BOOL` of four bytes.
const LAST_UP_TO_4_99: u32 = 99;
/// The first 4.x that declares all functions with the types that the plugin uses.
const FIRST_KNOWN: u32 = 90;
/// The only 4.x so far that has `log_write(flags, format, ...)` and a `BOOL` of one byte.
const FROM_4_100: u32 = 100;
/// The most characters of an answer in the log. Exim's own answers are shorter.
const MAX_SHOWN: usize = 40;

/// The versions of Exim, by the types of its functions.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HostVersion {
    /// 4.90 to 4.99.
    UpTo4_99,
    /// 4.100.
    From4_100,
    /// Another version, with its answer if it gave one.
    Unknown(Option<String>),
}

impl HostVersion {
    /// Reads the answer to `$version_number`. Numbers are compared as integers: 4.100 comes after
    /// 4.99.
    pub(super) fn read(answer: Option<&[u8]>) -> Self {
        match answer.and_then(minor) {
            Some(FIRST_KNOWN..=LAST_UP_TO_4_99) => Self::UpTo4_99,
            Some(FROM_4_100) => Self::From4_100,
            // A version whose types have not been checked, or a modified build.
            Some(_) | None => Self::Unknown(answer.map(shown)),
        }
    }
}

/// The second number of a release, `4.N` or `4.N.P`; `None` for anything else. Release candidates
/// and snapshots have longer names, and may have other types.
fn minor(version: &[u8]) -> Option<u32> {
    let mut parts = version.split(|byte| *byte == b'.');
    let (major, minor, patch) = (parts.next()?, parts.next()?, parts.next());
    if parts.next().is_some() || number(major)? != 4 {
        return None;
    }
    if let Some(patch) = patch {
        number(patch)?;
    }
    number(minor)
}

/// Digits without a sign, a space or a leading zero.
fn number(digits: &[u8]) -> Option<u32> {
    let has_leading_zero = digits.len() > 1 && digits.starts_with(b"0");
    if has_leading_zero || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn shown(answer: &[u8]) -> String {
    String::from_utf8_lossy(answer).chars().take(MAX_SHOWN).collect()
}

#[cfg(test)]
mod tests;
