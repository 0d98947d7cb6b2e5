//! The limits of one attempt and their counters, from the first check to its settlement.

use std::sync::Arc;
use std::time::Duration;

use super::Clock;
use super::Count;
use super::Counter;
use super::KEYS_PREFIX;
use super::Per;
use super::Purpose;
use super::State;
use super::is_of_account;
use super::name;
use crate::error::Error;
use crate::policy::Action;
use crate::policy::Limit;

/// The state of an attempt's limits, and the counters to which its failure would be added.
#[derive(Debug)]
pub struct AttemptLimits {
    /// The id of this attempt.
    attempt: String,
    counters: Vec<Counter>,
    /// The purpose of the reservations in the table, if there are any.
    reserved_for: Option<Purpose>,
    /// A limit that has no room now.
    pub full: Option<Arc<str>>,
    /// Each limit that rejects, and true if failures have reached it.
    pub reached: Vec<(Arc<str>, bool)>,
    /// The time that the client has to wait.
    pub delay: Duration,
}

/// The properties of an attempt that limits count.
pub struct Subject<'a> {
    /// The account's name in lower case, with the default domain.
    pub account: &'a str,
    /// The address or network that limits count, or `local`.
    pub remote: &'a str,
    /// The country's code, or empty.
    pub country: &'a str,
    /// The truncated hash of the password; empty if the driver does not show the password to us.
    pub pwhash: &'a str,
}

impl AttemptLimits {
    /// The limits of a new attempt, with its own id and no counters.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn new() -> Result<Self, Error> {
        let mut bytes = [0_u8; 8];
        getrandom::fill(&mut bytes).map_err(|e| Error::System {
            place: String::from("random numbers"),
            source: std::io::Error::other(e.to_string()),
        })?;
        Ok(Self {
            attempt: base16ct::lower::encode_string(&bytes),
            counters: Vec::new(),
            reserved_for: None,
            full: None,
            reached: Vec::new(),
            delay: Duration::ZERO,
        })
    }

    /// The counter of a limit for a subject.
    #[must_use]
    pub fn counter(&self, limit: &Limit, subject: &Subject<'_>) -> Counter {
        let account = name(subject.account);
        let value = match limit.count {
            Count::Failures => &self.attempt,
            // The driver shows us no password, so each attempt counts as a different one.
            Count::Passwords if subject.pwhash.is_empty() => &self.attempt,
            Count::Passwords => subject.pwhash,
            Count::Accounts => &account,
            Count::Remotes => subject.remote,
            Count::Countries => subject.country,
        };
        // An empty value would be a lock.
        let value = if value.is_empty() { "-" } else { value }.to_owned();
        let (account, remote) = match limit.per {
            Per::Remote => (String::new(), subject.remote.to_owned()),
            Per::Account => (account, String::new()),
            Per::AccountAndRemote => (account, subject.remote.to_owned()),
        };
        Counter { limit: limit.clone(), account, remote, value, reservations: Vec::new() }
    }

    /// Notes the state of a limit's counter. Under `log_only` no client has to wait.
    pub fn note(&mut self, limit: &Limit, state: State, log_only: bool) {
        let is_reached = state == State::Reached;
        match limit.action {
            Action::Reject if state == State::Full => {
                self.full = Some(Arc::clone(&limit.name));
                self.reached.push((Arc::clone(&limit.name), false));
            }
            Action::Reject => self.reached.push((Arc::clone(&limit.name), is_reached)),
            Action::Delay(time) if is_reached && !log_only => self.delay = self.delay.max(time),
            Action::Delay(_) => {}
        }
    }

    /// Notes that failures have reached these limits meanwhile.
    pub fn note_reached(&mut self, limits: &[Arc<str>]) {
        for (name, is_reached) in &mut self.reached {
            *is_reached |= limits.contains(name);
        }
    }

    /// Adds a counter to which a failure of the attempt would be added.
    pub fn add_counter(&mut self, counter: Counter) {
        self.counters.push(counter);
    }

    /// True if failures have reached a limit that rejects.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.reached.iter().any(|(_, is_reached)| *is_reached)
    }

    /// The counters where the attempt needs room.
    pub fn rejecting(&self) -> impl Iterator<Item = &Counter> {
        self.counters.iter().filter(|counter| counter.is_rejecting())
    }

    /// True if room is reserved for the keys of a SCRAM exchange alone.
    #[must_use]
    pub fn has_reserved_keys(&self) -> bool {
        self.reserved_for == Some(Purpose::Keys)
    }

    /// Notes the reservations that are about to be made; returns the ids of earlier ones. The
    /// caller notes them first, because a database may make them without confirming it.
    pub(super) fn begin_reservation(&mut self, purpose: Purpose, clock: Clock) -> Vec<String> {
        let mut before: Vec<_> =
            self.counters.iter().flat_map(|counter| counter.reservations.iter().cloned()).collect();
        before.sort();
        before.dedup();
        self.reserved_for = Some(purpose);
        let mut counters = std::mem::take(&mut self.counters);
        for counter in counters.iter_mut().filter(|counter| counter.is_rejecting()) {
            let (id, _) = self.reservation(counter, purpose, clock);
            if !counter.reservations.contains(&id) {
                counter.reservations.push(id);
            }
        }
        self.counters = counters;
        before
    }

    /// Notes that the table holds no reservation.
    pub(super) fn forget_reservations(&mut self) {
        self.reserved_for = None;
        for counter in &mut self.counters {
            counter.reservations.clear();
        }
    }

    pub(super) fn counters(&self) -> &[Counter] {
        &self.counters
    }

    /// The id of a reservation, and the time at which it expires. With an account's counter, a
    /// reservation for SCRAM keys has its own prefix, so it never counts as a failure. It expires
    /// when its lease is over.
    pub(super) fn reservation(
        &self,
        counter: &Counter,
        purpose: Purpose,
        clock: Clock,
    ) -> (String, i64) {
        let expires = counter.expires(clock);
        if purpose == Purpose::Keys && is_of_account(counter) {
            let id = self.attempt.get(1..).unwrap_or_default();
            return (
                format!("{KEYS_PREFIX}{id}"),
                expires.min(clock.now.saturating_add(clock.lease)),
            );
        }
        (self.attempt.clone(), expires)
    }
}
