//! Small MMDB files from lists of `network value`.

use mmdb_writer::Value;
use mmdb_writer::Writer;

/// The bytes of a file in the layout of MaxMind and DB-IP.
pub fn from_list(list: &str) -> Vec<u8> {
    write("Authpolicy-Country", list, |country| {
        Value::map([("country", Value::map([("iso_code", Value::from(country))]))])
    })
}

/// The bytes of a file of this type, whose records are made of the second words.
pub fn write(kind: &str, list: &str, record: impl Fn(&str) -> Value) -> Vec<u8> {
    let mut writer = Writer::new(kind);
    for line in list.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let (Some(network), Some(value)) = (words.next(), words.next()) else { continue };
        let network: ipnet::IpNet = network.parse().expect("a network");
        writer.insert_value(network, record(value)).expect("a network that fits");
    }
    writer.to_bytes().expect("a database")
}
