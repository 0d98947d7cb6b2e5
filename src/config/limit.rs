//! The keys of `[[policy.limit]]` and their checks.

use std::sync::Arc;
use std::time::Duration;

use humantime::format_duration;
use serde::Deserialize;

use super::value::choose;
use crate::policy::Action;
use crate::policy::Count;
use crate::policy::Limit;
use crate::policy::Per;

/// The highest `max` of a limit that counts passwords. It counts hashes of 12 bits, and so 4096
/// values at most. Up to this number, few different passwords have the same hash.
const MAX_PASSWORDS: u32 = 1000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LimitTable {
    pub(super) name: String,
    per: String,
    pub(super) count: String,
    max: u32,
    within: String,
    action: Option<String>,
    delay: Option<String>,
}

impl LimitTable {
    pub(super) fn check(&self) -> Result<Limit, String> {
        let plain = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
        if !(1..=32).contains(&self.name.len()) || !self.name.bytes().all(plain) {
            return Err(String::from(
                "name: is not 1 to 32 letters, digits, hyphens and underscores",
            ));
        }
        let per = choose(
            &self.per,
            &[
                ("remote", Per::Remote),
                ("account", Per::Account),
                ("account+remote", Per::AccountAndRemote),
            ],
        )
        .map_err(|what| format!("per: {what}"))?;
        let count = choose(
            &self.count,
            &[
                ("failures", Count::Failures),
                ("passwords", Count::Passwords),
                ("accounts", Count::Accounts),
                ("remotes", Count::Remotes),
                ("countries", Count::Countries),
            ],
        )
        .map_err(|what| format!("count: {what}"))?;
        let is_always_one = match (per, count) {
            (_, Count::Failures | Count::Passwords) => false,
            (Per::Remote, Count::Accounts) => false,
            (Per::Account, Count::Remotes | Count::Countries) => false,
            (Per::Remote | Per::Account | Per::AccountAndRemote, _) => true,
        };
        if is_always_one {
            let (count, per) = (&self.count, &self.per);
            return Err(format!("count: \"{count}\" makes no sense with per = \"{per}\""));
        }
        if self.max == 0 {
            return Err(String::from("max: is 0, which would refuse all clients"));
        }
        if count == Count::Passwords && self.max > MAX_PASSWORDS {
            return Err(format!(
                "max: is more than {MAX_PASSWORDS}, the most passwords that 12-bit hashes can tell apart"
            ));
        }
        let within = time("within", &self.within, Duration::from_secs(30 * 24 * 3600))?;
        let action = self.action()?;
        Ok(Limit { name: Arc::from(&*self.name), per, count, max: self.max, within, action })
    }

    fn action(&self) -> Result<Action, String> {
        match (self.action.as_deref().unwrap_or("reject"), &self.delay) {
            ("reject", None) => Ok(Action::Reject),
            ("reject", Some(_)) => Err(String::from("delay: needs action = \"delay\"")),
            ("delay", Some(text)) => {
                time("delay", text, Duration::from_secs(60)).map(Action::Delay)
            }
            ("delay", None) => {
                Err(String::from("delay: is missing: add one, such as delay = \"3s\""))
            }
            (other, _) => {
                let other = other.escape_debug();
                Err(format!("action: \"{other}\" is not one of \"reject\", \"delay\""))
            }
        }
    }
}

/// A duration from 1 ms to `max`.
fn time(key: &str, text: &str, max: Duration) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if time >= Duration::from_millis(1) && time <= max => Ok(time),
        Ok(_) => Err(format!("{key}: is not between 1ms and {}", format_duration(max))),
        Err(_) => {
            Err(format!("{key}: \"{}\" is not a duration such as \"10m\"", text.escape_debug()))
        }
    }
}
