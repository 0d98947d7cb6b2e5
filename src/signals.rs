//! Blocks signals that our system calls may raise, because they would end Exim's process.
//!
//! A write beyond `ulimit -f` raises SIGXFSZ. A write to a socket that the server has closed raises
//! SIGPIPE. Both signals go to the thread that writes, and both calls also fail, with EFBIG and
//! EPIPE. So the thread blocks the two signals while we work, discards those that have arrived, and
//! restores its mask. This covers SQLite's writes, too, and does not change Exim's handlers.

use std::ptr;

use nix::sys::signal::SigSet;
use nix::sys::signal::SigmaskHow;
use nix::sys::signal::Signal;

/// More than can be pending: for each of the two signals, one for the thread and one for the
/// process.
const MAX_PENDING: u32 = 8;

/// Blocks SIGXFSZ and SIGPIPE in this thread until it is dropped.
pub(crate) struct BlockedSignals {
    /// The mask before, or `None` if it could not be changed.
    before: Option<SigSet>,
}

impl BlockedSignals {
    /// Blocks the signals.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self { before: blocked().thread_swap_mask(SigmaskHow::SIG_BLOCK).ok() }
    }
}

impl Default for BlockedSignals {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        let Some(before) = self.before else { return };
        // A signal that was blocked before must not be discarded.
        let mut raised = SigSet::empty();
        blocked().iter().filter(|signal| !before.contains(*signal)).for_each(|s| raised.add(s));
        if raised.iter().next().is_some() {
            discard(&raised);
        }
        // This cannot fail, because the mask was valid when it was read.
        let _ = before.thread_set_mask().ok();
    }
}

/// The signals that are blocked.
fn blocked() -> SigSet {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGXFSZ);
    signals.add(Signal::SIGPIPE);
    signals
}

/// Takes pending signals without handling them.
#[allow(unsafe_code, reason = "calls libc")]
fn discard(signals: &SigSet) {
    let no_wait = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    for _ in 0..MAX_PENDING {
        // SAFETY: the set and the time outlive the call, and information about the signal is not
        // asked for.
        let taken =
            unsafe { libc::sigtimedwait(signals.as_ref(), ptr::null_mut(), &raw const no_wait) };
        let interrupted = nix::errno::Errno::last() == nix::errno::Errno::EINTR;
        if taken < 0 && !interrupted {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn write_to_closed_pipe() -> std::io::Error {
        let (reader, mut writer) = std::io::pipe().unwrap();
        drop(reader);
        writer.write_all(b"x").unwrap_err()
    }

    fn is_blocked(signal: Signal) -> bool {
        SigSet::thread_get_mask().unwrap().contains(signal)
    }

    #[test]
    fn the_mask_is_restored_and_nothing_is_left_pending() {
        assert!(!is_blocked(Signal::SIGPIPE) && !is_blocked(Signal::SIGXFSZ));
        let blocked = BlockedSignals::new();
        assert!(is_blocked(Signal::SIGPIPE) && is_blocked(Signal::SIGXFSZ));
        nix::sys::signal::raise(Signal::SIGXFSZ).unwrap();
        assert_eq!(write_to_closed_pipe().raw_os_error(), Some(libc::EPIPE));
        let (one, mut other) = UnixStream::pair().unwrap();
        drop(one);
        assert_eq!(other.write_all(b"x").unwrap_err().raw_os_error(), Some(libc::EPIPE));
        // SIGXFSZ would end the test program if it were still pending.
        drop(blocked);
        assert!(!is_blocked(Signal::SIGPIPE) && !is_blocked(Signal::SIGXFSZ));
    }

    #[test]
    fn a_signal_that_was_blocked_before_stays_blocked_and_pending() {
        let mut host = SigSet::empty();
        host.add(Signal::SIGXFSZ);
        host.thread_block().unwrap();
        nix::sys::signal::raise(Signal::SIGXFSZ).unwrap();
        drop(BlockedSignals::new());
        assert!(is_blocked(Signal::SIGXFSZ));
        assert_eq!(host.wait().unwrap(), Signal::SIGXFSZ, "it is still there");
        host.thread_unblock().unwrap();
    }
}
