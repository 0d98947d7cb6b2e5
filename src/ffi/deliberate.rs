//! Panics on demand, to show that none gets out: in no plugin but the one that tests/panics.rs
//! builds for itself.
#![forbid(unsafe_code)]
#![allow(clippy::panic, reason = "what it is for")]

/// Where one of Exim's arguments asks for it, in each function or in this one: before anything is
/// done.
pub(super) fn at_the_door(function: &str, arguments: Option<&[&[u8]]>) {
    let here = format!("=deliberate-panic-in-{function}");
    let is_asked = |argument: &&[u8]| {
        argument.ends_with(here.as_bytes()) || argument.ends_with(b"=deliberate-panic")
    };
    if arguments.unwrap_or_default().iter().any(is_asked) {
        panic!("a deliberate panic");
    }
}

/// Where a log line asks for it: when everything is done, the row written, and only the answer is
/// left to give.
pub(super) fn at_the_end(line: &str) {
    if line.contains("deliberate-late-panic") {
        panic!("a deliberate panic");
    }
}
