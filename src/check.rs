//! The story of one attempt, from the client's words to the answer, one verb a line.
//!
//! There is no path from an error to an acceptance: every `Err` ends in "cannot tell".

mod broken;
mod credentials;
mod failures;
mod history;
mod locate;
mod names;
mod pattern;
mod place;
mod reserve;
mod reveal;
mod settle;

use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

pub use self::broken::record_broken;
pub use self::broken::ticket;
pub use self::reveal::Revealed;
pub use self::reveal::allow;
pub use self::reveal::prove;
pub use self::reveal::reveal;
pub use self::reveal::scram;
use crate::account::Login;
use crate::attempt::Attempt;
use crate::attempt::Proof;
use crate::attempt::Remote;
use crate::attempt::printable;
use crate::config::Config;
use crate::contain;
use crate::error::Error;
use crate::geo::Asns;
use crate::geo::Geo;
use crate::policy;
use crate::policy::Credentials;
use crate::policy::Decision;
use crate::policy::DecisionKind;
use crate::policy::EvaluatedRule;
use crate::policy::Facts;
use crate::policy::Layer;
use crate::policy::Policy;
use crate::policy::Rule;
use crate::policy::Rules;
use crate::row::delivery;
use crate::row::entry::Entry;
use crate::row::journal::Record;
use crate::store::Deadline;
use crate::store::Stores;
use crate::tables::counters::AttemptLimits;
use crate::tables::settlement::Settlement;
use crate::verdict::Verdict;
use crate::verdict::maillog::MailLog;

/// What surrounds an attempt.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The rules and places.
    pub config: &'a Config,
    /// The country files; `None` if none is configured.
    pub geo: Option<&'a Geo>,
    /// The files of autonomous systems; `None` if none is configured.
    pub asns: Option<&'a Asns>,
    /// Where lines go.
    pub log: MailLog<'a>,
    /// Who plays.
    pub mode: Mode,
    /// Makes a client wait.
    pub wait: fn(Duration),
}

/// Who plays, and what an attempt leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A client: everything.
    Live,
    /// `exim -bh`, whoever may run it: no row, but an entry with the limits, under `local`.
    HostCheck,
    /// The administrator's question: nothing.
    DryRun,
}

/// What earlier calls came to: for this attempt, or for its address.
#[derive(Debug, Default)]
pub struct EarlierCalls {
    /// What `allow` decided.
    pub allowed: Option<Allowed>,
    /// Where the attempt stands with the limits, if it was entered before.
    pub attempt_limits: Option<AttemptLimits>,
}

/// What is decided about an address before anybody gives a name.
#[derive(Debug, Clone, Default)]
pub struct Allowed {
    /// The rule that refuses it.
    pub rule: Option<Rule>,
    /// Why nobody can tell.
    pub error: Option<String>,
}

impl Allowed {
    /// Whether no account is known to be admitted.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.error.is_none() && self.rule.is_some()
    }
}

/// When an attempt began, by the calendar and by the stopwatch.
#[derive(Debug, Clone, Copy)]
pub struct StartTime {
    /// For the row.
    pub time: SystemTime,
    /// For time-outs.
    pub start: Instant,
}

/// What was found out about an attempt, in the order of finding it.
struct Findings {
    username: String,
    facts: Facts,
    /// Why the country or the autonomous system cannot be known, where a file should tell it.
    geo_error: Option<Error>,
    /// Who the client says it is.
    login: Login,
    /// What `allow` could not tell.
    earlier_error: Option<String>,
    /// Where the attempt stands with the limits.
    attempt_limits: Option<AttemptLimits>,
    /// True if an earlier call for this attempt has looked at the limits.
    limits_were_checked: bool,
    /// When this call began.
    start: Instant,
    /// The fingerprint that makes the address known good.
    known_good: Option<String>,
    /// The fingerprint of the stored password.
    fingerprint: String,
    /// Whether the client's password was held against one that was stored, and did not match,
    /// though another could not be read.
    counts_as_failure: bool,
    /// Why the account is one that is remembered.
    unreachable: Option<Error>,
    /// What each rule said.
    evaluated: Vec<EvaluatedRule>,
    input: policy::DecisionInput,
}

impl Findings {
    /// Has the rules of these layers say their word.
    fn apply_rules(&mut self, policy: &Policy, layers: &[(Layer, &Rules)]) {
        self.evaluated = policy::evaluate(policy, layers, &self.facts);
        self.input.policy_result = policy::combine(policy, &self.evaluated);
    }
}

/// Decides an attempt, writes its row and its line.
#[must_use]
pub fn check(
    context: Context<'_>,
    attempt: &Attempt,
    start_time: StartTime,
    earlier: EarlierCalls,
) -> Verdict {
    decide(context, attempt, start_time, earlier).0
}

/// The same for an administrator who wants to know why.
#[must_use]
pub fn explain(
    context: Context<'_>,
    attempt: &Attempt,
    start_time: StartTime,
) -> (Verdict, Explanation) {
    let (verdict, findings) = decide(context, attempt, start_time, EarlierCalls::default());
    let Findings { facts, known_good, fingerprint, evaluated, input, .. } = findings;
    let is_known_good = known_good.is_some_and(|known| known == fingerprint);
    (verdict, Explanation { facts, is_known_good, evaluated, input })
}

/// What a decision was taken from.
pub struct Explanation {
    /// What was known before anybody looked at the password.
    pub facts: Facts,
    /// Whether the account has logged in from this address.
    pub is_known_good: bool,
    /// What each rule said, in the order in which they were asked.
    pub evaluated: Vec<EvaluatedRule>,
    /// What else was found.
    pub input: policy::DecisionInput,
}

fn decide(
    context: Context<'_>,
    attempt: &Attempt,
    start_time: StartTime,
    earlier: EarlierCalls,
) -> (Verdict, Findings) {
    let mut stores =
        Stores::new(context.config, Deadline::new(start_time.start, context.config.timeouts));
    let mut findings = locate::locate(context, attempt, start_time, earlier);
    let examined =
        contain::catch("examine", || examine(context, attempt, &mut stores, &mut findings));
    let examined = examined.unwrap_or_else(|panic| {
        // A panic may leave a transaction open, which must not be committed.
        stores.close();
        Err(Error::Bug(panic))
    });
    let mut error = examined.err();
    let mut verdict = conclude(context, &findings);
    if verdict.decision.kind == DecisionKind::Accept {
        findings.unreachable.iter().for_each(|e| context.log.served_from_cache(e));
    } else {
        // What is remembered lets in, and refuses nobody.
        error = error.or(findings.unreachable.take());
    }
    if let Some(e) = &error {
        // The row has the findings from before the failure.
        let rule = e.full_limit().map(|limit| Rule::Limit(Arc::clone(limit)));
        let policy_reject = verdict.decision.policy_reject;
        verdict.decision = Decision { policy_reject, rule, ..Decision::CANNOT_TELL };
    }
    let unsettled = settle::settle(context, attempt, &mut stores, &mut findings, &verdict);
    if let Err(e) = record(context, attempt, &mut stores, (&verdict, unsettled), start_time) {
        verdict.decision = Decision::CANNOT_TELL;
        error = error.or(Some(e));
    }
    settle::prune(context, &mut stores, &findings);
    stores.troubles().for_each(|e| context.log.trouble("check", &e));
    // Before any wait for `failure_time`: a client that is made to wait holds no connection.
    drop(stores);
    context.log.attempt(attempt, &verdict, error.or(findings.geo_error.take()).as_ref());
    (verdict, findings)
}

/// Finds the account, holds its rules against the place, and its passwords against the client's.
fn examine(
    context: Context<'_>,
    attempt: &Attempt,
    stores: &mut Stores<'_>,
    findings: &mut Findings,
) -> Result<(), Error> {
    let policy = &context.config.policy;
    if matches!(attempt.remote, Remote::Unusable(_)) {
        let what = "the argument remote is no address: pass $sender_host_address";
        return Err(Error::Call(what.to_owned()));
    }
    if let Some(why) = findings.earlier_error.take() {
        return Err(Error::Call(why));
    }
    if attempt.authcid.is_none() {
        let name = findings.username.clone();
        findings.apply_rules(policy, &policy.layers(&name, None));
        if let Proof::Unknown(why) = &attempt.proof {
            return Err(Error::Call(why.clone()));
        }
        findings.input.credentials = Credentials::Malformed;
        return Ok(());
    }
    findings.username = printable(findings.login.user().as_bytes());
    if failures::check(context, attempt, stores, findings)? {
        return Ok(());
    }
    let cached = credentials::cached(context, attempt, findings);
    let cached = cached.as_ref();
    let account = credentials::find(context, attempt, stores, cached, findings)?;
    let account = account.as_ref();
    if let Some(canonical) = account.and_then(|account| account.username.as_ref()) {
        findings.username = printable(canonical.as_bytes());
    }
    if failures::check_account(context, attempt, account, stores, findings)? {
        return Ok(());
    }
    let name = findings.username.clone();
    let layers = policy.layers(&name, account.map(|account| &account.rules));
    place::apply(context, &layers, stores, findings)?;
    findings.input.credentials = credentials::check(context, attempt, account, stores, findings)?;
    place::check_new_country(context, &layers, stores, findings)?;
    credentials::update_cache(context, account, cached, findings);
    Ok(())
}

/// Puts what was found together.
fn conclude(context: Context<'_>, findings: &Findings) -> Verdict {
    Verdict {
        decision: policy::decide(&context.config.policy, &findings.input),
        country: findings.facts.country.known(),
        asn: findings.facts.asn.known(),
        username: findings.username.clone(),
    }
}

/// Writes the row.
fn record(
    context: Context<'_>,
    attempt: &Attempt,
    stores: &mut Stores<'_>,
    (verdict, unsettled): (&Verdict, Option<Settlement>),
    start_time: StartTime,
) -> Result<(), Error> {
    if context.mode != Mode::Live {
        return Ok(());
    }
    let protocol = protocol(context, attempt);
    let entry = Entry { time: start_time.time, attempt, verdict, protocol };
    let record = Record { settlement: unsettled, ..entry.record()? };
    delivery::record(context.config, stores, &record, context.log)?;
    attempt.ticket.mark_recorded();
    Ok(())
}

fn protocol<'a>(context: Context<'a>, attempt: &'a Attempt) -> &'a str {
    attempt.options.protocol.as_deref().unwrap_or(&context.config.log.protocol)
}
