//! A private Dovecot that does nothing but authenticate.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

/// A running Dovecot; stopped when dropped.
pub struct Dovecot {
    directory: PathBuf,
    master: Child,
}

impl Dovecot {
    /// Starts a Dovecot. `users` are lines of `name:password`; `passdb` is the configuration of
    /// another passdb, which is asked for the other users.
    pub fn start(directory: &Path, users: &str, passdb: &str) -> Self {
        fs::create_dir(directory).unwrap();
        fs::write(directory.join("users"), users).unwrap();
        let at = directory.display();
        let config = format!(
            "base_dir = {at}/run
log_path = {at}/log
protocols =
ssl = no
auth_mechanisms = plain login
auth_failure_delay = 0
passdb {{
  driver = passwd-file
  args = scheme=plain {at}/users
}}
{passdb}
# Otherwise clients wait for seconds after a failure.
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service auth {{
  unix_listener {at}/auth-exim {{
    mode = 0600
    user = Debian-exim
  }}
}}
"
        );
        fs::write(directory.join("dovecot.conf"), config).unwrap();
        let master = Command::new("dovecot")
            .arg("-F")
            .arg("-c")
            .arg(directory.join("dovecot.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("dovecot: install dovecot-core");
        let dovecot = Self { directory: directory.to_owned(), master };
        for _ in 0..600 {
            if UnixStream::connect(dovecot.socket()).is_ok() {
                return dovecot;
            }
            sleep(Duration::from_millis(50));
        }
        panic!("dovecot does not answer: {}", dovecot.log());
    }

    /// The socket for Exim.
    pub fn socket(&self) -> PathBuf {
        self.directory.join("auth-exim")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        // Not SIGKILL: on SIGTERM, Dovecot stops its children.
        let pid = self.master.id().to_string();
        let _ = Command::new("kill").args(["-s", "TERM", &pid]).status();
        let _ = self.master.wait();
    }
}
