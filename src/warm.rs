//! Work that a process does at first use, done once in the daemon that forks the processes.
//!
//! A process inherits the memory of the daemon: choices of instructions, addresses that were looked
//! for, tables of SQLite. It inherits nothing here that depends on a file, and no open descriptor.

use std::sync::Once;

use crate::config::Config;
use crate::contain;
use crate::password;
use crate::store;

/// Does the work that an attempt under this configuration will need. Repeating it costs nothing.
pub(crate) fn warm(config: &Config) {
    static DONE: Once = Once::new();
    DONE.call_once(|| {
        // A fault is reported by the attempt that meets it.
        drop(contain::catch("warm", || {
            password::preload();
            // The first call looks for libc's function.
            getrandom::fill(&mut [0])
        }));
    });
    store::preload(&config.accounts.database);
    store::preload(&config.log.database);
}
