//! Tests with files in every layout, and with files that are broken or of another kind.

use std::fs;
use std::fs::File;
use std::path::Path;

use mmdb_writer::IpVersion;
use mmdb_writer::Value;
use mmdb_writer::Writer;

use super::*;

fn write(version: IpVersion, entries: &[(&str, Value)]) -> tempfile::NamedTempFile {
    let mut writer = Writer::builder("Test").ip_version(version).build();
    for (network, value) in entries {
        writer.insert_value(network.parse::<ipnet::IpNet>().unwrap(), value.clone()).unwrap();
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), writer.to_bytes().unwrap()).unwrap();
    file
}

fn geo_of(path: &Path) -> Geo {
    Geo::from_paths(&[path.to_owned()]).unwrap()
}

fn asns_of(path: &Path) -> Asns {
    Asns::from_paths(&[path.to_owned()]).unwrap()
}

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

fn country(geo: &Geo, address: &str) -> String {
    let country = geo.country(address.parse().unwrap()).unwrap();
    country.map(|c| c.to_string()).unwrap_or_default()
}

#[test]
fn every_layout_names_the_country() {
    let maxmind = Value::map([
        ("country", Value::map([("iso_code", text("GB")), ("geoname_id", Value::from(1_u32))])),
        ("registered_country", Value::map([("iso_code", text("US"))])),
    ]);
    let rows = [
        ("MaxMind, DB-IP", maxmind),
        ("ip-location-db", Value::map([("country_code", text("GB"))])),
        ("IPinfo", Value::map([("country", text("United Kingdom")), ("country_code", text("GB"))])),
        ("IPinfo before", Value::map([("country", text("GB")), ("country_name", text("UK"))])),
    ];
    for (layout, record) in rows {
        let file = write(
            IpVersion::V6,
            &[("203.0.113.0/24", record.clone()), ("2001:db8::/32", record.clone())],
        );
        let geo = geo_of(file.path());
        assert_eq!(country(&geo, "203.0.113.7"), "GB", "{layout}");
        assert_eq!(country(&geo, "::ffff:203.0.113.7"), "GB", "{layout}, mapped");
        assert_eq!(country(&geo, "2001:db8::7"), "GB", "{layout}, IPv6");
        assert_eq!(country(&geo, "198.51.100.1"), "", "{layout}, not in the file");
        let file = write(IpVersion::V4, &[("203.0.113.0/24", record)]);
        let geo = geo_of(file.path());
        assert_eq!(country(&geo, "203.0.113.7"), "GB", "{layout}, IPv4 only");
        assert_eq!(country(&geo, "2001:db8::7"), "", "{layout}, IPv4 only asked for IPv6");
    }
}

#[test]
fn an_address_that_is_not_public_has_no_country() {
    let record = Value::map([("country_code", text("GB"))]);
    let file = write(IpVersion::V6, &[("0.0.0.0/0", record)]);
    let geo = geo_of(file.path());
    assert_eq!(country(&geo, "192.0.2.1"), "GB");
    for address in [
        "10.0.0.1",
        "127.0.0.1",
        "::1",
        "fe80::1",
        "fd00::1",
        "100.64.0.1",
        "0.1.2.3",
        "192.0.0.1",
        "198.18.0.1",
        "224.0.0.1",
        "255.255.255.255",
    ] {
        assert_eq!(country(&geo, address), "", "{address}");
    }
}

#[test]
fn a_file_of_another_kind_is_an_error() {
    let asn = Value::map([("autonomous_system_number", Value::from(64500_u32))]);
    let name = Value::map([("country", text("United Kingdom"))]);
    for record in [asn, name] {
        let file = write(IpVersion::V6, &[("203.0.113.0/24", record)]);
        let geo = geo_of(file.path());
        assert!(geo.country("203.0.113.7".parse().unwrap()).is_err());
        assert_eq!(country(&geo, "198.51.100.1"), "", "not in the file");
    }
    let registered = Value::map([("registered_country", Value::map([("iso_code", text("US"))]))]);
    let file = write(IpVersion::V6, &[("203.0.113.0/24", registered)]);
    assert_eq!(country(&geo_of(file.path()), "203.0.113.7"), "", "a country file");
}

#[test]
fn a_code_for_unknown_is_no_country() {
    let rows = [("198.51.100.0/25", "ZZ"), ("198.51.100.128/25", "-")];
    let entries = rows.map(|(net, code)| (net, Value::map([("country_code", text(code))])));
    let file = write(IpVersion::V6, &entries);
    let geo = geo_of(file.path());
    assert_eq!(country(&geo, "198.51.100.1") + &country(&geo, "198.51.100.200"), "");
}

#[test]
fn a_broken_file_is_an_error_and_never_an_unknown_country() {
    let record = || Value::map([("country", Value::map([("iso_code", text("GB"))]))]);
    let good = write(IpVersion::V6, &[("203.0.113.0/24", record())]);
    let bytes = fs::read(good.path()).unwrap();
    let path = good.path().to_owned();
    let open = |bytes: &[u8]| {
        // By rename, as an administrator should: the file that is mapped stays whole.
        let fresh = path.with_extension("new");
        fs::write(&fresh, bytes).unwrap();
        fs::rename(&fresh, &path).unwrap();
        geo_of(&path)
    };
    let address = "203.0.113.7".parse().unwrap();
    assert!(geo_of(Path::new("/nonexistent.mmdb")).country(address).is_err());
    assert!(open(b"").country(address).is_err());
    assert!(open(b"<html>404 Not Found</html>").country(address).is_err());
    assert!(open(&bytes[..bytes.len() / 2]).country(address).is_err(), "truncated");
    let message = open(&bytes[..20]).country(address).unwrap_err().to_string();
    assert!(message.contains(path.to_str().unwrap()), "{message}");
    // Whichever byte is overwritten, there is a result or an `Error::Geo`.
    let mut errors = 0;
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] = 0xff;
        match open(&damaged).country(address) {
            Ok(_) => {}
            Err(Error::Geo { .. }) => errors += 1,
            Err(e) => panic!("{e}"),
        }
    }
    assert!(errors > 0, "no damage was noticed");
}

/// If both branches of each node lead to the next node, a short file has more networks than can be
/// read.
#[test]
fn a_file_with_too_many_networks_is_an_error() {
    let country = Value::map([("country_code", text("GB"))]);
    // A path of 32 or 128 nodes, whose other branches lead to nothing.
    for (version, network, depth) in
        [(IpVersion::V4, "203.0.113.7/32", 32), (IpVersion::V6, "::1/128", 128)]
    {
        for last in [0, depth - 1, depth] {
            let good = write(version, &[(network, country.clone())]);
            let mut bytes = fs::read(good.path()).unwrap();
            // Records of 24 bits.
            for node in 0..depth {
                let to = u8::try_from(if node == depth - 1 { last } else { node + 1 }).unwrap();
                bytes[node * 6..(node + 1) * 6].copy_from_slice(&[0, 0, to, 0, 0, to]);
            }
            fs::write(good.path(), &bytes).unwrap();
            let message = geo_of(good.path()).verify().unwrap_err().to_string();
            assert!(message.contains("fetch it again"), "{message}");
        }
    }
}

#[test]
fn a_file_truncated_while_in_use_is_an_error() {
    let good =
        write(IpVersion::V6, &[("203.0.113.0/24", Value::map([("country_code", text("GB"))]))]);
    let geo = geo_of(good.path());
    assert_eq!(country(&geo, "203.0.113.7"), "GB");
    File::options().write(true).open(good.path()).unwrap().set_len(100).unwrap();
    let message = geo.country("203.0.113.7".parse().unwrap()).unwrap_err().to_string();
    assert!(message.contains("truncated"), "{message}");
}

#[test]
fn every_layout_names_the_autonomous_system() {
    let number = Value::map([
        ("autonomous_system_number", Value::from(64496_u32)),
        ("autonomous_system_organization", text("Example")),
    ]);
    let file = write(
        IpVersion::V6,
        &[
            ("192.0.2.0/24", number),
            ("198.51.100.0/24", Value::map([("asn", text("AS64497")), ("name", text("Example"))])),
            ("203.0.113.0/24", Value::map([("asn", text(""))])),
        ],
    );
    let asns = asns_of(file.path());
    for (address, want) in [
        ("192.0.2.7", Some(64496)),
        ("::ffff:192.0.2.7", Some(64496)),
        ("198.51.100.7", Some(64497)),
        ("203.0.113.7", None),
        ("2001:db8::1", None),
        ("10.0.0.1", None),
    ] {
        assert_eq!(asns.number(address.parse().unwrap()).unwrap(), want, "{address}");
    }
    assert!(asns.verify().is_ok());
    let other = write(IpVersion::V4, &[("192.0.2.0/24", Value::map([("country", text("GB"))]))]);
    let message = asns_of(other.path()).number("192.0.2.1".parse().unwrap());
    assert!(message.unwrap_err().to_string().ends_with("name an ASN file"));
}

/// A record with this country code.
fn code(code: &str) -> Value {
    Value::map([("country_code", text(code))])
}

/// Pairs of an IPv4 and an IPv6 file, each in a form that some maker uses.
fn pairs() -> Vec<(&'static str, [tempfile::NamedTempFile; 2])> {
    let v4 = [("192.0.2.0/24", code("GB")), ("198.51.100.0/24", code("CN"))];
    let v6 = [("2001:db8:1::/48", code("GB")), ("2001:db8:2::/48", code("CN"))];
    let all = [&[("0.0.0.0/0", code("ZZ"))], &v4[..]].concat();
    let plain = || write(IpVersion::V6, &v6);
    let with = |network, value| write(IpVersion::V6, &[&v6[..], &[(network, value)]].concat());
    let bare = |entries: &[(&str, Value)]| {
        let mut writer =
            Writer::builder("Test").ipv4_aliasing(mmdb_writer::Ipv4Aliasing::Disabled).build();
        for (network, value) in entries {
            writer.insert_value(network.parse::<ipnet::IpNet>().unwrap(), value.clone()).unwrap();
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), writer.to_bytes().unwrap()).unwrap();
        file
    };
    vec![
        ("an IPv4 tree", [write(IpVersion::V4, &v4), plain()]),
        ("an IPv6 tree with aliases", [write(IpVersion::V6, &v4), plain()]),
        ("aliases of all of IPv4", [write(IpVersion::V6, &all), plain()]),
        ("an IPv6 tree without aliases", [bare(&v4), bare(&v6)]),
        ("loopback is in the IPv6 file", [write(IpVersion::V4, &v4), with("::1/128", code("ZZ"))]),
        ("a record above all of IPv4", [write(IpVersion::V4, &v4), with("::/8", code("US"))]),
        ("the same without a country", [write(IpVersion::V4, &v4), with("::/3", code("ZZ"))]),
    ]
}

#[test]
fn in_a_pair_the_file_of_the_family_answers_in_either_order() {
    for (name, [v4, v6]) in pairs() {
        let (v4, v6) = (v4.path().to_owned(), v6.path().to_owned());
        for paths in [[v4.clone(), v6.clone()], [v6.clone(), v4.clone()]] {
            let geo = Geo::from_paths(&paths).unwrap();
            for (address, want) in [
                ("192.0.2.7", "GB"),
                ("::ffff:198.51.100.7", "CN"),
                ("2001:db8:1::7", "GB"),
                ("2001:db8:2::7", "CN"),
                ("203.0.113.7", ""),
                ("2001:db8:3::7", ""),
                ("10.0.0.1", ""),
            ] {
                assert_eq!(country(&geo, address), want, "{name}: {address} in {paths:?}");
            }
        }
        for (path, family, other) in
            [(&v4, Family::V4, "2001:db8:1::7"), (&v6, Family::V6, "192.0.2.7")]
        {
            let geo = geo_of(path);
            assert_eq!(geo.verify().unwrap()[0].families, [family], "{name}: {path:?}");
            assert_eq!(country(&geo, other), "", "{name}: {path:?}");
        }
    }
}

#[test]
fn only_the_first_file_of_a_family_answers() {
    let first =
        write(IpVersion::V6, &[("192.0.2.0/24", code("GB")), ("2001:db8::/32", code("GB"))]);
    let second = write(IpVersion::V6, &[("0.0.0.0/0", code("CN")), ("2000::/3", code("CN"))]);
    let geo = Geo::from_paths(&[first.path().to_owned(), second.path().to_owned()]).unwrap();
    for (address, want) in
        [("192.0.2.7", "GB"), ("198.51.100.7", ""), ("2001:db8::7", "GB"), ("2001:dead::7", "")]
    {
        assert_eq!(country(&geo, address), want, "{address}");
    }
    let verified = geo.verify().unwrap();
    assert!(verified.iter().all(|file| file.families == Family::ALL));
}

/// An unreadable file may be the one that has the address, unless an earlier file has answered.
#[test]
fn an_unreadable_file_of_a_pair_is_an_error_unless_an_earlier_one_answered() {
    let (_, [v4, v6]) = pairs().remove(0);
    let (v4, v6) = (v4.path().to_owned(), v6.path().to_owned());
    let (gone, garbage) = (v4.with_extension("gone"), tempfile::NamedTempFile::new().unwrap());
    fs::write(garbage.path(), "<html>404 Not Found</html>").unwrap();
    for bad in [gone, garbage.path().to_owned()] {
        let name = bad.display().to_string();
        for (paths, ipv4, ipv6) in [
            ([v4.clone(), bad.clone()], true, false),
            ([v6.clone(), bad.clone()], false, true),
            ([bad.clone(), v4.clone()], false, false),
            ([bad.clone(), v6.clone()], false, false),
        ] {
            let geo = Geo::from_paths(&paths).unwrap();
            for (address, is_known) in [("192.0.2.7", ipv4), ("2001:db8:1::7", ipv6)] {
                match geo.country(address.parse().unwrap()) {
                    Ok(known) => assert!(is_known && known.is_some(), "{address} {paths:?}"),
                    Err(e) => assert!(!is_known && e.to_string().contains(&name), "{e} {paths:?}"),
                }
            }
            assert!(geo.verify().is_err());
        }
    }
}

#[test]
fn autonomous_systems_come_in_pairs_too() {
    let number = |number: u32| Value::map([("autonomous_system_number", Value::from(number))]);
    let v4 = write(IpVersion::V4, &[("192.0.2.0/24", number(64496))]);
    let v6 = write(IpVersion::V6, &[("2001:db8::/32", number(64497))]);
    let asns = Asns::from_paths(&[v4.path().to_owned(), v6.path().to_owned()]).unwrap();
    for (address, want) in
        [("192.0.2.7", Some(64496)), ("2001:db8::7", Some(64497)), ("198.51.100.7", None)]
    {
        assert_eq!(asns.number(address.parse().unwrap()).unwrap(), want, "{address}");
    }
}
