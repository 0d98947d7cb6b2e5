//! Rules for imports, unsafe code, the clock and SQL dialects.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "test code"
)]

#[path = "common/imports.rs"]
#[allow(unreachable_pub, reason = "shared code of tests")]
mod imports;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use imports::Crate;
use imports::Module;

/// Each module of the library, and the modules further down in this table that it uses. `a/b` stands for
/// one module in the folder `a`.
const ALLOWED: &[(&str, &[&str])] = &[
    (
        "ffi",
        &[
            "attempt",
            "check",
            "contain",
            "error",
            "exim",
            "password/scram",
            "secret",
            "session",
            "shared",
            "signals",
            "tables/counters",
            "verdict",
        ],
    ),
    ("exim", &["verdict/maillog"]),
    (
        "session",
        &[
            "attempt",
            "check",
            "config",
            "error",
            "geo",
            "password/scram",
            "shared",
            "tables/counters",
            "verdict",
            "warm",
        ],
    ),
    ("warm", &["config", "contain", "password", "store"]),
    (
        "check",
        &[
            "account",
            "address",
            "attempt",
            "config",
            "contain",
            "error",
            "geo",
            "password",
            "policy",
            "row",
            "secret",
            "shared",
            "state/key",
            "state/slots",
            "store",
            "tables",
            "verdict",
        ],
    ),
    (
        "row",
        &[
            "attempt",
            "config",
            "contain",
            "error",
            "sql",
            "state/files",
            "store",
            "tables/settlement",
            "verdict",
        ],
    ),
    ("verdict", &["attempt", "contain", "error", "policy"]),
    (
        "account",
        &[
            "attempt",
            "config",
            "error",
            "password",
            "policy",
            "secret",
            "shared",
            "sql",
            "state/files",
            "store",
        ],
    ),
    ("tables", &["error", "policy", "sql", "store"]),
    ("store", &["config", "contain", "error", "secret", "sql", "state/files"]),
    ("config", &["address", "contain", "error", "password", "policy", "secret", "sql"]),
    ("password", &["contain", "secret", "state/files"]),
    ("geo", &["address", "contain", "error", "policy/country"]),
    ("state", &["error", "secret"]),
    ("shared", &["secret"]),
    ("policy", &["address", "secret"]),
    ("attempt", &["error", "secret"]),
    ("address", &[]),
    ("sql", &[]),
    ("secret", &[]),
    ("error", &["contain"]),
    ("contain", &[]),
    ("signals", &[]),
];

/// The modules of the library that the tool uses. The documentation of src/lib.rs has the same
/// list.
const TOOL: &[&str] = &[
    "account", "attempt", "check", "config", "error", "geo", "password", "policy", "row", "secret",
    "state", "store", "tables", "verdict",
];

/// The modules that may have unsafe code.
const UNSAFE: &[&str] = &[
    "contain",
    "exim",
    "ffi",
    "geo/file",
    "geo/sigbus",
    "password/libcrypt",
    "shared/mapping",
    "signals",
    "store/handles",
    "store/mysql",
    "store/names",
    "store/sockets",
    "store/sqlite/wal_index",
];

fn library() -> Crate {
    Crate::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
}

fn tool() -> Crate {
    Crate::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tool/src"))
}

/// A crate of modules given as `store/dns` and their text.
fn planted(files: &[(&str, &str)]) -> Crate {
    let module = |name: &str| name.split('/').map(str::to_owned).collect::<Module>();
    Crate::of(files.iter().map(|(name, text)| (module(name), (*text).to_owned())).collect())
}

/// True if the module is the folder or stands in it.
fn is_within(module: &str, folder: &str) -> bool {
    module.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The first use that the table does not allow.
fn forbidden(library: &Crate) -> Option<String> {
    library.modules().filter(|(module, _)| !module.is_empty()).find_map(|(module, _)| {
        let row = ALLOWED.iter().find(|(known, _)| *known == module[0]);
        let Some((_, allowed)) = row else {
            return Some(format!("{} is not in the table", module.join("/")));
        };
        let used = library.uses(module).into_iter().filter(|used| used.first() != module.first());
        let bad = used.map(|used| used.join("/")).find(|used| {
            !used.is_empty() && !allowed.iter().any(|allowed| is_within(used, allowed))
        });
        bad.map(|bad| format!("{} must not use {bad}", module.join("/")))
    })
}

#[test]
fn modules_use_only_modules_below_them() {
    let all: Vec<_> = ALLOWED.iter().map(|(module, _)| *module).collect();
    for (at, (module, allowed)) in ALLOWED.iter().enumerate() {
        for used in *allowed {
            let folder = used.split('/').next().unwrap();
            assert!(all[at..].contains(&folder), "{used} stands above {module} in the table");
        }
    }
    let library = library();
    assert_eq!(forbidden(&library), None);
    for (module, allowed) in ALLOWED {
        let users = library.modules().filter(|(user, _)| user.first().is_some_and(|m| m == module));
        let used: BTreeSet<_> = users.flat_map(|(user, _)| library.uses(user)).collect();
        for entry in *allowed {
            let is_used = used.iter().any(|used| is_within(&used.join("/"), entry));
            assert!(is_used, "{module} does not use {entry}: take it out of the table");
        }
    }
    for import in ["use crate::ffi;", "fn f() { crate::ffi::f() }", "use super::ffi;"] {
        let planted = planted(&[("ffi", ""), ("policy", import)]);
        assert_eq!(forbidden(&planted).as_deref(), Some("policy must not use ffi"), "{import}");
    }
    let planted = planted(&[("password", "use crate::state::slots;"), ("state/slots", "")]);
    assert_eq!(forbidden(&planted).as_deref(), Some("password must not use state/slots"));
}

#[test]
fn no_module_uses_a_module_that_uses_it() {
    for sources in [library(), tool()] {
        assert!(sources.modules().count() > 20, "the sources were found");
        assert_eq!(sources.circle(), None);
    }
    for (left, right) in [
        ("use super::b::B;", "use super::a::A;"),
        ("use crate::x::B;", "use super::a::A;"),
        ("use super::b; fn f() { b::g() }", "fn g() { super::a::f() }"),
        ("use crate::x::b;", "use crate::x::a::A;"),
    ] {
        let x = "mod a;\nmod b;\npub use self::b::B;\n";
        let planted = planted(&[("x", x), ("x/a", left), ("x/b", right)]);
        let circle: Vec<_> = planted.circle().into_iter().flatten().map(|m| m.join("/")).collect();
        assert_eq!(circle, ["x/b", "x/a", "x/b"], "{left} {right}");
    }
    // An ancestor's items, and what it re-exports from elsewhere, make no circle.
    let x = "mod a;\nmod b;\npub use self::b::B;\npub struct X;";
    let planted = planted(&[("x", x), ("x/a", "use super::B;"), ("x/b", "use super::X;")]);
    assert_eq!(planted.circle(), None);
}

/// The modules of the library that another crate uses.
fn library_modules_in(user: &Crate) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for (_, code) in user.modules() {
        for (at, path) in code.match_indices("authpolicy::") {
            let rest = &code[at + path.len()..];
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            used.insert(rest[..end].to_owned());
        }
    }
    used
}

#[test]
fn the_tool_uses_exactly_the_documented_modules() {
    let wanted: BTreeSet<_> = TOOL.iter().map(|module| (*module).to_owned()).collect();
    assert_eq!(library_modules_in(&tool()), wanted);
    let planted = planted(&[("a", "use authpolicy::ffi;"), ("b", "authpolicy::geo::Geo")]);
    assert_eq!(library_modules_in(&planted).into_iter().collect::<Vec<_>>(), ["ffi", "geo"]);

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs");
    let text = fs::read_to_string(path).unwrap();
    let (_, documented) = text.split_once("//! # The tool\n").unwrap();
    let documented = documented.lines().filter_map(|line| line.strip_prefix("//! - [`"));
    let documented: Vec<_> = documented.filter_map(|line| Some(line.split_once("`]")?.0)).collect();
    assert_eq!(documented, TOOL);
}

/// The first module outside of `store` that chooses SQL, or anything else, by the kind of database.
fn chooses_dialect(sources: &Crate) -> Option<String> {
    let mut outside = sources.modules().filter(|(m, _)| m.first().is_none_or(|top| top != "store"));
    outside.find_map(|(module, code)| {
        let choices = [".dialect(", "Store::dialect", "Store::Sqlite", "Store::MySql"];
        let found = choices.into_iter().find(|choice| code.contains(choice))?;
        Some(format!("{} has {found}", module.join("/")))
    })
}

#[test]
fn no_module_outside_the_store_chooses_a_dialect() {
    assert_eq!(chooses_dialect(&library()), None);
    assert_eq!(chooses_dialect(&tool()), None);
    for (code, found) in [
        ("fn f(store: &Store) { store.dialect(1, 2); }", ".dialect("),
        ("fn f() { match store { Store::Sqlite(_) => 1, _ => 2 } }", "Store::Sqlite"),
    ] {
        let planted = planted(&[("store/schema", code), ("log", code)]);
        assert_eq!(chooses_dialect(&planted), Some(format!("log has {found}")));
    }
}

#[test]
fn unsafe_stands_where_it_is_argued() {
    let library = library();
    let found = library.modules().filter(|(_, code)| code.contains("unsafe "));
    let found: Vec<_> = found.map(|(module, _)| module.join("/")).collect();
    assert_eq!(found, UNSAFE);
    assert!(tool().modules().all(|(_, code)| !code.contains("unsafe ")));
}

#[test]
fn only_the_boundary_reads_the_clock() {
    for (module, code) in library().modules() {
        let may = module.join("/") == "ffi/calls";
        assert!(may || !code.contains("SystemTime::now"), "{} reads the clock", module.join("/"));
    }
}

/// The names of types that are defined more than once, in the library and the tool together.
fn repeated_types(crates: &[Crate]) -> Vec<String> {
    let code = crates.iter().flat_map(Crate::modules).flat_map(|(_, code)| code.lines());
    let names = code.filter_map(|line| {
        let line = line.trim_start();
        let line = line
            .strip_prefix("pub")
            .map_or(line, |rest| rest.split_once(' ').map_or(rest, |(_, definition)| definition));
        let (kind, rest) = line.split_once(' ')?;
        let name = rest.split(|c: char| !c.is_alphanumeric()).next()?;
        ["struct", "enum", "trait", "type"].contains(&kind).then(|| name.to_owned())
    });
    let mut seen = BTreeSet::new();
    names.filter(|name| !seen.insert(name.clone())).collect()
}

#[test]
fn each_type_name_stands_for_one_type() {
    assert_eq!(repeated_types(&[library(), tool()]), Vec::<String>::new());
    let planted = planted(&[("a", "pub struct Answer;"), ("b", "pub(crate) enum Answer {}")]);
    assert_eq!(repeated_types(&[planted]), ["Answer"]);
}
