//! What can go wrong on *our* side, by who has to act.
//!
//! A wrong password is no error, it is an answer. Each of these leads to "cannot tell", never to an
//! acceptance; the texts go to Exim's log and to the administrator, so none of them ever holds a
//! password or a hash.

use std::path::PathBuf;
use std::sync::Arc;

use crate::contain::Panic;

/// Why an attempt cannot be decided.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration file: `what` starts with the line and the key where they are known.
    #[error("{}: {what}", file.display())]
    Config {
        /// The file at fault.
        file: PathBuf,
        /// Line, key and what to do.
        what: String,
    },
    /// The call in Exim's configuration has the wrong arguments.
    #[error("{0}")]
    Call(String),
    /// A database: away, too slow, or it refused a statement.
    #[error("{place}: {what}")]
    Store {
        /// The host, socket or file.
        place: String,
        /// What it said.
        what: String,
        /// What a caller may have to know of it.
        fault: StoreFault,
    },
    /// The GeoIP file.
    #[error("{}: {what}", file.display())]
    Geo {
        /// The file at fault.
        file: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The data of one account: a stored password or a rule that cannot be read.
    #[error("account {account}: {what}")]
    Account {
        /// Whose data.
        account: String,
        /// Which column or scheme, without its value.
        what: String,
    },
    /// Other attempts in progress left no room with a limit.
    #[error(
        "limit {limit}: other attempts in progress took all of its room for database.attempt_timeout"
    )]
    LimitFull {
        /// The limit's name.
        limit: Arc<str>,
    },
    /// Failures have reached a limit, but earlier attempts of this host are not settled yet.
    #[error(
        "limit {limit}: the outcome of earlier attempts waits in this host's journal: `authpolicy flush` says what \
         is in the way"
    )]
    Unsettled {
        /// The limit's name.
        limit: Arc<str>,
    },
    /// A panic in our own code, caught before it ended the attempt.
    #[error("{0}, please report it")]
    Bug(Panic),
    /// The system: a file, a user, a directory.
    #[error("{place}: {source}")]
    System {
        /// What was being looked at.
        place: String,
        /// What the system said.
        source: std::io::Error,
    },
}

/// What a database could not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreFault {
    /// Answer: no host took us in, or said why not.
    Unreachable,
    /// Find a table.
    NoTable,
    /// Let us use a table, or say whether it is there.
    Denied,
    /// Take these values, now or later.
    Row,
    /// Read its own file, which is damaged.
    Damaged,
    /// Something else.
    Other,
}

impl Error {
    /// What a database could not do, if it is one that is at fault.
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
            | Self::System { .. } => None,
        }
    }

    /// The limit that cannot tell now, if a limit is the reason.
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
            | Self::System { .. } => None,
        }
    }

    /// Whether there is no table, as far as we may see.
    #[must_use]
    pub fn is_about_table(&self) -> bool {
        matches!(self.store_fault(), Some(StoreFault::NoTable | StoreFault::Denied))
    }

    /// Says what to do about a table that is not there, or not for us.
    #[must_use]
    pub fn about_table(self, table: &str) -> Self {
        if let Self::Store { place, what, fault } = self {
            let what = match fault {
                StoreFault::Denied => {
                    let (rights, besides) = rights(table);
                    format!(
                        "{what}: GRANT {rights} ON {table} to this user{besides}; if it is missing, \
                         run `authpolicy db init` as one who may CREATE"
                    )
                }
                // They hold what nobody wants to begin anew.
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

/// What a table is used for, and by some verbs of the tool besides; the same stands in
/// exim-config-examples/mariadb/schema.sql.
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
