//! The decision: what the rules say, the state of the account and its password, put together.

use super::Layer;
use super::NewCountry;
use super::Policy;
use super::PolicyResult;
use super::Rule;
use super::WhenRejected;

/// What is known about the credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credentials {
    /// The password is right.
    Right,
    /// The password is wrong.
    Wrong,
    /// There is no such account.
    NoAccount,
    /// Not looked at.
    Unchecked,
    /// The client sent nothing that could be checked.
    Malformed,
    /// Something of ours is broken.
    CannotTell,
}

/// The answer to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum DecisionKind {
    /// 235
    Accept,
    /// 535
    Reject,
    /// 435
    CannotTell,
}

/// Why an attempt was not simply accepted, as in `last{reason}` and the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Accepted, though a rule would have refused: `log_only`.
    WouldReject,
    /// Accepted, from a country that the account has not been seen in.
    NewCountry,
    /// Wrong password.
    Credentials,
    /// No such account.
    Account,
    /// Refused by a rule about place, protocol or number of attempts.
    Policy,
    /// The account is disabled.
    Disabled,
    /// Nonsense from the client.
    Client,
    /// We cannot tell.
    Internal,
}

impl Reason {
    /// The name in logs, rows and `last{reason}`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::WouldReject => "would-reject",
            Self::NewCountry => "new-country",
            Self::Credentials => "credentials",
            Self::Account => "account",
            Self::Policy => "policy",
            Self::Disabled => "disabled",
            Self::Client => "client",
            Self::Internal => "internal",
        }
    }
}

/// What is decided about an attempt, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Decision {
    /// What the client hears.
    pub kind: DecisionKind,
    /// Whether the credentials were right; `None` where nobody looked or could tell.
    pub auth_ok: Option<bool>,
    /// Whether a rule refused; `None` where we did not get that far.
    pub policy_reject: Option<bool>,
    /// Why not simply accepted.
    pub reason: Option<Reason>,
    /// The rule that refuses, or would under `log_only`.
    pub rule: Option<Rule>,
}

impl Decision {
    /// What holds when something of ours is broken.
    pub const CANNOT_TELL: Self = Self {
        kind: DecisionKind::CannotTell,
        auth_ok: None,
        policy_reject: None,
        reason: Some(Reason::Internal),
        rule: None,
    };
}

/// All that the decision hangs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionInput {
    /// What the rules say.
    pub policy_result: PolicyResult,
    /// Whose rules say that the account is disabled.
    pub disabled: Option<Layer>,
    /// Whether the account has not been seen in this country, but in others.
    pub is_new_country: bool,
    /// What is known about the password.
    pub credentials: Credentials,
}

/// Whether the ruling refuses the client, whatever its password.
#[must_use]
pub fn refuses(policy: &Policy, policy_result: &PolicyResult) -> bool {
    matches!(policy_result, PolicyResult::Refuse(_)) && !policy.log_only
}

/// Whether a refusal makes the password not worth looking at.
#[must_use]
pub fn skips_password(policy: &Policy, policy_result: &PolicyResult) -> bool {
    match policy_result {
        PolicyResult::CannotTell(_) => true,
        PolicyResult::Pass(_) => false,
        PolicyResult::Refuse(rule) => {
            let skips = policy.when_rejected == WhenRejected::Skip || rule.is_limit();
            skips && !policy.log_only
        }
    }
}

/// Puts the ruling, the state of the account and the credentials together.
pub fn decide(policy: &Policy, input: &DecisionInput) -> Decision {
    let credentials = input.credentials;
    let refusing = match &input.policy_result {
        PolicyResult::Refuse(rule) => Some(rule.clone()),
        PolicyResult::CannotTell(_) if credentials != Credentials::Malformed => {
            return Decision::CANNOT_TELL;
        }
        PolicyResult::CannotTell(_) | PolicyResult::Pass(_) => None,
    };
    let new = new_country(policy, input);
    let refused = refuses(policy, &input.policy_result);
    // A disabled account stays out under log_only too: that is no matter of trying out a policy.
    let (reason, rule) = match (refused, input.disabled, &new) {
        (true, _, _) => (Some(Reason::Policy), refusing),
        (false, Some(layer), _) => (Some(Reason::Disabled), Some(Rule::Disabled(layer))),
        (false, None, Some(Reason::Policy)) => (Some(Reason::Policy), Some(Rule::NewCountry)),
        (false, None, _) => (None, refusing),
    };
    let rejected = |auth_ok, own| Decision {
        kind: DecisionKind::Reject,
        auth_ok,
        policy_reject: Some(reason.is_some()),
        reason: Some(reason.unwrap_or(own)),
        rule: rule.clone(),
    };
    match credentials {
        Credentials::Right if reason.is_some() => rejected(Some(true), Reason::Policy),
        Credentials::Right => {
            let (reason, rule) = match (rule, new) {
                (Some(rule), _) => (Some(Reason::WouldReject), Some(rule)),
                (None, Some(reason)) => (Some(reason), Some(Rule::NewCountry)),
                (None, None) => (None, None),
            };
            let (auth_ok, policy_reject) = (Some(true), Some(false));
            Decision { kind: DecisionKind::Accept, auth_ok, policy_reject, reason, rule }
        }
        Credentials::Wrong => rejected(Some(false), Reason::Credentials),
        Credentials::NoAccount => rejected(Some(false), Reason::Account),
        Credentials::Unchecked => rejected(None, Reason::Policy),
        Credentials::Malformed => {
            let is_known = !matches!(input.policy_result, PolicyResult::CannotTell(_));
            Decision {
                reason: Some(Reason::Client),
                policy_reject: is_known.then_some(refused),
                ..rejected(None, Reason::Client)
            }
        }
        Credentials::CannotTell => {
            let policy_reject = Some(reason.is_some());
            Decision { policy_reject, rule, ..Decision::CANNOT_TELL }
        }
    }
}

/// What a new country makes of a right password that nothing else refuses, or of one that nobody may
/// find right: refused by policy, or accepted for one of the other reasons.
fn new_country(policy: &Policy, input: &DecisionInput) -> Option<Reason> {
    let admitted_by_name = match &input.policy_result {
        PolicyResult::Pass(Some(rule)) => {
            !matches!(rule, Rule::AllowCountries(Layer::Default) | Rule::AllowNets(Layer::Default))
        }
        PolicyResult::Pass(None) | PolicyResult::Refuse(_) | PolicyResult::CannotTell(_) => false,
    };
    let matters = matches!(input.credentials, Credentials::Right | Credentials::Unchecked);
    if !input.is_new_country || !matters {
        return None;
    }
    match policy.new_country {
        NewCountry::Ignore => None,
        NewCountry::Reject if policy.log_only && !admitted_by_name => Some(Reason::WouldReject),
        NewCountry::Reject if !admitted_by_name => Some(Reason::Policy),
        NewCountry::Reject | NewCountry::Log => Some(Reason::NewCountry),
    }
}
