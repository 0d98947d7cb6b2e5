//! Values of columns, as SQL literals and as text.

use std::net::Ipv4Addr;
use std::net::Ipv6Addr;

use arbitrary::Arbitrary;

use crate::oracle::to_hex;

/// A value of a column.
#[derive(Arbitrary, Debug)]
pub(super) enum Cell {
    Null,
    Int(i64),
    /// A number of quarters, because decimal digits represent these exactly.
    Real(i16),
    Flag(bool),
    Text(Vec<u8>),
    Blob(Vec<u8>),
    Words(Vec<(Word, Separator)>),
}

/// A word that is valid in some column.
#[derive(Arbitrary, Debug)]
pub(super) enum Word {
    Country([char; 2]),
    Letters([u8; 2]),
    Any,
    Ipv4(Ipv4Addr, Option<u8>),
    Ipv6(Ipv6Addr, Option<u8>),
    Mapped(Ipv4Addr, Option<u8>),
    Yes,
    No,
    Other(String),
}

#[derive(Arbitrary, Debug)]
pub(super) enum Separator {
    Comma,
    Semicolon,
    Blank,
    Line,
    None,
}

impl Cell {
    /// The value as an SQL literal; texts begin with the mark.
    pub(super) fn literal(&self, mark: &str) -> String {
        match self {
            Self::Blob(_) => format!("x'{}'", to_hex(&self.bytes(mark))),
            Self::Text(_) | Self::Words(_) => {
                format!("CAST(x'{}' AS TEXT)", to_hex(&self.bytes(mark)))
            }
            Self::Null => "NULL".to_owned(),
            Self::Real(quarters) => format!("{:.2}", f64::from(*quarters) / 4.0),
            Self::Int(_) | Self::Flag(_) => self.text(mark),
        }
    }

    /// The value as text; NULL is empty.
    pub(super) fn text(&self, mark: &str) -> String {
        match self {
            Self::Null => String::new(),
            Self::Int(number) => number.to_string(),
            Self::Real(quarters) => (f64::from(*quarters) / 4.0).to_string(),
            Self::Flag(flag) => u8::from(*flag).to_string(),
            Self::Text(_) | Self::Blob(_) | Self::Words(_) => {
                String::from_utf8_lossy(&self.bytes(mark)).into_owned()
            }
        }
    }

    fn bytes(&self, mark: &str) -> Vec<u8> {
        let mut all = mark.as_bytes().to_vec();
        match self {
            Self::Text(bytes) | Self::Blob(bytes) => all.extend(bytes),
            Self::Words(words) => {
                for (word, separator) in words {
                    all.extend(word.text().bytes());
                    all.extend(separator.text().bytes());
                }
            }
            Self::Null | Self::Int(_) | Self::Real(_) | Self::Flag(_) => {}
        }
        all
    }
}

impl Word {
    fn text(&self) -> String {
        let slash = |length: &Option<u8>| length.map(|n| format!("/{n}")).unwrap_or_default();
        match self {
            Self::Country(letters) => letters.iter().collect(),
            Self::Letters(letters) => {
                let all = b"ABCDGIKUabcdgiku";
                letters.map(|n| char::from(all[usize::from(n) % all.len()])).iter().collect()
            }
            Self::Any => "*".to_owned(),
            Self::Ipv4(address, length) => format!("{address}{}", slash(length)),
            Self::Ipv6(address, length) => format!("{address}{}", slash(length)),
            Self::Mapped(address, length) => {
                format!("{}{}", address.to_ipv6_mapped(), slash(length))
            }
            Self::Yes => "Yes".to_owned(),
            Self::No => "off".to_owned(),
            Self::Other(text) => text.clone(),
        }
    }
}

impl Separator {
    fn text(&self) -> &'static str {
        match self {
            Self::Comma => ",",
            Self::Semicolon => "; ",
            Self::Blank => " ",
            Self::Line => "\r\n",
            Self::None => "",
        }
    }
}
