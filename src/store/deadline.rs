//! The time that databases have.

use std::time::Duration;
use std::time::Instant;

use crate::config::Timeouts;

/// Until when an attempt may be busy with databases.
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

    /// Moves the end by time that went into other things than databases.
    pub(super) fn extend(&mut self, time: Duration) {
        self.end = self.end.checked_add(time).unwrap_or(self.end);
    }

    /// How long connecting may take now.
    pub(super) fn connect(&self) -> Option<Duration> {
        self.left().map(|left| left.min(self.timeouts.connect))
    }

    /// How long connecting may take where there is time.
    pub(super) fn due(&self) -> Duration {
        self.timeouts.connect
    }

    /// How long a statement may take now.
    pub(super) fn query(&self) -> Option<Duration> {
        self.left().map(|left| left.min(self.timeouts.query))
    }

    fn left(&self) -> Option<Duration> {
        let left = self.end.saturating_duration_since(Instant::now());
        (left >= Duration::from_millis(1)).then_some(left)
    }
}
