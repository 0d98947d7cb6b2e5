//! Values of keys: durations, and words from a list.

use std::time::Duration;

use super::problem::Problem;

pub(super) fn duration(
    table: &'static str,
    key: &'static str,
    text: &str,
) -> Result<Duration, Problem> {
    up_to(Duration::from_secs(3600), "an hour", text).map_err(|what| Problem::Key(table, key, what))
}

/// For how long something is remembered.
pub(super) fn long_duration(
    table: &'static str,
    key: &'static str,
    text: &str,
) -> Result<Duration, Problem> {
    up_to(Duration::from_secs(3660 * 24 * 3600), "ten years", text)
        .map_err(|what| Problem::Key(table, key, what))
}

fn up_to(most: Duration, called: &str, text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration <= most => Ok(duration),
        Ok(_) => Err(format!("is longer than {called}")),
        Err(_) => {
            let text = text.escape_debug();
            Err(format!("\"{text}\" is no duration such as \"500ms\" or \"2s\""))
        }
    }
}

/// A word of `[policy]`; the first of them unless given.
pub(super) fn choice<T: Copy>(
    key: &'static str,
    text: Option<&str>,
    choices: &[(&'static str, T)],
) -> Result<T, Problem> {
    let first = choices.first().map(|(name, _)| *name).unwrap_or_default();
    choose(text.unwrap_or(first), choices).map_err(|what| Problem::Key("policy", key, what))
}

/// The value of a word.
pub(super) fn choose<T: Copy>(text: &str, choices: &[(&'static str, T)]) -> Result<T, String> {
    let found = choices.iter().find(|(name, _)| *name == text);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<_> = choices.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        format!("\"{}\" is not one of {}", text.escape_debug(), names.join(", "))
    })
}
