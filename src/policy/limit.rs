//! Limits on failed attempts.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::address::Address;
use crate::secret::Secret;

/// The subject of a limit: all attempts of one subject are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Per {
    /// An address, or its network.
    Remote,
    /// An account, also one that does not exist.
    Account,
    /// An address and an account together.
    AccountAndRemote,
}

impl fmt::Display for Per {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Remote => "remote",
            Self::Account => "account",
            Self::AccountAndRemote => "account+remote",
        })
    }
}

/// The thing that a limit counts in failed attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// All failures.
    Failures,
    /// Distinct wrong passwords.
    Passwords,
    /// Distinct accounts.
    Accounts,
    /// Distinct addresses.
    Remotes,
    /// Distinct countries.
    Countries,
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Failures => "failures",
            Self::Passwords => "passwords",
            Self::Accounts => "accounts",
            Self::Remotes => "remotes",
            Self::Countries => "countries",
        })
    }
}

/// The action on an attempt if the limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Refuse it before its password is checked.
    Reject,
    /// Make it wait for this time.
    Delay(Duration),
}

/// One `[[policy.limit]]`.
#[derive(Debug, Clone)]
pub struct Limit {
    /// The name, as in `last{rule}` and in the log.
    pub name: Arc<str>,
    /// The subject.
    pub per: Per,
    /// The counted values.
    pub count: Count,
    /// The limit is reached when attempts with this many distinct values have failed.
    pub max: u32,
    /// The time for which a failure counts.
    pub within: Duration,
    /// The action if the limit is reached.
    pub action: Action,
}

impl Limit {
    /// True if the limit applies to an attempt. `is_trusted`: the address is in
    /// `policy.trusted_networks`. `is_known_good`: it is a known good address of the account.
    #[must_use]
    pub fn applies(&self, is_trusted: bool, is_known_good: bool) -> bool {
        match self.per {
            Per::Remote => !is_trusted,
            Per::Account => !is_known_good,
            Per::AccountAndRemote => true,
        }
    }
}

/// All limits, and their common settings.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    /// The limits, in the order of the configuration.
    pub list: Vec<Limit>,
    /// IPv4 addresses in one network of this prefix length count as one.
    pub ipv4_prefix: u8,
    /// IPv6 addresses in one network of this prefix length count as one.
    pub ipv6_prefix: u8,
    /// The time for which an address stays known good after a login. Zero: no address is known
    /// good.
    pub known_good: Duration,
    /// The key of truncated password hashes, of fingerprints, and of fake SCRAM keys.
    pub hash_nonce: Arc<Secret>,
}

impl Limits {
    /// True if a limit counts countries.
    #[must_use]
    pub fn want_country(&self) -> bool {
        self.list.iter().any(|limit| limit.count == Count::Countries)
    }

    /// True if known good addresses are exempt from any limit, and so must be looked up.
    #[must_use]
    pub fn want_known_good(&self) -> bool {
        !self.known_good.is_zero() && self.list.iter().any(|limit| limit.per == Per::Account)
    }

    /// The subject that a client's address counts for: its effective address, or that address's
    /// network.
    #[must_use]
    pub fn remote(&self, address: Address) -> String {
        self.network(address.effective())
    }

    /// The subject for this address: the address, or its network if the prefix length is shorter.
    #[must_use]
    pub fn network(&self, address: IpAddr) -> String {
        let (address, prefix) = match address {
            v4 @ IpAddr::V4(_) => (v4, self.ipv4_prefix),
            v6 @ IpAddr::V6(_) => (v6, self.ipv6_prefix),
        };
        match IpNet::new(address, prefix) {
            Ok(net) if net.prefix_len() < net.max_prefix_len() => net.trunc().to_string(),
            Ok(_) | Err(_) => address.to_string(),
        }
    }
}
