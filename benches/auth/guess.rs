//! A guess beyond a limit, beside one that is checked.

use std::path::Path;
use std::rc::Rc;
use std::time::Instant;

use crate::common::Base;
use crate::common::Client;
use crate::exim_config;
use crate::place;
use crate::place::LIMITS;
use crate::times::median;
use crate::way::Id;
use crate::way::Kind;
use crate::way::Setting;
use crate::way::Way;

/// The account whose limit is reached. Its hash has cost 10.
const LIMITED: &str = place::COSTS[1].1;
/// Another account with the same stored password.
const FREE: &str = "free@example.com";
/// The limit of distinct wrong passwords for one account.
const MAX: usize = 10;
const ROUNDS: usize = 40;

/// The medians of a guess beyond the limit, and of a checked one, in milliseconds.
pub(crate) fn measure(plugin: &Path, kind: Kind) -> [f64; 2] {
    let base = match kind {
        Kind::Sqlite => Base::Sqlite,
        Kind::MariaDb => Base::mariadb(),
    };
    // Otherwise each refusal would wait until this time is over.
    let site = place::site(base, plugin, &format!("failure_time = \"0s\"\n{LIMITS}"));
    site.sql(&format!(
        "INSERT INTO account (username, password) \
         SELECT '{FREE}', password FROM account WHERE username = '{LIMITED}'"
    ));
    let site = Rc::new(site);
    let id = Id::Plugin(kind, Setting::Limits);
    let way = Way::start(
        id,
        &site,
        &exim_config::preload(&site),
        &exim_config::plaintext(&exim_config::check(&site)),
    );
    drop(way.authenticate(FREE));
    for number in 0..MAX {
        guess(&way, LIMITED, &format!("wrong {number}"));
    }
    let mut times = [const { Vec::new() }; 2];
    for number in 0..ROUNDS {
        times[0].push(guess(&way, LIMITED, &format!("another {number}")));
        // A repeated password counts once. So this account stays below its limit.
        times[1].push(guess(&way, FREE, "wrong"));
    }
    let rows = site.rows();
    let flags = |account: &str, flags: [Option<bool>; 2]| {
        let of = |row: &&crate::common::Row| {
            row.username == account && [row.auth_ok, row.policy_reject] == flags
        };
        rows.iter().filter(of).count()
    };
    assert_eq!(flags(LIMITED, [None, Some(true)]), ROUNDS, "refused before the hash");
    assert_eq!(flags(LIMITED, [Some(false), Some(false)]), MAX, "counted");
    assert_eq!(flags(FREE, [Some(false), Some(false)]), ROUNDS, "checked");
    times.map(|times| median(&times))
}

/// Makes a guess, which must be refused; returns the time from AUTH to its reply in milliseconds.
fn guess(way: &Way, account: &str, password: &str) -> f64 {
    let mut client = Client::connect(way.exim.port);
    let start = Instant::now();
    let reply = client.plain(account.as_bytes(), password.as_bytes());
    let taken = start.elapsed();
    assert!(reply.starts_with("535"), "{reply}\n{}", way.log());
    taken.as_secs_f64() * 1000.0
}
