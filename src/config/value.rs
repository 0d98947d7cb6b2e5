//! Values of keys: durations, and words from a list.

use std::time::Duration;

use super::problem::Problem;

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
