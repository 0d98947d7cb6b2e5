//! Values, rows and parameters, as both databases have them.

use crate::secret::Secret;

/// A value of a database.
#[derive(Debug)]
pub enum Value {
    /// NULL
    Null,
    /// An integer.
    Int(i64),
    /// A text; it may be a stored password.
    Text(Secret),
}

impl Value {
    /// A text that is not secret.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::Text(Secret::new(text.as_bytes().to_vec()))
    }

    /// A truth value, or NULL.
    #[must_use]
    pub fn flag(flag: Option<bool>) -> Self {
        flag.map_or(Self::Null, |flag| Self::Int(i64::from(flag)))
    }

    /// The value as text; empty for NULL.
    #[must_use]
    pub fn to_text(&self) -> String {
        match self {
            Self::Null => String::new(),
            Self::Int(number) => number.to_string(),
            Self::Text(text) => String::from_utf8_lossy(text.expose()).into_owned(),
        }
    }
}

/// One row: its values by the lower-case names of the columns.
#[derive(Debug)]
pub struct Row(Vec<(String, Value)>);

impl Row {
    /// A row of these columns, whose names are in lower case.
    #[must_use]
    pub fn new(values: Vec<(String, Value)>) -> Self {
        Self(values)
    }

    /// The value of a column; `None` if there is no such column.
    #[must_use]
    pub fn get(&self, column: &str) -> Option<&Value> {
        self.0.iter().find(|(name, _)| name == column).map(|(_, value)| value)
    }

    /// Removes a column and returns its value; `None` if there is no such column.
    pub fn take(&mut self, column: &str) -> Option<Value> {
        let at = self.0.iter().position(|(name, _)| name == column)?;
        Some(self.0.remove(at).1)
    }

    /// The value of a column as text; empty for NULL and for a missing column.
    #[must_use]
    pub fn text(&self, column: &str) -> String {
        self.get(column).map(Value::to_text).unwrap_or_default()
    }
}

/// The result of a statement.
#[derive(Debug, Default)]
pub struct QueryResult {
    /// The lower-case names of the columns, even if there are no rows.
    pub columns: Vec<String>,
    /// The rows.
    pub rows: Vec<Row>,
    /// The number of rows that the statement changed, if [`Store::run_all`](super::Store::run_all)
    /// ran it.
    pub changed: u64,
}

/// Parameters by name, without the colon.
pub type Parameters = [(&'static str, Value)];
