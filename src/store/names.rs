//! The addresses of a database server's host: from libc, from name servers, or remembered.
//!
//! - An address in the URL stands for itself.
//! - libc looks the name up without a name server: /etc/hosts and the other modules of
//!   nsswitch.conf.
//! - Name servers are asked, if nsswitch.conf says so, within the time for connecting to this host.
//! - While no name server can tell, the latest answer is used. The state directory holds it.

use std::ffi::CStr;
use std::ffi::CString;
use std::ffi::c_char;
use std::ffi::c_int;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::net::SocketAddrV6;
use std::net::UdpSocket;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use super::address_cache;
use super::dns::DnsLookup;
use super::dns::Resolver;
use crate::config::DatabaseUrl;

const ADDRESSES: usize = 8;
const SERVERS: usize = 3;
const DOMAINS: usize = 6;
const DOMAIN_LENGTH: usize = 256;

/// An address and a port, as names.c has them.
#[repr(C)]
#[derive(Clone, Copy)]
struct Endpoint {
    bytes: [u8; 16],
    scope: u32,
    port: u16,
    is_ipv6: u16,
}

/// A lookup, as names.c has it.
#[repr(C)]
struct RawLookup {
    addresses: [Endpoint; ADDRESSES],
    servers: [Endpoint; SERVERS],
    domains: [[u8; DOMAIN_LENGTH]; DOMAINS],
    address_count: u32,
    server_count: u32,
    domain_count: u32,
    ndots: u32,
    no_tld_query: u32,
    no_aaaa: u32,
    wants_dns: u32,
}

#[allow(unsafe_code, reason = "declares functions of names.c")]
// SAFETY: the functions have these types in names.c. The first reads a name up to its NUL and
// writes one lookup of the same layout; the second reads an endpoint, or nothing if the pointer is
// null.
unsafe extern "C" {
    fn authpolicy_look_up(name: *const c_char, lookup: *mut RawLookup) -> c_int;
    safe fn authpolicy_connect_to(to: Option<&Endpoint>);
}

impl Endpoint {
    const NONE: Self = Self { bytes: [0; 16], scope: 0, port: 0, is_ipv6: 0 };

    fn address(&self) -> SocketAddr {
        if self.is_ipv6 != 0 {
            return SocketAddrV6::new(Ipv6Addr::from(self.bytes), self.port, 0, self.scope).into();
        }
        let [a, b, c, d, ..] = self.bytes;
        SocketAddr::from((Ipv4Addr::new(a, b, c, d), self.port))
    }

    fn new(address: SocketAddr) -> Self {
        let mut endpoint = Self { port: address.port(), ..Self::NONE };
        match address {
            SocketAddr::V4(four) => {
                let octets = four.ip().octets();
                endpoint.bytes.iter_mut().zip(octets).for_each(|(to, byte)| *to = byte);
            }
            SocketAddr::V6(six) => {
                endpoint.bytes = six.ip().octets();
                endpoint.scope = six.scope_id();
                endpoint.is_ipv6 = 1;
            }
        }
        endpoint
    }
}

/// The addresses of a host, and how they were found.
#[derive(Clone)]
pub(super) struct Host {
    /// At least one; the best first.
    pub(super) addresses: Vec<SocketAddr>,
    /// The reason why these are remembered addresses, if they are.
    pub(super) silence: Option<String>,
}

/// The time for which a process uses the addresses it has found. An attempt that waits connects
/// several times.
const FRESH: Duration = Duration::from_secs(5);

/// The hosts that this process has looked up, and when.
static FOUND: Mutex<Vec<(String, Instant, Host)>> = Mutex::new(Vec::new());

/// Finds the addresses of a host, within `limit`. If addresses are remembered, it takes at most
/// half of that, so that there is time to connect to them.
///
/// # Errors
/// There is no address, or no name server could tell. The text gives the reason.
pub(super) fn resolve(host: &DatabaseUrl, limit: Duration) -> Result<Host, String> {
    let key = host.to_string();
    let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    found.retain(|(_, when, _)| when.elapsed() < FRESH);
    if let Some((_, _, known)) = found.iter().find(|(known, ..)| *known == key) {
        return Ok(known.clone());
    }
    let fresh = look_up_host(host, limit)?;
    found.push((key, Instant::now(), fresh.clone()));
    Ok(fresh)
}

fn look_up_host(host: &DatabaseUrl, limit: Duration) -> Result<Host, String> {
    let start = Instant::now();
    let name = host.name();
    let port = host.options().get_tcp_port();
    let known = |addresses: Vec<SocketAddr>| Ok(Host { addresses, silence: None });
    if let Ok(address) = name.parse::<IpAddr>() {
        return known(vec![SocketAddr::new(address, port)]);
    }
    let with_port = |addresses: Vec<IpAddr>| -> Vec<_> {
        addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect()
    };
    let (mut local, resolver) = match look_up(&name)? {
        Local::Found(addresses) => (addresses, None),
        Local::AskServers(resolver) => (Vec::new(), Some(resolver)),
    };
    let Some(resolver) = resolver else {
        local.iter_mut().for_each(|address| address.set_port(port));
        return known(local);
    };
    let cached = address_cache::load(host.memory(), &name);
    let half = limit.checked_div(2).unwrap_or(limit);
    let limit = if cached.is_empty() { limit } else { half };
    match resolver.look_up(&name, limit.saturating_sub(start.elapsed())) {
        DnsLookup::Found(mut addresses) => {
            sort(&mut addresses);
            addresses.truncate(ADDRESSES);
            // Sorted, because many name servers change the order each time.
            if !(addresses.len() == cached.len()
                && addresses.iter().all(|address| cached.contains(address)))
            {
                address_cache::save(host.memory(), &name, &addresses);
            }
            known(with_port(addresses))
        }
        DnsLookup::NoName => {
            address_cache::delete(host.memory(), &name);
            Err(String::from("lookup failed: there is no such name"))
        }
        DnsLookup::Unknown(why) if cached.is_empty() => {
            Err(format!("lookup failed: no name server could tell ({why})"))
        }
        DnsLookup::Unknown(why) => {
            let addresses = with_port(cached);
            Ok(Host { addresses, silence: Some(format!("no name server could tell ({why})")) })
        }
    }
}

/// Makes `connect` use this address for the host's name.
pub(super) fn connect_to<T>(address: SocketAddr, connect: impl FnOnce() -> T) -> T {
    /// Resets the address when dropped, even if `connect` panics.
    struct ConnectTarget;
    impl Drop for ConnectTarget {
        fn drop(&mut self) {
            authpolicy_connect_to(None);
        }
    }
    authpolicy_connect_to(Some(&Endpoint::new(address)));
    let _target = ConnectTarget;
    connect()
}

/// The answer of libc without name servers.
enum Local {
    Found(Vec<SocketAddr>),
    AskServers(Resolver),
}

fn look_up(name: &str) -> Result<Local, String> {
    let no_name = || String::from("lookup failed: there is no such name");
    let text = CString::new(name).map_err(|_| no_name())?;
    let mut raw = RawLookup {
        addresses: [Endpoint::NONE; ADDRESSES],
        servers: [Endpoint::NONE; SERVERS],
        domains: [[0; DOMAIN_LENGTH]; DOMAINS],
        address_count: 0,
        server_count: 0,
        domain_count: 0,
        ndots: 0,
        no_tld_query: 0,
        no_aaaa: 0,
        wants_dns: 0,
    };
    #[allow(unsafe_code, reason = "calls a function of names.c")]
    // SAFETY: the name ends with a NUL, and both live until the call returns. It writes within the
    // lookup, whose fields are numbers that may have any value.
    let error = unsafe { authpolicy_look_up(text.as_ptr(), &raw mut raw) };
    if error == 0 {
        let found = raw.addresses.iter().take(count(raw.address_count));
        let found: Vec<_> = found.map(Endpoint::address).collect();
        return if found.is_empty() { Err(no_name()) } else { Ok(Local::Found(found)) };
    }
    if raw.wants_dns == 0 {
        return Err(no_name());
    }
    let servers = raw.servers.iter().take(count(raw.server_count)).map(Endpoint::address);
    let search = raw.domains.iter().take(count(raw.domain_count));
    let search = search.filter_map(|domain| CStr::from_bytes_until_nul(domain).ok()?.to_str().ok());
    Ok(Local::AskServers(Resolver {
        servers: servers.collect(),
        search: search.map(str::to_owned).collect(),
        ndots: count(raw.ndots),
        no_tld_query: raw.no_tld_query != 0,
        no_aaaa: raw.no_aaaa != 0,
    }))
}

fn count(number: u32) -> usize {
    usize::try_from(number).unwrap_or(0)
}

/// Sorts addresses: first those that this host has a route to, and among them IPv6 before IPv4.
/// Otherwise the server's order stays.
fn sort(addresses: &mut [IpAddr]) {
    addresses.sort_by_cached_key(|address| (!has_route(*address), address.is_ipv4()));
}

/// True if a datagram could be sent there. Nothing is sent.
fn has_route(address: IpAddr) -> bool {
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    UdpSocket::bind((any, 0)).and_then(|socket| socket.connect((address, 9))).is_ok()
}
