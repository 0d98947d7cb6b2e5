//! The keys of `[policy]` and their checks: the rules of all layers, and limits.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::limit::LimitTable;
use super::problem::Problem;
use super::value::choice;
use super::value::long_duration;
use crate::address::Nat64;
use crate::policy::Count;
use crate::policy::Limit;
use crate::policy::Limits;
use crate::policy::NewCountry;
use crate::policy::Per;
use crate::policy::Policy;
use crate::policy::Rules;
use crate::policy::WhenRejected;
use crate::policy::lists;
use crate::secret::Secret;

/// The most limits, because each costs an attempt several statements.
const MAX_LIMITS: usize = 16;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct PolicyTable {
    #[serde(default)]
    deny_networks: Vec<String>,
    #[serde(default)]
    deny_asns: Vec<Asn>,
    #[serde(default)]
    allow_countries: Vec<String>,
    #[serde(default)]
    deny_countries: Vec<String>,
    #[serde(default)]
    allow_nets: Vec<String>,
    #[serde(default)]
    protocols: Vec<String>,
    unknown_country: Option<String>,
    new_country: Option<String>,
    country_memory: Option<String>,
    #[serde(default)]
    trusted_networks: Vec<String>,
    nat64_prefixes: Option<Vec<String>>,
    when_rejected: Option<String>,
    pub(super) failure_time: Option<String>,
    #[serde(default)]
    log_only: bool,
    #[serde(default)]
    account: BTreeMap<String, Spanned<RulesTable>>,
    #[serde(default)]
    domain: BTreeMap<String, Spanned<RulesTable>>,
    #[serde(default)]
    limit: Vec<Spanned<LimitTable>>,
    ipv4_prefix: Option<u8>,
    ipv6_prefix: Option<u8>,
    known_good: Option<String>,
    #[serde(default)]
    hash_nonce: String,
}

/// `64496`, or `"AS64496"`.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "expected numbers of autonomous systems, such as 64496 or \"AS64496\""
)]
enum Asn {
    Number(u32),
    Text(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RulesTable {
    #[serde(default)]
    allow_countries: Vec<String>,
    #[serde(default)]
    deny_countries: Vec<String>,
    #[serde(default)]
    allow_nets: Vec<String>,
    #[serde(default)]
    protocols: Vec<String>,
    #[serde(default)]
    disabled: bool,
}

impl PolicyTable {
    /// True if a rule needs autonomous systems.
    pub(super) fn wants_asn(&self) -> bool {
        !self.deny_asns.is_empty()
    }

    /// The key that needs a country, for a message.
    pub(super) fn country_key(&self) -> &'static str {
        let keys = [
            ("deny_countries", !self.deny_countries.is_empty()),
            ("allow_countries", !self.allow_countries.is_empty()),
            ("unknown_country", self.unknown_country.as_deref() == Some("reject")),
            ("new_country", self.new_country.as_deref().is_some_and(|text| text != "ignore")),
            ("limit", self.limit.iter().any(|limit| limit.get_ref().count == "countries")),
            ("domain", !self.domain.is_empty()),
        ];
        keys.iter().find(|(_, needs_country)| *needs_country).map_or("account", |(key, _)| key)
    }

    /// The first rule for a name that is not printable ASCII, in the order of the file.
    pub(super) fn ambiguous_rule(&self, default_domain: &str) -> Option<Problem> {
        let accounts = self.account.iter().map(|(name, table)| ("account", name, table));
        let domains = self.domain.iter().map(|(name, table)| ("domain", name, table));
        let is_ambiguous = |key: &str, name: &str| {
            let has_default_domain = key == "account" && !name.contains('@');
            !lists::is_plain_name(name)
                || has_default_domain && !lists::is_plain_name(default_domain)
        };
        let found = accounts.chain(domains).filter(|(key, name, _)| is_ambiguous(key, name));
        let (key, name, table) = found.min_by_key(|(_, _, table)| table.span().start)?;
        let what = format!(
            "policy.{key}.\"{}\": the name has characters other than printable ASCII, and accounts.query has no \
             column username, or an empty one. Another spelling of the name may find the account, and the rule would \
             not apply to it: return the name as it is stored, AS username",
            name.escape_debug()
        );
        Some(Problem::At(Some(table.span().start), what))
    }

    pub(super) fn check(&self, default_domain: &str) -> Result<Policy, Problem> {
        let memory = self.country_memory.as_deref().unwrap_or("180d");
        Ok(Policy {
            deny_networks: networks("deny_networks", &self.deny_networks)?.unwrap_or_default(),
            deny_asns: self
                .deny_asns
                .iter()
                .map(Asn::number)
                .collect::<Result<_, _>>()
                .map_err(|what| Problem::Key("policy", "deny_asns", what))?,
            accounts: layer("account", default_domain, &self.account)?,
            domains: layer("domain", "", &self.domain)?,
            default: RulesTable {
                allow_countries: self.allow_countries.clone(),
                deny_countries: self.deny_countries.clone(),
                allow_nets: self.allow_nets.clone(),
                protocols: self.protocols.clone(),
                disabled: false,
            }
            .check()
            .map_err(|(key, what)| Problem::Key("policy", key, what))?,
            reject_unknown_country: choice(
                "unknown_country",
                self.unknown_country.as_deref(),
                &[("allow", false), ("reject", true)],
            )?,
            trusted_networks: networks("trusted_networks", &self.trusted_networks)?
                .unwrap_or_default(),
            nat64: self.nat64()?,
            when_rejected: choice(
                "when_rejected",
                self.when_rejected.as_deref(),
                &[("verify", WhenRejected::Verify), ("skip", WhenRejected::Skip)],
            )?,
            new_country: choice(
                "new_country",
                self.new_country.as_deref(),
                &[
                    ("ignore", NewCountry::Ignore),
                    ("log", NewCountry::Log),
                    ("reject", NewCountry::Reject),
                ],
            )?,
            country_memory: match long_duration("policy", "country_memory", memory)? {
                Duration::ZERO => {
                    let what = "is 0, which would make no country new".to_owned();
                    return Err(Problem::Key("policy", "country_memory", what));
                }
                memory => memory,
            },
            limits: self.limits()?,
            log_only: self.log_only,
        })
    }

    fn nat64(&self) -> Result<Nat64, Problem> {
        const KEY: &str = "nat64_prefixes";
        let Some(list) = &self.nat64_prefixes else { return Ok(Nat64::default()) };
        let networks = networks(KEY, list)?.unwrap_or_default();
        Nat64::new(&networks).map_err(|what| Problem::Key("policy", KEY, what))
    }

    fn limits(&self) -> Result<Limits, Problem> {
        let mut list: Vec<Limit> = Vec::new();
        let mut names = BTreeSet::new();
        for table in &self.limit {
            let limit = table.get_ref();
            let problem = |what: String| {
                let name = limit.name.escape_debug();
                Problem::At(Some(table.span().start), format!("policy.limit \"{name}\": {what}"))
            };
            if !names.insert(&limit.name) {
                return Err(problem(String::from("the name is given twice: change one")));
            }
            list.push(limit.check().map_err(problem)?);
        }
        if list.len() > MAX_LIMITS {
            let what = format!("has more than {MAX_LIMITS} limits: remove some");
            return Err(Problem::Key("policy", "limit", what));
        }
        let known_good = self.known_good.as_deref().unwrap_or("30d");
        let limits = Limits {
            list,
            ipv4_prefix: prefix("ipv4_prefix", self.ipv4_prefix, 32, 32)?,
            ipv6_prefix: prefix("ipv6_prefix", self.ipv6_prefix, 64, 128)?,
            known_good: long_duration("policy", "known_good", known_good)?,
            hash_nonce: Arc::new(Secret::new(self.hash_nonce.clone().into_bytes())),
        };
        let needs_nonce = |limit: &Limit| {
            let by_account = limit.per == Per::Account && !limits.known_good.is_zero();
            by_account || limit.count == Count::Passwords
        };
        let mut tables = limits.list.iter().zip(&self.limit);
        match tables.find(|(limit, _)| self.hash_nonce.is_empty() && needs_nonce(limit)) {
            None => Ok(limits),
            // A missing key has no line, so the message has the line of the limit.
            Some((limit, table)) => {
                let what = "policy.hash_nonce: is needed to count passwords, and for limits per \
                            account unless known_good is \"0s\": set it to any secret text, the same \
                            on all hosts of this database";
                let what = format!("policy.limit \"{}\": {what}", limit.name);
                Err(Problem::At(Some(table.span().start), what))
            }
        }
    }
}

impl Asn {
    fn number(&self) -> Result<u32, String> {
        match self {
            Self::Number(number) => Ok(*number),
            Self::Text(text) => {
                let digits = text.strip_prefix("AS").or_else(|| text.strip_prefix("as"));
                digits.unwrap_or(text).parse().map_err(|_| {
                    format!(
                        "\"{}\" is not an autonomous system such as AS64496",
                        text.escape_debug()
                    )
                })
            }
        }
    }
}

impl RulesTable {
    /// The rules; or the wrong key, with the message.
    fn check(&self) -> Result<Rules, (&'static str, String)> {
        let of = |key: &'static str| move |what: String| (key, what);
        let countries = |list: &[String]| joined(list).and_then(|list| lists::countries(&list));
        Ok(Rules {
            protocols: lists::protocols(&joined(&self.protocols).map_err(of("protocols"))?),
            allow_nets: joined(&self.allow_nets)
                .and_then(|list| lists::networks(&list))
                .map_err(of("allow_nets"))?,
            deny_countries: countries(&self.deny_countries).map_err(of("deny_countries"))?,
            allow_countries: countries(&self.allow_countries).map_err(of("allow_countries"))?,
            disabled: self.disabled,
        })
    }
}

/// The rules of all accounts or of all domains, by name in lower case.
fn layer(
    key: &'static str,
    default_domain: &str,
    tables: &BTreeMap<String, Spanned<RulesTable>>,
) -> Result<BTreeMap<String, Rules>, Problem> {
    let mut layer = BTreeMap::new();
    for (name, table) in tables {
        let problem = |what: String| {
            let name = name.escape_debug();
            Problem::At(Some(table.span().start), format!("policy.{key}.\"{name}\": {what}"))
        };
        let rules = table.get_ref().check();
        let rules = rules.map_err(|(key, what)| problem(format!("{key}: {what}")))?;
        // A rule for a name that no account can have never applies, so it is a typo.
        let is_valid = !name.is_empty()
            && !name.contains(|c: char| c.is_whitespace() || c == '*')
            && !name.starts_with('.')
            && !name.ends_with('.');
        let name = match (key, name.split_once('@')) {
            ("domain", None) if is_valid => name.to_lowercase(),
            ("domain", _) => {
                return Err(problem(String::from("is not a domain such as \"example.com\"")));
            }
            (_, Some((local_part, _))) if is_valid && !local_part.is_empty() => name.to_lowercase(),
            (_, None) if is_valid && default_domain.is_empty() => name.to_lowercase(),
            (_, None) if is_valid => format!("{}@{default_domain}", name.to_lowercase()),
            _ => {
                return Err(problem(String::from(
                    "is not an account such as \"mike@example.com\"",
                )));
            }
        };
        if layer.insert(name, rules).is_some() {
            return Err(problem(String::from(
                "is given twice, in upper and lower case: remove one",
            )));
        }
    }
    Ok(layer)
}

/// A list as one text. An empty element is an error, because it would switch the rule off.
fn joined(list: &[String]) -> Result<String, String> {
    match list.iter().any(|text| lists::words(text).is_empty()) {
        true => Err(String::from("has an empty element: remove it, or the key")),
        false => Ok(list.join(",")),
    }
}

/// A prefix length.
fn prefix(key: &'static str, given: Option<u8>, default: u8, max: u8) -> Result<u8, Problem> {
    let prefix = given.unwrap_or(default);
    if (1..=max).contains(&prefix) {
        return Ok(prefix);
    }
    Err(Problem::Key("policy", key, format!("is not between 1 and {max}")))
}

fn networks(key: &'static str, list: &[String]) -> Result<Option<Vec<ipnet::IpNet>>, Problem> {
    joined(list)
        .and_then(|list| lists::networks(&list))
        .map_err(|what| Problem::Key("policy", key, what))
}
