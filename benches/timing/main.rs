//! What the time of a refusal tells: AUTH PLAIN over loopback through a real Exim, for unknown
//! accounts, disabled ones and wrong passwords.
//!
//! `cargo bench --bench timing` asks each in turn within one loop, table by table, without
//! `failure_time` and with one, and prints medians side by side. docs/performance.md tells what
//! came of it. Needs root and exim4-daemon-heavy.
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

/// Without a floor, and with one above the dearest account; how many rounds each is measured.
const FLOORS: [(&str, usize); 2] = [("0s", 40), ("100ms", 9)];
/// How far apart medians may be above the floor, in milliseconds.
const MOST: f64 = 3.0;
/// Finds all rows of an account: their names have a digit before it.
const QUERY: [&str; 2] = ["WHERE username = :user", "WHERE substr(username, 2) = :user"];
/// Each asks with a wrong password, but for the last, whose only fault is that it is disabled.
const CASES: [&str; 4] = ["unknown", "disabled", "wrong password", "disabled, right password"];
const NOBODY: &str = "nobody@example.com";

/// Who asks with which password, and how long the answers took.
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
    for (floor, rounds) in FLOORS {
        println!("\nrefusals in ms with failure_time = {floor:?}: median (p5-p95)\n");
        print!("{:33}", "");
        CASES.iter().for_each(|case| print!("{case:>25}"));
        println!();
        let spreads: Vec<_> = runs
            .iter_mut()
            .map(|run| {
                let mut cases = run.measure(floor, rounds);
                report(run.table, &mut cases);
                (run.table, [3, 4].map(|columns| spread(&mut cases, columns)))
            })
            .collect();
        judge(floor, &spreads);
    }
}

impl<'a> Run<'a> {
    /// The table in a database, asked once for each account, so that the dummy is learnt.
    fn new(table: &'a Table) -> Self {
        let site = Site::new(Base::Sqlite, "[policy]\nallow_countries = [\"GB\"]\n");
        fs::copy(plugin::optimized(), site.path("authpolicy.so")).unwrap();
        let config = site.read("authpolicy.toml").replace(QUERY[0], QUERY[1]);
        site.write_config(&format!("{config}failure_time = \"{}\"\n", FLOORS[0].0));
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
            run.ask(&name(kind, true), PASSWORD, "235");
            run.ask(&name(kind, false), PASSWORD, "535");
        }
        run
    }

    /// From sending AUTH to its reply, in milliseconds.
    fn ask(&mut self, account: &str, password: &str, want: &str) -> f64 {
        let mut client = Client::connect_from(self.exim.port, GB);
        let start = Instant::now();
        let reply = client.plain(account.as_bytes(), password.as_bytes());
        let taken = start.elapsed();
        self.attempts += 1;
        assert!(reply.starts_with(want), "{account}: {reply}\n{}", self.site.main_log());
        taken.as_secs_f64() * 1000.0
    }

    /// The cases of each kind; which is asked first takes turns.
    fn measure(&mut self, floor: &str, rounds: usize) -> Vec<Case> {
        let config = self.site.read("authpolicy.toml");
        let (rest, _) = config.split_once("failure_time").unwrap();
        self.site.write_config(&format!("{rest}failure_time = \"{floor}\"\n"));
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
                let taken = self.ask(&case.account, case.password, "535");
                case.times.push(taken);
            }
        }
        assert_eq!(self.site.rows().len(), self.attempts, "{}: a row each", self.table.name);
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

/// How far apart the medians of a table are, in milliseconds, in so many of the columns.
fn spread(cases: &mut [Case], columns: usize) -> f64 {
    let mut medians: Vec<_> = cases
        .chunks_mut(CASES.len())
        .flat_map(|cases| cases.iter_mut().take(columns))
        .map(|case| quantile(&mut case.times, 50))
        .collect();
    quantile(&mut medians, 100) - quantile(&mut medians, 0)
}

/// Says how far apart the medians are. Without a floor, the last column is left out: it is seen by
/// those alone who have the password. A miss is a line, not a failure: machines differ.
fn judge(floor: &str, spreads: &[(&Table, [f64; 2])]) {
    let dummy_alone = floor == FLOORS[0].0;
    println!();
    for (table, [without_right, all]) in spreads {
        let spread = if dummy_alone { without_right } else { all };
        let note = if dummy_alone && !table.is_even {
            "differ, as expected:"
        } else if *spread <= MOST {
            "pass "
        } else {
            "MISS "
        };
        println!("{note} {}: medians {spread:.2} ms apart, at most {MOST}", table.name);
    }
}
