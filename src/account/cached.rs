//! Cached accounts: accounts that have just logged in, in the memory that all connections share
//! (`accounts.cache`).
//!
//! A cached account answers only a right password. The caller asks the database again before
//! anything else is decided from it. Accounts on disk, for outages, are in `remembered`.

use std::time::Duration;

use crate::account::Account;
use crate::account::COLUMNS;
use crate::config::Accounts;
use crate::config::ConfigId;
use crate::secret::Secret;
use crate::shared::SharedMemory;
use crate::shared::Timestamp;
use crate::sql;
use crate::store::Parameters;
use crate::store::Row;
use crate::store::Value;

/// The place of one account in the shared memory, which may be empty.
pub struct CachedAccount<'a> {
    memory: &'a SharedMemory,
    key: Vec<Vec<u8>>,
    lifetime: Duration,
}

impl<'a> CachedAccount<'a> {
    /// The place of the account that the query finds with these parameters; `None` if
    /// `accounts.cache` is not set.
    ///
    /// The key is the content of the configuration, and each parameter that the query names, as it
    /// is bound. The content includes the query and the database.
    #[must_use]
    pub fn new(
        memory: &'a SharedMemory,
        config: &ConfigId,
        accounts: &Accounts,
        parameters: &Parameters,
    ) -> Option<Self> {
        let lifetime = accounts.cache?;
        let mut key = vec![config.as_bytes().to_vec()];
        for name in sql::parameters(&accounts.query) {
            let value = parameters.iter().find(|(known, _)| *known == name);
            key.push(value.map(|(_, value)| tagged(value)).unwrap_or_default());
        }
        Some(Self { memory, key, lifetime })
    }

    /// The account, if it was stored less than `accounts.cache` ago.
    #[must_use]
    pub fn load(&self, now: Timestamp) -> Option<Account> {
        decode(self.memory.account(&self.key(), now, self.lifetime)?.expose())
    }

    /// Stores an account that the database was asked for at `start`. One that is disabled, has no
    /// password or is too long is not stored.
    pub fn store(&self, account: &Account, start: Timestamp) {
        match encode(account) {
            Some(text) => drop(self.memory.store_account(&self.key(), start, text.expose())),
            None => self.forget(),
        }
    }

    /// Empties the place.
    pub fn forget(&self) {
        self.memory.forget_account(&self.key());
    }

    fn key(&self) -> Vec<&[u8]> {
        self.key.iter().map(Vec::as_slice).collect()
    }
}

/// A value with its type, so that the number 1 and the text `1` differ.
fn tagged(value: &Value) -> Vec<u8> {
    match value {
        Value::Null => vec![b'n'],
        Value::Int(number) => [&b"i"[..], number.to_string().as_bytes()].concat(),
        Value::Text(text) => [b"t", text.expose()].concat(),
    }
}

/// The columns and the stored passwords, each after its length. `None` if the account may not be
/// cached, or if its copy would differ from it.
fn encode(account: &Account) -> Option<Secret> {
    if account.rules.disabled || account.passwords.is_empty() {
        return None;
    }
    let columns = account.columns();
    let columns = columns.iter().map(String::as_bytes);
    let parts: Vec<_> = columns.chain(account.passwords.iter().map(Secret::expose)).collect();
    // The whole capacity is allocated at once, because growing would leave copies in memory.
    let length = parts.iter().fold(0_usize, |sum, part| sum.saturating_add(part.len()));
    let mut text = Vec::with_capacity(length.saturating_add(parts.len().saturating_mul(2)));
    for part in parts {
        text.extend_from_slice(&u16::try_from(part.len()).ok()?.to_le_bytes());
        text.extend_from_slice(part);
    }
    let text = Secret::new(text);
    decode(text.expose()).filter(|copy| copy.is_same(account)).map(|_| text)
}

/// The account in this text; `None` if it has another form.
fn decode(mut text: &[u8]) -> Option<Account> {
    let mut next = || {
        let (length, rest) = text.split_first_chunk()?;
        let (part, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
        text = rest;
        Some(part)
    };
    let mut row = vec![(String::from("password"), Value::Null)];
    for name in COLUMNS {
        row.push((name.to_owned(), Value::text(std::str::from_utf8(next()?).ok()?)));
    }
    let mut account = Account::read(&mut Row::new(row)).ok()?;
    account.passwords = std::iter::from_fn(next).map(|part| Secret::new(part.to_vec())).collect();
    (!account.passwords.is_empty()).then_some(account)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(columns: [&str; 6]) -> Account {
        let names = COLUMNS.into_iter().chain(["disabled"]);
        let row = names.zip(columns).map(|(name, text)| (name.to_owned(), Value::text(text)));
        let mut account = Account::read(&mut Row::new(row.collect())).unwrap();
        account.passwords = vec![Secret::new(b"{PLAIN}\xff\0\n".to_vec()), Secret::new(vec![])];
        account
    }

    #[test]
    fn an_account_is_the_same_after_a_round_trip() {
        for columns in [
            ["mike@example.com", "GB sg", "CN", "192.0.2.0/24, 2001:db8::1", "smtp imap", "0"],
            ["", "", "", "", "", ""],
            ["j\u{f6}rg", "*", " ", ";", ",", "n"],
        ] {
            let account = account(columns);
            let text = encode(&account).unwrap();
            assert!(decode(text.expose()).unwrap().is_same(&account), "{columns:?}");
            for end in 0..text.expose().len() {
                let cut = decode(&text.expose()[..end]);
                assert!(!cut.is_some_and(|cut| cut.is_same(&account)), "{columns:?}, {end}");
            }
        }
    }

    #[test]
    fn an_account_that_is_disabled_or_has_no_password_is_not_cached() {
        assert!(encode(&account(["u", "", "", "", "", "0"])).is_some());
        assert!(encode(&account(["u", "", "", "", "", "1"])).is_none());
        assert!(
            encode(&Account { passwords: vec![], ..account(["u", "", "", "", "", "0"]) }).is_none()
        );
    }
}
