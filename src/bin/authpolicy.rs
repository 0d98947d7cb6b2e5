//! The `authpolicy` tool; all of it is in `authpolicy::ctl`.

use std::process::ExitCode;

fn main() -> ExitCode {
    authpolicy::ctl::run()
}
