//! Countries, and lists of them in a rule.

use std::fmt;

/// An ISO 3166-1 alpha-2 code.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Country([u8; 2]);

impl Country {
    /// Reads two letters of either case; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let code: [u8; 2] = text.as_bytes().try_into().ok()?;
        code.iter().all(u8::is_ascii_alphabetic).then(|| Self(code.map(|c| c.to_ascii_uppercase())))
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        std::str::from_utf8(&self.0).unwrap_or("").fmt(f)
    }
}

impl fmt::Debug for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A list of countries in a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Countries {
    /// `*`: any country, also an unknown one.
    Any,
    /// These countries.
    These(Vec<Country>),
}

impl Countries {
    /// True if the list contains the country; `None` if the country is unknown and the list is not
    /// `*`.
    pub(super) fn contain(&self, country: Option<Country>) -> Option<bool> {
        match (self, country) {
            (Self::Any, _) => Some(true),
            (Self::These(list), Some(country)) => Some(list.contains(&country)),
            (Self::These(_), None) => None,
        }
    }
}

/// Writes the list as in a configuration.
impl fmt::Display for Countries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::These(list) => {
                for (i, country) in list.iter().enumerate() {
                    write!(f, "{}{country}", if i == 0 { "" } else { "," })?;
                }
                Ok(())
            }
        }
    }
}
