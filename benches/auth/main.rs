//! Measures AUTH PLAIN over loopback through real Exims, one AUTH in each connection: the plugin in
//! all its settings beside other solutions.
//!
//! `cargo bench --bench auth` measures a fixed set of ways in turn, so that other work of the
//! machine affects all of them alike, and prints tables in Markdown; docs/performance.md has
//! results. It needs root and the packages that `make bench` installs.
//!
//! - *Beyond the hash* is a way's median less the median of libcrypt's hash in the same rounds.
//! - *In D* and *in P* is the ratio of that to the Dovecot way's and to PHP's.
//! - Values in brackets are the lowest and highest of five blocks of rounds, or of the turns of the
//!   load.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "test code that reports"
)]

#[path = "../../tests/common/mod.rs"]
mod common;
mod exim_config;
mod guess;
mod latency;
#[allow(dead_code, reason = "only the measurement of hashes makes some")]
#[path = "../hash/libcrypt.rs"]
mod libcrypt;
mod load;
mod memory;
mod others;
mod place;
mod plugin;
mod quantile;
mod table;
mod times;
mod way;
mod ways;

use memory::Memory;
use place::COSTS;
use table::Results;
use way::Id;
use way::Kind;
use ways::Ways;

/// The number of measured rounds, for each bcrypt cost.
const ROUNDS: [usize; 2] = [400, 50];

fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("measures only under `cargo bench`");
        return;
    }
    let plugin = plugin::optimized();
    let size = std::fs::metadata(&plugin).unwrap().len();
    println!("plugin: {} ({} kB)", plugin.display(), size / 1000);
    let cheap = COSTS[0].1;
    eprintln!("auth: starting all servers");
    let ways = Ways::start(&plugin);
    check_once(&ways, cheap);
    eprintln!("auth: one AUTH at a time");
    let site = &ways.all[ways.index(Id::Yes)].site;
    let times = [0, 1].map(|cost| latency::measure(&ways.all, site, COSTS[cost].1, ROUNDS[cost]));
    eprintln!("auth: memory");
    let memory: Vec<Memory> = ways.all.iter().map(|way| memory::of(way, cheap)).collect();
    eprintln!("auth: many clients");
    let rates = load::measure(&ways.all, cheap);
    let (delivered, seconds) = ways.check();
    eprintln!("auth: guesses");
    let guesses = [Kind::Sqlite, Kind::MariaDb].map(|kind| guess::measure(&plugin, kind));
    let results = Results { ways: &ways, times, memory, rates, guesses };
    results.print_ways();
    println!(
        "\n{delivered} rows waited in journals and were delivered in {seconds:.1} s: {:.3} ms each",
        seconds * 1000.0 / (delivered.max(1) as f64)
    );
    results.print_targets();
}

/// Makes one attempt in each way, and checks that the way has done its work.
fn check_once(ways: &Ways, account: &str) {
    for way in &ways.all {
        let reply = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            drop(way.authenticate(account));
        }));
        assert!(reply.is_ok(), "{:?}: {}", way.id, ways.others.messages());
    }
    ways.others.assert_policy_calls(1);
}
