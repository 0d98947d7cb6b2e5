//! The verdict: the decision, with everything else about its result that the row, the log line and
//! `last` need.

pub mod maillog;
pub mod reply;

use crate::policy::Country;
use crate::policy::Decision;
use crate::policy::DecisionKind;
use crate::policy::Reason;
use crate::verdict::reply::Reply;

/// The result of one attempt.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// The decision, with its reason and rule.
    pub decision: Decision,
    /// The client's country, if it is known.
    pub country: Option<Country>,
    /// The number of the client's autonomous system, if it is known.
    pub asn: Option<u32>,
    /// The canonical name of the account, else the authcid in lower case with the default domain.
    /// Always printable.
    pub username: String,
    /// The parts that came from the cache; none unless the attempt is accepted.
    pub cache_hits: CacheHits,
}

/// The parts of an accepted attempt that came from the cache in shared memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheHits {
    /// True if the account was not asked for in its database.
    pub account: bool,
    /// True if the password was not hashed.
    pub password: bool,
}

impl Verdict {
    /// The verdict when something on our side is broken.
    #[must_use]
    pub fn cannot_tell(username: String) -> Self {
        Self {
            decision: Decision::CANNOT_TELL,
            country: None,
            asn: None,
            username,
            cache_hits: CacheHits::default(),
        }
    }

    /// The reply to Exim.
    pub fn reply(&self) -> Reply {
        match self.decision.kind {
            DecisionKind::Accept => Reply::Accept,
            DecisionKind::Reject => Reply::Reject,
            DecisionKind::CannotTell => Reply::CannotTell,
        }
    }

    /// The number that `last{status}` returns.
    #[must_use]
    pub fn status(&self) -> &'static str {
        match (self.decision.kind, self.decision.reason) {
            (DecisionKind::Accept, _) => "204",
            (DecisionKind::Reject, Some(Reason::Client)) => "400",
            (DecisionKind::Reject, _) => "403",
            (DecisionKind::CannotTell, _) => "503",
        }
    }

    /// The name of the reason, or empty.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        self.decision.reason.map_or("", Reason::name)
    }

    /// The name of the rule, or empty.
    #[must_use]
    pub fn rule(&self) -> String {
        self.decision.rule.as_ref().map(ToString::to_string).unwrap_or_default()
    }

    /// The country's code, or empty.
    #[must_use]
    pub fn country_text(&self) -> String {
        self.country.map(|country| country.to_string()).unwrap_or_default()
    }

    /// The number of the autonomous system, or empty.
    #[must_use]
    pub fn asn_text(&self) -> String {
        self.asn.map(|asn| asn.to_string()).unwrap_or_default()
    }

    /// The value that `last{field}` returns; `None` for an unknown field.
    #[must_use]
    pub fn fact(&self, field: &str) -> Option<String> {
        Some(match field {
            "status" => self.status().to_owned(),
            "reason" => self.reason().to_owned(),
            "rule" => self.rule(),
            "country" => self.country_text(),
            "asn" => self.asn_text(),
            "username" => self.username.clone(),
            "auth_ok" => flag(self.decision.auth_ok).to_owned(),
            "policy_reject" => flag(self.decision.policy_reject).to_owned(),
            _ => return None,
        })
    }
}

/// `1` for true, `0` for false, empty for unknown.
#[must_use]
pub fn flag(flag: Option<bool>) -> &'static str {
    match flag {
        Some(true) => "1",
        Some(false) => "0",
        None => "",
    }
}
