//! System calls of the plugin that would raise a signal and end Exim: a write beyond `ulimit -f`, a
//! write to a closed socket, a read from the map of a truncated file.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "test code"
)]

mod common;

use std::fs;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;

use common::Base;
use common::Client;
use common::Exim;
use common::MariaDb;
use common::Site;
use common::exim;
use common::exim::free_port;
use common::fake_server::FakeServer;
use common::fake_server::Oddity;
use common::host;
use common::journal::flush;
use common::mount::Mount;
use common::site::CN;
use common::site::GB;
use common::smtp::ACCEPTED;
use common::smtp::CANNOT_TELL;
use common::smtp::REFUSED;
use common::tls;

const POLICY: &str = "[policy]\nallow_countries = [\"GB\"]\nfailure_time = \"0s\"\n";

fn site(base: Base) -> Site {
    let site = Site::new(base, POLICY);
    site.account("u@example.com", "secret");
    site
}

fn attempt(exim: &Exim, remote: &str, password: &[u8]) -> String {
    let mut client = Client::connect_from(exim.port, remote);
    let reply = client.plain(b"u@example.com", password);
    assert!(client.command("NOOP").starts_with("250 "), "Exim's process is still there");
    reply
}

/// Starts Exim with this limit on the size of files, in bytes.
fn start_with_file_limit(site: &Site, bytes: u64) -> Exim {
    let port = free_port();
    let mut command = Command::new("prlimit");
    command.arg(format!("--fsize={bytes}:{bytes}")).arg("exim4");
    Exim::start_by(&mut command, &site.path("exim.conf"), port, &["-oX", &format!("{port}")])
}

/// Makes the daemon preload, and the country file eight megabytes long.
fn preload_long_file(site: &Site) {
    site.set_preload(Some(""));
    let file = fs::read(site.path("country.mmdb")).unwrap();
    // Readers look for the metadata at the end of the file, and for the tree at its beginning. Nothing
    // refers to the bytes between them.
    let marker = b"\xab\xcd\xefMaxMind.com";
    let at = file.windows(marker.len()).position(|window| window == marker).unwrap();
    let long = [&file[..at], &vec![0; 8 << 20], &file[at..]].concat();
    fs::write(site.path("country.mmdb"), long).unwrap();
}

fn maps(exim: &Exim) -> String {
    fs::read_to_string(format!("/proc/{}/maps", exim.pid())).unwrap()
}

#[test]
fn preload_of_a_file_beyond_the_limit_leaves_the_daemon_alive() {
    let site = site(Base::Sqlite);
    preload_long_file(&site);
    let exim = site.exim();
    assert_eq!(attempt(&exim, GB, b"secret"), ACCEPTED, "{}", site.main_log());
    assert!(maps(&exim).contains("/memfd:geoip.database"), "{}", maps(&exim));
    drop(exim);
    // ulimit -f 4000
    let exim = start_with_file_limit(&site, 4000 * 512);
    for _ in 0..3 {
        assert_eq!(attempt(&exim, GB, b"secret"), ACCEPTED, "{}", site.main_log());
        assert_eq!(attempt(&exim, CN, b"secret"), REFUSED, "{}", site.main_log());
    }
    let found = maps(&exim);
    assert!(found.contains("/authpolicy.so") && !found.contains("/memfd:"), "{found}");
    // The daemon does not map the file itself either, because the file may be truncated.
    assert!(!found.contains("/country.mmdb"), "{found}");
    let mut client = Client::connect_from(exim.port, GB);
    assert_eq!(client.plain(b"u@example.com", b"wrong"), REFUSED, "{}", site.main_log());
    fs::File::options().write(true).open(site.path("country.mmdb")).unwrap().set_len(0).unwrap();
    assert_eq!(client.plain(b"u@example.com", b"secret"), ACCEPTED, "the connection has a copy");
    assert_eq!(attempt(&exim, GB, b"secret"), CANNOT_TELL, "the file is empty");
    assert_eq!(site.panic_log(), "");
}

#[test]
fn a_database_and_a_journal_beyond_the_limit_are_435_and_do_not_end_exim() {
    let site = site(Base::Sqlite);
    let exim = site.exim();
    assert_eq!(attempt(&exim, GB, b"secret"), ACCEPTED, "{}", site.main_log());
    drop(exim);
    flush(&site);
    let database = site.path("state/authpolicy.db").metadata().unwrap().len();
    let log = site.path("log/mainlog").metadata().unwrap().len();
    // Exim's own log has room, the database's WAL does not.
    let limit = 12_000;
    assert!(log + 4_000 < limit && database > limit, "{log} {database}");
    let exim = start_with_file_limit(&site, limit);
    let mut replies = Vec::new();
    for _ in 0..16 {
        replies.push(attempt(&exim, GB, b"secret"));
    }
    assert!(replies.iter().all(|reply| [ACCEPTED, CANNOT_TELL].contains(&&**reply)), "{replies:?}");
    assert!(site.main_log().contains("the row waits in the journal"), "{}", site.main_log());
    drop(exim);
    // Each accepted attempt has a row, stored at once or through the journal.
    flush(&site);
    let accepted = replies.iter().filter(|reply| *reply == ACCEPTED).count();
    let rows = site.rows().iter().filter(|row| row.auth_ok == Some(true)).count();
    assert_eq!(rows, accepted + 1, "{replies:?} {}", site.main_log());
    assert_eq!(site.texts("PRAGMA integrity_check"), ["ok"]);
    assert_eq!(site.panic_log(), "");
}

/// Calls `check` with `exim -be` as Exim's user, with this limit on the size of files.
fn check_with_file_limit(site: &Site, bytes: u64) -> String {
    let (uid, gid) = exim::users::exim();
    let call = site.dlfunc("check", &format!("{{u@example.com}}{{secret}}{{{GB}}}"));
    let output = Command::new("prlimit")
        .arg(format!("--fsize={bytes}:{bytes}"))
        .args(["setpriv", "--reuid", &uid, "--regid", &gid, "--clear-groups", "exim4", "-C"])
        .arg(site.path("exim.conf"))
        .args(["-be", &call])
        .output()
        .unwrap();
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{out}{err}{:?}", output.status.code())
}

#[test]
fn no_signal_ends_exim_if_writing_fails() {
    for base in Base::all() {
        let site = site(base);
        let config = site.read("authpolicy.toml");
        // The plugin also writes the file of a remembered account, and the hash for unknown accounts.
        let more = "[accounts]\nserve_stale = \"1h\"\n";
        if matches!(site.base, Base::MariaDb(..)) {
            site.write_config(&config.replace("[accounts]\n", more));
        }
        // Exim's own log file would reach the limit, too.
        let to_file = format!("log_file_path = {}/log/%slog", site.directory().display());
        let exim_conf = site.read("exim.conf");
        assert!(exim_conf.contains(&to_file));
        site.write("exim.conf", &exim_conf.replace(&to_file, "log_file_path = syslog"));
        let rows = site.rows().len();
        assert!(
            check_with_file_limit(&site, 1 << 30).contains("yes"),
            "{}",
            check_with_file_limit(&site, 1 << 30)
        );
        for bytes in [0, 1, 100] {
            let output = check_with_file_limit(&site, bytes);
            let expected = match site.base {
                Base::Sqlite => "Failed: authpolicy cannot tell",
                Base::MariaDb(..) => "yes",
            };
            assert!(output.contains(expected) && !output.ends_with("None"), "{bytes}: {output}");
        }
        assert!(site.rows().len() > rows);
    }
}

#[test]
fn a_full_disk_under_the_databases_index_is_435_and_not_a_signal() {
    let site = site(Base::Sqlite);
    let exim = site.exim();
    assert_eq!(attempt(&exim, GB, b"secret"), ACCEPTED, "{}", site.main_log());
    let state = site.path("state");
    let copy = site.path("copy");
    assert!(Command::new("cp").arg("-a").arg(&state).arg(&copy).status().unwrap().success());
    let mount = Mount::over(&state, "256k");
    let from = format!("{}/.", copy.display());
    assert!(Command::new("cp").arg("-a").arg(&from).arg(&state).status().unwrap().success());
    // The first process creates the index again, and there is no room for it.
    let _ = fs::remove_file(state.join("authpolicy.db-shm"));
    mount.fill();
    for _ in 0..5 {
        assert_eq!(attempt(&exim, GB, b"secret"), CANNOT_TELL, "{}", site.main_log());
    }
    mount.free();
    assert_eq!(attempt(&exim, GB, b"secret"), ACCEPTED, "{}", site.main_log());
    assert_eq!(site.panic_log(), "");
}

#[test]
fn the_tool_reports_a_file_beyond_the_limit() {
    let site = site(Base::Sqlite);
    let user = ["user", "add", "v@example.com", "--scheme", "PLAIN"];
    let exception =
        ["exception", "add", "u@example.com", "--countries", "ES", "--until", "2099-06-30"];
    for verb in [&user[..], &exception] {
        let mut command = Command::new("prlimit");
        command.args(["--fsize=100:100", common::tool(), "--config"]);
        let file = if verb[0] == "user" { "accounts.toml" } else { "authpolicy.toml" };
        let command = command.arg(site.path(file)).args(verb).stdin(Stdio::null());
        let output = command.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{:?} {stderr}", output.status);
        assert!(stderr.contains("authpolicy.db"), "{stderr}");
    }
}

/// Configures a server that hangs up, on a Unix socket, before the site's own.
fn add_server_that_hangs_up(site: &Site) -> FakeServer {
    let path = site.path("hangs-up.sock");
    let server = FakeServer::start_at(&path, Oddity::HangsUp);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let url = format!("url = \"{}\"\n", site.url());
    let fake = format!("mysql://exim:x@localhost/mail?socket={}", path.display());
    let both = format!("url = [\"{fake}\", \"{}\"]\n", site.url());
    let config = site.read("authpolicy.toml");
    assert!(config.contains(&url));
    site.write_config(&config.replacen(&url, &both, 1));
    server
}

#[test]
fn a_server_that_hangs_up_is_passed_over_in_each_way_to_run_exim() {
    let site = site(Base::mariadb());
    let _server = add_server_that_hangs_up(&site);
    let exim = site.exim();
    for _ in 0..10 {
        assert_eq!(attempt(&exim, GB, b"secret"), ACCEPTED, "{}", site.main_log());
    }
    for arguments in [&["-bs"][..], &["-bh", GB]] {
        for _ in 0..5 {
            let mut client = site.pipes(arguments);
            assert!(client.command("EHLO client.example").starts_with("250"));
            let reply = client.plain(b"u@example.com", b"secret");
            // A dialogue on this machine has no country.
            let decided = [ACCEPTED, REFUSED].contains(&&*reply);
            assert!(decided, "{arguments:?}: {reply}: {}", site.main_log());
            assert!(client.command("QUIT").starts_with("221 "));
        }
    }
    assert_eq!(site.panic_log(), "");
}

/// Over TLS the driver writes with writev(2), which has no MSG_NOSIGNAL. Exim ignores SIGPIPE, but
/// this test program does not: the plugin must not depend on that.
#[test]
fn a_tls_server_that_hangs_up_during_hashing_does_not_end_the_process() {
    let server = Arc::new(MariaDb::start());
    let name = server.database();
    let base = Base::MariaDb(Arc::clone(&server), name.clone(), server.url(&name));
    let site = site(base);
    let cost = ["user", "add", "slow@example.com", "--scheme", "BLF-CRYPT", "--cost", "14"];
    site.tool(&cost, "secret");
    let (authority, mut arguments) = tls::certificate(&site, "trusted");
    arguments.push(String::from("--wait-timeout=1"));
    arguments.push(String::from("--idle-transaction-timeout=1"));
    server.kill();
    server.restart_with(&arguments);
    let config = site.read("authpolicy.toml");
    let url = format!("{}?root_cert_path={authority}", server.tcp_url(&name));
    site.write_config(&config.replacen(&site.url(), &url, 1));
    let output = host::run(&site, "a_host_with_default_actions");
    assert!(output.contains("SigPnd 0 SigBlk 0"), "{output}");
    flush(&site);
    let made: Vec<_> = site.rows().iter().map(|row| row.auth_ok).collect();
    assert_eq!(made, [Some(true); 4], "{output}");
}

#[test]
#[ignore = "another test starts it"]
#[allow(unsafe_code, reason = "restores the actions that Rust's runtime has changed")]
fn a_host_with_default_actions() {
    for signal in [libc::SIGPIPE, libc::SIGXFSZ] {
        // SAFETY: the default action runs no code of this program.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    let directory = host::directory();
    let plugin = host::Plugin::load(&format!("{directory}/authpolicy.so"));
    let config = format!("config={directory}/authpolicy.toml");
    let users = ["u@example.com", "slow@example.com", "slow@example.com", "u@example.com"];
    for user in users {
        let answer = plugin.call("check", &[user, "secret", GB, &config]);
        assert_eq!(answer, (0, String::from("yes")), "{user}");
    }
    let status = fs::read_to_string("/proc/thread-self/status").unwrap();
    let mask = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        u64::from_str_radix(line.trim_start_matches(':').trim(), 16).unwrap()
    };
    println!("SigPnd {} SigBlk {}", mask("SigPnd"), mask("SigBlk"));
}

/// Truncates the country file and restores it, again and again, until it is stopped.
struct Truncator {
    is_stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<u32>>,
}

impl Truncator {
    fn start(site: &Site) -> Self {
        let path = site.path("country.mmdb");
        let whole = fs::read(&path).unwrap();
        let is_stopped = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&is_stopped);
        let thread = thread::spawn(move || {
            let file = fs::File::options().write(true).open(path).unwrap();
            let mut cuts = 0;
            while !stopped.load(Ordering::Relaxed) {
                file.set_len(0).unwrap();
                file.write_all_at(&whole, 0).unwrap();
                cuts += 1;
                thread::sleep(Duration::from_micros(20));
            }
            cuts
        });
        Self { is_stopped, thread: Some(thread) }
    }

    /// Stops it, and returns how often it has truncated the file.
    fn stop(&mut self) -> u32 {
        self.is_stopped.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

#[test]
fn a_country_file_that_is_truncated_during_reads_does_not_end_the_process() {
    let site = site(Base::Sqlite);
    let output = host::run(&site, "a_host_that_asks_for_countries");
    assert!(output.contains("1 passed"), "{output}");
    let mut truncator = Truncator::start(&site);
    let output = host::run(&site, "a_host_that_asks_for_countries");
    assert!(truncator.stop() > 10, "{output}");
    let exim = site.exim();
    assert_eq!(attempt(&exim, GB, b"secret"), ACCEPTED, "{}", site.main_log());
}

#[test]
#[ignore = "another test starts it"]
fn a_host_that_asks_for_countries() {
    let directory = host::directory();
    let plugin = host::Plugin::load(&format!("{directory}/authpolicy.so"));
    let config = format!("config={directory}/authpolicy.toml");
    for _ in 0..100 {
        // A child that is ended by a signal fails here.
        let answer = host::forked(|| {
            for _ in 0..50 {
                let (code, country) = plugin.call("country", &[GB, &config]);
                assert!(code == 0 && ["GB", ""].contains(&&*country), "{country}");
            }
            String::from("alive")
        });
        assert_eq!(answer, "alive");
    }
}
