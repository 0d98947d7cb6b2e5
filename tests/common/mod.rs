//! Real parts for the tests: a real Exim, a real MariaDB and real MMDB files, each in a temporary
//! directory. Each test ends its own processes by their ids.
//!
//! The tests need root, because Exim drops its privileges itself. The packages exim4-daemon-heavy
//! and mariadb-server of Debian are needed, too; `make test` installs them. No test is skipped:
//! without them, tests fail.
#![allow(
    dead_code,
    unused_imports,
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "test code, and not every test uses all of it"
)]

pub mod cache;
pub mod config;
pub mod dovecot;
pub mod driver;
pub mod example;
pub mod exim;
pub mod exims;
pub mod fake_server;
pub mod fault;
pub mod fetch;
pub mod frozen;
pub mod galera;
pub mod gsasl;
pub mod hashing;
pub mod host;
pub mod journal;
pub mod limits;
pub mod load;
pub mod mailbox;
pub mod mariadb;
pub mod mmdb;
pub mod modes;
pub mod mount;
pub mod mysql;
pub mod name_server;
pub mod named;
pub mod outcome;
pub mod panicking;
pub mod process;
pub mod relay;
pub mod scram;
pub mod signal_flood;
pub mod site;
pub mod smtp;
pub mod stale;
pub mod tls;
pub mod tool;

pub use self::dovecot::Dovecot;
pub use self::exim::Exim;
pub use self::mariadb::MariaDb;
pub use self::site::Base;
pub use self::site::Row;
pub use self::site::Site;
pub use self::smtp::Client;
pub use self::tool::tool;
