//! Small MMDB files in all layouts, and damage to them.

use std::net::IpAddr;
use std::time::UNIX_EPOCH;

use arbitrary::Arbitrary;
use ipnet::IpNet;
use mmdb_writer::IpVersion;
use mmdb_writer::Ipv4Aliasing;
use mmdb_writer::RecordSize;
use mmdb_writer::Value;
use mmdb_writer::Writer;

/// The highest number of networks, because each takes time to make.
const MOST_NETWORKS: usize = 6;

/// An undamaged file.
#[derive(Arbitrary, Debug)]
pub(super) struct Made {
    is_ipv4: bool,
    has_aliases: bool,
    record_size: u8,
    networks: Vec<(IpAddr, u8, Layout)>,
}

/// The layout of a record.
#[derive(Arbitrary, Debug)]
enum Layout {
    MaxMind([u8; 2]),
    Registered,
    Code(String),
    CountryIsCode(String),
    AsnNumber(u32),
    AsnText(u32),
    Nested(u8),
    Empty,
}

/// A change of bytes somewhere in the file.
#[derive(Arbitrary, Debug)]
pub(super) enum Damage {
    Byte(u16, u8),
    /// Makes a record of the search tree point to a node, in files with records of 24 bits.
    Branch(u8, u8),
    Copy {
        from: u16,
        to: u16,
        length: u8,
    },
    Cut(u16),
}

impl Made {
    pub(super) fn bytes(&self) -> Vec<u8> {
        let sizes = [RecordSize::Bits24, RecordSize::Bits28, RecordSize::Bits32];
        let aliasing =
            if self.has_aliases { Ipv4Aliasing::Enabled } else { Ipv4Aliasing::Disabled };
        let mut writer = Writer::builder("Fuzz")
            .ip_version(if self.is_ipv4 { IpVersion::V4 } else { IpVersion::V6 })
            .record_size(sizes[usize::from(self.record_size) % sizes.len()])
            .ipv4_aliasing(aliasing)
            .build_epoch(UNIX_EPOCH)
            .build();
        for (address, length, layout) in self.networks.iter().take(MOST_NETWORKS) {
            let most = if address.is_ipv4() { 33 } else { 129 };
            let Ok(network) = IpNet::new(*address, length % most) else { continue };
            // A network that does not fit is left out.
            let _ = writer.insert_value(network, layout.record());
        }
        writer.to_bytes().unwrap_or_default()
    }
}

impl Layout {
    fn record(&self) -> Value {
        let text = |text: &str| Value::String(text.to_owned());
        match self {
            Self::MaxMind(letters) => {
                let code: String = letters.map(|c| char::from(b'A' + c % 26)).iter().collect();
                let country =
                    Value::map([("iso_code", text(&code)), ("geoname_id", Value::U32(1))]);
                Value::map([("country", country), ("continent", Value::map([("code", "EU")]))])
            }
            Self::Registered => {
                Value::map([("registered_country", Value::map([("iso_code", "US")]))])
            }
            Self::Code(code) => {
                Value::map([("country", text("United Kingdom")), ("country_code", text(code))])
            }
            Self::CountryIsCode(code) => Value::map([("country", text(code))]),
            Self::AsnNumber(number) => {
                Value::map([("autonomous_system_number", Value::U32(*number))])
            }
            Self::AsnText(number) => Value::map([("asn", text(&format!("AS{number}")))]),
            Self::Nested(depth) => {
                let inner =
                    (0..*depth % 64).fold(Value::Bool(true), |inner, _| Value::array([inner]));
                Value::map([("traits", inner)])
            }
            Self::Empty => Value::map([("", Value::U16(0)); 0]),
        }
    }
}

impl Damage {
    pub(super) fn apply(&self, bytes: &mut Vec<u8>) {
        let place = |at: u16| usize::from(at) % bytes.len().max(1);
        match *self {
            Self::Byte(at, value) => {
                let at = place(at);
                bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = value);
            }
            Self::Branch(record, node) => {
                let at = usize::from(record) * 3;
                let record = bytes.iter_mut().skip(at).take(3);
                record.zip([0, 0, node]).for_each(|(byte, value)| *byte = value);
            }
            Self::Copy { from, to, length } => {
                let (from, to) = (place(from), place(to));
                let copy: Vec<_> = bytes[from..].iter().copied().take(length.into()).collect();
                bytes.iter_mut().skip(to).zip(copy).for_each(|(byte, value)| *byte = value);
            }
            Self::Cut(at) => bytes.truncate(place(at)),
        }
    }
}
