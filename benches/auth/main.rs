//! Measures AUTH PLAIN over loopback through real Exims, one AUTH in each connection.
//!
//! `cargo bench --bench auth` runs the variants in turn within one loop, so that other work of the
//! machine affects all of them alike. It prints medians side by side; docs/performance.md has
//! results. It needs what the tests need: root, exim4-daemon-heavy and mariadb-server.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::print_stdout,
    reason = "test code that reports"
)]

#[path = "../../tests/common/mod.rs"]
mod common;
mod memory;
mod plugin;
mod quantile;
mod variant;

use std::thread::sleep;
use std::time::Duration;
use std::time::Instant;

use common::Client;
use memory::Memory;
use quantile::quantile;
use variant::PASSWORD;
use variant::Variant;

/// The bcrypt costs, each with its account and the number of measured rounds.
const COSTS: [(u32, &str, usize); 2] =
    [(4, "cost4@example.com", 400), (10, "cost10@example.com", 60)];
/// Rounds before the measured ones, to fill every cache.
const WARM_UP: usize = 10;
/// Connections that are open while memory is read, so that the memory they share is not counted.
const OPEN: usize = 5;

/// Medians and 95th percentiles in milliseconds, by variant.
type Times = Vec<(f64, f64)>;

fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("measures only under `cargo bench`");
        return;
    }
    let plugin = plugin::optimized();
    let size = std::fs::metadata(&plugin).unwrap().len();
    println!("plugin: {} ({} kB)", plugin.display(), size / 1000);
    let variants = variant::all(&plugin);
    let times = COSTS.map(|(_, account, rounds)| measure(&variants, account, rounds));
    let memory: Vec<Memory> =
        variants.iter().map(|variant| memory_of(variant, COSTS[0].1)).collect();
    let attempts = COSTS.iter().map(|(.., rounds)| WARM_UP + rounds).sum::<usize>() + OPEN;
    for variant in &variants {
        variant.assert_recorded(attempts);
    }
    report(&variants, &times, &memory);
    compare_with_targets(&times, &memory);
}

/// Times each variant `rounds` times, in turn.
fn measure(variants: &[Variant], account: &str, rounds: usize) -> Times {
    let mut times = vec![Vec::with_capacity(rounds); variants.len()];
    for round in 0..WARM_UP + rounds {
        for (variant, times) in variants.iter().zip(&mut times) {
            let (_client, taken) = authenticate(variant, account);
            if round >= WARM_UP {
                times.push(taken.as_secs_f64() * 1000.0);
            }
        }
    }
    times.iter_mut().map(|times| (quantile(times, 50), quantile(times, 95))).collect()
}

/// Makes an attempt, which must be accepted; returns the client, and the time from AUTH to its
/// reply. Dropping the client does not wait for the reply to QUIT, which Exim 4.96 delays by 200
/// ms.
fn authenticate(variant: &Variant, account: &str) -> (Client, Duration) {
    let mut client = Client::connect(variant.exim.port);
    let start = Instant::now();
    let reply = client.plain(account.as_bytes(), PASSWORD.as_bytes());
    let taken = start.elapsed();
    assert!(reply.starts_with("235"), "{}: {reply}\n{}", variant.name, variant.site.main_log());
    (client, taken)
}

/// The memory of a connection's process after an AUTH: the median of several.
fn memory_of(variant: &Variant, account: &str) -> Memory {
    // The processes of earlier rounds end after Exim's delay.
    while !memory::children(variant.exim.pid()).is_empty() {
        sleep(Duration::from_millis(20));
    }
    let _clients: Vec<Client> = (0..OPEN).map(|_| authenticate(variant, account).0).collect();
    let children = memory::children(variant.exim.pid());
    assert_eq!(children.len(), OPEN, "{}", variant.name);
    let mut read: Vec<Memory> = children.into_iter().map(Memory::of).collect();
    read.sort_by_key(|memory| memory.peak);
    read[OPEN / 2]
}

fn report(variants: &[Variant], times: &[Times; 2], memory: &[Memory]) {
    println!("AUTH step in ms: median (p95); private memory in kB: now, peak\n");
    println!(
        "{:32}{:>18}{:>18}{:>9}{:>9}",
        "", "bcrypt cost 4", "bcrypt cost 10", "private", "peak"
    );
    for (i, variant) in variants.iter().enumerate() {
        let cell = |(median, p95): (f64, f64)| format!("{median:.2} ({p95:.2})");
        println!(
            "{:32}{:>18}{:>18}{:>9}{:>9}",
            variant.name,
            cell(times[0][i]),
            cell(times[1][i]),
            memory[i].private,
            memory[i].peak
        );
    }
}

/// Prints whether each figure meets its target. A miss is not an error, because machines differ.
fn compare_with_targets(times: &[Times; 2], memory: &[Memory]) {
    let [_yes, sqlite, mariadb, lookup] = [0, 1, 2, 3];
    let ratio = |variant: usize, cost: usize| times[cost][variant].0 / times[cost][lookup].0;
    let verdict = |good| if good { "pass" } else { "MISS" };
    println!();
    for (name, variant, most) in [("SQLite", sqlite, 0.7), ("MariaDB", mariadb, 1.2)] {
        let at_4 = ratio(variant, 0);
        println!(
            "{}  plugin on {name}: {at_4:.2} of Exim's own at cost 4, at most {most}; \
             {:.2} at cost 10",
            verdict(at_4 <= most),
            ratio(variant, 1)
        );
    }
    for (name, variant) in [("SQLite", sqlite), ("MariaDB", mariadb)] {
        let more = memory[variant].peak as i64 - memory[lookup].peak as i64;
        println!(
            "{}  plugin on {name}: {more} kB of private memory above Exim's own, at most 2048",
            verdict(more <= 2048)
        );
    }
}
