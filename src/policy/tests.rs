//! The decision as tables: each row is a sentence.

#![allow(clippy::too_many_lines, reason = "a table is as long as it is")]

use std::net::IpAddr;

use ipnet::IpNet;

use super::*;
use crate::address::Nat64;

/// Where a client is, as far as the file knows.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    Local,
    Known(IpAddr, Option<Country>),
    Unreadable(IpAddr),
}

/// An attempt from there, of which nothing else is known.
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

/// What the policy says about an account with these rules.
pub(super) fn judge_place(policy: &Policy, own: Option<&Rules>, place: Place) -> PolicyResult {
    match apply_rules(policy, &policy.layers("u@example.com", own), &facts(place)) {
        PolicyResult::Pass(_) => PASS,
        PolicyResult::CannotTell(_) => CANNOT_TELL,
        refused @ PolicyResult::Refuse(_) => refused,
    }
}

/// What is known of an attempt at an account.
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

/// Whoever admits.
pub(super) const PASS: PolicyResult = PolicyResult::Pass(None);
/// Whatever is missing.
pub(super) const CANNOT_TELL: PolicyResult = PolicyResult::CannotTell(Rule::UnknownCountry);

pub(super) fn these(codes: &str) -> Option<Countries> {
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
        default: Rules { allow_countries: these("GB"), ..Rules::default() },
        trusted_networks: nets("10.0.0.0/8,2001:db8::/32").unwrap(),
        ..Policy::default()
    }
}

#[test]
fn the_default_rules_by_country() {
    let policy =
        Policy { default: Rules { deny_countries: these("CN"), ..gb_only().default }, ..gb_only() };
    let strict = Policy { reject_unknown_country: true, ..policy.clone() };
    let refuse = PolicyResult::Refuse;
    let rows = [
        ("an allowed country passes", &policy, at("GB"), PASS),
        ("another does not", &policy, at("FR"), refuse(Rule::AllowCountries(Layer::Default))),
        (
            "a denied country does not",
            &policy,
            at("CN"),
            refuse(Rule::DenyCountries(Layer::Default)),
        ),
        ("an unknown country passes by default", &policy, at(""), PASS),
        ("unless told otherwise", &strict, at(""), refuse(Rule::UnknownCountry)),
        ("a local dialogue has no country", &strict, Place::Local, PASS),
        (
            "a trusted network is exempt",
            &strict,
            Place::Known("10.1.2.3".parse().unwrap(), None),
            PASS,
        ),
        (
            "an unreadable file is no unknown country",
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
        assert_eq!(judge_place(policy, None, place), want, "{name}");
    }
    let none = Policy::default();
    let unreadable = Place::Unreadable("203.0.113.9".parse().unwrap());
    assert_eq!(judge_place(&none, None, unreadable), PASS, "no rule, no need for the file");
}

#[test]
fn the_accounts_own_rules_win() {
    let policy = Policy {
        default: Rules { deny_countries: these("CN"), ..gb_only().default },
        reject_unknown_country: true,
        ..gb_only()
    };
    let own = |allow: &str, deny: &str, networks: &str| Rules {
        allow_countries: if allow.is_empty() { None } else { these(allow) },
        deny_countries: if deny.is_empty() { None } else { these(deny) },
        allow_nets: if networks.is_empty() { None } else { nets(networks) },
        ..Rules::default()
    };
    let refuse = PolicyResult::Refuse;
    let rows = [
        ("an own list admits what the default refuses", own("ES", "", ""), at("ES"), PASS),
        ("… even where the default denies it", own("CN", "", ""), at("CN"), PASS),
        (
            "… and refuses what the default admits",
            own("ES", "", ""),
            at("GB"),
            refuse(Rule::AllowCountries(Layer::Account)),
        ),
        ("* admits any country", own("*", "", ""), at("CN"), PASS),
        ("* admits an unknown one", own("*", "", ""), at(""), PASS),
        ("a list leaves an unknown one to the policy", own("ES", "", ""), at(""), {
            refuse(Rule::UnknownCountry)
        }),
        (
            "an own denial refuses",
            own("", "GB", ""),
            at("GB"),
            refuse(Rule::DenyCountries(Layer::Account)),
        ),
        (
            "a denial wins over *",
            own("*", "GB", ""),
            at("GB"),
            refuse(Rule::DenyCountries(Layer::Account)),
        ),
        (
            "a denial alone leaves the rest to the default",
            own("", "GB", ""),
            at("FR"),
            refuse(Rule::AllowCountries(Layer::Default)),
        ),
        ("an own network admits", own("", "", "203.0.113.0/24"), at("FR"), PASS),
        (
            "an own network refuses the others",
            own("", "", "192.0.2.0/24"),
            at("GB"),
            refuse(Rule::AllowNets(Layer::Account)),
        ),
        (
            "own network and own list must both hold",
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
            "an own list needs the file",
            own("ES", "", ""),
            Place::Unreadable("203.0.113.9".parse().unwrap()),
            CANNOT_TELL,
        ),
        ("* does not", own("*", "", ""), Place::Unreadable("203.0.113.9".parse().unwrap()), PASS),
    ];
    for (name, rules, place, want) in rows {
        assert_eq!(judge_place(&policy, Some(&rules), place), want, "{name}");
    }
}

/// The table of the log row: situation, ruling, disabled, credentials, and what comes of it.
#[test]
fn the_decision_is_the_table_of_the_log_row() {
    use DecisionKind::{Accept, CannotTell, Reject};
    let policy = gb_only();
    let log_only = Policy { log_only: true, ..gb_only() };
    let pass = || PASS;
    let no = || PolicyResult::Refuse(Rule::AllowCountries(Layer::Default));
    let (yes, not) = (Some(true), Some(false));
    use Credentials as C;
    use Reason as F;
    #[rustfmt::skip]
    let rows = [
        ("accepted",                     &policy, pass(), false, C::Right,      Accept, yes, not, None),
        ("log_only would have refused",  &log_only, no(), false, C::Right,      Accept, yes, not, Some(F::WouldReject)),
        ("wrong password",               &policy, pass(), false, C::Wrong,      Reject, not, not, Some(F::Credentials)),
        ("… from a refused country",     &policy, no(),   false, C::Wrong,      Reject, not, yes, Some(F::Policy)),
        ("no such account",              &policy, pass(), false, C::NoAccount,  Reject, not, not, Some(F::Account)),
        ("… from a refused country",     &policy, no(),   false, C::NoAccount,  Reject, not, yes, Some(F::Policy)),
        ("right, refused by country",    &policy, no(),   false, C::Right,      Reject, yes, yes, Some(F::Policy)),
        ("right, account disabled",      &policy, pass(), true,  C::Right,      Reject, yes, yes, Some(F::Disabled)),
        ("wrong, account disabled",      &policy, pass(), true,  C::Wrong,      Reject, not, yes, Some(F::Disabled)),
        ("disabled under log_only",      &log_only, pass(), true, C::Right,     Reject, yes, yes, Some(F::Disabled)),
        ("policy outranks disabled",     &policy, no(),   true,  C::Right,      Reject, yes, yes, Some(F::Policy)),
        ("refused before the password",  &policy, no(),   false, C::Unchecked,  Reject, None, yes, Some(F::Policy)),
        ("nonsense",                     &policy, pass(), false, C::Malformed,   Reject, None, not, Some(F::Client)),
        ("… from a refused country",     &policy, no(),   false, C::Malformed,   Reject, None, yes, Some(F::Client)),
        ("… with an unreadable file",    &policy, CANNOT_TELL, false, C::Malformed, Reject, None, None, Some(F::Client)),
        ("wrong under log_only",         &log_only, no(), false, C::Wrong,      Reject, not, not, Some(F::Credentials)),
        ("cannot tell",                  &policy, pass(), false, C::CannotTell, CannotTell, None, not, Some(F::Internal)),
        ("… from a refused country",     &policy, no(),   false, C::CannotTell, CannotTell, None, yes, Some(F::Internal)),
        ("… and the account is disabled", &policy, pass(), true, C::CannotTell, CannotTell, None, yes, Some(F::Internal)),
        ("right, but no country",        &policy, CANNOT_TELL, false, C::Right, CannotTell, None, None, Some(F::Internal)),
    ];
    for (
        name,
        policy,
        policy_result,
        disabled,
        credentials,
        answer,
        auth_ok,
        policy_reject,
        reason,
    ) in rows
    {
        let got = decide(policy, &decision_input(&policy_result, disabled, credentials));
        assert_eq!(
            (got.kind, got.auth_ok, got.policy_reject, got.reason),
            (answer, auth_ok, policy_reject, reason),
            "{name}"
        );
        let means_accepted = (got.auth_ok, got.policy_reject) == (yes, not);
        assert_eq!(got.kind == Accept, means_accepted, "1, 0 means accepted: {name}");
    }
}

#[test]
fn a_refused_password_is_checked_unless_told_otherwise() {
    let skip = Policy { when_rejected: WhenRejected::Skip, ..gb_only() };
    let log_only = Policy { log_only: true, ..skip.clone() };
    let no = PolicyResult::Refuse(Rule::AllowCountries(Layer::Default));
    for (name, policy, policy_result, want) in [
        ("verify", &gb_only(), no.clone(), false),
        ("skip", &skip, no.clone(), true),
        ("skip, but nothing refuses", &skip, PASS, false),
        ("skip under log_only", &log_only, no, false),
        ("no answer hangs on it", &gb_only(), CANNOT_TELL, true),
    ] {
        assert_eq!(skips_password(policy, &policy_result), want, "{name}");
    }
}

#[test]
fn a_country_is_two_letters() {
    for (text, want) in [("GB", "GB"), ("gb", "GB"), ("GBR", ""), ("", ""), ("1A", ""), ("é", "")]
    {
        let got = Country::parse(text).map(|c| c.to_string()).unwrap_or_default();
        assert_eq!(got, want, "{text}");
    }
}

#[test]
fn a_new_country_is_logged_or_refused() {
    let new = |policy_result: PolicyResult, credentials| DecisionInput {
        policy_result,
        disabled: None,
        is_new_country: true,
        credentials,
    };
    let with = |new_country| Policy { new_country, ..gb_only() };
    let (log, reject) = (with(NewCountry::Log), with(NewCountry::Reject));
    let tried = Policy { log_only: true, ..reject.clone() };
    let pass = || PolicyResult::Pass(Some(Rule::AllowCountries(Layer::Default)));
    let own = || PolicyResult::Pass(Some(Rule::AllowCountries(Layer::Account)));
    let no = || PolicyResult::Refuse(Rule::AllowCountries(Layer::Default));
    use Credentials::{Right, Wrong};
    use DecisionKind::{Accept, Reject};
    use Reason as F;
    #[rustfmt::skip]
    let rows = [
        ("ignored",                  &gb_only(), pass(), Right, Accept, None, None),
        ("logged",                   &log, pass(), Right, Accept, Some(F::NewCountry), Some(Rule::NewCountry)),
        ("refused",                  &reject, pass(), Right, Reject, Some(F::Policy), Some(Rule::NewCountry)),
        ("the account's own list wins", &reject, own(), Right, Accept, Some(F::NewCountry), Some(Rule::NewCountry)),
        ("an exception wins",        &reject, PolicyResult::Pass(Some(Rule::Exception)), Right, Accept, Some(F::NewCountry), Some(Rule::NewCountry)),
        ("tried out",                &tried, pass(), Right, Accept, Some(F::WouldReject), Some(Rule::NewCountry)),
        ("a wrong password is that", &reject, pass(), Wrong, Reject, Some(F::Credentials), None),
        ("a refused place is that",  &reject, no(), Right, Reject, Some(F::Policy), Some(Rule::AllowCountries(Layer::Default))),
    ];
    for (name, policy, policy_result, credentials, answer, reason, rule) in rows {
        let got = decide(policy, &new(policy_result, credentials));
        assert_eq!((got.kind, got.reason, got.rule), (answer, reason, rule), "{name}");
    }
}

#[test]
fn a_limit_keeps_the_password_from_being_looked_at() {
    let limit = PolicyResult::Refuse(Rule::Limit("spraying".into()));
    let log_only = Policy { log_only: true, ..gb_only() };
    assert!(skips_password(&gb_only(), &limit), "whatever when_rejected says");
    assert!(!skips_password(&log_only, &limit), "but nobody is refused under log_only");
    let refused = decide(&gb_only(), &decision_input(&limit, false, Credentials::Unchecked));
    assert_eq!((refused.auth_ok, refused.policy_reject), (None, Some(true)));
    assert_eq!(refused.rule, Some(Rule::Limit("spraying".into())));
}

#[test]
fn addresses_count_by_network() {
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
