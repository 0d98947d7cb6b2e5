//! What is wrong with a configuration, and where it stands: file, line and key.

use toml::de::DeTable;

/// What is wrong, and where.
pub(super) enum Problem {
    /// A place in the text.
    At(Option<usize>, String),
    /// A table and key.
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
                // Only what is a key for certain: in a broken line it could be part of a URL.
                let is_key = |key: &str| {
                    !key.is_empty()
                        && key
                            .bytes()
                            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_')
                };
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
                    // Whatever was written there is a secret.
                    Some("hash_nonce") => {
                        format!("line {line}: {table}hash_nonce: wants a text in quotes")
                    }
                    Some(key) if is_key(key) => format!("line {line}: {table}{key}: {what}"),
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

fn key_offset(text: &str, table: &str, key: &str) -> Option<usize> {
    let document = DeTable::parse(text).ok()?;
    let (_, value) = document.get_ref().get_key_value(table)?;
    let (key, _) = value.get_ref().as_table()?.get_key_value(key)?;
    Some(key.span().start)
}

/// A message of the TOML reader without the value it complains of, which may be a URL with a
/// password.
pub(super) fn without_value(message: &str) -> String {
    match (message.find("string \""), message.rfind("\", expected")) {
        (Some(start), Some(end)) if start < end => {
            let head = message.get(..start).unwrap_or_default();
            let tail = message.get(end..).unwrap_or_default().trim_start_matches('"');
            format!("{head}text{tail}")
        }
        _ => message.replace('\n', " "),
    }
}
