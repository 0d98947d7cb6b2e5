//! Statements with literals: they mean the same as prepared ones with bound parameters.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    reason = "test code"
)]

mod common;

use std::time::Duration;

use authpolicy::error::Error;
use authpolicy::store::Parameters;
use authpolicy::store::QueryResult;
use authpolicy::store::Statement;
use authpolicy::store::Store;
use authpolicy::store::Value;
use common::MariaDb;
use mysql::prelude::Queryable;

/// The server's code and the kind of an error. MySQL quotes some values in another way.
fn code(e: &Error) -> String {
    let text = e.to_string();
    format!("{:?} {:?}", text.split(": ").nth(1).unwrap(), e.store_fault())
}

/// The columns and rows of a result, or the error, as a text.
fn shown(result: Result<QueryResult, Error>) -> String {
    let result = match result {
        Ok(result) => result,
        Err(e) => return code(&e),
    };
    let value = |value: Option<&Value>| match value.unwrap() {
        Value::Null => "NULL".to_owned(),
        Value::Int(number) => format!("number {number}"),
        Value::Text(text) => format!("text {:02x?}", text.expose()),
    };
    let rows = result.rows.iter();
    let rows: Vec<Vec<_>> = rows
        .map(|row| result.columns.iter().map(|column| value(row.get(column))).collect())
        .collect();
    format!("{:?} {rows:?}", result.columns)
}

/// The result of the only statement.
fn run(
    store: &mut Store,
    sql: &'static str,
    parameters: &Parameters,
) -> Result<QueryResult, Error> {
    let mut results = store.run_all(&[Statement::new(sql, parameters)])?;
    assert_eq!(results.len(), 1);
    Ok(results.remove(0))
}

/// Runs a query by a prepared statement, whose parameters the crate binds.
fn run_prepared(
    store: &mut Store,
    sql: &'static str,
    parameters: &Parameters,
) -> Result<QueryResult, Error> {
    let columns = store.prepare(sql)?;
    let mut rows = Vec::new();
    match store.visit(sql, parameters, &mut |row| rows.push(row)) {
        // The text is not in the column's character set, so that no row has it.
        Err(e) if ["1267", "1271", "3988"].iter().any(|text| code(&e).contains(text)) => {}
        done => done?,
    }
    Ok(QueryResult { columns, rows, changed: 0 })
}

/// Runs a query in all ways, and compares the results.
#[track_caller]
fn compare(store: &mut Store, mode: &str, sql: &'static str, parameters: &Parameters) -> String {
    let prepared = shown(run_prepared(store, sql, parameters));
    let found = shown(store.find(sql, parameters));
    let literal = shown(run(store, sql, parameters));
    assert_eq!(found, prepared, "{mode}: {sql} {:?}", parameters[0].1.to_text());
    assert_eq!(literal, prepared, "{mode}: {sql} {:?}", parameters[0].1.to_text());
    literal
}

const TEXTS: &[&str] = &[
    "",
    " ",
    "bob",
    "BOB",
    "bob ",
    "b_b",
    "%",
    "\\",
    "\\%",
    "'",
    "\"",
    "`",
    "''",
    "a'b",
    "\0",
    "\n\u{1a}",
    "\u{e9}",
    "e",
    "\u{ff}",
    "\u{20ac}",
    "\u{1f600}",
    "\u{df}",
    "ss",
    "1",
    "1e0",
    "0x31",
    "; DROP TABLE texts; --",
    ":v",
    "/* */",
];

/// The columns of the table `texts`. A text that does not fit a column's character set is stored as `?` there.
const COLUMNS: &[(&str, &str)] = &[
    ("seven_bit", "varchar(60) CHARACTER SET ascii"),
    ("latin1", "varchar(60) CHARACTER SET latin1"),
    ("utf8mb3", "varchar(60) CHARACTER SET utf8mb3"),
    ("utf8mb4", "varchar(60) CHARACTER SET utf8mb4"),
    ("bin", "varchar(60) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"),
    ("unicode", "varchar(60) CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci"),
    ("bytes", "varbinary(60)"),
    ("amount", "bigint"),
];

const QUERIES: &[&str] = &[
    "SELECT id FROM texts WHERE seven_bit = :v ORDER BY id",
    "SELECT id FROM texts WHERE latin1 = :v ORDER BY id",
    "SELECT id FROM texts WHERE utf8mb3 = :v ORDER BY id",
    "SELECT id FROM texts WHERE utf8mb4 = :v ORDER BY id",
    "SELECT id FROM texts WHERE bin = :v ORDER BY id",
    "SELECT id FROM texts WHERE unicode = :v ORDER BY id",
    "SELECT id FROM texts WHERE bytes = :v ORDER BY id",
    "SELECT id FROM texts WHERE amount = :v ORDER BY id",
    "SELECT id FROM texts WHERE latin1 LIKE :v ORDER BY id",
    "SELECT id FROM texts WHERE utf8mb4 LIKE :v ORDER BY id",
    "SELECT id FROM texts WHERE bytes > :v ORDER BY id",
    "SELECT id FROM texts WHERE utf8mb4 < :v AND latin1 <> '' ORDER BY id",
    "SELECT :v AS v, HEX(:v) AS hex, CHAR_LENGTH(:v) AS chars, CHARSET(:v) AS charset, :v IS NULL AS no",
    "SELECT id FROM texts WHERE CONCAT(:v, 'b') = utf8mb4 OR LOWER(:v) = bin ORDER BY id",
    "SELECT COUNT(*) AS n, MAX(id) AS top, SUM(id) AS total FROM texts WHERE utf8mb4 <> :v",
];

/// Makes the tables, and stores each text.
fn make_tables(server: &MariaDb, name: &str) {
    let mut root = server.root(name);
    let columns: Vec<_> = COLUMNS.iter().map(|(name, kind)| format!("`{name}` {kind}")).collect();
    let columns = columns.join(", ");
    root.query_drop("SET SESSION sql_mode = ''").unwrap();
    for table in ["texts", "kept"] {
        root.query_drop(format!("DROP TABLE IF EXISTS {table}")).unwrap();
        root.query_drop(format!(
            "CREATE TABLE {table} (id int PRIMARY KEY AUTO_INCREMENT, {columns})"
        ))
        .unwrap();
    }
    let names: Vec<_> = COLUMNS.iter().map(|(name, _)| format!("`{name}`")).collect();
    for text in TEXTS {
        let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
        let values = vec![format!("_utf8mb4 X'{hex}'"); COLUMNS.len()].join(", ");
        root.query_drop(format!("INSERT INTO texts ({}) VALUES ({values})", names.join(", ")))
            .unwrap();
    }
}

/// Stores a text in this column in both ways. The results are the same: the stored bytes, or the error.
fn compare_stored(store: &mut Store, mode: &str, column: &str, text: &str) {
    let insert: &'static str = match column {
        "seven_bit" => "INSERT INTO kept (seven_bit) VALUES (:v)",
        "latin1" => "INSERT INTO kept (latin1) VALUES (:v)",
        "utf8mb3" => "INSERT INTO kept (utf8mb3) VALUES (:v)",
        "utf8mb4" => "INSERT INTO kept (utf8mb4) VALUES (:v)",
        "bin" => "INSERT INTO kept (bin) VALUES (:v)",
        "unicode" => "INSERT INTO kept (unicode) VALUES (:v)",
        "bytes" => "INSERT INTO kept (bytes) VALUES (:v)",
        "amount" => "INSERT INTO kept (amount) VALUES (:v)",
        other => panic!("{other}"),
    };
    let parameters = [("v", Value::text(text))];
    let stored = "SELECT HEX(CONCAT_WS('-', seven_bit, latin1, utf8mb3, utf8mb4, bin, unicode, bytes, amount)) AS hex \
                  FROM kept ORDER BY id DESC LIMIT 1";
    let mut ways = Vec::new();
    for is_literal in [false, true] {
        let changed = match is_literal {
            false => store.execute(insert, &parameters),
            true => run(store, insert, &parameters).map(|result| result.changed),
        };
        let changed = changed.map_err(|e| code(&e));
        let found = changed.is_ok().then(|| shown(store.find(stored, &[])));
        ways.push((changed, found));
    }
    // MySQL converts a bound text before it looks at the mode.
    let is_converted = |e: &String| e.contains("error 3988");
    if ways[0].0.as_ref().is_err_and(is_converted) {
        let strict = "error 1366";
        assert!(ways[1].0.as_ref().map_or_else(|e| e.contains(strict), |changed| *changed == 1));
    } else {
        assert_eq!(ways[0], ways[1], "{mode}: {column} {text:?}");
    }
}

/// Compares all texts under the server's present SQL mode.
fn compare_all(server: &MariaDb, name: &str, mode: &str) {
    let mut store = server.store(name, Duration::from_secs(600));
    let mut found = Vec::new();
    for text in TEXTS {
        for sql in QUERIES {
            found.push(compare(&mut store, mode, sql, &[("v", Value::text(text))]));
        }
        for (column, _) in COLUMNS {
            compare_stored(&mut store, mode, column, text);
        }
    }
    // The queries tell the texts apart: some find nothing, and some cannot be answered.
    found.sort();
    found.dedup();
    assert!(found.len() > 50, "{mode}: {}", found.len());
    for number in [i64::MIN, i64::MIN + 1, -1, 0, 1, i64::from(u32::MAX), i64::MAX] {
        let parameters = [("v", Value::Int(number))];
        compare(
            &mut store,
            mode,
            "SELECT :v AS v, 1 - :v / 2 IS NULL AS no, :v < 0 AS less",
            &parameters,
        );
        compare(
            &mut store,
            mode,
            "SELECT id FROM texts WHERE amount = :v OR bytes = :v",
            &parameters,
        );
    }
    let few = [("v", Value::Int(3))];
    assert!(
        compare(&mut store, mode, "SELECT id FROM texts ORDER BY id LIMIT :v", &few)
            .contains("number 3")
    );
    compare(&mut store, mode, "SELECT :v AS v, :v IS NULL AS no", &[("v", Value::Null)]);
}

/// All SQL modes that the server knows.
fn modes(server: &MariaDb) -> Vec<String> {
    let mut root = server.root("");
    let known = "SELECT enum_value_list FROM information_schema.system_variables WHERE variable_name = 'sql_mode'";
    match root.query_first::<String, _>(known) {
        Ok(known) => known.unwrap().split(',').map(str::to_owned).collect(),
        // MySQL has no such table.
        Err(_) => [
            "ALLOW_INVALID_DATES",
            "ANSI",
            "ANSI_QUOTES",
            "HIGH_NOT_PRECEDENCE",
            "IGNORE_SPACE",
            "NO_BACKSLASH_ESCAPES",
            "NO_UNSIGNED_SUBTRACTION",
            "PAD_CHAR_TO_FULL_LENGTH",
            "PIPES_AS_CONCAT",
            "REAL_AS_FLOAT",
            "TRADITIONAL",
        ]
        .map(str::to_owned)
        .to_vec(),
    }
}

fn compare_under_each_mode(server: &MariaDb) {
    let name = server.database();
    make_tables(server, &name);
    for mode in std::iter::once(String::new()).chain(modes(server)) {
        server.root("").query_drop(format!("SET GLOBAL sql_mode = '{mode}'")).unwrap();
        compare_all(server, &name, &mode);
    }
}

#[test]
fn a_literal_means_what_a_bound_parameter_means_in_mariadb() {
    compare_under_each_mode(&MariaDb::start());
}

#[test]
fn a_literal_means_what_a_bound_parameter_means_in_mysql() {
    compare_under_each_mode(&common::mysql::start());
}
