//! Measures whether the time of a refusal shows its reason: AUTH PLAIN over loopback through a real
//! Exim, for unknown accounts, disabled accounts and wrong passwords.
//!
//! `cargo bench --bench timing` makes the attempts in turn within one loop, for each table, without
//! `failure_time` and with one. It prints medians side by side; docs/performance.md has results. It
//! needs root and exim4-daemon-heavy.
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
#[path = "../auth/plugin.rs"]
mod plugin;
#[path = "../auth/quantile.rs"]
mod quantile;
mod table;

use std::fs;
use std::time::Instant;

use common::Base;
use common::Client;
use common::Exim;
use common::Site;
use common::site::GB;
use quantile::quantile;
use table::PASSWORD;
use table::Table;

/// The values of `failure_time`, with the number of rounds for each: none, and one that is longer
/// than the slowest check.
const FAILURE_TIMES: [(&str, usize); 2] = [("0s", 40), ("100ms", 9)];
/// The largest difference between medians with `failure_time`, in milliseconds.
const MAX_SPREAD: f64 = 3.0;
/// Replaces the account query by one that finds all rows of an account: in the table, names have a
/// digit before them.
const QUERY: [&str; 2] = ["WHERE username = :user", "WHERE substr(username, 2) = :user"];
/// The compared refusals. All have a wrong password, except the last one: its account is disabled.
const CASES: [&str; 4] = ["unknown", "disabled", "wrong password", "disabled, right password"];
const NOBODY: &str = "nobody@example.com";

/// The account and password of a case, and the times of its replies.
struct Case {
    account: String,
    password: &'static str,
    times: Vec<f64>,
}

/// One table with its Exim.
struct Run<'a> {
    table: &'a Table,
    site: Site,
    exim: Exim,
    attempts: usize,
}

fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("measures only under `cargo bench`");
        return;
    }
    let tables = table::all();
    let mut runs: Vec<_> = tables.iter().map(Run::new).collect();
    for (failure_time, rounds) in FAILURE_TIMES {
        println!("\nrefusals in ms with failure_time = {failure_time:?}: median (p5-p95)\n");
        print!("{:33}", "");
        CASES.iter().for_each(|case| print!("{case:>25}"));
        println!();
        let spreads: Vec<_> = runs
            .iter_mut()
            .map(|run| {
                let mut cases = run.measure(failure_time, rounds);
                report(run.table, &mut cases);
                (run.table, [3, 4].map(|columns| spread(&mut cases, columns)))
            })
            .collect();
        compare_with_targets(failure_time, &spreads);
    }
}

impl<'a> Run<'a> {
    /// Puts the table into a database, and makes an attempt for each account, so that the plugin
    /// has learnt its dummy.
    fn new(table: &'a Table) -> Self {
        let site = Site::new(Base::Sqlite, "[policy]\nallow_countries = [\"GB\"]\n");
        fs::copy(plugin::optimized(), site.path("authpolicy.so")).unwrap();
        let config = site.read("authpolicy.toml").replace(QUERY[0], QUERY[1]);
        site.write_config(&format!("{config}failure_time = \"{}\"\n", FAILURE_TIMES[0].0));
        for (kind, (_, stored)) in table.kinds.iter().enumerate() {
            for (row, stored) in stored.iter().enumerate() {
                for active in [0, 1] {
                    site.sql(&format!(
                        "INSERT INTO account (username, password, active) \
                         VALUES ('{row}{}', '{stored}', {active})",
                        name(kind, active == 1)
                    ));
                }
            }
        }
        let exim = site.exim();
        let mut run = Self { table, site, exim, attempts: 0 };
        for kind in 0..table.kinds.len() {
            run.attempt(&name(kind, true), PASSWORD, "235");
            run.attempt(&name(kind, false), PASSWORD, "535");
        }
        run
    }

    /// Makes an attempt; returns the time from AUTH to its reply, in milliseconds.
    fn attempt(&mut self, account: &str, password: &str, want: &str) -> f64 {
        let mut client = Client::connect_from(self.exim.port, GB);
        let start = Instant::now();
        let reply = client.plain(account.as_bytes(), password.as_bytes());
        let taken = start.elapsed();
        self.attempts += 1;
        assert!(reply.starts_with(want), "{account}: {reply}\n{}", self.site.main_log());
        taken.as_secs_f64() * 1000.0
    }

    /// Measures the cases of each kind. Each is first in turn.
    fn measure(&mut self, failure_time: &str, rounds: usize) -> Vec<Case> {
        let config = self.site.read("authpolicy.toml");
        let (rest, _) = config.split_once("failure_time").unwrap();
        self.site.write_config(&format!("{rest}failure_time = \"{failure_time}\"\n"));
        let case = |account, password| Case { account, password, times: Vec::new() };
        let mut cases: Vec<_> = (0..self.table.kinds.len())
            .flat_map(|kind| {
                [
                    case(String::from(NOBODY), "wrong"),
                    case(name(kind, false), "wrong"),
                    case(name(kind, true), "wrong"),
                    case(name(kind, false), PASSWORD),
                ]
            })
            .collect();
        for round in 0..rounds {
            for turn in 0..cases.len() {
                let at = (round + turn) % cases.len();
                let case = &mut cases[at];
                let taken = self.attempt(&case.account, case.password, "535");
                case.times.push(taken);
            }
        }
        let rows = self.site.rows().len();
        assert_eq!(rows, self.attempts, "{}: one row for each attempt", self.table.name);
        cases
    }
}

fn name(kind: usize, active: bool) -> String {
    format!("{}{kind}@example.com", if active { "active" } else { "disabled" })
}

fn report(table: &Table, cases: &mut [Case]) {
    for ((kind, _), cases) in table.kinds.iter().zip(cases.chunks_mut(CASES.len())) {
        let name = if kind.is_empty() {
            String::from(table.name)
        } else {
            format!("{}: {kind}", table.name)
        };
        print!("{name:33}");
        for case in cases {
            let [low, median, high] = [5, 50, 95].map(|percent| quantile(&mut case.times, percent));
            print!("{:>25}", format!("{median:.2} ({low:.2}-{high:.2})"));
        }
        println!();
    }
}

/// The largest difference between the medians of a table in its first `columns`, in milliseconds.
fn spread(cases: &mut [Case], columns: usize) -> f64 {
    let mut medians: Vec<_> = cases
        .chunks_mut(CASES.len())
        .flat_map(|cases| cases.iter_mut().take(columns))
        .map(|case| quantile(&mut case.times, 50))
        .collect();
    quantile(&mut medians, 100) - quantile(&mut medians, 0)
}

/// Prints the differences between medians, and whether they meet the target. Without `failure_time`
/// the last column is left out, because only clients with the right password see it. A miss is not
/// an error, because machines differ.
fn compare_with_targets(failure_time: &str, spreads: &[(&Table, [f64; 2])]) {
    let dummy_alone = failure_time == FAILURE_TIMES[0].0;
    println!();
    for (table, [without_right, all]) in spreads {
        let spread = if dummy_alone { without_right } else { all };
        let note = if dummy_alone && !table.is_even {
            "differ, as expected:"
        } else if *spread <= MAX_SPREAD {
            "pass "
        } else {
            "MISS "
        };
        println!(
            "{note} {}: medians differ by {spread:.2} ms, target: at most {MAX_SPREAD}",
            table.name
        );
    }
}
