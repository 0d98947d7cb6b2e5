//! Processes that are not ours: whose children they are, and signals to them.

use std::fs;
use std::process::Command;
use std::time::Duration;

/// The children of a process, without those that have ended and that nobody has asked for.
pub fn children(of: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
        let Ok(pid) = entry.file_name().to_string_lossy().parse() else { continue };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // What stands before the last parenthesis is the name, which may hold anything.
        let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let state = fields.next().unwrap_or_default();
        if fields.next().and_then(|parent| parent.parse().ok()) == Some(of) && state != "Z" {
            found.push(pid);
        }
    }
    found
}

/// Sends a signal by name; a process that has just ended gets none.
pub fn signal(pids: &[u32], name: &str) {
    if !pids.is_empty() {
        let pids = pids.iter().map(u32::to_string);
        let _ = Command::new("kill").args(["-s", name]).args(pids).output().unwrap();
    }
}

/// Waits until this is so.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("never: {what}");
}

/// Chance, as good as a test needs.
pub struct Dice(u64);

impl Dice {
    pub fn new() -> Self {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).unwrap();
        Self(u64::from_ne_bytes(bytes) | 1)
    }

    /// A number below this one.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    /// Waits for less than so many milliseconds: at what moment a thing is done is to be chance.
    pub fn pause(&mut self, milliseconds: u64) {
        std::thread::sleep(Duration::from_millis(self.below(milliseconds)));
    }

    /// About half of them.
    pub fn half(&mut self, all: Vec<u32>) -> Vec<u32> {
        all.into_iter().filter(|_| self.below(2) == 0).collect()
    }
}
