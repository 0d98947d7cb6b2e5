//! The state directory: the rules for its files, the decoy key, and the slots for hashing.

pub mod files;
pub mod key;
pub mod slots;
