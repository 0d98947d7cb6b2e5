//! One call of the plugin for an attempt. It holds the databases, and everything that must be settled
//! or reported at the end, even after an error or a panic.

use std::time::UNIX_EPOCH;

use super::Context;
use super::StartTime;
use crate::account::Login;
use crate::attempt::Attempt;
use crate::config::Config;
use crate::error::Error;
use crate::policy::Policy;
use crate::store::Deadline;
use crate::store::Stores;
use crate::tables::counters;
use crate::tables::counters::AttemptLimits;
use crate::tables::counters::Clock;

/// One call for an attempt.
pub(super) struct Call<'a> {
    /// The configuration, its files and the log.
    pub context: Context<'a>,
    /// The attempt, as Exim passed it.
    pub attempt: &'a Attempt,
    /// The start of this call.
    pub start_time: StartTime,
    /// The databases; opened when they are needed.
    pub stores: Stores<'a>,
    /// The attempt's counters and reservations; `None` before the first limit is checked.
    pub attempt_limits: Option<AttemptLimits>,
    /// True if an earlier call for this attempt has checked the limits.
    pub limits_were_checked: bool,
    /// The first error of looking up the country or the autonomous system. It is kept until a rule
    /// needs the result.
    pub geo_error: Option<Error>,
}

impl<'a> Call<'a> {
    /// Begins a call. `attempt_limits` are those of an earlier call for the same attempt.
    pub(super) fn new(
        context: Context<'a>,
        attempt: &'a Attempt,
        start_time: StartTime,
        attempt_limits: Option<AttemptLimits>,
    ) -> Self {
        let deadline = Deadline::new(start_time.start, context.config.timeouts);
        Self {
            context,
            attempt,
            start_time,
            stores: Stores::new(context.config, deadline),
            limits_were_checked: attempt_limits.is_some(),
            attempt_limits,
            geo_error: None,
        }
    }

    pub(super) fn config(&self) -> &'a Config {
        self.context.config
    }

    pub(super) fn policy(&self) -> &'a Policy {
        &self.context.config.policy
    }

    /// The value of the row's `protocol`.
    pub(super) fn protocol(&self) -> &'a str {
        super::protocol(self.context, self.attempt)
    }

    /// The forms of the name that the client gave.
    pub(super) fn login(&self, authcid: &str) -> Login {
        Login::new(authcid, &self.context.config.accounts.default_domain)
    }

    /// The start of this call, in milliseconds since 1970.
    pub(super) fn milliseconds(&self) -> i64 {
        let since_1970 = self.start_time.time.duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since_1970.as_millis()).unwrap_or(0)
    }

    /// The start of this call, in seconds since 1970.
    pub(super) fn seconds(&self) -> i64 {
        self.milliseconds().div_euclid(1000)
    }

    /// The time now. The attempt may have waited since the call began.
    pub(super) fn clock(&self) -> Clock {
        let waited = self.start_time.start.elapsed().as_millis();
        let waited = i64::try_from(waited).unwrap_or(i64::MAX);
        let lease = counters::lease(self.context.config.timeouts.attempt);
        Clock { now: self.milliseconds().saturating_add(waited), lease }
    }

    /// True if failures have reached a limit that rejects.
    pub(super) fn has_reached_limit(&self) -> bool {
        self.attempt_limits.as_ref().is_some_and(AttemptLimits::is_refused)
    }

    /// The error of an attempt that needs a country or an autonomous system that is unavailable.
    pub(super) fn geo_unavailable(&mut self, username: &str) -> Error {
        self.geo_error.take().unwrap_or_else(|| Error::Account {
            account: username.to_owned(),
            what: String::from("has a country rule, and the configuration no [geoip] database"),
        })
    }
}
