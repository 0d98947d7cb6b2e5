//! The line of an attempt can be parsed as docs/reference.md says, whatever a client sends.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    reason = "test code"
)]

mod common;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use common::Base;
use common::Site;
use common::site::GB;
use common::smtp::ACCEPTED;
use common::smtp::CANNOT_TELL;
use common::smtp::REFUSED;

const POLICY: &str = "[policy]\nfailure_time = \"0s\"\n";

/// Names that a client sends, and the names in the line and the row.
const NAMES: [(&str, &str); 8] = [
    ("x\" status=204 remote=192.0.2.99 user=\"y", "x\" status=204 remote=192.0.2.99 user=\"y"),
    ("x\\", "x\\"),
    ("x\\\" remote=192.0.2.99 y=\"", "x\\\" remote=192.0.2.99 y=\""),
    ("\"", "\""),
    ("x y = z", "x y = z"),
    ("x\ny\tz\u{1b}[31m", "x?y?z?[31m"),
    ("x\u{202e}y\u{200b}", "x\u{202e}y\u{200b}"),
    ("é error=\"", "é error=\""),
];

/// The fields of a line in their order, as name and value.
fn fields(line: &str) -> Vec<(&str, String)> {
    let mut rest = line.strip_prefix("attempt").unwrap_or_else(|| panic!("{line}"));
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let (name, value) = rest.strip_prefix(' ').unwrap().split_once('=').unwrap();
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}: {line}");
        let value_and_rest = match value.strip_prefix('"') {
            Some(quoted) => unquote(quoted),
            None => {
                let end = value.find(' ').unwrap_or(value.len());
                assert!(!value[..end].contains('"'), "{line}");
                (value[..end].to_owned(), &value[end..])
            }
        };
        fields.push((name, value_and_rest.0));
        rest = value_and_rest.1;
    }
    fields
}

/// The text up to the closing quote, and what follows that.
fn unquote(quoted: &str) -> (String, &str) {
    let mut text = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return (text, &quoted[at + 1..]),
            '\\' => match letters.next().unwrap().1 {
                'u' => {
                    assert_eq!(letters.next().unwrap().1, '{');
                    let digits = letters.by_ref().map(|(_, c)| c).take_while(|&c| c != '}');
                    let code = u32::from_str_radix(&digits.collect::<String>(), 16).unwrap();
                    text.push(char::from_u32(code).unwrap());
                }
                'n' => text.push('\n'),
                't' => text.push('\t'),
                plain => {
                    assert!("\"\\'".contains(plain), "{quoted}");
                    text.push(plain);
                }
            },
            _ => {
                assert!(!letter.is_control(), "{quoted}");
                text.push(letter);
            }
        }
    }
    panic!("no closing quote: {quoted}");
}

fn attempt(site: &Site, mechanism: &str, fields: [&str; 3], reply: &str) {
    let response = BASE64_STANDARD.encode(fields.join("\0"));
    let mut client = site.pipes(&["-bs", "-oMa", GB]);
    assert_eq!(client.command(&format!("AUTH {mechanism} {response}")), reply, "{fields:?}");
}

/// The values of these fields in the latest line.
fn last_values<const N: usize>(site: &Site, names: [&str; N]) -> [String; N] {
    let line = site.lines().pop().unwrap();
    let fields = fields(&line);
    names.map(|name| {
        let mut found = fields.iter().filter(|(known, _)| *known == name);
        let value = found.next().unwrap_or_else(|| panic!("no {name}: {line}")).1.clone();
        assert_eq!(found.count(), 0, "{name} occurs once: {line}");
        value
    })
}

#[test]
fn client_input_stays_inside_its_field() {
    let site = Site::new(Base::Sqlite, POLICY);
    site.account("u@example.com", "secret");
    let check = site.dlfunc("check", "{$auth2}{$auth3}{$auth1}");
    let config = site.read("exim.conf");
    let remote = format!(
        "x_remote:\n  driver = plaintext\n  public_name = X-REMOTE\n  server_prompts = :\n  \
         server_condition = {check}\n"
    );
    site.write("exim.conf", &format!("{config}{remote}"));
    let counts = |site: &Site| (site.lines().len(), site.rows().len());
    attempt(&site, "PLAIN", ["", "u@example.com", "secret"], ACCEPTED);
    assert_eq!(last_values(&site, ["status", "remote", "user"]), ["204", GB, "u@example.com"]);
    assert_eq!(counts(&site), (1, 1));
    for (name, shown) in NAMES {
        attempt(&site, "PLAIN", ["", name, "wrong"], REFUSED);
        assert_eq!(last_values(&site, ["status", "remote", "user"]), ["403", GB, shown]);
        assert_eq!(site.rows().pop().unwrap().username, shown);
        // As the address, which is a mistake in the configuration: the line has an error, too.
        attempt(&site, "X-REMOTE", [name, "u@example.com", "secret"], CANNOT_TELL);
        let [status, remote, error, user] =
            last_values(&site, ["status", "remote", "error", "user"]);
        assert_eq!((&*status, &*remote, &*user), ("503", shown, "u@example.com"));
        assert!(error.contains("the argument remote"), "{error}");
        // As the name of an account whose stored password cannot be read: the error names it.
        let quoted = name.replace('\'', "''");
        site.sql(&format!(
            "INSERT INTO account (username, password) VALUES ('{quoted}', '{{NO}}x')"
        ));
        attempt(&site, "PLAIN", ["", name, "secret"], CANNOT_TELL);
        let [status, remote, error, user] =
            last_values(&site, ["status", "remote", "error", "user"]);
        assert_eq!((&*status, &*remote, &*user), ("503", GB, shown));
        assert!(error.contains("NO"), "{error}");
        assert_eq!(site.rows().pop().unwrap().username, shown);
    }
    assert_eq!(counts(&site), (1 + 3 * NAMES.len(), 1 + 3 * NAMES.len()));
}
