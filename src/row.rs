//! Stores the row of an attempt in the log's table once, or in the journal until the database takes
//! it.

pub mod delivery;
pub mod entry;
pub mod journal;
