//! The time that databases have.

use std::time::Duration;
use std::time::Instant;

use crate::config::Timeouts;

/// The end of the time that an attempt may spend on databases.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    end: Instant,
    timeouts: Timeouts,
}

impl Deadline {
    /// Counts `attempt_timeout` from `start`.
    #[must_use]
    pub fn new(start: Instant, timeouts: Timeouts) -> Self {
        Self { end: start.checked_add(timeouts.attempt).unwrap_or(start), timeouts }
    }

    /// Extends the deadline by time that was not spent on databases.
    pub(super) fn extend(&mut self, time: Duration) {
        self.end = self.end.checked_add(time).unwrap_or(self.end);
    }

    /// The time that connecting to a host may take now; `None` if the deadline is over.
    pub(super) fn connect(&self) -> Option<Duration> {
        self.left().map(|left| left.min(self.timeouts.connect))
    }

    /// `connect_timeout`: the time that a host gets if the deadline is not near.
    pub(super) fn connect_timeout(&self) -> Duration {
        self.timeouts.connect
    }

    /// The time that a statement may take now; `None` if the deadline is over.
    pub(super) fn query(&self) -> Option<Duration> {
        self.left().map(|left| left.min(self.timeouts.query))
    }

    fn left(&self) -> Option<Duration> {
        let left = self.end.saturating_duration_since(Instant::now());
        (left >= Duration::from_millis(1)).then_some(left)
    }
}
