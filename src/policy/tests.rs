//! The decision as tables: each row is a sentence.

#![allow(clippy::too_many_lines, reason = "a table is as long as it is")]

use super::*;

fn these(codes: &str) -> Option<Countries> {
    if codes == "*" {
        return Some(Countries::Any);
    }
    Some(Countries::These(codes.split(',').map(|c| Country::parse(c).unwrap()).collect()))
}

fn nets(list: &str) -> Option<Vec<IpNet>> {
    Some(list.split(',').map(|net| net.parse().unwrap()).collect())
}

fn at(country: &str) -> Place {
    Place::Known("203.0.113.9".parse().unwrap(), Country::parse(country))
}

fn gb_only() -> Policy {
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
    let refuse = Ruling::Refuse;
    let rows = [
        ("an allowed country passes", &policy, at("GB"), Ruling::Pass),
        ("another does not", &policy, at("FR"), refuse(Rule::DefaultAllowCountries)),
        ("a denied country does not", &policy, at("CN"), refuse(Rule::DefaultDenyCountries)),
        ("an unknown country passes by default", &policy, at(""), Ruling::Pass),
        ("unless told otherwise", &strict, at(""), refuse(Rule::UnknownCountry)),
        ("a local dialogue has no country", &strict, Place::Local, Ruling::Pass),
        (
            "a trusted network is exempt",
            &strict,
            Place::Known("10.1.2.3".parse().unwrap(), None),
            Ruling::Pass,
        ),
        (
            "an unreadable file is no unknown country",
            &policy,
            Place::Unreadable("203.0.113.9".parse().unwrap()),
            Ruling::CannotTell,
        ),
        (
            "a trusted network needs no file",
            &policy,
            Place::Unreadable("10.1.2.3".parse().unwrap()),
            Ruling::Pass,
        ),
    ];
    for (name, policy, place, want) in rows {
        assert_eq!(judge(policy, None, place), want, "{name}");
    }
    let none = Policy::default();
    let unreadable = Place::Unreadable("203.0.113.9".parse().unwrap());
    assert_eq!(judge(&none, None, unreadable), Ruling::Pass, "no rule, no need for the file");
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
    };
    let refuse = Ruling::Refuse;
    let rows = [
        ("an own list admits what the default refuses", own("ES", "", ""), at("ES"), Ruling::Pass),
        ("… even where the default denies it", own("CN", "", ""), at("CN"), Ruling::Pass),
        (
            "… and refuses what the default admits",
            own("ES", "", ""),
            at("GB"),
            refuse(Rule::AccountAllowCountries),
        ),
        ("* admits any country", own("*", "", ""), at("CN"), Ruling::Pass),
        ("* admits an unknown one", own("*", "", ""), at(""), Ruling::Pass),
        ("a list leaves an unknown one to the policy", own("ES", "", ""), at(""), {
            refuse(Rule::UnknownCountry)
        }),
        ("an own denial refuses", own("", "GB", ""), at("GB"), refuse(Rule::AccountDenyCountries)),
        ("a denial wins over *", own("*", "GB", ""), at("GB"), refuse(Rule::AccountDenyCountries)),
        (
            "a denial alone leaves the rest to the default",
            own("", "GB", ""),
            at("FR"),
            refuse(Rule::DefaultAllowCountries),
        ),
        ("an own network admits", own("", "", "203.0.113.0/24"), at("FR"), Ruling::Pass),
        (
            "an own network refuses the others",
            own("", "", "192.0.2.0/24"),
            at("GB"),
            refuse(Rule::AccountAllowNets),
        ),
        (
            "own network and own list must both hold",
            own("GB", "", "203.0.113.0/24"),
            at("FR"),
            refuse(Rule::AccountAllowCountries),
        ),
        (
            "a local dialogue is exempt from country rules only",
            own("", "", "192.0.2.0/24"),
            Place::Local,
            refuse(Rule::AccountAllowNets),
        ),
        (
            "a trusted network is exempt from country rules only",
            own("", "", "192.0.2.0/24"),
            Place::Known("10.1.2.3".parse().unwrap(), None),
            refuse(Rule::AccountAllowNets),
        ),
        (
            "an own list needs the file",
            own("ES", "", ""),
            Place::Unreadable("203.0.113.9".parse().unwrap()),
            Ruling::CannotTell,
        ),
        (
            "* does not",
            own("*", "", ""),
            Place::Unreadable("203.0.113.9".parse().unwrap()),
            Ruling::Pass,
        ),
    ];
    for (name, rules, place, want) in rows {
        assert_eq!(judge(&policy, Some(&rules), place), want, "{name}");
    }
}

/// The table of the log row: situation, ruling, disabled, credentials, and what comes of it.
#[test]
fn the_decision_is_the_table_of_the_log_row() {
    use Answer::{Accept, CannotTell, Reject};
    let policy = gb_only();
    let log_only = Policy { log_only: true, ..gb_only() };
    let pass = Ruling::Pass;
    let no = Ruling::Refuse(Rule::DefaultAllowCountries);
    let (yes, not) = (Some(true), Some(false));
    use Credentials as C;
    use FailType as F;
    #[rustfmt::skip]
    let rows = [
        ("accepted",                     &policy, pass, false, C::Right,      Accept, yes, not, None),
        ("log_only would have refused",  &log_only, no, false, C::Right,      Accept, yes, not, Some(F::WouldReject)),
        ("wrong password",               &policy, pass, false, C::Wrong,      Reject, not, not, Some(F::Credentials)),
        ("… from a refused country",     &policy, no,   false, C::Wrong,      Reject, not, yes, Some(F::Policy)),
        ("no such account",              &policy, pass, false, C::NoAccount,  Reject, not, not, Some(F::Account)),
        ("… from a refused country",     &policy, no,   false, C::NoAccount,  Reject, not, yes, Some(F::Policy)),
        ("right, refused by country",    &policy, no,   false, C::Right,      Reject, yes, yes, Some(F::Policy)),
        ("right, account disabled",      &policy, pass, true,  C::Right,      Reject, yes, yes, Some(F::Disabled)),
        ("wrong, account disabled",      &policy, pass, true,  C::Wrong,      Reject, not, yes, Some(F::Disabled)),
        ("disabled under log_only",      &log_only, pass, true, C::Right,     Reject, yes, yes, Some(F::Disabled)),
        ("policy outranks disabled",     &policy, no,   true,  C::Right,      Reject, yes, yes, Some(F::Policy)),
        ("refused before the password",  &policy, no,   false, C::Unchecked,  Reject, None, yes, Some(F::Policy)),
        ("nonsense",                     &policy, pass, false, C::Nonsense,   Reject, None, not, Some(F::Client)),
        ("… from a refused country",     &policy, no,   false, C::Nonsense,   Reject, None, yes, Some(F::Client)),
        ("… with an unreadable file",    &policy, Ruling::CannotTell, false, C::Nonsense, Reject, None, None, Some(F::Client)),
        ("wrong under log_only",         &log_only, no, false, C::Wrong,      Reject, not, not, Some(F::Credentials)),
        ("cannot tell",                  &policy, pass, false, C::CannotTell, CannotTell, None, not, Some(F::Internal)),
        ("… from a refused country",     &policy, no,   false, C::CannotTell, CannotTell, None, yes, Some(F::Internal)),
        ("… and the account is disabled", &policy, pass, true, C::CannotTell, CannotTell, None, yes, Some(F::Internal)),
        ("right, but no country",        &policy, Ruling::CannotTell, false, C::Right, CannotTell, None, None, Some(F::Internal)),
    ];
    for (name, policy, ruling, disabled, credentials, answer, auth_ok, policy_reject, reason) in
        rows
    {
        let got = decide(policy, ruling, disabled, credentials);
        assert_eq!(
            (got.answer, got.auth_ok, got.policy_reject, got.reason),
            (answer, auth_ok, policy_reject, reason),
            "{name}"
        );
        let means_accepted = (got.auth_ok, got.policy_reject) == (yes, not);
        assert_eq!(got.answer == Accept, means_accepted, "1, 0 means accepted: {name}");
    }
}

#[test]
fn a_refused_password_is_checked_unless_told_otherwise() {
    let skip = Policy { when_rejected: WhenRejected::Skip, ..gb_only() };
    let log_only = Policy { log_only: true, ..skip.clone() };
    let no = Ruling::Refuse(Rule::DefaultAllowCountries);
    for (name, policy, ruling, want) in [
        ("verify", &gb_only(), no, false),
        ("skip", &skip, no, true),
        ("skip, but nothing refuses", &skip, Ruling::Pass, false),
        ("skip under log_only", &log_only, no, false),
        ("no answer hangs on it", &gb_only(), Ruling::CannotTell, true),
    ] {
        assert_eq!(skips_password(policy, ruling), want, "{name}");
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
