//! Clients on a running Exim while something breaks, and a check of each of their attempts.

use std::collections::HashMap;
use std::collections::HashSet;
use std::fs;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::path::Path;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Client;
use super::Row;
use super::Site;
use super::site::GB;
use super::smtp::ACCEPTED;
use super::smtp::CANNOT_TELL;
use super::smtp::REFUSED;

/// The account query under load. Each attempt has its own name, which identifies its row.
pub const QUERY: &str = "WHERE username = 'u@example.com' AND :user LIKE 'u-%'";
const PASSWORD: &str = "secret";

/// One attempt.
pub struct Attempt {
    pub name: String,
    /// The number of the attempt, which it gets before it connects.
    pub number: usize,
    /// True if the password is right.
    pub is_right: bool,
    /// The reply; `None` if the connection ended before it.
    pub reply: Option<String>,
}

/// A site for load: every `u-…@example.com` has the password `secret`.
pub fn prepare(site: &Site) {
    site.account("u@example.com", PASSWORD);
    let config = site.read("authpolicy.toml");
    assert!(config.contains("WHERE username = :user"), "{config}");
    site.write_config(&config.replace("WHERE username = :user", QUERY));
}

/// Clients that make attempts until they are told to stop.
pub struct Load {
    /// The beginning of the attempts' names.
    prefix: String,
    stop: AtomicBool,
    number: AtomicUsize,
    done: Mutex<Vec<Attempt>>,
}

impl Load {
    /// Makes one attempt; every third one has a wrong password.
    fn attempt(&self, port: u16) -> Attempt {
        let number = self.number.fetch_add(1, Ordering::SeqCst);
        let (name, is_right) =
            (format!("{}-{number}@example.com", self.prefix), !number.is_multiple_of(3));
        let password = if is_right { PASSWORD } else { "wrong" };
        // The client panics if the connection is cut.
        let reply = catch_unwind(AssertUnwindSafe(|| {
            Client::connect_from(port, GB).plain(name.as_bytes(), password.as_bytes())
        }));
        if reply.is_err() {
            // Otherwise this loop would spin while nothing listens.
            std::thread::sleep(Duration::from_millis(20));
        }
        Attempt { name, number, is_right, reply: reply.ok().filter(|reply| !reply.is_empty()) }
    }

    fn attempts(&self) -> std::sync::MutexGuard<'_, Vec<Attempt>> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an attempt that another client has made.
    pub fn add(&self, attempt: Attempt) {
        self.attempts().push(attempt);
    }

    /// Waits until `more` further attempts have ended.
    pub fn wait(&self, more: usize) {
        let until = self.attempts().len() + more;
        for _ in 0..12_000 {
            if self.attempts().len() >= until {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("attempts do not end");
    }

    /// Waits until `count` attempts have ended that began after this call; returns the names of all
    /// such attempts. A fault that is present during the call was present for the whole of each.
    pub fn wait_for_new(&self, count: usize) -> HashSet<String> {
        let from = self.number.load(Ordering::SeqCst);
        for _ in 0..12_000 {
            let attempts = self.attempts();
            let new = attempts.iter().filter(|attempt| attempt.number >= from);
            let names: HashSet<_> = new.map(|attempt| attempt.name.clone()).collect();
            drop(attempts);
            if names.len() >= count {
                return names;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("attempts do not end");
    }

    /// Waits until a client gets this reply.
    pub fn wait_for(&self, reply: &str) {
        let from = self.attempts().len();
        for _ in 0..12_000 {
            let attempts = self.attempts();
            if attempts[from..].iter().any(|attempt| attempt.reply.as_deref() == Some(reply)) {
                return;
            }
            drop(attempts);
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("no client gets the reply {reply}");
    }
}

/// Runs clients, each of which makes one attempt after the other, while `work` runs.
pub fn run(port: u16, clients: usize, work: impl FnOnce(&Load)) -> Vec<Attempt> {
    run_as("u", port, clients, work)
}

/// Runs clients as `run` does. The attempts' names begin with `prefix`.
pub fn run_as(prefix: &str, port: u16, clients: usize, work: impl FnOnce(&Load)) -> Vec<Attempt> {
    let load = Load {
        prefix: prefix.to_owned(),
        stop: AtomicBool::new(false),
        number: AtomicUsize::new(0),
        done: Mutex::new(Vec::new()),
    };
    std::thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                while !load.stop.load(Ordering::Relaxed) {
                    let attempt = load.attempt(port);
                    load.attempts().push(attempt);
                }
            });
        }
        // After a panic in `work` the clients must stop, too, or the test would never end.
        let worked = catch_unwind(AssertUnwindSafe(|| work(&load)));
        load.stop.store(true, Ordering::Relaxed);
        if let Err(panic) = worked {
            std::panic::resume_unwind(panic);
        }
    });
    load.done.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// The numbers of replies by kind, and of rows in the table.
#[derive(Debug, Default)]
pub struct Tally {
    pub accepted: usize,
    pub refused: usize,
    pub cannot_tell: usize,
    pub unanswered: usize,
    pub rows: usize,
    /// The number of attempts with the reply 435 that have a log line, and no row.
    pub without_row: usize,
}

/// The deviations that a fault may cause.
#[derive(Default)]
pub struct Tolerances<'a> {
    /// Causes in log lines for which a row has no place, or its place is unknown. An attempt that
    /// got 435 for one of them has that line, and no row.
    pub causes_without_row: &'a [&'a str],
    /// True if the place for rows is restored while attempts run. An attempt that found it missing
    /// may then still write its row.
    pub place_returns: bool,
    /// True if rules may refuse attempts, with right passwords, too.
    pub rules_refuse: bool,
    /// True if lines of the journal may be torn. The attempts of torn lines got 435, or have their
    /// row elsewhere.
    pub torn_lines: bool,
    /// The highest number of attempts without a password, whose rows therefore have no name.
    pub empty_names: usize,
}

/// Checks attempts, and fails unless all of these hold:
///
/// - 235 is a reply to a right password, 535 to a wrong one.
/// - An attempt with a reply has exactly one row and one log line, one without a reply at most one
///   row.
/// - Exim's panic log is empty.
///
/// All waiting rows must have been delivered before.
pub fn assert_consistent(site: &Site, attempts: &[Attempt]) -> Tally {
    assert_consistent_within(&Tolerances::default(), site, attempts)
}

/// Checks attempts as `assert_consistent` does, with tolerances.
pub fn assert_consistent_within(
    tolerances: &Tolerances<'_>,
    site: &Site,
    attempts: &[Attempt],
) -> Tally {
    assert_eq!(site.panic_log(), "");
    check(tolerances, site.rows(), Some(&lines(site)), attempts)
}

/// Checks attempts as `assert_consistent` does, with the rows of another table, and without log lines.
pub fn assert_rows_consistent(found: Vec<Row>, attempts: &[Attempt]) -> Tally {
    check(&Tolerances::default(), found, None, attempts)
}

fn check(
    tolerances: &Tolerances<'_>,
    found: Vec<Row>,
    lines: Option<&HashMap<String, Vec<String>>>,
    attempts: &[Attempt],
) -> Tally {
    const ACCEPTING: (Option<bool>, Option<bool>) = (Some(true), Some(false));
    let mut rows: HashMap<String, Vec<_>> = HashMap::new();
    for row in found {
        rows.entry(row.username).or_default().push((row.auth_ok, row.policy_reject));
    }
    let unnamed = rows.remove("").unwrap_or_default();
    assert!(unnamed.len() <= tolerances.empty_names, "{unnamed:?}");
    assert!(unnamed.iter().all(|flags| *flags == (None, Some(false))), "{unnamed:?}");
    let mut tally = Tally { rows: rows.values().map(Vec::len).sum(), ..Tally::default() };
    for Attempt { name, is_right, reply, .. } in attempts {
        let found = rows.remove(name).unwrap_or_default();
        let line = lines.and_then(|lines| lines.get(name)).map(|lines| lines.join("\n"));
        let line = line.unwrap_or_default();
        let status = match reply.as_deref() {
            Some(ACCEPTED) => {
                tally.accepted += 1;
                assert!(is_right, "{name} was accepted with a wrong password");
                assert_eq!(found, [ACCEPTING], "{name}: 235");
                "204"
            }
            Some(REFUSED) => {
                tally.refused += 1;
                // If no slot is free, the password of an attempt that a rule refuses is not
                // checked.
                let by_rule = tolerances.rules_refuse
                    && [Some(*is_right), None].iter().any(|ok| found == [(*ok, Some(true))]);
                if !by_rule {
                    assert!(!is_right, "{name} was refused with a right password");
                    assert_eq!(found, [(Some(false), Some(false))], "{name}: 535");
                }
                "403"
            }
            Some(CANNOT_TELL) => {
                tally.cannot_tell += 1;
                if tolerances.causes_without_row.iter().any(|cause| line.contains(cause)) {
                    tally.without_row += usize::from(found.is_empty());
                    let is_late = tolerances.place_returns && found == [(None, None)];
                    assert!(found.is_empty() || is_late, "{name}: {found:?} {line}");
                } else {
                    assert_eq!(found.len(), 1, "{name}: 435, {found:?}, {line}");
                    assert_ne!(found[0], ACCEPTING, "{name}: 435, but its row says accepted");
                }
                "503"
            }
            Some(other) => panic!("{name}: {other}"),
            None => {
                tally.unanswered += 1;
                assert!(found.len() <= 1, "{name}: {found:?}");
                continue;
            }
        };
        if lines.is_some() {
            assert!(line.starts_with(&format!("attempt status={status} ")), "{name}: {line:?}");
            assert!(!line.contains('\n'), "{name}: {line}");
        }
    }
    assert!(rows.is_empty(), "rows without an attempt: {rows:?}");
    tally
}

/// The log lines of attempts, by the attempt's name.
fn lines(site: &Site) -> HashMap<String, Vec<String>> {
    let mut lines: HashMap<String, Vec<String>> = HashMap::new();
    for line in site.lines().into_iter().filter(|line| line.starts_with("attempt ")) {
        let name = line.rsplit_once(" user=").map(|(_, name)| name.trim_matches('"').to_owned());
        lines.entry(name.unwrap_or_default()).or_default().push(line);
    }
    lines
}

/// Delivers all waiting rows; fails if one was set aside.
pub fn flush(site: &Site) {
    assert_eq!(deliver(site), 0, "rows are set aside: {}", site.read("state/journal/set-aside"));
}

/// Delivers all waiting rows; returns the number of lines that are set aside.
pub fn deliver(site: &Site) -> usize {
    let mut printed = String::new();
    // The process of an attempt may still be writing its row.
    for _ in 0..50 {
        let output = site.run_tool(&["flush"], "");
        printed = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        if output.status.success() {
            let set_aside = printed.lines().find_map(|line| line.strip_prefix("set_aside="));
            return set_aside.and_then(|count| count.parse().ok()).expect("a number in set_aside=");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("rows still wait: {printed}");
}

/// Writes a fault's line for the table in docs/operations.md.
pub fn report(fault: &str, tally: &Tally) {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("faults");
    fs::create_dir_all(&directory).unwrap();
    let Tally { accepted, refused, cannot_tell, unanswered, rows, .. } = tally;
    let line =
        format!("| {fault} | {accepted} | {refused} | {cannot_tell} | {unanswered} | {rows} |\n");
    let name: String = fault.chars().filter(|c| c.is_alphanumeric() || *c == ' ').collect();
    fs::write(directory.join(name.replace(' ', "-")), line).unwrap();
}
