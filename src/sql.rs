//! SQL statements: their text, and the names of their parameters.

use std::borrow::Cow;

/// The text of a statement. It comes from this program or from the configuration. Anything that a
/// client sent, a table holds or somebody typed is the value of a parameter. It is bound, or in a
/// statement of this program written as a literal that cannot end early (`store/statement`).
pub struct Sql<'a>(Cow<'a, str>);

impl<'a> Sql<'a> {
    /// A statement of the configuration. To audit its uses, search for `configured`.
    #[must_use]
    pub fn configured(text: &'a str) -> Self {
        Self(Cow::Borrowed(text))
    }

    /// A statement of this program, in pieces. A text of another origin does not compile:
    ///
    /// ```compile_fail
    /// let user = String::from("' OR '1'='1");
    /// authpolicy::store::Sql::of(&["SELECT password FROM account WHERE username = '", &user, "'"]);
    /// ```
    #[must_use]
    pub fn of(pieces: &[&'static str]) -> Self {
        Self(Cow::Owned(pieces.concat()))
    }

    /// The text for the database.
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

/// A part of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// Text, which may contain quotes and comments.
    Text(&'a str),
    /// The name of a parameter, without the colon.
    Parameter(&'a str),
}

/// The names of parameters, in their order and with repetitions.
#[must_use]
pub(crate) fn parameters(sql: &str) -> Vec<&str> {
    let name = |piece| match piece {
        Piece::Parameter(name) => Some(name),
        Piece::Text(_) => None,
    };
    pieces(sql).into_iter().filter_map(name).collect()
}

/// Cuts a statement at its parameters: each name after a `:` outside of quotes and comments.
#[must_use]
pub(crate) fn pieces(sql: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let (mut text, mut rest) = (sql, sql);
    while let Some(start) = rest.find([':', '\'', '"', '`', '-', '#', '/']) {
        let tail = rest.get(start..).unwrap_or_default();
        rest = match tail.as_bytes() {
            [b':', b':' | b'=', ..] => skip(tail, 2),
            [b':', ..] => {
                let start = skip(tail, 1);
                let end = start.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                let name = start.get(..end.unwrap_or(start.len())).unwrap_or_default();
                let behind = skip(start, name.len());
                if !name.is_empty() {
                    let before = text.len().saturating_sub(tail.len());
                    pieces.push(Piece::Text(text.get(..before).unwrap_or_default()));
                    pieces.push(Piece::Parameter(name));
                    text = behind;
                }
                behind
            }
            [quote @ (b'\'' | b'"' | b'`'), ..] => after(skip(tail, 1), char::from(*quote)),
            [b'-', b'-', ..] | [b'#', ..] => after(tail, '\n'),
            [b'/', b'*', ..] => {
                let inside = skip(tail, 2);
                inside.find("*/").map_or("", |end| skip(inside, end.saturating_add(2)))
            }
            _ => skip(tail, 1),
        };
    }
    pieces.push(Piece::Text(text));
    pieces
}

fn skip(text: &str, bytes: usize) -> &str {
    text.get(bytes..).unwrap_or_default()
}

fn after(text: &str, end: char) -> &str {
    text.split_once(end).map_or("", |(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use super::Piece;
    use super::parameters;
    use super::pieces;

    #[test]
    fn parameters_are_outside_of_quotes_and_comments() {
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

    #[test]
    fn pieces_together_are_the_statement() {
        for sql in
            ["", ":a", "SELECT ':b' = :c, :d", "a :: :e -- :f\n+ :g:h", "'\u{e9}' :\u{e9} :i"]
        {
            let text = |piece| match piece {
                Piece::Text(text) => text.to_owned(),
                Piece::Parameter(name) => format!(":{name}"),
            };
            assert_eq!(pieces(sql).into_iter().map(text).collect::<String>(), sql);
        }
    }
}
