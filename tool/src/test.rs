//! `authpolicy test`: decides a trial attempt with the code that Exim runs, without a row.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

use clap::Args;

use authpolicy::attempt::Attempt;
use authpolicy::attempt::Remote;
use authpolicy::check;
use authpolicy::check::Context;
use authpolicy::check::Explanation;
use authpolicy::check::Mode;
use authpolicy::check::StartTime;
use authpolicy::config::Config;
use authpolicy::error::Error;
use authpolicy::geo::Asns;
use authpolicy::geo::Geo;
use authpolicy::policy::Action;
use authpolicy::policy::Credentials;
use authpolicy::policy::DecisionKind;
use authpolicy::policy::EvaluatedRule;
use authpolicy::policy::GeoLookup;
use authpolicy::policy::NewCountry;
use authpolicy::policy::PolicyResult;
use authpolicy::policy::Reason;
use authpolicy::policy::Rule;
use authpolicy::policy::RuleResult;
use authpolicy::verdict::Verdict;
use authpolicy::verdict::maillog::MailLog;
use authpolicy::verdict::reply::Reply;

use super::Done;
use super::read_password;
use super::say;

#[derive(Args)]
pub(super) struct TestArguments {
    /// The user name, as a client would send it.
    user: String,
    /// The address of the client; "" for a dialogue on this machine.
    ip: String,
    /// Assume an encrypted connection, for an account query that uses :tls.
    #[arg(long)]
    tls: bool,
    /// Assume this protocol, for rules and for an account query that uses :protocol.
    #[arg(long, value_name = "NAME")]
    protocol: Option<String>,
}

pub(super) fn run(config: &Config, arguments: &TestArguments) -> Done {
    if let Remote::Unusable(text) = Remote::parse(arguments.ip.as_bytes()) {
        return Err(Error::Call(format!("{text}: is not an IP address")));
    }
    let password = read_password("Password: ")?;
    let (user, ip) = (arguments.user.as_bytes(), arguments.ip.as_bytes());
    let protocol = arguments.protocol.as_ref().map(|name| format!("protocol={name}"));
    let mut words = vec![user, password.expose(), ip];
    words.extend(arguments.tls.then_some(&b"tls=yes"[..]));
    words.extend(protocol.as_ref().map(String::as_bytes));
    let attempt = Attempt::parse(&words)?;
    let geo = Geo::from_paths(&config.geoip);
    let asns = Asns::from_paths(&config.asn_database);
    let line = RefCell::new(String::new());
    let capture = |text: &str| text.clone_into(&mut line.borrow_mut());
    let log = MailLog::new(&capture);
    let context = Context {
        config,
        geo: geo.as_ref(),
        asns: asns.as_ref(),
        log,
        mode: Mode::DryRun,
        wait: show_delay,
        shared: None,
    };
    #[allow(clippy::disallowed_methods, reason = "the tool asks for the time once")]
    let start_time = StartTime { time: SystemTime::now(), start: Instant::now() };
    let (verdict, explanation) = check::explain(context, &attempt, start_time);
    print_explanation(config, &verdict, &explanation);
    say(&line.borrow().replacen("authpolicy: attempt ", "", 1).replace(" user=", "\nuser="));
    match verdict.reply() {
        Reply::Accept => {
            say("answer=yes, the client gets 235");
            Ok(true)
        }
        Reply::Reject => {
            say("answer=no, the client gets 535");
            Ok(false)
        }
        Reply::CannotTell | Reply::Bug | Reply::NoSecret => {
            say("answer=cannot tell, the client gets 435");
            Err(Error::Call(String::from("cannot tell: the line above says why")))
        }
    }
}

/// Prints the facts, the result of each rule in the order of evaluation, and the rule that decides.
fn print_explanation(config: &Config, verdict: &Verdict, explanation: &Explanation) {
    let Explanation { facts, is_known_good, evaluated, input } = explanation;
    let address = facts.address.map(|address| address.source().to_string());
    say(&format!("fact.address={}", address.as_deref().unwrap_or("local")));
    if let Some((v4, form)) = facts.address.and_then(|address| address.carried()) {
        say(&format!("fact.carried={v4}"));
        say(&format!("fact.carried_by={form}"));
    }
    say(&format!("fact.country={}", describe_lookup(facts.country, !config.geoip.is_empty())));
    say(&format!("fact.asn={}", describe_lookup(facts.asn, !config.asn_database.is_empty())));
    say(&format!("fact.protocol={}", facts.protocol));
    say(&format!("fact.trusted={}", yes(facts.is_trusted(&config.policy))));
    if config.policy.limits.want_known_good() {
        say(&format!("fact.known_good={}", yes(*is_known_good)));
    }
    if config.policy.new_country != NewCountry::Ignore {
        let is_new = input.as_ref().is_some_and(|input| input.is_new_country);
        say(&format!("fact.new_country={}", yes(is_new)));
    }
    let password = match input.as_ref().map(|input| input.credentials) {
        Some(Credentials::Right) => "right",
        Some(Credentials::Wrong) => "wrong",
        Some(Credentials::NoAccount) => "no such account",
        Some(Credentials::Unchecked) => "not looked at",
        Some(Credentials::Malformed) => "nonsense",
        Some(Credentials::CannotTell) | None => "cannot tell",
    };
    say(&format!("fact.password={password}"));
    let refuses_country = verdict.decision.rule == Some(Rule::NewCountry)
        && verdict.decision.reason != Some(Reason::NewCountry);
    for EvaluatedRule { rule, result } in evaluated {
        let result = if *rule == Rule::NewCountry && refuses_country {
            &RuleResult::Refuses
        } else {
            result
        };
        say(&format!("rule={rule} says={result}"));
    }
    for limit in &config.policy.limits.list {
        let is_evaluated =
            evaluated.iter().any(|known| known.rule == Rule::Limit(Arc::clone(&limit.name)));
        if limit.action == Action::Reject && !is_evaluated {
            say(&format!("rule={} says=exempt", limit.name));
        }
    }
    if let Some(layer) = input.as_ref().and_then(|input| input.disabled) {
        say(&format!("rule={} says=refuses", Rule::Disabled(layer)));
    }
    say(&format!("decides={}", decides(verdict, input.as_ref().map(|input| &input.policy_result))));
}

/// Returns the rule that decides, or another reason.
fn decides(verdict: &Verdict, policy_result: Option<&PolicyResult>) -> String {
    let decision = &verdict.decision;
    let rule = decision.rule.as_ref().filter(|_| decision.reason != Some(Reason::NewCountry));
    match (rule, decision.kind, policy_result) {
        (Some(rule), ..) | (None, DecisionKind::Accept, Some(PolicyResult::Pass(Some(rule)))) => {
            rule.to_string()
        }
        (None, DecisionKind::Accept, _) => String::from("the password"),
        (None, DecisionKind::Reject | DecisionKind::CannotTell, _) => verdict.reason().to_owned(),
    }
}

fn show_delay(time: Duration) {
    say(&format!("fact.delay={}", humantime::format_duration(time)));
}

fn describe_lookup<T: ToString + Copy>(fact: GeoLookup<T>, is_configured: bool) -> String {
    match fact {
        GeoLookup::Read(Some(known)) => known.to_string(),
        GeoLookup::Read(None) => String::from("unknown"),
        GeoLookup::Unavailable if is_configured => String::from("file not readable"),
        GeoLookup::Unavailable => String::from("not configured"),
    }
}

fn yes(is: bool) -> &'static str {
    if is { "yes" } else { "no" }
}
