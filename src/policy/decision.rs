//! The decision, made from the result of the rules, the state of the account and its password.
//!
//! In this order:
//!
//! 1. A rule could not be applied: cannot tell.
//! 2. A rule refuses, without `log_only`: reject, reason `policy`.
//! 3. The account or its domain is disabled: reject, reason `disabled`.
//! 4. The password is right or was not checked, the country is new, and `policy.new_country`
//!    refuses it: reject, reason `policy`.
//! 5. The credentials decide.
//!
//! Two kinds of credentials come before this order: malformed ones are rejected with reason
//! `client`, and ones that could not be checked give "cannot tell".

use super::Layer;
use super::NewCountry;
use super::Policy;
use super::PolicyResult;
use super::Rule;
use super::WhenRejected;

/// The result of checking the credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credentials {
    /// The password is right.
    Right,
    /// The password is wrong.
    Wrong,
    /// There is no such account.
    NoAccount,
    /// The password was not checked.
    Unchecked,
    /// The client sent an authcid or a password that cannot be valid.
    Malformed,
    /// The password could not be checked, because something on the server's side is at fault.
    CannotTell,
}

/// The kind of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum DecisionKind {
    /// The client gets 235.
    Accept,
    /// The client gets 535.
    Reject,
    /// The client gets 435.
    CannotTell,
}

/// The reason for a decision other than a simple acceptance, as in `last{reason}` and the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Accepted under `log_only`, although a rule refuses.
    WouldReject,
    /// Accepted from a new country: the account has not logged in from it before.
    NewCountry,
    /// Wrong password.
    Credentials,
    /// No such account.
    Account,
    /// Refused by a rule about place, protocol or number of attempts.
    Policy,
    /// The account is disabled.
    Disabled,
    /// The client sent malformed credentials.
    Client,
    /// The plugin cannot tell.
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

/// The decision about an attempt, with its reason and the rule.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Decision {
    /// Accept, reject, or cannot tell.
    pub kind: DecisionKind,
    /// True if the credentials were right; `None` if they were not checked or could not be checked.
    pub auth_ok: Option<bool>,
    /// True if a rule refused or the account is disabled; `None` if that is not known.
    pub policy_reject: Option<bool>,
    /// The reason; `None` if the attempt is simply accepted.
    pub reason: Option<Reason>,
    /// The rule that refuses, or would refuse without `log_only`. For a new country that is only
    /// logged, `policy.new_country`.
    pub rule: Option<Rule>,
}

impl Decision {
    /// The decision if a database, a file or the plugin itself is at fault.
    pub const CANNOT_TELL: Self = Self {
        kind: DecisionKind::CannotTell,
        auth_ok: None,
        policy_reject: None,
        reason: Some(Reason::Internal),
        rule: None,
    };

    /// True if the attempt is accepted, and there is nothing to report.
    #[must_use]
    pub fn is_plain_acceptance(&self) -> bool {
        self.kind == DecisionKind::Accept && self.reason.is_none()
    }
}

/// Everything that the decision is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionInput {
    /// The result of all rules together.
    pub policy_result: PolicyResult,
    /// The layer that disables the account; `None` if it is not disabled.
    pub disabled: Option<Layer>,
    /// True if the account has logged in from other countries, but not from this one.
    pub is_new_country: bool,
    /// The result of checking the credentials.
    pub credentials: Credentials,
}

/// True if a rule refuses the client, whatever its password.
#[must_use]
pub fn refuses(policy: &Policy, policy_result: &PolicyResult) -> bool {
    matches!(policy_result, PolicyResult::Refuse(_)) && !policy.log_only
}

/// True if the password is not checked, for one of these reasons:
///
/// - A rule cannot tell.
/// - A limit refuses, without `log_only`.
/// - Another rule refuses, without `log_only`, and `when_rejected` is `"skip"`.
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

/// Makes the decision; the module describes the order.
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
    // `log_only` only tries out rules. It does not enable a disabled account.
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

/// The reason for the decision that comes from a new country; `None` if the country is not new, or
/// if the password is neither right nor unchecked. `Policy` refuses the attempt, the other reasons
/// accept it.
///
/// A rule of the account or of its domain can admit a client from a new country, and so can an
/// exception. Default rules cannot.
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
