//! The time limit of the sockets that drivers open, kept by sockets.c.

use std::ffi::c_long;
use std::time::Duration;

#[allow(unsafe_code, reason = "declares a function of sockets.c")]
// SAFETY: the function has this type there. It stores a number and has no other effect.
unsafe extern "C" {
    safe fn authpolicy_sockets_within(microseconds: c_long);
}

/// Limits connecting and receiving, from now on, to this time.
pub(super) fn sockets_within(time: Duration) {
    authpolicy_sockets_within(c_long::try_from(time.as_micros()).unwrap_or(c_long::MAX));
}
