//! Statements about several rows, such as the entries of all counters of an attempt.

use crate::error::Error;
use crate::sql::Piece;
use crate::sql::pieces;
use crate::store::QueryResult;
use crate::store::Row;
use crate::store::Sql;
use crate::store::Statement;
use crate::store::Store;
use crate::store::Value;

/// The most rows that one statement is about. More rows need several statements, which go in one
/// packet.
pub(super) const ROWS: usize = 16;

/// The names of the parameters of an assembled statement: enough for ten in each row.
const NAMES: [&str; ROWS * 10] = {
    macro_rules! tens {
        ($($ten:literal)*) => {
            [$(
                concat!("p", $ten, "0"), concat!("p", $ten, "1"), concat!("p", $ten, "2"),
                concat!("p", $ten, "3"), concat!("p", $ten, "4"), concat!("p", $ten, "5"),
                concat!("p", $ten, "6"), concat!("p", $ten, "7"), concat!("p", $ten, "8"),
                concat!("p", $ten, "9"),
            )*]
        };
    }
    tens!("0" "1" "2" "3" "4" "5" "6" "7" "8" "9" "10" "11" "12" "13" "14" "15")
};

/// A statement that is put together from texts of this program. Each text has its own parameters,
/// so that a text can stand in it once for each row.
pub(super) struct Assembly {
    texts: Vec<&'static str>,
    parameters: Vec<(&'static str, Value)>,
}

impl Assembly {
    /// A statement that begins with this text, which has no parameters.
    pub(super) fn new(text: &'static str) -> Self {
        Self { texts: vec![text], parameters: Vec::new() }
    }

    /// A statement about one row.
    pub(super) fn whole(
        texts: &[&'static str],
        parameters: impl IntoIterator<Item = (&'static str, Value)>,
    ) -> Self {
        let mut assembly = Self::new("");
        assembly.part(texts, parameters);
        assembly
    }

    /// Appends a text without parameters.
    pub(super) fn text(&mut self, text: &'static str) {
        self.texts.push(text);
    }

    /// Appends texts with parameters of their own, of which there may be more than the texts name.
    /// A parameter without a value is an error of the database when the statement runs. So is one
    /// for which no name is left.
    pub(super) fn part(
        &mut self,
        texts: &[&'static str],
        parameters: impl IntoIterator<Item = (&'static str, Value)>,
    ) {
        let mut names = Vec::new();
        for (name, value) in parameters {
            if let Some(unique) = NAMES.get(self.parameters.len()) {
                names.push((name, *unique));
                self.parameters.push((unique, value));
            }
        }
        for piece in texts.iter().copied().flat_map(pieces) {
            match piece {
                Piece::Text(text) => self.texts.push(text),
                Piece::Parameter(name) => {
                    let unique = names.iter().find(|(known, _)| *known == name);
                    self.texts.extend([":", unique.map_or(name, |(_, unique)| unique)]);
                }
            }
        }
    }

    /// Appends one part for each row, with this text between two of them. The parts have the same
    /// texts, and their own parameters.
    pub(super) fn parts<P>(
        &mut self,
        between: &'static str,
        texts: &[&'static str],
        rows: impl IntoIterator<Item = P>,
    ) where
        P: IntoIterator<Item = (&'static str, Value)>,
    {
        for (number, parameters) in rows.into_iter().enumerate() {
            if number > 0 {
                self.text(between);
            }
            self.part(texts, parameters);
        }
    }

    fn statement(&self) -> Statement<'_> {
        Statement::new(Sql::of(&self.texts), &self.parameters)
    }
}

/// The result of each statement, from one packet.
///
/// # Errors
/// The database refused one of them or took too long.
pub(super) fn run_all(store: &mut Store, all: &[Assembly]) -> Result<Vec<QueryResult>, Error> {
    let statements: Vec<_> = all.iter().map(Assembly::statement).collect();
    if statements.is_empty() { Ok(Vec::new()) } else { store.run_all(&statements) }
}

/// Runs the last statements of a transaction, with its COMMIT in the same packet; returns the
/// number of rows changed.
///
/// # Errors
/// The database refused one of them or took too long.
pub(super) fn run_all_and_commit(store: &mut Store, all: &[Assembly]) -> Result<u64, Error> {
    let statements: Vec<_> = all.iter().map(Assembly::statement).collect();
    let results = store.run_all_and_commit(&statements)?;
    Ok(results.iter().fold(0, |changed, result| result.changed.saturating_add(changed)))
}

/// Deletes the rows that this statement finds, all in one packet; returns how many.
///
/// # Errors
/// The database did not do it.
pub(super) fn prune_found(
    store: &mut Store,
    find: Assembly,
    delete: impl Fn(&[Row]) -> Vec<Assembly>,
) -> Result<u64, Error> {
    let found = run_all(store, &[find])?.into_iter().flat_map(|found| found.rows);
    let found: Vec<_> = found.collect();
    if found.is_empty() {
        return Ok(0);
    }
    store.transaction(|store| run_all_and_commit(store, &delete(&found)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_has_its_own_parameters() {
        let mut assembly = Assembly::new("INSERT INTO t (a, b) VALUES ");
        let row = |a, b| [("a", Value::Int(a)), ("unused", Value::Null), ("b", Value::text(b))];
        assembly.parts(", ", &["(:a, ", ":b + :a)"], [row(1, "x"), row(2, "':y")]);
        assembly.text(" ON CONFLICT DO NOTHING");
        let text = assembly.statement().with_literals().unwrap();
        assert_eq!(
            text,
            "INSERT INTO t (a, b) VALUES (1, _utf8mb4 X'78' + 1), (2, _utf8mb4 X'273A79' + 2) \
             ON CONFLICT DO NOTHING"
        );
    }

    #[test]
    fn a_parameter_without_a_value_or_a_name_of_its_own_is_an_error() {
        let mut assembly = Assembly::new("SELECT ");
        assembly.part(&[":a + :b"], [("a", Value::Int(1))]);
        assert_eq!(assembly.statement().with_literals(), Err("b"));
        let mut assembly = Assembly::new("SELECT ");
        let rows = (0..=NAMES.len()).map(|_| [("a", Value::Int(1))]);
        assembly.parts(" + ", &[":a"], rows);
        assert_eq!(assembly.statement().with_literals(), Err("a"));
    }
}
