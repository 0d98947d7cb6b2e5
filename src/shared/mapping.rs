//! Memory that forked processes share.

use std::ptr;
use std::slice;
use std::sync::atomic::AtomicU64;

/// Maps this many words, which are all zero. They stay mapped until the process ends. `None` if the
/// system refuses it.
#[allow(unsafe_code, reason = "maps memory")]
pub(super) fn map(words: usize) -> Option<&'static [AtomicU64]> {
    let length = words.checked_mul(size_of::<AtomicU64>())?;
    let rights = libc::PROT_READ | libc::PROT_WRITE;
    let kind = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    // SAFETY: the kernel chooses addresses that are free, so this replaces no other memory.
    let start = unsafe { libc::mmap(ptr::null_mut(), length, rights, kind, -1, 0) };
    if start == libc::MAP_FAILED {
        return None;
    }
    // Stored passwords and the key must not get into a core file.
    // SAFETY: the range was mapped just now, and this advice does not change its content.
    if unsafe { libc::madvise(start, length, libc::MADV_DONTDUMP) } != 0 {
        // SAFETY: the range was mapped just now, and nothing refers to it.
        unsafe { libc::munmap(start, length) };
        return None;
    }
    // This also fills the pages now, so that the processes of connections find them. RLIMIT_MEMLOCK
    // may refuse it. Then the memory works all the same, but may be swapped.
    // SAFETY: the range was mapped just now, and locking does not change its content.
    let _ = unsafe { libc::mlock(start, length) };
    // SAFETY: the range has this many words, is aligned to a page, and begins as zeros, which are
    // valid words. It is never unmapped, so it lives as long as the process. This process and those
    // that it forks know the address only through this slice, so all access is atomic. A process of
    // another program cannot map the memory, because it has no name.
    Some(unsafe { slice::from_raw_parts(start.cast::<AtomicU64>(), words) })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::Ordering;

    use super::*;

    /// The flags of the mapping at this address, from /proc/self/smaps.
    fn flags(address: usize) -> String {
        let smaps = fs::read_to_string("/proc/self/smaps").unwrap();
        let mut is_ours = false;
        for line in smaps.lines() {
            let range = line.split_once(' ').and_then(|(range, _)| range.split_once('-'));
            let range = range.and_then(|(start, end)| {
                let read = |text| usize::from_str_radix(text, 16).ok();
                Some(read(start)?..read(end)?)
            });
            is_ours = range.map_or(is_ours, |range| range.contains(&address));
            if let Some(flags) = line.strip_prefix("VmFlags:").filter(|_| is_ours) {
                return flags.to_owned();
            }
        }
        panic!("no mapping at {address:x}");
    }

    #[test]
    fn the_memory_begins_as_zeros_is_shared_and_not_dumped() {
        let words = map(1024).unwrap();
        assert_eq!(words.len(), 1024);
        assert!(words.iter().all(|word| word.load(Ordering::Relaxed) == 0));
        let flags = flags(words.as_ptr().addr());
        // `sh`: shared; `dd`: do not dump; `lo`: locked, as far as the limit allows.
        assert!(flags.split(' ').any(|flag| flag == "sh"), "{flags}");
        assert!(flags.split(' ').any(|flag| flag == "dd"), "{flags}");
    }

    #[test]
    fn memory_that_the_system_refuses_is_none() {
        assert!(map(usize::MAX).is_none(), "its length in bytes overflows");
        assert!(map(usize::MAX / 16).is_none(), "no address space has it");
        assert!(map(0).is_none(), "an empty mapping is refused");
    }
}
