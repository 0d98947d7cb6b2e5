//! The rules of the administrator: those of an account, those of its domain, and the default ones.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::Countries;
use super::Limits;
use super::Per;
use crate::address::Nat64;

/// A layer of rules, the strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// The account's own rules, from columns of `accounts.query` or from `policy.account`.
    Account,
    /// The rules of the account's domain, from `policy.domain`.
    Domain,
    /// The default rules, in `[policy]` itself.
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

/// The rules of one layer. `None` if a rule is not set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// The only protocols that may log in, in upper case.
    pub protocols: Option<Vec<String>>,
    /// The only networks that may log in.
    pub allow_nets: Option<Vec<IpNet>>,
    /// The countries that may not log in.
    pub deny_countries: Option<Countries>,
    /// The only countries that may log in.
    pub allow_countries: Option<Countries>,
    /// True if all attempts are rejected.
    pub disabled: bool,
}

impl Rules {
    /// True if these rules need the client's country.
    #[must_use]
    pub fn want_country(&self) -> bool {
        matches!(self.allow_countries, Some(Countries::These(_))) || self.deny_countries.is_some()
    }
}

/// The value of `policy.when_rejected`: the handling of the password if a rule other than a limit
/// refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenRejected {
    /// Check the password, so that the row says if it was right.
    #[default]
    Verify,
    /// Do not check it.
    Skip,
}

/// The value of `policy.new_country`: the handling of a right password from a new country.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NewCountry {
    /// Do not look for new countries.
    #[default]
    Ignore,
    /// Accept it, and name the new country in the log line.
    Log,
    /// Reject it, unless a rule of the account or its domain, or an exception, admits the client.
    Reject,
}

/// The policy of the configuration.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// The networks that may not log in to any account. No account can override this.
    pub deny_networks: Vec<IpNet>,
    /// The autonomous systems that may not log in to any account. No account can override this.
    pub deny_asns: Vec<u32>,
    /// The rules of single accounts, by name in lower case.
    pub accounts: BTreeMap<String, Rules>,
    /// The rules of domains, by name in lower case.
    pub domains: BTreeMap<String, Rules>,
    /// The default rules, for all attempts that no stronger layer decides.
    pub default: Rules,
    /// True if a client whose country is unknown is refused, unless a stronger rule admits it.
    pub reject_unknown_country: bool,
    /// The networks that are exempt from rules about countries and autonomous systems, and from
    /// limits per remote.
    pub trusted_networks: Vec<IpNet>,
    /// The prefixes of NAT64, whose addresses carry an IPv4 address.
    pub nat64: Nat64,
    /// The handling of the password of a refused attempt.
    pub when_rejected: WhenRejected,
    /// The handling of a login from a new country.
    pub new_country: NewCountry,
    /// The time until a country is new again for an account.
    pub country_memory: Duration,
    /// The limits.
    pub limits: Limits,
    /// True if refusals by rules are only logged, to try out the policy.
    pub log_only: bool,
}

impl Policy {
    /// True if any rule of the configuration needs the client's country.
    #[must_use]
    pub fn wants_country(&self) -> bool {
        let mut layers = self.accounts.values().chain(self.domains.values());
        self.default.want_country()
            || self.reject_unknown_country
            || self.new_country != NewCountry::Ignore
            || layers.any(Rules::want_country)
            || self.limits.want_country()
    }

    /// True if a rule or a table of the plugin depends on the account's name: rules of domains and
    /// accounts, limits per account with their known good addresses, and new countries.
    #[must_use]
    pub fn depends_on_names(&self) -> bool {
        !self.accounts.is_empty()
            || !self.domains.is_empty()
            || self.new_country != NewCountry::Ignore
            || self.limits.list.iter().any(|limit| limit.per != Per::Remote)
    }

    /// The rules for an account, the strongest first. `own` are those from columns of
    /// `accounts.query`.
    #[must_use]
    pub fn layers<'a>(&'a self, name: &str, own: Option<&'a Rules>) -> Vec<(Layer, &'a Rules)> {
        // Many databases ignore blanks at the end of a text when they compare.
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

/// A rule. `Display` writes its name in `last{rule}` and in the log.
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
    /// An exception of the account, which admits for a time.
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
    /// True if no account can override the rule. After `allow` has refused by such a rule, it
    /// refuses all attempts of this address in the connection.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::DenyNetworks | Self::DenyAsns | Self::Limit(_))
    }

    /// True if the rule is a limit.
    #[must_use]
    pub fn is_limit(&self) -> bool {
        matches!(self, Self::Limit(_))
    }

    /// True if an exception may override the rule: a rule about countries or networks in a layer.
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
