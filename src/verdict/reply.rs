//! What Exim hears: the only place with Exim's return codes.
//!
//! Exim's `${dlfunc}` knows five codes (`expand.c`, `local_scan.h`). Three are used. `DEFER` and
//! `ERROR` are not, since each writes a line to Exim's panic log. A forced failure is for `secret`
//! alone, which no ACL asks: there it would mean "condition met".

use std::ffi::CStr;

/// Exim's `OK`: the answer is the expansion's value.
const OK: i32 = 0;
/// Exim's `FAIL`: the expansion fails, and an authenticator answers 435.
const FAIL: i32 = 2;
/// Exim's `FAIL_FORCED`: an authenticator that wanted a password answers 535.
const FAIL_FORCED: i32 = 4;

/// The answer to Exim's one question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Reply {
    /// The client gets 235.
    Accept,
    /// The client gets 535; why stands in our log only.
    Reject,
    /// The client gets 435, since a database, a file or the configuration is at fault.
    CannotTell,
    /// The client gets 435, since we are at fault.
    Bug,
    /// The client gets 535, since there is no password to hold its proof against.
    NoSecret,
}

impl Reply {
    /// Exim's return code and the text beside it: fixed, so that there is nothing to free, and
    /// nothing in it about the account.
    #[must_use]
    pub fn to_exim(self) -> (i32, &'static CStr) {
        match self {
            Self::Accept => (OK, c"yes"),
            Self::Reject => (OK, c"no"),
            // Not OK: with that, the text would reach the client.
            Self::CannotTell => (FAIL, c"authpolicy cannot tell, see its line above"),
            Self::Bug => (FAIL, c"internal error"),
            Self::NoSecret => (FAIL_FORCED, c"authpolicy has no password for it"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Reply;

    #[test]
    fn only_a_missing_password_is_a_forced_failure() {
        for reply in [Reply::Accept, Reply::Reject, Reply::CannotTell, Reply::Bug] {
            assert!(matches!(reply.to_exim().0, 0 | 2), "{reply:?}");
        }
        assert_eq!(Reply::NoSecret.to_exim().0, 4);
        assert_eq!(Reply::Accept.to_exim(), (0, c"yes"));
        assert_eq!(Reply::Reject.to_exim(), (0, c"no"));
    }
}
