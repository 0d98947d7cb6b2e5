//! Stops the processes of a daemon, so that a test can look at all of them at one moment.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

/// A daemon and its children, stopped until this is dropped.
pub struct Frozen {
    daemon: u32,
    pub children: Vec<u32>,
}

impl Frozen {
    /// Stops the daemon, then its children. A stopped daemon starts no child, and its ended
    /// children stay zombies, so that their process ids are not used again.
    pub fn new(daemon: u32) -> Self {
        let mut frozen = Self { daemon, children: Vec::new() };
        stop(&[daemon]);
        frozen.children = children(daemon);
        stop(&frozen.children);
        frozen
    }

    /// The children that are hashing, recognized by their large private memory.
    pub fn hashing(&self) -> Vec<u32> {
        self.children.iter().copied().filter(|pid| own_memory(*pid) > 8 * 1024).collect()
    }

    /// Continues all processes except this one.
    pub fn release_others(mut self, pid: u32) {
        self.children.retain(|child| *child != pid);
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        signal("CONT", &[&self.children[..], &[self.daemon]].concat());
    }
}

/// Stops processes; returns when all have stopped.
fn stop(pids: &[u32]) {
    if !pids.is_empty() {
        signal("STOP", pids);
    }
    for pid in pids {
        while !matches!(state(*pid), 'T' | 'Z') {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

pub fn signal(name: &str, pids: &[u32]) {
    let pids = pids.iter().map(ToString::to_string);
    assert!(Command::new("kill").args(["-s", name]).args(pids).status().unwrap().success());
}

/// The processes that a daemon has forked.
pub fn children(daemon: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{daemon}/task/{daemon}/children")).unwrap();
    list.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

/// True if the process has this file open.
pub fn has_open(pid: u32, file: &Path) -> bool {
    let Ok(list) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    list.flatten().any(|entry| fs::read_link(entry.path()).is_ok_and(|link| link == file))
}

/// The state of a process, by the letter that `ps` shows.
fn state(pid: u32) -> char {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let (_, rest) = stat.rsplit_once(") ").unwrap_or((": ", "Z"));
    rest.chars().next().unwrap()
}

/// The private memory of a process in kB; 0 if it has ended.
fn own_memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.map_or(0, |line| line.split_whitespace().next().unwrap().parse().unwrap())
}
