//! Messages about errors in a configuration, with line and key.

use toml::de::DeTable;

/// An error in a configuration, with its place.
pub(super) enum Problem {
    /// An error at this offset in the text, if it is known.
    At(Option<usize>, String),
    /// An error in this key of this table.
    Key(&'static str, &'static str, String),
}

impl Problem {
    /// The message with its line and key.
    pub(super) fn locate(self, text: &str) -> String {
        let line = |offset: usize| {
            let before = text.get(..offset).unwrap_or(text);
            before.matches('\n').count().saturating_add(1)
        };
        match self {
            Self::At(None, what) => what,
            Self::At(Some(offset), what) => {
                let line = line(offset);
                let written = text.lines().nth(line.saturating_sub(1)).unwrap_or("");
                let is_table = |name: &&str| {
                    let plain = |c: u8| c.is_ascii_alphanumeric() || b"_-.@\"".contains(&c);
                    !name.is_empty() && name.bytes().all(plain)
                };
                let table = text.lines().take(line.saturating_sub(1)).filter_map(|line| {
                    let name = line.trim().strip_prefix('[')?.strip_suffix(']')?;
                    let of_list = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
                    Some(of_list.unwrap_or(name)).filter(is_table)
                });
                let table = table.last().map(|name| format!("{name}.")).unwrap_or_default();
                match written.split_once('=').map(|(key, _)| key.trim()) {
                    // The value is not shown, because it is a secret.
                    Some("hash_nonce") if !what.starts_with("duplicate key") => {
                        format!("line {line}: {table}hash_nonce: is not a text in quotes")
                    }
                    Some(key) if is_key(key) => {
                        format!("line {line}: {table}{key}: {}", without_rust_types(key, &what))
                    }
                    None if written.trim_start().starts_with('[') => {
                        format!(
                            "line {line}: {}",
                            what.replacen("unknown field", "unknown section", 1)
                        )
                    }
                    Some(_) | None => format!("line {line}: {what}"),
                }
            }
            Self::Key(table, key, what) => match key_offset(text, table, key) {
                Some(offset) => format!("line {}: {table}.{key}: {what}", line(offset)),
                None => format!("{table}.{key}: {what}"),
            },
        }
    }
}

/// The offset of a key in the text.
fn key_offset(text: &str, table: &str, key: &str) -> Option<usize> {
    let document = DeTable::parse(text).ok()?;
    let (_, value) = document.get_ref().get_key_value(table)?;
    let (key, _) = value.get_ref().as_table()?.get_key_value(key)?;
    Some(key.span().start)
}

/// True if the text is certainly a key. In a line with a syntax error, it may be a part of a URL.
fn is_key(key: &str) -> bool {
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_';
    !key.is_empty() && key.bytes().all(plain)
}

/// Replaces the names of Rust types in a message of the TOML parser by plain words.
fn without_rust_types(key: &str, what: &str) -> String {
    let Some((head, expected)) = what.rsplit_once(", expected ") else { return what.to_owned() };
    let expected = match expected {
        "u8" | "u32" => match key {
            "max_bcrypt_cost" => "a whole number from 4 to 31",
            "max_rounds" => "a whole number from 1000 to 4294967295",
            "max_argon2_memory" => "a whole number from 64 to 4294967295, in KiB",
            "max_parallel_hashes" => "a whole number from 1 to 1024",
            "scram_iterations" => "a whole number from 4096 to max_rounds",
            "ipv4_prefix" => "a whole number from 1 to 32",
            "ipv6_prefix" => "a whole number from 1 to 128",
            "max" => "a whole number from 1 to 4294967295",
            _ => "a whole number from 0 to 4294967295",
        },
        "a boolean" => "true or false",
        "a string" => "a text in quotes",
        "a sequence" => "a list in [ ]",
        other => other,
    };
    format!("{head}, expected {expected}")
}

/// The error of the TOML parser, with the key if the parser only gives its place.
pub(super) fn from_toml(e: &toml::de::Error, text: &str) -> Problem {
    let span = e.span();
    let at = span.as_ref().map(|span| span.start);
    let key = span.and_then(|span| text.get(span)).filter(|key| is_key(key));
    match (e.message(), key) {
        ("duplicate key", Some(key)) => {
            Problem::At(at, format!("duplicate key `{key}`: it is also given above"))
        }
        (message, _) => Problem::At(at, without_value(message)),
    }
}

/// A message of the TOML parser without the wrong value, which may be a URL with a password.
fn without_value(message: &str) -> String {
    match (message.find("string \""), message.rfind("\", expected")) {
        (Some(start), Some(end)) if start < end => {
            let head = message.get(..start).unwrap_or_default();
            let tail = message.get(end..).unwrap_or_default().trim_start_matches('"');
            format!("{head}text{tail}")
        }
        _ => message.replace('\n', " "),
    }
}
