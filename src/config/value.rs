//! Values of keys: durations, words from a list, databases and statements.

use std::time::Duration;

use serde::Deserialize;

use super::Database;
use super::problem::Problem;
use crate::sql;

/// A duration of at most one hour.
pub(super) fn duration(
    table: &'static str,
    key: &'static str,
    text: &str,
) -> Result<Duration, Problem> {
    up_to(Duration::from_secs(3600), "an hour", text).map_err(|what| Problem::Key(table, key, what))
}

/// A duration of at most ten years, for things that are remembered.
pub(super) fn long_duration(
    table: &'static str,
    key: &'static str,
    text: &str,
) -> Result<Duration, Problem> {
    up_to(Duration::from_secs(3660 * 24 * 3600), "ten years", text)
        .map_err(|what| Problem::Key(table, key, what))
}

/// A duration of at most `max`; `max_text` is its name in a message.
fn up_to(max: Duration, max_text: &str, text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration <= max => Ok(duration),
        Ok(_) => Err(format!("is longer than {max_text}")),
        Err(_) => {
            let text = text.escape_debug();
            Err(format!("\"{text}\" is not a duration such as \"500ms\" or \"2s\""))
        }
    }
}

/// The value of a key of `[policy]` that takes one of several words. The first word is the default.
pub(super) fn choice<T: Copy>(
    key: &'static str,
    text: Option<&str>,
    choices: &[(&'static str, T)],
) -> Result<T, Problem> {
    let first = choices.first().map(|(name, _)| *name).unwrap_or_default();
    choose(text.unwrap_or(first), choices).map_err(|what| Problem::Key("policy", key, what))
}

/// The value that belongs to a word.
pub(super) fn choose<T: Copy>(text: &str, choices: &[(&'static str, T)]) -> Result<T, String> {
    let found = choices.iter().find(|(name, _)| *name == text);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<_> = choices.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        format!("\"{}\" is not one of {}", text.escape_debug(), names.join(", "))
    })
}

/// One URL, or a list of URLs.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a database URL in quotes, or a list of them")]
pub(super) enum Urls {
    One(String),
    Several(Vec<String>),
}

/// The database of a key `url`.
pub(super) fn urls(table: &'static str, urls: &Urls) -> Result<Database, Problem> {
    let list = match urls {
        Urls::One(url) => std::slice::from_ref(url),
        Urls::Several(urls) => urls,
    };
    Database::parse(list).map_err(|what| Problem::Key(table, "url", what))
}

/// The parameters of a statement, which must all be known.
pub(super) fn statement<'a>(
    table: &'static str,
    key: &'static str,
    text: &'a str,
    known: &[&str],
) -> Result<Vec<&'a str>, Problem> {
    let parameters = sql::parameters(text);
    match parameters.iter().find(|name| !known.contains(name)) {
        None => Ok(parameters),
        Some(name) => Err(Problem::Key(
            table,
            key,
            format!("names the unknown parameter :{name}; known are :{}", known.join(", :")),
        )),
    }
}
