//! The rules that administrators give: the account's, its domain's, and the default ones.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::Countries;
use super::Limits;
use super::Per;
use crate::address::Nat64;

/// Whose rules, the strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// The account's own, from a column of the query or from the configuration.
    Account,
    /// Its domain's.
    Domain,
    /// Those of accounts without rules of their own.
    Default,
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Account => "account",
            Self::Domain => "domain",
            Self::Default => "policy",
        })
    }
}

/// The rules of one layer. `None` is "says nothing".
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// The protocols that may log in, in upper case; no others may.
    pub protocols: Option<Vec<String>>,
    /// The networks that may log in; all others may not.
    pub allow_nets: Option<Vec<IpNet>>,
    /// The countries that may not log in.
    pub deny_countries: Option<Countries>,
    /// The countries that may log in; all others may not.
    pub allow_countries: Option<Countries>,
    /// Whether nobody may log in at all.
    pub disabled: bool,
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

/// What becomes of a right password from a country that the account has not been seen in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NewCountry {
    /// Nobody looks.
    #[default]
    Ignore,
    /// It is accepted, and the line says so.
    Log,
    /// It is refused, unless the account or its domain admits the place.
    Reject,
}

/// The policy of the configuration.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// Networks that nobody logs in from, whatever an account says.
    pub deny_networks: Vec<IpNet>,
    /// Autonomous systems that nobody logs in from, whatever an account says.
    pub deny_asns: Vec<u32>,
    /// Rules of single accounts, by name in lower case.
    pub accounts: BTreeMap<String, Rules>,
    /// Rules of domains, in lower case.
    pub domains: BTreeMap<String, Rules>,
    /// What holds where no stronger rule speaks.
    pub default: Rules,
    /// Refuse a client whose country is unknown, where no rule of the account speaks.
    pub reject_unknown_country: bool,
    /// Networks exempt from the rules about countries and ASNs, and from limits per remote.
    pub trusted_networks: Vec<IpNet>,
    /// The prefixes of addresses that carry an IPv4 address by NAT64.
    pub nat64: Nat64,
    /// What happens to the password of a refused attempt.
    pub when_rejected: WhenRejected,
    /// What becomes of a login from a country that the account has not been seen in.
    pub new_country: NewCountry,
    /// For how long an account counts as seen in a country.
    pub country_memory: Duration,
    /// How much guessing is too much.
    pub limits: Limits,
    /// Decide and log, refuse nobody.
    pub log_only: bool,
}

impl Policy {
    /// Whether any rule of the configuration asks for a country.
    #[must_use]
    pub fn wants_country(&self) -> bool {
        let mut layers = self.accounts.values().chain(self.domains.values());
        self.default.want_country()
            || self.reject_unknown_country
            || self.new_country != NewCountry::Ignore
            || layers.any(Rules::want_country)
            || self.limits.want_country()
    }

    /// True if anything is kept or decided by the account's name: rules of domains and accounts, limits
    /// per account with their known good addresses, and new countries.
    #[must_use]
    pub fn depends_on_names(&self) -> bool {
        !self.accounts.is_empty()
            || !self.domains.is_empty()
            || self.new_country != NewCountry::Ignore
            || self.limits.list.iter().any(|limit| limit.per != Per::Remote)
    }

    /// The rules that hold for an account, the strongest first; `own` are those of its columns.
    #[must_use]
    pub fn layers<'a>(&'a self, name: &str, own: Option<&'a Rules>) -> Vec<(Layer, &'a Rules)> {
        // Many databases do not see blanks at the end when they compare.
        let name = name.trim().to_lowercase();
        let domain = name.rsplit_once('@').and_then(|(_, domain)| self.domains.get(domain));
        let mut layers = Vec::with_capacity(4);
        layers.extend(own.map(|rules| (Layer::Account, rules)));
        layers.extend(self.accounts.get(&name).map(|rules| (Layer::Account, rules)));
        layers.extend(domain.map(|rules| (Layer::Domain, rules)));
        layers.push((Layer::Default, &self.default));
        layers
    }
}

/// A rule, as it is named in `last{rule}` and in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// `policy.deny_networks`
    DenyNetworks,
    /// `policy.deny_asns`
    DenyAsns,
    /// A `[[policy.limit]]`, by its name.
    Limit(Arc<str>),
    /// `protocols`
    Protocols(Layer),
    /// An exception that admits for a time.
    Exception,
    /// `allow_nets`
    AllowNets(Layer),
    /// `deny_countries`
    DenyCountries(Layer),
    /// `allow_countries`
    AllowCountries(Layer),
    /// `policy.unknown_country`
    UnknownCountry,
    /// `policy.new_country`
    NewCountry,
    /// `disabled`
    Disabled(Layer),
}

impl Rule {
    /// Whether it holds for an address whatever the account, so that `allow` may be final.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::DenyNetworks | Self::DenyAsns | Self::Limit(_))
    }

    /// Whether it is about the number of attempts.
    #[must_use]
    pub fn is_limit(&self) -> bool {
        matches!(self, Self::Limit(_))
    }

    /// Whether an exception can overturn it: a rule of a layer about countries or networks.
    #[must_use]
    pub fn exceptions_may_override(&self) -> bool {
        matches!(
            self,
            Self::AllowNets(_)
                | Self::DenyCountries(_)
                | Self::AllowCountries(_)
                | Self::UnknownCountry
        )
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DenyNetworks => f.write_str("policy.deny_networks"),
            Self::DenyAsns => f.write_str("policy.deny_asns"),
            Self::Limit(name) => f.write_str(name),
            Self::Protocols(layer) => write!(f, "{layer}.protocols"),
            Self::Exception => f.write_str("exception"),
            Self::AllowNets(layer) => write!(f, "{layer}.allow_nets"),
            Self::DenyCountries(layer) => write!(f, "{layer}.deny_countries"),
            Self::AllowCountries(layer) => write!(f, "{layer}.allow_countries"),
            Self::UnknownCountry => f.write_str("policy.unknown_country"),
            Self::NewCountry => f.write_str("policy.new_country"),
            Self::Disabled(layer) => write!(f, "{layer}.disabled"),
        }
    }
}
