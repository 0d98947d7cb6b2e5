//! Fills the tables of a site.

use std::time::Instant;

use crate::common::Base;
use crate::common::Site;
use crate::place;
use crate::place::COSTS;

/// The number of accounts, of rows in the log, and of live entries in the limits' counters.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) accounts: u64,
    rows: u64,
    entries: u64,
}

pub(crate) const SMALL: Size = Size { accounts: 1_000, rows: 1_000, entries: 1_000 };
pub(crate) const LARGE: Size = Size { accounts: 1_000_000, rows: 10_000_000, entries: 1_000_000 };
/// Rows in one transaction.
const STEP: u64 = 1_000_000;

impl Size {
    pub(crate) fn words(self) -> String {
        format!("{} accounts, {} rows, {} counters", self.accounts, self.rows, self.entries)
    }
}

/// The name of an account, by its number from 1.
pub(crate) fn name(number: u64) -> String {
    format!("u{number}@example.com")
}

/// Fills the tables, and prints how long it takes. Each account has one live failure, as long as
/// there are entries.
pub(crate) fn fill(site: &Site, size: Size) {
    let start = Instant::now();
    let stored = place::stored(site, COSTS[0].1);
    let insert = |into: &str, columns: &str, rows: u64| {
        for from in (0..rows).step_by(usize::try_from(STEP).unwrap()) {
            let numbers = numbers(&site.base, from + 1, rows.min(from + STEP));
            site.sql(&format!("INSERT INTO {into} SELECT {columns} FROM {numbers}"));
        }
    };
    let name = "CONCAT('u', seq, '@example.com')";
    insert("account (username, password)", &format!("{name}, '{stored}'"), size.accounts);
    insert(
        "connection_log (protocol, username, remote_ip, country, auth_ok, policy_reject)",
        &format!("'SMTP', {name}, '192.0.2.7', 'GB', 1, 0"),
        size.rows,
    );
    insert(
        "authpolicy_count",
        &format!("'guessing', {name}, '', seq, '', 4000000000000 + seq"),
        size.entries,
    );
    assert_eq!(site.count("SELECT COUNT(*) FROM connection_log") as u64, size.rows);
    eprintln!("scale: {} in {:.0} s", size.words(), start.elapsed().as_secs_f64());
}

/// A table of the numbers from `first` to `last`, in its column `seq`.
fn numbers(base: &Base, first: u64, last: u64) -> String {
    match base {
        Base::MariaDb(..) => format!("seq_{first}_to_{last}"),
        Base::Sqlite => format!(
            "(WITH RECURSIVE n (seq) AS (SELECT {first} UNION ALL \
             SELECT seq + 1 FROM n WHERE seq < {last}) SELECT seq FROM n)"
        ),
    }
}
