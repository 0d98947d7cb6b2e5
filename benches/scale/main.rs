//! Measures if an AUTH takes longer with large tables: a real Exim, names at random, and bcrypt
//! cost 4.
//!
//! `cargo bench --bench scale` fills two databases of each kind, a small one and a large one, and
//! makes attempts on all in turn within one loop. It prints a table in Markdown; docs/performance.md
//! has results. It needs what the tests need, some minutes, and 5 GB on disk.
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
#[path = "../auth/exim_config.rs"]
mod exim_config;
mod fill;
#[path = "../auth/place.rs"]
mod place;
#[path = "../auth/plugin.rs"]
mod plugin;
#[path = "../auth/quantile.rs"]
mod quantile;
#[allow(dead_code, reason = "this measurement needs fewer ratios than the other one")]
#[path = "../auth/times.rs"]
mod times;
#[allow(dead_code, reason = "this measurement has fewer ways than the other one")]
#[path = "../auth/way.rs"]
mod way;

use std::rc::Rc;
use std::sync::Arc;

use common::Base;
use common::MariaDb;
use common::Site;
use common::process::Random;
use fill::LARGE;
use fill::SMALL;
use fill::Size;
use place::COUNTRY;
use place::LIMITS;
use place::REMOTE;
use times::Ratio;
use times::Times;
use times::median;
use times::order;
use way::Id;
use way::Kind;
use way::Setting;
use way::Way;

const SETTINGS: [Setting; 2] = [Setting::Readme, Setting::Limits];
const SIZES: [Size; 2] = [SMALL, LARGE];
const ROUNDS: usize = 400;
const WARM_UP: usize = 20;
/// The highest ratio of the time with the large tables to that with the small ones.
const MOST: f64 = 1.1;

/// A way on tables of this size.
struct Sized {
    way: Way,
    size: Size,
}

fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("measures only under `cargo bench`");
        return;
    }
    let server = Arc::new(MariaDb::start());
    server.kill();
    // All tables fit into the pool, as on a server that is made for them.
    server.restart_with(
        &["--innodb-buffer-pool-size=3G", "--innodb-log-file-size=512M"].map(String::from),
    );
    let mut all = Vec::new();
    for kind in [Kind::MariaDb, Kind::Sqlite] {
        for size in SIZES {
            let base = match kind {
                Kind::Sqlite => Base::Sqlite,
                Kind::MariaDb => {
                    let name = server.database();
                    let url = server.url(&name);
                    Base::MariaDb(Arc::clone(&server), name, url)
                }
            };
            let site = Rc::new(place::site(base, &plugin::optimized(), ""));
            fill::fill(&site, size);
            all.extend(SETTINGS.map(|setting| Sized { way: start(&site, kind, setting), size }));
        }
    }
    eprintln!("scale: measuring");
    let times = measure(&all);
    for on_one_site in all.chunks(SETTINGS.len()) {
        assert_recorded(on_one_site);
    }
    report(&all, &times);
}

/// Starts an Exim with this setting, in a file of its own.
fn start(site: &Rc<Site>, kind: Kind, setting: Setting) -> Way {
    let file = format!("{setting:?}.toml");
    let config = site.read("authpolicy.toml");
    let more = if setting == Setting::Limits { LIMITS } else { "" };
    // `write_config` always writes authpolicy.toml.
    site.write_config(&format!("{config}{more}"));
    std::fs::rename(site.path("authpolicy.toml"), site.path(&file)).unwrap();
    site.write_config(&config);
    let own = |text: String| text.replace("authpolicy.toml", &file);
    let condition = own(exim_config::check(site));
    let preload = own(exim_config::preload(site));
    Way::start(Id::Plugin(kind, setting), site, &preload, &exim_config::plaintext(&condition))
}

/// Times each way in turn, with a random name in each attempt.
fn measure(all: &[Sized]) -> Times {
    let mut random = Random::new();
    let mut times = Times { hash: Vec::new(), ways: vec![Vec::new(); all.len()] };
    for round in 0..WARM_UP + ROUNDS {
        for at in order(round, all.len()) {
            let Sized { way, size } = &all[at];
            let name = fill::name(1 + random.below(size.accounts));
            let (_client, taken) = way.authenticate(&name);
            if round >= WARM_UP {
                times.ways[at].push(taken.as_secs_f64() * 1000.0);
            }
        }
        times.hash.extend((round >= WARM_UP).then_some(0.0));
    }
    times
}

/// Checks that each attempt on this site has a row that says "accepted".
fn assert_recorded(ways: &[Sized]) {
    let attempts: usize = ways.iter().map(|sized| sized.way.attempts()).sum();
    let rows = ways[0].way.site.count(&format!(
        "SELECT COUNT(*) FROM connection_log WHERE remote_ip = '{REMOTE}' \
         AND country = '{COUNTRY}' AND auth_ok = 1 AND policy_reject = 0"
    ));
    assert_eq!(rows as usize, attempts, "{:?}", ways[0].way.id);
}

fn report(all: &[Sized], times: &Times) {
    let [small, large] = SIZES;
    println!(
        "\nAUTH in ms, bcrypt cost 4, names at random: medians with {} and with {}\n",
        small.words(),
        large.words()
    );
    println!("| way | small | large | target | ratio (lowest–highest) | met |");
    println!("|---|---|---|---|---|---|");
    for one in 0..all.len() {
        let same = |other: &Sized| other.way.id == all[one].way.id && other.size == large;
        let Some(other) = all.iter().position(same).filter(|other| *other != one) else { continue };
        let Ratio { all: ratio, low, high } = times.whole_ratio(other, one);
        println!(
            "| {} | {:.2} | {:.2} | ≤ {MOST} | {ratio:.2} ({low:.2}–{high:.2}) | {} |",
            all[one].way.id.name(),
            median(&times.ways[one]),
            median(&times.ways[other]),
            if ratio <= MOST { "yes" } else { "no" }
        );
    }
}
