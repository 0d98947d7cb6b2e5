//! authpolicy: decides each SMTP AUTH inside Exim, from the password to the log row.
//!
//! Exim asks if it may accept an attempt. The plugin answers yes, no, or "cannot tell". No error
//! leads to an acceptance, unless `accounts.serve_stale` or `accounts.cache` lets a kept account
//! stand in for a database that is away. Each attempt is recorded, in a row and in a line of Exim's
//! log.
//!
//! A driver of Exim that checks the client's proof itself also gets the account's password or its
//! SCRAM keys (`secret`, `scram`).
//!
//! An attempt passes from `attempt` through `check`, which asks `account`, `policy` and `tables`,
//! to `verdict` and `row`. The modules in reading order:
//!
//! - [`ffi`]: the exports that `${dlfunc}` calls, and the only way in; `exim`: Exim's own functions
//! - [`attempt`]: the arguments of one AUTH command, typed; `address`: the client's address, and the
//!   IPv4 address that it carries
//! - `session`: the state that lives as long as the process; `warm`: work that the daemon does once
//!   for the processes that it forks
//! - [`check`]: the story of an attempt, one call for each step
//! - [`account`]: the account query and its columns; the accounts remembered on this host
//! - [`policy`]: rules, facts and the decision, without I/O
//! - [`tables`]: the plugin's own tables: failures counted, addresses remembered, exceptions
//! - [`verdict`]: the result of an attempt, Exim's reply and the log line
//! - [`row`]: the way of a row into the log's table, and the journal
//! - [`password`]: the comparison of a password with a stored one
//! - [`geo`]: the country and the autonomous system of an address
//! - [`store`]: SQLite and MariaDB; `sql` finds the parameters of a statement
//! - [`state`]: the state directory, with the slots for hashing
//! - [`shared`]: the memory that all connections share
//! - [`config`], [`secret`], [`error`]: used by all of them; `contain` catches panics,
//!   `signals` keeps system calls from ending the process
//!
//! # The tool
//!
//! The `authpolicy` tool is the package in `tool/`. It uses only these modules
//! (`tests/layering.rs` checks this list):
//!
//! - [`account`]: the name and the query parameters of an account; remembered accounts, to delete them
//! - [`attempt`]: a trial attempt, a typed address, and the maximum length of a password
//! - [`check`]: the decision about a trial attempt, with the facts and the rules
//! - [`config`]: the configuration
//! - [`error`]: errors, and panics as errors
//! - [`geo`]: lookups in the GeoIP files, and their verification
//! - [`password`]: new stored passwords, their schemes, and the time that a check takes
//! - [`policy`]: the effective rules, to print them; lists of countries and networks
//! - [`row`]: the journal, and the delivery of its rows
//! - [`secret`]: passwords, wiped after use
//! - [`state`]: the slots for hashing, to check that their file can be made
//! - [`store`]: the databases, their tables, backup and restore
//! - [`tables`]: counters, known good addresses and exceptions
//! - [`verdict`]: the reply and the log line

pub mod account;
pub(crate) mod address;
pub mod attempt;
pub mod check;
pub mod config;
pub(crate) mod contain;
pub mod error;
pub(crate) mod exim;
pub mod ffi;
pub mod geo;
pub mod password;
pub mod policy;
pub mod row;
pub mod secret;
pub(crate) mod session;
pub mod shared;
pub(crate) mod signals;
pub(crate) mod sql;
pub mod state;
pub mod store;
pub mod tables;
pub mod verdict;
pub(crate) mod warm;
