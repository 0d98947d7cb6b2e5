//! Statements: what becomes the text of one, and its named parameters, found without understanding
//! the rest of it.

use std::borrow::Cow;

/// The text of a statement. Nothing that was sent, stored or typed becomes part of one: it is what
/// stands in this program, or in the configuration. Everything else is bound to a parameter.
pub struct Sql<'a>(Cow<'a, str>);

impl<'a> Sql<'a> {
    /// The administrator's own, as it stands in the configuration: `grep configured` is the audit.
    #[must_use]
    pub fn configured(text: &'a str) -> Self {
        Self(Cow::Borrowed(text))
    }

    /// One of ours, in pieces.
    ///
    /// ```compile_fail
    /// let user = String::from("' OR '1'='1");
    /// authpolicy::store::Sql::of(&["SELECT password FROM account WHERE username = '", &user, "'"]);
    /// ```
    #[must_use]
    pub fn of(pieces: &[&'static str]) -> Self {
        Self(Cow::Owned(pieces.concat()))
    }

    /// For the database.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl From<&'static str> for Sql<'_> {
    fn from(text: &'static str) -> Self {
        Self(Cow::Borrowed(text))
    }
}

/// The names after a `:` outside of quotes and comments, in order, repeated as they stand.
#[must_use]
pub(crate) fn parameters(sql: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut rest = sql;
    while let Some(start) = rest.find([':', '\'', '"', '`', '-', '#', '/']) {
        let tail = rest.get(start..).unwrap_or_default();
        rest = match tail.as_bytes() {
            [b':', b':' | b'=', ..] => skip(tail, 2),
            [b':', ..] => {
                let after = skip(tail, 1);
                let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                let name = after.get(..end.unwrap_or(after.len())).unwrap_or_default();
                if !name.is_empty() {
                    names.push(name);
                }
                skip(after, name.len())
            }
            [quote @ (b'\'' | b'"' | b'`'), ..] => past(skip(tail, 1), char::from(*quote)),
            [b'-', b'-', ..] | [b'#', ..] => past(tail, '\n'),
            [b'/', b'*', ..] => {
                let inside = skip(tail, 2);
                inside.find("*/").map_or("", |end| skip(inside, end.saturating_add(2)))
            }
            _ => skip(tail, 1),
        };
    }
    names
}

fn skip(text: &str, bytes: usize) -> &str {
    text.get(bytes..).unwrap_or_default()
}

fn past(text: &str, end: char) -> &str {
    text.split_once(end).map_or("", |(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use super::parameters;

    #[test]
    fn parameters_stand_outside_of_quotes_and_comments() {
        for (sql, want) in [
            ("SELECT p FROM a WHERE u = :user AND d=:domain", vec!["user", "domain"]),
            ("SELECT ':no', \":no\", `:no` -- :no\n, :yes", vec!["yes"]),
            ("SELECT 1 /* :no */ + :yes # :no", vec!["yes"]),
            ("SELECT 'it''s :no' = :yes", vec!["yes"]),
            ("SET @a := 1, b = c::text, :a - :a / 2", vec!["a", "a"]),
            ("SELECT 'unclosed :no", vec![]),
        ] {
            assert_eq!(parameters(sql), want, "{sql}");
        }
    }
}
