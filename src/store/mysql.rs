//! MariaDB and MySQL: one connection for an attempt, to the first host that accepts the login.

mod immediate;
mod packets;
mod transaction;
mod values;

use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use mysql::Conn;
use mysql::prelude::Queryable;
use nix::poll::PollFd;
use nix::poll::PollFlags;
use nix::poll::PollTimeout;
use nix::poll::poll;

use self::immediate::has_immediate;
use self::transaction::Transaction;
use self::values::is_ascii;
use self::values::named_parameters;
use self::values::names;
use self::values::read_row;
use super::Deadline;
use super::Parameters;
use super::QueryResult;
use super::Row;
use super::reach::Connected;
use super::reach::FIRST_STATEMENTS;
use super::reach::Unready;
use super::reach::about_panic;
use super::reach::connect_to_host;
use super::refusal::fault;
use super::refusal::message;
use super::sockets::sockets_within;
use super::unreached::FailedHosts;
use crate::config::DatabaseUrl;
use crate::contain;
use crate::contain::Contained;
use crate::error::Error;
use crate::error::StoreFault;

/// The error codes for a text that is too long for its column, or not in the column's character
/// set.
const DOES_NOT_FIT: &[u16] = &[1406, 1366, 1265, 3988];

/// The error codes for a text that cannot be compared with a column, because it is not in the
/// column's character set.
const NOT_COMPARABLE: &[u16] = &[1267, 1271, 3854, 3988];

/// The error code for a deadlock with another transaction; on a cluster also for a conflict with
/// another node's.
const DEADLOCK: u16 = 1213;

/// The error code for a row that another transaction has changed since this one read it.
const CHANGED: u16 = 1020;

/// Leaves strict mode. It saves the session's modes, because they may differ from the server's
/// default.
const LENIENT: &str = "SET @authpolicy_sql_mode = @@SESSION.sql_mode, SESSION sql_mode = \
                       REPLACE(REPLACE(REPLACE(@@SESSION.sql_mode, 'STRICT_TRANS_TABLES', ''), \
                       'STRICT_ALL_TABLES', ''), 'TRADITIONAL', '')";

/// An open connection.
pub struct MySqlConnection {
    place: String,
    connection: Contained<Conn>,
    /// The reason why remembered addresses were used.
    silence: Option<String>,
    pub(super) deadline: Deadline,
    /// Set if the first statements have not been sent yet.
    unready: Option<Box<LastHost>>,
    /// True if the server has EXECUTE IMMEDIATE.
    has_immediate: bool,
    /// True if the state of the connection is unknown, for example because an answer may still
    /// come. Then it is not used again.
    out_of_step: bool,
    /// The transaction that the caller has begun.
    transaction: Transaction,
    /// The number of transactions in succession that had been aborted when they were to be
    /// committed.
    lost: u32,
    /// True if the latest error is a conflict, so that another try may succeed.
    pub(super) may_try_again: bool,
}

/// The last host of a database, which may still refuse the first statements.
struct LastHost {
    host: Unready,
    /// The hosts that have failed before.
    failed: FailedHosts,
    /// The time that the host had, and `connect_timeout`.
    times: (Duration, Duration),
}

impl LastHost {
    /// The error of the database, if the host refuses the first statements.
    fn refused(mut self, place: &str, e: mysql::Error) -> Error {
        let (limit, due) = self.times;
        self.failed.add(place, &self.host.refused(e), limit, due);
        self.failed.error()
    }
}

impl MySqlConnection {
    /// Connects to the first host that accepts the login and the first statements. The last host gets
    /// those with the caller's first statement, which may then return the error that this function
    /// would return.
    pub(super) fn open(hosts: &[DatabaseUrl], deadline: Deadline) -> Result<Self, Error> {
        let mut failed = FailedHosts::new();
        let mut hosts = hosts.iter().peekable();
        while let Some(host) = hosts.next() {
            let place = host.to_string();
            let Some(limit) = deadline.connect() else {
                failed.add_untried(&place);
                continue;
            };
            let due = deadline.connect_timeout();
            let may_wait = hosts.peek().is_none();
            match contain::catch("connect", || connect_to_host(host, limit, may_wait)) {
                Ok(Ok(Connected { connection, silence, unready })) => {
                    let times = (limit, due);
                    return Ok(Self {
                        place,
                        has_immediate: has_immediate(&connection),
                        connection,
                        silence,
                        deadline,
                        unready: unready.map(|host| Box::new(LastHost { host, failed, times })),
                        out_of_step: false,
                        transaction: Transaction::None,
                        lost: 0,
                        may_try_again: false,
                    });
                }
                Ok(Err(unreached)) => failed.add(&place, &unreached, limit, due),
                Err(panic) => failed.add_panic(&place, &about_panic(&panic)),
            }
        }
        Err(failed.error())
    }

    pub(super) fn query(
        &mut self,
        sql: &str,
        parameters: &Parameters,
    ) -> Result<QueryResult, Error> {
        if self.has_immediate
            && let Some(found) = self.query_immediately(sql, parameters)?
        {
            return Ok(found);
        }
        self.send_unsent()?;
        self.limit()?;
        let result = self.connection.exec_iter(sql, named_parameters(sql, parameters));
        let found = result.and_then(|rows| {
            let columns = names(rows.columns().as_ref());
            // Collects all rows first, because results that are dropped half-way read the rest.
            let rows = rows.collect::<mysql::Result<Vec<_>>>()?;
            let rows = rows.into_iter().map(|row| read_row(&columns, row)).collect();
            Ok(QueryResult { columns, rows, changed: 0 })
        });
        match found {
            Err(mysql::Error::MySqlError(e))
                if NOT_COMPARABLE.contains(&e.code) && !is_ascii(parameters) =>
            {
                Ok(QueryResult { columns: self.prepare(sql)?, ..QueryResult::default() })
            }
            found => found.map_err(|e| self.store_error(&e)),
        }
    }

    /// Calls `on_row` for each row. It cannot stop early, because the driver reads all rows in any
    /// case.
    pub(super) fn visit(
        &mut self,
        sql: &str,
        parameters: &Parameters,
        on_row: &mut dyn FnMut(Row),
    ) -> Result<(), Error> {
        self.send_unsent()?;
        self.limit()?;
        let result = self.connection.exec_iter(sql, named_parameters(sql, parameters));
        let visited = result.and_then(|mut rows| {
            let columns = names(rows.columns().as_ref());
            rows.try_for_each(|row| {
                on_row(read_row(&columns, row?));
                Ok(())
            })
        });
        visited.map_err(|e| self.store_error(&e))
    }

    pub(super) fn prepare(&mut self, sql: &str) -> Result<Vec<String>, Error> {
        self.send_unsent()?;
        self.limit()?;
        let statement = self.connection.prep(sql).map_err(|e| self.store_error(&e))?;
        let columns = names(&statement.columns());
        self.connection.close(statement).map_err(|e| self.store_error(&e))?;
        Ok(columns)
    }

    pub(super) fn execute(&mut self, sql: &str, parameters: &Parameters) -> Result<u64, Error> {
        self.send_unsent()?;
        let is_single = self.transaction == Transaction::None;
        let done = self.run(sql, parameters);
        let done = done.and_then(|changed| match is_single {
            true => self.commit_single().map(|()| changed),
            false => Ok(changed),
        });
        done.map_err(|e| self.store_error(&e))
    }

    pub(super) fn insert(&mut self, sql: &str, parameters: &Parameters) -> Result<(), Error> {
        self.send_unsent()?;
        let done = match self.run(sql, parameters) {
            Err(mysql::Error::MySqlError(e)) if DOES_NOT_FIT.contains(&e.code) => {
                // Without strict mode, the server cuts texts and replaces characters.
                let done = self.run(LENIENT, &[]).and_then(|_| self.run(sql, parameters));
                let restored = self.run("SET SESSION sql_mode = @authpolicy_sql_mode", &[]);
                done.and_then(|done| restored.map(|_| done))
            }
            done => done,
        };
        let is_single = self.transaction == Transaction::None;
        let done = done.and_then(|_| if is_single { self.commit_single() } else { Ok(()) });
        done.map_err(|e| self.store_error(&e))
    }

    /// Commits a statement outside of a transaction.
    fn commit_single(&mut self) -> mysql::Result<()> {
        self.limit().map_err(|_| mysql::Error::IoError(std::io::ErrorKind::TimedOut.into()))?;
        self.connection.query_drop("COMMIT")
    }

    fn run(&mut self, sql: &str, parameters: &Parameters) -> mysql::Result<u64> {
        self.limit().map_err(|_| mysql::Error::IoError(std::io::ErrorKind::TimedOut.into()))?;
        let mut results = self.connection.exec_iter(sql, named_parameters(sql, parameters))?;
        let changed = results.affected_rows();
        // A procedure may return several results, and fail at the end.
        while let Some(mut result) = results.iter() {
            result.try_for_each(|row| row.map(drop))?;
        }
        Ok(changed)
    }

    /// Limits the next statement to the time that is left.
    fn limit(&mut self) -> Result<(), Error> {
        let left = self.deadline.query().ok_or_else(|| Error::Store {
            place: self.place.clone(),
            what: String::from("took too long"),
            fault: StoreFault::Other,
        })?;
        sockets_within(left);
        Ok(())
    }

    /// The fault that no name server could tell the host's address, so that a remembered address
    /// was used.
    pub(super) fn trouble(&self) -> Option<Error> {
        let silence = self.silence.as_ref()?;
        let what = format!("{silence}: connected to a remembered address");
        Some(Error::Store { place: self.place.clone(), what, fault: StoreFault::Other })
    }

    /// True if another statement may follow.
    pub(super) fn is_usable(&self) -> bool {
        !self.out_of_step
    }

    /// True if the server has ended the connection. Only then can there be something to read from
    /// an idle connection.
    #[allow(unsafe_code, reason = "the crate lends its descriptor as a number")]
    pub(super) fn is_disconnected(&self) -> bool {
        // SAFETY: the connection owns the descriptor, and outlives this borrow of it.
        let socket = unsafe { BorrowedFd::borrow_raw(self.connection.as_raw_fd()) };
        let mut asked = [PollFd::new(socket, PollFlags::POLLIN)];
        poll(&mut asked, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }

    /// Marks the connection as unusable after a panic of the driver; returns its place, for
    /// messages.
    pub(super) fn give_up(&mut self) -> String {
        self.out_of_step = true;
        self.may_try_again = false;
        self.place.clone()
    }

    fn store_error(&mut self, e: &mysql::Error) -> Error {
        self.out_of_step |= !matches!(e, mysql::Error::MySqlError(_));
        let (place, what) = (self.place.clone(), message(e));
        let said =
            if let mysql::Error::MySqlError(e) = e { Some((e.code, &*e.state)) } else { None };
        let (code, state) = said.unwrap_or_default();
        self.may_try_again = matches!(code, DEADLOCK | CHANGED);
        Error::Store { place, what, fault: fault(code, state) }
    }
}
