//! The tables that `authpolicy db init` creates.

use crate::error::Error;

use super::Store;

/// The schema of a table in each dialect.
#[derive(Debug)]
pub struct Schema {
    /// The table's name.
    pub table: &'static str,
    sqlite: &'static str,
    mysql: &'static str,
}

/// The account table of the default query.
pub const ACCOUNT: Schema = Schema {
    table: "account",
    sqlite: include_str!("schema/account.sqlite.sql"),
    mysql: include_str!("schema/account.mysql.sql"),
};

/// The tables of the log's database.
pub const LOG: [Schema; 5] = [
    Schema {
        table: "connection_log",
        sqlite: include_str!("schema/connection_log.sqlite.sql"),
        mysql: include_str!("schema/connection_log.mysql.sql"),
    },
    Schema {
        table: "authpolicy_delivered",
        sqlite: include_str!("schema/delivered.sqlite.sql"),
        mysql: include_str!("schema/delivered.mysql.sql"),
    },
    Schema {
        table: "authpolicy_exception",
        sqlite: include_str!("schema/exception.sqlite.sql"),
        mysql: include_str!("schema/exception.mysql.sql"),
    },
    Schema {
        table: "authpolicy_count",
        sqlite: include_str!("schema/count.sqlite.sql"),
        mysql: include_str!("schema/count.mysql.sql"),
    },
    Schema {
        table: "authpolicy_seen",
        sqlite: include_str!("schema/seen.sqlite.sql"),
        mysql: include_str!("schema/seen.mysql.sql"),
    },
];

impl Store {
    /// Creates the table. Returns false, and leaves it as it is, if it exists already.
    ///
    /// # Errors
    /// The database refused a statement or took too long.
    pub fn create_table(&mut self, schema: &Schema) -> Result<bool, Error> {
        if self.has_table(schema.table)? {
            return Ok(false);
        }
        for statement in self.dialect(schema.sqlite, schema.mysql).split(";\n") {
            self.execute(statement, &[])?;
        }
        Ok(true)
    }
}
