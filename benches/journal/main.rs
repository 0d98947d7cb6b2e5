//! Measures how long an attempt takes to record its row: in the journal, as with
//! `log.delivery = "journal"` or without a table, and in the table itself.
//!
//! `cargo bench --bench journal` records each row in its own process, as Exim's user, and times
//! that call, including the opening of files and connections. The variants take turns, first with
//! one process at a time, then with many. Afterwards each row must be in its table. It needs what
//! the tests need.
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

/// Rows of each variant that are recorded one at a time.
const ALONE: usize = 400;
/// Rows of each variant that are recorded by simultaneous processes, and the number of processes.
const TOGETHER: usize = 1000;
const PROCESSES: usize = 50;
/// Rows before the measured ones, to fill every cache.
const WARM_UP: usize = 10;
/// The first argument of the timed process; the second is its configuration.
const CHILD: &str = "record";
/// The target for an append, in ms.
const BUDGET: f64 = 0.1;

const LATER: &str = "[log]\ndelivery = \"journal\"\n";

/// A variant of recording a row.
struct Variant {
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
    let variants = [
        variant("journal", Base::Sqlite, LATER),
        variant("journal, durability = \"disk\"", Base::Sqlite, LATER).on_disk(),
        variant("table, SQLite", Base::Sqlite, ""),
        variant("table, MariaDB", Base::mariadb(), ""),
    ];
    for _ in 0..WARM_UP {
        variants.iter().for_each(|variant| drop(variant.time(1)));
    }
    let mut alone = [const { Vec::new() }; 4];
    for _ in 0..ALONE {
        variants.iter().zip(&mut alone).for_each(|(variant, times)| times.extend(variant.time(1)));
    }
    let mut together = [const { Vec::new() }; 4];
    for _ in 0..TOGETHER / PROCESSES {
        for (variant, times) in variants.iter().zip(&mut together) {
            times.extend(variant.time(PROCESSES));
        }
    }
    println!(
        "One row in ms: median (p99)\n\n{:32}{:>20}{PROCESSES:>15} at a time",
        "", "1 at a time"
    );
    for ((variant, alone), together) in variants.iter().zip(&mut alone).zip(&mut together) {
        let cell =
            |times: &mut [f64]| format!("{:.3} ({:.3})", quantile(times, 50), quantile(times, 99));
        println!("{:32}{:>20}{:>25}", variant.name, cell(alone), cell(together));
        variant.assert_recorded(WARM_UP + ALONE + TOGETHER);
    }
    let median = quantile(&mut alone[0], 50);
    let verdict = if median <= BUDGET { "pass" } else { "MISS" };
    println!("\n{verdict}  journal: {median:.3} ms, target: at most {BUDGET}");
}

/// Records a row with this configuration; returns the time taken, in nanoseconds.
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

fn variant(name: &'static str, base: Base, rest: &str) -> Variant {
    let site = Site::new(base, &format!("[policy]\nallow_countries = [\"GB\"]\n{rest}"));
    // Exim's user may have no access to cargo's target directory.
    fs::copy(std::env::current_exe().unwrap(), site.path("bench")).unwrap();
    Variant { name, site }
}

impl Variant {
    fn on_disk(self) -> Self {
        let config = self.site.read("authpolicy.toml");
        let on_disk = config.replace("[state]\n", "[state]\ndurability = \"disk\"\n");
        assert_ne!(config, on_disk);
        self.site.write_config(&on_disk);
        self
    }

    /// Records one row in each of several simultaneous processes; returns their times in ms.
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
        let set_aside = common::load::deliver(&self.site);
        assert_eq!((set_aside, self.site.rows().len()), (0, rows), "{}", self.name);
    }
}
