//! Embedded databases for the targets. The plugin does not open them as root.

use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use authpolicy::config::Config;
use authpolicy::config::Timeouts;
use authpolicy::store::Deadline;
use authpolicy::store::Store;
use nix::unistd::Uid;
use nix::unistd::seteuid;

/// The user nobody in Debian.
const NOBODY: Uid = Uid::from_raw(65534);

/// Calls `work` as the user nobody, if this process runs as root.
pub fn as_nobody<T>(work: impl FnOnce() -> T) -> T {
    let me = Uid::effective();
    if !me.is_root() {
        return work();
    }
    seteuid(NOBODY).expect("root may become any user");
    let result = work();
    seteuid(me).expect("root may become root again");
    result
}

/// A configuration with this database and further keys.
pub fn configuration(database: &Path, more: &str) -> Config {
    Config::parse(Path::new("/fuzz.toml"), &text(database, more)).expect("a configuration")
}

/// The text of a configuration with this database and further keys.
pub fn text(database: &Path, more: &str) -> String {
    format!("[database]\nurl = \"sqlite:{}\"\n{more}", database.display())
}

/// Opens the database with time-outs longer than a run. SQLite's time-outs end at 24 days.
pub fn open(config: &Config) -> Store {
    let long = Duration::from_secs(20 * 24 * 3600);
    let timeouts = Timeouts { connect: long, query: long, attempt: long };
    let deadline = Deadline::new(Instant::now(), timeouts);
    Store::open(&config.accounts.database, deadline).expect("a database")
}
