//! `authpolicy test`: the code that Exim runs, on the administrator's words, without a row.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

use clap::Args;

use authpolicy::address::Address;
use authpolicy::attempt::Attempt;
use authpolicy::attempt::Remote;
use authpolicy::check;
use authpolicy::check::Explanation;
use authpolicy::check::Mode;
use authpolicy::check::Moment;
use authpolicy::check::World;
use authpolicy::config::Config;
use authpolicy::error::Error;
use authpolicy::geo::Asns;
use authpolicy::geo::Geo;
use authpolicy::policy::Action;
use authpolicy::policy::Answer;
use authpolicy::policy::Credentials;
use authpolicy::policy::FailType;
use authpolicy::policy::Looked;
use authpolicy::policy::NewCountry;
use authpolicy::policy::Rule;
use authpolicy::policy::Ruling;
use authpolicy::policy::Says;
use authpolicy::policy::Weighed;
use authpolicy::verdict::Verdict;
use authpolicy::verdict::maillog::MailLog;
use authpolicy::verdict::outcome::Outcome;

use super::Done;
use super::read_password;
use super::say;

#[derive(Args)]
pub(super) struct Arguments {
    /// The authcid.
    user: String,
    /// The client's address; "" for a local dialogue.
    ip: String,
    /// As over TLS, for a query that asks for :tls.
    #[arg(long)]
    tls: bool,
    /// As another protocol, for rules and a query that ask for it.
    #[arg(long, value_name = "NAME")]
    protocol: Option<String>,
}

pub(super) fn run(config: &Config, arguments: &Arguments) -> Done {
    if let Remote::Unusable(text) = Remote::parse(arguments.ip.as_bytes()) {
        return Err(Error::Call(format!("{text}: is no address")));
    }
    let password = read_password("Password: ")?;
    let (user, ip) = (arguments.user.as_bytes(), arguments.ip.as_bytes());
    let protocol = arguments.protocol.as_ref().map(|name| format!("protocol={name}"));
    let mut words = vec![user, password.expose(), ip];
    words.extend(arguments.tls.then_some(&b"tls=yes"[..]));
    words.extend(protocol.as_ref().map(String::as_bytes));
    let attempt = Attempt::parse(&words)?;
    let geo = Geo::named(&config.geoip);
    let asns = Asns::named(&config.asn_database);
    let line = RefCell::new(String::new());
    let keep = |text: &str| text.clone_into(&mut line.borrow_mut());
    let log = MailLog::new(&keep);
    let world = World {
        config,
        geo: geo.as_ref(),
        asns: asns.as_ref(),
        log,
        mode: Mode::Asked,
        wait: show_delay,
    };
    #[allow(clippy::disallowed_methods, reason = "the tool asks for the time once")]
    let moment = Moment { time: SystemTime::now(), start: Instant::now() };
    let (verdict, explanation) = check::explain(world, &attempt, moment);
    print_explanation(config, &verdict, &explanation);
    say(&line.borrow().replacen("authpolicy: attempt ", "", 1).replace(" user=", "\nuser="));
    match verdict.outcome() {
        Outcome::Accept => {
            say("answer=yes, the client gets 235");
            Ok(true)
        }
        Outcome::Reject => {
            say("answer=no, the client gets 535");
            Ok(false)
        }
        Outcome::CannotTell | Outcome::Bug | Outcome::NoSecret => {
            say("answer=cannot tell, the client gets 435");
            Err(Error::Call(String::from("cannot tell: the line above says why")))
        }
    }
}

/// The facts, what each rule says in the order in which they are asked, and the one that decides.
fn print_explanation(config: &Config, verdict: &Verdict, explanation: &Explanation) {
    let Explanation { facts, is_known_good, weighed, found } = explanation;
    let address = facts.address.map(|address| address.source().to_string());
    say(&format!("fact.address={}", address.as_deref().unwrap_or("local")));
    if let Some((v4, form)) = facts.address.and_then(Address::carried) {
        say(&format!("fact.carried={v4}"));
        say(&format!("fact.carried_by={form}"));
    }
    say(&format!("fact.country={}", looked(facts.country, !config.geoip.is_empty())));
    say(&format!("fact.asn={}", looked(facts.asn, !config.asn_database.is_empty())));
    say(&format!("fact.protocol={}", facts.protocol));
    say(&format!("fact.trusted={}", yes(facts.is_trusted(&config.policy))));
    if config.policy.limits.want_known_good() {
        say(&format!("fact.known_good={}", yes(*is_known_good)));
    }
    if config.policy.new_country != NewCountry::Ignore {
        say(&format!("fact.new_country={}", yes(found.is_new_country)));
    }
    let password = match found.credentials {
        Credentials::Right => "right",
        Credentials::Wrong => "wrong",
        Credentials::NoAccount => "no such account",
        Credentials::Unchecked => "not looked at",
        Credentials::Nonsense => "nonsense",
        Credentials::CannotTell => "cannot tell",
    };
    say(&format!("fact.password={password}"));
    let refuses_country = verdict.decision.rule == Some(Rule::NewCountry)
        && verdict.decision.reason != Some(FailType::NewCountry);
    for Weighed { rule, says } in weighed {
        let says = if *rule == Rule::NewCountry && refuses_country { &Says::Refuses } else { says };
        say(&format!("rule={rule} says={says}"));
    }
    for limit in &config.policy.limits.list {
        let is_weighed = weighed.iter().any(|w| w.rule == Rule::Limit(Arc::clone(&limit.name)));
        if limit.action == Action::Reject && !is_weighed {
            say(&format!("rule={} says=exempt", limit.name));
        }
    }
    if let Some(layer) = found.disabled {
        say(&format!("rule={} says=refuses", Rule::Disabled(layer)));
    }
    say(&format!("decides={}", decides(verdict, &found.ruling)));
}

/// The rule that decides, or what else does.
fn decides(verdict: &Verdict, ruling: &Ruling) -> String {
    let decision = &verdict.decision;
    let rule = decision.rule.as_ref().filter(|_| decision.reason != Some(FailType::NewCountry));
    match (rule, decision.answer, ruling) {
        (Some(rule), ..) | (None, Answer::Accept, Ruling::Pass(Some(rule))) => rule.to_string(),
        (None, Answer::Accept, _) => String::from("the password"),
        (None, Answer::Reject | Answer::CannotTell, _) => verdict.reason().to_owned(),
    }
}

fn show_delay(time: Duration) {
    say(&format!("fact.delay={}", humantime::format_duration(time)));
}

fn looked<T: ToString + Copy>(fact: Looked<T>, is_configured: bool) -> String {
    match fact {
        Looked::Up(Some(known)) => known.to_string(),
        Looked::Up(None) => String::from("unknown"),
        Looked::InVain if is_configured => String::from("file not readable"),
        Looked::InVain => String::from("not configured"),
    }
}

fn yes(is: bool) -> &'static str {
    if is { "yes" } else { "no" }
}
