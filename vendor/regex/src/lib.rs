//! The parts of the `regex` crate that `mysql_common` uses, implemented with `regex-lite`.
//!
//! `mysql_common` reads the server's version with two regular expressions. The `regex` crate needs
//! 1 ms to compile them, in each SMTP connection, because each is a new process.

/// Regular expressions on bytes.
pub mod bytes {
    use std::str;

    /// A pattern.
    #[derive(Debug, Clone)]
    pub struct Regex(regex_lite::Regex);

    impl Regex {
        /// Compiles a pattern.
        ///
        /// # Errors
        /// The pattern is invalid.
        pub fn new(pattern: &str) -> Result<Self, regex_lite::Error> {
            regex_lite::Regex::new(pattern).map(Self)
        }

        /// True if the pattern matches. Text that is not UTF-8 never matches.
        #[must_use]
        pub fn is_match(&self, text: &[u8]) -> bool {
            str::from_utf8(text).is_ok_and(|text| self.0.is_match(text))
        }

        /// The groups of the first match, if there is one.
        #[must_use]
        pub fn captures<'t>(&self, text: &'t [u8]) -> Option<Captures<'t>> {
            str::from_utf8(text).ok().and_then(|text| self.0.captures(text)).map(Captures)
        }
    }

    /// The groups of a match.
    #[derive(Debug)]
    pub struct Captures<'t>(regex_lite::Captures<'t>);

    impl<'t> Captures<'t> {
        /// A group by number.
        #[must_use]
        pub fn get(&self, group: usize) -> Option<Match<'t>> {
            self.0.get(group).map(Match)
        }

        /// A group by name.
        #[must_use]
        pub fn name(&self, group: &str) -> Option<Match<'t>> {
            self.0.name(group).map(Match)
        }
    }

    /// A group.
    #[derive(Debug, Clone, Copy)]
    pub struct Match<'t>(regex_lite::Match<'t>);

    impl<'t> Match<'t> {
        /// The bytes of the group.
        #[must_use]
        pub fn as_bytes(&self) -> &'t [u8] {
            self.0.as_str().as_bytes()
        }
    }
}
