//! The precedence of the rules.

#![allow(clippy::too_many_lines, reason = "a table is as long as it is")]

use super::tests::PASS;
use super::tests::Place;
use super::tests::at;
use super::tests::countries;
use super::tests::facts;
use super::tests::gb_only;
use super::tests::nets;
use super::*;

/// Removes the rule that decides, one after another: the next rule of the order decides then.
#[test]
fn rules_decide_in_order() {
    let all = Policy {
        deny_networks: nets("203.0.113.0/24").unwrap(),
        deny_asns: vec![64496],
        default: Rules {
            protocols: Some(vec![String::from("IMAP")]),
            deny_countries: countries("CN"),
            allow_nets: nets("192.0.2.0/24"),
            allow_countries: countries("GB"),
            ..Rules::default()
        },
        ..Policy::default()
    };
    let domain = Rules { deny_countries: countries("CN"), ..Rules::default() };
    let own = Rules { deny_countries: countries("CN"), ..Rules::default() };
    let exception = Exception { countries: countries("CN"), networks: None, until: 1001 };
    let mut policy = all;
    policy.domains.insert(String::from("example.com"), domain);
    policy.accounts.insert(String::from("u@example.com"), own);
    let mut facts = Facts {
        asn: GeoLookup::Read(Some(64496)),
        refused_before: Some(Rule::Limit("before".into())),
        limits: vec![("first".into(), true), ("second".into(), true)],
        exceptions: vec![exception],
        ..facts(at("CN"))
    };
    let expect = |policy: &Policy, facts: &Facts, want: Rule| {
        let layers = policy.layers("U@Example.com", None);
        let got = match apply_rules(policy, &layers, facts) {
            PolicyResult::Refuse(rule)
            | PolicyResult::CannotTell(rule)
            | PolicyResult::Pass(Some(rule)) => rule,
            PolicyResult::Pass(None) => panic!("no rule decides, but {want} should"),
        };
        assert_eq!(got, want);
    };
    expect(&policy, &facts, Rule::DenyNetworks);
    policy.deny_networks.clear();
    expect(&policy, &facts, Rule::DenyAsns);
    facts.asn = GeoLookup::Unavailable;
    expect(&policy, &facts, Rule::DenyAsns);
    policy.deny_asns.clear();
    expect(&policy, &facts, Rule::Limit("before".into()));
    facts.refused_before = None;
    expect(&policy, &facts, Rule::Limit("first".into()));
    facts.limits.remove(0);
    expect(&policy, &facts, Rule::Limit("second".into()));
    facts.limits = vec![("second".into(), false)];
    expect(&policy, &facts, Rule::Protocols(Layer::Default));
    let account = |policy: &mut Policy, set: fn(&mut Rules)| {
        policy.accounts.values_mut().for_each(set);
    };
    account(&mut policy, |rules| rules.protocols = Some(vec![String::from("SMTP")]));
    expect(&policy, &facts, Rule::Exception);
    facts.now = 1_001_000;
    expect(&policy, &facts, Rule::DenyCountries(Layer::Account));
    account(&mut policy, |rules| rules.deny_countries = None);
    expect(&policy, &facts, Rule::DenyCountries(Layer::Domain));
    account(&mut policy, |rules| rules.allow_countries = Some(Countries::Any));
    expect(&policy, &facts, Rule::AllowCountries(Layer::Account));
    account(&mut policy, |rules| rules.allow_countries = None);
    policy.domains.clear();
    expect(&policy, &facts, Rule::DenyCountries(Layer::Default));
    policy.default.deny_countries = None;
    expect(&policy, &facts, Rule::AllowNets(Layer::Default));
    policy.default.allow_nets = None;
    expect(&policy, &facts, Rule::AllowCountries(Layer::Default));
    policy.default.allow_countries = None;
    policy.reject_unknown_country = true;
    facts.country = GeoLookup::Read(None);
    expect(&policy, &facts, Rule::UnknownCountry);
    policy.reject_unknown_country = false;
    policy.new_country = NewCountry::Reject;
    facts.country = GeoLookup::Unavailable;
    expect(&policy, &facts, Rule::NewCountry);
}

#[test]
fn a_trusted_network_is_exempt_from_countries_and_asns_only() {
    let mut policy = Policy { deny_asns: vec![64496], reject_unknown_country: true, ..gb_only() };
    let inside = Place::Known("10.1.2.3".parse().unwrap(), Country::parse("CN"));
    let facts = Facts { asn: GeoLookup::Read(Some(64496)), ..facts(inside) };
    let result = |policy: &Policy| apply_rules(policy, &policy.layers("u", None), &facts);
    assert_eq!(result(&policy), PASS);
    policy.default.protocols = Some(vec![String::from("IMAP")]);
    assert_eq!(result(&policy), PolicyResult::Refuse(Rule::Protocols(Layer::Default)));
    policy.deny_networks = nets("10.1.0.0/16").unwrap();
    assert_eq!(result(&policy), PolicyResult::Refuse(Rule::DenyNetworks));
}

#[test]
fn an_exception_admits_by_country_or_network_until_it_ends() {
    let exception = |codes: Option<&str>, list: Option<&str>, until| Exception {
        countries: codes.and_then(countries),
        networks: list.and_then(nets),
        until,
    };
    let refused = PolicyResult::Refuse(Rule::AllowCountries(Layer::Default));
    let admitted = PolicyResult::Pass(Some(Rule::Exception));
    for (name, exceptions, want) in [
        ("none", vec![], &refused),
        ("by country", vec![exception(Some("ES,FR"), None, 1001)], &admitted),
        ("another country", vec![exception(Some("ES"), None, 1001)], &refused),
        ("by network", vec![exception(None, Some("203.0.113.0/24"), 1001)], &admitted),
        ("another network", vec![exception(None, Some("192.0.2.0/24"), 1001)], &refused),
        ("expired", vec![exception(Some("FR"), None, 1000)], &refused),
        (
            "one of them",
            vec![exception(Some("FR"), None, 900), exception(Some("FR"), None, 1100)],
            &admitted,
        ),
    ] {
        let facts = Facts { exceptions, ..facts(at("FR")) };
        let policy = gb_only();
        assert_eq!(&apply_rules(&policy, &policy.layers("u", None), &facts), want, "{name}");
    }
}
