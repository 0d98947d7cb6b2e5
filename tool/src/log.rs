//! `authpolicy log`: shows recent attempts, or a summary of refused ones.

use std::time::Duration;

use clap::Args;

use authpolicy::config::Config;
use authpolicy::error::Error;
use authpolicy::policy::lists;
use authpolicy::store::Row;
use authpolicy::store::Sql;
use authpolicy::store::Store;
use authpolicy::store::Value;
use authpolicy::store::dialect;

use super::Done;
use super::long_deadline;
use super::progress::Progress;
use super::say;
use super::since;
use super::span;

#[derive(Args)]
pub(super) struct LogArguments {
    /// Show only this account; % stands for any text.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Show only this address, or a network such as 192.0.2.0/24; % stands for any text.
    #[arg(long, value_name = "IP")]
    remote: Option<String>,
    /// Show only this country.
    #[arg(long, value_name = "CODE")]
    country: Option<String>,
    /// Show only attempts that were not accepted.
    #[arg(long)]
    refused: bool,
    /// Show only attempts that policy refused although the password was right: it may have leaked.
    #[arg(long)]
    leaked: bool,
    /// Show only the attempts of this last period, such as 24h.
    #[arg(long, value_parser = duration, value_name = "DURATION")]
    since: Option<Duration>,
    /// The maximum number of lines; the newest are shown.
    #[arg(long, short = 'n', default_value_t = 50, value_name = "N")]
    limit: u32,
    /// Count the refused attempts by account, by country and by address.
    #[arg(long)]
    summary: bool,
}

const COLUMNS: [&str; 7] =
    ["datetime", "protocol", "username", "remote_ip", "country", "auth_ok", "policy_reject"];

/// The WHERE condition in pieces, and its parameters.
struct Filter {
    condition: Vec<&'static str>,
    parameters: Vec<(&'static str, Value)>,
}

impl Filter {
    /// Adds a condition and its parameters.
    fn add<const N: usize>(&mut self, condition: &'static str, values: [(&'static str, Value); N]) {
        self.condition.extend([" AND ", condition]);
        self.parameters.extend(values);
    }
}

pub(super) fn run(config: &Config, arguments: &LogArguments) -> Done {
    let mut store = Store::open(&config.log.database, long_deadline(config))?;
    let filter = filter(&mut store, arguments)?;
    let shown = match arguments.summary {
        true => summarize(&mut store, &filter),
        false => list(&mut store, &filter),
    };
    let is_empty = !shown.map_err(|e| e.about_table("connection_log"))?;
    if is_empty {
        eprintln!("authpolicy: {}", describe_nothing(arguments));
    }
    Ok(true)
}

/// Describes the filters that match no row.
fn describe_nothing(arguments: &LogArguments) -> String {
    let is_known = |text: &String| text.contains('%') || lists::network(text).is_ok();
    let is_known = arguments.remote.as_ref().is_some_and(is_known);
    let hint = if is_known { "" } else { " (not an address or a network)" };
    let given = [
        ("--user", &arguments.user, " (give the whole name as in the log, or use % for any text)"),
        ("--remote", &arguments.remote, hint),
        ("--country", &arguments.country, ""),
    ];
    let mut filters: Vec<_> = given
        .iter()
        .filter_map(|(option, text, hint)| Some(format!("{option} {:?}{hint}", text.as_ref()?)))
        .collect();
    filters.extend(arguments.since.map(|since| format!("--since {}", span(since))));
    filters.extend(arguments.refused.then(|| String::from("--refused")));
    filters.extend(arguments.leaked.then(|| String::from("--leaked")));
    let rows = if arguments.summary { "no refused attempt" } else { "no attempt" };
    match filters.is_empty() {
        true => format!("{rows} is in the log"),
        false => format!("{rows} matches {}", filters.join(" ")),
    }
}

fn filter(store: &mut Store, arguments: &LogArguments) -> Result<Filter, Error> {
    let parameters = vec![("limit", Value::Int(i64::from(arguments.limit)))];
    let mut filter = Filter { condition: vec!["1 = 1"], parameters };
    if let Some(user) = &arguments.user {
        filter.add("username LIKE :user", [("user", Value::text(&user.to_lowercase()))]);
    }
    if let Some(remote) = &arguments.remote {
        add_remote(store, &mut filter, remote)?;
    }
    if let Some(country) = &arguments.country {
        filter.add("country = :country", [("country", Value::text(&country.to_uppercase()))]);
    }
    if let Some(since) = arguments.since {
        filter.add("datetime >= ", since::parameters(since));
        filter.condition.push(since::bound(store));
    }
    if arguments.refused {
        filter.add("NOT (COALESCE(auth_ok, 0) = 1 AND COALESCE(policy_reject, 1) = 0)", []);
    }
    if arguments.leaked {
        filter.add("auth_ok = 1 AND policy_reject = 1", []);
    }
    Ok(filter)
}

/// Adds the filter for `--remote`: an address, a network, or a pattern. The column may also hold
/// other texts: "" for a dialogue on this machine, and whatever Exim passed instead of an address.
fn add_remote(store: &mut Store, filter: &mut Filter, text: &str) -> Result<(), Error> {
    let Ok(network) = lists::network(text) else {
        let text = Value::text(&text.to_lowercase());
        filter.add("remote_ip LIKE :remote", [("remote", text)]);
        return Ok(());
    };
    if network.prefix_len() == network.max_prefix_len() {
        let address = Value::text(&network.addr().to_canonical().to_string());
        filter.add("remote_ip = :remote", [("remote", address)]);
        return Ok(());
    }
    store.add_in_network()?;
    let condition = dialect::tool::remote_in_network(store);
    let text = |text: String| Value::text(&text);
    filter.add(
        condition,
        [
            ("network", text(network.to_string())),
            ("first", text(network.network().to_string())),
            ("last", text(network.broadcast().to_string())),
        ],
    );
    Ok(())
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|e| format!("{e}: write a duration such as 24h or 7d"))
}

/// Prints the rows; returns false if there are none.
fn list(store: &mut Store, filter: &Filter) -> Done {
    let sql = [
        &["SELECT datetime, protocol, username, remote_ip, country, auth_ok, policy_reject \
           FROM connection_log WHERE "][..],
        &filter.condition,
        &[" ORDER BY id DESC LIMIT :limit"],
    ];
    let mut rows = store.query(Sql::of(&sql.concat()), &filter.parameters)?;
    rows.reverse();
    let lines = rows.iter().map(|row| COLUMNS.map(|column| cell(row, column)));
    print_table(&COLUMNS, &lines.map(Vec::from).collect::<Vec<_>>());
    Ok(!rows.is_empty())
}

/// Formats a value; NULL is `-`, as in the log line.
fn cell(row: &Row, column: &str) -> String {
    match row.get(column) {
        None | Some(Value::Null) => String::from("-"),
        Some(value) => value.to_text(),
    }
}

/// Prints the summary; returns false if it is empty.
fn summarize(store: &mut Store, filter: &Filter) -> Done {
    let mut found = false;
    for (title, column) in
        [("account", "username"), ("country", "country"), ("address", "remote_ip")]
    {
        found |= print_group(store, filter, title, column)?;
    }
    Ok(found)
}

/// Prints the attempts that were not accepted, grouped by one column.
fn print_group(store: &mut Store, filter: &Filter, title: &str, column: &'static str) -> Done {
    let sql = [
        &["SELECT ", column],
        &[" AS name, COUNT(*) AS refused, \
           SUM(CASE WHEN auth_ok = 1 THEN 1 ELSE 0 END) AS right_password, \
           COUNT(DISTINCT username) AS accounts, COUNT(DISTINCT remote_ip) AS addresses, \
           COUNT(DISTINCT country) AS countries, MAX(datetime) AS latest, \
           GROUP_CONCAT(DISTINCT CASE WHEN country = '' THEN '?' ELSE country END) AS places \
           FROM connection_log WHERE "][..],
        &filter.condition,
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
    let progress = Progress::of_step(&format!("counting by {title}"));
    let rows = store.query(Sql::of(&sql.concat()), &filter.parameters)?;
    drop(progress);
    let lines: Vec<_> =
        rows.iter().map(|row| columns.iter().map(|column| cell(row, column)).collect()).collect();
    let mut titles = columns;
    let [first, .., last] = &mut titles;
    (*first, *last) = (title, "from");
    print_table(&titles, &lines);
    say("");
    Ok(!lines.is_empty())
}

/// Prints columns as wide as their widest cell. Control characters are replaced, so that a row
/// stays on one line.
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
