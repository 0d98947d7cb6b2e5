//! Clients whose IPv6 address carries an IPv4 address, in a real Exim. Rules and limits use the
//! carried address, rows and lines the source address.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::panic,
    clippy::string_slice,
    reason = "test code"
)]

mod common;

use std::fs;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;

use common::Base;
use common::Client;
use common::Site;
use common::limits::LIMITED;
use common::limits::NO;
use common::limits::attempt;
use common::limits::flags;
use common::limits::limit;
use common::mmdb;
use common::outcome::GB_ONLY;
use common::outcome::accepted;
use common::outcome::last;
use common::outcome::refused;
use common::site::CN;
use common::site::GB;
use common::smtp::ACCEPTED;
use common::smtp::REFUSED;

const USER: &str = "u@example.com";

fn v6(prefix: [u16; 6], v4: &str) -> String {
    let [a, b, c, d] = v4.parse::<Ipv4Addr>().unwrap().octets();
    let [p0, p1, p2, p3, p4, p5] = prefix;
    let last = [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])];
    Ipv6Addr::new(p0, p1, p2, p3, p4, p5, last[0], last[1]).to_string()
}

fn nat64(v4: &str) -> String {
    v6([0x64, 0xff9b, 0, 0, 0, 0], v4)
}

fn siit(v4: &str) -> String {
    v6([0, 0, 0, 0, 0xffff, 0], v4)
}

fn six_to_four(v4: &str) -> String {
    let [a, b, c, d] = v4.parse::<Ipv4Addr>().unwrap().octets();
    let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1).to_string()
}

fn forms(v4: &str) -> [String; 3] {
    [nat64(v4), siit(v4), six_to_four(v4)]
}

fn site(base: Base, policy: &str) -> Site {
    let site = Site::new(base, policy);
    site.account(USER, "secret");
    site
}

/// Returns the address of the last row, and checks that the line has the same one.
fn recorded(site: &Site) -> String {
    let (rows, lines) = (site.rows(), site.lines());
    let address = &rows.last().unwrap().remote_ip;
    assert!(lines.last().unwrap().contains(&format!(" remote={address} user=")), "{lines:?}");
    address.clone()
}

/// Uses DB-IP's country file, which `make test` fetches.
#[test]
fn a_client_is_judged_by_the_carried_address_and_recorded_by_the_source_address() {
    let dbip = std::env::var("AUTHPOLICY_TEST_GEOIP").expect("make test names the country file");
    for base in Base::all() {
        let site = site(base, GB_ONLY);
        fs::copy(&dbip, site.path("country.mmdb")).unwrap();
        let exim = site.exim();
        for remote in forms("131.111.8.42") {
            assert_eq!(attempt(&exim, &remote, USER, "secret"), ACCEPTED, "{}", site.main_log());
            assert_eq!((last(&site), recorded(&site)), (accepted(), remote));
            assert_eq!(site.rows().last().unwrap().country, "GB");
        }
        for remote in forms("122.11.169.35") {
            let mut client = Client::connect_from(exim.port, &remote);
            assert_eq!(client.plain(USER.as_bytes(), b"secret"), REFUSED, "{remote}");
            assert_eq!(last(&site), refused("policy.allow_countries"), "{remote}");
            assert_eq!(recorded(&site), remote);
            assert_eq!(site.rows().last().unwrap().country, "SG", "{remote}");
            let facts = client.command("MAIL FROM:<u@example.com>");
            assert!(facts.contains(" country=SG") && facts.ends_with(" here=SG"), "{facts}");
        }
        // IPv4-mapped addresses are treated as IPv4, also in rows.
        let mapped = v6([0, 0, 0, 0, 0, 0xffff], "122.11.169.35");
        assert_eq!(attempt(&exim, &mapped, USER, "secret"), REFUSED);
        assert_eq!(recorded(&site), "122.11.169.35");
        assert_eq!(site.panic_log(), "");
    }
}

#[test]
fn deny_networks_apply_to_the_carried_and_the_source_address() {
    let asns = mmdb::write("Authpolicy-ASN", "198.51.100.0/24 64497", |number| {
        let number = number.parse::<u32>().unwrap();
        mmdb_writer::Value::map([("autonomous_system_number", mmdb_writer::Value::from(number))])
    });
    for base in Base::all() {
        let site = site(base, "");
        fs::write(site.path("asn.mmdb"), &asns).unwrap();
        let file = site.path("asn.mmdb").display().to_string();
        let exim = site.exim();
        let refuses = |key: &str, list: &str, denied: &[String], admitted: &[String]| {
            site.configure(&format!(
                "{}asn_database = \"{file}\"\n[policy]\nfailure_time = \"0s\"\n{key} = [{list}]\n",
                site.geoip()
            ));
            for remote in admitted {
                assert_eq!(
                    attempt(&exim, remote, USER, "secret"),
                    ACCEPTED,
                    "{key} {list} {remote}"
                );
                assert_eq!((last(&site), &recorded(&site)), (accepted(), remote));
            }
            for remote in denied {
                assert_eq!(
                    attempt(&exim, remote, USER, "secret"),
                    REFUSED,
                    "{key} {list} {remote}"
                );
                assert_eq!(last(&site), refused(&format!("policy.{key}")));
                assert_eq!(&recorded(&site), remote);
            }
        };
        let all = |v4: &str| [&forms(v4)[..], &[v4.to_owned()]].concat();
        refuses("deny_networks", "\"198.51.100.0/24\"", &all(CN), &all(GB));
        refuses("deny_asns", "64497", &all(CN), &all(GB));
        refuses("deny_countries", "\"CN\"", &all(CN), &all(GB));
        let networks = "\"64:ff9b::/96\", \"2002::/16\"";
        let denied = [nat64(GB), six_to_four(GB), nat64(CN), six_to_four(CN)];
        refuses("deny_networks", networks, &denied, &[siit(GB), GB.to_owned(), CN.to_owned()]);
        // Teredo and IPv4-compatible addresses do not count as carrying one.
        let teredo = String::from("2001:0:c633:6407::1");
        refuses(
            "deny_networks",
            "\"198.51.100.0/24\"",
            &[],
            &[teredo, String::from("::c633:6407")],
        );
        assert_eq!(site.panic_log(), "");
    }
}

#[test]
fn networks_admit_by_nat64_and_siit_but_not_by_6to4() {
    for base in Base::all() {
        let site = site(base, GB_ONLY);
        let exim = site.exim();
        let admits = |admitted: &[String], denied: &[String], rule: &str| {
            for remote in admitted {
                assert_eq!(attempt(&exim, remote, USER, "secret"), ACCEPTED, "{rule} {remote}");
                assert_eq!((last(&site), &recorded(&site)), (accepted(), remote));
            }
            for remote in denied {
                assert_eq!(attempt(&exim, remote, USER, "secret"), REFUSED, "{rule} {remote}");
                assert_eq!((last(&site), &recorded(&site)), (refused(rule), remote));
            }
        };
        let trusted_forms = [CN.to_owned(), nat64(CN), siit(CN)];
        let tunnel = [six_to_four(CN)];
        admits(&[nat64(GB)], &[&trusted_forms[..], &tunnel].concat(), "policy.allow_countries");
        for (key, rule) in
            [("trusted_networks", "policy.allow_countries"), ("allow_nets", "policy.allow_nets")]
        {
            let with = |list: &str| {
                let countries =
                    if key == "allow_nets" { "" } else { "allow_countries = [\"GB\"]\n" };
                site.configure(&format!(
                    "{}[policy]\nfailure_time = \"0s\"\n{countries}{key} = [{list}]\n",
                    site.geoip()
                ));
            };
            with("\"198.51.100.0/24\"");
            admits(&trusted_forms, &tunnel, rule);
            with("\"2002:c633:6407::/48\"");
            admits(&tunnel, &trusted_forms, rule);
            with("\"64:ff9b::/96\"");
            admits(&[nat64(CN)], &[CN.to_owned(), siit(CN), six_to_four(CN)], rule);
        }
        site.configure(&format!("{}{GB_ONLY}", site.geoip()));
        let exception = |places: [&str; 2]| {
            let add = ["exception", "add", USER, "--until", "3d", places[0], places[1]];
            site.tool(&add, "")
        };
        let id = |added: String| added["id=".len()..].split(' ').next().unwrap().to_owned();
        let by_country = id(exception(["--countries", "CN"]));
        admits(&trusted_forms, &tunnel, "policy.allow_countries");
        site.tool(&["exception", "del", &by_country], "");
        exception(["--networks", "198.51.100.0/24"]);
        admits(&trusted_forms, &tunnel, "policy.allow_countries");
        exception(["--networks", "2002:c633:6407::/48"]);
        admits(&tunnel, &[], "policy.allow_countries");
        assert_eq!(site.panic_log(), "");
    }
}

#[test]
fn a_carried_private_address_counts_only_under_a_configured_prefix() {
    let trusted =
        "unknown_country = \"reject\"\ntrusted_networks = [\"127.0.0.0/8\", \"10.0.0.0/8\"]\n";
    for base in Base::all() {
        let site = site(base, &(GB_ONLY.to_owned() + trusted));
        let exim = site.exim();
        let refuses = |remote: &str| {
            assert_eq!(attempt(&exim, remote, USER, "secret"), REFUSED, "{remote}");
            assert_eq!(last(&site), refused("policy.unknown_country"), "{remote}");
            assert_eq!(recorded(&site), remote);
        };
        let admits = |remote: &str| {
            assert_eq!(attempt(&exim, remote, USER, "secret"), ACCEPTED, "{remote}");
            assert_eq!((last(&site), &*recorded(&site)), (accepted(), remote));
        };
        ["10.0.0.1", "127.0.0.1"].into_iter().for_each(admits);
        admits(&nat64(GB));
        for v4 in ["10.0.0.1", "127.0.0.1"] {
            forms(v4).iter().for_each(|remote| refuses(remote));
        }
        refuses("2002:7f00:1::");
        // 10.0.0.1, 127.0.0.1 and 192.0.2.7 after a prefix of 48 bits.
        let (private, loopback, public) =
            ("2001:db8:64:a00:0:100::", "2001:db8:64:7f00:0:100::", "2001:db8:64:c000:2:700::");
        [private, loopback, public].into_iter().for_each(refuses);
        let good = site.read("authpolicy.toml");
        let with = |prefixes: &str| {
            let line = format!("[policy]\nnat64_prefixes = [{prefixes}]");
            site.write_config(&good.replace("[policy]", &line));
        };
        with("\"2001:db8:64::/48\"");
        [private, public].into_iter().for_each(admits);
        refuses(loopback);
        // A configured list replaces the default one.
        refuses(&nat64(GB));
        with("\"2001:db8:64::/48\", \"64:ff9b::/96\"");
        [private, &nat64(GB), &nat64("10.0.0.1")].into_iter().for_each(admits);
        refuses(&nat64("127.0.0.1"));
        with("");
        refuses(&nat64(GB));
        admits(&siit(GB));
        assert_eq!(site.panic_log(), "");
    }
}

#[test]
fn one_guesser_behind_nat64_does_not_lock_out_others() {
    for base in Base::all() {
        let limits = [limit("guessing", "remote", "failures", 2)];
        let site = common::limits::site(base, "", &limits);
        let exim = site.exim();
        assert_eq!(attempt(&exim, &nat64(CN), USER, "secret"), ACCEPTED, "{}", site.main_log());
        for remote in [nat64(CN), six_to_four(CN)] {
            assert_eq!(attempt(&exim, &remote, USER, "wrong"), REFUSED);
            assert_eq!((flags(&site), recorded(&site)), ((NO, NO), remote));
        }
        // All forms of the address count as one.
        for remote in [&forms(CN)[..], &[CN.to_owned()]].concat() {
            assert_eq!(attempt(&exim, &remote, USER, "secret"), REFUSED, "{remote}");
            assert_eq!((flags(&site), recorded(&site)), (LIMITED, remote));
        }
        for remote in [nat64(GB), siit(GB), nat64("198.51.100.8")] {
            assert_eq!(attempt(&exim, &remote, USER, "secret"), ACCEPTED, "{remote}");
        }
        let shown = site.tool(&["limits"], "");
        let want = "limit=guessing account=\"*\" remote=198.51.100.7 failures=2 max=2";
        assert!(shown.starts_with(want) && shown.lines().count() == 1, "{shown}");
        site.tool(&["limits", "clear", "--remote", &siit(CN)], "");
        assert_eq!(attempt(&exim, &nat64(CN), USER, "secret"), ACCEPTED);
        // A private carried address is ignored, so the source network is counted and cleared.
        for v4 in ["10.0.0.1", "10.0.0.2"] {
            assert_eq!(attempt(&exim, &nat64(v4), USER, "wrong"), REFUSED);
        }
        assert_eq!(attempt(&exim, &nat64("10.0.0.3"), USER, "secret"), REFUSED);
        assert_eq!(flags(&site), LIMITED);
        assert!(site.tool(&["limits"], "").contains(" remote=64:ff9b::/64 "));
        site.tool(&["limits", "clear", "--remote", "64:ff9b::/64"], "");
        assert_eq!(attempt(&exim, &nat64("10.0.0.3"), USER, "secret"), ACCEPTED);
        assert_eq!(site.panic_log(), "");
    }
}

#[test]
fn known_good_and_new_country_use_the_carried_address() {
    for base in Base::all() {
        let limits = [limit("account", "account", "failures", 2)];
        let site = common::limits::site(base, "new_country = \"reject\"", &limits);
        let exim = site.exim();
        assert_eq!(attempt(&exim, &nat64(GB), USER, "secret"), ACCEPTED, "{}", site.main_log());
        assert_eq!(attempt(&exim, &siit(CN), USER, "secret"), REFUSED);
        assert_eq!(last(&site), refused("policy.new_country"));
        assert_eq!(attempt(&exim, CN, USER, "wrong"), REFUSED);
        for (remote, want) in [
            (nat64("192.0.2.8"), REFUSED),
            (nat64(GB), ACCEPTED),
            (GB.to_owned(), ACCEPTED),
            (siit(GB), ACCEPTED),
            // A 6to4 address is not known good, because any relay can forge it.
            (six_to_four(GB), REFUSED),
        ] {
            assert_eq!(attempt(&exim, &remote, USER, "secret"), want, "{remote}");
            assert!(want == ACCEPTED || flags(&site) == LIMITED, "{:?}", site.lines());
        }
        assert_eq!(site.panic_log(), "");
    }
}

#[test]
fn the_tool_shows_the_carried_address() {
    let site = site(Base::Sqlite, GB_ONLY);
    let test = |site: &Site, remote: &str| {
        let output = site.run_tool(&["test", USER, remote], "secret");
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    for (remote, v4, form) in
        [(nat64(GB), GB, "nat64"), (siit(GB), GB, "siit"), (six_to_four(GB), GB, "6to4")]
    {
        let (status, text) = test(&site, &remote);
        let want = format!(
            "fact.address={remote}\nfact.carried={v4}\nfact.carried_by={form}\nfact.country=GB\n"
        );
        assert_eq!((status, text.starts_with(&want)), (0, true), "{text}");
        let lookup = site.tool(&["geoip", "lookup", &remote], "");
        assert_eq!(lookup, format!("carried={v4}\ncarried_by={form}\ncountry=GB\n"));
    }
    for remote in [GB, "2002:7f00:1::1"] {
        let (_, text) = test(&site, remote);
        assert!(text.starts_with(&format!("fact.address={remote}\nfact.country=")), "{text}");
    }
    assert!(site.tool(&["config"], "").contains("\npolicy.nat64_prefixes=64:ff9b::/96\n"));
    let good = site.read("authpolicy.toml");
    let prefixes = "nat64_prefixes = [\"2001:db8:64::/48\", \"64:ff9b::/96\"]\n";
    site.write_config(&good.replace("[policy]\n", &format!("[policy]\n{prefixes}")));
    let config = site.tool(&["config"], "");
    assert!(config.contains("\npolicy.nat64_prefixes=64:ff9b::/96,2001:db8:64::/48\n"), "{config}");
    // The account query gets the source address, as the row does.
    let source = nat64(GB);
    let query =
        format!("SELECT password FROM account WHERE username = :user AND :remote = '{source}'");
    site.configure(&format!("[accounts]\nquery = \"{query}\"\n"));
    assert_eq!((test(&site, &source).0, test(&site, GB).0), (0, 1));
}
