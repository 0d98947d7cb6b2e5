//! The decision as tables: each row is a sentence.

#![allow(clippy::too_many_lines, reason = "a table is as long as it is")]

use std::net::IpAddr;

use ipnet::IpNet;

use super::*;
use crate::address::Nat64;

/// A client's address, with its entry in the country file.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    Local,
    Known(IpAddr, Option<Country>),
    Unreadable(IpAddr),
}

/// The facts about an attempt from this place, without any limit or exception.
pub(super) fn facts(place: Place) -> Facts {
    let (address, country) = match place {
        Place::Local => (None, GeoLookup::Read(None)),
        Place::Known(address, country) => (Some(address), GeoLookup::Read(country)),
        Place::Unreadable(address) => (Some(address), GeoLookup::Unavailable),
    };
    let address = address.map(|address| Nat64::default().read(address));
    Facts {
        address,
        country,
        asn: GeoLookup::Read(None),
        protocol: String::from("SMTP"),
        now: 1_000_000,
        refused_before: None,
        limits: Vec::new(),
        exceptions: Vec::new(),
    }
}

/// The result of the policy for an account with these rules. The rule that admits or cannot tell is
/// replaced by the one in [`PASS`] or [`CANNOT_TELL`].
pub(super) fn apply_to_place(policy: &Policy, own: Option<&Rules>, place: Place) -> PolicyResult {
    match apply_rules(policy, &policy.layers("u@example.com", own), &facts(place)) {
        PolicyResult::Pass(_) => PASS,
        PolicyResult::CannotTell(_) => CANNOT_TELL,
        refused @ PolicyResult::Refuse(_) => refused,
    }
}

/// The input of a decision without a new country.
pub(super) fn decision_input(
    policy_result: &PolicyResult,
    disabled: bool,
    credentials: Credentials,
) -> DecisionInput {
    let disabled = disabled.then_some(Layer::Account);
    DecisionInput {
        policy_result: policy_result.clone(),
        disabled,
        is_new_country: false,
        credentials,
    }
}

/// The result "pass".
pub(super) const PASS: PolicyResult = PolicyResult::Pass(None);
/// The result "cannot tell".
pub(super) const CANNOT_TELL: PolicyResult = PolicyResult::CannotTell(Rule::UnknownCountry);

pub(super) fn countries(codes: &str) -> Option<Countries> {
    if codes == "*" {
        return Some(Countries::Any);
    }
    Some(Countries::These(codes.split(',').map(|c| Country::parse(c).unwrap()).collect()))
}

pub(super) fn nets(list: &str) -> Option<Vec<IpNet>> {
    Some(list.split(',').map(|net| net.parse().unwrap()).collect())
}

pub(super) fn at(country: &str) -> Place {
    Place::Known("203.0.113.9".parse().unwrap(), Country::parse(country))
}

pub(super) fn gb_only() -> Policy {
    Policy {
        default: Rules { allow_countries: countries("GB"), ..Rules::default() },
        trusted_networks: nets("10.0.0.0/8,2001:db8::/32").unwrap(),
        ..Policy::default()
    }
}

#[test]
fn default_rules_decide_by_country() {
    let policy = Policy {
        default: Rules { deny_countries: countries("CN"), ..gb_only().default },
        ..gb_only()
    };
    let strict = Policy { reject_unknown_country: true, ..policy.clone() };
    let refuse = PolicyResult::Refuse;
    let rows = [
        ("an allowed country passes", &policy, at("GB"), PASS),
        (
            "another country is refused",
            &policy,
            at("FR"),
            refuse(Rule::AllowCountries(Layer::Default)),
        ),
        (
            "a denied country is refused",
            &policy,
            at("CN"),
            refuse(Rule::DenyCountries(Layer::Default)),
        ),
        ("an unknown country passes by default", &policy, at(""), PASS),
        (
            "an unknown country is refused if the policy says so",
            &strict,
            at(""),
            refuse(Rule::UnknownCountry),
        ),
        ("a local dialogue has no country", &strict, Place::Local, PASS),
        (
            "a trusted network is exempt",
            &strict,
            Place::Known("10.1.2.3".parse().unwrap(), None),
            PASS,
        ),
        (
            "with an unreadable file, the country is not unknown",
            &policy,
            Place::Unreadable("203.0.113.9".parse().unwrap()),
            CANNOT_TELL,
        ),
        (
            "a trusted network needs no file",
            &policy,
            Place::Unreadable("10.1.2.3".parse().unwrap()),
            PASS,
        ),
    ];
    for (name, policy, place, want) in rows {
        assert_eq!(apply_to_place(policy, None, place), want, "{name}");
    }
    let none = Policy::default();
    let unreadable = Place::Unreadable("203.0.113.9".parse().unwrap());
    assert_eq!(
        apply_to_place(&none, None, unreadable),
        PASS,
        "without a country rule, the file is not needed"
    );
}

#[test]
fn the_accounts_own_rules_override_the_default() {
    let policy = Policy {
        default: Rules { deny_countries: countries("CN"), ..gb_only().default },
        reject_unknown_country: true,
        ..gb_only()
    };
    let own = |allow: &str, deny: &str, networks: &str| Rules {
        allow_countries: if allow.is_empty() { None } else { countries(allow) },
        deny_countries: if deny.is_empty() { None } else { countries(deny) },
        allow_nets: if networks.is_empty() { None } else { nets(networks) },
        ..Rules::default()
    };
    let refuse = PolicyResult::Refuse;
    let rows = [
        (
            "the account's list admits a country that the default refuses",
            own("ES", "", ""),
            at("ES"),
            PASS,
        ),
        ("… even where the default denies it", own("CN", "", ""), at("CN"), PASS),
        (
            "… and refuses a country that the default admits",
            own("ES", "", ""),
            at("GB"),
            refuse(Rule::AllowCountries(Layer::Account)),
        ),
        ("* admits any country", own("*", "", ""), at("CN"), PASS),
        ("* admits an unknown country", own("*", "", ""), at(""), PASS),
        ("policy.unknown_country decides about an unknown country", own("ES", "", ""), at(""), {
            refuse(Rule::UnknownCountry)
        }),
        (
            "the account's denied country is refused",
            own("", "GB", ""),
            at("GB"),
            refuse(Rule::DenyCountries(Layer::Account)),
        ),
        (
            "a denied country overrides *",
            own("*", "GB", ""),
            at("GB"),
            refuse(Rule::DenyCountries(Layer::Account)),
        ),
        (
            "with denied countries only, the default decides about others",
            own("", "GB", ""),
            at("FR"),
            refuse(Rule::AllowCountries(Layer::Default)),
        ),
        ("the account's network admits", own("", "", "203.0.113.0/24"), at("FR"), PASS),
        (
            "the account's network refuses other networks",
            own("", "", "192.0.2.0/24"),
            at("GB"),
            refuse(Rule::AllowNets(Layer::Account)),
        ),
        (
            "the account's network and country must both match",
            own("GB", "", "203.0.113.0/24"),
            at("FR"),
            refuse(Rule::AllowCountries(Layer::Account)),
        ),
        (
            "a local dialogue is exempt from country rules only",
            own("", "", "192.0.2.0/24"),
            Place::Local,
            refuse(Rule::AllowNets(Layer::Account)),
        ),
        (
            "a trusted network is exempt from country rules only",
            own("", "", "192.0.2.0/24"),
            Place::Known("10.1.2.3".parse().unwrap(), None),
            refuse(Rule::AllowNets(Layer::Account)),
        ),
        (
            "the account's list needs the file",
            own("ES", "", ""),
            Place::Unreadable("203.0.113.9".parse().unwrap()),
            CANNOT_TELL,
        ),
        (
            "* does not need the file",
            own("*", "", ""),
            Place::Unreadable("203.0.113.9".parse().unwrap()),
            PASS,
        ),
    ];
    for (name, rules, place, want) in rows {
        assert_eq!(apply_to_place(&policy, Some(&rules), place), want, "{name}");
    }
}

/// Each row: situation, policy, its result, disabled, credentials; then the decision with its
/// `auth_ok`, `policy_reject` and reason.
#[test]
fn decisions_and_their_log_rows() {
    use DecisionKind::{Accept, CannotTell, Reject};
    let policy = gb_only();
    let log_only = Policy { log_only: true, ..gb_only() };
    let refuse = || PolicyResult::Refuse(Rule::AllowCountries(Layer::Default));
    let (yes, not) = (Some(true), Some(false));
    use Credentials as C;
    use Reason as F;
    #[rustfmt::skip]
    let rows = [
        ("accepted",                      &policy,   PASS,        false, C::Right,      Accept,     yes,  not,  None),
        ("log_only would have refused",   &log_only, refuse(),    false, C::Right,      Accept,     yes,  not,  Some(F::WouldReject)),
        ("wrong password",                &policy,   PASS,        false, C::Wrong,      Reject,     not,  not,  Some(F::Credentials)),
        ("… from a refused country",      &policy,   refuse(),    false, C::Wrong,      Reject,     not,  yes,  Some(F::Policy)),
        ("no such account",               &policy,   PASS,        false, C::NoAccount,  Reject,     not,  not,  Some(F::Account)),
        ("… from a refused country",      &policy,   refuse(),    false, C::NoAccount,  Reject,     not,  yes,  Some(F::Policy)),
        ("right, refused by country",     &policy,   refuse(),    false, C::Right,      Reject,     yes,  yes,  Some(F::Policy)),
        ("right, account disabled",       &policy,   PASS,        true,  C::Right,      Reject,     yes,  yes,  Some(F::Disabled)),
        ("wrong, account disabled",       &policy,   PASS,        true,  C::Wrong,      Reject,     not,  yes,  Some(F::Disabled)),
        ("disabled under log_only",       &log_only, PASS,        true,  C::Right,      Reject,     yes,  yes,  Some(F::Disabled)),
        ("a rule comes before disabled",  &policy,   refuse(),    true,  C::Right,      Reject,     yes,  yes,  Some(F::Policy)),
        ("refused before the password",   &policy,   refuse(),    false, C::Unchecked,  Reject,     None, yes,  Some(F::Policy)),
        ("malformed",                     &policy,   PASS,        false, C::Malformed,  Reject,     None, not,  Some(F::Client)),
        ("… from a refused country",      &policy,   refuse(),    false, C::Malformed,  Reject,     None, yes,  Some(F::Client)),
        ("… with an unreadable file",     &policy,   CANNOT_TELL, false, C::Malformed,  Reject,     None, None, Some(F::Client)),
        ("wrong under log_only",          &log_only, refuse(),    false, C::Wrong,      Reject,     not,  not,  Some(F::Credentials)),
        ("cannot tell",                   &policy,   PASS,        false, C::CannotTell, CannotTell, None, not,  Some(F::Internal)),
        ("… from a refused country",      &policy,   refuse(),    false, C::CannotTell, CannotTell, None, yes,  Some(F::Internal)),
        ("… and the account is disabled", &policy,   PASS,        true,  C::CannotTell, CannotTell, None, yes,  Some(F::Internal)),
        ("right, but no country",         &policy,   CANNOT_TELL, false, C::Right,      CannotTell, None, None, Some(F::Internal)),
    ];
    for (
        name,
        policy,
        policy_result,
        disabled,
        credentials,
        kind,
        auth_ok,
        policy_reject,
        reason,
    ) in rows
    {
        let got = decide(policy, &decision_input(&policy_result, disabled, credentials));
        assert_eq!(
            (got.kind, got.auth_ok, got.policy_reject, got.reason),
            (kind, auth_ok, policy_reject, reason),
            "{name}"
        );
        let means_accepted = (got.auth_ok, got.policy_reject) == (yes, not);
        assert_eq!(got.kind == Accept, means_accepted, "only an accepted attempt has 1, 0: {name}");
    }
}

#[test]
fn the_password_of_a_refused_attempt_is_checked_unless_skipped() {
    let skip = Policy { when_rejected: WhenRejected::Skip, ..gb_only() };
    let log_only = Policy { log_only: true, ..skip.clone() };
    let refuse = PolicyResult::Refuse(Rule::AllowCountries(Layer::Default));
    for (name, policy, policy_result, want) in [
        ("verify", &gb_only(), refuse.clone(), false),
        ("skip", &skip, refuse.clone(), true),
        ("skip, but nothing refuses", &skip, PASS, false),
        ("skip under log_only", &log_only, refuse, false),
        ("cannot tell", &gb_only(), CANNOT_TELL, true),
    ] {
        assert_eq!(skips_password(policy, &policy_result), want, "{name}");
    }
}

#[test]
fn a_country_has_two_letters() {
    for (text, want) in [("GB", "GB"), ("gb", "GB"), ("GBR", ""), ("", ""), ("1A", ""), ("é", "")]
    {
        let got = Country::parse(text).map(|c| c.to_string()).unwrap_or_default();
        assert_eq!(got, want, "{text}");
    }
}

#[test]
fn a_new_country_is_ignored_logged_or_refused() {
    let new = |policy_result: PolicyResult, credentials| DecisionInput {
        policy_result,
        disabled: None,
        is_new_country: true,
        credentials,
    };
    let with = |new_country| Policy { new_country, ..gb_only() };
    let (log, reject) = (with(NewCountry::Log), with(NewCountry::Reject));
    let log_only = Policy { log_only: true, ..reject.clone() };
    let pass = || PolicyResult::Pass(Some(Rule::AllowCountries(Layer::Default)));
    let own = || PolicyResult::Pass(Some(Rule::AllowCountries(Layer::Account)));
    let refuse = || PolicyResult::Refuse(Rule::AllowCountries(Layer::Default));
    use Credentials::{Right, Wrong};
    use DecisionKind::{Accept, Reject};
    use Reason as F;
    #[rustfmt::skip]
    let rows = [
        ("ignored",                      &gb_only(), pass(),                                    Right, Accept, None,                 None),
        ("logged",                       &log,       pass(),                                    Right, Accept, Some(F::NewCountry),  Some(Rule::NewCountry)),
        ("refused",                      &reject,    pass(),                                    Right, Reject, Some(F::Policy),      Some(Rule::NewCountry)),
        ("the account's list admits it", &reject,    own(),                                     Right, Accept, Some(F::NewCountry),  Some(Rule::NewCountry)),
        ("an exception admits it",       &reject,    PolicyResult::Pass(Some(Rule::Exception)), Right, Accept, Some(F::NewCountry),  Some(Rule::NewCountry)),
        ("refused under log_only",       &log_only,  pass(),                                    Right, Accept, Some(F::WouldReject), Some(Rule::NewCountry)),
        ("a wrong password",             &reject,    pass(),                                    Wrong, Reject, Some(F::Credentials), None),
        ("a refused country",            &reject,    refuse(),                                  Right, Reject, Some(F::Policy),      Some(Rule::AllowCountries(Layer::Default))),
    ];
    for (name, policy, policy_result, credentials, kind, reason, rule) in rows {
        let got = decide(policy, &new(policy_result, credentials));
        assert_eq!((got.kind, got.reason, got.rule), (kind, reason, rule), "{name}");
    }
}

#[test]
fn the_password_is_not_checked_after_a_refusal_by_a_limit() {
    let limit = PolicyResult::Refuse(Rule::Limit("spraying".into()));
    let log_only = Policy { log_only: true, ..gb_only() };
    assert!(skips_password(&gb_only(), &limit), "for any when_rejected");
    assert!(!skips_password(&log_only, &limit), "log_only refuses no client");
    let refused = decide(&gb_only(), &decision_input(&limit, false, Credentials::Unchecked));
    assert_eq!((refused.auth_ok, refused.policy_reject), (None, Some(true)));
    assert_eq!(refused.rule, Some(Rule::Limit("spraying".into())));
}

#[test]
fn addresses_are_counted_by_network() {
    let limits = Limits { ipv4_prefix: 32, ipv6_prefix: 64, ..Limits::default() };
    let wide = Limits { ipv4_prefix: 24, ipv6_prefix: 48, ..Limits::default() };
    for (limits, address, want) in [
        (&limits, "192.0.2.7", "192.0.2.7"),
        (&limits, "::ffff:192.0.2.7", "192.0.2.7"),
        (&limits, "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        (&limits, "64:ff9b::192.0.2.7", "192.0.2.7"),
        (&limits, "64:ff9b::10.0.0.1", "64:ff9b::/64"),
        (&limits, "2002:c000:207::1", "192.0.2.7"),
        (&wide, "192.0.2.7", "192.0.2.0/24"),
        (&wide, "::ffff:0:192.0.2.7", "192.0.2.0/24"),
        (&wide, "2001:db8:1:2:3:4:5:6", "2001:db8:1::/48"),
    ] {
        assert_eq!(limits.remote(Nat64::default().read(address.parse().unwrap())), want);
    }
}
