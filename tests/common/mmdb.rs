//! Small MMDB files from lists of `network country`.

use mmdb_writer::Value;
use mmdb_writer::Writer;

/// The bytes of a file in the layout of MaxMind and DB-IP.
pub fn from_list(list: &str) -> Vec<u8> {
    let mut writer = Writer::new("Authpolicy-Country");
    for line in list.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let (Some(network), Some(country)) = (words.next(), words.next()) else { continue };
        let network: ipnet::IpNet = network.parse().expect("a network");
        let record = Value::map([("country", Value::map([("iso_code", Value::from(country))]))]);
        writer.insert_value(network, record).expect("a network that fits");
    }
    writer.to_bytes().expect("a database")
}
