//! An account: the administrator's query, its parameters and its columns.

pub mod cached;
mod pattern;
pub mod remembered;

use crate::attempt::Attempt;
use crate::attempt::Proof;
use crate::config::Accounts;
use crate::config::DEFAULT_QUERY_OF_PROVED;
use crate::error::Error;
use crate::policy::Countries;
use crate::policy::Rules;
use crate::policy::lists;
use crate::secret::Secret;
use crate::sql::Sql;
use crate::store::Parameters;
use crate::store::Row;
use crate::store::Store;
use crate::store::Value;

/// The columns of an account except `password` and `disabled`.
const COLUMNS: [&str; 5] =
    ["username", "allow_countries", "deny_countries", "allow_nets", "protocols"];

/// The authcid in the forms that a query may ask for.
#[derive(Debug)]
pub struct Login {
    typed: String,
    user: String,
}

impl Login {
    /// Makes the name lower case, and adds the default domain if it has none.
    #[must_use]
    pub fn new(authcid: &str, default_domain: &str) -> Self {
        let mut user = authcid.to_lowercase();
        if !user.contains('@') && !default_domain.is_empty() {
            user = format!("{user}@{default_domain}");
        }
        Self { typed: authcid.to_owned(), user }
    }

    /// The name as the client wrote it.
    #[must_use]
    pub fn typed(&self) -> &str {
        &self.typed
    }

    /// The name that limits count. Blanks at its end are cut off, because many databases ignore
    /// them in comparisons.
    #[must_use]
    pub fn key(&self) -> &str {
        self.user.trim()
    }

    /// True if the name and its domain have only printable ASCII characters.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        lists::is_plain_name(&self.typed) && lists::is_plain_name(&self.user)
    }

    /// The name for the row and the log line, unless the account has a canonical name.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }
}

/// An account of the administrator's user database.
#[derive(Debug)]
pub struct Account {
    /// The canonical name, if the query returns a column `username`.
    pub username: Option<String>,
    /// The stored passwords of all rows.
    pub passwords: Vec<Secret>,
    /// The account's own rules.
    pub rules: Rules,
}

/// The result of the account query for a login.
#[derive(Debug)]
pub struct AccountLookup {
    /// The account, if there is one.
    pub account: Option<Account>,
    /// True if all spellings of a login lead to one name: the query returns `username`, or it is
    /// the default query, which compares bytes.
    pub is_name_canonical: bool,
}

impl AccountLookup {
    /// The result for a copy of an account: a cached or a remembered one.
    #[must_use]
    pub fn from_copy(account: Option<Account>, accounts: &Accounts) -> Self {
        let is_name_canonical = accounts.query_is_default
            || account.as_ref().is_none_or(|account| account.username.is_some());
        Self { account, is_name_canonical }
    }
}

/// The parameters of the account query.
#[must_use]
pub fn parameters(login: &Login, attempt: &Attempt, protocol: &str) -> [(&'static str, Value); 7] {
    let (local_part, domain) = login.user.rsplit_once('@').unwrap_or((&login.user, ""));
    let is_encrypted = attempt.options.tls.as_deref().is_some_and(|cipher| !cipher.is_empty());
    [
        ("user", Value::text(&login.user)),
        ("login", Value::text(&login.typed)),
        ("local_part", Value::text(local_part)),
        ("domain", Value::text(domain)),
        ("remote", Value::text(&attempt.remote.text())),
        ("protocol", Value::text(protocol)),
        ("tls", Value::flag(Some(is_encrypted))),
    ]
}

impl Account {
    /// Runs the account query. An unknown account is a result, not an error.
    ///
    /// # Errors
    /// The database cannot tell, or a column cannot be understood.
    pub fn find(
        store: &mut Store,
        accounts: &Accounts,
        login: &Login,
        attempt: &Attempt,
        parameters: &Parameters,
    ) -> Result<AccountLookup, Error> {
        let proved_elsewhere = !matches!(attempt.proof, Proof::Password(_));
        let query = if accounts.query_is_default && proved_elsewhere {
            DEFAULT_QUERY_OF_PROVED.into()
        } else {
            Sql::configured(&accounts.query)
        };
        let mut found = store.find(query, parameters)?;
        let broken = |what: String| Error::Account { account: login.user.clone(), what };
        if !found.columns.iter().any(|name| name == "password") {
            let what = "accounts.query returns no column named password: use AS password";
            return Err(broken(what.to_owned()));
        }
        let mut account: Option<Self> = None;
        for row in &mut found.rows {
            let mut one = Self::read(row).map_err(broken)?;
            account = Some(match account {
                None => one,
                Some(mut all) if all.agrees_with(&one) => {
                    all.passwords.append(&mut one.passwords);
                    all
                }
                // It is unknown which row's rules apply.
                Some(_) => {
                    return Err(broken(String::from(
                        "has several rows that differ in more than password",
                    )));
                }
            });
        }
        let is_name_canonical = accounts.query_is_default
            || found.columns.iter().any(|name| name == "username")
                && account.as_ref().is_none_or(|account| account.username.is_some());
        Ok(AccountLookup { account, is_name_canonical })
    }

    /// Reads an account from one row.
    ///
    /// # Errors
    /// A column cannot be understood. The text names the column.
    pub fn read(row: &mut Row) -> Result<Self, String> {
        let stored = match row.take("password") {
            Some(Value::Text(stored)) => Some(stored),
            Some(Value::Int(number)) => Some(Secret::new(number.to_string().into())),
            Some(Value::Null) | None => None,
        };
        Ok(Self {
            username: Some(row.text("username")).filter(|name| !name.is_empty()),
            passwords: stored.into_iter().collect(),
            rules: rules_of(row)?,
        })
    }

    /// The values of `COLUMNS`, in the form that `read` takes.
    #[must_use]
    pub fn columns(&self) -> [String; 5] {
        let Rules { allow_countries, deny_countries, allow_nets, protocols, .. } = &self.rules;
        let countries =
            |list: &Option<Countries>| list.as_ref().map(ToString::to_string).unwrap_or_default();
        let nets = allow_nets.iter().flatten().map(ToString::to_string).collect::<Vec<_>>();
        [
            self.username.clone().unwrap_or_default(),
            countries(allow_countries),
            countries(deny_countries),
            nets.join(" "),
            protocols.iter().flatten().cloned().collect::<Vec<_>>().join(" "),
        ]
    }

    /// The stored passwords, in an order that does not depend on that of the rows.
    #[must_use]
    pub fn sorted_passwords(&self) -> Vec<&[u8]> {
        let mut sorted: Vec<_> = self.passwords.iter().map(Secret::expose).collect();
        sorted.sort_unstable();
        sorted
    }

    /// True if name, rules and stored passwords are the same.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.agrees_with(other) && self.sorted_passwords() == other.sorted_passwords()
    }

    fn agrees_with(&self, other: &Self) -> bool {
        (&self.username, &self.rules) == (&other.username, &other.rules)
    }
}

fn rules_of(row: &Row) -> Result<Rules, String> {
    let countries = |column: &str| {
        lists::countries(&row.text(column)).map_err(|what| format!("column {column}: {what}"))
    };
    Ok(Rules {
        allow_countries: countries("allow_countries")?,
        deny_countries: countries("deny_countries")?,
        allow_nets: lists::networks(&row.text("allow_nets"))
            .map_err(|what| format!("column allow_nets: {what}"))?,
        protocols: lists::protocols(&row.text("protocols")),
        disabled: disabled(row)?,
    })
}

/// Reads `disabled`: a number, `Y` or `N`, or a word, as hosting panels store it. Any other text is
/// an error.
fn disabled(row: &Row) -> Result<bool, String> {
    match row.text("disabled").trim().to_lowercase().as_str() {
        "" | "0" | "n" | "no" | "f" | "false" | "off" => Ok(false),
        "y" | "yes" | "t" | "true" | "on" => Ok(true),
        number if number.parse::<i64>().is_ok() => Ok(true),
        // A BIT(1) column arrives as one byte.
        "\0" => Ok(false),
        "\u{1}" => Ok(true),
        _ => Err(String::from("column disabled: is neither a number nor yes or no")),
    }
}

#[cfg(test)]
mod tests {
    use super::Login;

    #[test]
    fn a_login_is_lower_case_and_has_a_domain() {
        for (typed, default_domain, user) in [
            ("Mike@Example.COM", "", "mike@example.com"),
            ("Mike", "example.com", "mike@example.com"),
            ("mike@other.org", "example.com", "mike@other.org"),
            ("Mike", "", "mike"),
            ("JÖRG", "", "jörg"),
        ] {
            assert_eq!(Login::new(typed, default_domain).user(), user);
        }
    }
}
