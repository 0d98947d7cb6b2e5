//! The way of a row into the log's table: once, or into the journal until a database takes it.

pub mod delivery;
pub mod entry;
pub mod journal;
