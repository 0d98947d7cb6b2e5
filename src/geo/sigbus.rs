//! Reads from the map of a file that another process may cut short meanwhile.
//!
//! The kernel raises SIGBUS if a map is read past the end of its file, and that ends the process.
//! So a handler is installed during each read. It replaces the map by zeros and notes that, and the
//! result of the read is thrown away. The former handler is restored before Exim's code runs.

use std::cell::Cell;
use std::ffi::c_int;
use std::ffi::c_void;
use std::ptr;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicPtr;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use nix::sys::signal::SaFlags;
use nix::sys::signal::SigAction;
use nix::sys::signal::SigHandler;
use nix::sys::signal::SigSet;
use nix::sys::signal::Signal;
use nix::sys::signal::sigaction;

/// Allows one read at a time. Exim has one thread, but tests have several.
static READING: Mutex<()> = Mutex::new(());
/// The map that is being read, for the handler.
static START: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
static LENGTH: AtomicUsize = AtomicUsize::new(0);
/// True if the handler has replaced the map by zeros.
static IS_ZEROED: AtomicBool = AtomicBool::new(false);

/// The file was cut short while it was mapped. The map must not be read again.
#[derive(Debug)]
pub(super) struct CutShort;

/// The address range of a map.
pub(super) struct MapRange {
    start: AtomicPtr<c_void>,
    length: usize,
    /// True if the map was replaced by zeros.
    is_zeroed: Cell<bool>,
}

impl MapRange {
    pub(super) fn of(map: &[u8]) -> Self {
        let start = AtomicPtr::new(map.as_ptr().cast_mut().cast());
        Self { start, length: map.len(), is_zeroed: Cell::new(false) }
    }
}

/// Calls `work`, which reads from the map and does nothing else.
pub(super) fn read<T>(range: &MapRange, work: impl FnOnce() -> T) -> Result<T, CutShort> {
    let _reading = READING.lock().unwrap_or_else(PoisonError::into_inner);
    START.store(range.start.load(Ordering::Relaxed), Ordering::Relaxed);
    LENGTH.store(range.length, Ordering::Relaxed);
    IS_ZEROED.store(false, Ordering::Relaxed);
    let installed = InstalledHandler::new(range);
    let done = (!range.is_zeroed.get()).then(work);
    drop(installed);
    done.filter(|_| !range.is_zeroed.get()).ok_or(CutShort)
}

/// The handler, installed until this is dropped.
struct InstalledHandler<'a> {
    range: &'a MapRange,
    before: Option<SigAction>,
}

impl<'a> InstalledHandler<'a> {
    #[allow(unsafe_code, reason = "installs a handler")]
    fn new(range: &'a MapRange) -> Self {
        let handler = SigHandler::SigAction(on_sigbus);
        let action = SigAction::new(handler, SaFlags::SA_SIGINFO, SigSet::empty());
        // SAFETY: the handler calls only mmap(2) and signal(2), and uses atomics.
        let before = unsafe { sigaction(Signal::SIGBUS, &action) };
        Self { range, before: before.ok() }
    }
}

impl Drop for InstalledHandler<'_> {
    #[allow(unsafe_code, reason = "restores the former handler")]
    fn drop(&mut self) {
        // This also runs if the reader has panicked because of the zeros.
        self.range.is_zeroed.set(self.range.is_zeroed.get() || IS_ZEROED.load(Ordering::Relaxed));
        if let Some(before) = &self.before {
            // SAFETY: the kernel returned this handler as the former one.
            let _ = unsafe { sigaction(Signal::SIGBUS, before) }.ok();
        }
    }
}

#[allow(unsafe_code, reason = "a signal handler")]
extern "C" fn on_sigbus(_: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    let (start, length) = (START.load(Ordering::Relaxed), LENGTH.load(Ordering::Relaxed));
    // SAFETY: the kernel passes valid information about the signal.
    let info = unsafe { &*info };
    // SAFETY: the kernel sets this field if it raised the signal. If a process sent the signal, the
    // field has another meaning and no address in our map, but it can be read.
    let at = unsafe { info.si_addr() };
    let is_ours = at.addr().checked_sub(start.addr()).is_some_and(|offset| offset < length);
    let (rights, kind) =
        (libc::PROT_READ, libc::MAP_FIXED | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    if is_ours {
        IS_ZEROED.store(true, Ordering::Relaxed);
        // SAFETY: this replaces the map that is being read, and the addresses stay mapped.
        let zeros = unsafe { libc::mmap(start, length, rights, kind, -1, 0) };
        if zeros != libc::MAP_FAILED {
            return;
        }
    }
    // The signal has another cause, or mmap failed. It is raised again, and then the default action
    // ends the process.
    // SAFETY: the default action runs no code of this program.
    unsafe { libc::signal(libc::SIGBUS, libc::SIG_DFL) };
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use memmap2::Mmap;

    use super::*;

    /// The current handler of SIGBUS. Rust's runtime installs one, too.
    #[allow(unsafe_code, reason = "looks at a handler")]
    fn handler() -> String {
        let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
        // SAFETY: the default action runs no code of this program.
        let found = unsafe { sigaction(Signal::SIGBUS, &default) }.unwrap();
        // SAFETY: this is the former handler.
        unsafe { sigaction(Signal::SIGBUS, &found) }.unwrap();
        format!("{:?}", found.handler())
    }

    #[test]
    #[allow(unsafe_code, reason = "maps a file")]
    fn a_file_that_is_cut_short_while_it_is_read_is_an_error() {
        let before = handler();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; 20_000]).unwrap();
        // SAFETY: this test is about what happens when the file is cut short.
        let map = unsafe { Mmap::map(&file) }.unwrap();
        let range = MapRange::of(&map);
        let sum = || map.iter().map(|byte| u64::from(*byte)).sum::<u64>();
        assert_eq!(read(&range, sum).unwrap(), 140_000);
        let cut = || {
            file.set_len(5000).unwrap();
            sum()
        };
        assert!(read(&range, cut).is_err());
        assert!(read(&range, || 1).is_err(), "it is not read again");
        assert_eq!(handler(), before);
    }
}
