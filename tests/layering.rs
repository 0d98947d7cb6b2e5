//! Who may use whom, and where unsafe may stand: promises about structure are tests.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]

use std::fs;
use std::path::Path;
use std::path::PathBuf;

/// Each module and what it may use; from Exim's side down to what all of them use.
const ALLOWED: &[(&str, &[&str])] = &[
    (
        "ffi",
        &[
            "attempt", "check", "contain", "error", "limit", "maillog", "outcome", "password",
            "secret", "session", "signals", "verdict",
        ],
    ),
    ("session", &["attempt", "check", "config", "error", "geo", "limit", "password", "verdict"]),
    (
        "check",
        &[
            "account",
            "address",
            "attempt",
            "config",
            "contain",
            "delivery",
            "entry",
            "error",
            "exception",
            "geo",
            "limit",
            "maillog",
            "password",
            "policy",
            "pwhash",
            "journal",
            "secret",
            "seen",
            "settlement",
            "slots",
            "stale",
            "state",
            "store",
            "verdict",
        ],
    ),
    ("account", &["attempt", "config", "error", "policy", "rules", "secret", "sql", "store"]),
    ("entry", &["attempt", "error", "journal", "store", "verdict"]),
    ("delivery", &["config", "contain", "error", "journal", "maillog", "sql", "store"]),
    ("journal", &["config", "contain", "error", "maillog", "settlement", "store"]),
    ("settlement", &["error", "limit", "seen", "store"]),
    ("exception", &["error", "policy", "rules", "store"]),
    ("limit", &["error", "policy", "sql", "store"]),
    ("seen", &["error", "limit", "store"]),
    ("pwhash", &[]),
    ("slots", &["error"]),
    ("stale", &["account", "config", "password", "secret", "sql", "store"]),
    ("state", &["error", "secret"]),
    ("verdict", &["outcome", "policy"]),
    ("maillog", &["attempt", "contain", "error", "verdict"]),
    ("store", &["config", "contain", "error", "secret", "sql", "state"]),
    ("config", &["address", "contain", "error", "password", "policy", "rules", "secret", "sql"]),
    ("password", &["contain", "secret", "state"]),
    ("geo", &["address", "contain", "error", "policy"]),
    ("rules", &["address", "policy"]),
    ("policy", &["address", "secret"]),
    ("attempt", &["error", "secret"]),
    ("address", &[]),
    ("outcome", &[]),
    ("sql", &[]),
    ("secret", &[]),
    ("error", &["contain"]),
    ("contain", &[]),
    ("signals", &[]),
    (
        "ctl",
        &[
            "account",
            "address",
            "attempt",
            "check",
            "config",
            "contain",
            "delivery",
            "error",
            "exception",
            "geo",
            "journal",
            "limit",
            "maillog",
            "outcome",
            "password",
            "policy",
            "rules",
            "secret",
            "seen",
            "signals",
            "slots",
            "sql",
            "stale",
            "store",
            "verdict",
        ],
    ),
];

/// Where unsafe code may stand.
const UNSAFE: &[&str] = &[
    "contain.rs",
    "ffi/host.rs",
    "ffi.rs",
    "geo/file.rs",
    "geo/sigbus.rs",
    "password/libcrypt.rs",
    "signals.rs",
    "store/handles.rs",
    "store/mysql.rs",
    "store/names.rs",
    "store/reach.rs",
];

fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs")
            && !["tests.rs", "properties.rs"].iter().any(|name| path.ends_with(name))
        {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn each(mut look: impl FnMut(&str, &str)) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for path in sources(&root) {
        let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        look(&name, &fs::read_to_string(&path).unwrap());
    }
}

#[test]
fn modules_use_only_what_is_below_them() {
    each(|name, text| {
        let module = name.split(['/', '.']).next().unwrap();
        if ["lib", "bin"].contains(&module) {
            return;
        }
        let allowed = ALLOWED.iter().find(|(known, _)| *known == module);
        let (_, allowed) = allowed.unwrap_or_else(|| panic!("{name} is not in the table"));
        for (_, rest) in text.match_indices("crate::").map(|(at, _)| text.split_at(at + 7)) {
            let used: String =
                rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            assert!(!used.is_empty(), "{name}: one `use crate::x::Y;` a line");
            assert!(used == module || allowed.contains(&&*used), "{name} must not use {used}");
        }
    });
}

#[test]
fn unsafe_stands_where_it_is_argued() {
    let mut found = Vec::new();
    each(|name, text| {
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        if code.clone().any(|line| line.contains("unsafe ")) {
            found.push(name.to_owned());
        }
    });
    assert_eq!(found, UNSAFE);
}

#[test]
fn only_the_boundary_and_the_tool_read_the_calendar() {
    each(|name, text| {
        let may = name == "ffi/calls.rs" || name.starts_with("ctl");
        assert!(may || !text.contains("SystemTime::now"), "{name} reads the clock");
    });
}
