//! The reasons why the hosts of a database could not be used.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use super::refusal::is_silence;
use super::refusal::message;
use super::refusal::remedy;
use crate::config::DatabaseUrl;
use crate::error::Error;
use crate::error::StoreFault;

/// The failures of one host: of its name, or of each address tried.
pub(super) struct Unreached {
    host: DatabaseUrl,
    /// The reason why the name has no address.
    unresolved: Option<String>,
    /// The reason why remembered addresses were tried.
    pub(super) silence: Option<String>,
    tried: Vec<Try>,
}

/// One address, or a socket: the error, and the time that the host had.
struct Try {
    address: Option<SocketAddr>,
    error: mysql::Error,
    given: Duration,
}

/// A host has had its time if one tenth of it, at most, went into the lookup.
const LOOKUP_SHARE: u32 = 10;

impl Unreached {
    /// A host that has not been tried yet.
    pub(super) fn new(host: &DatabaseUrl) -> Self {
        Self { host: host.clone(), unresolved: None, silence: None, tried: Vec::new() }
    }

    /// A host whose name has no address, for this reason.
    pub(super) fn unresolved(host: &DatabaseUrl, reason: String) -> Self {
        Self { unresolved: Some(reason), ..Self::new(host) }
    }

    /// Adds the failure of one address, or of a socket, that had this time.
    pub(super) fn with(
        mut self,
        address: Option<SocketAddr>,
        error: mysql::Error,
        given: Duration,
    ) -> Self {
        self.tried.push(Try { address, error, given });
        self
    }

    /// True if every address tried was silent, and the host had the time that is due: half of it if
    /// silent name servers took the other half. `limit` is what the attempt had left for the host.
    /// A name without an address says nothing about the host.
    pub(super) fn is_silent(&self, limit: Duration, due: Duration) -> bool {
        let is_whole = limit >= due;
        let due = if self.silence.is_some() { due.checked_div(2).unwrap_or(due) } else { due };
        let enough = due.saturating_sub(due.checked_div(LOOKUP_SHARE).unwrap_or_default());
        let given: Duration = self.tried.iter().map(|one| one.given).sum();
        let had_its_time = is_whole && given >= enough;
        let all = || self.tried.iter().all(|one| is_silence(&one.error, had_its_time));
        self.unresolved.is_none() && !self.tried.is_empty() && all()
    }

    /// True if a server said why it does not take us in.
    pub(super) fn has_server_error(&self) -> bool {
        self.tried.iter().any(|one| matches!(one.error, mysql::Error::MySqlError(_)))
    }
}

impl fmt::Display for Unreached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(reason) = &self.unresolved {
            return f.write_str(reason);
        }
        if let Some(silence) = &self.silence {
            write!(f, "{silence}; at the remembered address: ")?;
        }
        if self.tried.is_empty() {
            return f.write_str("took too long");
        }
        for (i, Try { address, error, .. }) in self.tried.iter().enumerate() {
            f.write_str(if i == 0 { "" } else { ", " })?;
            if let Some(address) =
                address.filter(|_| self.tried.len() > 1 || self.silence.is_some())
            {
                write!(f, "{}: ", address.ip())?;
            }
            write!(f, "{}{}", message(error), remedy(error, &self.host))?;
        }
        Ok(())
    }
}

/// The failures of all hosts of a database.
pub(super) struct FailedHosts {
    problems: Vec<String>,
    /// True if each host had its time, and none answered.
    are_silent: bool,
    has_server_error: bool,
}

impl FailedHosts {
    /// No host has failed yet.
    pub(super) fn new() -> Self {
        Self { problems: Vec::new(), are_silent: true, has_server_error: false }
    }

    /// Adds a host that had this time. `due` is `connect_timeout`.
    pub(super) fn add(
        &mut self,
        place: &str,
        unreached: &Unreached,
        limit: Duration,
        due: Duration,
    ) {
        self.are_silent &= unreached.is_silent(limit, due);
        self.has_server_error |= unreached.has_server_error();
        self.problems.push(format!("{place}: {unreached}"));
    }

    /// Adds a host that was not tried, for lack of time.
    pub(super) fn add_untried(&mut self, place: &str) {
        self.are_silent = false;
        self.problems.push(format!("{place}: not tried, attempt_timeout is over"));
    }

    /// Adds a host at which the driver panicked.
    pub(super) fn add_panic(&mut self, place: &str, about: &str) {
        (self.are_silent, self.has_server_error) = (false, true);
        self.problems.push(format!("{place}: {about}"));
    }

    /// The error for a database without a host that can be used.
    pub(super) fn error(&self) -> Error {
        let place = match self.has_server_error {
            true => String::from("no database server accepts the connection"),
            false => String::from("no database server can be reached"),
        };
        let is_silent = self.are_silent && !self.problems.is_empty();
        let fault = if is_silent { StoreFault::Unreachable } else { StoreFault::Other };
        Error::Store { place, what: self.problems.join("; "), fault }
    }
}
