//! The row and the log line of the last attempt.

use super::Site;
use super::limits::NO;
use super::limits::YES;

pub const GB_ONLY: &str = "[policy]\nfailure_time = \"0s\"\nallow_countries = [\"GB\"]\n";

/// The flags of the last row, and the line of its attempt up to the rule.
pub fn last(site: &Site) -> (Option<bool>, Option<bool>, String) {
    let (rows, lines) = (site.rows(), site.lines());
    let row = rows.last().unwrap();
    let line = lines.last().unwrap();
    let head = line.split(" auth_ok=").next().unwrap().trim_start_matches("attempt ").to_owned();
    (row.auth_ok, row.policy_reject, head)
}

pub fn refused(rule: &str) -> (Option<bool>, Option<bool>, String) {
    (YES, YES, format!("status=403 reason=policy rule={rule}"))
}

pub fn accepted() -> (Option<bool>, Option<bool>, String) {
    (YES, NO, String::from("status=204 reason=- rule=-"))
}
