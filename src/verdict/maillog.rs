//! The lines in Exim's main log. Each event has one function and one line.
//!
//! docs/reference.md documents the format, and fail2ban reads it, so keep them in step. The
//! client's text comes last, quoted and escaped, so that it cannot imitate another field.

use crate::attempt::Attempt;
use crate::attempt::Proof;
use crate::contain::Panic;
use crate::error::Error;
use crate::verdict::CacheHits;
use crate::verdict::Verdict;
use crate::verdict::flag;

/// The hints in the line of an attempt without a password or without a name.
const EMPTY_PASSWORD: &str = "empty password, so the name is not shown: if many attempts say so, see the table \
                              about LOGIN and PLAIN in docs/exim.md";
const EMPTY_NAME: &str =
    "empty name: if many attempts say so, see the table about LOGIN and PLAIN in docs/exim.md";

/// Exim's main log, or syslog in its place.
#[derive(Clone, Copy)]
pub struct MailLog<'a> {
    write: &'a dyn Fn(&str),
}

impl<'a> MailLog<'a> {
    /// A log that passes each line to `write`, without a newline.
    #[must_use]
    pub fn new(write: &'a dyn Fn(&str)) -> Self {
        Self { write }
    }

    /// Logs an attempt. `errors` are the causes if the decision is "cannot tell".
    pub fn attempt(self, attempt: &Attempt, verdict: &Verdict, errors: &[Error]) {
        let problems: Vec<_> =
            hint(attempt).into_iter().chain(errors.iter().map(ToString::to_string)).collect();
        let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        let problem = match &*problems {
            [] => String::new(),
            problems => format!(" error={:?}", problems.join("; ")),
        };
        self.line(&format!(
            "attempt status={} reason={} rule={} auth_ok={} policy_reject={} country={} \
             remote={}{problem}{} user={:?}",
            verdict.status(),
            or_dash(verdict.reason()),
            or_dash(&verdict.rule()),
            or_dash(flag(verdict.decision.auth_ok)),
            or_dash(flag(verdict.decision.policy_reject)),
            or_dash(&verdict.country_text()),
            field_value(&attempt.remote.text()),
            cache_fields(verdict.cache_hits),
            verdict.username,
        ));
    }

    /// Logs that a function could not do its work.
    pub fn trouble(self, function: &str, error: &Error) {
        self.line(&format!("trouble function={function} error={:?}", error.to_string()));
    }

    /// Logs that a remembered account was used.
    pub fn served_from_remembered(self, error: &Error) {
        let what = format!("{error}: the remembered account is used");
        self.line(&format!("trouble function=check error={what:?}"));
    }

    /// Logs that the account query may have found an account by a pattern.
    pub fn login_is_pattern(self, login: &str, username: &str) {
        let what = format!(
            "accounts.query found {username:?} for the login {login:?}, which is a pattern of LIKE or REGEXP for \
             this name: if the query uses one of these, use = instead, and test it with `authpolicy config`"
        );
        self.line(&format!("trouble function=check error={what:?}"));
    }

    /// Logs that a row waits in the journal.
    pub fn row_waits(self, error: &Error) {
        let what = format!("{error}: the row waits in the journal");
        self.line(&format!("trouble function=journal error={what:?}"));
    }

    /// Logs that the version of Exim is unknown. This line comes before all others.
    pub fn unknown_version(self, answer: Option<&str>) {
        let version = match answer {
            Some(answer) => {
                format!("this Exim calls itself {answer:?}, which is an unknown version")
            }
            None => String::from("this Exim does not tell its version"),
        };
        let what = format!(
            "{version}: lines go to syslog and not to the main log, and names are not marked as \
             tainted; see \"Versions of Exim\" in docs/exim.md"
        );
        self.line(&format!("trouble function=version error={what:?}"));
    }

    /// Logs a panic of our own code.
    pub fn bug(self, function: &str, panic: &Panic) {
        let what = format!("{panic}, please report it");
        self.line(&format!("trouble function={function} error={what:?}"));
    }

    fn line(self, text: &str) {
        (self.write)(&format!("authpolicy: {text}"));
    }
}

/// A field for each part that came from the cache.
fn cache_fields(hits: CacheHits) -> &'static str {
    match (hits.account, hits.password) {
        (false, false) => "",
        (true, false) => " cache=account",
        (false, true) => " cache=password",
        (true, true) => " cache=account cache=password",
    }
}

/// A hint for an empty name or password. The cause may be a client, or a wrong call in Exim's
/// configuration.
fn hint(attempt: &Attempt) -> Option<String> {
    let is_password = matches!(attempt.proof, Proof::Password(_));
    if attempt.is_unnamed {
        Some(EMPTY_PASSWORD.to_owned())
    } else if is_password && attempt.shown.is_empty() {
        Some(EMPTY_NAME.to_owned())
    } else {
        None
    }
}

/// Quotes a text if it could end its field early. An empty text becomes a dash.
fn field_value(text: &str) -> String {
    match text {
        "" => String::from("-"),
        _ if text.contains(|c: char| c.is_whitespace() || c == '"') => format!("{text:?}"),
        _ => text.to_owned(),
    }
}
