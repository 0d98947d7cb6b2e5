//! The databases behind one interface: named parameters in, rows of values out.
//!
//! The submodules `sqlite` and `mysql` connect, bind and read. SQL that differs between them is in
//! `dialect`, and the tables are in `schema`. Only the default of `log.insert` belongs to `config`.
//! No module outside of `store` tests which of the two a [`Store`] is. Methods that matter to one of
//! them say so.

mod address_cache;
mod deadline;
pub mod dialect;
mod dns;
mod handles;
pub mod message;
mod mysql;
mod names;
mod reach;
mod refusal;
pub mod schema;
mod sockets;
mod sqlite;
mod statement;
mod stores;
mod tls;
mod transaction;
mod unreached;
mod value;

pub use self::deadline::Deadline;
pub use self::sqlite::Incoming;
pub use self::sqlite::back_up;
pub use self::sqlite::restore;
pub use self::statement::Statement;
pub use self::stores::Stores;
pub use self::transaction::Ending;
pub use self::value::Parameters;
pub use self::value::QueryResult;
pub use self::value::Row;
pub use self::value::Value;
use crate::config::Database;
use crate::config::Durability;
use crate::contain;
use crate::contain::Panic;
use crate::error::Error;
use crate::error::StoreFault;
pub use crate::sql::Sql;

/// An open connection to one database.
pub enum Store {
    /// The embedded one.
    Sqlite(sqlite::SqliteConnection),
    /// MariaDB or MySQL.
    MySql(Box<mysql::MySqlConnection>),
}

impl Store {
    /// Opens the embedded database, or connects to the first host that accepts the login.
    ///
    /// # Errors
    /// The file cannot be opened, or no host accepts the login in time.
    pub fn open(database: &Database, deadline: Deadline) -> Result<Self, Error> {
        let mut store = Self::open_for_use(database, deadline)?;
        store.make_ready()?;
        Ok(store)
    }

    /// Opens a database that is used at once. The last host of a server may refuse the connection
    /// only at the first statement, which then returns that error.
    fn open_for_use(database: &Database, deadline: Deadline) -> Result<Self, Error> {
        match database {
            Database::Sqlite(path) => {
                let opened =
                    contain::catch("open", || sqlite::SqliteConnection::open(path, deadline));
                let fail = |panic| Err(panicked(format!("sqlite {}", path.display()), &panic));
                opened.unwrap_or_else(fail).map(Self::Sqlite)
            }
            Database::MySql(hosts) => {
                let connection = mysql::MySqlConnection::open(hosts, deadline)?;
                Ok(Self::MySql(Box::new(connection)))
            }
        }
    }

    /// Makes sure that the server accepts the connection.
    ///
    /// # Errors
    /// It does not.
    pub fn make_ready(&mut self) -> Result<(), Error> {
        self.call("make-ready", |store| match store {
            Self::Sqlite(_) => Ok(()),
            Self::MySql(connection) => connection.send_unsent(),
        })
    }

    /// Runs a statement that returns rows.
    ///
    /// # Errors
    /// The database refused it or took too long.
    pub fn query<'a>(
        &mut self,
        sql: impl Into<Sql<'a>>,
        parameters: &Parameters,
    ) -> Result<Vec<Row>, Error> {
        self.find(sql, parameters).map(|found| found.rows)
    }

    /// Runs a statement that returns rows, and returns the names of the columns with them. There is
    /// no row if a parameter is a text that the table's character set cannot hold.
    ///
    /// # Errors
    /// The database refused it or took too long.
    pub fn find<'a>(
        &mut self,
        sql: impl Into<Sql<'a>>,
        parameters: &Parameters,
    ) -> Result<QueryResult, Error> {
        let sql = sql.into();
        self.call("query", |store| match store {
            Self::Sqlite(connection) => connection.query(sql.text(), parameters),
            Self::MySql(connection) => connection.query(sql.text(), parameters),
        })
    }

    /// Runs a statement, and calls `on_row` with one row at a time instead of collecting them.
    ///
    /// # Errors
    /// The database refused it or took too long. `on_row` may have been called for some rows.
    pub fn visit<'a>(
        &mut self,
        sql: impl Into<Sql<'a>>,
        parameters: &Parameters,
        on_row: &mut dyn FnMut(Row),
    ) -> Result<(), Error> {
        let sql = sql.into();
        self.call("query", |store| match store {
            Self::Sqlite(connection) => connection.visit(sql.text(), parameters, on_row).map(drop),
            Self::MySql(connection) => connection.visit(sql.text(), parameters, on_row),
        })
    }

    /// Prepares a statement without running it, and returns the names of its columns.
    ///
    /// # Errors
    /// The database refuses the statement.
    pub fn prepare<'a>(&mut self, sql: impl Into<Sql<'a>>) -> Result<Vec<String>, Error> {
        let sql = sql.into();
        self.call("prepare", |store| match store {
            Self::Sqlite(connection) => connection.prepare(sql.text()),
            Self::MySql(connection) => connection.prepare(sql.text()),
        })
    }

    /// Runs a statement that returns no rows, and returns the number of rows that it changed.
    ///
    /// # Errors
    /// The database refused it or took too long.
    pub fn execute<'a>(
        &mut self,
        sql: impl Into<Sql<'a>>,
        parameters: &Parameters,
    ) -> Result<u64, Error> {
        let sql = sql.into();
        self.call("execute", |store| match store {
            Self::Sqlite(connection) => connection.execute(sql.text(), parameters),
            Self::MySql(connection) => connection.execute(sql.text(), parameters),
        })
    }

    /// Runs statements of this program in their order, and returns the result of each. A server gets
    /// them in one packet, with the BEGIN that may stand before them. If one fails, those after it do
    /// not run. Like [`Store::find`], a SELECT finds no row by a text that cannot be compared.
    ///
    /// # Errors
    /// The database refused a statement, or all together took too long.
    pub fn run_all(&mut self, statements: &[Statement<'_>]) -> Result<Vec<QueryResult>, Error> {
        self.call("run-all", |store| match store {
            Self::Sqlite(connection) => connection.run_all(statements),
            Self::MySql(connection) => connection.run_all(statements),
        })
    }

    /// Stores a row. Texts that are longer than their columns are cut, and characters that are not
    /// in the character set are replaced.
    ///
    /// # Errors
    /// The database refused it or took too long.
    pub fn insert<'a>(
        &mut self,
        sql: impl Into<Sql<'a>>,
        parameters: &Parameters,
    ) -> Result<(), Error> {
        let sql = sql.into();
        self.call("insert", |store| match store {
            Self::Sqlite(connection) => connection.execute(sql.text(), parameters).map(|_| ()),
            Self::MySql(connection) => connection.insert(sql.text(), parameters),
        })
    }

    /// True if a COMMIT that fails has no effect. After [`Store::make_durable`] with
    /// [`Durability::Disk`] it may have one, if the disk does not confirm the write.
    #[must_use]
    pub fn confirms_commits(&self) -> bool {
        match self {
            Self::Sqlite(connection) => connection.has_short_wal(),
            Self::MySql(_) => false,
        }
    }

    /// Makes later commits of an embedded database as durable as configured. A server has its own
    /// setting.
    ///
    /// # Errors
    /// The database refused it.
    pub fn make_durable(&mut self, durability: Durability) -> Result<(), Error> {
        self.call("make-durable", |store| match (store, durability) {
            (Self::Sqlite(connection), Durability::Disk) => connection.sync_commits(),
            (Self::Sqlite(_), Durability::Process) | (Self::MySql(_), _) => Ok(()),
        })
    }

    /// Adds the SQL function `in_network` to an embedded database. A server has its own functions
    /// for addresses.
    ///
    /// # Errors
    /// The database refused it.
    pub fn add_in_network(&mut self) -> Result<(), Error> {
        self.call("add-function", |store| match store {
            Self::Sqlite(connection) => connection.add_in_network(),
            Self::MySql(_) => Ok(()),
        })
    }

    /// Checks all of an embedded database. A server checks its own tables.
    ///
    /// # Errors
    /// The database is damaged.
    pub fn check(&mut self) -> Result<(), Error> {
        match self {
            Self::Sqlite(connection) => connection.check(),
            Self::MySql(_) => Ok(()),
        }
    }

    /// Calls the driver. If that panics, the connection is not used again.
    fn call<T>(
        &mut self,
        place: &'static str,
        work: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        contain::catch(place, || work(self)).unwrap_or_else(|panic| {
            let place = match self {
                Self::Sqlite(connection) => connection.give_up(),
                Self::MySql(connection) => connection.give_up(),
            };
            Err(panicked(place, &panic))
        })
    }

    fn set_deadline(&mut self, deadline: Deadline) {
        match self {
            Self::Sqlite(connection) => connection.deadline = deadline,
            Self::MySql(connection) => connection.deadline = deadline,
        }
    }

    /// True if the server has ended the idle connection.
    fn is_disconnected(&self) -> bool {
        match self {
            Self::Sqlite(_) => false,
            Self::MySql(connection) => connection.is_disconnected(),
        }
    }

    /// A fault that did not prevent the database from being opened.
    fn trouble(&self) -> Option<Error> {
        match self {
            Self::Sqlite(_) => None,
            Self::MySql(connection) => connection.trouble(),
        }
    }

    fn is_usable(&self) -> bool {
        match self {
            Self::Sqlite(connection) => connection.is_usable,
            Self::MySql(connection) => connection.is_usable(),
        }
    }

    /// Selects the value for this database.
    fn dialect<T>(&self, sqlite: T, mysql: T) -> T {
        match self {
            Self::Sqlite(_) => sqlite,
            Self::MySql(_) => mysql,
        }
    }

    /// True if the table or view exists and this user may see it.
    ///
    /// # Errors
    /// The database refused the query or took too long.
    pub fn has_table(&mut self, name: &str) -> Result<bool, Error> {
        let sql = dialect::find_table(self);
        Ok(!self.query(sql, &[("name", Value::text(name))])?.is_empty())
    }

    /// True if rows of the table are rolled back with their transaction; false if there is no such
    /// table.
    ///
    /// # Errors
    /// The database refused the query or took too long.
    pub fn has_transactions(&mut self, name: &str) -> Result<bool, Error> {
        let sql = dialect::find_transactional_table(self);
        Ok(!self.query(sql, &[("name", Value::text(name))])?.is_empty())
    }
}

/// Does what the embedded database needs once in a process or its parent. Opens no file.
pub fn preload(database: &Database) {
    match database {
        // An attempt that meets the same fault reports it.
        Database::Sqlite(_) => drop(contain::catch("preload", sqlite::preload)),
        Database::MySql(_) => {}
    }
}

/// Creates an embedded database, unless its file exists. Does nothing for a server.
///
/// # Errors
/// The file cannot be created.
pub fn create(database: &Database) -> Result<(), Error> {
    match database {
        Database::Sqlite(path) => {
            let fail = |panic| Err(panicked(format!("sqlite {}", path.display()), &panic));
            contain::catch("create", || sqlite::create(path)).unwrap_or_else(fail)
        }
        Database::MySql(_) => Ok(()),
    }
}

/// The error of a driver that panicked.
fn panicked(place: String, panic: &Panic) -> Error {
    Error::Store { place, what: panic.to_string(), fault: StoreFault::Other }
}
