//! authpolicy: an AUTH decided inside Exim, from the password to the log row.
//!
//! Exim asks one question; the plugin answers yes, no, or "cannot tell", and never anything else.
//! No attempt goes unrecorded, and nobody gets in because something broke.
//!
//! The modules in reading order:
//!
//! - [`ffi`]: the exports that `${dlfunc}` calls, and the only way in
//! - [`attempt`]: the client's words, typed; [`address`]: its address, and the IPv4 address that it
//!   carries
//! - [`session`]: what lives as long as the process
//! - [`check`]: the story of an attempt, one verb a line
//!   [`stale`] remembers accounts for when no host can be reached
//! - [`policy`]: rules, facts, and the decision; [`rules`] reads what administrators write
//! - [`password`]: whether a password matches a stored one; [`slots`]: how many
//!   processes hash at once; [`state`]: files of our own, and a key for what is made up
//! - [`limit`], [`seen`], [`exception`]: what is counted, remembered and allowed for a time, in
//!   tables of ours; [`pwhash`] tells passwords apart without knowing them
//! - [`settlement`]: the changes that an outcome makes to these tables, at once or later
//! - [`geo`]: the country and the autonomous system of an address
//! - [`account`], [`entry`]: what is read from a database, and what is written; [`store`] holds the
//!   two databases, [`sql`] finds the parameters of a statement
//! - [`delivery`]: a row's way into the log's table, once; [`journal`] keeps what has to wait
//! - [`verdict`], [`outcome`]: what came of it, and what Exim hears; [`maillog`]: the log lines
//! - [`config`], [`secret`], [`error`]: what all of them use; [`contain`] catches panics of other
//!   crates, [`signals`] keeps our system calls from ending the process
//! - [`ctl`]: the `authpolicy` tool

pub mod account;
pub mod address;
pub mod attempt;
pub mod check;
pub mod config;
pub mod contain;
pub mod ctl;
pub mod delivery;
pub mod entry;
pub mod error;
pub mod exception;
pub mod ffi;
pub mod geo;
pub mod journal;
pub mod limit;
pub mod maillog;
pub mod outcome;
pub mod password;
pub mod policy;
pub mod pwhash;
pub mod rules;
pub mod secret;
pub mod seen;
pub mod session;
pub mod settlement;
pub mod signals;
pub mod slots;
pub mod sql;
pub mod stale;
pub mod state;
pub mod store;
pub mod verdict;
