//! Processes of other programs: their children, and signals to them. Also random numbers and
//! waiting.

use std::fs;
use std::process::Command;
use std::time::Duration;

/// The children of a process, without zombies.
pub fn children(of: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
        let Ok(pid) = entry.file_name().to_string_lossy().parse() else { continue };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // The text before the last parenthesis is the process's name, which may contain anything.
        let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let state = fields.next().unwrap_or_default();
        if fields.next().and_then(|parent| parent.parse().ok()) == Some(of) && state != "Z" {
            found.push(pid);
        }
    }
    found
}

/// Sends a signal by name. It does not fail if a process has just ended.
pub fn signal(pids: &[u32], name: &str) {
    if !pids.is_empty() {
        let pids = pids.iter().map(u32::to_string);
        let _ = Command::new("kill").args(["-s", name]).args(pids).output().unwrap();
    }
}

/// Waits until a condition is true; fails after half a minute.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if condition() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("still waiting after 30 seconds for: {what}");
}

/// Random numbers, good enough for tests.
pub struct Random(u64);

impl Random {
    pub fn new() -> Self {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).unwrap();
        Self(u64::from_ne_bytes(bytes) | 1)
    }

    /// A random number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    /// Waits for a random time below this one, so that something happens at a random moment.
    pub fn pause(&mut self, milliseconds: u64) {
        std::thread::sleep(Duration::from_millis(self.below(milliseconds)));
    }

    /// A random half of a list.
    pub fn half(&mut self, all: Vec<u32>) -> Vec<u32> {
        all.into_iter().filter(|_| self.below(2) == 0).collect()
    }
}
