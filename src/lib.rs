//! authpolicy: an AUTH decided inside Exim, from the password to the log row.
//!
//! Exim asks one question; the plugin answers yes, no, or "cannot tell", and never anything else.
//! No attempt goes unrecorded, and nobody gets in because something broke.
//!
//! An attempt passes from `attempt` through `check`, which asks `account`, `policy` and `tables`, to
//! `verdict` and `row`. The modules in reading order:
//!
//! - [`ffi`]: the exports that `${dlfunc}` calls, and the only way in
//! - [`attempt`]: the arguments of one AUTH command, typed; [`address`]: the client's address, and the
//!   IPv4 address that it carries
//! - [`session`]: the state that lives as long as the process
//! - [`check`]: the story of an attempt, one verb a line
//! - [`account`]: the account query and its columns; the accounts cached on this host
//! - [`policy`]: rules, facts and the decision, without I/O
//! - [`tables`]: the plugin's own tables: failures counted, addresses remembered, exceptions
//! - [`verdict`]: the result of an attempt, Exim's reply and the log line
//! - [`row`]: the way of a row into the log's table, and the journal
//! - [`password`]: the comparison of a password with a stored one
//! - [`geo`]: the country and the autonomous system of an address
//! - [`store`]: SQLite and MariaDB; [`sql`] finds the parameters of a statement
//! - [`state`]: the state directory, with the slots for hashing
//! - [`config`], [`secret`], [`error`]: used by all of them; [`contain`] catches panics of other
//!   crates, [`signals`] keeps system calls from ending the process
//!
//! The `authpolicy` tool is the package in `tool/`.

pub mod account;
pub mod address;
pub mod attempt;
pub mod check;
pub mod config;
pub mod contain;
pub mod error;
pub mod ffi;
pub mod geo;
pub mod password;
pub mod policy;
pub mod row;
pub mod secret;
pub mod session;
pub mod signals;
pub mod sql;
pub mod state;
pub mod store;
pub mod tables;
pub mod verdict;
