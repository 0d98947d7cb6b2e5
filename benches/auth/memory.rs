//! The private memory of a connection's process, from /proc.

use std::fs;

/// Private memory in kB.
#[derive(Clone, Copy)]
pub(crate) struct Memory {
    pub(crate) private: u64,
    /// An upper bound of the private memory at any time. The kernel records a peak only of all
    /// resident memory.
    pub(crate) peak: u64,
}

impl Memory {
    pub(crate) fn of(pid: u32) -> Self {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let private = field(&rollup, "Private_Clean:") + field(&rollup, "Private_Dirty:");
        let freed = field(&status, "VmHWM:").saturating_sub(field(&status, "VmRSS:"));
        Self { private, peak: private + freed }
    }
}

fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// The processes that a daemon has forked.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    list.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}
