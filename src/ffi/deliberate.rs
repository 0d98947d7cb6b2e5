//! Panics on demand, to show that none gets out: only in the plugin that tests/panics.rs and
//! tests/contained.rs build for themselves.
#![forbid(unsafe_code)]
#![allow(clippy::panic, reason = "what it is for")]

use crate::contain::deliberate;

/// `EHLO deliberate-panic-at.before-query.after-commit` arms these places for the call.
const AT: &str = "=deliberate-panic-at.";

/// Where one of Exim's arguments asks for it, in each function or in this one: before anything is
/// done.
pub(super) fn panic_on_entry(function: &str, arguments: Option<&[&[u8]]>) {
    let here = format!("=deliberate-panic-in-{function}");
    let is_asked = |argument: &&[u8]| {
        argument.ends_with(here.as_bytes()) || argument.ends_with(b"=deliberate-panic")
    };
    let arguments = arguments.unwrap_or_default();
    deliberate::arm(arguments.iter().flat_map(|argument| armed(argument)).collect());
    if arguments.iter().any(is_asked) {
        panic!("a deliberate panic");
    }
}

fn armed(argument: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(argument);
    let places = text.split_once(AT).map(|(_, places)| places).unwrap_or_default();
    places.split('.').filter(|place| !place.is_empty()).map(str::to_owned).collect()
}

/// Panics if asked to, after the attempt has its ticket and before anything else is done.
pub(super) fn in_decide() {
    deliberate::panic_if_armed("in", "decide");
}

/// Where a log line asks for it: when everything is done, the row written, and only the answer is
/// left to give.
pub(super) fn panic_on_log_line(line: &str) {
    if line.contains("deliberate-late-panic") {
        panic!("a deliberate panic");
    }
}
