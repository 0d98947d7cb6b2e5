//! The log row of one attempt.

use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use crate::attempt::Attempt;
use crate::attempt::Ticket;
use crate::error::Error;
use crate::row::journal::Record;
use crate::store::Value;
use crate::verdict::Verdict;

/// The values of one row, from which `log.insert` takes those that it stores.
#[derive(Debug)]
pub struct Entry<'a> {
    /// When the attempt began.
    pub time: SystemTime,
    /// The attempt.
    pub attempt: &'a Attempt,
    /// Its verdict.
    pub verdict: &'a Verdict,
    /// The value of `protocol`.
    pub protocol: &'a str,
}

impl Entry<'_> {
    /// Makes the row, with the attempt's id or a new one.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn record(&self) -> Result<Record, Error> {
        let verdict = self.verdict;
        let options = &self.attempt.options;
        let option = |text: &Option<String>| Value::text(text.as_deref().unwrap_or_default());
        let seconds = self.time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let row = vec![
            ("time", Value::Int(i64::try_from(seconds).unwrap_or(0))),
            ("protocol", Value::text(self.protocol)),
            ("username", Value::text(&verdict.username)),
            ("remote_ip", Value::text(&self.attempt.remote.text())),
            ("country", Value::text(&verdict.country_text())),
            ("auth_ok", Value::flag(verdict.decision.auth_ok)),
            ("policy_reject", Value::flag(verdict.decision.policy_reject)),
            ("asn", verdict.asn.map_or(Value::Null, |asn| Value::Int(i64::from(asn)))),
            ("reason", Value::text(verdict.reason())),
            ("rule", Value::text(&verdict.rule())),
            ("mechanism", option(&options.mechanism)),
            ("tls", option(&options.tls)),
            ("helo", option(&options.helo)),
        ];
        match &self.attempt.ticket.id {
            Some(id) => Ok(Record { id: id.clone(), row, settlement: None }),
            None => Record::new(self.time, row),
        }
    }
}

/// Gives the row of a new attempt its id.
#[must_use]
pub fn ticket(time: SystemTime) -> Ticket {
    // If the system gives no random numbers now, `record` tries again.
    Ticket::new(Record::new(time, Vec::new()).ok().map(|record| record.id))
}
