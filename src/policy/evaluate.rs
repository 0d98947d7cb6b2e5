//! What each rule says about an attempt, before anybody looks at its password.

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

/// What a file says about an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GeoLookup<T> {
    /// It knows this, or that there is nothing to know.
    Read(Option<T>),
    /// There is no such file, or it cannot be read.
    Unavailable,
}

impl<T: Copy> GeoLookup<T> {
    /// What is known.
    #[must_use]
    pub fn known(&self) -> Option<T> {
        match self {
            Self::Read(known) => *known,
            Self::Unavailable => None,
        }
    }
}

/// An allowance for a time, which admits what the rules below would refuse.
#[derive(Debug, Clone)]
pub struct Exception {
    /// Countries to admit.
    pub countries: Option<Countries>,
    /// Networks to admit.
    pub networks: Option<Vec<IpNet>>,
    /// When it ends, in seconds since 1970.
    pub until: i64,
}

/// What is known of an attempt before its password is looked at.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Where it comes from; `None` on this machine.
    pub address: Option<Address>,
    /// The country of that address.
    pub country: GeoLookup<Country>,
    /// The number of the autonomous system that announces the address.
    pub asn: GeoLookup<u32>,
    /// The protocol, in upper case.
    pub protocol: String,
    /// When, in milliseconds since 1970.
    pub now: i64,
    /// What `allow` refused in this connection.
    pub refused_before: Option<Rule>,
    /// Each limit that was looked at, and whether it is crossed.
    pub limits: Vec<(Arc<str>, bool)>,
    /// The account's exceptions.
    pub exceptions: Vec<Exception>,
}

impl Facts {
    /// When, in seconds since 1970.
    #[must_use]
    pub fn seconds(&self) -> i64 {
        self.now.div_euclid(1000)
    }

    /// Whether this is beyond a limit.
    #[must_use]
    pub fn has_reached_limit(&self) -> bool {
        self.refused_before.as_ref().is_some_and(Rule::is_limit)
            || self.limits.iter().any(|(_, is_reached)| *is_reached)
    }

    /// Whether the address is exempt from the rules about countries and ASNs, and from limits per
    /// remote.
    #[must_use]
    pub fn is_trusted(&self, policy: &Policy) -> bool {
        self.address.is_some_and(|address| address.is_admitted_by(&policy.trusted_networks))
    }
}

/// What one rule says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleResult {
    /// There is no such rule.
    Nothing,
    /// It does not hold for this address.
    Exempt,
    /// It has no objection.
    Passes,
    /// It admits, and no weaker rule is asked.
    Admits,
    /// It refuses, and no weaker rule is asked.
    Refuses,
    /// It asks for a fact that nobody can know now.
    CannotTell,
}

impl fmt::Display for RuleResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "nothing",
            Self::Exempt => "exempt",
            Self::Passes => "passes",
            Self::Admits => "admits",
            Self::Refuses => "refuses",
            Self::CannotTell => "cannot-tell",
        })
    }
}

/// A rule, and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvaluatedRule {
    /// Which.
    pub rule: Rule,
    /// What.
    pub result: RuleResult,
}

/// What the rules say together.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum PolicyResult {
    /// No rule objects; this one admits, if any does.
    Pass(Option<Rule>),
    /// This rule refuses.
    Refuse(Rule),
    /// This rule asks for what cannot be known.
    CannotTell(Rule),
}

/// Holds the rules against the facts.
pub fn apply_rules(policy: &Policy, layers: &[(Layer, &Rules)], facts: &Facts) -> PolicyResult {
    combine(policy, &evaluate(policy, layers, facts))
}

/// The first rule that decides, decides. Under `log_only` a refusal keeps nobody out, and so hides
/// nothing that cannot be known.
pub fn combine(policy: &Policy, evaluated: &[EvaluatedRule]) -> PolicyResult {
    let mut refusing = None;
    for EvaluatedRule { rule, result } in evaluated {
        match result {
            RuleResult::Nothing | RuleResult::Exempt | RuleResult::Passes => {}
            RuleResult::Refuses if policy.log_only => {
                refusing.get_or_insert(rule);
            }
            RuleResult::Refuses => return PolicyResult::Refuse(rule.clone()),
            RuleResult::Admits => {
                let admitted = PolicyResult::Pass(Some(rule.clone()));
                return refusing.map_or(admitted, |rule| PolicyResult::Refuse(rule.clone()));
            }
            RuleResult::CannotTell => return PolicyResult::CannotTell(rule.clone()),
        }
    }
    refusing.map_or(PolicyResult::Pass(None), |rule| PolicyResult::Refuse(rule.clone()))
}

/// What each rule says, in the order in which they are asked.
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
        if place.is_unknown_to(rules) {
            // A list of countries says nothing of an unknown one: the policy does, in its place.
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
        _ if policy.deny_networks.is_empty() => RuleResult::Nothing,
        Some(address) if address.is_denied_by(&policy.deny_networks) => RuleResult::Refuses,
        Some(_) | None => RuleResult::Passes,
    }
}

fn deny_asns(policy: &Policy, facts: &Facts) -> RuleResult {
    match facts.asn {
        _ if policy.deny_asns.is_empty() => RuleResult::Nothing,
        _ if facts.address.is_none() || facts.is_trusted(policy) => RuleResult::Exempt,
        GeoLookup::Unavailable => RuleResult::CannotTell,
        GeoLookup::Read(Some(asn)) if policy.deny_asns.contains(&asn) => RuleResult::Refuses,
        GeoLookup::Read(_) => RuleResult::Passes,
    }
}

/// The strongest layer that speaks of protocols.
fn protocols(layers: &[(Layer, &Rules)], facts: &Facts) -> (Layer, RuleResult) {
    let speaks = |(layer, rules): &(Layer, &Rules)| {
        rules.protocols.as_ref().map(|list| (*layer, list.contains(&facts.protocol)))
    };
    match layers.iter().find_map(speaks) {
        Some((layer, true)) => (layer, RuleResult::Passes),
        Some((layer, false)) => (layer, RuleResult::Refuses),
        None => (Layer::Default, RuleResult::Nothing),
    }
}

fn exception(facts: &Facts) -> RuleResult {
    let fits = |exception: &Exception| {
        let network = exception.networks.as_ref().zip(facts.address);
        let is_trusted = facts.address.is_none_or(Address::may_admit);
        let country = facts.country.known().filter(|_| is_trusted);
        let country = exception.countries.as_ref().zip(country);
        exception.until > facts.seconds()
            && (network.is_some_and(|(networks, address)| address.is_admitted_by(networks))
                || country.is_some_and(|(list, country)| list.contain(Some(country)) == Some(true)))
    };
    match facts.exceptions.iter().any(fits) {
        true => RuleResult::Admits,
        false if facts.exceptions.is_empty() => RuleResult::Nothing,
        false => RuleResult::Passes,
    }
}

/// Where the client is, as the rules about places see it.
struct ClientPlace<'a> {
    is_exempt: bool,
    facts: &'a Facts,
}

impl ClientPlace<'_> {
    fn deny_countries(&self, rules: &Rules) -> RuleResult {
        match (&rules.deny_countries, self.facts.country) {
            (None, _) => RuleResult::Nothing,
            _ if self.is_exempt => RuleResult::Exempt,
            (Some(_), GeoLookup::Unavailable) => RuleResult::CannotTell,
            (Some(list), GeoLookup::Read(country)) if list.contain(country) == Some(true) => {
                RuleResult::Refuses
            }
            (Some(_), GeoLookup::Read(_)) => RuleResult::Passes,
        }
    }

    fn allow_nets(&self, rules: &Rules) -> RuleResult {
        let Some(networks) = &rules.allow_nets else { return RuleResult::Nothing };
        match self.facts.address.is_some_and(|address| address.is_admitted_by(networks)) {
            false => RuleResult::Refuses,
            true if rules.allow_countries.is_none() => RuleResult::Admits,
            true => RuleResult::Passes,
        }
    }

    fn allow_countries(&self, rules: &Rules) -> RuleResult {
        match (&rules.allow_countries, self.facts.country) {
            (None, _) => RuleResult::Nothing,
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

    /// Whether the country is unknown and these rules name some.
    fn is_unknown_to(&self, rules: &Rules) -> bool {
        !self.is_exempt
            && self.facts.country == GeoLookup::Read(None)
            && matches!(rules.allow_countries, Some(Countries::These(_)))
    }

    fn unknown_country(&self, reject: bool) -> RuleResult {
        match self.facts.country {
            _ if !reject => RuleResult::Nothing,
            _ if self.is_exempt => RuleResult::Exempt,
            GeoLookup::Unavailable => RuleResult::CannotTell,
            GeoLookup::Read(None) => RuleResult::Refuses,
            GeoLookup::Read(Some(_)) => RuleResult::Passes,
        }
    }

    /// Whether it is new is known when the password is found right.
    fn new_country(&self, new_country: NewCountry) -> RuleResult {
        match (new_country, self.facts.country) {
            (NewCountry::Ignore, _) => RuleResult::Nothing,
            _ if self.is_exempt => RuleResult::Exempt,
            (NewCountry::Reject, GeoLookup::Unavailable) => RuleResult::CannotTell,
            (NewCountry::Reject | NewCountry::Log, _) => RuleResult::Passes,
        }
    }
}
