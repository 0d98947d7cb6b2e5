//! Any values in the columns of an account: no panic, and no stored password in a message. A rule
//! that cannot be read is an error, and is never ignored.

mod cell;
mod meaning;

use std::cell::RefCell;

use arbitrary::Arbitrary;
use authpolicy::account::Account;
use authpolicy::account::Login;
use authpolicy::account::parameters;
use authpolicy::attempt::Attempt;
use authpolicy::config::Accounts;
use authpolicy::error::Error;
use authpolicy::store::Store;

use self::cell::Cell;
use crate::database;

/// A text in each stored password.
const CANARY: &str = "Kq7Zx2Wv9";

const COLUMNS: [&str; 7] = [
    "password",
    "username",
    "allow_countries",
    "deny_countries",
    "allow_nets",
    "protocols",
    "disabled",
];

/// The rows that a query returns.
#[derive(Arbitrary, Debug)]
pub struct Input {
    /// Bits of the missing columns; most inputs have all columns.
    missing: Option<u8>,
    /// Bits of the columns with names in upper case.
    upper_case: u8,
    rows: Vec<[Cell; COLUMNS.len()]>,
}

impl Input {
    fn has(&self, column: usize) -> bool {
        self.missing.is_none_or(|missing| missing >> column & 1 == 0)
    }

    /// The texts in the columns of a row.
    fn texts(&self, row: &[Cell]) -> Vec<String> {
        let cells = row.iter().enumerate();
        let text = |(at, cell): (usize, &Cell)| self.has(at).then(|| cell.text(mark(at)));
        cells.map(|cell| text(cell).unwrap_or_default()).collect()
    }

    fn query(&self) -> String {
        let columns = || COLUMNS.iter().enumerate().filter(|(at, _)| self.has(*at));
        // The first SELECT has the names, and returns no row.
        let names = columns().map(|(at, name)| {
            let is_upper = self.upper_case >> at & 1 == 1;
            let name = if is_upper { name.to_uppercase() } else { (*name).to_owned() };
            format!(", NULL AS {name}")
        });
        let rows = self.rows.iter().map(|row| {
            let literals = columns().map(|(at, _)| format!(", {}", row[at].literal(mark(at))));
            format!(" UNION ALL SELECT :user{}", literals.collect::<String>())
        });
        format!("SELECT :user{} WHERE 0{}", names.collect::<String>(), rows.collect::<String>())
    }
}

/// The beginning of the texts in a column.
fn mark(column: usize) -> &'static str {
    if column == 0 { CANARY } else { "" }
}

/// Finds the account, and checks its passwords, name and rules.
pub fn find(input: &Input) {
    let texts: Vec<_> = input.rows.iter().map(|row| input.texts(row)).collect();
    let found = ask(&input.query());
    match found {
        Ok(found) => {
            assert!(input.has(0), "no error without the column password");
            assert_eq!(found.is_some(), !texts.is_empty());
            let Some(account) = found else { return };
            let stored = input.rows.iter().filter(|row| !matches!(row[0], Cell::Null)).count();
            assert_eq!(account.passwords.len(), stored);
            for row in &texts {
                assert_eq!(account.username.as_deref().unwrap_or_default(), row[1]);
                meaning::assert_same(&account.rules, &row[2..]);
            }
        }
        Err(Error::Account { what, .. }) => {
            assert!(!what.contains(CANARY), "a stored password in the message: {what}");
            assert!(!what.contains(char::is_control), "a control character in: {what:?}");
            let rows_agree = texts.windows(2).all(|two| two[0][1..] == two[1][1..]);
            let is_readable = texts.iter().all(|row| meaning::is_readable(&row[2..]));
            let is_valid = input.has(0) && rows_agree && is_readable;
            assert!(!is_valid, "an error for a valid account: {what}");
        }
        Err(e) => panic!("an error that is not about the account: {e}"),
    }
}

/// Runs the query, over one connection for all inputs.
fn ask(query: &str) -> Result<Option<Account>, Error> {
    thread_local! {
        static DATABASE: RefCell<(Store, Accounts)> = RefCell::new(open());
    }
    let attempt = Attempt::parse(&[b"u@example.com", b"x", b"192.0.2.1"]).expect("an attempt");
    let login = Login::new("u@example.com", "");
    DATABASE.with_borrow_mut(|(store, accounts)| {
        query.clone_into(&mut accounts.query);
        let parameters = parameters(&login, &attempt, "SMTP");
        Account::find(store, accounts, &login, &attempt, &parameters).map(|lookup| lookup.account)
    })
}

/// Opens a database file without tables. The file is deleted, because nothing is written to it.
fn open() -> (Store, Accounts) {
    let path = std::env::temp_dir().join(format!("columns-{}.db", std::process::id()));
    let config = database::configuration(&path, "");
    let store = database::as_nobody(|| {
        std::fs::File::create_new(&path).expect("a new file");
        database::open(&config)
    });
    std::fs::remove_file(&path).expect("the new file");
    (store, config.accounts)
}
