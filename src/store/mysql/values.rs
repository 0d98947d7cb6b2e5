//! Values as the MySQL crate has them.

use mysql::Params;
use mysql::consts::ColumnType;

use crate::secret::Secret;
use crate::sql;
use crate::store::Parameters;
use crate::store::Row;
use crate::store::Value;

/// The parameters that the statement names.
pub(super) fn named_parameters(sql: &str, parameters: &Parameters) -> Params {
    let names = sql::parameters(sql);
    let bound: Vec<(String, mysql::Value)> = parameters
        .iter()
        .filter(|(name, _)| names.contains(name))
        .map(|(name, value)| ((*name).to_owned(), write(value)))
        .collect();
    if bound.is_empty() { Params::Empty } else { Params::from(bound) }
}

fn write(value: &Value) -> mysql::Value {
    match value {
        Value::Null => mysql::Value::NULL,
        Value::Int(number) => mysql::Value::Int(*number),
        Value::Text(text) => mysql::Value::Bytes(text.expose().to_vec()),
    }
}

/// A row of a statement that was prepared.
pub(super) fn read_row(columns: &[String], row: mysql::Row) -> Row {
    let values = row.unwrap().into_iter().map(read);
    Row::new(columns.iter().cloned().zip(values).collect())
}

/// A row of a statement that was sent as text. The server writes its numbers as text, too.
pub(super) fn read_row_of_text(columns: &[String], row: mysql::Row) -> Row {
    let types: Vec<_> = row.columns_ref().iter().map(mysql::Column::column_type).collect();
    let values = row.unwrap().into_iter().zip(types);
    let values = values.map(|(value, column)| match (read(value), is_integer(column)) {
        (Value::Text(text), true) => read_integer(text),
        (value, _) => value,
    });
    Row::new(columns.iter().cloned().zip(values).collect())
}

fn read_integer(text: Secret) -> Value {
    let number = std::str::from_utf8(text.expose()).ok().and_then(|text| text.parse().ok());
    number.map_or(Value::Text(text), Value::Int)
}

fn is_integer(column: ColumnType) -> bool {
    matches!(
        column,
        ColumnType::MYSQL_TYPE_TINY
            | ColumnType::MYSQL_TYPE_SHORT
            | ColumnType::MYSQL_TYPE_INT24
            | ColumnType::MYSQL_TYPE_LONG
            | ColumnType::MYSQL_TYPE_LONGLONG
            | ColumnType::MYSQL_TYPE_YEAR
    )
}

fn read(value: mysql::Value) -> Value {
    match value {
        mysql::Value::NULL => Value::Null,
        mysql::Value::Int(number) => Value::Int(number),
        mysql::Value::UInt(number) => {
            i64::try_from(number).map_or_else(|_| Value::text(&number.to_string()), Value::Int)
        }
        mysql::Value::Bytes(text) => Value::Text(Secret::new(text)),
        mysql::Value::Date(year, month, day, hour, minute, second, _) => {
            Value::text(&format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}"))
        }
        other @ (mysql::Value::Float(_) | mysql::Value::Double(_) | mysql::Value::Time(..)) => {
            Value::text(&other.as_sql(true))
        }
    }
}

/// True if all texts are ASCII, which every character set can hold.
pub(super) fn is_ascii(parameters: &Parameters) -> bool {
    parameters.iter().all(|(_, value)| match value {
        Value::Text(text) => text.expose().is_ascii(),
        Value::Null | Value::Int(_) => true,
    })
}

/// The names of columns, in lower case.
pub(super) fn names(columns: &[mysql::Column]) -> Vec<String> {
    columns.iter().map(|column| column.name_str().to_lowercase()).collect()
}
