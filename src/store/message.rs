//! DNS messages (RFC 1035): a question for the addresses of one name, and its answer.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;

/// Bytes before the question.
const HEADER: usize = 12;
/// Bytes of a name that a message can hold, lengths of labels included.
const LONGEST_NAME: usize = 255;
/// Bytes of one label.
const LONGEST_LABEL: usize = 63;

/// The type of the records asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
}

impl Kind {
    fn code(self) -> u16 {
        match self {
            Self::A => 1,
            Self::Aaaa => 28,
        }
    }

    fn address(self, data: &[u8]) -> Option<IpAddr> {
        match self {
            Self::A => <[u8; 4]>::try_from(data).ok().map(|bytes| Ipv4Addr::from(bytes).into()),
            Self::Aaaa => <[u8; 16]>::try_from(data).ok().map(|bytes| Ipv6Addr::from(bytes).into()),
        }
    }
}

/// The answer of one server.
#[derive(Debug, PartialEq, Eq)]
pub enum DnsReply {
    /// The addresses of this kind; the name is there, even if it has none.
    Addresses(Vec<IpAddr>),
    /// There is no such name.
    NoName,
    /// The answer did not fit a datagram.
    Truncated,
    /// The server could not tell, for this reason.
    Failure(String),
}

/// Writes a question; `None` if DNS cannot hold the name.
#[must_use]
pub fn query(id: [u8; 2], name: &str, kind: Kind) -> Option<Vec<u8>> {
    let mut query = id.to_vec();
    // Recursion is desired; one question.
    query.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok()?;
        if label.is_empty() || label.len() > LONGEST_LABEL {
            return None;
        }
        query.push(length);
        query.extend(label.as_bytes());
    }
    query.push(0);
    if query.len() > HEADER.saturating_add(LONGEST_NAME) {
        return None;
    }
    query.extend(kind.code().to_be_bytes());
    // Class IN.
    query.extend([0, 1]);
    Some(query)
}

/// Reads a reply; `None` if it does not answer this question.
#[must_use]
pub fn read(reply: &[u8], query: &[u8], kind: Kind) -> Option<DnsReply> {
    let (header, rest) = reply.split_at_checked(HEADER)?;
    let &[id1, id2, flags, code, _, questions, ..] = header else { return None };
    let question = query.get(HEADER..)?;
    let (echo, records) = rest.split_at_checked(question.len())?;
    let is_ours = query.get(..2)? == [id1, id2]
        && flags & 0x80 != 0
        && questions == 1
        && echo.eq_ignore_ascii_case(question);
    if !is_ours {
        return None;
    }
    match code & 0x0f {
        0 => {}
        3 => return Some(DnsReply::NoName),
        other => return Some(DnsReply::Failure(describe(other))),
    }
    let addresses = addresses(records, number(header, 6)?, kind);
    if addresses.is_empty() && flags & 0x02 != 0 {
        return Some(DnsReply::Truncated);
    }
    // The server is not responsible for the name, and does not ask others.
    let is_lame = number(header, 6)? == 0 && flags & 0x04 == 0 && code & 0x80 == 0;
    if is_lame {
        return Some(DnsReply::Failure(String::from("does not resolve names for others")));
    }
    Some(DnsReply::Addresses(addresses))
}

fn describe(code: u8) -> String {
    match code {
        1 => String::from("FORMERR"),
        2 => String::from("SERVFAIL"),
        4 => String::from("NOTIMP"),
        5 => String::from("REFUSED"),
        other => format!("error {other}"),
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..at.checked_add(2)?)?;
    <[u8; 2]>::try_from(pair).ok().map(u16::from_be_bytes)
}

/// The addresses in the first `count` records, up to a record that is cut off.
fn addresses(mut records: &[u8], count: u16, kind: Kind) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for _ in 0..count {
        let Some((record, rest)) = split_record(records) else { break };
        if number(record, 0) == Some(kind.code()) && number(record, 2) == Some(1) {
            found.extend(record.get(10..).and_then(|data| kind.address(data)));
        }
        records = rest;
    }
    found
}

/// Splits off one record, without its name.
fn split_record(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let bytes = bytes.get(length_of_name(bytes)?..)?;
    let length = usize::from(number(bytes, 8)?).checked_add(10)?;
    bytes.split_at_checked(length)
}

/// The length of the name at the beginning, in bytes. A pointer to another place ends it.
fn length_of_name(bytes: &[u8]) -> Option<usize> {
    let mut at: usize = 0;
    loop {
        match *bytes.get(at)? {
            0 => return at.checked_add(1),
            length if length >= 0xc0 => return at.checked_add(2),
            length if usize::from(length) <= LONGEST_LABEL => {
                at = at.checked_add(usize::from(length))?.checked_add(1)?;
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(query: &[u8], flags: [u8; 2], records: &[&[u8]]) -> Vec<u8> {
        let count = u8::try_from(records.len()).unwrap();
        let mut reply = query.to_vec();
        reply.splice(2..12, [flags[0], flags[1], 0, 1, 0, count, 0, 0, 0, 0]);
        reply.extend(records.concat());
        reply
    }

    const ADDRESS: &[u8] = &[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 1];
    const ALIAS: &[u8] = &[0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 9, 0, 4, 1, b'x', 0xc0, 12];
    const OF_IPV6: &[u8] = &[
        1, b'x', 0, 0, 28, 0, 1, 0, 0, 0, 9, 0, 16, 32, 1, 13, 184, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 1,
    ];

    #[test]
    fn an_answer_is_read() {
        let query = query([1, 2], "db1.Example", Kind::A).unwrap();
        let found = |text: &str| Some(DnsReply::Addresses(vec![text.parse().unwrap()]));
        type Case<'a> = (&'a str, [u8; 2], &'a [&'a [u8]], Option<DnsReply>);
        let rows: [Case<'_>; 9] = [
            ("an address", [0x81, 0x80], &[ADDRESS], found("192.0.2.1")),
            ("an alias", [0x81, 0x80], &[ALIAS, OF_IPV6, ADDRESS], found("192.0.2.1")),
            ("no address", [0x81, 0x80], &[], Some(DnsReply::Addresses(Vec::new()))),
            ("no name", [0x81, 0x83], &[], Some(DnsReply::NoName)),
            ("SERVFAIL", [0x81, 0x82], &[], Some(DnsReply::Failure("SERVFAIL".into()))),
            ("too long", [0x83, 0x80], &[ALIAS], Some(DnsReply::Truncated)),
            ("long enough", [0x83, 0x80], &[ADDRESS], found("192.0.2.1")),
            (
                "no recursion",
                [0x81, 0x00],
                &[],
                Some(DnsReply::Failure("does not resolve names for others".into())),
            ),
            ("a question", [0x01, 0x80], &[ADDRESS], None),
        ];
        for (what, flags, records, wanted) in rows {
            assert_eq!(read(&reply(&query, flags, records), &query, Kind::A), wanted, "{what}");
        }
        let of_ipv6 = super::query([1, 2], "db1.example", Kind::Aaaa).unwrap();
        let text = reply(&of_ipv6, [0x81, 0x80], &[ALIAS, OF_IPV6]);
        assert_eq!(read(&text, &of_ipv6, Kind::Aaaa), found("2001:db8::1"));
    }

    #[test]
    fn the_answer_to_another_question_is_none() {
        let query = query([1, 2], "db1.example", Kind::A).unwrap();
        for (id, name, kind) in [
            ([1, 3], "db1.example", Kind::A),
            ([1, 2], "db2.example", Kind::A),
            ([1, 2], "db1.example", Kind::Aaaa),
        ] {
            let other = super::query(id, name, kind).unwrap();
            let text = reply(&other, [0x81, 0x80], &[ADDRESS]);
            assert_eq!(read(&text, &query, Kind::A), None, "{name}");
        }
        let shouted = reply(&query, [0x81, 0x80], &[ADDRESS]).to_ascii_uppercase();
        assert!(read(&shouted, &query, Kind::A).is_some());
    }

    #[test]
    fn nonsense_is_read_without_a_panic() {
        let query = query([1, 2], "db1.example", Kind::A).unwrap();
        let text = reply(&query, [0x81, 0x80], &[ALIAS, OF_IPV6, ADDRESS]);
        for length in 0..text.len() {
            let _ = read(&text[..length], &query, Kind::A);
            for byte in [0, 1, 0x3f, 0x40, 0xc0, 0xff] {
                let mut broken = text.clone();
                broken[length] = byte;
                let _ = read(&broken, &query, Kind::A);
            }
        }
    }

    #[test]
    fn a_name_that_dns_cannot_hold_is_not_asked_for() {
        let long = "a".repeat(64);
        let longer = ["abcdefg"; 32].join(".");
        for name in ["", "a..b", ".a", &long, &longer] {
            assert_eq!(query([1, 2], name, Kind::A), None, "{name}");
        }
        assert!(query([1, 2], &"a".repeat(63), Kind::A).is_some());
    }
}
