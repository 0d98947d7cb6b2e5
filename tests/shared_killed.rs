//! Processes that are killed or stopped while they write the shared memory. A reader gets nothing,
//! or exactly what one of them wrote, and the next write works.
//!
//! The result does not depend on time: no process may ever read a wrong value.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test code"
)]
#![allow(unsafe_code, reason = "forks, traces and kills processes")]

use std::cell::Cell;
use std::ffi::c_int;
use std::ffi::c_void;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::ptr;
use std::sync::atomic::AtomicI32;
use std::sync::atomic::AtomicPtr;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use authpolicy::shared::SharedMemory;
use authpolicy::shared::StretchedPassword;
use authpolicy::shared::Timestamp;

const NOW: Timestamp =
    Timestamp { wall: Duration::from_secs(1_000_000), boot: Duration::from_secs(5000) };
/// A lifetime that has ended for every stored value.
const LONG_AGO: Timestamp =
    Timestamp { wall: Duration::from_secs(900_000), boot: Duration::from_secs(1000) };
const LIFETIME: Duration = Duration::from_secs(30);
const STORED: &[u8] = b"$2b$stored";
const KEYS: [&[u8]; 4] = [b"alice", b"bob", b"carol", b"dave"];
/// The processes that are killed in the middle of a write.
const KILLED: u64 = 3200;
/// The processes that run at once in the other test, and its rounds.
const PROCESSES: usize = 4;
const ROUNDS: usize = 200;
const PAGE: usize = 4096;
/// The exit status of a process that has read something wrong.
const READ_WRONG: c_int = 9;

/// A forked process, which is killed when this is dropped.
struct Child {
    pid: libc::pid_t,
    /// True if it has ended and was waited for, so that another process may get its number.
    is_gone: Cell<bool>,
}

impl Child {
    /// Runs `work` in a process, which then ends with the status that `work` returns.
    fn fork(work: impl FnOnce() -> c_int) -> Self {
        // SAFETY: the child only allocates memory, makes system calls and ends. The libc makes its
        // allocator usable after a fork, whatever other threads do.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "fork");
        if pid == 0 {
            let status = catch_unwind(AssertUnwindSafe(work)).unwrap_or(1);
            // SAFETY: ends the process without running the destructors of its parent.
            unsafe { libc::_exit(status) };
        }
        Self { pid, is_gone: Cell::new(false) }
    }

    fn signal(&self, signal: c_int) {
        // SAFETY: the process was forked here and has not been waited for.
        assert_eq!(unsafe { libc::kill(self.pid, signal) }, 0);
    }

    /// Waits until it has stopped or ended; returns its status.
    fn wait(&self) -> c_int {
        self.look(libc::WUNTRACED).expect("a status")
    }

    /// Its status, if it has changed.
    fn look(&self, options: c_int) -> Option<c_int> {
        let mut status = 0;
        // SAFETY: the process was forked here and has not been waited for; `status` may be written.
        let waited = unsafe { libc::waitpid(self.pid, &raw mut status, options) };
        let is_changed = waited == self.pid;
        self.is_gone.set(is_changed && !libc::WIFSTOPPED(status));
        is_changed.then_some(status)
    }

    /// Kills it. It must not have ended by itself.
    fn kill(self) {
        self.signal(libc::SIGKILL);
        let status = self.wait();
        let is_killed = libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL;
        assert!(is_killed, "status {} ({READ_WRONG}: it read a wrong value)", status >> 8);
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.is_gone.get() {
            self.signal(libc::SIGKILL);
            self.look(0);
        }
    }
}

/// The value with this number for the account with this key. Its length and all its bytes depend on
/// both.
fn value(key: usize, number: u64) -> Vec<u8> {
    let mut bytes = number.to_le_bytes().to_vec();
    let length = 8 + usize::try_from(number % 433).unwrap();
    let mut state = number ^ u64::try_from(key).unwrap();
    while bytes.len() < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        bytes.push(state.to_be_bytes()[0]);
    }
    bytes
}

/// The number of the value that is found for a key.
///
/// # Errors
/// The value was not written for this key.
fn read(memory: &SharedMemory, key: usize) -> Result<Option<u64>, Vec<u8>> {
    let Some(found) = memory.account(&[KEYS[key]], NOW, LIFETIME) else { return Ok(None) };
    let found = found.expose();
    let number = found.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
    let number = number.filter(|number| value(key, *number) == found);
    number.map_or_else(|| Err(found.to_vec()), |number| Ok(Some(number)))
}

fn store(memory: &SharedMemory, key: usize, number: u64) {
    assert!(memory.store_account(&[KEYS[key]], NOW, &value(key, number)));
}

fn is_verified(memory: &SharedMemory, password: &StretchedPassword) -> bool {
    memory.is_verified(password, STORED, NOW, LIFETIME)
}

/// The passwords of a round: each of the first two is verified now, the third one was long ago, and
/// the last one never.
type Passwords = [StretchedPassword; 4];

/// Writes and reads until it is killed, or reads something wrong. Counts the writes in `progress`.
fn work(
    memory: &SharedMemory,
    passwords: &Passwords,
    process: usize,
    progress: &AtomicU64,
) -> c_int {
    for number in (u64::try_from(process).unwrap() << 40).. {
        let key = usize::try_from(number % 4).unwrap();
        if number % 16 == 5 {
            memory.forget_account(&[KEYS[key]]);
        } else {
            store(memory, key, number);
        }
        let start = if key == 2 { LONG_AGO } else { NOW };
        if key < 3 {
            memory.store_verified(&passwords[key], STORED, start);
        }
        progress.fetch_add(1, Ordering::Relaxed);
        if number % 8 != 0 {
            continue;
        }
        // Lets the other processes begin soon.
        std::thread::yield_now();
        let is_wrong = (0..4).any(|key| read(memory, key).is_err());
        if is_wrong || passwords[2..].iter().any(|password| is_verified(memory, password)) {
            return READ_WRONG;
        }
    }
    0
}

/// Waits until the process has made more writes than `before`.
fn wait_for(progress: &AtomicU64, before: u64, child: &Child) {
    while progress.load(Ordering::Relaxed) <= before {
        let ended = child.look(libc::WNOHANG);
        assert_eq!(ended, None, "it ended (status {READ_WRONG} << 8: it read a wrong value)");
        std::thread::yield_now();
    }
}

/// The number of slots that are neither empty nor valid. No process is writing meanwhile.
fn half_written(memory: &SharedMemory) -> usize {
    let found = (0..4).filter_map(|key| read(memory, key).expect("a value that was written"));
    let slots = memory.slot_words()[0].chunks(64);
    let is_used = |slot: &&[AtomicU64]| slot.iter().any(|word| word.load(Ordering::Relaxed) != 0);
    slots.filter(is_used).count() - found.count()
}

/// Each key has no value, or one that was written. Then all writes work.
fn check(memory: &SharedMemory, passwords: &Passwords, number: u64) {
    let read_all = (0..4).all(|key| read(memory, key).is_ok());
    assert!(read_all, "a value that was not written");
    assert!(!is_verified(memory, &passwords[2]), "its time was over when it was stored");
    assert!(!is_verified(memory, &passwords[3]), "it was never stored");
    for key in 0..4 {
        store(memory, key, number);
        assert_eq!(read(memory, key), Ok(Some(number)));
    }
    for password in &passwords[..2] {
        memory.store_verified(password, STORED, NOW);
        assert!(is_verified(memory, password));
    }
}

/// The page that must not be written, and the signal that a process sends to itself if it does.
static PROTECTED: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
static SIGNAL: AtomicI32 = AtomicI32::new(0);

/// Changes the rights on the page, for this process alone.
fn protect(rights: c_int) {
    // SAFETY: the page belongs to memory that stays mapped, and the handler allows writing again.
    unsafe { libc::mprotect(PROTECTED.load(Ordering::Relaxed), PAGE, rights) };
}

/// Kills or stops the process. If it was stopped and goes on, the write goes on.
extern "C" fn on_write(_: c_int) {
    // SAFETY: raise(3) may be called in a handler.
    unsafe { libc::raise(SIGNAL.load(Ordering::Relaxed)) };
    protect(libc::PROT_READ | libc::PROT_WRITE);
}

/// Starts a process that stores a value, and gets the signal when it has stored so many words of
/// the slot that the next word is on another page.
fn interrupted(memory: &SharedMemory, signal: c_int, key: usize, number: u64) -> Child {
    let slot = memory.slot_words()[0].as_ptr();
    let page = slot.map_addr(|at| at.next_multiple_of(PAGE)).cast_mut().cast();
    Child::fork(|| {
        PROTECTED.store(page, Ordering::Relaxed);
        SIGNAL.store(signal, Ordering::Relaxed);
        let handler = on_write as extern "C" fn(c_int);
        // SAFETY: the handler makes only system calls.
        unsafe { libc::signal(libc::SIGSEGV, handler as libc::sighandler_t) };
        protect(libc::PROT_READ);
        store(memory, key, number);
        0
    })
}

/// Memories whose only account slot begins 8, 16, … 56 words before the end of a page.
fn memories() -> Vec<SharedMemory> {
    (57..64).map(|passwords| SharedMemory::with_slots(1, passwords).unwrap()).collect()
}

#[test]
fn thousands_of_processes_killed_in_the_middle_of_a_write_leave_no_value() {
    let memories = memories();
    for number in 0..KILLED {
        let memory = &memories[usize::try_from(number).unwrap() % memories.len()];
        // The killed process stores the same account or another one.
        let key = usize::try_from(number % 2).unwrap();
        store(memory, 0, number + 500_000);
        assert_eq!(read(memory, 0), Ok(Some(number + 500_000)), "the write works");
        // In every third round, a second one writes to the slot that the first one left.
        for twice in 1..=1 + number % 3 / 2 {
            let status = interrupted(memory, libc::SIGKILL, key, number * 2 + twice).wait();
            assert!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL);
            assert_eq!(half_written(memory), 1, "it was killed in the middle");
        }
    }
}

#[test]
fn a_process_that_is_stopped_in_the_middle_of_a_write_neither_blocks_nor_damages() {
    let memories = memories();
    for number in 0..70 {
        let memory = &memories[usize::try_from(number).unwrap() % memories.len()];
        store(memory, 0, 500_000);
        let child = interrupted(memory, libc::SIGSTOP, 0, number);
        assert!(libc::WIFSTOPPED(child.wait()));
        assert_eq!(half_written(memory), 1, "it was stopped in the middle");
        store(memory, 1, 600_000);
        assert_eq!(read(memory, 1), Ok(Some(600_000)), "others go on");
        child.signal(libc::SIGCONT);
        assert_eq!(child.wait(), 0, "it went on");
        assert_eq!(
            half_written(memory),
            1,
            "the slot has the beginning of one and the end of another"
        );
        store(memory, 0, 700_000);
        assert_eq!(read(memory, 0), Ok(Some(700_000)));
        // The value that was stored meanwhile is the same: then the slot is complete.
        let child = interrupted(memory, libc::SIGSTOP, 0, number);
        assert!(libc::WIFSTOPPED(child.wait()));
        store(memory, 0, number);
        child.signal(libc::SIGCONT);
        assert_eq!(child.wait(), 0);
        assert_eq!(read(memory, 0), Ok(Some(number)));
    }
}

#[test]
fn processes_killed_while_all_write_and_read_see_and_leave_no_wrong_value() {
    let memory = SharedMemory::with_slots(2, 1).unwrap();
    let names: [&[u8]; 4] = [b"one", b"two", b"old", b"never"];
    let passwords = names.map(|name| memory.stretch(name, b"secret", b""));
    check(&memory, &passwords, 0);
    // The words of another memory count the writes of each process.
    let counters = SharedMemory::with_slots(1, 1).unwrap().slot_words()[0];
    for round in 0..ROUNDS {
        let before: Vec<_> =
            counters.iter().map(|counter| counter.load(Ordering::Relaxed)).collect();
        let children: Vec<_> = (0..PROCESSES)
            .map(|at| Child::fork(|| work(&memory, &passwords, at + 1, &counters[at])))
            .collect();
        for (at, child) in children.iter().enumerate() {
            wait_for(&counters[at], before[at], child);
        }
        children.into_iter().for_each(Child::kill);
        check(&memory, &passwords, u64::try_from(round).unwrap());
    }
}
