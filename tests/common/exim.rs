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

/// A running daemon; ended when dropped.
pub struct Exim {
    pub port: u16,
    daemon: Child,
}

/// A port that nobody listens on, given out once.
///
/// It is found without listening: a process that another test forks at that moment would keep the
/// socket until its exec, and be taken for the server. It lies below the ports that the kernel
/// gives to clients, so that none of them takes it before the server does.
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

    /// Starts a daemon that listens as its configuration or these arguments say, `port` among it.
    pub fn start_on(config: &Path, port: u16, arguments: &[&str]) -> Self {
        Self::start_among(config, port, arguments, &[])
    }

    /// The same with environment variables, which Exim itself does not keep.
    pub fn start_among(
        config: &Path,
        port: u16,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        let mut command = Command::new("exim4");
        Self::start_by(command.envs(environment.iter().copied()), config, port, arguments)
    }

    /// The same by a command that becomes Exim.
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

    /// The daemon, whose children serve the connections.
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

/// The plugin that cargo built for this test; or another, as the one that `make build` leaves, if
/// AUTHPOLICY_TEST_PLUGIN names it.
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
    found.expect("libauthpolicy.so beside the tests: cargo build")
}

/// Expands a string as Exim's user sees it, through `exim -be` run as that user.
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
    // A prompt before each line.
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let answer = text.trim_start_matches("> ").trim_end().trim_end_matches('>');
    answer.trim_end().to_owned()
}

pub mod users {
    use std::path::Path;
    use std::process::Command;
    use std::sync::OnceLock;

    /// Uid and gid of Debian's Exim user, as numbers.
    pub fn exim() -> (String, String) {
        static KNOWN: OnceLock<(String, String)> = OnceLock::new();
        KNOWN.get_or_init(ask).clone()
    }

    fn ask() -> (String, String) {
        let id = |flag| {
            let output = Command::new("id").args([flag, "Debian-exim"]).output().expect("id runs");
            assert!(output.status.success(), "no user Debian-exim: install exim4-daemon-heavy");
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        };
        (id("-u"), id("-g"))
    }

    /// Gives a path to Exim's user.
    pub fn give_to_exim(path: &Path) {
        let (uid, gid) = exim();
        let ids = (uid.parse().unwrap(), gid.parse().unwrap());
        std::os::unix::fs::chown(path, Some(ids.0), Some(ids.1)).expect("the tests run as root");
    }
}

/// The lines that Exim has written to its main log.
pub fn main_log(directory: &Path) -> String {
    fs::read_to_string(directory.join("log/mainlog")).unwrap_or_default()
}
