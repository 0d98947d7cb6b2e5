//! Remembered accounts: accounts that have logged in, kept in the state directory for an outage of
//! their database (`accounts.serve_stale`).
//!
//! Each account has its own file. The file name is a hash of the database, the query and the
//! query's parameters. The file holds the account's columns and its stored passwords, except those
//! in clear and those whose hash is enough to log in. An account that is found to be gone, disabled
//! or changed is deleted at once.

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
use crate::account::COLUMNS;
use crate::config::Accounts;
use crate::password;
use crate::secret::Secret;
use crate::sql;
use crate::state::files;
use crate::store::Parameters;
use crate::store::Row;
use crate::store::Value;

/// The directory of remembered accounts in the state directory.
const DIRECTORY: &str = "remembered";
/// The most remembered accounts: some 40 MB of files.
const MAX_FILES: usize = 10_000;
/// Saving a new account whose file name ends in this digit also deletes expired files.
const SWEEPING_DIGIT: char = '0';
/// The most bytes of a file that is written or read.
const MAX_LENGTH: u64 = 16 * 1024;
/// A file is written anew if its time is older than this in seconds, or than a quarter of the
/// lifetime if that is shorter.
const FRESH: i64 = 3600;

/// The file of one remembered account, which need not exist.
pub struct RememberedAccount<'a> {
    directory: PathBuf,
    path: PathBuf,
    accounts: &'a Accounts,
    /// In seconds since 1970.
    now: i64,
}

impl<'a> RememberedAccount<'a> {
    /// The file of the account that the query finds with these parameters; `None` if
    /// `accounts.serve_stale` is not set. `now` is in seconds since 1970.
    #[must_use]
    pub fn new(
        state: &Path,
        accounts: &'a Accounts,
        parameters: &Parameters,
        now: i64,
    ) -> Option<Self> {
        accounts.serve_stale?;
        let mut hash = Sha256::new();
        let database = accounts.database.to_string();
        for text in [&*database, &*accounts.query] {
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

    /// Reads the account, unless it is not remembered or has expired. A file that is expired or cannot
    /// be understood is deleted.
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

    /// True if a login is too old. A login in the future counts as expired, too: the clock was
    /// wrong then, or is wrong now.
    fn is_expired(&self, time: i64) -> bool {
        let age = self.now.saturating_sub(time);
        age < -FRESH || age > self.lifetime()
    }

    /// In seconds.
    fn lifetime(&self) -> i64 {
        let lifetime = self.accounts.serve_stale.unwrap_or_default().as_secs();
        i64::try_from(lifetime).unwrap_or(i64::MAX)
    }

    /// Deletes the file if the account differs from `account`, which the database has just
    /// returned.
    pub fn delete_if_changed(&self, account: Option<&Account>) {
        let Ok(text) = self.read() else { return };
        let known = self.parse(&text).and_then(|(_, known)| self.format(&known, 0));
        let current = account.and_then(|account| self.format(account, 0));
        if known.is_none() || known != current {
            self.delete();
        }
    }

    /// Writes an account that has logged in. An error only means that the account cannot be served
    /// in an outage, so it is ignored and the client is accepted.
    pub fn save(&self, account: &Account) {
        let Some(text) = self.format(account, self.now) else { return };
        let known = self.read().ok().and_then(|text| self.parse(&text));
        let fresh = FRESH.min(self.lifetime() / 4);
        if known.is_some_and(|(time, _)| self.now.saturating_sub(time) < fresh) {
            // Only the time differs: `delete_if_changed` has deleted any other file.
            return;
        }
        let _ = self.write(&text).ok();
    }

    fn read(&self) -> io::Result<Zeroizing<String>> {
        if !is_private_directory(&self.directory) {
            return Err(io::Error::other("is not private"));
        }
        read(&self.path)
    }

    fn delete(&self) {
        let _ = fs::remove_file(&self.path).ok();
    }

    /// The text of the file; `None` if the account may not be remembered.
    fn format(&self, account: &Account, time: i64) -> Option<Zeroizing<String>> {
        if account.rules.disabled {
            return None;
        }
        let settings = &self.accounts.passwords;
        // The whole capacity is allocated at once, because growing would leave copies in memory.
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
            password::may_be_remembered(stored, settings) && !stored.expose().contains(&b'\n')
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

    /// True if no further account can be remembered. One in sixteen calls deletes expired files first,
    /// because that reads every file.
    fn is_full(&self) -> bool {
        if self.path.to_string_lossy().ends_with(SWEEPING_DIGIT) {
            sweep(&self.directory, |time| self.is_expired(time));
        }
        fs::read_dir(&self.directory).map_or(0, Iterator::count) >= MAX_FILES
    }

    /// Writes a new file and renames it into place, so that no process reads half a file.
    fn write(&self, text: &str) -> io::Result<()> {
        if Uid::effective().is_root() {
            return Err(io::Error::other("only Exim's user makes it, not root"));
        }
        match DirBuilder::new().mode(0o700).create(&self.directory) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            Ok(()) | Err(_) => {}
        }
        if !is_private_directory(&self.directory) {
            return Err(io::Error::other("is not private"));
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

/// Deletes expired files, and all files if `accounts.serve_stale` is not set. `now` is in seconds
/// since 1970.
pub fn prune(state: &Path, accounts: &Accounts, now: i64) {
    let directory = state.join(DIRECTORY);
    let remembered = RememberedAccount { path: PathBuf::new(), directory, accounts, now };
    sweep(&remembered.directory, |time| {
        accounts.serve_stale.is_none() || remembered.is_expired(time)
    });
}

/// Deletes all remembered accounts. The tool does this after it has changed one, because it does not
/// know the name of that account's file.
pub fn delete_all(state: &Path) {
    sweep(&state.join(DIRECTORY), |_| true);
}

/// Deletes the files that have expired, and those that contain no time.
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

/// True for a directory that only this user can use, and that is not a link.
fn is_private_directory(directory: &Path) -> bool {
    directory.symlink_metadata().is_ok_and(|meta| meta.is_dir() && files::is_private(&meta))
}

/// Reads a file that only this user can read or write.
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
