//! Makes a small country file from a list: `cargo run --example mmdb -- LIST OUT`. Each line of the
//! list is `network country`.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a tool for the demo")]

#[allow(dead_code, unreachable_pub, reason = "shared with the tests")]
#[path = "../tests/common/mmdb.rs"]
mod mmdb;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, list, out] = arguments.as_slice() else {
        eprint_usage();
        return;
    };
    let list = std::fs::read_to_string(list).expect("the list can be read");
    std::fs::write(out, mmdb::from_list(&list)).expect("the file can be written");
}

#[allow(clippy::print_stderr, reason = "a tool for the demo")]
fn eprint_usage() {
    eprintln!("usage: mmdb LIST OUT");
}
