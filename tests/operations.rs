//! The table of faults in the documents is that of the tests.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The first argument of each call of what writes a line, where it is a text.
fn named(source: &str) -> BTreeSet<String> {
    let calls = ["play(\"", "play_table(\"", "report(\""];
    let texts = calls.iter().flat_map(|call| source.split(call).skip(1));
    // A quote in a text has a backslash before it.
    let ends = |rest: &str| {
        rest.replace("\\\"", "\0").split_once('"').map(|(text, _)| text.replace('\0', "\""))
    };
    texts.filter_map(ends).collect()
}

#[test]
fn each_fault_has_its_line() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/operations.md")).unwrap();
    let table = page.split("<!-- faults: ").nth(1).unwrap();
    let lines = table.lines().filter_map(|line| line.strip_prefix("| "));
    let told: BTreeSet<String> =
        lines.skip(1).filter_map(|line| Some(line.split_once(" | ")?.0.to_owned())).collect();
    let mut tested = BTreeSet::new();
    for entry in fs::read_dir(root.join("tests")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name == "cluster.rs" || name.starts_with("faults") {
            tested.extend(named(&fs::read_to_string(&path).unwrap()));
        }
    }
    assert!(tested.len() > 5, "{tested:?}");
    let untold: Vec<_> = tested.difference(&told).collect();
    assert!(untold.is_empty(), "make faults: {untold:?}");
}
