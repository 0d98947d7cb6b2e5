//! The reply to Exim. Only this file has Exim's return codes.
//!
//! Exim's `${dlfunc}` knows five codes (`expand.c`, `local_scan.h`). Three are used. `DEFER` and
//! `ERROR` are not, because each writes a line to Exim's panic log. A forced failure is only for
//! `secret`, which no ACL calls. In an ACL it would mean "condition met".

use std::ffi::CStr;

/// Exim's `OK`: the text is the result of the expansion.
const OK: i32 = 0;
/// Exim's `FAIL`: the expansion fails, and an authenticator answers 435.
const FAIL: i32 = 2;
/// Exim's `FAIL_FORCED`: an authenticator that asked for a password answers 535.
const FAIL_FORCED: i32 = 4;

/// The reply to one call of the plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Reply {
    /// The client gets 235.
    Accept,
    /// The client gets 535. The reason is only in our log.
    Reject,
    /// The client gets 435: a database, a file or the configuration is at fault.
    CannotTell,
    /// The client gets 435: our own code is at fault.
    Bug,
    /// The client gets 535: there is no password to verify its proof with.
    NoSecret,
}

impl Reply {
    /// Exim's return code and text. The text is static, so that nothing has to be freed, and it
    /// says nothing about the account.
    #[must_use]
    pub fn to_exim(self) -> (i32, &'static CStr) {
        match self {
            Self::Accept => (OK, c"yes"),
            Self::Reject => (OK, c"no"),
            // With OK, the text would reach the client.
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
