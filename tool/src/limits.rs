//! `authpolicy limits`: shows the limits that have been reached, and clears counters.

use std::time::Duration;

use clap::ArgGroup;
use clap::Args;
use clap::Subcommand;

use authpolicy::account::Login;
use authpolicy::attempt::Remote;
use authpolicy::config::Config;
use authpolicy::error::Error;
use authpolicy::policy::Limit;
use authpolicy::policy::lists;
use authpolicy::store::Sql;
use authpolicy::store::Store;
use authpolicy::store::Value;
use authpolicy::tables::counters;
use authpolicy::tables::counters::Clock;
use authpolicy::tables::seen;

use super::Done;
use super::long_deadline;
use super::milliseconds_now;
use super::say;
use super::span;

#[derive(Subcommand)]
pub(super) enum LimitsCommand {
    /// Delete counted failures, so that an account or address can try again.
    Clear(Clear),
}

#[derive(Args)]
#[command(group(ArgGroup::new("subject").required(true).multiple(true).args(["account", "remote", "all"])))]
pub(super) struct Clear {
    /// Clear the counters of this account; its addresses are no longer known good.
    #[arg(long, value_name = "NAME")]
    account: Option<String>,
    /// Clear the counters of this address, or of the network that it is counted in; `local` for
    /// this machine. Counters per account stay.
    #[arg(long, value_name = "IP")]
    remote: Option<String>,
    /// Clear all counters; no address is known good any more.
    #[arg(long, conflicts_with_all = ["account", "remote"])]
    all: bool,
}

pub(super) fn run(config: &Config, command: Option<&LimitsCommand>) -> Done {
    let mut store = Store::open(&config.log.database, long_deadline(config))?;
    if config.policy.limits.list.is_empty() {
        eprintln!("authpolicy: the configuration has no [[policy.limit]]");
    }
    let done = match command {
        None => list(config, &mut store),
        Some(LimitsCommand::Clear(subject)) => clear(config, &mut store, subject),
    };
    done.map_err(|e| e.about_table("authpolicy_count"))
}

/// Prints the limits that are reached, each with its account or address; returns false if none is.
fn list(config: &Config, store: &mut Store) -> Done {
    let now = milliseconds_now();
    let mut found = false;
    for limit in &config.policy.limits.list {
        let sql = Sql::of(&[
            "SELECT account, remote, COUNT(DISTINCT value) AS n, MIN(expires) AS first \
             FROM authpolicy_count WHERE rule = :rule AND value <> '' AND expires > :now \
             AND expires < :latest AND ",
            counters::FAILED,
            " GROUP BY account, remote HAVING COUNT(DISTINCT value) >= :max ORDER BY account, remote",
        ]);
        let own = [("rule", Value::text(&limit.name)), ("max", Value::Int(limit.max.into()))];
        let clock = Clock { now, lease: counters::lease(config.timeouts.attempt) };
        let parameters: Vec<_> = own.into_iter().chain(counters::bounds(limit, clock)).collect();
        for row in store.query(sql, &parameters)? {
            found = true;
            let first: i64 = row.text("first").parse().unwrap_or(now);
            let left = u64::try_from(first.saturating_sub(now)).unwrap_or(0);
            say(&describe(limit, &row.text("account"), &row.text("remote"), &row.text("n"), left));
        }
    }
    if !found && !config.policy.limits.list.is_empty() {
        eprintln!("authpolicy: no limit has been reached");
    }
    Ok(found)
}

/// The time in whole seconds until an entry ends, from milliseconds. It is rounded up, so that the
/// entry ends no later than printed. Another host's clock may be ahead, so it is at most `within`.
fn time_until_below(left: u64, within: Duration) -> Duration {
    Duration::from_secs(left.div_ceil(1000)).min(within)
}

/// Describes a limit that has been reached. `left` is the time until the oldest entry ends, in
/// milliseconds.
fn describe(limit: &Limit, account: &str, remote: &str, count: &str, left: u64) -> String {
    let or_any = |text: &str| if text.is_empty() { "*".to_owned() } else { text.to_owned() };
    let left = time_until_below(left, limit.within);
    format!(
        "limit={} account={:?} remote={} {}={count} max={} within={:?} eases_in={:?}",
        limit.name,
        or_any(account),
        or_any(remote),
        limit.count,
        limit.max,
        span(limit.within),
        span(left),
    )
}

fn clear(config: &Config, store: &mut Store, subject: &Clear) -> Done {
    let account = subject
        .account
        .as_deref()
        .map(|name| counters::name(Login::new(name, &config.accounts.default_domain).key()));
    let remote = match subject.remote.as_deref() {
        None => None,
        Some("local") => Some(String::from("local")),
        // A network, as `limits` prints it.
        Some(net) if net.contains('/') => match lists::network(net) {
            Ok(net) => Some(config.policy.limits.network(net.addr())),
            Err(what) => return Err(Error::Call(format!("--remote: {what}"))),
        },
        Some(text) => match Remote::parse(text.as_bytes()) {
            Remote::Address(address) => {
                Some(config.policy.limits.remote(config.policy.nat64.read(address)))
            }
            Remote::Local | Remote::Unusable(_) => {
                return Err(Error::Call(format!("--remote: {text:?} is not an IP address")));
            }
        },
    };
    let cleared = counters::clear(store, account.as_deref(), remote.as_deref())?;
    match &account {
        Some(account) => {
            seen::forget(store, account, remote.as_deref())?;
        }
        None if subject.all => {
            store.execute("UPDATE authpolicy_seen SET fingerprint = ''", &[])?;
        }
        None => {}
    }
    say(&format!("cleared={cleared}"));
    Ok(cleared > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_rounded_up_and_at_most_within() {
        let within = Duration::from_secs(600);
        for (left, seconds) in [(1, 1), (1000, 1), (1001, 2), (599_001, 600), (601_000, 600)] {
            assert_eq!(time_until_below(left, within).as_secs(), seconds, "{left}");
        }
    }
}
