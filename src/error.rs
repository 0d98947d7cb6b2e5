//! Errors on our side, with a variant for each place where the administrator has to act.
//!
//! A wrong password is not an error but a decision. An error leads to "cannot tell"; docs/design.md
//! has the exceptions. The texts go to Exim's log and to the administrator, so they never contain a
//! password or a hash.

use std::path::PathBuf;
use std::sync::Arc;

use crate::contain;
use crate::contain::Panic;

/// The reason why an attempt cannot be decided.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration file.
    #[error("{}: {what}", file.display())]
    Config {
        /// The file at fault.
        file: PathBuf,
        /// The line and the key if they are known, then the fault and the remedy.
        what: String,
    },
    /// The call in Exim's configuration has the wrong arguments.
    #[error("{0}")]
    Call(String),
    /// A database: it cannot be reached, is too slow, or refuses a statement.
    #[error("{place}: {what}")]
    Store {
        /// The host, socket or file.
        place: String,
        /// Its error message.
        what: String,
        /// The kind of the fault, for callers that handle some kinds.
        fault: StoreFault,
    },
    /// The GeoIP file.
    #[error("{}: {what}", file.display())]
    Geo {
        /// The file at fault.
        file: PathBuf,
        /// The fault and the remedy.
        what: String,
    },
    /// The data of one account: a stored password or a rule that cannot be read.
    #[error("account {account}: {what}")]
    Account {
        /// The login.
        account: String,
        /// The column or scheme at fault, without its value.
        what: String,
    },
    /// A limit has no room, because of other attempts in progress.
    #[error(
        "limit {limit}: other attempts in progress took all of its room for database.attempt_timeout"
    )]
    LimitFull {
        /// The limit's name.
        limit: Arc<str>,
    },
    /// Failures have reached a limit, but the settlements of earlier attempts of this host still
    /// wait.
    #[error(
        "limit {limit}: the outcome of earlier attempts waits in this host's journal: `authpolicy \
         flush` prints the cause"
    )]
    Unsettled {
        /// The limit's name.
        limit: Arc<str>,
    },
    /// A panic in our own code, caught before it ended the attempt.
    #[error("{0}, please report it")]
    Bug(Panic),
    /// The operating system: a file, a user, a directory.
    #[error("{place}: {source}")]
    System {
        /// The file, directory or resource at fault.
        place: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// Neither the table nor the journal took the row of an attempt.
    #[error("log: no place took the row: {store}; {journal}")]
    RowNotStored {
        /// The error of the log's database.
        #[source]
        store: Box<Error>,
        /// The error of the journal.
        journal: Box<Error>,
    },
}

/// The kinds of faults of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreFault {
    /// No host has answered, not even with an error.
    Unreachable,
    /// The table is missing.
    NoTable,
    /// The user has no right to use the table. The table may also be missing.
    Denied,
    /// The table refuses these values for good.
    Row,
    /// The database file is damaged.
    Damaged,
    /// Any other fault.
    Other,
}

impl Error {
    /// The kind of the fault, if a database is at fault.
    #[must_use]
    pub fn store_fault(&self) -> Option<StoreFault> {
        match self {
            Self::Store { fault, .. } => Some(*fault),
            Self::Config { .. }
            | Self::Call(_)
            | Self::Geo { .. }
            | Self::Account { .. }
            | Self::Bug(_)
            | Self::LimitFull { .. }
            | Self::Unsettled { .. }
            | Self::System { .. }
            | Self::RowNotStored { .. } => None,
        }
    }

    /// The limit, if a limit is the reason.
    #[must_use]
    pub fn full_limit(&self) -> Option<&Arc<str>> {
        match self {
            Self::LimitFull { limit } | Self::Unsettled { limit } => Some(limit),
            Self::Config { .. }
            | Self::Call(_)
            | Self::Store { .. }
            | Self::Geo { .. }
            | Self::Account { .. }
            | Self::Bug(_)
            | Self::System { .. }
            | Self::RowNotStored { .. } => None,
        }
    }

    /// True if a table is missing, or this user may not use it.
    #[must_use]
    pub fn is_about_table(&self) -> bool {
        matches!(self.store_fault(), Some(StoreFault::NoTable | StoreFault::Denied))
    }

    /// Adds the remedy for the one of these tables that the error names, as [`Error::about_table`]
    /// does. If it names none of them, it is about the first.
    #[must_use]
    pub fn about_tables(self, tables: &[&str]) -> Self {
        let text = if let Self::Store { what, .. } = &self { what.as_str() } else { "" };
        let named = tables.iter().find(|table| text.contains(**table)).or(tables.first());
        let table = named.copied().unwrap_or_default();
        self.about_table(table)
    }

    /// Adds the remedy for a table that is missing, or that this user may not use.
    #[must_use]
    pub fn about_table(self, table: &str) -> Self {
        if let Self::Store { place, what, fault } = self {
            let what = match fault {
                StoreFault::Denied => {
                    let (rights, for_tool) = rights(table);
                    format!(
                        "{what}: GRANT {rights} ON {table} to this user{for_tool}; if it is missing, \
                         run `authpolicy db init` as a user who may CREATE tables"
                    )
                }
                // These tables hold data that an empty new table would not replace.
                StoreFault::NoTable if matches!(table, "account" | "connection_log") => {
                    format!("{what}: run `authpolicy db init`, or rename it back")
                }
                StoreFault::NoTable => format!("{what}: run `authpolicy db init`"),
                StoreFault::Unreachable
                | StoreFault::Row
                | StoreFault::Damaged
                | StoreFault::Other => what,
            };
            return Self::Store { place, what, fault };
        }
        self
    }
}

/// Runs a whole program. A panic becomes an error that names only its file and line, because its text
/// may hold a password.
///
/// # Errors
/// The program panicked.
pub fn catch_panic<T>(program: impl FnOnce() -> T) -> Result<T, Error> {
    contain::install_hook();
    contain::catch("tool", program).map_err(Error::Bug)
}

/// The rights that the plugin needs on a table, and those that some commands of the tool need
/// besides. exim-config-examples/mariadb/schema.sql must grant the same.
fn rights(table: &str) -> (&'static str, &'static str) {
    match table {
        "account" => ("SELECT", ", for `authpolicy user` INSERT, UPDATE and DELETE, too"),
        "connection_log" => {
            ("INSERT", ", for `authpolicy log` SELECT, too, for `prune` SELECT and DELETE")
        }
        "authpolicy_delivered" | "authpolicy_exception" => ("SELECT, INSERT, DELETE", ""),
        _ => ("SELECT, INSERT, UPDATE, DELETE", ""),
    }
}
