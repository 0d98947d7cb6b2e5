//! The plugin's own tables: failures counted, addresses remembered, exceptions allowed for a time.

pub mod counters;
pub mod exception;
pub mod pwhash;
pub mod seen;
pub mod settlement;
