//! Each form of an address that carries an IPv4 address, and addresses that only look like one.

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn nets(list: &str) -> Vec<IpNet> {
    list.split_whitespace().map(|net| net.parse().unwrap()).collect()
}

fn nat64(list: &str) -> Nat64 {
    Nat64::new(&nets(list)).unwrap()
}

/// The form and the carried address; empty if there is none.
fn carried(nat64: &Nat64, address: &str) -> String {
    let carried = nat64.read(ip(address)).carried();
    carried.map(|(v4, form)| format!("{form} {v4}")).unwrap_or_default()
}

/// The prefixes and addresses of RFC 6052 §2.4.
const LENGTHS: [(&str, &str); 7] = [
    ("2001:db8::/32", "2001:db8:c000:221::"),
    ("2001:db8:100::/40", "2001:db8:1c0:2:21::"),
    ("2001:db8:122::/48", "2001:db8:122:c000:2:2100::"),
    ("2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"),
    ("2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100::"),
    ("2001:db8:122:344::/96", "2001:db8:122:344::192.0.2.33"),
    ("64:ff9b::/96", "64:ff9b::192.0.2.33"),
];

#[test]
fn nat64_prefixes_of_every_length_follow_rfc_6052() {
    for (prefix, address) in LENGTHS {
        let (one, all) = (nat64(prefix), nat64(&LENGTHS.map(|(prefix, _)| prefix).join(" ")));
        assert_eq!(carried(&one, address), "nat64 192.0.2.33", "{prefix}");
        assert_eq!(carried(&all, address), "nat64 192.0.2.33", "the longest prefix wins: {prefix}");
        assert_eq!(carried(&nat64(""), address), "", "{prefix} is switched off");
        assert_eq!(one.read(ip(address)).source(), ip(address));
    }
}

/// No translator makes an address with these bits set. So it belongs to a host inside the prefix.
#[test]
fn nat64_needs_zero_bits_64_to_71_and_ignores_the_suffix() {
    for (prefix, address) in LENGTHS.into_iter().take(5) {
        let with = |position: usize| {
            let IpAddr::V6(v6) = ip(address) else { panic!("{address}") };
            let mut octets = v6.octets();
            octets[position] = 1;
            Ipv6Addr::from(octets).to_string()
        };
        assert_eq!(carried(&nat64(prefix), &with(8)), "", "{prefix}");
        assert_eq!(carried(&nat64(prefix), &with(15)), "nat64 192.0.2.33", "{prefix}");
    }
}

#[test]
fn default_forms_that_carry_an_address() {
    for (address, want) in [
        ("64:ff9b::122.11.169.35", "nat64 122.11.169.35"),
        ("::ffff:0:122.11.169.35", "siit 122.11.169.35"),
        ("2002:7a0b:a923::1", "6to4 122.11.169.35"),
        ("2002:7a0b:a923:ffff:1:2:3:4", "6to4 122.11.169.35"),
        // Addresses just outside these prefixes.
        ("64:ff9b:0:0:0:1:7a0b:a923", ""),
        ("64:ff9b:1::122.11.169.35", ""),
        ("64:ff9a::122.11.169.35", ""),
        ("::fffe:0:122.11.169.35", ""),
        ("::ffff:1:122.11.169.35", ""),
        ("::1:ffff:0:122.11.169.35", ""),
        ("2003:7a0b:a923::1", ""),
        // Teredo, with the addresses of server and client, and `::a.b.c.d`.
        ("2001:0:7a0b:a923:0:0:85f4:56dc", ""),
        ("::122.11.169.35", ""),
        ("2001:db8::1", ""),
        ("122.11.169.35", ""),
        // An IPv4-mapped address is IPv4, and carries nothing.
        ("::ffff:122.11.169.35", ""),
    ] {
        assert_eq!(carried(&Nat64::default(), address), want, "{address}");
    }
    let mapped = Nat64::default().read(ip("::ffff:122.11.169.35"));
    assert_eq!((mapped.source(), mapped.effective()), (ip("122.11.169.35"), ip("122.11.169.35")));
}

/// Addresses of private and shared networks.
const PRIVATE: [&str; 8] = [
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.0.1",
    "100.64.0.1",
    "100.127.255.255",
    "192.0.0.8",
    "198.19.255.255",
];
/// Addresses that no client has.
const RESERVED: [&str; 8] = [
    "0.0.0.0",
    "0.1.2.3",
    "127.0.0.1",
    "127.255.255.255",
    "169.254.1.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
];
/// The public addresses next to the private and reserved networks.
const PUBLIC: [&str; 12] = [
    "1.0.0.0",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
];

#[test]
fn private_carried_addresses_count_only_under_configured_prefixes() {
    let own = nat64("2001:db8:64::/96 64:ff9b::/96");
    let forms = |v4: &str| {
        let [a, b, c, d] = v4.parse::<Ipv4Addr>().unwrap().octets();
        let six_to_four = format!("2002:{a:02x}{b:02x}:{c:02x}{d:02x}::1");
        [format!("64:ff9b::{v4}"), format!("::ffff:0:{v4}"), six_to_four]
    };
    for v4 in PUBLIC {
        assert!(is_public(ip(v4)), "{v4}");
        for (address, form) in forms(v4).iter().zip(["nat64", "siit", "6to4"]) {
            assert_eq!(carried(&Nat64::default(), address), format!("{form} {v4}"));
        }
        assert_eq!(carried(&own, &format!("2001:db8:64::{v4}")), format!("nat64 {v4}"));
    }
    for v4 in [PRIVATE, RESERVED].concat() {
        assert!(!is_public(ip(v4)), "{v4}");
        for address in forms(v4) {
            let read = Nat64::default().read(ip(&address));
            assert_eq!((read.carried(), read.effective()), (None, ip(&address)));
        }
        let [_, siit, six_to_four] = forms(v4);
        assert_eq!(carried(&own, &siit) + &carried(&own, &six_to_four), "", "{v4}");
    }
    for prefix in ["2001:db8:64::", "64:ff9b::"] {
        for v4 in PRIVATE {
            assert_eq!(carried(&own, &format!("{prefix}{v4}")), format!("nat64 {v4}"));
        }
        for v4 in RESERVED {
            assert_eq!(carried(&own, &format!("{prefix}{v4}")), "", "{v4} is reserved");
        }
    }
    for v6 in ["::", "::1", "fd00::1", "fe80::1", "ff02::1"] {
        assert!(!is_public(ip(v6)), "{v6}");
    }
    for v6 in ["2001:db8::1", "2a00::1", "64:ff9b::192.0.2.1"] {
        assert!(is_public(ip(v6)), "{v6}");
    }
}

/// A denied network refuses both the source address and the carried address. An allowed network
/// admits the source address, and the carried address if its form is trusted.
#[test]
fn networks_deny_by_both_addresses_and_admit_by_trusted_forms() {
    for (address, network, denies, admits) in [
        ("64:ff9b::122.11.169.35", "122.11.169.0/24", true, true),
        ("::ffff:0:122.11.169.35", "122.11.169.0/24", true, true),
        ("2002:7a0b:a923::1", "122.11.169.0/24", true, false),
        ("64:ff9b::122.11.169.35", "64:ff9b::/96", true, true),
        ("64:ff9b::122.11.169.35", "64:ff9b::122.11.169.0/120", true, true),
        ("::ffff:0:122.11.169.35", "::ffff:0:0:0/96", true, true),
        ("2002:7a0b:a923::1", "2002::/16", true, true),
        ("2002:7a0b:a923::1", "2002:7a0b:a923::/48", true, true),
        ("64:ff9b::122.11.169.35", "192.0.2.0/24 2001:db8::/32", false, false),
        ("2002:7f00:1::", "127.0.0.0/8", false, false),
        ("64:ff9b::127.0.0.1", "127.0.0.0/8", false, false),
        ("::ffff:0:10.0.0.1", "10.0.0.0/8", false, false),
        ("::127.0.0.1", "127.0.0.0/8", false, false),
        ("122.11.169.35", "64:ff9b::/96 2002::/16", false, false),
        ("122.11.169.35", "122.11.169.35/32", true, true),
    ] {
        let read = Nat64::default().read(ip(address));
        let networks = nets(network);
        assert_eq!(read.is_denied_by(&networks), denies, "{address} {network}");
        assert_eq!(read.is_admitted_by(&networks), admits, "{address} {network}");
    }
}

#[test]
fn invalid_nat64_prefixes_are_errors() {
    for (network, want) in [
        ("10.0.0.0/8", "\"10.0.0.0/8\" is not an IPv6 prefix such as 64:ff9b::/96"),
        ("64:ff9b::/95", "\"64:ff9b::/95\" has a length that NAT64 does not have"),
        ("64:ff9b::/128", "\"64:ff9b::/128\" has a length"),
        ("2001:db8::/33", "\"2001:db8::/33\" has a length"),
        ("::/0", "\"::/0\" has a length"),
        ("64:ff9b::1/96", "\"64:ff9b::1/96\" has bits beyond its length: write 64:ff9b::/96"),
        ("2001:db8:1::/32", "has bits beyond its length: write 2001:db8::/32"),
        ("::/96", "\"::/96\" has ::1 in it"),
        ("::/32", "\"::/32\" has ::1 in it"),
        ("2001:db8:0:0:100::/96", "has bits 64 to 71 set"),
        ("::ffff:0:0:0/96", "has bits 64 to 71 set"),
    ] {
        let what = Nat64::new(&nets(network)).unwrap_err();
        assert!(what.contains(want), "{what}");
    }
    for length in 0..=128 {
        let is_one = [32, 40, 48, 56, 64, 96].contains(&length);
        let network = IpNet::new(ip("2001:db8::"), length).unwrap().trunc();
        assert_eq!(Nat64::new(&[network]).is_ok(), is_one, "{network}");
    }
}
