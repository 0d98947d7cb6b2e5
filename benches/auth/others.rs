//! Private servers of the other solutions: Dovecot, nginx and php-fpm, each in a temporary
//! directory, on loopback or a socket. Each is ended by its process id.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

use crate::common::MariaDb;
use crate::common::exim::free_port;
use crate::common::process::until;

/// The user and password of the other solutions in the database. Exim separates the fields of a
/// server by slashes, so the password has none.
pub(crate) const USER: &str = "lookup";

/// A process that ends its own children on SIGTERM; ended when dropped.
struct Server(Child);

impl Server {
    fn start(command: &mut Command, package: &str) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        Self(command.spawn().unwrap_or_else(|error| panic!("install {package}: {error}")))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-s", "TERM", &self.0.id().to_string()]).status();
        let _ = self.0.wait();
    }
}

/// Dovecot with its policy server, and nginx with php-fpm. Both read the accounts in one database.
pub(crate) struct Others {
    _dovecot: Server,
    _nginx: Server,
    _php: Server,
    directory: tempfile::TempDir,
}

impl Others {
    /// Starts all servers. `geoip` is the GeoIP file for PHP.
    pub(crate) fn start(server: &MariaDb, database: &str, geoip: &Path) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let at = directory.path();
        let port = free_port();
        let socket = server.socket().display().to_string();
        let values = [
            ("DIRECTORY", at.display().to_string()),
            ("PORT", port.to_string()),
            ("SOCKET", socket.clone()),
            ("DATABASE", database.to_owned()),
            ("USER", USER.to_owned()),
            ("DSN", format!("mysql:unix_socket={socket};dbname={database}")),
            ("GEOIP", geoip.display().to_string()),
        ];
        write(at, "nginx.conf", include_str!("others/nginx.conf"), &values);
        write(at, "php-fpm.conf", include_str!("others/php-fpm.conf"), &values);
        write(at, "auth.php", include_str!("others/auth.php"), &[]);
        write(at, "dovecot.conf", include_str!("others/dovecot.conf"), &values);
        write(at, "sql.conf", include_str!("others/dovecot-sql.conf"), &values);
        let others = Self {
            _nginx: start_nginx(at),
            _php: start_php(at),
            _dovecot: start_dovecot(at),
            directory,
        };
        until("nginx", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        for socket in [others.dovecot(), others.path("php.sock"), others.web()] {
            until(&socket.display().to_string(), || UnixStream::connect(&socket).is_ok());
        }
        others
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Dovecot's socket for Exim.
    pub(crate) fn dovecot(&self) -> PathBuf {
        self.path("auth-exim")
    }

    /// The socket of the web server.
    pub(crate) fn web(&self) -> PathBuf {
        self.path("web.sock")
    }

    /// The last messages of all servers, for a failed assertion.
    pub(crate) fn messages(&self) -> String {
        let read = |name| fs::read_to_string(self.path(name)).unwrap_or_default();
        ["log", "error.log", "php-fpm.log"].map(read).concat()
    }

    /// Checks that the policy server got three calls for each attempt, two before the reply and the
    /// report after it, and that they came over few connections.
    pub(crate) fn assert_policy_calls(&self, attempts: usize) {
        let count = |calls: &str, command| calls.lines().filter(|c| c.starts_with(command)).count();
        let mut calls = String::new();
        until("reports to the policy server", || {
            calls = fs::read_to_string(self.path("calls.log")).unwrap_or_default();
            count(&calls, "report ") >= attempts
        });
        let counts = ["allow ", "report "].map(|command| count(&calls, command));
        assert_eq!(counts, [2 * attempts, attempts], "calls of the policy server");
        let mut connections: Vec<_> = calls.lines().filter_map(|c| c.split(' ').nth(1)).collect();
        connections.sort_unstable();
        connections.dedup();
        // Dovecot closes a connection that was idle for ten seconds.
        let most = 1 + calls.lines().count() / 10;
        assert!(connections.len() <= most, "{} connections, not {most}", connections.len());
    }
}

/// Writes a template with these values.
fn write(directory: &Path, name: &str, template: &str, values: &[(&str, String)]) {
    let mut text = template.to_owned();
    for (name, value) in values {
        text = text.replace(&format!("@{name}@"), value);
    }
    fs::File::create(directory.join(name)).unwrap().write_all(text.as_bytes()).unwrap();
}

fn start_nginx(directory: &Path) -> Server {
    let mut command = Command::new("nginx");
    command.arg("-c").arg(directory.join("nginx.conf")).arg("-p").arg(directory);
    command.arg("-e").arg(directory.join("error.log")).args(["-g", "daemon off;"]);
    Server::start(&mut command, "nginx")
}

/// Starts Debian's php-fpm, whose name has the version of PHP.
fn start_php(directory: &Path) -> Server {
    let names = fs::read_dir("/usr/sbin").unwrap().filter_map(Result::ok);
    let mut found: Vec<_> = names
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().starts_with("/usr/sbin/php-fpm"))
        .collect();
    found.sort();
    let mut command = Command::new(found.last().expect("php-fpm: install php-fpm"));
    command.arg("--nodaemonize").arg("--fpm-config").arg(directory.join("php-fpm.conf"));
    Server::start(command.stderr(Stdio::null()), "php-fpm")
}

fn start_dovecot(directory: &Path) -> Server {
    let mut command = Command::new("dovecot");
    Server::start(
        command.arg("-F").arg("-c").arg(directory.join("dovecot.conf")),
        "dovecot-core and dovecot-mysql",
    )
}
