//! Finds out if a file has IPv4 networks, IPv6 networks, or both.
//!
//! ip-location-db and others publish one file for each. The metadata does not tell which one it is:
//! a file with only IPv6 and a file with both have `ip_version` 6. So this module searches the
//! tree.

use std::fmt;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;

use maxminddb::LookupResult;
use maxminddb::MaxMindDbError;
use maxminddb::Reader;

/// The number of zero bits above the IPv4 networks in an IPv6 tree.
const IPV4_DEPTH: u8 = 96;

/// The most networks without data that are searched. A file without the family has about a dozen,
/// so a file with more of them has the family.
const MAX_STEPS: u32 = 256;

/// A family of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    pub(super) fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// The first and the last address to search. 0.0.0.0/8 is left out, because in an IPv6 tree it
    /// has `::1`.
    fn range(self) -> (IpAddr, IpAddr) {
        match self {
            Self::V4 => (Ipv4Addr::new(1, 0, 0, 0).into(), Ipv4Addr::BROADCAST.into()),
            Self::V6 => {
                let last = [0x3fff, !0, !0, !0, !0, !0, !0, !0].into();
                ([0x2000, 0, 0, 0, 0, 0, 0, 0].into(), IpAddr::V6(last))
            }
        }
    }

    /// True if a record is about networks of this family. In an IPv6 tree an IPv4 address may be
    /// in a network that is larger than all of IPv4.
    pub(super) fn has<S: AsRef<[u8]>>(
        self,
        found: &LookupResult<'_, S>,
    ) -> Result<bool, MaxMindDbError> {
        let network = found.network()?;
        Ok(self == Self::V6 || network.is_ipv4() || network.prefix() == IPV4_DEPTH)
    }

    /// True if the file has any network of this family.
    pub(super) fn is_in<S: AsRef<[u8]>>(self, reader: &Reader<S>) -> Result<bool, MaxMindDbError> {
        if reader.metadata().ip_version == 4 {
            return Ok(self == Self::V4);
        }
        let (mut at, last) = self.range();
        for _ in 0..MAX_STEPS {
            let found = reader.lookup(at)?;
            if !self.has(&found)? {
                return Ok(false);
            }
            let alias = alias(at);
            if found.has_data() && alias.is_none() {
                return Ok(true);
            }
            // If IPv4 is searched, a network of the IPv6 tree that contains ::/96 ends with IPv4.
            let end = found.network()?.broadcast();
            let end = alias.unwrap_or(if end.is_ipv6() && self == Self::V4 { last } else { end });
            match next_address(end) {
                Some(next) if end < last => at = next,
                Some(_) | None => return Ok(false),
            }
        }
        Ok(true)
    }
}

/// The last address of the network, if it is one in which an IPv6 tree may repeat the IPv4
/// networks: Teredo or 6to4.
fn alias(address: IpAddr) -> Option<IpAddr> {
    let IpAddr::V6(address) = address else { return None };
    let end = match address.segments() {
        [0x2001, 0, ..] => [0x2001, 0, !0, !0, !0, !0, !0, !0],
        [0x2002, ..] => [0x2002, !0, !0, !0, !0, !0, !0, !0],
        _ => return None,
    };
    Some(IpAddr::V6(Ipv6Addr::from(end)))
}

fn next_address(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) => v4.to_bits().checked_add(1).map(|bits| Ipv4Addr::from_bits(bits).into()),
        IpAddr::V6(v6) => v6.to_bits().checked_add(1).map(|bits| Ipv6Addr::from_bits(bits).into()),
    }
}
