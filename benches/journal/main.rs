//! What it costs an attempt to have its row recorded: in the journal, where `log.delivery` says so or
//! the table is away, and in the table itself.
//!
//! `cargo bench --bench journal` records each row in a process of its own, as Exim's user, and times
//! that one call, opening included. The ways take turns, one process at a time and then many.
//! Afterwards each row must be in its table. Needs what the tests need.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "test code that reports"
)]

#[path = "../../tests/common/mod.rs"]
mod common;
#[path = "../auth/quantile.rs"]
mod quantile;

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Instant;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use authpolicy::config::Config;
use authpolicy::row::delivery;
use authpolicy::row::journal::Record;
use authpolicy::store::Deadline;
use authpolicy::store::Stores;
use authpolicy::store::Value;
use authpolicy::verdict::maillog::MailLog;
use common::Base;
use common::Site;
use common::exim::users;
use quantile::quantile;

/// How many rows each way is given, one process at a time and then many; and how many at a time.
const ALONE: usize = 400;
const AMONG: usize = 1000;
const MANY: usize = 50;
/// Rows before, to fill every cache.
const WARM_UP: usize = 10;
/// What the process that is timed is told before the name of its configuration.
const CHILD: &str = "record";
/// What an append may cost, in ms.
const BUDGET: f64 = 0.1;

const LATER: &str = "[log]\ndelivery = \"journal\"\n";

/// A way to record a row.
struct Way {
    name: &'static str,
    site: Site,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, task, path] = &*arguments
        && task == CHILD
    {
        return println!("{}", record(Path::new(path)));
    }
    if !arguments.iter().any(|argument| argument == "--bench") {
        return println!("measures only under `cargo bench`");
    }
    let ways = [
        way("journal", Base::Sqlite, LATER),
        way("journal, durability = \"disk\"", Base::Sqlite, LATER).on_disk(),
        way("table, SQLite", Base::Sqlite, ""),
        way("table, MariaDB", Base::mariadb(), ""),
    ];
    for _ in 0..WARM_UP {
        ways.iter().for_each(|way| drop(way.time(1)));
    }
    let mut alone = [const { Vec::new() }; 4];
    for _ in 0..ALONE {
        ways.iter().zip(&mut alone).for_each(|(way, times)| times.extend(way.time(1)));
    }
    let mut among = [const { Vec::new() }; 4];
    for _ in 0..AMONG / MANY {
        ways.iter().zip(&mut among).for_each(|(way, times)| times.extend(way.time(MANY)));
    }
    println!("One row in ms: median (p99)\n\n{:32}{:>20}{MANY:>15} at a time", "", "1 at a time");
    for ((way, alone), among) in ways.iter().zip(&mut alone).zip(&mut among) {
        let cell =
            |times: &mut [f64]| format!("{:.3} ({:.3})", quantile(times, 50), quantile(times, 99));
        println!("{:32}{:>20}{:>25}", way.name, cell(alone), cell(among));
        way.assert_recorded(WARM_UP + ALONE + AMONG);
    }
    let median = quantile(&mut alone[0], 50);
    let verdict = if median <= BUDGET { "pass" } else { "MISS" };
    println!("\n{verdict}  journal: {median:.3} ms, at most {BUDGET}");
}

/// Records a row by this configuration; answers how long that took, in nanoseconds.
fn record(path: &Path) -> u128 {
    let config = Config::parse(path, &fs::read_to_string(path).unwrap()).unwrap();
    let time = SystemTime::now();
    let seconds = time.duration_since(UNIX_EPOCH).unwrap().as_secs();
    let row = vec![
        ("time", Value::Int(seconds as i64)),
        ("protocol", Value::text("SMTP")),
        ("username", Value::text("somebody@example.com")),
        ("remote_ip", Value::text("192.0.2.1")),
        ("country", Value::text("GB")),
        ("auth_ok", Value::flag(Some(true))),
        ("policy_reject", Value::flag(Some(false))),
        ("mechanism", Value::text("PLAIN")),
        ("tls", Value::text("TLS1.3:ECDHE_RSA_AES_256_GCM_SHA384:256")),
    ];
    let start = Instant::now();
    let record = Record::new(time, row).unwrap();
    let mut stores = Stores::new(&config, Deadline::new(start, config.timeouts));
    let log = MailLog::new(&|line| panic!("{line}"));
    delivery::record(&config, &mut stores, &record, log).unwrap();
    stores.close();
    start.elapsed().as_nanos()
}

fn way(name: &'static str, base: Base, rest: &str) -> Way {
    let site = Site::new(base, &format!("[policy]\nallow_countries = [\"GB\"]\n{rest}"));
    // Where Exim's user may read it.
    fs::copy(std::env::current_exe().unwrap(), site.path("bench")).unwrap();
    Way { name, site }
}

impl Way {
    fn on_disk(self) -> Self {
        let config = self.site.read("authpolicy.toml");
        let on_disk = config.replace("[state]\n", "[state]\ndurability = \"disk\"\n");
        assert_ne!(config, on_disk);
        self.site.write_config(&on_disk);
        self
    }

    /// So many processes at once; how long each took, in ms.
    fn time(&self, processes: usize) -> Vec<f64> {
        let (uid, gid) = users::exim();
        let start = |_| {
            let mut command = Command::new(self.site.path("bench"));
            command.arg(CHILD).arg(self.site.path("authpolicy.toml"));
            command.uid(uid.parse().unwrap()).gid(gid.parse().unwrap());
            command.stdout(std::process::Stdio::piped()).spawn().unwrap()
        };
        let children: Vec<_> = (0..processes).map(start).collect();
        let time = |child: std::process::Child| {
            let output = child.wait_with_output().unwrap();
            let nanoseconds = String::from_utf8(output.stdout).unwrap();
            nanoseconds.trim().parse::<f64>().expect(self.name) / 1e6
        };
        children.into_iter().map(time).collect()
    }

    fn assert_recorded(&self, rows: usize) {
        let left = || common::load::deliver(&self.site);
        assert_eq!((left(), self.site.rows().len()), (0, rows), "{}", self.name);
    }
}
