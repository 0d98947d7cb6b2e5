//! A private MariaDB in a temporary directory, on a socket and a loopback port.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::Weak;
use std::thread::sleep;
use std::time::Duration;
use std::time::Instant;

use authpolicy::config::Config;
use authpolicy::config::Timeouts;
use authpolicy::store::Deadline;
use authpolicy::store::Store;
use mysql::Conn;
use mysql::OptsBuilder;
use mysql::prelude::Queryable;

use super::exim::free_port;

/// The password of the database user `exim`. It has characters that a URL must encode.
pub const PASSWORD: &str = "s3cr/t@:";
/// The password, encoded for a URL.
pub const ENCODED: &str = "s3cr%2Ft%40%3A";

/// The table of the production server, with exactly its columns and types.
pub const PRODUCTION_TABLE: &str = "CREATE TABLE connection_log (
  id            int(10) unsigned    NOT NULL AUTO_INCREMENT PRIMARY KEY,
  datetime      datetime            NOT NULL DEFAULT current_timestamp(),
  protocol      varchar(10)         NOT NULL,
  username      varchar(80)         NOT NULL,
  remote_ip     varchar(40)         NOT NULL,
  country       varchar(4)          NOT NULL,
  auth_ok       tinyint(1) unsigned NULL,
  policy_reject tinyint(1) unsigned NULL)";

/// Makes the system tables in `data` in this directory.
pub fn install(directory: &Path) {
    let installed = Command::new("mariadb-install-db")
        .args(["--no-defaults", "--user=root", "--skip-test-db"])
        .arg("--auth-root-authentication-method=normal")
        .arg(format!("--datadir={}", directory.join("data").display()))
        // In /tmp, two servers that start at once would disturb each other's files.
        .arg(format!("--tmpdir={}", directory.display()))
        .output()
        .expect("mariadb-install-db: install mariadb-server");
    assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
}

/// Starts a server in this directory and on this port, with these further arguments.
type Serve = fn(&Path, u16, &[String]) -> Child;

/// A server: MariaDB, or MySQL (mysql.rs).
pub struct MariaDb {
    serve: Serve,
    directory: tempfile::TempDir,
    pub port: u16,
    server: Mutex<Child>,
    databases: Mutex<u32>,
}

impl MariaDb {
    /// The shared server of this test program. The first caller starts it; it ends when the last
    /// one drops it.
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<MariaDb>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Self::start());
            *shared = Arc::downgrade(&server);
            server
        })
    }

    /// Starts a server that is not shared, so that a test may damage it.
    pub fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap())
    }

    /// Starts a server in this directory, which may be a mount.
    pub fn start_in(directory: tempfile::TempDir) -> Self {
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        install(directory.path());
        let server = Self::start_by(Self::serve, directory);
        let mut root = server.root("");
        root.query_drop(format!("CREATE USER exim@localhost IDENTIFIED BY '{PASSWORD}'")).unwrap();
        root.query_drop("GRANT ALL ON *.* TO exim@localhost").unwrap();
        server
    }

    /// Starts a server with this function. The system tables must exist.
    pub fn start_by(serve: Serve, directory: tempfile::TempDir) -> Self {
        let port = free_port();
        let server = Mutex::new(serve(directory.path(), port, &[]));
        let server = Self { serve, directory, port, server, databases: Mutex::new(0) };
        server.wait();
        server
    }

    fn serve(directory: &Path, port: u16, more: &[String]) -> Child {
        Self::serve_by(&mut Command::new("mariadbd"), directory, port, more)
    }

    fn serve_by(command: &mut Command, directory: &Path, port: u16, more: &[String]) -> Child {
        let error_log = fs::File::create(directory.join("error.log")).unwrap();
        command
            .args(["--no-defaults", "--user=root", "--bind-address=127.0.0.1"])
            .args(["--innodb-buffer-pool-size=32M", "--innodb-flush-log-at-trx-commit=2"])
            .arg("--sql-mode=STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION")
            .arg(format!("--datadir={}", directory.join("data").display()))
            .arg(format!("--tmpdir={}", directory.display()))
            .arg(format!("--socket={}", directory.join("sock").display()))
            .arg(format!("--pid-file={}", directory.join("pid").display()))
            .arg(format!("--port={port}"))
            // Tests that run at the same time share the server, and some have hundreds of clients.
            .arg("--max-connections=1000")
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(error_log)
            .spawn()
            .expect("mariadbd: install mariadb-server")
    }

    fn wait(&self) {
        for _ in 0..600 {
            if Conn::new(self.root_options("")).is_ok() {
                return;
            }
            sleep(Duration::from_millis(50));
        }
        let log = fs::read_to_string(self.directory.path().join("error.log")).unwrap_or_default();
        panic!("the server does not answer: {log}");
    }

    fn root_options(&self, database: &str) -> OptsBuilder {
        OptsBuilder::new()
            .user(Some("root"))
            .socket(Some(self.socket().display().to_string()))
            .db_name((!database.is_empty()).then(|| database.to_owned()))
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("sock")
    }

    pub fn pid(&self) -> u32 {
        self.child().id()
    }

    fn child(&self) -> std::sync::MutexGuard<'_, Child> {
        self.server.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Kills the server with SIGKILL.
    pub fn kill(&self) {
        let mut server = self.child();
        let _ = server.kill();
        let _ = server.wait();
    }

    /// Starts the server again.
    pub fn restart(&self) {
        self.restart_with(&[]);
    }

    /// Starts the server again, with these further arguments.
    pub fn restart_with(&self, more: &[String]) {
        *self.child() = (self.serve)(self.directory.path(), self.port, more);
        self.wait();
    }

    /// Kills the server and starts it again in a time zone: a name, or a rule as POSIX writes it.
    pub fn restart_in_zone(&self, zone: &str) {
        self.kill();
        let mut command = Command::new("mariadbd");
        let server = Self::serve_by(command.env("TZ", zone), self.directory.path(), self.port, &[]);
        *self.child() = server;
        self.wait();
    }

    /// A connection as root, for the test itself.
    pub fn root(&self, database: &str) -> Conn {
        Conn::new(self.root_options(database)).unwrap()
    }

    /// Makes a database that the user `exim` may use; returns its name.
    pub fn database(&self) -> String {
        let mut number = self.databases.lock().unwrap();
        *number += 1;
        let name = format!("mail{number}");
        let sql = format!("CREATE DATABASE {name} CHARACTER SET utf8mb4");
        self.root("").query_drop(sql).unwrap();
        name
    }

    /// Opens a database as the plugin does. Each statement may take this time.
    pub fn store(&self, database: &str, query: Duration) -> Store {
        let text = format!("[database]\nurl = \"{}\"\n", self.url(database));
        let config = Config::parse(Path::new("/authpolicy.toml"), &text).unwrap();
        let long = Duration::from_secs(600);
        let timeouts = Timeouts { connect: long, query, attempt: long };
        Store::open(&config.log.database, Deadline::new(Instant::now(), timeouts)).unwrap()
    }

    /// The URL of a database, over the socket.
    pub fn url(&self, database: &str) -> String {
        format!("mysql://exim:{ENCODED}@localhost/{database}?socket={}", self.socket().display())
    }

    /// The URL of a database, over TCP.
    pub fn tcp_url(&self, database: &str) -> String {
        format!("mysql://exim:{ENCODED}@127.0.0.1:{}/{database}", self.port)
    }

    /// Sends a signal to the server, by the signal's name.
    pub fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        self.kill();
    }
}
