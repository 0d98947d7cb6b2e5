//! The rules, the facts they are held against, and the decision. Pure: no database, no clock.
//!
//! Two layers: the account's own rules, then the default ones of the configuration. A layer that
//! speaks about the client's place ends the search, so that an account's own rule wins in both
//! directions. docs/reference.md has the same order in words.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

/// An ISO 3166-1 alpha-2 code.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Country([u8; 2]);

impl Country {
    /// Reads two letters of either case; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let code: [u8; 2] = text.as_bytes().try_into().ok()?;
        code.iter().all(u8::is_ascii_alphabetic).then(|| Self(code.map(|c| c.to_ascii_uppercase())))
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        std::str::from_utf8(&self.0).unwrap_or("").fmt(f)
    }
}

impl fmt::Debug for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A list of countries in a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Countries {
    /// `*`: any country, and an unknown one.
    Any,
    /// These.
    These(Vec<Country>),
}

impl Countries {
    fn contains(&self, country: Country) -> bool {
        match self {
            Self::Any => true,
            Self::These(list) => list.contains(&country),
        }
    }
}

/// The rules of one layer: of an account, or the default ones. `None` is "says nothing".
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// The countries that may log in; all others may not.
    pub allow_countries: Option<Countries>,
    /// The countries that may not log in.
    pub deny_countries: Option<Countries>,
    /// The networks that may log in; all others may not.
    pub allow_nets: Option<Vec<IpNet>>,
}

impl Rules {
    /// Whether these rules ask for a country.
    #[must_use]
    pub fn want_country(&self) -> bool {
        matches!(self.allow_countries, Some(Countries::These(_))) || self.deny_countries.is_some()
    }
}

/// When a refusal by country or network is found before the password was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenRejected {
    /// Check the password all the same, so that the row says whether it was right.
    #[default]
    Verify,
    /// Do not.
    Skip,
}

/// The policy of the configuration.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// What holds for accounts without a rule of their own.
    pub default: Rules,
    /// Refuse a client whose country is unknown, where no rule of the account speaks.
    pub reject_unknown_country: bool,
    /// Networks exempt from country rules.
    pub trusted_networks: Vec<IpNet>,
    /// What happens to the password of a refused attempt.
    pub when_rejected: WhenRejected,
    /// Decide and log, refuse nobody.
    pub log_only: bool,
}

impl Policy {
    /// Whether any default rule asks for a country.
    #[must_use]
    pub fn wants_country(&self) -> bool {
        self.default.want_country() || self.reject_unknown_country
    }
}

/// What is known about where the client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// On this machine, without an address.
    Local,
    /// At an address, in a country if the file knows it.
    Known(IpAddr, Option<Country>),
    /// At an address whose country cannot be known, since there is no GeoIP file or it is broken.
    Unreadable(IpAddr),
}

/// The rule that refuses, as it is named in `last{rule}` and in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// The account's `allow_nets`.
    AccountAllowNets,
    /// The account's `deny_countries`.
    AccountDenyCountries,
    /// The account's `allow_countries`.
    AccountAllowCountries,
    /// `policy.deny_countries`.
    DefaultDenyCountries,
    /// `policy.allow_countries`.
    DefaultAllowCountries,
    /// `policy.unknown_country`.
    UnknownCountry,
    /// The account's `disabled`.
    Disabled,
}

impl Rule {
    /// The name in logs and in `last{rule}`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AccountAllowNets => "account.allow_nets",
            Self::AccountDenyCountries => "account.deny_countries",
            Self::AccountAllowCountries => "account.allow_countries",
            Self::DefaultDenyCountries => "policy.deny_countries",
            Self::DefaultAllowCountries => "policy.allow_countries",
            Self::UnknownCountry => "policy.unknown_country",
            Self::Disabled => "account.disabled",
        }
    }
}

/// What the rules say about the client's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Ruling {
    /// No rule objects.
    Pass,
    /// This rule refuses.
    Refuse(Rule),
    /// A country rule holds, and the country cannot be known.
    CannotTell,
}

/// Holds the account's rules, then the default ones, against the client's place.
pub fn judge(policy: &Policy, account: Option<&Rules>, place: Place) -> Ruling {
    let (address, country) = match place {
        Place::Local => (None, Ok(None)),
        Place::Known(address, country) => (Some(address), Ok(country)),
        Place::Unreadable(address) => (Some(address), Err(())),
    };
    let nothing = Rules::default();
    let own = account.unwrap_or(&nothing);
    let exempt = address.is_none_or(|a| policy.trusted_networks.iter().any(|n| n.contains(&a)));
    if let Some(nets) = &own.allow_nets
        && !address.is_some_and(|a| nets.iter().any(|n| n.contains(&a)))
    {
        return Ruling::Refuse(Rule::AccountAllowNets);
    }
    if exempt {
        return Ruling::Pass;
    }
    let asks = own.want_country() || (!decides(own) && policy.wants_country());
    match country {
        Err(()) if asks => Ruling::CannotTell,
        Err(()) => Ruling::Pass,
        Ok(country) => judge_country(policy, own, country),
    }
}

/// Whether the account's own rules, once passed, keep the default ones from being asked.
fn decides(own: &Rules) -> bool {
    own.allow_countries.is_some() || own.allow_nets.is_some()
}

fn judge_country(policy: &Policy, own: &Rules, country: Option<Country>) -> Ruling {
    let default = &policy.default;
    let listed = |list: &Option<Countries>| match (list, country) {
        (Some(Countries::Any), _) => Some(true),
        (Some(list), Some(country)) => Some(list.contains(country)),
        (Some(_) | None, _) => None,
    };
    if listed(&own.deny_countries) == Some(true) {
        return Ruling::Refuse(Rule::AccountDenyCountries);
    }
    match listed(&own.allow_countries) {
        Some(false) => return Ruling::Refuse(Rule::AccountAllowCountries),
        Some(true) => return Ruling::Pass,
        None => {}
    }
    // Left: an account without a list of its own, or an unknown country.
    let own_list = own.allow_countries.is_some();
    let by_network = own.allow_nets.is_some() && !own_list;
    if country.is_none() && policy.reject_unknown_country && !by_network {
        Ruling::Refuse(Rule::UnknownCountry)
    } else if decides(own) {
        Ruling::Pass
    } else if listed(&default.deny_countries) == Some(true) {
        Ruling::Refuse(Rule::DefaultDenyCountries)
    } else if listed(&default.allow_countries) == Some(false) {
        Ruling::Refuse(Rule::DefaultAllowCountries)
    } else {
        Ruling::Pass
    }
}

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
    Nonsense,
    /// Something of ours is broken.
    CannotTell,
}

/// The answer to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Answer {
    /// 235
    Accept,
    /// 535
    Reject,
    /// 435
    CannotTell,
}

/// Why an attempt was not simply accepted, as in `last{reason}` and the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailType {
    /// Accepted, though a rule would have refused: `log_only`.
    WouldReject,
    /// Wrong password.
    Credentials,
    /// No such account.
    Account,
    /// Refused by a rule about the client's place.
    Policy,
    /// The account is disabled.
    Disabled,
    /// Nonsense from the client.
    Client,
    /// We cannot tell.
    Internal,
}

impl FailType {
    /// The name in logs, rows and `last{reason}`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::WouldReject => "would-reject",
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Decision {
    /// What the client hears.
    pub answer: Answer,
    /// Whether the credentials were right; `None` where nobody looked or could tell.
    pub auth_ok: Option<bool>,
    /// Whether a rule refused; `None` where we did not get that far.
    pub policy_reject: Option<bool>,
    /// Why not simply accepted.
    pub reason: Option<FailType>,
    /// The rule that refuses, or would under `log_only`.
    pub rule: Option<Rule>,
}

impl Decision {
    /// What holds when something of ours is broken.
    pub const CANNOT_TELL: Self = Self {
        answer: Answer::CannotTell,
        auth_ok: None,
        policy_reject: None,
        reason: Some(FailType::Internal),
        rule: None,
    };
}

/// Whether the ruling refuses the client, whatever its password.
#[must_use]
pub fn refuses(policy: &Policy, ruling: Ruling) -> bool {
    matches!(ruling, Ruling::Refuse(_)) && !policy.log_only
}

/// Whether a refusal makes the password not worth looking at.
#[must_use]
pub fn skips_password(policy: &Policy, ruling: Ruling) -> bool {
    let refused = refuses(policy, ruling);
    ruling == Ruling::CannotTell || (refused && policy.when_rejected == WhenRejected::Skip)
}

/// Puts the ruling, the state of the account and the credentials together.
pub fn decide(
    policy: &Policy,
    ruling: Ruling,
    disabled: bool,
    credentials: Credentials,
) -> Decision {
    let place_rule = match ruling {
        Ruling::Refuse(rule) => Some(rule),
        Ruling::Pass => None,
        Ruling::CannotTell if credentials == Credentials::Nonsense => None,
        Ruling::CannotTell => return Decision::CANNOT_TELL,
    };
    let refused = refuses(policy, ruling);
    // A disabled account stays out under log_only too: that is no matter of trying out a policy.
    let rule = if disabled && !refused { Some(Rule::Disabled) } else { place_rule };
    let rejected = |auth_ok, own: FailType| Decision {
        answer: Answer::Reject,
        auth_ok,
        policy_reject: Some(refused || disabled),
        reason: Some(match (refused, disabled) {
            (true, _) => FailType::Policy,
            (false, true) => FailType::Disabled,
            (false, false) => own,
        }),
        rule,
    };
    match credentials {
        Credentials::Right if refused || disabled => rejected(Some(true), FailType::Policy),
        Credentials::Right => Decision {
            answer: Answer::Accept,
            auth_ok: Some(true),
            policy_reject: Some(false),
            reason: rule.map(|_| FailType::WouldReject),
            rule,
        },
        Credentials::Wrong => rejected(Some(false), FailType::Credentials),
        Credentials::NoAccount => rejected(Some(false), FailType::Account),
        Credentials::Unchecked => rejected(None, FailType::Policy),
        Credentials::Nonsense => Decision {
            reason: Some(FailType::Client),
            policy_reject: (ruling != Ruling::CannotTell).then_some(refused),
            ..rejected(None, FailType::Client)
        },
        Credentials::CannotTell => {
            Decision { policy_reject: Some(refused || disabled), rule, ..Decision::CANNOT_TELL }
        }
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
