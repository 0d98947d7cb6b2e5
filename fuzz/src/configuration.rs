//! Any text as a configuration: no panic, what is read can be printed, and whatever is wrong with
//! it, nobody is told the password or the nonce in it.
//!
//! `fuzz/seeds/configuration` and the examples have one secret, [`CANARY`], where secrets belong.
//! What it becomes a part of elsewhere may be shown.

use std::path::Path;

use authpolicy::config::Config;
use toml::Table;
use toml::Value;

/// The password of a URL, or `hash_nonce`.
const CANARY: &str = "change-me";

/// Where secrets are: table and key.
const PLACES: [(&str, &str); 4] =
    [("database", "url"), ("accounts", "url"), ("log", "url"), ("policy", "hash_nonce")];

/// How a line begins that holds a secret; the last are lines of a list.
const LINES: [&str; 4] = ["url", "hash_nonce", "\"mysql:", "'mysql:"];

/// Reads it, and looks at what is said.
pub fn read(text: &str) {
    let (said, is_right) = match Config::parse(Path::new("/etc/authpolicy.toml"), text) {
        Ok(config) => (format!("{config:?} {}", config.accounts.database), true),
        Err(e) => (e.to_string(), false),
    };
    assert!(is_right || said.starts_with("/etc/authpolicy.toml: "), "no file: {said}");
    assert!(is_right || !said.contains('\n'), "several lines: {said}");
    if text.contains(CANARY) && is_in_its_place(text) {
        assert!(!said.contains(CANARY), "a secret in: {said}");
    }
}

/// Whether all that is secret stands where secrets belong.
fn is_in_its_place(text: &str) -> bool {
    match text.parse::<Table>() {
        Ok(mut table) => {
            for (name, key) in PLACES {
                match table.get_mut(name).and_then(|table| table.get_mut(key)) {
                    Some(value) if key == "url" => forget(value),
                    Some(value) => *value = Value::Boolean(false),
                    None => {}
                }
            }
            !format!("{table:?}").contains(CANARY)
        }
        // What a line was meant to be, where there is no telling.
        Err(_) => text
            .lines()
            .map(str::trim_start)
            .filter(|line| line.contains(CANARY))
            .all(|line| LINES.iter().any(|start| line.starts_with(start))),
    }
}

/// Takes out what may be secret; the embedded database's URL is a path.
fn forget(value: &mut Value) {
    match value {
        Value::Array(list) => list.iter_mut().for_each(forget),
        Value::String(text) if text.starts_with("sqlite:") => {}
        Value::String(text) => *text = told(text),
        other => *other = Value::Boolean(false),
    }
}

/// What may be told of a server's URL: the host, the database's name, and a socket's. What looks as
/// if a password with a slash had got into the name is none of these.
fn told(url: &str) -> String {
    // As whoever reads URLs does.
    let url = url.replace(['\t', '\n', '\r'], "");
    let rest = url.split_once("://").map_or(&*url, |(_, rest)| rest);
    let (rest, query) = rest.split_at(rest.find('?').unwrap_or(rest.len()));
    let (authority, name) = rest.split_once('/').unwrap_or((rest, ""));
    let host = match authority.rsplit_once('@') {
        Some((_, host)) => host.to_owned(),
        None => authority.replace(&format!(":{CANARY}"), ""),
    };
    let name = if name.contains(['/', '@', ':']) { "" } else { name };
    format!("{host}/{name}{query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_right_and_its_secrets_are_in_their_places() {
        let text = include_str!("../seeds/configuration/every-key.toml");
        let config = Config::parse(Path::new("/etc/authpolicy.toml"), text);
        assert!(config.is_ok(), "{:?}", config.err());
        assert!(is_in_its_place(text));
        read(text);
    }
}
