//! The settlement of an attempt, when its decision is known.

use std::time::Instant;

use super::Mode;
use super::call::Call;
use super::locate::LOCAL;
use super::stages::Stages;
use crate::attempt::Proof;
use crate::policy::Decision;
use crate::policy::DecisionKind;
use crate::policy::NewCountry;
use crate::policy::Reason;
use crate::policy::Rule;
use crate::store::Deadline;
use crate::tables::counters;
use crate::tables::counters::CountedAs;
use crate::tables::seen;
use crate::tables::settlement::Settlement;
use crate::verdict::Verdict;

/// One in this many attempts deletes expired entries.
const PRUNE_ONE_IN: i64 = 4;

/// The effect of the decision on the limits. A right password that is refused because of a new
/// country counts like a wrong one. Otherwise the limits would tell a guesser which it was.
fn counted_as(call: &Call<'_>, stages: &Stages<'_>, decision: &Decision) -> CountedAs {
    let failed = matches!(decision.reason, Some(Reason::Credentials | Reason::Account));
    let is_new = decision.kind == DecisionKind::Reject && decision.rule == Some(Rule::NewCountry);
    let counts = stages.password.as_ref().is_some_and(|verified| verified.counts_as_failure);
    if matches!(call.attempt.proof, Proof::GivenUp) {
        CountedAs::GivenUp
    } else if matches!(call.attempt.proof, Proof::Proved) && !call.limits_were_checked {
        // The driver has verified the proof without `secret` or `scram`, so the attempt never counts.
        CountedAs::Released
    } else if failed || is_new || counts {
        CountedAs::Failed
    } else {
        CountedAs::Released
    }
}

/// The logins to remember for known good addresses and new countries: one for each name of the
/// account.
fn logins(call: &Call<'_>, stages: &Stages<'_>, verdict: &Verdict) -> Vec<seen::SeenLogin> {
    let decision = &verdict.decision;
    let is_accepted = decision.kind == DecisionKind::Accept
        && (decision.rule.is_none() || decision.rule == Some(Rule::NewCountry))
        && decision.reason != Some(Reason::WouldReject);
    let policy = call.policy();
    let wanted = policy.limits.want_known_good() || policy.new_country != NewCountry::Ignore;
    let remote = &stages.located.remote;
    let (Some(login), Some(found)) = (&stages.login, &stages.account) else { return Vec::new() };
    if !is_accepted || !wanted || remote == LOCAL {
        return Vec::new();
    }
    let mut names = vec![login.key().to_owned(), found.username.trim().to_lowercase()];
    // All attempts lock their rows in one order.
    names.sort();
    names.dedup();
    let logins = names.into_iter().map(|account| seen::SeenLogin {
        account,
        remote: remote.clone(),
        country: verdict.country_text(),
        fingerprint: found.fingerprint.clone(),
        now: call.seconds(),
    });
    logins.collect()
}

/// Settles the attempt before its answer; returns a settlement that has to wait with its row.
pub(super) fn settle(
    call: &mut Call<'_>,
    stages: &Stages<'_>,
    verdict: &Verdict,
) -> Option<Settlement> {
    let counted_as = counted_as(call, stages, &verdict.decision);
    let seen = logins(call, stages, verdict);
    let attempt_limits = call.attempt_limits.take();
    let mut settlement = Settlement::new(attempt_limits.as_ref(), counted_as, seen, call.clock());
    if call.context.mode == Mode::DryRun || settlement.is_empty() {
        return None;
    }
    // It gets its own query_timeout: the steps before may have used up the attempt's time.
    let mut timeouts = call.config().timeouts;
    timeouts.attempt = timeouts.query;
    let before = call.stores.replace_deadline(Deadline::new(Instant::now(), timeouts));
    let settled = call.stores.log().and_then(|store| settlement.write(store));
    call.stores.replace_deadline(before);
    let e = settled.err()?;
    if call.context.mode == Mode::HostCheck {
        // It has no row to wait with, so the attempt counts as a failure when its lease ends.
        call.context.log.trouble("check", &e);
        return None;
    }
    call.context.log.row_waits(&e);
    settlement.postpone();
    Some(settlement)
}

/// Deletes some expired entries in one of four attempts, after everything else. If that fails, a
/// later attempt tries again.
pub(super) fn prune(call: &mut Call<'_>) {
    let policy = call.policy();
    if call.context.mode == Mode::DryRun || call.milliseconds().rem_euclid(PRUNE_ONE_IN) != 0 {
        return;
    }
    let (now, seconds) = (call.milliseconds(), call.seconds());
    if !policy.limits.list.is_empty() {
        let _ = call.stores.log().and_then(|log| counters::prune(log, now)).ok();
    }
    if policy.limits.want_known_good() || policy.new_country != NewCountry::Ignore {
        let memory = policy.country_memory.max(policy.limits.known_good);
        let _ = call.stores.log().and_then(|log| seen::prune(log, seconds, memory)).ok();
    }
}
