//! Several statements in one packet, and so in one round trip, by the text protocol.

use mysql::Conn;
use mysql::prelude::Queryable;

use super::FIRST_STATEMENTS;
use super::MySqlConnection;
use super::NOT_COMPARABLE;
use super::transaction::BEGIN;
use super::transaction::Transaction;
use super::values::is_ascii;
use super::values::names;
use super::values::read_row_of_text;
use crate::error::Error;
use crate::error::StoreFault;
use crate::store::QueryResult;
use crate::store::Statement;
use crate::store::sockets::sockets_within;

/// The error code of a Galera node that is not ready for statements.
const NOT_READY: u16 = 1047;

impl MySqlConnection {
    /// Runs statements in their order, up to the first that fails.
    ///
    /// Outside of a transaction, a change is committed by another packet. The server would carry
    /// out a COMMIT of the same packet even if a lock had delayed the change until after the
    /// deadline.
    pub(in crate::store) fn run_all(
        &mut self,
        statements: &[Statement<'_>],
    ) -> Result<Vec<QueryResult>, Error> {
        let (results, done) = self.send_all(statements, &[])?;
        done.map_err(|e| self.store_error(&e))?;
        let has_changes = results.iter().any(|result| result.columns.is_empty());
        if has_changes && self.transaction == Transaction::None {
            self.commit_single().map_err(|e| self.store_error(&e))?;
        }
        Ok(results)
    }

    /// Sends the statements, and then these texts. Returns the results of the statements, and the
    /// error of a text.
    pub(super) fn send_all(
        &mut self,
        statements: &[Statement<'_>],
        end: &[&str],
    ) -> Result<(Vec<QueryResult>, mysql::Result<()>), Error> {
        let mut results = Vec::new();
        loop {
            let left = statements.get(results.len()..).unwrap_or_default();
            if left.is_empty() && end.is_empty() {
                return Ok((results, Ok(())));
            }
            let mut texts = Vec::new();
            for statement in left {
                let text = statement.with_literals();
                texts.push(text.map_err(|name| self.no_value(name))?);
            }
            texts.extend(end.iter().map(|text| (*text).to_owned()));
            let (found, done) = self.send(&texts)?;
            results.extend(found);
            let count = statements.len().saturating_add(end.len());
            let Err(e) = done else {
                let done = if results.len() == count { Ok(()) } else { Err(unexpected()) };
                results.truncate(statements.len());
                return Ok((results, done));
            };
            let Some(failed) = statements.get(results.len()) else {
                results.truncate(statements.len());
                return Ok((results, Err(e)));
            };
            let is_comparable = !matches!(
                &e,
                mysql::Error::MySqlError(e) if NOT_COMPARABLE.contains(&e.code)
            );
            let columns = match is_comparable || is_ascii(failed.parameters()) {
                true => Vec::new(),
                false => self.prepare(failed.sql())?,
            };
            // Only a statement with columns is a query, which then has no rows.
            if columns.is_empty() {
                return Err(self.store_error(&e));
            }
            results.push(QueryResult { columns, ..QueryResult::default() });
        }
    }

    /// Makes one round trip. Returns the results up to the first error.
    pub(super) fn send(
        &mut self,
        texts: &[String],
    ) -> Result<(Vec<QueryResult>, mysql::Result<()>), Error> {
        self.limit()?;
        let unready = self.unready.take();
        let times = [self.deadline.connect(), self.deadline.query()];
        if let (Some(_), Some(time)) = (&unready, times.into_iter().flatten().max()) {
            // The host has accepted the connection only when it has answered.
            sockets_within(time);
        }
        let first: &[&str] = match (&unready, texts) {
            (None, _) => &[],
            (Some(_), []) => &FIRST_STATEMENTS[..],
            // Any other statement serves as well, because there is no other host to try.
            (Some(_), _) => &FIRST_STATEMENTS[..1],
        };
        let begin = self.take_begin();
        let unsent = first.len().saturating_add(begin.len());
        let before = first.iter().chain(begin).copied();
        let packet: Vec<_> = before.chain(texts.iter().map(String::as_str)).collect();
        let mut results = Vec::new();
        let done = run(&mut self.connection, &packet.join(";"), &mut results);
        let is_refused = |e: &mysql::Error| results.len() < first.len() || is_not_ready(e);
        match (unready, done) {
            (Some(host), Err(e)) if is_refused(&e) => {
                (self.out_of_step, self.may_try_again) = (true, false);
                Err(host.refused(&self.place, e))
            }
            (_, done) if results.len() >= unsent => Ok((results.split_off(unsent), done)),
            (_, done) => Err(self.store_error(&done.err().unwrap_or_else(unexpected))),
        }
    }

    /// Sends the statements that have to be sent before the next one, if that is a prepared one.
    pub(in crate::store) fn send_unsent(&mut self) -> Result<(), Error> {
        if self.unready.is_none() && self.transaction != Transaction::Unsent {
            return Ok(());
        }
        let (_, done) = self.send(&[])?;
        done.map_err(|e| self.store_error(&e))
    }

    /// The statements that begin the transaction, if the server has not heard of it yet.
    fn take_begin(&mut self) -> &'static [&'static str] {
        if self.transaction != Transaction::Unsent {
            return &[];
        }
        self.transaction = Transaction::Open;
        &BEGIN
    }

    /// The error for a parameter that has no value.
    fn no_value(&self, name: &str) -> Error {
        let what = format!("a statement has no value for :{name}");
        Error::Store { place: self.place.clone(), what, fault: StoreFault::Other }
    }
}

/// True for the error of a Galera node that has lost the others, or has not caught up with them.
fn is_not_ready(e: &mysql::Error) -> bool {
    matches!(e, mysql::Error::MySqlError(e) if e.code == NOT_READY)
}

/// The error for a server that does not send one result for each statement.
fn unexpected() -> mysql::Error {
    mysql::Error::DriverError(mysql::DriverError::UnexpectedPacket)
}

/// Runs a packet of statements, and appends the result of each to `found`, up to the first that
/// fails.
fn run(connection: &mut Conn, packet: &str, found: &mut Vec<QueryResult>) -> mysql::Result<()> {
    let mut results = connection.query_iter(packet)?;
    while let Some(result) = results.iter() {
        let columns = names(result.columns().as_ref());
        let changed = result.affected_rows();
        let rows = result.map(|row| row.map(|row| read_row_of_text(&columns, row)));
        let rows = rows.collect::<mysql::Result<Vec<_>>>()?;
        found.push(QueryResult { columns, rows, changed });
    }
    Ok(())
}
