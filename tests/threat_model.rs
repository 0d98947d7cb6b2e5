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

/// The aims of attackers in the threat model, each with its text and the names after `Shown by`.
///
/// # Panics
/// An aim does not end with one list of names, or a list stands elsewhere.
fn aims(page: &str) -> Vec<(&str, Vec<&str>)> {
    let mut aims = Vec::new();
    for section in page.split("\n## ").skip(1) {
        let (before, first) = section.split_once("\n### ").unwrap_or((section, ""));
        assert!(!before.contains("Shown by"), "names without an aim: {before}");
        for aim in first.split("\n### ").filter(|aim| !aim.is_empty()) {
            let (text, names) =
                aim.split_once("\n\nShown by ").unwrap_or_else(|| panic!("no test shows: {aim}"));
            assert!(!names.contains("Shown by"), "two lists of names: {aim}");
            let names =
                names.trim_end().strip_suffix('.').unwrap_or_else(|| panic!("no end: {aim}"));
            aims.push((text, names.split(',').map(|name| bare(name, aim)).collect()));
        }
    }
    aims
}

/// A name without its backticks.
///
/// # Panics
/// There is something else than one name.
fn bare<'a>(name: &'a str, aim: &str) -> &'a str {
    let bare = name.trim().strip_prefix('`').and_then(|name| name.strip_suffix('`'));
    let bare = bare.filter(|name| !name.is_empty() && !name.contains('`'));
    bare.unwrap_or_else(|| panic!("not a name: {name}, in: {aim}"))
}

#[test]
fn each_aim_in_the_threat_model_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/threat-model.md")).unwrap();
    let makefile = fs::read_to_string(root.join("Makefile")).unwrap();
    let tests: Vec<_> =
        ["src", "tests"].iter().flat_map(|name| tests_in(&root.join(name))).collect();
    let aims = aims(&page);
    for (text, names) in &aims {
        assert!(text.contains("\n- "), "nothing prevents: {text}");
        for name in names {
            let exists = match name.strip_prefix("make ") {
                Some(target) => makefile.contains(&format!("\n{target}:")),
                None => tests.iter().any(|test| test == name),
            };
            assert!(exists, "docs/threat-model.md names {name}, which does not exist");
        }
    }
    assert!(aims.len() > 20, "the aims are found: {}", aims.len());
}
