//! A client's address, and the IPv4 address that it carries.
//!
//! A translator between IPv4 and IPv6 writes a client's IPv4 address into the IPv6 address that the
//! server sees. Rules and limits use the IPv4 address of such a client. Otherwise the client would
//! escape rules about that address, and share one counter with all clients of the translator. Rows
//! and lines have the source address, because the packets have it.
//!
//! Only this module knows the forms. It ignores Teredo (2001::/32) and `::a.b.c.d`, which are no
//! longer routed.

use std::fmt;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;

use ipnet::IpNet;
use ipnet::Ipv6Net;

/// The well-known prefix of NAT64 (RFC 6052 §2.1).
const WELL_KNOWN: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

/// The method by which an IPv6 address carries an IPv4 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A stateful translator (RFC 6146), by one of its prefixes.
    Nat64,
    /// A stateless translator: `::ffff:0:a.b.c.d` (RFC 2765).
    Siit,
    /// A tunnel: 2002::/16 (RFC 3056).
    SixToFour,
}

impl Form {
    /// True if the carried address may admit the client. A translator vouches for it, but any relay
    /// can forge a 6to4 address.
    fn admits(self) -> bool {
        match self {
            Self::Nat64 | Self::Siit => true,
            Self::SixToFour => false,
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nat64 => "nat64",
            Self::Siit => "siit",
            Self::SixToFour => "6to4",
        })
    }
}

/// A client's address, and the IPv4 address that it carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    source: IpAddr,
    carried: Option<(Ipv4Addr, Form)>,
}

impl Address {
    /// The source address; IPv4 if it is IPv4-mapped.
    #[must_use]
    pub fn source(self) -> IpAddr {
        self.source
    }

    /// The IPv4 address that it carries, and the form.
    #[must_use]
    pub fn carried(self) -> Option<(Ipv4Addr, Form)> {
        self.carried
    }

    /// The address for countries, autonomous systems and limits: the carried one, else the source
    /// address.
    #[must_use]
    pub fn effective(self) -> IpAddr {
        self.carried.map_or(self.source, |(v4, _)| v4.into())
    }

    /// True if a list of denied networks contains the source address or the carried address.
    #[must_use]
    pub fn is_denied_by(self, networks: &[IpNet]) -> bool {
        contain(networks, self.source) || contain(networks, self.effective())
    }

    /// True if the effective address may admit the client: it is the source address, or its form is
    /// trusted.
    #[must_use]
    pub fn may_admit(self) -> bool {
        self.carried.is_none_or(|(_, form)| form.admits())
    }

    /// True if a list of admitted networks contains the source address, or a carried address whose
    /// form is trusted.
    #[must_use]
    pub fn is_admitted_by(self, networks: &[IpNet]) -> bool {
        contain(networks, self.source) || self.may_admit() && contain(networks, self.effective())
    }
}

fn contain(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|net| net.contains(&address))
}

/// The prefixes of NAT64, the longest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nat64 {
    prefixes: Vec<Ipv6Net>,
    /// True if the administrator wrote them, so that they may carry private addresses.
    is_configured: bool,
}

impl Default for Nat64 {
    /// The well-known prefix, which never carries private addresses (RFC 6052 §3.1).
    fn default() -> Self {
        Self { prefixes: vec![WELL_KNOWN], is_configured: false }
    }
}

impl Nat64 {
    /// The prefixes of the configuration. An empty list switches NAT64 off.
    ///
    /// # Errors
    /// A network is not a prefix of RFC 6052.
    pub fn new(networks: &[IpNet]) -> Result<Self, String> {
        let prefixes = networks.iter().map(prefix).collect::<Result<Vec<_>, _>>();
        let mut prefixes = prefixes?;
        prefixes.sort_by_key(|net| std::cmp::Reverse(net.prefix_len()));
        Ok(Self { prefixes, is_configured: true })
    }

    /// The prefixes.
    #[must_use]
    pub fn prefixes(&self) -> &[Ipv6Net] {
        &self.prefixes
    }

    /// Finds the IPv4 address that a client's address carries.
    #[must_use]
    pub fn read(&self, address: IpAddr) -> Address {
        let source = address.to_canonical();
        let carried = match source {
            IpAddr::V4(_) => None,
            IpAddr::V6(v6) => self.carried_by(v6),
        };
        Address { source, carried }
    }

    fn carried_by(&self, v6: Ipv6Addr) -> Option<(Ipv4Addr, Form)> {
        if let Some(prefix) = self.prefixes.iter().find(|net| net.contains(&v6)) {
            let v4 = embedded(v6, prefix.prefix_len())?;
            let counts =
                if self.is_configured { can_be_a_client(v4) } else { is_public(v4.into()) };
            return counts.then_some((v4, Form::Nat64));
        }
        let (v4, form) = match v6.octets() {
            [0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, a, b, c, d] => ([a, b, c, d], Form::Siit),
            [0x20, 0x02, a, b, c, d, ..] => ([a, b, c, d], Form::SixToFour),
            _ => return None,
        };
        let v4 = Ipv4Addr::from(v4);
        is_public(v4.into()).then_some((v4, form))
    }
}

/// The IPv4 address after a prefix of this length (RFC 6052 §2.2). It skips octet 8, which is zero
/// in each address that a translator makes. The octets after the IPv4 address can have any value.
fn embedded(v6: Ipv6Addr, prefix_length: u8) -> Option<Ipv4Addr> {
    let [_, _, _, _, o4, o5, o6, o7, o8, o9, o10, o11, o12, o13, o14, o15] = v6.octets();
    let v4 = match prefix_length {
        32 => [o4, o5, o6, o7],
        40 => [o5, o6, o7, o9],
        48 => [o6, o7, o9, o10],
        56 => [o7, o9, o10, o11],
        64 => [o9, o10, o11, o12],
        96 => [o12, o13, o14, o15],
        _ => return None,
    };
    (o8 == 0).then(|| v4.into())
}

/// Checks one prefix of NAT64.
fn prefix(network: &IpNet) -> Result<Ipv6Net, String> {
    let IpNet::V6(net) = network else {
        return Err(format!("\"{network}\" is not an IPv6 prefix such as 64:ff9b::/96"));
    };
    if ![32, 40, 48, 56, 64, 96].contains(&net.prefix_len()) {
        return Err(format!(
            "\"{net}\" has a length that NAT64 does not have: use 32, 40, 48, 56, 64 or 96 (RFC 6052)"
        ));
    }
    if net.addr() != net.network() {
        return Err(format!("\"{net}\" has bits beyond its length: write {}", net.trunc()));
    }
    if net.contains(&Ipv6Addr::LOCALHOST) {
        return Err(format!("\"{net}\" has ::1 in it, which is this machine: remove it"));
    }
    let [_, _, _, _, _, _, _, _, reserved, ..] = net.addr().octets();
    if reserved != 0 {
        return Err(format!(
            "\"{net}\" has bits 64 to 71 set, which are zero in NAT64 (RFC 6052): correct it"
        ));
    }
    Ok(*net)
}

/// True if a client may have this address in its own network, private or not.
fn can_be_a_client(v4: Ipv4Addr) -> bool {
    let [a, ..] = v4.octets();
    // A client cannot have an address in 0.0.0.0/8, nor a multicast or reserved one.
    (1..224).contains(&a) && !v4.is_loopback() && !v4.is_link_local()
}

/// True if an address can be reached over the Internet, and so can have a country. For
/// documentation networks and unassigned IPv6 addresses, the GeoIP file decides.
#[must_use]
pub(crate) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let octets = v4.octets();
            let is_shared = matches!(octets, [100, 64..=127, ..]); // RFC 6598
            let is_ietf_protocol = matches!(octets, [192, 0, 0, _]); // RFC 6890
            let is_benchmark = matches!(octets, [198, 18..=19, ..]); // RFC 2544
            can_be_a_client(v4)
                && !(v4.is_private() || is_shared || is_ietf_protocol || is_benchmark)
        }
        IpAddr::V6(v6) => {
            !(v6.is_unique_local()
                || v6.is_unicast_link_local()
                || v6.is_multicast()
                || v6.is_loopback()
                || v6.is_unspecified())
        }
    }
}

/// Converts an IPv4-mapped network to IPv4; returns other networks unchanged.
#[must_use]
pub(crate) fn canonical(network: IpNet) -> IpNet {
    let mapped = match network {
        IpNet::V6(v6) => v6.addr().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(96)),
        IpNet::V4(_) => None,
    };
    mapped.and_then(|(v4, prefix)| IpNet::new(v4.into(), prefix).ok()).unwrap_or(network)
}

#[cfg(test)]
mod tests;
