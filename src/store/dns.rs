//! Asks name servers for the addresses of a host, under a deadline.
//!
//! libc's resolver counts whole seconds for each server and each entry of the search list. Here one
//! deadline holds for all of it. Servers are asked in the order of resolv.conf, each a moment after
//! the one before it, and the first answer counts. IPv4 and IPv6 addresses are asked for over
//! separate sockets, because some servers and firewalls answer only one question a socket.

use std::io::ErrorKind;
use std::io::Read;
use std::io::Write;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::time::Duration;
use std::time::Instant;

use nix::poll::PollFd;
use nix::poll::PollFlags;
use nix::poll::PollTimeout;
use nix::poll::poll;

use super::message;
use super::message::DnsReply;
use super::message::Kind;
use super::sockets::sockets_within;

/// The next server is asked after this part of the time.
const STEPS: u32 = 8;
/// The shortest time between two questions.
const SHORTEST_STEP: Duration = Duration::from_millis(10);
/// A reply over UDP is at most 512 bytes, because we do not ask for longer ones. More room does no
/// harm.
const LONGEST_DATAGRAM: usize = 4096;

/// The settings of resolv.conf.
#[derive(Debug, Default)]
pub(super) struct Resolver {
    pub(super) servers: Vec<SocketAddr>,
    /// Domains that are appended to names.
    pub(super) search: Vec<String>,
    /// A name with fewer dots is tried in the domains first.
    pub(super) ndots: usize,
    /// True if a name without dots is tried only in the domains.
    pub(super) no_tld_query: bool,
    /// True if IPv6 addresses are not asked for.
    pub(super) no_aaaa: bool,
}

/// The answer to a name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum DnsLookup {
    /// At least one address.
    Found(Vec<IpAddr>),
    /// A name server says that there is none.
    NoName,
    /// No name server could tell, for this reason.
    Unknown(String),
}

impl Resolver {
    /// Finds the addresses of a name within this time.
    pub(super) fn look_up(&self, name: &str, limit: Duration) -> DnsLookup {
        let start = Instant::now();
        let mut unknown = None;
        for candidate in self.candidates(name) {
            let left = limit.saturating_sub(start.elapsed());
            if left.is_zero() {
                // No server was asked for this one.
                unknown.get_or_insert_with(|| String::from("took too long"));
                break;
            }
            match Exchange::new(self, &candidate, left).map(Exchange::run) {
                Some(DnsLookup::Found(addresses)) => return DnsLookup::Found(addresses),
                Some(DnsLookup::Unknown(why)) => unknown = Some(why),
                Some(DnsLookup::NoName) | None => {}
            }
        }
        unknown.map_or(DnsLookup::NoName, DnsLookup::Unknown)
    }

    /// The full names that a name may stand for, in the order in which they are tried.
    fn candidates(&self, name: &str) -> Vec<String> {
        if let Some(absolute) = name.strip_suffix('.') {
            return vec![absolute.to_owned()];
        }
        let dots = name.matches('.').count();
        let mut names: Vec<_> = self
            .search
            .iter()
            .map(|domain| domain.trim_matches('.'))
            .filter(|domain| !domain.is_empty())
            .map(|domain| format!("{name}.{domain}"))
            .collect();
        let has_root = self.search.iter().any(|domain| domain == ".");
        if dots >= self.ndots {
            names.insert(0, name.to_owned());
        } else if dots > 0 || has_root || names.is_empty() || !self.no_tld_query {
            names.push(name.to_owned());
        }
        names
    }
}

/// One question to one server.
struct Channel {
    server: SocketAddr,
    kind: Kind,
    query: Vec<u8>,
    socket: Option<UdpSocket>,
    /// The reason why this server cannot tell.
    failure: Option<String>,
}

impl Channel {
    fn new(server: SocketAddr, kind: Kind, name: &str) -> Option<Self> {
        let mut id = [0; 2];
        getrandom::fill(&mut id).ok()?;
        let query = message::query(id, name, kind)?;
        Some(Self { server, kind, query, socket: None, failure: None })
    }

    /// Sends the question, or sends it again.
    fn send(&mut self) {
        let socket = match self.socket.take() {
            Some(socket) => Ok(socket),
            None => open(self.server),
        };
        match socket.and_then(|socket| socket.send(&self.query).map(|_| socket)) {
            Ok(socket) => self.socket = Some(socket),
            Err(e) => self.failure = Some(e.to_string()),
        }
    }

    /// Receives the answer, if it has come.
    fn receive(&mut self, left: Duration) -> Option<DnsReply> {
        let socket = self.socket.as_ref()?;
        let mut buffer = [0; LONGEST_DATAGRAM];
        let reply = match socket.recv(&mut buffer) {
            Ok(length) => message::read(buffer.get(..length)?, &self.query, self.kind)?,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return None;
            }
            Err(e) => {
                self.failure = Some(e.to_string());
                return None;
            }
        };
        let reply = if reply == DnsReply::Truncated {
            let whole = self.ask_over_tcp(left);
            whole.unwrap_or_else(|e| DnsReply::Failure(format!("over TCP: {e}")))
        } else {
            reply
        };
        if let DnsReply::Failure(why) = reply {
            self.failure = Some(why);
            return None;
        }
        Some(reply)
    }

    fn ask_over_tcp(&self, limit: Duration) -> std::io::Result<DnsReply> {
        let invalid = || std::io::Error::from(ErrorKind::InvalidData);
        let limit = limit.max(Duration::from_millis(1));
        // Limits all reads together. The time-outs below limit one read each.
        sockets_within(limit);
        let mut stream = TcpStream::connect_timeout(&self.server, limit)?;
        stream.set_read_timeout(Some(limit))?;
        stream.set_write_timeout(Some(limit))?;
        let length = u16::try_from(self.query.len()).map_err(|_| invalid())?;
        stream.write_all(&[&length.to_be_bytes(), &*self.query].concat())?;
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut reply = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut reply)?;
        match message::read(&reply, &self.query, self.kind) {
            Some(DnsReply::Truncated) | None => Err(invalid()),
            Some(reply) => Ok(reply),
        }
    }
}

/// A socket for one question to this server.
fn open(server: SocketAddr) -> std::io::Result<UdpSocket> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_nonblocking(true)?;
    // With a connected socket, the kernel drops datagrams from elsewhere, and reports a closed
    // port.
    socket.connect(server)?;
    Ok(socket)
}

/// All questions about one full name.
struct Exchange {
    channels: Vec<Channel>,
    servers: Vec<SocketAddr>,
    kinds: Vec<Kind>,
    answers: Vec<(Kind, Vec<IpAddr>)>,
    start: Instant,
    limit: Duration,
}

impl Exchange {
    /// `None` if DNS cannot hold such a name.
    fn new(resolver: &Resolver, name: &str, limit: Duration) -> Option<Self> {
        let kinds = if resolver.no_aaaa { vec![Kind::A] } else { vec![Kind::Aaaa, Kind::A] };
        let mut channels = Vec::new();
        for server in &resolver.servers {
            for kind in &kinds {
                channels.push(Channel::new(*server, *kind, name)?);
            }
        }
        let servers = resolver.servers.clone();
        Some(Self { channels, servers, kinds, answers: Vec::new(), start: Instant::now(), limit })
    }

    fn run(mut self) -> DnsLookup {
        let step = self.step();
        let mut turns = self.servers.clone().into_iter().cycle();
        let mut next = Duration::ZERO;
        let mut first_answer = None;
        while !self.is_answered() && self.may_still_answer() {
            let now = self.start.elapsed();
            if !self.answers.is_empty() {
                // Both questions were sent at once, so the second answer is not waited for long.
                let since = *first_answer.get_or_insert(now);
                let found = self.answers.iter().any(|(_, addresses)| !addresses.is_empty());
                if found && now.saturating_sub(since) >= step.saturating_mul(2) {
                    break;
                }
            }
            if now >= self.limit {
                break;
            }
            if now >= next {
                let Some(server) = turns.next() else { break };
                self.ask(server);
                // A server that failed at once does not keep the next one waiting.
                next = if self.has_failed(server) { now } else { now.saturating_add(step) };
                continue;
            }
            self.wait(next.min(self.limit).saturating_sub(now));
            if self.receive() {
                next = self.start.elapsed();
            }
        }
        self.conclude()
    }

    /// The time between two servers.
    fn step(&self) -> Duration {
        self.limit.checked_div(STEPS).unwrap_or_default().max(SHORTEST_STEP)
    }

    fn is_answered(&self) -> bool {
        self.kinds.iter().all(|kind| self.has_answer(*kind))
    }

    fn has_answer(&self, kind: Kind) -> bool {
        self.answers.iter().any(|(known, _)| *known == kind)
    }

    /// True if a missing answer may still come.
    fn may_still_answer(&self) -> bool {
        self.channels.iter().any(|one| one.failure.is_none() && !self.has_answer(one.kind))
    }

    fn has_failed(&self, server: SocketAddr) -> bool {
        self.channels.iter().filter(|one| one.server == server).all(|one| one.failure.is_some())
    }

    fn ask(&mut self, server: SocketAddr) {
        let known: Vec<_> = self.answers.iter().map(|(kind, _)| *kind).collect();
        self.channels
            .iter_mut()
            .filter(|one| one.server == server && one.failure.is_none())
            .filter(|one| !known.contains(&one.kind))
            .for_each(Channel::send);
    }

    fn wait(&self, time: Duration) {
        // At least a millisecond, so that it does not spin.
        let time = u16::try_from(time.as_millis()).unwrap_or(u16::MAX).max(1);
        let sockets = self.channels.iter().filter(|one| one.failure.is_none());
        let mut sockets: Vec<_> = sockets
            .filter_map(|one| one.socket.as_ref())
            .map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN))
            .collect();
        // A signal ends it early; the caller looks at the clock.
        let _ = poll(&mut sockets, PollTimeout::from(time)).ok();
    }

    /// Receives the answers that have come; true if a server failed.
    fn receive(&mut self) -> bool {
        let step = self.step();
        let mut failed = false;
        for channel in self.channels.iter_mut().filter(|one| one.failure.is_none()) {
            if self.answers.iter().any(|(kind, _)| *kind == channel.kind) {
                continue;
            }
            let left = self.limit.saturating_sub(self.start.elapsed());
            // Leaves time for the other servers.
            let reply = channel.receive(left.min(step.saturating_mul(2)));
            sockets_within(self.limit.saturating_sub(self.start.elapsed()));
            failed |= channel.failure.is_some();
            match reply {
                Some(DnsReply::Addresses(addresses)) => {
                    self.answers.push((channel.kind, addresses))
                }
                // Some servers mean only addresses of this kind, so the other question stays open.
                Some(DnsReply::NoName) => self.answers.push((channel.kind, Vec::new())),
                Some(DnsReply::Truncated | DnsReply::Failure(_)) | None => {}
            }
        }
        failed
    }

    fn conclude(self) -> DnsLookup {
        let is_answered = self.is_answered();
        let found: Vec<_> = self.answers.into_iter().flat_map(|(_, found)| found).collect();
        if !found.is_empty() {
            return DnsLookup::Found(found);
        }
        if is_answered {
            return DnsLookup::NoName;
        }
        let mut reasons: Vec<String> = Vec::new();
        for server in self.servers {
            let of_server = || self.channels.iter().filter(|one| one.server == server);
            let why = of_server().find_map(|one| one.failure.as_deref());
            reasons.push(format!("{}: {}", server.ip(), why.unwrap_or("did not answer")));
        }
        DnsLookup::Unknown(reasons.join(", "))
    }
}

#[cfg(test)]
mod tests;
