//! Small MMDB files from lists of `network value`.

use std::time::SystemTime;

use mmdb_writer::IpVersion;
use mmdb_writer::Ipv4Aliasing;
use mmdb_writer::Value;
use mmdb_writer::Writer;

/// The type of the country files.
const COUNTRY: &str = "Authpolicy-Country";

/// The bytes of a file in the layout of MaxMind and DB-IP.
pub fn from_list(list: &str) -> Vec<u8> {
    write(COUNTRY, list, country)
}

/// Makes a country file with this build time.
pub fn built_at(list: &str, time: SystemTime) -> Vec<u8> {
    let writer = Writer::builder(COUNTRY).build_epoch(time).build();
    fill(writer, list.lines(), country)
}

/// Two files, one of the IPv4 networks and one of the others, as ip-location-db publishes them.
pub fn pair(list: &str) -> [Vec<u8>; 2] {
    [(IpVersion::V4, false), (IpVersion::V6, true)].map(|(version, is_ipv6)| {
        let writer = Writer::builder(COUNTRY)
            .ip_version(version)
            .ipv4_aliasing(Ipv4Aliasing::Disabled)
            .build();
        fill(writer, list.lines().filter(|line| line.contains(':') == is_ipv6), country)
    })
}

/// The bytes of a file of this type, whose records are made of the second words.
pub fn write(kind: &str, list: &str, record: impl Fn(&str) -> Value) -> Vec<u8> {
    fill(Writer::new(kind), list.lines(), record)
}

fn country(code: &str) -> Value {
    Value::map([("country", Value::map([("iso_code", Value::from(code))]))])
}

fn fill<'a>(
    mut writer: Writer,
    lines: impl Iterator<Item = &'a str>,
    record: impl Fn(&str) -> Value,
) -> Vec<u8> {
    for line in lines {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let (Some(network), Some(value)) = (words.next(), words.next()) else { continue };
        let network: ipnet::IpNet = network.parse().expect("a network");
        writer.insert_value(network, record(value)).expect("a network that fits");
    }
    writer.to_bytes().expect("a database")
}
