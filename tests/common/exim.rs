//! A real Exim: as a daemon on a free loopback port, and over pipes.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::Duration;

/// A running daemon; killed when dropped.
pub struct Exim {
    pub port: u16,
    daemon: Child,
}

/// A port on which nothing listens. Each port is returned once in a process.
///
/// The search does not listen itself, because another test may fork a process at that moment. Such
/// a process would keep the socket until its exec, and clients would take it for the server. The
/// port is below those that the kernel gives to clients, so that no client takes it before the
/// server.
pub fn free_port() -> u16 {
    static GIVEN_OUT: AtomicU32 = AtomicU32::new(0);
    const PORTS: std::ops::Range<u32> = 10_240..32_768;
    let first = std::process::id().wrapping_mul(61);
    loop {
        let number = first.wrapping_add(GIVEN_OUT.fetch_add(1, Ordering::Relaxed));
        let port = PORTS.start + number % (PORTS.end - PORTS.start);
        let port = u16::try_from(port).unwrap();
        if TcpStream::connect(("127.0.0.1", port)).is_err() {
            return port;
        }
    }
}

impl Exim {
    /// Starts a daemon with this configuration.
    pub fn start(config: &Path) -> Self {
        let port = free_port();
        let ports = format!("{port}");
        Self::start_on(config, port, &["-oX", &ports])
    }

    /// Starts a daemon whose configuration or arguments say where it listens. `port` is one of the
    /// ports.
    pub fn start_on(config: &Path, port: u16, arguments: &[&str]) -> Self {
        Self::start_with_environment(config, port, arguments, &[])
    }

    /// Starts a daemon with environment variables. Exim drops those that `keep_environment` does
    /// not name.
    pub fn start_with_environment(
        config: &Path,
        port: u16,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        let mut command = Command::new("exim4");
        Self::start_by(command.envs(environment.iter().copied()), config, port, arguments)
    }

    /// Starts a daemon by a command that executes Exim with the arguments added here.
    pub fn start_by(command: &mut Command, config: &Path, port: u16, arguments: &[&str]) -> Self {
        let daemon = command
            .arg("-C")
            .arg(config)
            .arg("-bdf")
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("exim4 starts: install exim4-daemon-heavy");
        let mut exim = Self { port, daemon };
        for _ in 0..600 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return exim;
            }
            if let Some(status) = exim.daemon.try_wait().unwrap() {
                panic!("exim ended with {status}: {}", config.display());
            }
            sleep(Duration::from_millis(50));
        }
        panic!("exim does not listen on port {port}: {}", config.display());
    }

    /// The process id of the daemon. Its children serve the connections.
    pub fn pid(&self) -> u32 {
        self.daemon.id()
    }
}

impl Drop for Exim {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

/// The plugin that AUTHPOLICY_TEST_PLUGIN names (for example the one that `make build` makes), or
/// else the one that cargo built for this test.
pub fn plugin() -> PathBuf {
    if let Some(named) = std::env::var_os("AUTHPOLICY_TEST_PLUGIN") {
        return named.into();
    }
    let deps = std::env::current_exe().unwrap();
    let candidates = [
        deps.with_file_name("libauthpolicy.so"),
        deps.parent().unwrap().join("../libauthpolicy.so"),
    ];
    let found = candidates.into_iter().find(|path| path.exists());
    found.expect("no libauthpolicy.so beside the test program: run cargo build")
}

/// Expands a string with `exim -be`, run as Exim's user.
pub fn expand(config: &Path, text: &str) -> String {
    let user = users::exim();
    let mut child = Command::new("setpriv")
        .args(["--reuid", &user.0, "--regid", &user.1, "--clear-groups", "exim4", "-C"])
        .arg(config)
        .arg("-be")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("setpriv runs exim4");
    child.stdin.take().unwrap().write_all(format!("{text}\n").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    // Exim prints a prompt before each line.
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let answer = text.trim_start_matches("> ").trim_end().trim_end_matches('>');
    answer.trim_end().to_owned()
}

pub mod users {
    use std::path::Path;
    use std::process::Command;
    use std::sync::OnceLock;

    /// The numbers of the user and group of Debian's Exim.
    pub fn exim() -> (String, String) {
        static IDS: OnceLock<(String, String)> = OnceLock::new();
        IDS.get_or_init(look_up).clone()
    }

    fn look_up() -> (String, String) {
        let id = |flag| {
            let output = Command::new("id").args([flag, "Debian-exim"]).output().expect("id runs");
            assert!(output.status.success(), "no user Debian-exim: install exim4-daemon-heavy");
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        };
        (id("-u"), id("-g"))
    }

    /// Makes Exim's user and group the owners of a path.
    pub fn give_to_exim(path: &Path) {
        let (uid, gid) = exim();
        let ids = (uid.parse().unwrap(), gid.parse().unwrap());
        std::os::unix::fs::chown(path, Some(ids.0), Some(ids.1)).expect("the tests run as root");
    }
}

/// The content of Exim's main log.
pub fn main_log(directory: &Path) -> String {
    fs::read_to_string(directory.join("log/mainlog")).unwrap_or_default()
}
