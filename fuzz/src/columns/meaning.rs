//! A second implementation of the meaning of an account's columns, without the plugin's code.

use std::net::IpAddr;

use authpolicy::policy::Rules;

/// True if the columns can be read: `allow_countries` and those after it.
pub(super) fn is_readable(columns: &[String]) -> bool {
    let [allow, deny, nets, _, disabled] = columns else { return false };
    let countries = |text: &str| words(text).iter().all(|word| is_country(word));
    let nets = words(nets).iter().all(|word| network(word).is_some());
    countries(allow) && countries(deny) && nets && is_disabled(disabled).is_some()
}

/// Checks that the rules are those of the columns.
pub(super) fn assert_same(rules: &Rules, columns: &[String]) {
    assert!(is_readable(columns), "rules from unreadable columns: {rules:?}: {columns:?}");
    let [allow, deny, nets, protocols, disabled] = columns else { return };
    for (countries, text) in [(&rules.allow_countries, allow), (&rules.deny_countries, deny)] {
        let words = words(text);
        let want = if words.contains(&"*") { "*".to_owned() } else { words.join(",") };
        let has = countries.as_ref().map(ToString::to_string).unwrap_or_default();
        assert_eq!(has, want.to_ascii_uppercase());
    }
    let wanted: Vec<_> = words(nets).into_iter().filter_map(network).collect();
    let has = rules.allow_nets.as_deref().unwrap_or_default();
    assert_eq!(has.len(), wanted.len(), "{nets:?}");
    for (has, (address, length)) in has.iter().zip(wanted) {
        assert_eq!((has.addr(), has.prefix_len()), (address, length), "{nets:?}");
    }
    let wanted: Vec<_> = words(protocols).into_iter().map(str::to_uppercase).collect();
    assert_eq!(rules.protocols.as_deref().unwrap_or_default(), wanted);
    assert_eq!(Some(rules.disabled), is_disabled(disabled));
}

fn words(text: &str) -> Vec<&str> {
    let separates = |c: char| ",;".contains(c) || c.is_whitespace();
    text.split(separates).filter(|word| !word.is_empty()).collect()
}

fn is_country(word: &str) -> bool {
    let is_code = word.len() == 2 && word.bytes().all(|c| c.is_ascii_alphabetic());
    word == "*" || is_code && !word.eq_ignore_ascii_case("UK")
}

/// The address and the prefix length of a network. A network of IPv4-mapped addresses becomes one
/// of IPv4.
fn network(word: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = word.split_once('/').map_or((word, None), |(a, n)| (a, Some(n)));
    let address: IpAddr = address.parse().ok()?;
    let most: u8 = if address.is_ipv4() { 32 } else { 128 };
    // The length may have leading zeros, up to the number of digits of the longest one: 08 is
    // valid, 008 only in an IPv6 network.
    let digits = most.to_string().len();
    let is_number = |n: &&str| n.len() <= digits && n.bytes().all(|c| c.is_ascii_digit());
    let length = match length {
        Some(length) => Some(length).filter(is_number)?.parse().ok()?,
        None => most,
    };
    let canonical = address.to_canonical();
    let is_mapped = canonical != address && length >= 96;
    let shown = if is_mapped { (canonical, length - 96) } else { (address, length) };
    (length <= most).then_some(shown)
}

fn is_disabled(text: &str) -> Option<bool> {
    match text.trim().to_lowercase().as_str() {
        "" | "0" | "n" | "no" | "f" | "false" | "off" | "\0" => Some(false),
        "y" | "yes" | "t" | "true" | "on" | "\u{1}" => Some(true),
        number => number.parse::<i64>().ok().map(|_| true),
    }
}
