//! `authpolicy log`: recent attempts, or who is attacked from where.

use std::time::Duration;

use clap::Args;

use crate::config::Config;
use crate::error::Error;
use crate::sql::Sql;
use crate::store::Row;
use crate::store::Store;
use crate::store::Value;

use super::Done;
use super::patience;
use super::say;
use super::seconds_before_now;

#[derive(Args)]
pub(super) struct Arguments {
    /// Only this account; % stands for any text.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Only this address; % stands for any text.
    #[arg(long, value_name = "IP")]
    remote: Option<String>,
    /// Only this country.
    #[arg(long, value_name = "CODE")]
    country: Option<String>,
    /// Only attempts that were not accepted.
    #[arg(long)]
    refused: bool,
    /// Only attempts with the right password that policy refused: a password has leaked.
    #[arg(long)]
    leaked: bool,
    /// Only the last while, as 24h.
    #[arg(long, value_parser = humantime::parse_duration, value_name = "DURATION")]
    since: Option<Duration>,
    /// At most so many lines, the newest.
    #[arg(long, short = 'n', default_value_t = 50, value_name = "N")]
    limit: u32,
    /// Which accounts are attacked, from which countries and addresses.
    #[arg(long)]
    summary: bool,
}

const COLUMNS: [&str; 7] =
    ["datetime", "protocol", "username", "remote_ip", "country", "auth_ok", "policy_reject"];

pub(super) fn run(config: &Config, arguments: &Arguments) -> Done {
    let mut store = Store::open(&config.log.database, patience(config))?;
    let shown = match arguments.summary {
        true => summarize(&mut store, arguments),
        false => list(&mut store, arguments),
    };
    shown.map_err(|e| e.about_table("connection_log"))
}

/// The filters as a condition; the values are bound.
/// What follows WHERE, in pieces, and its parameters.
fn condition(
    store: &Store,
    arguments: &Arguments,
) -> (Vec<&'static str>, Vec<(&'static str, Value)>) {
    let mut condition = vec!["1 = 1"];
    let mut parameters = vec![("limit", Value::Int(i64::from(arguments.limit)))];
    for (name, text, test) in [
        ("user", &arguments.user, " AND username LIKE :user"),
        ("remote", &arguments.remote, " AND remote_ip LIKE :remote"),
        ("country", &arguments.country, " AND country = :country"),
    ] {
        if let Some(text) = text {
            let text = if name == "country" { text.to_uppercase() } else { text.to_lowercase() };
            parameters.push((name, Value::text(&text)));
            condition.push(test);
        }
    }
    if let Some(since) = arguments.since {
        parameters.push(("since", Value::Int(seconds_before_now(since))));
        condition.push(store.dialect(
            " AND datetime >= datetime(:since, 'unixepoch')",
            " AND datetime >= FROM_UNIXTIME(:since)",
        ));
    }
    if arguments.refused {
        condition.push(" AND NOT (COALESCE(auth_ok, 0) = 1 AND COALESCE(policy_reject, 1) = 0)");
    }
    if arguments.leaked {
        condition.push(" AND auth_ok = 1 AND policy_reject = 1");
    }
    (condition, parameters)
}

fn list(store: &mut Store, arguments: &Arguments) -> Done {
    let (condition, parameters) = condition(store, arguments);
    let sql = [
        &["SELECT datetime, protocol, username, remote_ip, country, auth_ok, policy_reject \
           FROM connection_log WHERE "][..],
        &condition,
        &[" ORDER BY id DESC LIMIT :limit"],
    ];
    let mut rows = store.query(Sql::of(&sql.concat()), &parameters)?;
    rows.reverse();
    let lines = rows.iter().map(|row| COLUMNS.map(|column| cell(row, column)));
    print_table(&COLUMNS, &lines.map(Vec::from).collect::<Vec<_>>());
    Ok(true)
}

/// NULL is shown as `-`, as in the log line.
fn cell(row: &Row, column: &str) -> String {
    match row.get(column) {
        None | Some(Value::Null) => String::from("-"),
        Some(value) => value.to_text(),
    }
}

fn summarize(store: &mut Store, arguments: &Arguments) -> Done {
    for (title, column) in
        [("account", "username"), ("country", "country"), ("address", "remote_ip")]
    {
        print_group(store, arguments, title, column)?;
    }
    Ok(true)
}

/// Attempts that were not accepted, by one column.
fn print_group(
    store: &mut Store,
    arguments: &Arguments,
    title: &str,
    column: &'static str,
) -> Result<(), Error> {
    let (condition, parameters) = condition(store, arguments);
    let sql = [
        &["SELECT ", column],
        &[" AS name, COUNT(*) AS refused, \
           SUM(CASE WHEN auth_ok = 1 THEN 1 ELSE 0 END) AS right_password, \
           COUNT(DISTINCT username) AS accounts, COUNT(DISTINCT remote_ip) AS addresses, \
           COUNT(DISTINCT country) AS countries, MAX(datetime) AS latest, \
           GROUP_CONCAT(DISTINCT CASE WHEN country = '' THEN '?' ELSE country END) AS places \
           FROM connection_log WHERE "][..],
        &condition,
        &[" AND NOT (COALESCE(auth_ok, 0) = 1 AND COALESCE(policy_reject, 1) = 0) GROUP BY "],
        &[column, " ORDER BY refused DESC, name LIMIT :limit"],
    ];
    let columns = [
        "name",
        "refused",
        "right_password",
        "accounts",
        "addresses",
        "countries",
        "latest",
        "places",
    ];
    let rows = store.query(Sql::of(&sql.concat()), &parameters)?;
    let lines: Vec<_> =
        rows.iter().map(|row| columns.iter().map(|column| cell(row, column)).collect()).collect();
    let mut titles = columns;
    let [first, .., last] = &mut titles;
    (*first, *last) = (title, "from");
    print_table(&titles, &lines);
    say("");
    Ok(())
}

/// Columns as wide as their widest cell. What clients sent stays on its line.
fn print_table(titles: &[&str], lines: &[Vec<String>]) {
    let clean = |text: &str| text.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    let titles: Vec<String> = titles.iter().map(|&title| title.to_owned()).collect();
    let lines: Vec<Vec<String>> =
        lines.iter().map(|line| line.iter().map(|cell| clean(cell)).collect()).collect();
    let mut widths: Vec<usize> = titles.iter().map(|title| title.chars().count()).collect();
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for line in std::iter::once(&titles).chain(&lines) {
        let padded: Vec<_> =
            line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        say(padded.join("  ").trim_end());
    }
}
