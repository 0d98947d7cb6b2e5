//! Checks that the tests and Makefile targets that the threat model names exist.
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::panic, reason = "test code")]

use std::fs;
use std::path::Path;

/// The test functions below a directory.
fn tests_in(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(tests_in(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(path).unwrap();
            let functions = text.split("#[test]\n").skip(1);
            let names = functions.filter_map(|text| text.split_once("fn ")?.1.split_once('('));
            found.extend(names.map(|(name, _)| name.to_owned()));
        }
    }
    found
}

#[test]
fn tests_named_in_the_threat_model_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/threat-model.md")).unwrap();
    let makefile = fs::read_to_string(root.join("Makefile")).unwrap();
    let tests: Vec<_> =
        ["src", "tests"].iter().flat_map(|name| tests_in(&root.join(name))).collect();
    let rows = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| wants "));
    let mut rows_with_names = 0;
    for row in rows {
        let shown_by = row.trim_end_matches(" |").rsplit_once(" | ").unwrap().1;
        if shown_by == "–" {
            continue;
        }
        rows_with_names += 1;
        for name in shown_by.split(", ") {
            let name = name.strip_prefix('`').and_then(|name| name.strip_suffix('`'));
            let name = name.unwrap_or_else(|| panic!("no name: {row}"));
            let exists = match name.strip_prefix("make ") {
                Some(target) => makefile.contains(&format!("\n{target}:")),
                None => tests.iter().any(|test| test == name),
            };
            assert!(exists, "docs/threat-model.md names {name}, which does not exist");
        }
    }
    assert!(rows_with_names > 20, "the tables are found: {rows_with_names}");
}
