//! The story of one attempt, from its arguments to its decision. `examine` has one call for each
//! step. `run` settles the result with the limits, and writes the row and the line.
//!
//! Every `Err` ends in "cannot tell" (`conclude`). With `accounts.serve_stale`, an unreachable
//! database of accounts does so, too, unless the remembered account is accepted. Each step of
//! `examine` needs the stages before it (check/stages.rs), so their order cannot be changed by
//! mistake. An account that came from the cache is asked for again, unless it is accepted.

mod broken;
mod cache;
mod call;
mod credentials;
mod failures;
mod history;
mod locate;
mod names;
mod place;
mod refuse;
mod reserve;
mod reveal;
mod settle;
mod stages;

use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

pub use self::broken::record_broken;
pub use self::broken::ticket;
pub use self::cache::SharedCache;
use self::call::Call;
pub use self::reveal::Revealed;
pub use self::reveal::allow;
pub use self::reveal::prove;
pub use self::reveal::reveal;
pub use self::reveal::scram;
use self::stages::AccountFound;
use self::stages::Stages;
use crate::attempt::Attempt;
use crate::config::Config;
use crate::contain;
use crate::error::Error;
use crate::geo::Asns;
use crate::geo::Geo;
use crate::policy;
use crate::policy::Decision;
use crate::policy::DecisionKind;
use crate::policy::EvaluatedRule;
use crate::policy::Facts;
use crate::policy::Rule;
use crate::row::delivery;
use crate::row::entry::Entry;
use crate::row::journal::Record;
use crate::tables::counters::AttemptLimits;
use crate::tables::settlement::Settlement;
use crate::verdict::CacheHits;
use crate::verdict::Verdict;
use crate::verdict::maillog::MailLog;

/// The configuration, files and log that an attempt uses.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The configuration: databases, directories and rules.
    pub config: &'a Config,
    /// The country files; `None` if none is configured.
    pub geo: Option<&'a Geo>,
    /// The files of autonomous systems; `None` if none is configured.
    pub asns: Option<&'a Asns>,
    /// Exim's main log.
    pub log: MailLog<'a>,
    /// The origin of the attempt.
    pub mode: Mode,
    /// Makes the client wait, where a limit delays it.
    pub wait: fn(Duration),
    /// The memory that connections share; `None` if the daemon has not made any.
    pub shared: Option<SharedCache<'a>>,
}

/// The origin of an attempt. It determines which records the attempt leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A client: writes a row, and counts for limits.
    Live,
    /// `exim -bh`, which any local user may run: writes no row, but counts for limits, under the
    /// remote `local`.
    HostCheck,
    /// A trial attempt of the tool: changes nothing.
    DryRun,
}

/// The results of earlier calls for this attempt or for its address.
#[derive(Debug, Default)]
pub struct EarlierCalls {
    /// The decision of `allow` about the address.
    pub allowed: Option<Allowed>,
    /// The attempt's counters and reservations, if an earlier call has checked the limits.
    pub attempt_limits: Option<AttemptLimits>,
}

/// The decision about an address before the client gives a name.
#[derive(Debug, Clone, Default)]
pub struct Allowed {
    /// The rule that refuses the address; `None` if no rule does, or if that is unknown.
    pub rule: Option<Rule>,
    /// The reason why it is unknown if a rule refuses the address; `None` if it is known.
    pub error: Option<String>,
}

impl Allowed {
    /// True if a rule is known to refuse the address.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.error.is_none() && self.rule.is_some()
    }
}

/// The start of a call for an attempt, on the wall clock and on the monotonic clock.
#[derive(Debug, Clone, Copy)]
pub struct StartTime {
    /// The time in the row.
    pub time: SystemTime,
    /// The time from which time-outs run.
    pub start: Instant,
}

/// Decides an attempt, and writes its row and its line.
#[must_use]
pub fn check(
    context: Context<'_>,
    attempt: &Attempt,
    start_time: StartTime,
    earlier: EarlierCalls,
) -> Verdict {
    run(context, attempt, start_time, earlier).0
}

/// Decides an attempt, and explains the decision to an administrator.
#[must_use]
pub fn explain(
    context: Context<'_>,
    attempt: &Attempt,
    start_time: StartTime,
) -> (Verdict, Explanation) {
    let (verdict, stages) = run(context, attempt, start_time, EarlierCalls::default());
    let is_known_good = stages.is_known_good();
    let input = stages.decision_input();
    let evaluated = stages.rules.map(|rules| rules.evaluated).unwrap_or_default();
    (verdict, Explanation { facts: stages.located.facts, is_known_good, evaluated, input })
}

/// The facts and rules behind a decision.
pub struct Explanation {
    /// The facts from before the password was verified, without limits and exceptions.
    pub facts: Facts,
    /// True if the account has logged in from this address with its present password.
    pub is_known_good: bool,
    /// The result of each rule, in the order of their precedence.
    pub evaluated: Vec<EvaluatedRule>,
    /// The input of the decision; `None` if the attempt failed before the rules were applied.
    pub input: Option<policy::DecisionInput>,
}

/// Examines an attempt, decides it, settles it with its limits, and writes its row and its line.
fn run<'a>(
    context: Context<'a>,
    attempt: &'a Attempt,
    start_time: StartTime,
    earlier: EarlierCalls,
) -> (Verdict, Stages<'a>) {
    let mut call = Call::new(context, attempt, start_time, earlier.attempt_limits);
    let mut stages = Stages::new(locate::locate(&mut call, earlier.allowed));
    let examined = contain::catch("examine", || examine(&mut call, &mut stages));
    let examined = examined.unwrap_or_else(|panic| {
        // A panic may leave a transaction open, which must not be committed.
        call.stores.close();
        Err(Error::Bug(panic))
    });
    stages.account.iter_mut().for_each(AccountFound::wipe_passwords);
    let (mut verdict, error) = conclude(&call, &mut stages, examined);
    let mut errors: Vec<Error> = error.into_iter().collect();
    let unsettled = settle::settle(&mut call, &stages, &verdict);
    if let Err(e) = record(&mut call, &verdict, unsettled) {
        verdict.decision = Decision::CANNOT_TELL;
        errors.push(e);
    }
    settle::prune(&mut call);
    call.stores.troubles().for_each(|e| context.log.trouble("check", &e));
    let Call { stores, geo_error, .. } = call;
    // The caller may make the client wait for `failure_time`, which must not hold connections.
    drop(stores);
    if errors.is_empty() {
        errors.extend(geo_error);
    }
    context.log.attempt(attempt, &verdict, &errors);
    (verdict, stages)
}

/// Takes the attempt through its stages, until the last one or an error.
fn examine<'a>(call: &mut Call<'a>, stages: &mut Stages<'a>) -> Result<(), Error> {
    let Stages { located, login, limits, account, .. } = stages;
    locate::require_address(call.attempt)?;
    located.require_allow()?;
    let Some(authcid) = &call.attempt.authcid else { return refuse::nameless(call, stages) };
    let login = login.insert(call.login(authcid));
    let limits = limits.insert(failures::check(call, located, login)?);
    if failures::delay_or_refuse(call, located) {
        return refuse::unchecked(call, stages);
    }
    *account = Some(credentials::find(call, login, limits)?);
    let examined = examine_account(call, stages);
    match credentials::is_out_of_date(call, stages, &examined)? {
        true => examine_account(call, stages),
        false => examined,
    }
}

/// Takes the attempt through the stages that depend on the account.
fn examine_account<'a>(call: &mut Call<'a>, stages: &mut Stages<'a>) -> Result<(), Error> {
    let Stages { located, login, limits, account, rules, password } = stages;
    let (Some(login), Some(limits), Some(account)) = (login, limits, account) else {
        return Ok(());
    };
    failures::check_account(call, located, login, limits, account)?;
    if failures::delay_or_refuse(call, located) {
        return refuse::unchecked(call, stages);
    }
    let rules = place::apply(call, located, account, rules)?;
    let Some(reservation) = credentials::reserve(call, located, account, rules)? else {
        return refuse::unchecked(call, stages);
    };
    let verified = credentials::verify(call, login, account, rules, reservation)?;
    let verified = password.insert(verified);
    let credentials = verified.credentials(login)?;
    place::check_new_country(call, located, account, rules, credentials)?;
    credentials::keep(call, login, account, verified, &rules.decision_input(credentials));
    Ok(())
}

/// The verdict from the stages that were reached, and the error that ended the attempt, if any.
fn conclude(
    call: &Call<'_>,
    stages: &mut Stages<'_>,
    examined: Result<(), Error>,
) -> (Verdict, Option<Error>) {
    let mut verdict = Verdict {
        decision: stages.decide(call.policy()),
        country: stages.located.facts.country.known(),
        asn: stages.located.facts.asn.known(),
        username: stages.username(call.attempt),
        cache_hits: stages.cache_hits(),
    };
    let mut error = examined.err();
    let unreachable = stages.account.as_mut().and_then(|found| found.unreachable.take());
    if verdict.decision.kind == DecisionKind::Accept {
        unreachable.iter().for_each(|e| call.context.log.served_from_remembered(e));
    } else {
        // A remembered account can be accepted, never refused.
        error = error.or(unreachable);
    }
    if let Some(e) = &error {
        // The row still says if a rule refused, and names a limit that had no room.
        let rule = e.full_limit().map(|limit| Rule::Limit(Arc::clone(limit)));
        let policy_reject = verdict.decision.policy_reject;
        verdict.decision = Decision { policy_reject, rule, ..Decision::CANNOT_TELL };
        verdict.cache_hits = CacheHits::default();
    }
    (verdict, error)
}

/// Writes the row of a live attempt. `unsettled` is a settlement that has to wait with the row.
fn record(
    call: &mut Call<'_>,
    verdict: &Verdict,
    unsettled: Option<Settlement>,
) -> Result<(), Error> {
    let (context, attempt) = (call.context, call.attempt);
    if context.mode != Mode::Live {
        return Ok(());
    }
    let entry = Entry { time: call.start_time.time, attempt, verdict, protocol: call.protocol() };
    let record = Record { settlement: unsettled, ..entry.record()? };
    delivery::record(context.config, &mut call.stores, &record, context.log)?;
    attempt.ticket.mark_recorded();
    Ok(())
}

fn protocol<'a>(context: Context<'a>, attempt: &'a Attempt) -> &'a str {
    attempt.options.protocol.as_deref().unwrap_or(&context.config.log.protocol)
}
