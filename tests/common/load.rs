//! Clients on a running Exim while something breaks, and what became of each of their attempts.

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

/// The account query under load: each attempt has a name of its own, so that its row is known.
pub const QUERY: &str = "WHERE username = 'u@example.com' AND :user LIKE 'u-%'";
const PASSWORD: &str = "secret";

/// One attempt.
pub struct Attempt {
    pub name: String,
    /// They are counted before they connect.
    pub number: usize,
    pub is_right: bool,
    /// What the client heard; `None` where the connection ended first.
    pub reply: Option<String>,
}

/// A site for load: every `u-…@example.com` has the password `secret`.
pub fn prepare(site: &Site) {
    site.account("u@example.com", PASSWORD);
    let config = site.read("authpolicy.toml");
    assert!(config.contains("WHERE username = :user"), "{config}");
    site.write_config(&config.replace("WHERE username = :user", QUERY));
}

/// Clients until told to stop.
pub struct Load {
    /// What their names begin with.
    prefix: String,
    stop: AtomicBool,
    number: AtomicUsize,
    done: Mutex<Vec<Attempt>>,
}

impl Load {
    /// One attempt; every third has a wrong password.
    fn attempt(&self, port: u16) -> Attempt {
        let number = self.number.fetch_add(1, Ordering::SeqCst);
        let (name, is_right) =
            (format!("{}-{number}@example.com", self.prefix), !number.is_multiple_of(3));
        let password = if is_right { PASSWORD } else { "wrong" };
        // A connection that is cut in the middle panics.
        let reply = catch_unwind(AssertUnwindSafe(|| {
            Client::connect_from(port, GB).plain(name.as_bytes(), password.as_bytes())
        }));
        if reply.is_err() {
            // Where nobody listens, without spinning.
            std::thread::sleep(Duration::from_millis(20));
        }
        Attempt { name, number, is_right, reply: reply.ok().filter(|reply| !reply.is_empty()) }
    }

    fn all(&self) -> std::sync::MutexGuard<'_, Vec<Attempt>> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an attempt of somebody else's in.
    pub fn add(&self, attempt: Attempt) {
        self.all().push(attempt);
    }

    /// Waits until so many more attempts have come to an end.
    pub fn wait(&self, more: usize) {
        let until = self.all().len() + more;
        for _ in 0..12_000 {
            if self.all().len() >= until {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("no attempt comes to an end");
    }

    /// Waits until so many attempts have come to an end whose clients connected after now; answers
    /// the names of all that have: whatever is broken now was broken for them from end to end.
    pub fn meanwhile(&self, so_many: usize) -> HashSet<String> {
        let from = self.number.load(Ordering::SeqCst);
        for _ in 0..12_000 {
            let all = self.all();
            let whole = all.iter().filter(|attempt| attempt.number >= from);
            let names: HashSet<_> = whole.map(|attempt| attempt.name.clone()).collect();
            drop(all);
            if names.len() >= so_many {
                return names;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("no attempt comes to an end");
    }

    /// Waits until a client has heard this after now.
    pub fn wait_for(&self, reply: &str) {
        let from = self.all().len();
        for _ in 0..12_000 {
            if self.all()[from..].iter().any(|attempt| attempt.reply.as_deref() == Some(reply)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("nobody hears {reply}");
    }
}

/// Has so many clients attempt one AUTH after the other while `work` does its damage.
pub fn run(port: u16, clients: usize, work: impl FnOnce(&Load)) -> Vec<Attempt> {
    run_as("u", port, clients, work)
}

/// The same under names that begin so.
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
                    load.all().push(attempt);
                }
            });
        }
        // Clients that go on for ever would keep a failed test from failing.
        let worked = catch_unwind(AssertUnwindSafe(|| work(&load)));
        load.stop.store(true, Ordering::Relaxed);
        if let Err(panic) = worked {
            std::panic::resume_unwind(panic);
        }
    });
    load.done.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// What clients heard, and what was found in the table when all was over.
#[derive(Debug, Default)]
pub struct Tally {
    pub accepted: usize,
    pub refused: usize,
    pub cannot_tell: usize,
    pub unanswered: usize,
    pub rows: usize,
    /// Of those who were told 435: so many have a log line alone.
    pub rowless: usize,
}

/// What a fault excuses.
#[derive(Default)]
pub struct Terms<'a> {
    /// Causes in log lines for which there is no place where a row could go, or nobody knows it:
    /// who was told 435 for one of them has that line, and no row.
    pub rowless: &'a [&'a str],
    /// True if the place for rows is put back while attempts run. One that found it gone may write its row then.
    pub place_returns: bool,
    /// Whether rules refuse, right passwords too.
    pub rules_refuse: bool,
    /// Whether lines of the journal may be torn: their attempts were told so, or are elsewhere.
    pub torn: bool,
    /// So many attempts have no password, and therefore no name in their rows.
    pub nameless: usize,
}

/// Holds attempts against the promise: 235 only with a right password, never 535 with one, one row
/// and one log line for each answered attempt and at most one for another, and nothing in Exim's
/// panic log. Whatever waits must have been delivered.
pub fn hold(site: &Site, attempts: &[Attempt]) -> Tally {
    hold_to(&Terms::default(), site, attempts)
}

/// The same but for what the terms excuse.
pub fn hold_to(terms: &Terms<'_>, site: &Site, attempts: &[Attempt]) -> Tally {
    assert_eq!(site.panic_log(), "");
    weigh(terms, site.rows(), Some(&lines(site)), attempts)
}

/// The same with the rows of another table, and no log.
pub fn hold_rows(found: Vec<Row>, attempts: &[Attempt]) -> Tally {
    weigh(&Terms::default(), found, None, attempts)
}

fn weigh(
    terms: &Terms<'_>,
    found: Vec<Row>,
    lines: Option<&HashMap<String, Vec<String>>>,
    attempts: &[Attempt],
) -> Tally {
    const ACCEPTING: (Option<bool>, Option<bool>) = (Some(true), Some(false));
    let mut rows: HashMap<String, Vec<_>> = HashMap::new();
    for row in found {
        rows.entry(row.username).or_default().push((row.auth_ok, row.policy_reject));
    }
    let nameless = rows.remove("").unwrap_or_default();
    assert!(nameless.len() <= terms.nameless, "{nameless:?}");
    assert!(nameless.iter().all(|flags| *flags == (None, Some(false))), "{nameless:?}");
    let mut tally = Tally { rows: rows.values().map(Vec::len).sum(), ..Tally::default() };
    for Attempt { name, is_right, reply, .. } in attempts {
        let found = rows.remove(name).unwrap_or_default();
        let line = lines.and_then(|lines| lines.get(name)).map(|lines| lines.join("\n"));
        let line = line.unwrap_or_default();
        let status = match reply.as_deref() {
            Some(ACCEPTED) => {
                tally.accepted += 1;
                assert!(is_right, "{name} got in");
                assert_eq!(found, [ACCEPTING], "{name}: 235");
                "204"
            }
            Some(REFUSED) => {
                tally.refused += 1;
                // Without a free slot, a refused attempt is not checked.
                let by_rule = terms.rules_refuse
                    && [Some(*is_right), None].iter().any(|ok| found == [(*ok, Some(true))]);
                if !by_rule {
                    assert!(!is_right, "{name} was refused");
                    assert_eq!(found, [(Some(false), Some(false))], "{name}: 535");
                }
                "403"
            }
            Some(CANNOT_TELL) => {
                tally.cannot_tell += 1;
                if terms.rowless.iter().any(|cause| line.contains(cause)) {
                    tally.rowless += usize::from(found.is_empty());
                    let is_late = terms.place_returns && found == [(None, None)];
                    assert!(found.is_empty() || is_late, "{name}: {found:?} {line}");
                } else {
                    assert_eq!(found.len(), 1, "{name}: 435, {found:?}, {line}");
                    assert_ne!(found[0], ACCEPTING, "{name}: 1, 0 means accepted");
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
    assert!(rows.is_empty(), "rows of nobody: {rows:?}");
    tally
}

/// The lines of attempts by name.
fn lines(site: &Site) -> HashMap<String, Vec<String>> {
    let mut lines: HashMap<String, Vec<String>> = HashMap::new();
    for line in site.lines().into_iter().filter(|line| line.starts_with("attempt ")) {
        let name = line.rsplit_once(" user=").map(|(_, name)| name.trim_matches('"').to_owned());
        lines.entry(name.unwrap_or_default()).or_default().push(line);
    }
    lines
}

/// Delivers what waits until nothing does, and nothing was set aside.
pub fn flush(site: &Site) {
    assert_eq!(deliver(site), 0, "rows are set aside: {}", site.read("state/journal/set-aside"));
}

/// Delivers what waits until nothing does; answers how many lines were set aside.
pub fn deliver(site: &Site) -> usize {
    let mut printed = String::new();
    // The process of an attempt may still be at it.
    for _ in 0..50 {
        let output = site.run_tool(&["flush"], "");
        printed = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        if output.status.success() {
            let aside = printed.lines().find_map(|line| line.strip_prefix("set_aside="));
            return aside.and_then(|aside| aside.parse().ok()).expect("it says how many");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("rows go on waiting: {printed}");
}

/// Writes the line of a fault for the table in docs/operations.md.
pub fn report(fault: &str, tally: &Tally) {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("faults");
    fs::create_dir_all(&directory).unwrap();
    let Tally { accepted, refused, cannot_tell, unanswered, rows, .. } = tally;
    let line =
        format!("| {fault} | {accepted} | {refused} | {cannot_tell} | {unanswered} | {rows} |\n");
    let name: String = fault.chars().filter(|c| c.is_alphanumeric() || *c == ' ').collect();
    fs::write(directory.join(name.replace(' ', "-")), line).unwrap();
}
