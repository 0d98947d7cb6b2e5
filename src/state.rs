//! The state directory: the files in it that may be used, and the two that are not about rows or
//! accounts: the decoy key, and the slots for hashing.

pub mod files;
pub mod key;
pub mod slots;
