//! The memory and the page faults of a connection's process, from /proc.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use crate::common::Client;
use crate::times::median;
use crate::way::Way;

/// Connections that are open while memory is read, so that the memory they share is not counted.
const OPEN: usize = 5;

/// Medians of several processes.
#[derive(Clone, Copy)]
pub(crate) struct Memory {
    /// `Private_Dirty` after an AUTH, in kB.
    pub(crate) dirty: f64,
    /// The minor page faults of the AUTH itself.
    pub(crate) faults: f64,
}

/// Makes one attempt in each of several connections, which all stay open.
pub(crate) fn of(way: &Way, account: &str) -> Memory {
    // The processes of earlier rounds end after Exim's delay.
    while !children(way.exim.pid()).is_empty() {
        sleep(Duration::from_millis(20));
    }
    // The first one fills every cache, and ends before the others are looked at.
    drop(way.authenticate(account));
    while !children(way.exim.pid()).is_empty() {
        sleep(Duration::from_millis(20));
    }
    let mut clients = Vec::new();
    let mut faults = Vec::new();
    for _ in 0..OPEN {
        let before = children(way.exim.pid());
        let client = Client::connect(way.exim.port);
        let mut now = children(way.exim.pid());
        now.retain(|pid| !before.contains(pid));
        assert_eq!(now.len(), 1, "{:?}: one process for the connection", way.id);
        let from = minor_faults(now[0]);
        clients.push(way.authenticate_on(client, account, "235").0);
        faults.push((minor_faults(now[0]) - from) as f64);
    }
    let pids = children(way.exim.pid());
    let dirty: Vec<_> = pids.into_iter().map(|pid| private_dirty(pid) as f64).collect();
    assert_eq!(dirty.len(), OPEN, "{:?}", way.id);
    Memory { dirty: median(&dirty), faults: median(&faults) }
}

fn private_dirty(pid: u32) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Private_Dirty:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// The minor page faults of a process so far: the tenth field of /proc/PID/stat (proc(5)).
fn minor_faults(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    fields.split_whitespace().nth(7).unwrap().parse().unwrap()
}

/// The processes that a daemon has forked.
fn children(pid: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    list.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}
