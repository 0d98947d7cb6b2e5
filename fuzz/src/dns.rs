//! Any bytes as a reply of a name server: no panic, and no reply to another question is accepted.
//! From a complete reply, all addresses of the requested kind are read.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;

use authpolicy::store::message;
use authpolicy::store::message::DnsReply;
use authpolicy::store::message::Kind;
use libfuzzer_sys::arbitrary;
use libfuzzer_sys::arbitrary::Arbitrary;

/// The length of a message's header, in bytes.
const HEADER: usize = 12;

/// A question, any bytes as its reply, and the parts of a complete reply.
#[derive(Arbitrary, Debug)]
pub struct Dialogue<'a> {
    id: [u8; 2],
    name: &'a str,
    is_ipv6: bool,
    raw: &'a [u8],
    flags: u8,
    records: Vec<ResourceRecord<'a>>,
    behind: &'a [u8],
}

#[derive(Arbitrary, Debug)]
struct ResourceRecord<'a> {
    owner: Owner,
    data: Data<'a>,
    time_to_live: [u8; 4],
}

#[derive(Arbitrary, Debug)]
enum Owner {
    Pointer(u8),
    Labels([u8; 3]),
}

#[derive(Arbitrary, Debug)]
enum Data<'a> {
    Ipv4([u8; 4]),
    Ipv6([u8; 16]),
    Other(u16, &'a [u8]),
}

impl ResourceRecord<'_> {
    fn write(&self, reply: &mut Vec<u8>) {
        match &self.owner {
            Owner::Pointer(at) => reply.extend([0xc0, *at]),
            Owner::Labels([first, second, third]) => {
                reply.extend([1, *first, 2, *second, *third, 0]);
            }
        }
        let (kind, data): (u16, &[u8]) = match &self.data {
            Data::Ipv4(bytes) => (1, bytes),
            Data::Ipv6(bytes) => (28, bytes),
            Data::Other(kind, data) => (*kind, data),
        };
        reply.extend(kind.to_be_bytes());
        reply.extend([0, 1]);
        reply.extend(self.time_to_live);
        reply.extend(u16::try_from(data.len()).expect("shorter than an input").to_be_bytes());
        reply.extend(data);
    }

    /// The address in the record, if it answers a question of this kind.
    fn address(&self, kind: Kind) -> Option<IpAddr> {
        match (&self.data, kind) {
            (Data::Ipv4(bytes), Kind::A) => Some(Ipv4Addr::from(*bytes).into()),
            (Data::Ipv6(bytes), Kind::Aaaa) => Some(Ipv6Addr::from(*bytes).into()),
            (Data::Other(1, data), Kind::A) => {
                <[u8; 4]>::try_from(*data).ok().map(|bytes| Ipv4Addr::from(bytes).into())
            }
            (Data::Other(28, data), Kind::Aaaa) => {
                <[u8; 16]>::try_from(*data).ok().map(|bytes| Ipv6Addr::from(bytes).into())
            }
            _ => None,
        }
    }
}

/// Makes a question, and checks both replies to it.
pub fn check(dialogue: &Dialogue<'_>) {
    let kind = if dialogue.is_ipv6 { Kind::Aaaa } else { Kind::A };
    let Some(query) = message::query(dialogue.id, dialogue.name, kind) else { return };
    if message::read(dialogue.raw, &query, kind).is_some() {
        let question = &query[HEADER..];
        assert_eq!(dialogue.raw[..2], dialogue.id, "a reply with another id");
        let echo = &dialogue.raw[HEADER..][..question.len()];
        assert!(echo.eq_ignore_ascii_case(question), "a reply to another question");
    }
    let Ok(count) = u8::try_from(dialogue.records.len()) else { return };
    let mut reply = query.clone();
    // The flags of a reply without an error, from a recursive server.
    let flags = 0x80 | dialogue.flags & 0x07;
    reply.splice(2..HEADER, [flags, 0x80, 0, 1, 0, count, 0, 0, 0, 0]);
    dialogue.records.iter().for_each(|record| record.write(&mut reply));
    reply.extend(dialogue.behind);
    let want: Vec<_> = dialogue.records.iter().filter_map(|record| record.address(kind)).collect();
    let is_truncated = flags & 0x02 != 0 && want.is_empty();
    let want = if is_truncated { DnsReply::Truncated } else { DnsReply::Addresses(want) };
    assert_eq!(message::read(&reply, &query, kind), Some(want));
}
