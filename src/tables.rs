//! The plugin's own tables: counters of limits, addresses and countries seen, and exceptions.

mod assembly;
pub mod counters;
pub mod exception;
pub mod look;
pub mod pwhash;
pub mod seen;
pub mod settlement;
