//! Queries that MariaDB prepares and executes in one round trip, with their parameters bound.

use mysql::Conn;

use super::MySqlConnection;
use super::values::is_ascii;
use crate::contain;
use crate::error::Error;
use crate::sql::Piece;
use crate::sql::pieces;
use crate::store::Parameters;
use crate::store::QueryResult;
use crate::store::Value;
use crate::store::statement::push_literal;

/// The first MariaDB with EXECUTE IMMEDIATE.
const FIRST_VERSION: (u16, u16, u16) = (10, 2, 3);
/// The version that MariaDB puts before its own one, for old clients.
const PREFIX: (u16, u16, u16) = (5, 5, 5);

/// The error codes after which a query is prepared in the usual way, which gives the result or the
/// final error: syntax, a wrong number of parameters, collations, a statement that cannot be
/// prepared.
const NOT_IMMEDIATE: &[u16] = &[1064, 1210, 1267, 1270, 1271, 1295];

/// True if the server has EXECUTE IMMEDIATE. MySQL has not.
pub(super) fn has_immediate(connection: &Conn) -> bool {
    // The crate panics if it cannot read the server's version.
    let version = contain::catch("version", || connection.server_version());
    version.is_ok_and(|version| version == PREFIX || version >= FIRST_VERSION)
}

impl MySqlConnection {
    /// Runs a query by EXECUTE IMMEDIATE; `None` if it has to be prepared in the usual way.
    pub(super) fn query_immediately(
        &mut self,
        sql: &str,
        parameters: &Parameters,
    ) -> Result<Option<QueryResult>, Error> {
        let Some(text) = execute_immediate(sql, parameters) else { return Ok(None) };
        let (mut results, done) = self.send(&[text])?;
        match done {
            Err(mysql::Error::MySqlError(e)) if NOT_IMMEDIATE.contains(&e.code) => {
                self.has_immediate = false;
                Ok(None)
            }
            Err(e) => Err(self.store_error(&e)),
            // A procedure returns further results.
            Ok(()) => Ok((!results.is_empty()).then(|| results.swap_remove(0))),
        }
    }
}

/// The statement that runs a query with these parameters; `None` if one has no value or is not in
/// ASCII.
///
/// The parameters are bound to those of the query, as the crate binds them: they never become part
/// of its text. CAST gives a text the collation of the connection, which a text that the crate binds
/// has, too. It could replace characters if `init_connect` has given the connection another
/// character set. So texts beyond ASCII are left to the crate.
fn execute_immediate(sql: &str, parameters: &Parameters) -> Option<String> {
    if !is_ascii(parameters) {
        return None;
    }
    let mut query = String::new();
    let mut bound = Vec::new();
    for piece in pieces(sql) {
        match piece {
            Piece::Text(text) => query.push_str(text),
            Piece::Parameter(name) => {
                query.push('?');
                let (_, value) = parameters.iter().find(|(known, _)| *known == name)?;
                bound.push(match value {
                    Value::Text(_) => format!("CAST({} AS CHAR)", literal(value)),
                    Value::Null | Value::Int(_) => literal(value),
                });
            }
        }
    }
    let query = literal(&Value::text(&query));
    let using = if bound.is_empty() { "" } else { " USING " };
    Some(format!("EXECUTE IMMEDIATE {query}{using}{}", bound.join(", ")))
}

fn literal(value: &Value) -> String {
    let mut text = String::new();
    push_literal(&mut text, value);
    text
}

#[cfg(test)]
mod tests {
    use super::execute_immediate;
    use crate::store::Value;

    #[test]
    fn parameters_are_bound_in_their_order() {
        let parameters = [("a", Value::text("'")), ("n", Value::Int(-7)), ("b", Value::Null)];
        let sql = "SELECT ':a', :n, :b, :a";
        let query = "SELECT ':a', ?, ?, ?";
        let hex: String = query.bytes().map(|byte| format!("{byte:02X}")).collect();
        let want = format!(
            "EXECUTE IMMEDIATE _utf8mb4 X'{hex}' USING (-7), NULL, CAST(_utf8mb4 X'27' AS CHAR)"
        );
        assert_eq!(execute_immediate(sql, &parameters), Some(want));
        let want = "EXECUTE IMMEDIATE _utf8mb4 X'444F2030'";
        assert_eq!(execute_immediate("DO 0", &parameters).as_deref(), Some(want));
        assert_eq!(execute_immediate("SELECT :c", &parameters), None, "no value");
        assert_eq!(execute_immediate("SELECT :a", &[("a", Value::text("\u{e9}"))]), None);
    }
}
