//! Limits: how much guessing is too much, and by whom.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::address::Address;
use crate::secret::Secret;

/// Whose attempts are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Per {
    /// Those of an address, or of its network.
    Remote,
    /// Those at an account, whether it exists or not.
    Account,
    /// Those of an address at an account.
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

/// What is counted of the attempts that fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// Each.
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

/// What happens to an attempt beyond a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is refused before its password is looked at.
    Reject,
    /// It has to wait.
    Delay(Duration),
}

/// One `[[policy.limit]]`.
#[derive(Debug, Clone)]
pub struct Limit {
    /// As in `last{rule}` and in the log.
    pub name: Arc<str>,
    /// Whose attempts are counted together.
    pub per: Per,
    /// What is counted.
    pub count: Count,
    /// So many are borne.
    pub max: u32,
    /// For how long one counts.
    pub within: Duration,
    /// What happens beyond it.
    pub action: Action,
}

impl Limit {
    /// Whether it holds for an attempt; `known_good` is an address that the account has logged in
    /// from.
    #[must_use]
    pub fn applies(&self, is_trusted: bool, is_known_good: bool) -> bool {
        match self.per {
            Per::Remote => !is_trusted,
            Per::Account => !is_known_good,
            Per::AccountAndRemote => true,
        }
    }
}

/// All limits, and what they have in common.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    /// In the order of the configuration.
    pub list: Vec<Limit>,
    /// IPv4 addresses of one network of this length count as one.
    pub ipv4_prefix: u8,
    /// The same for IPv6.
    pub ipv6_prefix: u8,
    /// For how long an address stays exempt from limits per account after a login; zero: never.
    pub known_good: Duration,
    /// Keys the fingerprints of passwords.
    pub hash_nonce: Arc<Secret>,
}

impl Limits {
    /// Whether a limit counts countries.
    #[must_use]
    pub fn want_country(&self) -> bool {
        self.list.iter().any(|limit| limit.count == Count::Countries)
    }

    /// Whether an address may be exempt from any limit since the account has logged in from it.
    #[must_use]
    pub fn want_known_good(&self) -> bool {
        !self.known_good.is_zero() && self.list.iter().any(|limit| limit.per == Per::Account)
    }

    /// The name under which an address is counted.
    #[must_use]
    pub fn remote(&self, address: Address) -> String {
        self.network(address.effective())
    }

    /// The name of the network that is counted as one and has this address.
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
