//! Sites with limits, and attempts at their accounts.

use std::sync::Barrier;
use std::thread;

use super::Base;
use super::Client;
use super::Exim;
use super::Site;
use super::site::GB;

pub const YES: Option<bool> = Some(true);
pub const NO: Option<bool> = Some(false);
/// The flags of an attempt that a limit refused before its password was checked.
pub const LIMITED: (Option<bool>, Option<bool>) = (None, YES);

/// A limit within ten minutes.
pub fn limit(name: &str, per: &str, count: &str, max: u32) -> String {
    format!(
        "[[policy.limit]]\nname = \"{name}\"\nper = \"{per}\"\ncount = \"{count}\"\nmax = {max}\n\
         within = \"10m\"\n"
    )
}

pub fn site(base: Base, policy: &str, limits: &[String]) -> Site {
    let head = format!("[policy]\nfailure_time = \"0s\"\nhash_nonce = \"nonce\"\n{policy}\n");
    let site = Site::new(base, &(head + &limits.concat()));
    site.account("u@example.com", "secret");
    site.account("v@example.com", "secret");
    site
}

pub fn attempt(exim: &Exim, remote: &str, authcid: &str, password: &str) -> String {
    Client::connect_from(exim.port, remote).plain(authcid.as_bytes(), password.as_bytes())
}

/// The flags of the last row.
pub fn flags(site: &Site) -> (Option<bool>, Option<bool>) {
    let rows = site.rows();
    let row = rows.last().unwrap();
    (row.auth_ok, row.policy_reject)
}

/// Checks that the line of the last attempt begins with this.
pub fn expect_line(site: &Site, want: &str) {
    let lines = site.lines();
    let line = lines.last().unwrap();
    assert!(line.starts_with(&format!("attempt {want} ")), "{line}");
}

/// Switches known good addresses off.
pub const NONE_KNOWN_GOOD: &str = "known_good = \"0s\"";
/// Counts all entries except locks. Reservations are counted, too.
pub const ENTRIES: &str = "SELECT COUNT(*) FROM authpolicy_count WHERE value <> ''";
pub const RESERVATIONS: &str =
    "SELECT COUNT(*) FROM authpolicy_count WHERE value <> '' AND attempt <> ''";

/// Gives all accounts a hash that takes about 20 ms, so that simultaneous attempts overlap.
pub fn make_hashes_slow(site: &Site) {
    let hash = site.tool(&["hash", "--scheme", "BLF-CRYPT", "--cost", "8"], "secret");
    site.sql(&format!("UPDATE account SET password = '{}'", hash.trim()));
}

/// Sets `attempt_timeout`, with a query time-out that is longer.
pub fn wait_at_most(site: &Site, time: &str) {
    let longer = format!("[database]\nquery_timeout = \"60s\"\nattempt_timeout = \"{time}\"");
    site.write_config(&site.read("authpolicy.toml").replace("[database]", &longer));
}

/// Makes attempts from one address at the same time; returns their replies. `words` returns the
/// name and the password of each.
pub fn attempt_together(
    exim: &Exim,
    clients: usize,
    words: impl Fn(usize) -> (String, String) + Sync,
) -> Vec<String> {
    let (port, barrier) = (exim.port, Barrier::new(clients));
    thread::scope(|scope| {
        let attempt = |number: usize| {
            let (barrier, words) = (&barrier, &words);
            scope.spawn(move || {
                let mut client = Client::connect_from(port, GB);
                let (name, password) = words(number);
                barrier.wait();
                client.plain(name.as_bytes(), password.as_bytes())
            })
        };
        let attempts: Vec<_> = (0..clients).map(attempt).collect();
        attempts.into_iter().map(|attempt| attempt.join().unwrap()).collect()
    })
}

/// Checks the flags of the last `count` rows.
pub fn expect_rows(site: &Site, count: usize, want: (Option<bool>, Option<bool>)) {
    let rows = site.rows();
    let latest = rows.iter().rev().take(count);
    let found: Vec<_> = latest.map(|row| (row.auth_ok, row.policy_reject)).collect();
    assert_eq!(found, vec![want; count], "{:?}", site.lines());
}
