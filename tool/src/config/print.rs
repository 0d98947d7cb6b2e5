//! Prints the effective settings as keys of the configuration, without passwords, nonces and
//! hashes.

use humantime::format_duration;
use std::path::PathBuf;

use authpolicy::config::Config;
use authpolicy::config::Delivery;
use authpolicy::config::Durability;
use authpolicy::policy::Action;
use authpolicy::policy::Countries;
use authpolicy::policy::Limits;
use authpolicy::policy::NewCountry;
use authpolicy::policy::Rules;
use authpolicy::policy::WhenRejected;

use super::max_parallel_hashes;
use crate::say;
use crate::span;

/// Joins a list with commas.
fn listed<T: ToString>(list: &[T]) -> String {
    list.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// Prints the rules of one layer as keys of its table.
fn print_rules(table: &str, rules: &Rules) {
    let countries = |list: &Option<Countries>| list.as_ref().map(ToString::to_string);
    for (key, value) in [
        ("allow_countries", countries(&rules.allow_countries)),
        ("deny_countries", countries(&rules.deny_countries)),
        ("allow_nets", rules.allow_nets.as_deref().map(listed)),
        ("protocols", rules.protocols.as_deref().map(listed)),
        ("disabled", rules.disabled.then(|| String::from("true"))),
    ] {
        if table == "policy" && key != "disabled" || value.is_some() {
            say(&format!("{table}.{key}={}", value.unwrap_or_default()));
        }
    }
}

fn print_policy(config: &Config) {
    let policy = &config.policy;
    let time = |time| format_duration(time).to_string();
    print_rules("policy", &policy.default);
    for (name, rules) in &policy.domains {
        print_rules(&format!("policy.domain.{name}"), rules);
    }
    for (name, rules) in &policy.accounts {
        print_rules(&format!("policy.account.{name}"), rules);
    }
    let rejected = match policy.when_rejected {
        WhenRejected::Verify => "verify",
        WhenRejected::Skip => "skip",
    };
    let new_country = match policy.new_country {
        NewCountry::Ignore => "ignore",
        NewCountry::Log => "log",
        NewCountry::Reject => "reject",
    };
    let unknown = if policy.reject_unknown_country { "reject" } else { "allow" };
    for (key, value) in [
        ("deny_networks", listed(&policy.deny_networks)),
        ("deny_asns", listed(&policy.deny_asns)),
        ("unknown_country", unknown.to_owned()),
        ("new_country", new_country.to_owned()),
        ("country_memory", span(policy.country_memory)),
        ("trusted_networks", listed(&policy.trusted_networks)),
        ("nat64_prefixes", listed(policy.nat64.prefixes())),
        ("when_rejected", rejected.to_owned()),
        ("failure_time", time(config.failure_time)),
        ("log_only", policy.log_only.to_string()),
    ] {
        say(&format!("policy.{key}={value}"));
    }
    print_limits(&policy.limits);
}

fn print_limits(limits: &Limits) {
    if limits.list.is_empty() {
        return;
    }
    // The nonce is secret.
    let nonce = if limits.hash_nonce.expose().is_empty() { "" } else { "given" };
    for (key, value) in [
        ("ipv4_prefix", limits.ipv4_prefix.to_string()),
        ("ipv6_prefix", limits.ipv6_prefix.to_string()),
        ("known_good", span(limits.known_good)),
        ("hash_nonce", nonce.to_owned()),
    ] {
        say(&format!("policy.{key}={value}"));
    }
    for limit in &limits.list {
        let action = match limit.action {
            Action::Reject => String::from("reject"),
            Action::Delay(time) => format!("delay {}", format_duration(time)),
        };
        let within = span(limit.within);
        let (name, per, count, max) = (&limit.name, limit.per, limit.count, limit.max);
        say(&format!("policy.limit.{name}={max} {count} per {per} within {within}: {action}"));
    }
}

pub(super) fn print(config: &Config) {
    let time = |time| format_duration(time).to_string();
    let files =
        |paths: &[PathBuf]| listed(&paths.iter().map(|path| path.display()).collect::<Vec<_>>());
    let passwords = &config.accounts.passwords;
    // It may be the stored password of a real account.
    let dummy_hash = if config.accounts.dummy_hash.is_some() { "given" } else { "learnt" };
    let delivery = match config.log.delivery {
        Delivery::Direct => "direct",
        Delivery::Journal => "journal",
    };
    let durability = match config.durability {
        Durability::Process => "process",
        Durability::Disk => "disk",
    };
    for (key, value) in [
        ("config", config.path.display().to_string()),
        ("database.connect_timeout", time(config.timeouts.connect)),
        ("database.query_timeout", time(config.timeouts.query)),
        ("database.attempt_timeout", time(config.timeouts.attempt)),
        ("accounts.url", config.accounts.database.to_string()),
        ("accounts.query", config.accounts.query.clone()),
        ("accounts.list", config.accounts.list.clone().unwrap_or_default()),
        ("accounts.default_scheme", passwords.default_scheme.clone()),
        ("accounts.allow_weak_schemes", passwords.allow_weak_schemes.to_string()),
        ("accounts.max_bcrypt_cost", passwords.max_bcrypt_cost.to_string()),
        ("accounts.max_rounds", passwords.max_rounds.to_string()),
        ("accounts.max_argon2_memory", passwords.max_argon2_memory.to_string()),
        ("accounts.max_parallel_hashes", max_parallel_hashes(config).to_string()),
        ("accounts.scram_iterations", passwords.scram_iterations.to_string()),
        ("accounts.dummy_hash", dummy_hash.to_owned()),
        ("accounts.serve_stale", config.accounts.serve_stale.map(span).unwrap_or_default()),
        ("accounts.cache", config.accounts.cache.map(time).unwrap_or_default()),
        (
            "accounts.remember_verified",
            config.accounts.remember_verified.map(time).unwrap_or_default(),
        ),
        ("accounts.default_domain", config.accounts.default_domain.clone()),
        ("geoip.database", files(&config.geoip)),
        ("geoip.asn_database", files(&config.asn_database)),
        ("log.url", config.log.database.to_string()),
        ("log.insert", config.log.insert.clone()),
        ("log.protocol", config.log.protocol.clone()),
        ("log.delivery", delivery.to_owned()),
        ("state.directory", config.state_directory.display().to_string()),
        ("state.durability", durability.to_owned()),
    ] {
        say(&format!("{key}={value}"));
    }
    print_policy(config);
}
