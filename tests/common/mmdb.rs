//! Makes small MMDB files from lists of `network value`.

use std::time::SystemTime;

use mmdb_writer::IpVersion;
use mmdb_writer::Ipv4Aliasing;
use mmdb_writer::Value;
use mmdb_writer::Writer;

/// The database type of country files.
const COUNTRY: &str = "Authpolicy-Country";

/// Makes a country file in the layout of MaxMind and DB-IP.
pub fn from_list(list: &str) -> Vec<u8> {
    write(COUNTRY, list, country)
}

/// Makes a country file with this build time.
pub fn built_at(list: &str, time: SystemTime) -> Vec<u8> {
    let writer = Writer::builder(COUNTRY).build_epoch(time).build();
    fill(writer, list.lines(), country)
}

/// Makes two country files, one for IPv4 and one for IPv6, as ip-location-db publishes them.
pub fn pair(list: &str) -> [Vec<u8>; 2] {
    [(IpVersion::V4, false), (IpVersion::V6, true)].map(|(version, is_ipv6)| {
        let writer = Writer::builder(COUNTRY)
            .ip_version(version)
            .ipv4_aliasing(Ipv4Aliasing::Disabled)
            .build();
        fill(writer, list.lines().filter(|line| line.contains(':') == is_ipv6), country)
    })
}

/// Makes a file of this database type. `record` makes a record from the second word of a line.
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
