//! Properties of all policies, accounts and places, tested with every combination of their kinds.

use std::net::IpAddr;

use ipnet::IpNet;

use super::tests::CANNOT_TELL;
use super::tests::PASS;
use super::tests::Place;
use super::tests::apply_to_place;
use super::tests::decision_input;
use super::tests::facts;
use super::*;
use crate::address::is_public;

/// Every kind of list of countries.
fn country_lists() -> Vec<Option<Countries>> {
    let country = |code| Country::parse(code).unwrap();
    vec![
        None,
        Some(Countries::Any),
        Some(Countries::These(Vec::new())),
        Some(Countries::These(vec![country("GB")])),
        Some(Countries::These(vec![country("CN")])),
    ]
}

/// Every combination of rules of one layer.
fn layers(nets: &[Option<Vec<IpNet>>]) -> Vec<Rules> {
    let mut layers = Vec::new();
    for allow_countries in country_lists() {
        for deny_countries in country_lists() {
            for allow_nets in nets {
                layers.push(Rules {
                    allow_countries: allow_countries.clone(),
                    deny_countries: deny_countries.clone(),
                    allow_nets: allow_nets.clone(),
                    ..Rules::default()
                });
            }
        }
    }
    layers
}

fn nets(text: &str) -> Option<Vec<IpNet>> {
    Some(vec![text.parse().unwrap()])
}

fn places() -> Vec<Place> {
    let (inside, outside) = ("10.1.2.3".parse().unwrap(), "203.0.113.9".parse().unwrap());
    let mut places = vec![Place::Local, Place::Unreadable(inside), Place::Unreadable(outside)];
    for address in [inside, outside] {
        places.extend(["GB", "CN", ""].map(|code| Place::Known(address, Country::parse(code))));
    }
    places
}

/// Calls `test` with every combination of a policy, the account's rules or none, and a place.
fn for_each_combination(mut test: impl FnMut(&Policy, Option<&Rules>, Place)) {
    let mut accounts = vec![None];
    accounts
        .extend(layers(&[None, nets("10.0.0.0/8"), nets("203.0.113.0/24")]).into_iter().map(Some));
    for default in layers(&[None]) {
        for bits in 0..8 {
            let policy = Policy {
                default: default.clone(),
                reject_unknown_country: bits & 1 != 0,
                trusted_networks: if bits & 2 == 0 { vec![] } else { nets("10.0.0.0/8").unwrap() },
                log_only: bits & 4 != 0,
                ..Policy::default()
            };
            for account in &accounts {
                for place in places() {
                    test(&policy, account.as_ref(), place);
                }
            }
        }
    }
}

const CREDENTIALS: [Credentials; 6] = [
    Credentials::Right,
    Credentials::Wrong,
    Credentials::NoAccount,
    Credentials::Unchecked,
    Credentials::Malformed,
    Credentials::CannotTell,
];

/// A list of allowed countries with two more countries.
fn with_more_countries(list: Option<&Countries>) -> Option<Countries> {
    let Some(Countries::These(list)) = list else { return list.cloned() };
    let more = ["GB", "CN"].map(|code| Country::parse(code).unwrap());
    Some(Countries::These(list.iter().copied().chain(more).collect()))
}

#[test]
fn adding_an_allowance_never_causes_a_refusal() {
    let mut passed = 0_u32;
    for_each_combination(|policy, account, place| {
        if apply_to_place(policy, account, place) != PASS {
            return;
        }
        passed += 1;
        let mut wider = policy.clone();
        wider.default.allow_countries =
            with_more_countries(policy.default.allow_countries.as_ref());
        wider.trusted_networks.push("203.0.113.0/24".parse().unwrap());
        assert_eq!(apply_to_place(&wider, account, place), PASS, "{wider:?} {account:?} {place:?}");
        let exception = Exception {
            countries: Some(Countries::Any),
            networks: nets("0.0.0.0/0"),
            until: i64::MAX,
        };
        let excepted = Facts { exceptions: vec![exception], ..facts(place) };
        let layers = policy.layers("u@example.com", account);
        assert!(matches!(apply_rules(policy, &layers, &excepted), PolicyResult::Pass(_)));
        let mut own = account.cloned();
        if let Some(own) = &mut own {
            own.allow_countries = with_more_countries(own.allow_countries.as_ref());
            if let Some(nets) = &mut own.allow_nets {
                nets.push("0.0.0.0/0".parse().unwrap());
            }
        }
        assert_eq!(apply_to_place(policy, own.as_ref(), place), PASS, "{own:?} {place:?}");
    });
    assert!(passed > 1000, "{passed}");
}

#[test]
fn a_trusted_network_is_never_refused_by_country() {
    for_each_combination(|policy, account, place| {
        let (Place::Known(address, _) | Place::Unreadable(address)) = place else { return };
        if policy.trusted_networks.iter().any(|net| net.contains(&address)) {
            let policy_result = apply_to_place(policy, account, place);
            let by_network = PolicyResult::Refuse(Rule::AllowNets(Layer::Account));
            assert!([PASS, by_network].contains(&policy_result), "{policy:?} {account:?}");
        }
    });
}

/// The place of a client whose address carries the IPv4 address of `place`.
fn carried_by(place: Place, prefix: &str, suffix: &str) -> Place {
    let carrying = |address: IpAddr| {
        let IpAddr::V4(v4) = address else { panic!("{address} is not IPv4") };
        let (high, low) = (v4.to_bits() >> 16, v4.to_bits() & 0xffff);
        format!("{prefix}{high:x}:{low:x}{suffix}").parse().unwrap()
    };
    match place {
        Place::Local => Place::Local,
        Place::Known(address, country) => Place::Known(carrying(address), country),
        Place::Unreadable(address) => Place::Unreadable(carrying(address)),
    }
}

#[test]
fn translated_clients_count_as_ipv4_and_6to4_admits_no_more_clients() {
    let mut differ = 0_u32;
    for_each_combination(|policy, account, place| {
        let (Place::Known(address, _) | Place::Unreadable(address)) = place else { return };
        // By default, addresses of translators do not carry private addresses.
        if !is_public(address) {
            return;
        }
        let want = apply_to_place(policy, account, place);
        for prefix in ["64:ff9b::", "::ffff:0:"] {
            let place = carried_by(place, prefix, "");
            assert_eq!(
                apply_to_place(policy, account, place),
                want,
                "{policy:?} {account:?} {place:?}"
            );
        }
        let tunnel = carried_by(place, "2002:", "::1");
        let policy_result = apply_to_place(policy, account, tunnel);
        assert!(policy_result != PASS || want == PASS, "{policy:?} {account:?} {tunnel:?}");
        differ += u32::from(policy_result != want);
        let mut denying = policy.clone();
        denying.deny_networks.push("203.0.113.0/24".parse().unwrap());
        let refused = PolicyResult::Refuse(Rule::DenyNetworks);
        assert!(policy.log_only || apply_to_place(&denying, account, tunnel) == refused);
    });
    assert!(differ > 100, "{differ}");
}

#[test]
fn log_only_never_refuses_a_right_password_for_its_place() {
    for_each_combination(|policy, account, place| {
        let policy_result = apply_to_place(policy, account, place);
        let decision = decide(policy, &decision_input(&policy_result, false, Credentials::Right));
        if policy.log_only {
            assert_ne!(decision.kind, DecisionKind::Reject, "{policy:?} {account:?} {place:?}");
        }
        let would = decision.reason == Some(Reason::WouldReject);
        assert!(!would || policy.log_only, "only log_only gives the reason would-reject");
    });
}

/// The earlier refusal by `allow`, and the limits with their state.
type LimitState = (Option<Rule>, Vec<(std::sync::Arc<str>, bool)>);

fn limit_states() -> Vec<LimitState> {
    let limit = |is_reached| vec![("limit".into(), is_reached)];
    vec![
        (None, limit(false)),
        (None, limit(true)),
        (Some(Rule::Limit("before".into())), limit(false)),
        (Some(Rule::DenyNetworks), limit(true)),
    ]
}

#[test]
fn a_reached_limit_refuses_except_under_log_only() {
    for_each_combination(|policy, account, place| {
        for (refused_before, limits) in limit_states() {
            let facts = Facts { refused_before, limits, ..facts(place) };
            if policy.log_only && matches!(place, Place::Unreadable(_)) {
                continue;
            }
            let layers = policy.layers("u@example.com", account);
            let policy_result = apply_rules(policy, &layers, &facts);
            let is_refused = facts.has_reached_limit() || facts.refused_before.is_some();
            assert_eq!(
                matches!(&policy_result, PolicyResult::Refuse(rule) if rule.is_final()),
                is_refused,
                "no account overrides it: {policy:?} {account:?}"
            );
            let decision =
                decide(policy, &decision_input(&policy_result, false, Credentials::Right));
            if policy.log_only {
                assert_ne!(decision.kind, DecisionKind::Reject);
            } else if is_refused {
                assert_eq!(decision.kind, DecisionKind::Reject);
            }
        }
    });
}

#[test]
fn exemptions_from_limits() {
    let limit = |per| Limit {
        name: "limit".into(),
        per,
        count: Count::Failures,
        max: 1,
        within: std::time::Duration::from_secs(1),
        action: Action::Reject,
    };
    for is_trusted in [false, true] {
        for is_known_good in [false, true] {
            let applies = |per| limit(per).applies(is_trusted, is_known_good);
            assert_eq!(applies(Per::Remote), !is_trusted, "trusted networks are exempt");
            assert_eq!(applies(Per::Account), !is_known_good);
            assert!(applies(Per::AccountAndRemote));
        }
    }
}

#[test]
fn nothing_but_a_right_password_is_accepted_and_no_error_ever() {
    for_each_combination(|policy, account, place| {
        let policy_result = apply_to_place(policy, account, place);
        for credentials in CREDENTIALS {
            for disabled in [false, true] {
                let decision =
                    decide(policy, &decision_input(&policy_result, disabled, credentials));
                let accepted = decision.kind == DecisionKind::Accept;
                let one_zero =
                    (decision.auth_ok, decision.policy_reject) == (Some(true), Some(false));
                assert_eq!(accepted, one_zero, "only an accepted attempt has 1, 0");
                if accepted {
                    assert_eq!((credentials, disabled), (Credentials::Right, false));
                    assert_ne!(policy_result, CANNOT_TELL);
                }
            }
        }
    });
}

#[test]
fn a_missing_account_is_treated_like_one_without_rules() {
    for_each_combination(|policy, account, place| {
        if account.is_none() {
            let without = Rules::default();
            assert_eq!(
                apply_to_place(policy, None, place),
                apply_to_place(policy, Some(&without), place)
            );
        }
    });
}
