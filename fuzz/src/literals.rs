//! Any values as literals of a statement: the statement around them is unchanged, and each literal
//! is read back as its value.

use authpolicy::store::Statement;
use authpolicy::store::Value;
use libfuzzer_sys::arbitrary;
use libfuzzer_sys::arbitrary::Arbitrary;

use crate::secret;

/// The value of a parameter.
#[derive(Arbitrary, Debug)]
pub enum Datum<'a> {
    Null,
    Int(i64),
    Text(&'a [u8]),
}

/// A statement with four parameters, and with their names in a string and in a comment.
const SQL: &str = "SELECT ':a' = :a,:b -- :c\n WHERE x<>:c LIMIT :d";
/// The parts of the statement before each of its parameters.
const PARTS: [&str; 4] = ["SELECT ':a' = ", ",", " -- :c\n WHERE x<>", " LIMIT "];

/// Reads each literal of the statement.
pub fn check(data: &[Datum<'_>; 4]) {
    let value = |datum: &Datum<'_>| match datum {
        Datum::Null => Value::Null,
        Datum::Int(number) => Value::Int(*number),
        Datum::Text(text) => Value::Text(secret(text)),
    };
    let [a, b, c, d] = data.each_ref().map(value);
    let parameters = [("a", a), ("b", b), ("c", c), ("d", d)];
    let text = Statement::new(SQL, &parameters).with_literals().expect("each has a value");
    let mut rest = &*text;
    for (part, datum) in PARTS.iter().zip(data) {
        rest = rest.strip_prefix(part).expect("the statement's own text");
        rest = after_literal(rest, datum);
    }
    assert_eq!(rest, "");
}

/// Reads a literal of this value; returns the text behind it.
fn after_literal<'t>(text: &'t str, datum: &Datum<'_>) -> &'t str {
    match datum {
        Datum::Null => text.strip_prefix("NULL").expect("NULL"),
        Datum::Int(number) => {
            let digits = |c: char| c.is_ascii_digit();
            let (number_text, rest) = match text.strip_prefix('(') {
                Some(inside) => inside.split_once(')').expect("a bracket"),
                None => text.split_at(text.find(|c| !digits(c)).unwrap_or(text.len())),
            };
            assert_eq!(number_text.strip_prefix('-').is_some(), text.starts_with('('));
            assert_eq!(number_text.parse(), Ok(*number));
            rest
        }
        Datum::Text(bytes) => {
            let inside = text.strip_prefix("_utf8mb4 X'").expect("an introducer");
            let (digits, rest) = inside.split_once('\'').expect("a quote");
            assert!(digits.bytes().all(|digit| digit.is_ascii_hexdigit()), "{digits}");
            assert_eq!(digits.len(), 2 * bytes.len());
            let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).expect("two digits");
            assert!((0..bytes.len()).all(|at| byte(2 * at) == bytes[at]), "{digits}");
            rest
        }
    }
}
