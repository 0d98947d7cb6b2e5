//! `authpolicy user list`: the accounts, and those whose stored password is weak.

use crate::Done;
use crate::long_deadline;
use crate::progress::Progress;
use crate::say;
use authpolicy::attempt::printable;
use authpolicy::config::Config;
use authpolicy::error::Error;
use authpolicy::password;
use authpolicy::password::Settings;
use authpolicy::policy::lists;
use authpolicy::secret::Secret;
use authpolicy::store::Row;
use authpolicy::store::Sql;
use authpolicy::store::Store;
use authpolicy::store::Value;

/// The default of `accounts.list`, for the table of `db init`.
const DEFAULT_LIST: &str = "SELECT username, password FROM account ORDER BY username";

/// Lists the accounts.
pub(super) fn all(config: &Config, store: &mut Store) -> Done {
    let mut lines: Vec<String> = Vec::new();
    if config.accounts.list.is_some() {
        visit(config, store, |name, _| lines.push(format!("account={name}")))?;
        // A row for each password of an account.
        lines.dedup();
    } else {
        let sql = "SELECT username, active, allow_countries FROM account ORDER BY username";
        for row in store.query(sql, &[])? {
            let name = printable(row.text("username").as_bytes());
            let line = format!("account={name} active={}", row.text("active"));
            lines.push(match row.text("allow_countries") {
                list if list.is_empty() => line,
                list => format!("{line} allow_countries={}", lists::words(&list).join(",")),
            });
        }
    }
    lines.iter().for_each(|line| say(line));
    Ok(true)
}

/// Lists the weak stored passwords; returns false if there are none.
pub(super) fn weak(config: &Config, store: &mut Store) -> Done {
    let settings = Settings { allow_weak_schemes: true, ..config.accounts.passwords.clone() };
    let mut lines = Vec::new();
    visit(config, store, |name, stored| {
        match stored.map(|stored| password::describe(&stored, &settings)) {
            Some(Ok(Some((scheme, true)))) => lines.push(format!("account={name} scheme={scheme}")),
            Some(Ok(Some((_, false)) | None)) | None => {}
            Some(Err(fault)) => lines.push(format!("account={name} error={:?}", fault.0)),
        }
    })?;
    lines.iter().for_each(|line| say(line));
    Ok(!lines.is_empty())
}

/// Reads all accounts, one at a time, because there may be millions. The callers print afterwards:
/// if they printed meanwhile and a pager blocked them, the server would end the connection.
fn visit(
    config: &Config,
    store: &mut Store,
    mut show: impl FnMut(String, Option<Secret>),
) -> Result<(), Error> {
    let list = config.accounts.list.as_deref();
    if list.is_some() {
        prepare(config, store)?;
    }
    let sql = list.map_or(DEFAULT_LIST.into(), Sql::configured);
    let progress = Progress::of_rows("accounts read", || Ok::<_, Error>(None))?;
    store.visit(sql, &[], &mut |mut row: Row| {
        let stored = match row.take("password") {
            Some(Value::Text(stored)) => Some(stored),
            Some(Value::Int(number)) => Some(Secret::new(number.to_string().into())),
            Some(Value::Null) | None => None,
        };
        show(printable(row.text("username").as_bytes()), stored);
        progress.add(1);
    })?;
    Ok(())
}

/// Prepares `accounts.list`, and checks its columns.
fn prepare(config: &Config, store: &mut Store) -> Result<(), Error> {
    let list = config.accounts.list.as_deref().unwrap_or(DEFAULT_LIST);
    let columns = store.prepare(Sql::configured(list))?;
    let missing =
        ["username", "password"].into_iter().find(|name| !columns.iter().any(|c| c == name));
    missing.map_or(Ok(()), |name| {
        let what = format!("accounts.list returns no column named {name}: use AS {name}");
        Err(Error::Config { file: config.path.clone(), what })
    })
}

/// Checks `accounts.list` for `authpolicy config`.
pub(crate) fn check(config: &Config) -> Result<String, Error> {
    if config.accounts.list.is_none() {
        return Ok(String::from("ok not used"));
    }
    let mut store = Store::open(&config.accounts.database, long_deadline(config))?;
    prepare(config, &mut store)?;
    Ok(String::from("ok the query fits"))
}
