//! The result of each rule for an attempt, and of all rules together, before the password is
//! checked.

use std::fmt;
use std::sync::Arc;

use ipnet::IpNet;

use super::Countries;
use super::Country;
use super::Layer;
use super::NewCountry;
use super::Policy;
use super::Rule;
use super::Rules;
use crate::address::Address;

/// The result of looking up an address in a GeoIP file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GeoLookup<T> {
    /// The file was read. `None` if it has no entry for the address.
    Read(Option<T>),
    /// No such file is configured, or it cannot be read.
    Unavailable,
}

impl<T: Copy> GeoLookup<T> {
    /// The entry, if the file was read and has one.
    #[must_use]
    pub fn known(&self) -> Option<T> {
        match self {
            Self::Read(known) => *known,
            Self::Unavailable => None,
        }
    }
}

/// A temporary allowance. It admits a client that the layers would refuse.
#[derive(Debug, Clone)]
pub struct Exception {
    /// Countries to admit.
    pub countries: Option<Countries>,
    /// Networks to admit.
    pub networks: Option<Vec<IpNet>>,
    /// The end, in seconds since 1970.
    pub until: i64,
}

/// The facts about an attempt that are known before its password is checked.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The client's address; `None` for a dialogue on this machine.
    pub address: Option<Address>,
    /// The country of that address.
    pub country: GeoLookup<Country>,
    /// The number of the autonomous system that announces the address.
    pub asn: GeoLookup<u32>,
    /// The protocol, in upper case.
    pub protocol: String,
    /// The time of the attempt, in milliseconds since 1970.
    pub now: i64,
    /// The rule by which `allow` refused this address in this connection, if no account can
    /// override that rule.
    pub refused_before: Option<Rule>,
    /// The names of the limits that were checked; true if the limit is reached.
    pub limits: Vec<(Arc<str>, bool)>,
    /// The account's exceptions.
    pub exceptions: Vec<Exception>,
}

impl Facts {
    /// The time of the attempt, in seconds since 1970.
    #[must_use]
    pub fn seconds(&self) -> i64 {
        self.now.div_euclid(1000)
    }

    /// True if a limit is reached.
    #[must_use]
    pub fn has_reached_limit(&self) -> bool {
        self.refused_before.as_ref().is_some_and(Rule::is_limit)
            || self.limits.iter().any(|(_, is_reached)| *is_reached)
    }

    /// True if the address is in `policy.trusted_networks`. Such an address is exempt from the
    /// rules about countries and autonomous systems, and from limits per remote.
    #[must_use]
    pub fn is_trusted(&self, policy: &Policy) -> bool {
        self.address.is_some_and(|address| address.is_admitted_by(&policy.trusted_networks))
    }
}

/// The result of one rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleResult {
    /// The rule is not set.
    NotSet,
    /// The rule does not apply to this address.
    Exempt,
    /// The rule neither admits nor refuses; the next rule is applied.
    Passes,
    /// The rule admits; later rules are not applied.
    Admits,
    /// The rule refuses; later rules are not applied.
    Refuses,
    /// The rule needs a fact that is unavailable.
    CannotTell,
}

impl fmt::Display for RuleResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotSet => "nothing",
            Self::Exempt => "exempt",
            Self::Passes => "passes",
            Self::Admits => "admits",
            Self::Refuses => "refuses",
            Self::CannotTell => "cannot-tell",
        })
    }
}

/// A rule with its result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvaluatedRule {
    /// The rule.
    pub rule: Rule,
    /// Its result.
    pub result: RuleResult,
}

/// The result of all rules together.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum PolicyResult {
    /// No rule refuses. The rule, if any, is the one that admits.
    Pass(Option<Rule>),
    /// This rule refuses.
    Refuse(Rule),
    /// This rule needs a fact that is unavailable.
    CannotTell(Rule),
}

/// Applies the rules to the facts.
pub fn apply_rules(policy: &Policy, layers: &[(Layer, &Rules)], facts: &Facts) -> PolicyResult {
    combine(policy, &evaluate(policy, layers, facts))
}

/// Combines the results of the rules: the first that admits, refuses or cannot tell decides.
///
/// Under `log_only` a refusal is only logged, so the search goes on. If a later rule cannot tell,
/// the result is "cannot tell".
pub fn combine(policy: &Policy, evaluated: &[EvaluatedRule]) -> PolicyResult {
    let mut refused_by = None;
    for EvaluatedRule { rule, result } in evaluated {
        match result {
            RuleResult::NotSet | RuleResult::Exempt | RuleResult::Passes => {}
            RuleResult::Refuses if policy.log_only => {
                refused_by.get_or_insert(rule);
            }
            RuleResult::Refuses => return PolicyResult::Refuse(rule.clone()),
            RuleResult::Admits => {
                let admitted = PolicyResult::Pass(Some(rule.clone()));
                return refused_by.map_or(admitted, |rule| PolicyResult::Refuse(rule.clone()));
            }
            RuleResult::CannotTell => return PolicyResult::CannotTell(rule.clone()),
        }
    }
    refused_by.map_or(PolicyResult::Pass(None), |rule| PolicyResult::Refuse(rule.clone()))
}

/// Evaluates each rule, in the order of application.
#[must_use]
pub fn evaluate(policy: &Policy, layers: &[(Layer, &Rules)], facts: &Facts) -> Vec<EvaluatedRule> {
    let mut evaluated = Vec::with_capacity(16);
    let mut add = |rule, result| evaluated.push(EvaluatedRule { rule, result });
    add(Rule::DenyNetworks, deny_networks(policy, facts));
    add(Rule::DenyAsns, deny_asns(policy, facts));
    if let Some(rule) = &facts.refused_before {
        add(rule.clone(), RuleResult::Refuses);
    }
    for (name, is_reached) in &facts.limits {
        add(
            Rule::Limit(Arc::clone(name)),
            if *is_reached { RuleResult::Refuses } else { RuleResult::Passes },
        );
    }
    let (layer, result) = protocols(layers, facts);
    add(Rule::Protocols(layer), result);
    add(Rule::Exception, exception(facts));
    let place =
        ClientPlace { is_exempt: facts.address.is_none() || facts.is_trusted(policy), facts };
    for (layer, rules) in layers {
        add(Rule::DenyCountries(*layer), place.deny_countries(rules));
        add(Rule::AllowNets(*layer), place.allow_nets(rules));
        add(Rule::AllowCountries(*layer), place.allow_countries(rules));
        if place.needs_unknown_country_rule(rules) {
            // A list of countries cannot contain an unknown one. So either `policy.unknown_country`
            // refuses here, or this layer admits. The weaker layers are not asked.
            add(Rule::UnknownCountry, place.unknown_country(policy.reject_unknown_country));
            add(Rule::AllowCountries(*layer), RuleResult::Admits);
        }
    }
    add(Rule::UnknownCountry, place.unknown_country(policy.reject_unknown_country));
    add(Rule::NewCountry, place.new_country(policy.new_country));
    evaluated
}

fn deny_networks(policy: &Policy, facts: &Facts) -> RuleResult {
    match facts.address {
        _ if policy.deny_networks.is_empty() => RuleResult::NotSet,
        Some(address) if address.is_denied_by(&policy.deny_networks) => RuleResult::Refuses,
        Some(_) | None => RuleResult::Passes,
    }
}

fn deny_asns(policy: &Policy, facts: &Facts) -> RuleResult {
    match facts.asn {
        _ if policy.deny_asns.is_empty() => RuleResult::NotSet,
        _ if facts.address.is_none() || facts.is_trusted(policy) => RuleResult::Exempt,
        GeoLookup::Unavailable => RuleResult::CannotTell,
        GeoLookup::Read(Some(asn)) if policy.deny_asns.contains(&asn) => RuleResult::Refuses,
        GeoLookup::Read(_) => RuleResult::Passes,
    }
}

/// The result of the strongest layer that has a list of protocols.
fn protocols(layers: &[(Layer, &Rules)], facts: &Facts) -> (Layer, RuleResult) {
    let contains = |(layer, rules): &(Layer, &Rules)| {
        rules.protocols.as_ref().map(|list| (*layer, list.contains(&facts.protocol)))
    };
    match layers.iter().find_map(contains) {
        Some((layer, true)) => (layer, RuleResult::Passes),
        Some((layer, false)) => (layer, RuleResult::Refuses),
        None => (Layer::Default, RuleResult::NotSet),
    }
}

fn exception(facts: &Facts) -> RuleResult {
    let matches = |exception: &Exception| {
        let network = exception.networks.as_ref().zip(facts.address);
        let is_trusted = facts.address.is_none_or(Address::may_admit);
        let country = facts.country.known().filter(|_| is_trusted);
        let country = exception.countries.as_ref().zip(country);
        exception.until > facts.seconds()
            && (network.is_some_and(|(networks, address)| address.is_admitted_by(networks))
                || country.is_some_and(|(list, country)| list.contain(Some(country)) == Some(true)))
    };
    match facts.exceptions.iter().any(matches) {
        true => RuleResult::Admits,
        false if facts.exceptions.is_empty() => RuleResult::NotSet,
        false => RuleResult::Passes,
    }
}

/// The client's place, for the rules of the layers and the rules about countries.
struct ClientPlace<'a> {
    /// True if the rules about countries do not apply to the client.
    is_exempt: bool,
    facts: &'a Facts,
}

impl ClientPlace<'_> {
    fn deny_countries(&self, rules: &Rules) -> RuleResult {
        match (&rules.deny_countries, self.facts.country) {
            (None, _) => RuleResult::NotSet,
            _ if self.is_exempt => RuleResult::Exempt,
            (Some(_), GeoLookup::Unavailable) => RuleResult::CannotTell,
            (Some(list), GeoLookup::Read(country)) if list.contain(country) == Some(true) => {
                RuleResult::Refuses
            }
            (Some(_), GeoLookup::Read(_)) => RuleResult::Passes,
        }
    }

    fn allow_nets(&self, rules: &Rules) -> RuleResult {
        let Some(networks) = &rules.allow_nets else { return RuleResult::NotSet };
        match self.facts.address.is_some_and(|address| address.is_admitted_by(networks)) {
            false => RuleResult::Refuses,
            true if rules.allow_countries.is_none() => RuleResult::Admits,
            true => RuleResult::Passes,
        }
    }

    fn allow_countries(&self, rules: &Rules) -> RuleResult {
        match (&rules.allow_countries, self.facts.country) {
            (None, _) => RuleResult::NotSet,
            _ if self.is_exempt => RuleResult::Exempt,
            (Some(Countries::Any), _) => RuleResult::Admits,
            (Some(_), GeoLookup::Unavailable) => RuleResult::CannotTell,
            (Some(list), GeoLookup::Read(country)) => match list.contain(country) {
                Some(true) => RuleResult::Admits,
                Some(false) => RuleResult::Refuses,
                None => RuleResult::Passes,
            },
        }
    }

    /// True if the country is unknown and these rules list the allowed countries.
    fn needs_unknown_country_rule(&self, rules: &Rules) -> bool {
        !self.is_exempt
            && self.facts.country == GeoLookup::Read(None)
            && matches!(rules.allow_countries, Some(Countries::These(_)))
    }

    fn unknown_country(&self, reject: bool) -> RuleResult {
        match self.facts.country {
            _ if !reject => RuleResult::NotSet,
            _ if self.is_exempt => RuleResult::Exempt,
            GeoLookup::Unavailable => RuleResult::CannotTell,
            GeoLookup::Read(None) => RuleResult::Refuses,
            GeoLookup::Read(Some(_)) => RuleResult::Passes,
        }
    }

    /// Only makes sure that the country is available: [`super::decide`] applies this rule when the
    /// password is known to be right.
    fn new_country(&self, new_country: NewCountry) -> RuleResult {
        match (new_country, self.facts.country) {
            (NewCountry::Ignore, _) => RuleResult::NotSet,
            _ if self.is_exempt => RuleResult::Exempt,
            (NewCountry::Reject, GeoLookup::Unavailable) => RuleResult::CannotTell,
            (NewCountry::Reject | NewCountry::Log, _) => RuleResult::Passes,
        }
    }
}
