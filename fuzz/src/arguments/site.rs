//! A configuration with a database, in a directory of its own.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::path::PathBuf;

use authpolicy::config::DEFAULT_PATH;
use authpolicy::store;

use crate::database;

/// The one account.
pub(super) const ACCOUNT: &str = "u@example.com";
/// Its password, in clear for `secret`. Nobody has it.
pub(super) const PASSWORD: &str = "Qz8Jw4Vx1";

/// The place.
pub(super) struct Site {
    pub(super) config: PathBuf,
}

impl Site {
    /// Does something there, as one who may open the database.
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
        // Each attempt writes its row, and none stays.
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

    /// Whether a call asks for nothing but what is here.
    pub(super) fn may_go(&self, arguments: &[Vec<u8>]) -> bool {
        let is_named = arguments.iter().any(|argument| argument.starts_with(b"config="));
        is_named || !Path::new(DEFAULT_PATH).exists()
    }
}
