//! The stages of an attempt, in their order. Each type is the result of one step. A step needs the
//! stages before it and returns the next one, so it cannot use a fact that is not known yet.

use crate::account::Account;
use crate::account::Login;
use crate::account::remembered::RememberedAccount;
use crate::attempt::Attempt;
use crate::attempt::printable;
use crate::error::Error;
use crate::password::Fault;
use crate::policy;
use crate::policy::Credentials;
use crate::policy::Decision;
use crate::policy::DecisionInput;
use crate::policy::EvaluatedRule;
use crate::policy::Facts;
use crate::policy::Layer;
use crate::policy::Policy;
use crate::policy::PolicyResult;
use crate::policy::Rules;
use crate::secret::Secret;
use crate::shared::StretchedPassword;
use crate::shared::Timestamp;
use crate::verdict::CacheHits;

/// The stages that an attempt has reached. The row and the settlement need them, so they outlive an
/// error or a panic in a later step.
pub(super) struct Stages<'a> {
    pub located: Located,
    /// The name that the client gave; `None` if it gave none that can be looked up.
    pub login: Option<Login>,
    pub limits: Option<LimitsChecked>,
    pub account: Option<AccountFound<'a>>,
    pub rules: Option<RulesApplied>,
    pub password: Option<PasswordVerified>,
}

/// The client's address has been looked up.
pub(super) struct Located {
    /// The facts, without limits and exceptions.
    pub facts: Facts,
    /// The address or network that limits count, or `local`.
    pub remote: String,
    /// The reason why `allow` could not decide about the address.
    pub allow_error: Option<String>,
}

/// The limits have been checked as far as they do not depend on the account.
pub(super) struct LimitsChecked {
    /// The fingerprint of the password that made the address known good; `None` if the address is
    /// not known good, or if that was not looked up.
    pub known_good: Option<String>,
}

/// The account has been looked up.
pub(super) struct AccountFound<'a> {
    /// The account; `None` if there is none with this name.
    pub account: Option<Account>,
    /// The canonical name, or the client's if the query returns none; printable.
    pub username: String,
    /// The fingerprint of the stored passwords.
    pub fingerprint: String,
    /// The file of the remembered account; `None` if accounts are not remembered, or if the attempt has
    /// no password.
    pub remembered: Option<RememberedAccount<'a>>,
    /// The reason why a remembered account is used; `None` if it does not.
    pub unreachable: Option<Error>,
    /// True if the account comes from the cache.
    pub is_cached: bool,
    /// The time just before the database was asked; `None` without a cache.
    pub asked_at: Option<Timestamp>,
}

/// The rules have been applied.
pub(super) struct RulesApplied {
    /// The result of each rule.
    pub evaluated: Vec<EvaluatedRule>,
    /// The result of all rules together.
    pub policy_result: PolicyResult,
    /// The layer whose rules disable the account.
    pub disabled: Option<Layer>,
    /// True if the country is new. It is looked up only after the password has been verified.
    pub is_new_country: bool,
}

/// The password has been verified, or does not need to be.
pub(super) struct PasswordVerified {
    /// The result; a fault if a stored password cannot be read.
    pub result: Result<Credentials, Fault>,
    /// True if the attempt counts as a failure even though its decision is "cannot tell".
    pub counts_as_failure: bool,
    /// The password for the cache, and the time just before it was verified. `None` without a cache.
    pub stretched: Option<(StretchedPassword, Timestamp)>,
    /// True if the cache says that the password is right.
    pub is_cached: bool,
}

impl<'a> Stages<'a> {
    /// The first stage.
    pub(super) fn new(located: Located) -> Self {
        Self { located, login: None, limits: None, account: None, rules: None, password: None }
    }

    /// The name in the row: the account's if it was found, else the one that the client gave.
    pub(super) fn username(&self, attempt: &Attempt) -> String {
        match (&self.account, &self.login) {
            (Some(found), _) => found.username.clone(),
            (None, Some(login)) => shown(login),
            (None, None) => attempt.shown.to_lowercase(),
        }
    }

    /// The input of the decision; `None` before the rules have been applied.
    pub(super) fn decision_input(&self) -> Option<DecisionInput> {
        let result = self.password.as_ref().map(|verified| verified.result.as_ref());
        let credentials = match result {
            Some(Ok(credentials)) => *credentials,
            Some(Err(_)) | None => Credentials::CannotTell,
        };
        self.rules.as_ref().map(|rules| rules.decision_input(credentials))
    }

    /// The decision from what is known.
    pub(super) fn decide(&self, policy: &Policy) -> Decision {
        let input = self.decision_input();
        input.map_or(Decision::CANNOT_TELL, |input| policy::decide(policy, &input))
    }

    /// The parts of an accepted attempt that came from the cache.
    pub(super) fn cache_hits(&self) -> CacheHits {
        CacheHits {
            account: self.account.as_ref().is_some_and(|found| found.is_cached),
            password: self.password.as_ref().is_some_and(|verified| verified.is_cached),
        }
    }

    /// True if the account has logged in from this address with its present password.
    pub(super) fn is_known_good(&self) -> bool {
        let known = self.limits.as_ref().and_then(|limits| limits.known_good.as_ref());
        known.zip(self.account.as_ref()).is_some_and(|(known, found)| *known == found.fingerprint)
    }
}

/// The name that the client gave, in a form that can be printed and stored.
pub(super) fn shown(login: &Login) -> String {
    printable(login.user().as_bytes())
}

impl AccountFound<'_> {
    /// The layers of rules that hold for the account, the strongest first.
    pub(super) fn layers<'p>(&'p self, policy: &'p Policy) -> Vec<(Layer, &'p Rules)> {
        policy.layers(&self.username, self.account.as_ref().map(|account| &account.rules))
    }

    /// True if the account does not come from its database.
    pub(super) fn is_copy(&self) -> bool {
        self.is_cached || self.unreachable.is_some()
    }

    /// Wipes the stored passwords from memory: no later step needs them.
    pub(super) fn wipe_passwords(&mut self) {
        self.account.iter_mut().for_each(|account| account.passwords.clear());
    }

    /// The stored passwords.
    pub(super) fn passwords(&self) -> &[Secret] {
        self.account.as_ref().map_or(&[], |account| &account.passwords)
    }
}

impl RulesApplied {
    /// The input of the decision.
    pub(super) fn decision_input(&self, credentials: Credentials) -> DecisionInput {
        DecisionInput {
            policy_result: self.policy_result.clone(),
            disabled: self.disabled,
            is_new_country: self.is_new_country,
            credentials,
        }
    }

    /// True if the attempt is refused whatever its password.
    pub(super) fn refuses(&self, policy: &Policy) -> bool {
        policy::refuses(policy, &self.policy_result) || self.disabled.is_some()
    }
}

impl PasswordVerified {
    /// A result for which no stored password was read.
    pub(super) fn known(credentials: Credentials) -> Self {
        Self {
            result: Ok(credentials),
            counts_as_failure: false,
            stretched: None,
            is_cached: false,
        }
    }

    /// Drops the result, because the account has changed meanwhile. A failure still counts.
    pub(super) fn out_of_date(self) -> Self {
        let counts_as_failure = self.counts_as_failure;
        Self { counts_as_failure, ..Self::known(Credentials::CannotTell) }
    }

    /// The result.
    ///
    /// # Errors
    /// A stored password cannot be read.
    pub(super) fn credentials(&self, login: &Login) -> Result<Credentials, Error> {
        self.result.as_ref().copied().map_err(|fault| unreadable_account(login, fault))
    }
}

/// The error of an account whose data cannot be read.
pub(super) fn unreadable_account(login: &Login, fault: &Fault) -> Error {
    Error::Account { account: login.user().to_owned(), what: fault.0.clone() }
}
