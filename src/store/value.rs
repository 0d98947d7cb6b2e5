//! Values, rows and parameters, as both databases have them.

use crate::secret::Secret;

/// What databases hold.
#[derive(Debug)]
pub enum Value {
    /// NULL
    Null,
    /// Any number.
    Int(i64),
    /// Any text; it may be a stored password.
    Text(Secret),
}

impl Value {
    /// The value of a text that is no secret.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::Text(Secret::new(text.as_bytes().to_vec()))
    }

    /// A truth value, or NULL.
    #[must_use]
    pub fn flag(flag: Option<bool>) -> Self {
        flag.map_or(Self::Null, |flag| Self::Int(i64::from(flag)))
    }

    /// As text; NULL is empty.
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

    /// The value of a column; `None` where the statement has no such column.
    #[must_use]
    pub fn get(&self, column: &str) -> Option<&Value> {
        self.0.iter().find(|(name, _)| name == column).map(|(_, value)| value)
    }

    /// Takes the value of a column out.
    pub fn take(&mut self, column: &str) -> Option<Value> {
        let at = self.0.iter().position(|(name, _)| name == column)?;
        Some(self.0.remove(at).1)
    }

    /// The value of a column as text; NULL and a missing column are empty.
    #[must_use]
    pub fn text(&self, column: &str) -> String {
        self.get(column).map(Value::to_text).unwrap_or_default()
    }
}

/// What a statement returned.
#[derive(Debug, Default)]
pub struct QueryResult {
    /// The lower-case names of the columns, also where there is no row.
    pub columns: Vec<String>,
    /// The rows.
    pub rows: Vec<Row>,
}

/// Parameters by name, without the colon.
pub type Parameters = [(&'static str, Value)];
