//! Catches panics: of other crates where we call them, and of our own code before they reach Exim.
//!
//! A driver, parser or hash crate that panics has failed for one server, file or stored password.
//! So the panic becomes an ordinary error of that place, and the attempt goes on: the next server
//! is tried, and the row is written. The text of a panic may contain parsed data, such as a
//! password. So only the file and the line are reported.

use std::cell::RefCell;
use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::ops::DerefMut;
use std::panic::AssertUnwindSafe;
use std::panic::Location;
use std::panic::PanicHookInfo;
use std::panic::catch_unwind;

thread_local! {
    /// File and line of the latest panic.
    static LATEST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// A panic that was caught.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Panic {
    at: Option<String>,
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.at.as_deref().unwrap_or("an unknown place");
        write!(f, "internal error at {at}")
    }
}

/// Installs a panic hook that prints nothing, because descriptor 2 may be the client's connection.
pub(crate) fn install_hook() {
    std::panic::set_hook(Box::new(note));
}

/// Notes the place of a panic.
fn note(info: &PanicHookInfo<'_>) {
    let at = info.location().map(describe);
    // The thread may be ending, and a panic in here would end the process.
    let _ = LATEST.try_with(|latest| latest.try_borrow_mut().map(|mut latest| *latest = at)).ok();
}

/// The file and the line. The path starts at the crate's directory, without those of the build
/// machine.
fn describe(location: &Location<'_>) -> String {
    format!("{}:{}", shorten(location.file()), location.line())
}

fn shorten(file: &str) -> &str {
    let Some((above, _)) = file.rsplit_once("/src/") else { return file };
    let start = above.rfind('/').map_or(0, |slash| slash.saturating_add(1));
    file.get(start..).unwrap_or(file)
}

/// Runs a call that may panic. `place` is a name for tests, which make it panic.
///
/// # Errors
/// It panicked. Whatever it was changing is in an unknown state.
#[cfg_attr(
    not(feature = "deliberate-panic"),
    allow(unused_variables, reason = "only that feature uses the name")
)]
pub(crate) fn catch<T>(place: &'static str, work: impl FnOnce() -> T) -> Result<T, Panic> {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        #[cfg(feature = "deliberate-panic")]
        deliberate::panic_if_armed("before", place);
        let done = work();
        #[cfg(feature = "deliberate-panic")]
        deliberate::panic_if_armed("after", place);
        done
    }));
    outcome.map_err(|payload| {
        #[allow(clippy::mem_forget, reason = "dropping it could panic, outside of the catch")]
        std::mem::forget(payload);
        Panic { at: LATEST.try_with(RefCell::take).ok().flatten() }
    })
}

/// A value of another crate whose drop may panic, such as a connection that says goodbye.
pub(crate) struct Contained<T>(ManuallyDrop<T>);

impl<T> Contained<T> {
    /// Wraps a value.
    pub(crate) fn new(value: T) -> Self {
        Self(ManuallyDrop::new(value))
    }
}

impl<T> Deref for Contained<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Contained<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T> Drop for Contained<T> {
    #[allow(unsafe_code, reason = "takes the value out of a field that is not dropped again")]
    fn drop(&mut self) {
        // SAFETY: this is the only place that takes the value, it runs once, and nothing can use
        // the field after it.
        let value = unsafe { ManuallyDrop::take(&mut self.0) };
        // The caller already has its result, so a panic here changes nothing.
        let _ = catch("drop", || drop(value)).ok();
    }
}

/// Panics on demand, for tests.
#[cfg(feature = "deliberate-panic")]
pub(crate) mod deliberate {
    #![allow(clippy::panic, reason = "panics are the purpose of this module")]

    use std::sync::Mutex;
    use std::sync::PoisonError;

    static ARMED: Mutex<Vec<String>> = Mutex::new(Vec::new());

    /// Makes these places panic, and no others. A place is written as `before-query` or
    /// `after-commit`.
    pub(crate) fn arm(places: Vec<String>) {
        *ARMED.lock().unwrap_or_else(PoisonError::into_inner) = places;
    }

    /// Panics if this place is armed.
    pub(crate) fn panic_if_armed(moment: &str, place: &str) {
        let armed = ARMED.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if armed.iter().any(|armed| *armed == format!("{moment}-{place}")) {
            panic!("a deliberate panic");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;

    /// Panics when it is dropped, and counts that.
    struct Bomb(Rc<Cell<u32>>);

    impl Drop for Bomb {
        fn drop(&mut self) {
            self.0.set(self.0.get().saturating_add(1));
            panic!("in drop");
        }
    }

    #[test]
    fn a_call_that_panics_is_an_error_and_others_are_not() {
        assert_eq!(catch("test", || 1), Ok(1));
        let panic = catch("test", || -> u32 { panic!("hunter2") }).unwrap_err();
        assert!(!format!("{panic} {panic:?}").contains("hunter2"));
        assert_eq!(catch("test", || 2), Ok(2), "the next call");
    }

    #[test]
    fn a_payload_that_panics_when_it_is_dropped_does_not_get_out() {
        struct Payload;
        impl Drop for Payload {
            fn drop(&mut self) {
                panic!("in the drop of a payload");
            }
        }
        assert!(catch("test", || std::panic::panic_any(Payload)).is_err());
    }

    #[test]
    fn a_panic_in_drop_is_contained() {
        let dropped = Rc::new(Cell::new(0));
        drop(Contained::new(Bomb(Rc::clone(&dropped))));
        assert_eq!(dropped.get(), 1);
        // During the unwinding of another panic, a second panic would end the process.
        let contained = Contained::new(Bomb(Rc::clone(&dropped)));
        let outcome = catch("test", move || {
            let _contained = contained;
            panic!("the first");
        });
        assert!(outcome.is_err());
        assert_eq!(dropped.get(), 2);
    }

    #[test]
    fn the_place_is_reported_without_directories_of_the_build_machine() {
        for (file, want) in [
            (
                "/root/.cargo/registry/src/index-1/mysql_common-0.37.3/src/scramble.rs",
                "mysql_common-0.37.3/src/scramble.rs",
            ),
            ("/rustc/0123/library/core/src/slice/index.rs", "core/src/slice/index.rs"),
            ("src/check.rs", "src/check.rs"),
        ] {
            assert_eq!(shorten(file), want);
        }
    }
}
