//! A dummy account, hashed for names without an account so that their answer takes as long.
//!
//! The right amount of work depends on the administrator's table, which cannot be asked for "the
//! usual scheme". So the dummy is configured, or it is learnt: the costs of the most expensive
//! account seen are kept in the state directory. The file has one line for each of its passwords:
//! its format and costs, with salt and hash replaced. It contains no hash of any account. Until an
//! account has been seen, the dummy is a hash as `user passwd` makes it.

use std::fs;
use std::io::Read;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use super::Candidate;
use super::Content;
use super::MAX_WORK;
use super::Settings;
use super::new;
use crate::secret::Secret;
use crate::state::files;

const FILE_NAME: &str = "dummy-hash";
const MAX_FILE: u64 = 4096;
/// The most passwords of one account that the dummy copies.
const MAX_PASSWORDS: usize = 8;
/// If an account takes less than one eighth of the dummy's work, all of the dummy's work is added.
/// The sum then differs from the dummy's work by less than the noise of a network.
const NEGLIGIBLE: u64 = 8;

/// Stored passwords that belong to no account.
pub struct Dummy {
    file: Option<PathBuf>,
    /// True if they come from the file or the configuration. Otherwise they are a guess.
    is_known: bool,
    passwords: Vec<Content>,
}

impl Dummy {
    /// Takes the configured dummy, else the learnt one, else the default.
    #[must_use]
    pub fn load(state_directory: &Path, configured: Option<&str>, settings: &Settings) -> Self {
        if let Some(text) = configured {
            return Self { file: None, is_known: true, passwords: read(text, settings) };
        }
        let file = state_directory.join(FILE_NAME);
        let passwords = read(&read_file(&file).unwrap_or_default(), settings);
        let learnt = !passwords.is_empty();
        let passwords = if learnt { passwords } else { read(&new::same_cost_dummy(), settings) };
        Self { file: Some(file), is_known: learnt, passwords }
    }

    /// Takes the costs of this account if it is more expensive.
    #[must_use]
    pub fn or_costlier(self, seen: &[Secret], settings: &Settings) -> Self {
        match self.costlier_lines(seen, settings) {
            Some(text) => Self { is_known: true, passwords: read(&text, settings), ..self },
            None => self,
        }
    }

    /// The estimated time in microseconds; see `Stored::work`.
    #[must_use]
    pub fn work(&self) -> u64 {
        self.passwords.iter().fold(0, |sum, content| sum.saturating_add(content.work()))
    }

    /// Hashes the password without using the result, unless about as much work was done before.
    pub fn top_up(&self, done: u64, candidate: Candidate<'_>) {
        if done.saturating_mul(NEGLIGIBLE) >= self.work() && done > 0 {
            return;
        }
        for content in &self.passwords {
            // Salt and hash are made up, so the result means nothing.
            let _ = content.matches(candidate).ok();
        }
    }

    /// Stores the costs of this account if it is more expensive than the dummy. A file that cannot
    /// be written is not a reason to refuse a client.
    pub fn learn(&self, seen: &[Secret], settings: &Settings) {
        let Some(file) = &self.file else { return };
        if let Some(text) = self.costlier_lines(seen, settings) {
            let _ = write(file, &text).ok();
        }
    }

    /// The lines of the file for this account, if it is more expensive than the dummy.
    fn costlier_lines(&self, seen: &[Secret], settings: &Settings) -> Option<String> {
        let known = if self.is_known { self.work() } else { 0 };
        let seen: Vec<_> = seen
            .iter()
            .filter_map(|stored| Content::read(stored, settings).ok())
            .take(MAX_PASSWORDS)
            .collect();
        let work = seen.iter().fold(0_u64, |sum, content| sum.saturating_add(content.work()));
        if work <= known || (seen.len() > 1 && work > MAX_WORK) {
            return None;
        }
        let dummies = seen.iter().filter(|content| content.work() > 0).filter_map(|c| match c {
            Content::Password(_, stored) => stored.same_cost_dummy(),
            Content::Locked => None,
        });
        let text: String = dummies.map(|same_cost_dummy| same_cost_dummy + "\n").collect();
        // A longer file could not be read again.
        (u64::try_from(text.len()).is_ok_and(|length| length <= MAX_FILE)).then_some(text)
    }
}

/// Reads one stored password a line. Those that take no work are left out.
fn read(text: &str, settings: &Settings) -> Vec<Content> {
    let lines = text.lines().take(MAX_PASSWORDS);
    let contents = lines.filter_map(|line| {
        // A line names its scheme, or has a prefix that does.
        let settings = Settings { default_scheme: String::from("CRYPT"), ..settings.clone() };
        Content::read(&Secret::new(line.as_bytes().to_vec()), &settings).ok()
    });
    contents.filter(|content| content.work() > 0).collect()
}

fn read_file(file: &Path) -> Option<String> {
    // With room for all of it, one call reads it, and one finds its end.
    let mut text = String::with_capacity(usize::try_from(MAX_FILE).unwrap_or(0));
    files::open(file).ok()?.take(MAX_FILE).read_to_string(&mut text).ok()?;
    Some(text)
}

/// Writes the file and renames it into place, because other processes may read it meanwhile.
fn write(file: &Path, text: &str) -> std::io::Result<()> {
    // Exim's user could not replace a file that root leaves here.
    if nix::unistd::Uid::effective().is_root() {
        return Ok(());
    }
    let fresh = file.with_extension(format!("{}", std::process::id()));
    let written = files::create(&fresh).and_then(|mut file| file.write_all(text.as_bytes()));
    let renamed = written.and_then(|()| fs::rename(&fresh, file));
    if renamed.is_err() {
        let _ = fs::remove_file(&fresh).ok();
    }
    renamed
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::super::Fault;
    use super::super::Scheme;
    use super::super::Stored;
    use super::super::verify_all;
    use super::super::verify_any;
    use super::*;

    const ELEVEN: &str = "$2y$11$11ipvo5dR6CwkzwmhwM26OXgzXwhV2PyPuLV.Qi31ILcRcThQpEiW";

    fn stored(text: &str) -> Secret {
        Secret::new(text.as_bytes().to_vec())
    }

    fn bcrypt_dummy(cost: u32) -> String {
        format!("$2y${cost:02}${}", ".".repeat(53))
    }

    #[test]
    fn the_costliest_account_is_learnt_without_its_hashes() {
        let directory = tempfile::tempdir().unwrap();
        let settings = Settings::default();
        let write_file = |text: &str| {
            let file = directory.path().join(FILE_NAME);
            let _ = fs::remove_file(&file);
            files::create(&file).unwrap().write_all(text.as_bytes()).unwrap();
        };
        let costlier_lines = |seen: &[&str]| {
            let seen: Vec<_> = seen.iter().map(|text| stored(text)).collect();
            Dummy::load(directory.path(), None, &settings).costlier_lines(&seen, &settings)
        };
        let line = |cost| Some(bcrypt_dummy(cost) + "\n");
        assert_eq!(costlier_lines(&["{PLAIN}secret", "!"]), None, "they cost nothing");
        assert_eq!(costlier_lines(&[&bcrypt_dummy(4)]), line(4), "nothing costlier is known");
        assert_eq!(costlier_lines(&[ELEVEN]), line(11), "salt and hash are replaced");
        write_file(&bcrypt_dummy(11));
        assert_eq!(costlier_lines(&[ELEVEN]), None, "not costlier");
        assert_eq!(costlier_lines(&[&bcrypt_dummy(12)]), line(12));
        let both = format!("{0}\n{0}\n", bcrypt_dummy(11));
        assert_eq!(
            costlier_lines(&[ELEVEN, "{PLAIN}x", ELEVEN]),
            Some(both),
            "all passwords count"
        );
        write_file("garbage");
        assert_eq!(costlier_lines(&[ELEVEN]), line(11), "garbage is ignored");
        let torn = "$y$j9T$salt\0alt$M8B9s7Va8RYZhmIp6UymHdZUGBExDfYb1/xqutXpI52";
        assert_eq!(costlier_lines(&[torn]), None, "libcrypt would refuse it at once");
        let no_digit = "$y$j9T$saltsalt$M8B9s7Va8RYZhmIp6UymHdZUGBExDfYb1/xqutXpI\u{3b1}";
        assert_eq!(costlier_lines(&[no_digit]), None, "not a hash");
    }

    #[test]
    fn root_leaves_no_file() {
        if nix::unistd::Uid::effective().is_root() {
            let directory = tempfile::tempdir().unwrap();
            let settings = Settings::default();
            let dummy = Dummy::load(directory.path(), None, &settings);
            dummy.learn(&[stored(ELEVEN)], &settings);
            assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        }
    }

    #[test]
    fn a_configured_dummy_is_used_and_none_is_learnt() {
        let directory = tempfile::tempdir().unwrap();
        let settings = Settings::default();
        fs::write(directory.path().join(FILE_NAME), bcrypt_dummy(14)).unwrap();
        let dummy = Dummy::load(directory.path(), Some(ELEVEN), &settings);
        let eleven = Content::read(&stored(ELEVEN), &settings).unwrap().work();
        assert_eq!(dummy.work(), eleven);
        assert!(dummy.file.is_none());
    }

    /// Counts the calls of `matches`.
    struct CountingStored(&'static Cell<u32>);

    impl Stored for CountingStored {
        fn matches(&self, _: Candidate<'_>) -> Result<bool, Fault> {
            self.0.set(self.0.get().saturating_add(1));
            Ok(false)
        }

        fn work(&self) -> u64 {
            1000
        }
    }

    #[test]
    fn a_match_saves_no_work_if_the_attempt_is_refused_anyway() {
        let counted: &'static Cell<u32> = Box::leak(Box::default());
        let clear = Scheme::find("PLAIN").unwrap();
        let passwords = vec![Content::Password(clear, Box::new(CountingStored(counted)))];
        let dummy = Dummy { file: None, is_known: false, passwords };
        let settings = Settings::default();
        for (all, password, right, work) in [
            (false, "test", true, 0),
            (false, "wrong", false, 1),
            (true, "test", true, 1),
            (true, "wrong", false, 1),
        ] {
            counted.set(0);
            let verify = if all { verify_all } else { verify_any };
            let password = stored(password);
            let candidate = Candidate { password: &password, login: "" };
            let found = verify(&[stored("{PLAIN}test")], &settings, candidate, &dummy);
            assert_eq!((found, counted.get()), (Ok(right), work), "{all}");
        }
    }
}
