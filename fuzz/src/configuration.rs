//! Any text as a configuration: no panic, a valid configuration can be printed, and no message
//! shows a password or nonce in it.
//!
//! `fuzz/seeds/configuration` and the examples have the same secret, [`CANARY`], where secrets
//! belong. A mutation may put it elsewhere; there it may be shown.

use std::path::Path;

use authpolicy::config::Config;
use toml::Table;
use toml::Value;

/// The password of a URL, or `hash_nonce`.
const CANARY: &str = "change-me";

/// The table and key of each secret.
const PLACES: [(&str, &str); 4] =
    [("database", "url"), ("accounts", "url"), ("log", "url"), ("policy", "hash_nonce")];

/// The beginnings of lines with a secret; the last two are in a list.
const LINES: [&str; 4] = ["url", "hash_nonce", "\"mysql:", "'mysql:"];

/// Reads a configuration, and checks what would be printed.
pub fn read(text: &str) {
    let (printed, is_valid) = match Config::parse(Path::new("/etc/authpolicy.toml"), text) {
        Ok(config) => (format!("{config:?} {}", config.accounts.database), true),
        Err(e) => (e.to_string(), false),
    };
    let names_file = printed.starts_with("/etc/authpolicy.toml: ");
    assert!(is_valid || names_file, "no file in the message: {printed}");
    assert!(is_valid || !printed.contains('\n'), "several lines: {printed}");
    if text.contains(CANARY) && secret_is_in_its_place(text) {
        assert!(!printed.contains(CANARY), "a secret in: {printed}");
    }
}

/// True if the secret occurs only where secrets belong.
fn secret_is_in_its_place(text: &str) -> bool {
    match text.parse::<Table>() {
        Ok(mut table) => {
            for (name, key) in PLACES {
                match table.get_mut(name).and_then(|table| table.get_mut(key)) {
                    Some(value) if key == "url" => redact(value),
                    Some(value) => *value = Value::Boolean(false),
                    None => {}
                }
            }
            !format!("{table:?}").contains(CANARY)
        }
        // In a text that is not TOML, the beginning of the line decides.
        Err(_) => text
            .lines()
            .map(str::trim_start)
            .filter(|line| line.contains(CANARY))
            .all(|line| LINES.iter().any(|start| line.starts_with(start))),
    }
}

/// Removes the parts of URLs that may be secret. The URL of an embedded database has none.
fn redact(value: &mut Value) {
    match value {
        Value::Array(list) => list.iter_mut().for_each(redact),
        Value::String(text) if text.starts_with("sqlite:") => {}
        Value::String(text) => *text = public_parts(text),
        other => *other = Value::Boolean(false),
    }
}

/// The parts of a server's URL that may be shown: the host, the database's name, and the
/// parameters. A name that looks like the end of a password with a slash is left out.
fn public_parts(url: &str) -> String {
    // Parsers of URLs remove these characters.
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
    fn every_key_is_valid_and_the_secrets_are_in_their_places() {
        let text = include_str!("../seeds/configuration/every-key.toml");
        let config = Config::parse(Path::new("/etc/authpolicy.toml"), text);
        assert!(config.is_ok(), "{:?}", config.err());
        assert!(secret_is_in_its_place(text));
        read(text);
    }
}
