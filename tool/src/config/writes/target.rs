//! The table that `log.insert` writes to.

/// The words between INSERT and the table's name.
const MODIFIERS: &[&str] = &[
    "LOW_PRIORITY",
    "HIGH_PRIORITY",
    "DELAYED",
    "IGNORE",
    "OR",
    "REPLACE",
    "ABORT",
    "FAIL",
    "ROLLBACK",
    "INTO",
];

/// A table, as a statement names it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct InsertTarget<'a> {
    pub(super) database: Option<&'a str>,
    pub(super) table: &'a str,
}

/// Returns the table of a plain INSERT. A procedure, or a second statement, could commit.
pub(super) fn of(sql: &str) -> Option<InsertTarget<'_>> {
    if sql.trim_end().trim_end_matches(';').contains(';') {
        return None;
    }
    let (verb, mut rest) = word(sql)?;
    if !is_one_of(verb, &["INSERT", "REPLACE"]) {
        return None;
    }
    while let Some((_, after)) = word(rest).filter(|(word, _)| is_one_of(word, MODIFIERS)) {
        rest = after;
    }
    let (first, rest) = name(rest)?;
    let (target, rest) = match rest.trim_start().strip_prefix('.') {
        None => (InsertTarget { database: None, table: first }, rest),
        Some(rest) => {
            let (table, rest) = name(rest)?;
            (InsertTarget { database: Some(first), table }, rest)
        }
    };
    // Columns or a keyword follow. A comment could hide another part of the name.
    let is_whole = rest.trim_start().starts_with(|c: char| c == '(' || c.is_alphabetic());
    is_whole.then_some(target)
}

/// True if a statement has this word, in quotes or not.
pub(super) fn has_word(sql: &str, word: &str) -> bool {
    sql.split(|c| !is_part(c)).any(|part| part.eq_ignore_ascii_case(word))
}

fn is_one_of(word: &str, known: &[&str]) -> bool {
    known.iter().any(|known| word.eq_ignore_ascii_case(known))
}

/// Splits a name from the text after it, and removes its quotes.
fn name(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    for quote in ['`', '"'] {
        if let Some(rest) = text.strip_prefix(quote) {
            // A doubled quote would belong to the name.
            return rest.split_once(quote).filter(|(_, rest)| !rest.starts_with(quote));
        }
    }
    word(text)
}

/// Splits a word without quotes from the text after it.
fn word(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    let end = text.find(|c| !is_part(c)).unwrap_or(text.len());
    text.split_at_checked(end).filter(|(word, _)| !word.is_empty())
}

fn is_part(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_inserts_have_a_target() {
        for (sql, database, table) in [
            ("INSERT INTO connection_log (a) VALUES (1)", None, Some("connection_log")),
            ("insert ignore into `log`(a) values (1);", None, Some("log")),
            ("INSERT OR REPLACE INTO log (a) VALUES (1)", None, Some("log")),
            ("INSERT OR ROLLBACK INTO log (a) VALUES (1)", None, Some("log")),
            ("REPLACE\n INTO \"log\" VALUES (1)", None, Some("log")),
            ("INSERT log SET a = 1", None, Some("log")),
            ("INSERT INTO `my log` (a) VALUES (1)", None, Some("my log")),
            ("INSERT INTO other.log (a) VALUES (1)", Some("other"), Some("log")),
            ("INSERT INTO mail . log (a) VALUES (1)", Some("mail"), Some("log")),
            ("INSERT INTO `mail` .\n`log`(a) VALUES (1)", Some("mail"), Some("log")),
            ("INSERT INTO \"mail\".log VALUES (1)", Some("mail"), Some("log")),
            ("INSERT INTO mail. (a) VALUES (1)", None, None),
            ("INSERT INTO a.b.c (a) VALUES (1)", None, None),
            ("INSERT INTO mail/**/.log (a) VALUES (1)", None, None),
            ("INSERT INTO mail -- x\n.log (a) VALUES (1)", None, None),
            ("INSERT /* x */ INTO log (a) VALUES (1)", None, None),
            ("INSERT INTO `a``b` (a) VALUES (1)", None, None),
            ("INSERT INTO log (a) VALUES (1); COMMIT", None, None),
            ("CALL log_attempt(:username)", None, None),
            ("WITH x AS (SELECT 1) INSERT INTO log SELECT * FROM x", None, None),
            ("INSERT", None, None),
            ("", None, None),
        ] {
            assert_eq!(of(sql), table.map(|table| InsertTarget { database, table }), "{sql}");
        }
    }
}
