//! Panics on demand, to show that each is caught. Only the plugins that tests/panics.rs and
//! tests/contained.rs build have this module.
#![forbid(unsafe_code)]
#![allow(clippy::panic, reason = "the purpose of this module")]

use crate::contain::deliberate;

/// Marks an argument that lists places: `EHLO deliberate-panic-at.before-query.after-commit` makes
/// the call panic at these places.
const AT: &str = "=deliberate-panic-at.";

/// Panics before anything is done, if one of Exim's arguments asks for it, for each function or for
/// this one.
pub(super) fn panic_on_entry(function: &str, arguments: Option<&[&[u8]]>) {
    let in_this_function = format!("=deliberate-panic-in-{function}");
    let is_asked = |argument: &&[u8]| {
        argument.ends_with(in_this_function.as_bytes()) || argument.ends_with(b"=deliberate-panic")
    };
    let arguments = arguments.unwrap_or_default();
    deliberate::arm(arguments.iter().flat_map(|argument| armed_places(argument)).collect());
    if arguments.iter().any(is_asked) {
        panic!("a deliberate panic");
    }
}

fn armed_places(argument: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(argument);
    let places = text.split_once(AT).map(|(_, places)| places).unwrap_or_default();
    places.split('.').filter(|place| !place.is_empty()).map(str::to_owned).collect()
}

/// Panics if asked to, after the attempt has got its ticket and before anything else is done.
pub(super) fn panic_in_decide() {
    deliberate::panic_if_armed("in", "decide");
}

/// Panics if the log line asks for it. Then the row is written, and only the answer is missing.
pub(super) fn panic_on_log_line(line: &str) {
    if line.contains("deliberate-late-panic") {
        panic!("a deliberate panic");
    }
}
