//! A configuration with a database, in its own directory.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::path::PathBuf;

use authpolicy::config::DEFAULT_PATH;
use authpolicy::store;

use crate::database;

/// The only account.
pub(super) const ACCOUNT: &str = "u@example.com";
/// The account's password, in clear text for `secret`. No input contains it.
pub(super) const PASSWORD: &str = "Qz8Jw4Vx1";

/// The configuration of the calls.
pub(super) struct Site {
    pub(super) config: PathBuf,
}

impl Site {
    /// Calls `work` with the site, as a user who may open the database.
    pub(super) fn with(work: impl FnOnce(&Self)) {
        thread_local! {
            static SITE: Site = database::as_nobody(Site::new);
        }
        SITE.with(|site| database::as_nobody(|| work(site)));
    }

    fn new() -> Self {
        let name = format!("arguments-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::DirBuilder::new().mode(0o700).create(&directory).expect("a new directory");
        let file = directory.join("fuzz.db");
        // The statement of each attempt is executed, but inserts no row.
        let more = format!(
            "[accounts]\n\
             query = \"SELECT '{PASSWORD}' AS password WHERE :user = '{ACCOUNT}'\"\n\
             default_scheme = \"PLAIN\"\n\
             [log]\ninsert = \"INSERT INTO line SELECT :username WHERE 0\"\n\
             [policy]\nfailure_time = \"0s\"\ndeny_networks = [\"198.51.100.0/24\"]\n\
             [state]\ndirectory = \"{}\"\n",
            directory.display()
        );
        let config = database::configuration(&file, &more);
        store::create(&config.accounts.database).expect("a database");
        database::open(&config).execute("CREATE TABLE line (username)", &[]).expect("a table");
        let path = directory.join("authpolicy.toml");
        fs::write(&path, database::text(&file, &more)).expect("a file");
        Self { config: path }
    }

    /// True if a call cannot use a configuration of this machine.
    pub(super) fn is_isolated(&self, arguments: &[Vec<u8>]) -> bool {
        let is_named = arguments.iter().any(|argument| argument.starts_with(b"config="));
        is_named || !Path::new(DEFAULT_PATH).exists()
    }
}
