//! The counting behind limits, in a table of ours that all hosts of one log share.
//!
//! An attempt is entered before its password is hashed, under a lock that those who are counted
//! together share, so that a burst gets no more guesses than the limit. When its outcome is known,
//! its entry stays or goes. An entry that nobody settles, since its process was killed, stays.

use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::policy::Action;
use crate::policy::Count;
use crate::policy::Limit;
use crate::policy::Per;
use crate::store::Store;
use crate::store::Value;

/// Longer names are counted by this many bytes of theirs.
const MAX_NAME: usize = 255;
/// At most so many entries that are over are deleted by one attempt.
const PRUNED_AT_ONCE: i64 = 60;
/// For so long, in milliseconds, are they kept that are over: another host's clock may be behind.
const MARGIN: i64 = 600_000;
/// How long a lock stays in the table, in milliseconds: far longer than anybody holds it.
const LOCK_TIME: i64 = 60_000;

/// An attempt as limits see it.
pub struct Subject {
    /// The authcid in lower case, with the default domain.
    account: String,
    /// What the address counts as.
    remote: String,
    country: String,
    /// The truncated hash of the password.
    pwhash: String,
    /// Tells this attempt from all others.
    attempt: String,
    /// Milliseconds since 1970.
    now: i64,
}

impl Subject {
    /// Gives an attempt a name of its own.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn new(
        account: &str,
        remote: String,
        country: String,
        pwhash: String,
        now: i64,
    ) -> Result<Self, Error> {
        let mut bytes = [0_u8; 8];
        getrandom::fill(&mut bytes).map_err(|e| Error::System {
            place: String::from("random numbers"),
            source: std::io::Error::other(e.to_string()),
        })?;
        let attempt = base16ct::lower::encode_string(&bytes);
        Ok(Self { account: name(account), remote, country, pwhash, attempt, now })
    }

    fn value(&self, count: Count) -> &str {
        let value = match count {
            Count::Failures => &self.attempt,
            // Of a driver that shows us no password, each is one.
            Count::Passwords if self.pwhash.is_empty() => &self.attempt,
            Count::Passwords => &self.pwhash,
            Count::Accounts => &self.account,
            Count::Remotes => &self.remote,
            Count::Countries => &self.country,
        };
        // The empty value is a lock.
        if value.is_empty() { "-" } else { value }
    }

    fn entry(&self, limit: &Limit) -> Entry {
        let (account, remote) = match limit.per {
            Per::Remote => ("", &*self.remote),
            Per::Account => (&*self.account, ""),
            Per::AccountAndRemote => (&*self.account, &*self.remote),
        };
        Entry {
            rule: Arc::clone(&limit.name),
            account: account.to_owned(),
            remote: remote.to_owned(),
            value: self.value(limit.count).to_owned(),
            attempt: self.attempt.clone(),
            is_distinct: limit.count != Count::Failures,
            expires: self.now.saturating_add(milliseconds(limit.within)),
        }
    }
}

/// A name as the table holds it.
#[must_use]
pub fn name(name: &str) -> String {
    let mut end = name.len().min(MAX_NAME);
    while !name.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    name.get(..end).unwrap_or_default().to_owned()
}

fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// What stands in the table for an attempt.
#[derive(Debug, Clone)]
struct Entry {
    rule: Arc<str>,
    account: String,
    remote: String,
    value: String,
    attempt: String,
    /// Whether a later one of the same value takes its place.
    is_distinct: bool,
    expires: i64,
}

impl Entry {
    fn parameters(&self, value: &str, attempt: &str) -> [(&'static str, Value); 6] {
        [
            ("rule", Value::text(&self.rule)),
            ("account", Value::text(&self.account)),
            ("remote", Value::text(&self.remote)),
            ("value", Value::text(value)),
            ("attempt", Value::text(attempt)),
            ("expires", Value::Int(self.expires)),
        ]
    }
}

/// Where an attempt stands with the limits, until it is settled.
#[derive(Debug, Default)]
pub struct Standing {
    /// Each limit that refuses, and whether it is crossed.
    pub crossed: Vec<(Arc<str>, bool)>,
    /// How long the attempt has to wait.
    pub delay: Duration,
    entries: Vec<Entry>,
}

impl Standing {
    /// Adds what other limits say.
    pub fn join(&mut self, other: Self) {
        self.crossed.extend(other.crossed);
        self.delay = self.delay.max(other.delay);
        self.entries.extend(other.entries);
    }

    /// Adds what one limit says; under `log_only` nobody is made to wait.
    fn add(&mut self, limit: &Limit, is_crossed: bool, log_only: bool) {
        match limit.action {
            Action::Reject => self.crossed.push((Arc::clone(&limit.name), is_crossed)),
            Action::Delay(time) if is_crossed && !log_only => self.delay = self.delay.max(time),
            Action::Delay(_) => {}
        }
    }

    /// Whether there is nothing to settle.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether a limit refuses the attempt.
    #[must_use]
    pub fn is_crossed(&self) -> bool {
        self.crossed.iter().any(|(_, is_crossed)| *is_crossed)
    }
}

/// Looks whether an attempt is beyond any of these limits, and enters it unless one refuses it;
/// under `log_only`, none does.
///
/// # Errors
/// The database cannot tell.
pub fn enter(
    store: &mut Store,
    limits: &[&Limit],
    subject: &Subject,
    log_only: bool,
) -> Result<Standing, Error> {
    store.transaction(|store| {
        // All locks before the first look: what is seen from then on does not change, and must be
        // what those have done who held a lock before.
        for limit in limits {
            lock(store, subject, limit)?;
        }
        let mut standing = Standing::default();
        for limit in limits {
            let is_crossed = is_crossed(store, limit, subject)?;
            standing.add(limit, is_crossed, log_only);
            if !(is_crossed && limit.action == Action::Reject) {
                standing.entries.push(subject.entry(limit));
            }
        }
        if standing.is_crossed() && !log_only {
            standing.entries.clear();
        }
        for entry in &standing.entries {
            insert(store, entry, &entry.value, &entry.attempt)?;
        }
        Ok(standing)
    })
}

/// The same without entering it.
///
/// # Errors
/// The database cannot tell.
pub fn look(
    store: &mut Store,
    limits: &[&Limit],
    subject: &Subject,
    log_only: bool,
) -> Result<Standing, Error> {
    let mut standing = Standing::default();
    for limit in limits {
        standing.add(limit, is_crossed(store, limit, subject)?, log_only);
    }
    Ok(standing)
}

/// Keeps the entries of an attempt that counts, and takes back those of another.
///
/// # Errors
/// The database did not do it.
pub fn settle(store: &mut Store, standing: &mut Standing, counts: bool) -> Result<(), Error> {
    const SQL: &str = "DELETE FROM authpolicy_count WHERE rule = :rule AND account = :account \
                       AND remote = :remote AND value = :value AND attempt = :attempt";
    // Each failure stays as it was entered.
    let mut entries = std::mem::take(&mut standing.entries);
    entries.retain(|entry| !counts || entry.is_distinct);
    if entries.is_empty() {
        return Ok(());
    }
    store.transaction(|store| {
        for entry in &entries {
            if counts {
                insert(store, entry, &entry.value, "")?;
            }
            store.execute(SQL, &entry.parameters(&entry.value, &entry.attempt))?;
        }
        Ok(())
    })
}

/// Makes everybody else wait who is counted with this attempt. A transaction of SQLite does already.
/// The row changes each time, within a millisecond too: what a node of a cluster does not change, it
/// does not hold against what others do.
fn lock(store: &mut Store, subject: &Subject, limit: &Limit) -> Result<(), Error> {
    const SQL: &str = "INSERT INTO authpolicy_count (rule, account, remote, value, attempt, expires) \
                       VALUES (:rule, :account, :remote, '', '', :expires) \
                       ON DUPLICATE KEY UPDATE expires = GREATEST(expires + 1, :expires)";
    let sql = store.dialect("", SQL);
    if !sql.is_empty() {
        let expires = subject.now.saturating_add(LOCK_TIME);
        let lock = Entry { expires, ..subject.entry(limit) };
        store.execute(sql, &lock.parameters("", ""))?;
    }
    Ok(())
}

fn insert(store: &mut Store, entry: &Entry, value: &str, attempt: &str) -> Result<(), Error> {
    const SQL: &str = "REPLACE INTO authpolicy_count (rule, account, remote, value, attempt, expires) \
                       VALUES (:rule, :account, :remote, :value, :attempt, :expires)";
    store.execute(SQL, &entry.parameters(value, attempt)).map(|_| ())
}

/// What ends later than this is of a clock that went wrong, and does not count.
#[must_use]
pub fn latest(limit: &Limit, now: i64) -> i64 {
    now.saturating_add(milliseconds(limit.within).saturating_mul(2))
}

/// Whether as many are there as are borne.
fn is_crossed(store: &mut Store, limit: &Limit, subject: &Subject) -> Result<bool, Error> {
    // By this index whatever the statistics of the moment say: the live entries of this limit and
    // subject are few, those of all are not.
    let sql = store.dialect(
        "SELECT COUNT(*) AS n FROM (SELECT DISTINCT value FROM authpolicy_count \
         INDEXED BY authpolicy_count_live \
         WHERE rule = :rule AND account = :account AND remote = :remote \
         AND expires > :now AND expires < :latest AND value <> '' LIMIT :max) AS live",
        "SELECT COUNT(*) AS n FROM (SELECT DISTINCT value FROM authpolicy_count \
         FORCE INDEX (live) \
         WHERE rule = :rule AND account = :account AND remote = :remote \
         AND expires > :now AND expires < :latest AND value <> '' LIMIT :max) AS live",
    );
    let entry = subject.entry(limit);
    let parameters = [
        ("rule", Value::text(&entry.rule)),
        ("account", Value::text(&entry.account)),
        ("remote", Value::text(&entry.remote)),
        ("now", Value::Int(subject.now)),
        ("latest", Value::Int(latest(limit, subject.now))),
        ("max", Value::Int(limit.max.into())),
    ];
    let rows = store.query(sql, &parameters)?;
    let live = rows.first().and_then(|row| row.text("n").parse::<u32>().ok()).unwrap_or(u32::MAX);
    Ok(live >= limit.max)
}

/// Deletes what is over, a bounded number of entries; answers how many. They are looked up without a
/// lock and deleted one by one: a DELETE of a range would make those wait who enter live ones.
///
/// # Errors
/// The database did not do it.
pub fn prune(store: &mut Store, now: i64) -> Result<u64, Error> {
    const OVER: &str = "SELECT rule, account, remote, value, attempt FROM authpolicy_count \
                        WHERE expires < :before LIMIT :batch";
    const SQL: &str = "DELETE FROM authpolicy_count WHERE rule = :rule AND account = :account \
                       AND remote = :remote AND value = :value AND attempt = :attempt \
                       AND expires < :before";
    let before = now.saturating_sub(MARGIN);
    let parameters = [("before", Value::Int(before)), ("batch", Value::Int(PRUNED_AT_ONCE))];
    let over = store.query(OVER, &parameters)?;
    store.transaction(|store| {
        let mut deleted: u64 = 0;
        for row in &over {
            let text = |column| (column, Value::text(&row.text(column)));
            let key = ["rule", "account", "remote", "value", "attempt"].map(text);
            let parameters: Vec<_> =
                key.into_iter().chain([("before", Value::Int(before))]).collect();
            deleted = deleted.saturating_add(store.execute(SQL, &parameters)?);
        }
        Ok(deleted)
    })
}

/// Forgets what was counted: of an account, of an address, or of everybody. Answers how many entries
/// that were.
///
/// # Errors
/// The database did not do it.
pub fn clear(store: &mut Store, account: Option<&str>, remote: Option<&str>) -> Result<u64, Error> {
    let sql = match (account, remote) {
        (Some(_), Some(_)) => {
            "DELETE FROM authpolicy_count WHERE value <> '' AND account = :account \
             AND remote = :remote"
        }
        (Some(_), None) => "DELETE FROM authpolicy_count WHERE value <> '' AND account = :account",
        (None, Some(_)) => "DELETE FROM authpolicy_count WHERE value <> '' AND remote = :remote",
        (None, None) => "DELETE FROM authpolicy_count WHERE value <> ''",
    };
    let text = |text: Option<&str>| Value::text(text.unwrap_or_default());
    store.transaction(|store| {
        store.execute(sql, &[("account", text(account)), ("remote", text(remote))])
    })
}
