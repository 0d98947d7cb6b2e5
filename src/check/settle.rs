//! The settlement of an attempt with the limits, when its outcome is known.

use std::time::Instant;

use super::Context;
use super::Findings;
use super::Mode;
use super::failures::clock;
use super::locate::LOCAL;
use super::locate::remote;
use crate::attempt::Attempt;
use crate::attempt::Proof;
use crate::policy::Decision;
use crate::policy::DecisionKind;
use crate::policy::NewCountry;
use crate::policy::Reason;
use crate::policy::Rule;
use crate::store::Deadline;
use crate::store::Stores;
use crate::tables::counters;
use crate::tables::counters::CountedAs;
use crate::tables::seen;
use crate::tables::settlement::Settlement;
use crate::verdict::Verdict;

/// One attempt in so many deletes expired entries.
const PRUNE_ONE_IN: i64 = 4;

/// The outcome as the limits see it. A right password that a new country refuses counts, as a wrong
/// one from there does. Otherwise the limits would tell which it was.
fn counted_as(attempt: &Attempt, findings: &Findings, decision: &Decision) -> CountedAs {
    let failed = matches!(decision.reason, Some(Reason::Credentials | Reason::Account));
    let is_new = decision.kind == DecisionKind::Reject && decision.rule == Some(Rule::NewCountry);
    if matches!(attempt.proof, Proof::GivenUp) {
        CountedAs::GivenUp
    } else if matches!(attempt.proof, Proof::Proved) && !findings.limits_were_checked {
        // A driver has proved it without asking us, so it never counts.
        CountedAs::Released
    } else if failed || is_new || findings.counts_as_failure {
        CountedAs::Failed
    } else {
        CountedAs::Released
    }
}

/// The changes to write: to the attempt's counters, and the login that was admitted.
fn settlement(
    context: Context<'_>,
    attempt: &Attempt,
    findings: &mut Findings,
    verdict: &Verdict,
) -> Settlement {
    let clock = clock(context, findings);
    let counted_as = counted_as(attempt, findings, &verdict.decision);
    let seen = logins(context, findings, verdict);
    Settlement::new(findings.attempt_limits.take().as_ref(), counted_as, seen, clock)
}

/// The logins to remember for known good addresses and new countries: one for each name of the
/// account.
fn logins(context: Context<'_>, findings: &Findings, verdict: &Verdict) -> Vec<seen::SeenLogin> {
    let decision = &verdict.decision;
    let is_accepted = decision.kind == DecisionKind::Accept
        && (decision.rule.is_none() || decision.rule == Some(Rule::NewCountry))
        && decision.reason != Some(Reason::WouldReject);
    let policy = &context.config.policy;
    let wanted = policy.limits.want_known_good() || policy.new_country != NewCountry::Ignore;
    let remote = remote(context, findings);
    if !is_accepted || !wanted || remote == LOCAL {
        return Vec::new();
    }
    let canonical = findings.username.trim().to_lowercase();
    let login = findings.login.key().to_owned();
    let mut names = vec![login, canonical];
    names.dedup();
    let logins = names.into_iter().map(|account| seen::SeenLogin {
        account,
        remote: remote.clone(),
        country: verdict.country_text(),
        fingerprint: findings.fingerprint.clone(),
        now: findings.facts.seconds(),
    });
    logins.collect()
}

/// Settles the attempt before its answer; returns a settlement that has to wait with its row.
pub(super) fn settle(
    context: Context<'_>,
    attempt: &Attempt,
    stores: &mut Stores<'_>,
    findings: &mut Findings,
    verdict: &Verdict,
) -> Option<Settlement> {
    let mut settlement = settlement(context, attempt, findings, verdict);
    if context.mode == Mode::DryRun || settlement.is_empty() {
        return None;
    }
    // It gets its own query_timeout: the steps before may have used up the attempt's time.
    let mut timeouts = context.config.timeouts;
    timeouts.attempt = timeouts.query;
    let before = stores.replace_deadline(Deadline::new(Instant::now(), timeouts));
    let settled = stores.log().and_then(|store| settlement.write(store));
    stores.replace_deadline(before);
    let e = settled.err()?;
    if context.mode == Mode::HostCheck {
        // It has no row to wait with, so the attempt counts as a failure when its lease is over.
        context.log.trouble("check", &e);
        return None;
    }
    context.log.row_waits(&e);
    settlement.postpone();
    Some(settlement)
}

/// Deletes some expired entries, in one of four attempts, after everything else. If that fails, a
/// later attempt tries again.
pub(super) fn prune(context: Context<'_>, stores: &mut Stores<'_>, findings: &Findings) {
    let policy = &context.config.policy;
    if context.mode == Mode::DryRun || findings.facts.now.rem_euclid(PRUNE_ONE_IN) != 0 {
        return;
    }
    if !policy.limits.list.is_empty() {
        let now = findings.facts.now;
        let _ = stores.log().and_then(|log| counters::prune(log, now)).ok();
    }
    if policy.limits.want_known_good() || policy.new_country != NewCountry::Ignore {
        let memory = policy.country_memory.max(policy.limits.known_good);
        let now = findings.facts.seconds();
        let _ = stores.log().and_then(|log| seen::prune(log, now, memory)).ok();
    }
}
