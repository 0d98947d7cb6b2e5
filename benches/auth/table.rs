//! The printed tables, in Markdown.

use crate::load::Rates;
use crate::memory::Memory;
use crate::quantile::quantile;
use crate::times::Ratio;
use crate::times::Times;
use crate::times::median;
use crate::way::Id;
use crate::way::Kind;
use crate::way::Setting;
use crate::ways::Ways;

/// Everything that was measured.
pub(crate) struct Results<'a> {
    pub(crate) ways: &'a Ways,
    /// At both bcrypt costs.
    pub(crate) times: [Times; 2],
    pub(crate) memory: Vec<Memory>,
    pub(crate) rates: Rates,
    /// On SQLite and on MariaDB: a guess beyond a limit, and a checked one.
    pub(crate) guesses: [[f64; 2]; 2],
}

/// A comparison: the value must not be above the target, or not below it.
enum Target {
    AtMost(f64),
    AtLeast(f64),
    Printed,
}

const KINDS: [(Kind, &str); 2] = [(Kind::MariaDb, "MariaDB"), (Kind::Sqlite, "SQLite")];

impl Results<'_> {
    fn index(&self, id: Id) -> usize {
        self.ways.index(id)
    }

    fn plugin(&self, kind: Kind, setting: Setting) -> usize {
        self.index(Id::Plugin(kind, setting))
    }

    fn dovecot(&self) -> usize {
        self.index(Id::Dovecot)
    }

    fn php(&self) -> usize {
        self.index(Id::Php)
    }

    /// Private memory above that of `server_condition = yes`, in kB.
    fn memory_above(&self, way: usize) -> f64 {
        let yes = self.index(Id::Yes);
        self.memory[way].dirty - self.memory[yes].dirty
    }

    /// One row for each way.
    pub(crate) fn print_ways(&self) {
        let [cheap, dear] = &self.times;
        println!(
            "\nms: medians; libcrypt's hash {:.2} (cost 4) and {:.2} (cost 10); \
             `Private_Dirty` in kB above `server_condition = yes`\n",
            median(&cheap.hash),
            median(&dear.hash)
        );
        println!(
            "| way | cost 4 | p95 | beyond the hash | in D | in P | cost 10 | 32 clients | in D \
             | memory | faults |\n|---|---|---|---|---|---|---|---|---|---|---|"
        );
        for (at, way) in self.ways.all.iter().enumerate() {
            let beyond = if way.id.hashes() {
                [
                    format!("{:.2}", cheap.beyond(at)),
                    format!("{:.2}", cheap.beyond_ratio(at, self.dovecot()).all),
                    format!("{:.2}", cheap.beyond_ratio(at, self.php()).all),
                ]
                .join(" | ")
            } else {
                "– | – | –".into()
            };
            println!(
                "| {} | {:.2} | {:.2} | {beyond} | {:.2} | {:.0}/s | {:.2} | {:.0} | {:.0} |",
                way.id.name(),
                median(&cheap.ways[at]),
                quantile(&mut cheap.ways[at].clone(), 95),
                median(&dear.ways[at]),
                self.rates.median(at),
                self.rates.ratio(at, self.dovecot()).all,
                self.memory_above(at),
                self.memory[at].faults,
            );
        }
    }

    /// One row for each target. A miss is not an error, because machines differ.
    pub(crate) fn print_targets(&self) {
        println!("\n| what | target | measured (lowest–highest) | met |\n|---|---|---|---|");
        self.print_beyond();
        self.print_repeat_logins();
        self.print_load();
        self.print_limits();
        for (kind, _) in KINDS {
            for setting in [Setting::Readme, Setting::Journal, Setting::Cache] {
                let way = self.plugin(kind, setting);
                let name = self.ways.all[way].id.name();
                let what = format!("{name}: `Private_Dirty` above Exim's own");
                row(&what, "printed", &format!("{:.0} kB", self.memory_above(way)), "");
            }
        }
    }

    fn print_beyond(&self) {
        let others = [("D", self.dovecot()), ("P", self.php())];
        for (kind, name, setting, most, other) in [
            (Kind::MariaDb, "MariaDB", Setting::Readme, 0.75, 1),
            (Kind::Sqlite, "SQLite", Setting::Readme, 0.65, 0),
            (Kind::MariaDb, "MariaDB", Setting::Cache, 0.25, 0),
            (Kind::Sqlite, "SQLite", Setting::Cache, 0.25, 0),
        ] {
            let what =
                if setting == Setting::Cache { "journal and cache, a hit" } else { "as in README" };
            let what = format!("{name}, {what}, beyond the hash");
            let (unit, other) = others[other];
            let ratio = self.times[0].beyond_ratio(self.plugin(kind, setting), other);
            compare(&what, &Target::AtMost(most), unit, ratio);
        }
    }

    fn print_repeat_logins(&self) {
        for (kind, name) in KINDS {
            let way = self.plugin(kind, Setting::Verified);
            let ratio = self.times[1].whole_ratio(way, self.dovecot());
            let what =
                format!("{name}, repeat login with `remember_verified`, cost 10, whole AUTH");
            compare(&what, &Target::AtMost(0.01), "of the Dovecot way's", ratio);
        }
    }

    fn print_load(&self) {
        for (kind, name) in KINDS {
            for (setting, what, least) in [
                (Setting::Journal, "journal", None),
                (Setting::Cache, "journal and cache", Some(1.15)),
                (Setting::Verified, "journal, cache and verified passwords", Some(1.7)),
            ] {
                let ratio = self.rates.ratio(self.plugin(kind, setting), self.dovecot());
                let what = format!("{name}, 32 clients, {what}");
                let target = least.map_or(Target::Printed, Target::AtLeast);
                compare(&what, &target, "× the Dovecot way's rate", ratio);
            }
        }
    }

    fn print_limits(&self) {
        for (kind, name) in KINDS {
            let (limits, without) =
                (self.plugin(kind, Setting::Limits), self.plugin(kind, Setting::Readme));
            let difference = self.times[0].difference(limits, without);
            let target = if kind == Kind::MariaDb { Target::AtMost(1.1) } else { Target::Printed };
            let what = format!("{name}, two limits, more than without");
            compare(&what, &target, "ms", difference);
        }
        let guesses = [self.guesses[1], self.guesses[0]];
        for ((_, name), [beyond, checked]) in KINDS.into_iter().zip(guesses) {
            let measured = format!(
                "{beyond:.2} ms, 1/{:.0} of a checked one ({checked:.2})",
                checked / beyond
            );
            row(&format!("{name}, a guess beyond a limit, cost 10"), "printed", &measured, "");
        }
    }
}

/// Prints a comparison.
fn compare(what: &str, target: &Target, unit: &str, ratio: Ratio) {
    let (aim, met): (_, fn(f64, f64) -> bool) = match target {
        Target::AtMost(most) => (format!("≤ {most} {unit}"), |measured, most| measured <= most),
        Target::AtLeast(least) => {
            (format!("≥ {least} {unit}"), |measured, least| measured >= least)
        }
        Target::Printed => ("printed".into(), |_, _| true),
    };
    let Ratio { all, low, high } = ratio;
    let digits = if all < 0.1 { 4 } else { 2 };
    let verdict = match target {
        Target::Printed => "",
        Target::AtMost(aim) | Target::AtLeast(aim) if met(all, *aim) => "yes",
        Target::AtMost(_) | Target::AtLeast(_) => "no",
    };
    let measured = format!("{all:.digits$} ({low:.digits$}–{high:.digits$})");
    row(what, &aim, &measured, verdict);
}

pub(crate) fn row(what: &str, target: &str, measured: &str, verdict: &str) {
    println!("| {what} | {target} | {measured} | {verdict} |");
}
