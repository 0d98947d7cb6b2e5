//! Statements of this program that are sent together, with their parameters as literals.

use super::Parameters;
use super::Sql;
use super::Value;
use crate::sql::Piece;
use crate::sql::pieces;

/// A statement of this program with its parameters, for [`Store::run_all`](super::Store::run_all).
///
/// A statement of the configuration does not compile here, because it does not live as long as the
/// program. It is always prepared, and its parameters are bound:
///
/// ```compile_fail
/// let config = authpolicy::config::Config::parse(std::path::Path::new("/f"), "").unwrap();
/// let sql = authpolicy::store::Sql::configured(&config.log.insert);
/// authpolicy::store::Statement::new(sql, &[]);
/// ```
pub struct Statement<'p> {
    sql: Sql<'static>,
    parameters: &'p Parameters,
}

impl<'p> Statement<'p> {
    /// One statement, without `;`. Quotes in it must contain no backslash.
    #[must_use]
    pub fn new(sql: impl Into<Sql<'static>>, parameters: &'p Parameters) -> Self {
        Self { sql: sql.into(), parameters }
    }

    /// The text, with the names of the parameters.
    pub(super) fn sql(&self) -> &str {
        self.sql.text()
    }

    /// The parameters, which may be more than the text names.
    pub(super) fn parameters(&self) -> &'p Parameters {
        self.parameters
    }

    /// The text with its parameters as literals of MariaDB and MySQL.
    ///
    /// # Errors
    /// The name of a parameter that has no value.
    pub fn with_literals(&self) -> Result<String, &str> {
        let mut text = String::new();
        for piece in pieces(self.sql.text()) {
            match piece {
                Piece::Text(piece) => text.push_str(piece),
                Piece::Parameter(name) => {
                    let value = self.parameters.iter().find(|(known, _)| *known == name);
                    push_literal(&mut text, value.map(|(_, value)| value).ok_or(name)?);
                }
            }
        }
        Ok(text)
    }
}

/// Appends a literal.
///
/// Whatever a value contains, the server reads one literal, and nothing after it:
///
/// - A number is digits, in brackets if it is negative, because two minus signs begin a comment.
/// - A text is an introducer and hexadecimal digits in single quotes: `_utf8mb4 X'626F62'`. So no
///   byte of the value reaches the server's parser, which would read it by the session's character
///   set and by modes such as `NO_BACKSLASH_ESCAPES` and `ANSI_QUOTES`. Neither concerns a literal
///   of this form: its quotes are always single ones, and it knows no escapes.
///
/// It compares as the bound parameter does. A bare `X'626F62'` would be binary, and compare bytes.
/// The introducer makes it a text in utf8mb4, the character set of the connection and so of its
/// bound parameters. Both have the weakest collation, so that a column's collation decides, and the
/// server converts both to the column's character set. Only a comparison of two parameters with
/// each other may differ: in a bound one the collation of the connection decides, and here the
/// default collation of utf8mb4.
pub(super) fn push_literal(text: &mut String, value: &Value) {
    match value {
        Value::Null => text.push_str("NULL"),
        Value::Int(number) if *number < 0 => {
            text.push('(');
            text.push_str(&number.to_string());
            text.push(')');
        }
        Value::Int(number) => text.push_str(&number.to_string()),
        Value::Text(value) => {
            text.push_str("_utf8mb4 X'");
            text.push_str(&base16ct::upper::encode_string(value.expose()));
            text.push('\'');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn written(sql: &'static str, parameters: &Parameters) -> String {
        Statement::new(sql, parameters).with_literals().unwrap()
    }

    #[test]
    fn parameters_become_literals() {
        let parameters = [
            ("name", Value::text("bob")),
            ("empty", Value::text("")),
            ("old", Value::Int(-5)),
            ("new", Value::Int(7)),
            ("least", Value::Int(i64::MIN)),
            ("none", Value::Null),
            ("unused", Value::text("unused")),
        ];
        for (sql, want) in [
            ("SELECT :name, ':name'", "SELECT _utf8mb4 X'626F62', ':name'"),
            ("a=:empty", "a=_utf8mb4 X''"),
            ("1-:old LIMIT :new", "1-(-5) LIMIT 7"),
            ("(:least,:none)", "((-9223372036854775808),NULL)"),
            ("DO 0", "DO 0"),
        ] {
            assert_eq!(written(sql, &parameters), want);
        }
    }

    #[test]
    fn a_parameter_without_a_value_is_an_error() {
        let parameters = [("name", Value::Null)];
        assert_eq!(Statement::new("SELECT :name, :nam", &parameters).with_literals(), Err("nam"));
    }

    #[test]
    fn no_byte_of_a_text_gets_into_the_statement() {
        let hostile = "'\"`\\;:name -- /* */ # \0\n\r\u{1a} \u{e9}\u{ff07}\u{20ac}";
        let all: Vec<u8> = (0..=u8::MAX).collect();
        // These end in a part of a character of utf8mb4, and in one of multi-byte character sets
        // whose last byte can be a backslash or a quote.
        let texts = [hostile.as_bytes(), &all, b"\xbf\x27 OR 1=1", b"\x95\x5c'", b"\xf0\x9f"];
        for text in texts {
            let parameters = [("name", Value::Text(Secret::new(text.to_vec())))];
            let sql = written("SELECT :name AS name", &parameters);
            let inside = sql.strip_prefix("SELECT _utf8mb4 X'").unwrap();
            let hex = inside.strip_suffix("' AS name").unwrap();
            assert!(hex.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b)), "{hex}");
            assert_eq!(base16ct::upper::decode_vec(hex).unwrap(), text);
        }
    }
}
