//! Accounts that have logged in, remembered in the state directory for the time when no host of
//! their database can be reached: `accounts.serve_stale`.
//!
//! A file for each, named by a hash of what the account query would ask for, so that a file belongs
//! to one database, one query and one answer. It holds stored passwords: those that are neither in
//! clear nor good for logging in as they are. An account that is seen gone, disabled or with other
//! passwords is forgotten at once.

use std::fs;
use std::fs::DirBuilder;
use std::io;
use std::io::Read;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::path::PathBuf;

use nix::unistd::Uid;
use sha2::Digest;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::account::Account;
use crate::config::Accounts;
use crate::password;
use crate::secret::Secret;
use crate::sql;
use crate::state::files;
use crate::store::Parameters;
use crate::store::Row;
use crate::store::Value;

/// The directory in the state directory.
const DIRECTORY: &str = "remembered";
/// More accounts than this are not remembered: some 40 MB of files.
const MAX_FILES: usize = 10_000;
/// How the names of those end that erase what is over.
const SWEEPING_DIGIT: char = '0';
/// Bytes of a file that is read: what is longer is none of ours.
const MAX_LENGTH: u64 = 16 * 1024;
/// Seconds after which the time of a login is written anew, or a quarter of the lifetime.
const FRESH: i64 = 3600;
/// The columns of an account beside its passwords and its state.
const COLUMNS: [&str; 5] =
    ["username", "allow_countries", "deny_countries", "allow_nets", "protocols"];

/// The place of one account.
pub struct CachedAccount<'a> {
    directory: PathBuf,
    path: PathBuf,
    accounts: &'a Accounts,
    /// In seconds since 1970.
    now: i64,
}

impl<'a> CachedAccount<'a> {
    /// The place of the account that the query finds with these parameters; `None` where nothing is
    /// to be remembered. `now` is in seconds since 1970.
    #[must_use]
    pub fn new(
        state: &Path,
        accounts: &'a Accounts,
        parameters: &Parameters,
        now: i64,
    ) -> Option<Self> {
        accounts.serve_stale?;
        let mut hash = Sha256::new();
        let place = accounts.database.to_string();
        for text in [&*place, &*accounts.query] {
            hash.update(text.as_bytes());
            hash.update([0]);
        }
        for name in sql::parameters(&accounts.query) {
            let value = parameters.iter().find(|(known, _)| *known == name);
            hash.update(value.map(|(_, value)| value.to_text()).unwrap_or_default().as_bytes());
            hash.update([0]);
        }
        let directory = state.join(DIRECTORY);
        let path = directory.join(base16ct::lower::encode_string(&hash.finalize()));
        Some(Self { directory, path, accounts, now })
    }

    /// The account, if it has logged in and that is not too long ago.
    #[must_use]
    pub fn load(&self) -> Option<Account> {
        let text = self.read().ok()?;
        let account = self.parse(&text);
        if account.is_none() {
            self.delete();
        }
        account.map(|(_, account)| account)
    }

    fn parse(&self, text: &str) -> Option<(i64, Account)> {
        let lines = || text.lines().filter_map(|line| line.split_once('='));
        let time = lines().find(|(name, _)| *name == "time")?.1.parse().ok()?;
        if self.is_expired(time) {
            return None;
        }
        let rules = lines().filter(|(name, _)| COLUMNS.contains(name));
        let mut row: Vec<_> =
            rules.map(|(name, value)| (name.to_owned(), Value::text(value))).collect();
        row.push((String::from("password"), Value::Null));
        let mut account = Account::read(&mut Row::new(row)).ok()?;
        let stored = lines().filter(|(name, _)| *name == "password");
        account.passwords = stored.map(|(_, text)| Secret::new(text.as_bytes().to_vec())).collect();
        (!account.passwords.is_empty()).then_some((time, account))
    }

    /// A login of the future is of a clock that was wrong then, or is now.
    fn is_expired(&self, time: i64) -> bool {
        let age = self.now.saturating_sub(time);
        age < -FRESH || age > self.lifetime()
    }

    /// In seconds.
    fn lifetime(&self) -> i64 {
        let lifetime = self.accounts.serve_stale.unwrap_or_default().as_secs();
        i64::try_from(lifetime).unwrap_or(i64::MAX)
    }

    /// What the database has just said of the account: forgets it unless it is as it was.
    pub fn delete_if_changed(&self, account: Option<&Account>) {
        let Ok(text) = self.read() else { return };
        let known = self.parse(&text).and_then(|(_, known)| self.format(&known, 0));
        let fresh = account.and_then(|account| self.format(account, 0));
        if known.is_none() || known != fresh {
            self.delete();
        }
    }

    /// Remembers an account that has logged in. Where that cannot be done, nobody is served later;
    /// that is no reason to refuse a client now.
    pub fn save(&self, account: &Account) {
        let Some(text) = self.format(account, self.now) else { return };
        let known = self.read().ok().and_then(|text| self.parse(&text));
        let fresh = FRESH.min(self.lifetime() / 4);
        if known.is_some_and(|(time, _)| self.now.saturating_sub(time) < fresh) {
            // The same: `compare` has looked.
            return;
        }
        let _ = self.write(&text).ok();
    }

    fn read(&self) -> io::Result<Zeroizing<String>> {
        if !is_private_directory(&self.directory) {
            return Err(io::Error::other("is not ours alone"));
        }
        read(&self.path)
    }

    /// Forgets the account.
    fn delete(&self) {
        let _ = fs::remove_file(&self.path).ok();
    }

    /// The text of the file; `None` where there is nothing that may be remembered.
    fn format(&self, account: &Account, time: i64) -> Option<Zeroizing<String>> {
        if account.rules.disabled {
            return None;
        }
        let settings = &self.accounts.passwords;
        // Room for all of it at once: growing would leave copies behind.
        let columns = account.columns();
        let lengths = columns.iter().map(String::len);
        let lengths = lengths.chain(account.passwords.iter().map(|stored| stored.expose().len()));
        let length =
            lengths.fold(64_usize, |sum, length| sum.saturating_add(length).saturating_add(32));
        let mut text = Zeroizing::new(String::with_capacity(length));
        text.push_str(&format!("time={time}\n"));
        for (name, value) in COLUMNS.iter().zip(columns) {
            if value.contains('\n') {
                return None;
            }
            text.push_str(&format!("{name}={value}\n"));
        }
        let mut has_password = false;
        let stored = account.passwords.iter().filter(|stored| {
            password::may_be_cached(stored, settings) && !stored.expose().contains(&b'\n')
        });
        for stored in stored {
            text.push_str("password=");
            text.push_str(std::str::from_utf8(stored.expose()).ok()?);
            text.push('\n');
            has_password = true;
        }
        let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
        (has_password && length <= MAX_LENGTH).then_some(text)
    }

    /// Whether there is no room for another; one in sixteen erases what is over, which takes a look
    /// into each file.
    fn is_full(&self) -> bool {
        if self.path.to_string_lossy().ends_with(SWEEPING_DIGIT) {
            sweep(&self.directory, |time| self.is_expired(time));
        }
        fs::read_dir(&self.directory).map_or(0, Iterator::count) >= MAX_FILES
    }

    /// Whole, or not at all.
    fn write(&self, text: &str) -> io::Result<()> {
        let me = Uid::effective();
        if me.is_root() {
            return Err(io::Error::other("is not made by root"));
        }
        match DirBuilder::new().mode(0o700).create(&self.directory) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            Ok(()) | Err(_) => {}
        }
        if !is_private_directory(&self.directory) {
            return Err(io::Error::other("is not ours alone"));
        }
        if !self.path.exists() && self.is_full() {
            return Err(io::Error::other("is full"));
        }
        let fresh = self.path.with_extension(std::process::id().to_string());
        let written = files::create(&fresh)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .and_then(|()| fs::rename(&fresh, &self.path));
        if written.is_err() {
            let _ = fs::remove_file(&fresh).ok();
        }
        written
    }
}

/// Erases what is over, or of no use; `now` is in seconds since 1970.
pub fn prune(state: &Path, accounts: &Accounts, now: i64) {
    let directory = state.join(DIRECTORY);
    let cached = CachedAccount { path: PathBuf::new(), directory, accounts, now };
    sweep(&cached.directory, |time| accounts.serve_stale.is_none() || cached.is_expired(time));
}

/// Erases what is remembered of all accounts: one was changed, and what its files are called is not
/// known.
pub fn delete_all(state: &Path) {
    sweep(&state.join(DIRECTORY), |_| true);
}

/// Deletes files of ours by the time in them.
fn sweep(directory: &Path, is_expired: impl Fn(i64) -> bool) {
    if !is_private_directory(directory) {
        return;
    }
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let Ok(text) = read(&entry.path()) else { continue };
        let time = text.lines().find_map(|line| line.strip_prefix("time="));
        let time = time.and_then(|time| time.parse().ok());
        if time.is_none_or(&is_expired) {
            let _ = fs::remove_file(entry.path()).ok();
        }
    }
}

/// True for a directory of this user alone that is not a link.
fn is_private_directory(directory: &Path) -> bool {
    directory.symlink_metadata().is_ok_and(|meta| meta.is_dir() && files::is_private(&meta))
}

/// Reads a file of this user alone.
fn read(path: &Path) -> io::Result<Zeroizing<String>> {
    let file = files::open(path)?;
    let length = file.metadata()?.len();
    if length > MAX_LENGTH {
        return Err(io::Error::other("is too long"));
    }
    let mut text = Zeroizing::new(String::with_capacity(usize::try_from(length).unwrap_or(0)));
    file.take(MAX_LENGTH).read_to_string(&mut text)?;
    Ok(text)
}
