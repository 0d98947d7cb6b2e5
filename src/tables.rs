//! The plugin's own tables: counters of limits, addresses and countries seen, and exceptions.

pub mod counters;
pub mod exception;
pub mod pwhash;
pub mod seen;
pub mod settlement;
