//! Embedded databases for targets, which root may not open.

use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use authpolicy::config::Config;
use authpolicy::config::Timeouts;
use authpolicy::store::Deadline;
use authpolicy::store::Store;
use nix::unistd::Uid;
use nix::unistd::seteuid;

/// Debian's.
const NOBODY: Uid = Uid::from_raw(65534);

/// Does something as root may not do it.
pub fn as_nobody<T>(work: impl FnOnce() -> T) -> T {
    let me = Uid::effective();
    if !me.is_root() {
        return work();
    }
    seteuid(NOBODY).expect("root may become anybody");
    let done = work();
    seteuid(me).expect("root may come back");
    done
}

/// A configuration of this database, and what else there is to say.
pub fn configuration(database: &Path, more: &str) -> Config {
    Config::parse(Path::new("/fuzz.toml"), &text(database, more)).expect("a configuration")
}

/// Its text.
pub fn text(database: &Path, more: &str) -> String {
    format!("[database]\nurl = \"sqlite:{}\"\n{more}", database.display())
}

/// Opens it for longer than a run takes; SQLite counts no more than 24 days.
pub fn open(config: &Config) -> Store {
    let long = Duration::from_secs(20 * 24 * 3600);
    let timeouts = Timeouts { connect: long, query: long, attempt: long };
    let deadline = Deadline::new(Instant::now(), timeouts);
    Store::open(&config.accounts.database, deadline).expect("a database")
}
