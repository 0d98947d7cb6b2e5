//! A private MariaDB in a temporary directory, on a socket and a loopback port.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::Weak;
use std::thread::sleep;
use std::time::Duration;

use mysql::Conn;
use mysql::OptsBuilder;
use mysql::prelude::Queryable;

use super::exim::free_port;

/// The password of the database user `exim`: with what a URL must encode.
pub const PASSWORD: &str = "s3cr/t@:";
/// The same in a URL.
pub const ENCODED: &str = "s3cr%2Ft%40%3A";

/// The production table of contract.md, to the letter.
pub const PRODUCTION_TABLE: &str = "CREATE TABLE connection_log (
  id            int(10) unsigned    NOT NULL AUTO_INCREMENT PRIMARY KEY,
  datetime      datetime            NOT NULL DEFAULT current_timestamp(),
  protocol      varchar(10)         NOT NULL,
  username      varchar(80)         NOT NULL,
  remote_ip     varchar(40)         NOT NULL,
  country       varchar(4)          NOT NULL,
  auth_ok       tinyint(1) unsigned NULL,
  policy_reject tinyint(1) unsigned NULL)";

/// Makes the system's tables in `data` there.
pub fn install(directory: &std::path::Path) {
    let installed = Command::new("mariadb-install-db")
        .args(["--no-defaults", "--user=root", "--skip-test-db"])
        .arg("--auth-root-authentication-method=normal")
        .arg(format!("--datadir={}", directory.join("data").display()))
        // Two servers that start at once trip over each other's files in /tmp.
        .arg(format!("--tmpdir={}", directory.display()))
        .output()
        .expect("mariadb-install-db: install mariadb-server");
    assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
}

/// Starts a server in this directory, on this port, with these arguments, too.
type Serve = fn(&std::path::Path, u16, &[String]) -> Child;

/// A server: MariaDB, or MySQL (mysql.rs).
pub struct MariaDb {
    serve: Serve,
    directory: tempfile::TempDir,
    pub port: u16,
    server: Mutex<Child>,
    databases: Mutex<u32>,
}

impl MariaDb {
    /// The server of this test program, started by the first who asks, ended by the last to leave.
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<MariaDb>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Self::start());
            *shared = Arc::downgrade(&server);
            server
        })
    }

    /// A server of one's own, to be damaged.
    pub fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap())
    }

    /// The same in this directory, which may be a mount.
    pub fn start_in(directory: tempfile::TempDir) -> Self {
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        install(directory.path());
        let server = Self::start_by(Self::serve, directory);
        let mut root = server.root("");
        root.query_drop(format!("CREATE USER exim@localhost IDENTIFIED BY '{PASSWORD}'")).unwrap();
        root.query_drop("GRANT ALL ON *.* TO exim@localhost").unwrap();
        server
    }

    /// The same with a server of another kind, whose tables are there.
    pub fn start_by(serve: Serve, directory: tempfile::TempDir) -> Self {
        let port = free_port();
        let server = Mutex::new(serve(directory.path(), port, &[]));
        let server = Self { serve, directory, port, server, databases: Mutex::new(0) };
        server.wait();
        server
    }

    fn serve(directory: &std::path::Path, port: u16, more: &[String]) -> Child {
        Self::serve_by(&mut Command::new("mariadbd"), directory, port, more)
    }

    fn serve_by(
        command: &mut Command,
        directory: &std::path::Path,
        port: u16,
        more: &[String],
    ) -> Child {
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
            // Tests at the same time share it, and some have hundreds of clients.
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

    pub fn directory(&self) -> &std::path::Path {
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

    /// Ends it at once.
    pub fn kill(&self) {
        let mut server = self.child();
        let _ = server.kill();
        let _ = server.wait();
    }

    /// Starts it again.
    pub fn restart(&self) {
        self.restart_with(&[]);
    }

    /// The same with these arguments, too.
    pub fn restart_with(&self, more: &[String]) {
        *self.child() = (self.serve)(self.directory.path(), self.port, more);
        self.wait();
    }

    /// Starts it again in a time zone, named or as POSIX writes its rules.
    pub fn restart_in_zone(&self, zone: &str) {
        self.kill();
        let mut command = Command::new("mariadbd");
        let server = Self::serve_by(command.env("TZ", zone), self.directory.path(), self.port, &[]);
        *self.child() = server;
        self.wait();
    }

    /// A connection for the test itself.
    pub fn root(&self, database: &str) -> Conn {
        Conn::new(self.root_options(database)).unwrap()
    }

    /// A fresh database that user `exim` may use; answers its name.
    pub fn database(&self) -> String {
        let mut number = self.databases.lock().unwrap();
        *number += 1;
        let name = format!("mail{number}");
        let sql = format!("CREATE DATABASE {name} CHARACTER SET utf8mb4");
        self.root("").query_drop(sql).unwrap();
        name
    }

    /// The URL over the socket.
    pub fn url(&self, database: &str) -> String {
        format!("mysql://exim:{ENCODED}@localhost/{database}?socket={}", self.socket().display())
    }

    /// The URL over TCP.
    pub fn tcp_url(&self, database: &str) -> String {
        format!("mysql://exim:{ENCODED}@127.0.0.1:{}/{database}", self.port)
    }

    /// Sends the server a signal by name.
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
