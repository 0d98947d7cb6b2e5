//! Reading from a map of a file that somebody may cut short meanwhile.
//!
//! The kernel raises SIGBUS if a map is read past the end of its file, and that ends the process.
//! So there is a handler while the reader looks into such a map. It puts zeros in the map's place
//! and notes that, and the result of the read is thrown away. The former handler is back before
//! Exim's code runs.

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

/// One map at a time: Exim has one thread, tests have several.
static TURN: Mutex<()> = Mutex::new(());
/// The map that is read, for the handler.
static START: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
static LENGTH: AtomicUsize = AtomicUsize::new(0);
/// True if the handler was needed.
static IS_GONE: AtomicBool = AtomicBool::new(false);

/// The file was cut short under the map, which must not be read again.
#[derive(Debug)]
pub(super) struct CutShort;

/// The place of a map in memory.
pub(super) struct MapRange {
    start: AtomicPtr<c_void>,
    length: usize,
    /// True if zeros are in its place.
    is_gone: Cell<bool>,
}

impl MapRange {
    pub(super) fn of(map: &[u8]) -> Self {
        let start = AtomicPtr::new(map.as_ptr().cast_mut().cast());
        Self { start, length: map.len(), is_gone: Cell::new(false) }
    }
}

/// Reads from a map, and nothing else.
pub(super) fn read<T>(place: &MapRange, work: impl FnOnce() -> T) -> Result<T, CutShort> {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    START.store(place.start.load(Ordering::Relaxed), Ordering::Relaxed);
    LENGTH.store(place.length, Ordering::Relaxed);
    IS_GONE.store(false, Ordering::Relaxed);
    let installed = Installed::new(place);
    let done = (!place.is_gone.get()).then(work);
    drop(installed);
    done.filter(|_| !place.is_gone.get()).ok_or(CutShort)
}

/// The handler, until this is dropped.
struct Installed<'a> {
    place: &'a MapRange,
    before: Option<SigAction>,
}

impl<'a> Installed<'a> {
    #[allow(unsafe_code, reason = "installs a handler")]
    fn new(place: &'a MapRange) -> Self {
        let handler = SigHandler::SigAction(on_sigbus);
        let action = SigAction::new(handler, SaFlags::SA_SIGINFO, SigSet::empty());
        // SAFETY: the handler calls nothing but mmap(2) and signal(2), and reads atomics.
        let before = unsafe { sigaction(Signal::SIGBUS, &action) };
        Self { place, before: before.ok() }
    }
}

impl Drop for Installed<'_> {
    #[allow(unsafe_code, reason = "puts the former handler back")]
    fn drop(&mut self) {
        // This also runs if the reader has panicked at the zeros.
        self.place.is_gone.set(self.place.is_gone.get() || IS_GONE.load(Ordering::Relaxed));
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
    // SAFETY: if the kernel raised SIGBUS, this is the address; otherwise it is not in our map.
    let at = unsafe { info.si_addr() };
    let is_ours = at.addr().checked_sub(start.addr()).is_some_and(|offset| offset < length);
    let (rights, kind) =
        (libc::PROT_READ, libc::MAP_FIXED | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    if is_ours {
        IS_GONE.store(true, Ordering::Relaxed);
        // SAFETY: this is the place of the map that is being read, and it stays mapped.
        let zeros = unsafe { libc::mmap(start, length, rights, kind, -1, 0) };
        if zeros != libc::MAP_FAILED {
            return;
        }
    }
    // Not our map, or mmap failed: the signal comes again, without a handler.
    // SAFETY: the default action runs no code of this program.
    unsafe { libc::signal(libc::SIGBUS, libc::SIG_DFL) };
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use memmap2::Mmap;

    use super::*;

    /// The handler of SIGBUS; Rust's runtime has its own.
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
        let place = MapRange::of(&map);
        let sum = || map.iter().map(|byte| u64::from(*byte)).sum::<u64>();
        assert_eq!(read(&place, sum).unwrap(), 140_000);
        let cut = || {
            file.set_len(5000).unwrap();
            sum()
        };
        assert!(read(&place, cut).is_err());
        assert!(read(&place, || 1).is_err(), "it is not read again");
        assert_eq!(handler(), before);
    }
}
