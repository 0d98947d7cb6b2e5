//! The plugin in each Exim that people run: those of Debian 12 and of trixie, and both builds of the
//! newest in trixie-backports. The tests make an attempt of each kind, and check its reply, log line
//! and row.
//!
//! trixie-backports gets new versions. For a version that the plugin does not know, the tests expect
//! its lines in syslog, and no difference in answers and rows. Copies of known Exims under other
//! version names test this, too.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    reason = "test code"
)]

mod common;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use common::Base;
use common::Client;
use common::Exim;
use common::Site;
use common::driver::NO;
use common::driver::YES;
use common::driver::cram_md5_response;
use common::example::with;
use common::exim::free_port;
use common::exims::Installed;
use common::exims::Syslog;
use common::exims::print_line;
use common::site::CN;
use common::site::GB;
use common::smtp::ACCEPTED;
use common::smtp::REFUSED;

const POLICY: &str = "[policy]\nallow_countries = [\"GB\"]\nfailure_time = \"0s\"\n";

/// `auth_ok` and `policy_reject`.
type Flags = (Option<bool>, Option<bool>);

/// An Exim on a site with all functions of the plugin, and the lines and rows that are checked.
struct Rig {
    site: Site,
    exim: Installed,
    program: Option<PathBuf>,
    is_known: bool,
    syslog: Syslog,
    /// The number of lines and rows that are checked already.
    seen: usize,
    rows: usize,
}

impl Rig {
    fn new(exim: Installed, ipv6: &str, renamed: Option<&str>) -> Self {
        let site = Site::new(Base::Sqlite, POLICY);
        // The options below have a line of their own for it.
        site.set_preload(None);
        site.tool(&["user", "add", "u@example.com", "--scheme", "PLAIN"], "secret");
        configure(&site, ipv6);
        let program = renamed.map(|version| exim.renamed(&site, version));
        let is_known = exim.is_known() && renamed.is_none();
        let syslog = Syslog::of(&site);
        Self { site, exim, program, is_known, syslog, seen: 0, rows: 0 }
    }

    fn command(&self) -> Command {
        match &self.program {
            Some(program) => self.exim.command_of(&self.site, program),
            None => self.exim.command(&self.site),
        }
    }

    fn daemon(&self) -> Exim {
        let port = free_port();
        let (number, pid) = (port.to_string(), self.site.path("exim.pid").display().to_string());
        let arguments = ["-oX", &number, "-oP", &pid];
        Exim::start_by(&mut self.command(), &self.site.path("exim.conf"), port, &arguments)
    }

    fn pipes(&self, arguments: &[&str]) -> Client {
        let mut command = self.command();
        command.arg("-C").arg(self.site.path("exim.conf")).args(arguments);
        command.stderr(fs::File::create(self.site.path("stderr")).unwrap());
        Client::over_pipes(&mut command)
    }

    /// The new lines: of the main log if the version is known, else of syslog.
    fn new_lines(&mut self) -> Vec<String> {
        let (mut main, other) = (self.site.lines(), self.syslog.lines());
        if self.is_known {
            assert_eq!(other, [""; 0], "nothing goes to syslog");
            return main.split_off(std::mem::replace(&mut self.seen, main.len()));
        }
        assert_eq!(main, [""; 0], "nothing goes to the main log");
        other
    }

    /// Checks that there is one new line that begins like this, and one new row, or none. If the
    /// version is unknown, the first line of a process says so.
    fn expect(&mut self, name: &str, is_first: bool, line: &str, row: Option<Flags>) {
        let mut lines = self.new_lines();
        if is_first && !self.is_known {
            assert_eq!(lines.len(), 2, "{name}: {lines:?} {}", self.site.main_log());
            let first = lines.remove(0);
            let beginning = "trouble function=version error=\"this Exim ";
            assert!(first.starts_with(beginning), "{name}: {first}");
        }
        assert_eq!(lines.len(), 1, "{name}: {lines:?} {}", self.site.main_log());
        assert!(lines[0].starts_with(&format!("attempt {line} ")), "{name}: {}", lines[0]);
        let rows = self.site.rows();
        assert_eq!(rows.len(), self.rows + usize::from(row.is_some()), "{name}: rows");
        self.rows = rows.len();
        if let Some(flags) = row {
            let row = rows.last().unwrap();
            assert_eq!((row.auth_ok, row.policy_reject), flags, "{name}");
            assert_eq!((&*row.username, &*row.protocol), ("u@example.com", "SMTP"), "{name}");
        }
    }
}

/// The main options and ACLs that a site's Exim gets, with calls of the plugin in capitals.
const MAIN: &str = "keep_environment =
smtp_accept_max_per_host = PRELOAD
acl_smtp_connect = acl_before
acl_smtp_vrfy = acl_taint
acl_smtp_expn = acl_around
begin acl
acl_before:
  warn set acl_c_policy = ALLOW
  accept
acl_taint:
  deny condition = ${lookup{x}lsearch{/nonexistent/LAST}{yes}{no}}
  accept
acl_around:
  deny message = [${map{<, 1,2}{$item${if match{ab}{(b)}{$1${uc:CHECK}$1}}$item}}]
";

const CRAM_MD5: &str = "begin authenticators
cram:
  driver = cram_md5
  public_name = CRAM-MD5
  server_secret = SECRET
  server_condition = AUTHORIZE
  server_set_id = FINISH
";

/// Adds to the site's Exim: `preload` in the daemon, `allow` at connect, and `cram_md5`.
fn configure(site: &Site, ipv6: &str) {
    let name = "{$auth1}{$sender_host_address}";
    let so = site.path("authpolicy.so");
    let last = format!("${{dlfunc{{{}}}{{last}}{{username}}}}", so.display());
    let calls = [
        ("PRELOAD", site.dlfunc("preload", "{}")),
        ("ALLOW", site.dlfunc("allow", "{$sender_host_address}")),
        ("LAST", last),
        ("CHECK", site.dlfunc("check", &format!("{{u@example.com}}{{wrong}}{{{GB}}}"))),
        ("SECRET", site.dlfunc("secret", name)),
        ("AUTHORIZE", site.dlfunc("authorize", name)),
        ("FINISH", site.dlfunc("finish", name)),
    ];
    let config = with(
        &site.read("exim.conf"),
        &[
            ("deny message = ", "deny message = allow=$acl_c_policy "),
            ("begin acl\n", &format!("{ipv6}{MAIN}")),
            ("begin authenticators\n", CRAM_MD5),
        ],
    );
    let changes = calls.each_ref().map(|(word, call)| (*word, call.as_str()));
    site.write("exim.conf", &with(&config, &changes));
}

/// The ways to log in.
type LogIn = fn(&mut Client, &str) -> String;

const MECHANISMS: [(&str, LogIn); 3] = [
    ("PLAIN", |client, password| client.plain(b"u@example.com", password.as_bytes())),
    ("LOGIN", |client, password| client.login(b"u@example.com", password.as_bytes())),
    ("CRAM-MD5", |client, password| {
        let reply = client.command("AUTH CRAM-MD5");
        let challenge = reply.strip_prefix("334 ").unwrap_or_else(|| panic!("{reply}"));
        client.command(&cram_md5_response(challenge, "u@example.com", password))
    }),
];

const RIGHT: &str = "status=204 reason=- rule=- auth_ok=1 policy_reject=0";
const WRONG: &str = "status=403 reason=credentials rule=- auth_ok=0 policy_reject=0";
const DENIED_COUNTRY: &str =
    "status=403 reason=policy rule=policy.allow_countries auth_ok=1 policy_reject=1";

/// Tests connections to a daemon: each is a process that is forked after `preload`.
fn test_daemon(rig: &mut Rig) {
    let exim = rig.daemon();
    let name = format!("{} {}", rig.exim.name, rig.exim.version);
    for (mechanism, log_in) in MECHANISMS {
        let name = format!("{name} {mechanism}");
        let mut client = Client::connect_from(exim.port, GB);
        assert_eq!(log_in(&mut client, "wrong"), REFUSED, "{name}: {}", rig.site.main_log());
        rig.expect(&name, true, WRONG, Some((NO, NO)));
        assert_eq!(log_in(&mut client, "secret"), ACCEPTED, "{name}: {}", rig.site.main_log());
        rig.expect(&name, false, RIGHT, Some((YES, NO)));
        let facts = client.command("MAIL FROM:<>").replace("\n550 ", " ").replace("\n550-", " ");
        let expected =
            "allow=yes status=204 reason= rule= country=GB username=u@example.com auth_ok=1";
        assert!(facts.contains(expected), "{name}: {facts}");
        drop(client);
        let mut client = Client::connect_from(exim.port, CN);
        assert_eq!(log_in(&mut client, "secret"), REFUSED, "{name}: {}", rig.site.main_log());
        rig.expect(&name, true, DENIED_COUNTRY, Some((YES, YES)));
        let facts = client.command("MAIL FROM:<>");
        assert!(facts.contains("allow=no status=403 reason=policy"), "{name}: {facts}");
    }
    let set_ids = rig.site.main_log().matches("(set_id=u@example.com)").count();
    assert!(set_ids == 6 || !rig.is_known, "{name}: {}", rig.site.main_log());
    let maps = fs::read_to_string(format!("/proc/{}/maps", exim.pid())).unwrap();
    assert!(maps.contains("/memfd:geoip.database"), "{name}: preload has loaded: {maps}");
}

/// Tests dialogues over pipes: real ones (`-bs`), and an administrator's tests (`-bh`).
fn test_pipes(rig: &mut Rig) {
    let name = format!("{} {}", rig.exim.name, rig.exim.version);
    for (arguments, rows) in [(&["-bs"][..], true), (&["-bh", GB], false)] {
        for (mechanism, log_in) in MECHANISMS {
            let name = format!("{name} {arguments:?} {mechanism}");
            let mut client = rig.pipes(arguments);
            for (password, reply, line, flags) in
                [("wrong", REFUSED, WRONG, (NO, NO)), ("secret", ACCEPTED, RIGHT, (YES, NO))]
            {
                assert_eq!(
                    log_in(&mut client, password),
                    reply,
                    "{name}: {}",
                    rig.site.read("stderr")
                );
                if rows || !rig.is_known {
                    rig.expect(&name, password == "wrong", line, rows.then_some(flags));
                    continue;
                }
                // The main log of a dialogue under `-bh` is standard error.
                assert_eq!(rig.new_lines(), [""; 0], "{name}");
                let stderr = rig.site.read("stderr");
                assert!(
                    stderr.contains(&format!("authpolicy: attempt {line} ")),
                    "{name}: {stderr}"
                );
                assert_eq!(rig.site.rows().len(), rig.rows, "{name}: no row");
            }
        }
    }
}

/// Tests that names from the plugin are tainted like those that the client has sent: Exim does not
/// use them as file names. This writes to the panic log.
fn test_taint(rig: &mut Rig) {
    let mut client = rig.pipes(&["-bs"]);
    assert_eq!(client.plain(b"u@example.com", b"secret"), ACCEPTED);
    rig.expect("taint", true, RIGHT, Some((YES, NO)));
    let reply = client.command("VRFY somebody");
    let panic_log = rig.site.panic_log();
    let is_refused = panic_log.contains("ainted");
    assert!(is_refused || !rig.is_known, "{} {reply} {panic_log}", rig.exim.version);
}

/// Tests that the expansion around the first call of a process does not change, although the plugin
/// makes Exim expand something during the call.
fn test_expansion(rig: &mut Rig) {
    let mut client = rig.pipes(&["-bs"]);
    let reply = client.command("EXPN somebody");
    assert_eq!(reply, "550 [1bNOb1,2bNOb2]", "{}", rig.exim.version);
    let attempts = rig.new_lines().into_iter().filter(|line| line.starts_with("attempt "));
    assert_eq!((attempts.count(), rig.site.rows().len()), (2, rig.rows + 2));
}

/// Runs all tests on an Exim, under the version name `renamed` if there is one.
fn test_exim(exim: &dyn Fn() -> Option<Installed>, renamed: Option<&str>) {
    for ipv6 in ["disable_ipv6 = true\n", ""] {
        let Some(exim) = exim() else { return };
        let mut rig = Rig::new(exim, ipv6, renamed);
        test_daemon(&mut rig);
        test_pipes(&mut rig);
        assert_eq!(rig.site.panic_log(), "", "{} {}", rig.exim.name, rig.exim.version);
        test_taint(&mut rig);
        test_expansion(&mut rig);
        let summary =
            if rig.is_known { "known" } else { "UNKNOWN to this plugin, lines in syslog" };
        let named = renamed.map(|name| format!(" as {name}")).unwrap_or_default();
        let ipv6 = if ipv6.is_empty() { "" } else { ", without IPv6" };
        print_line(&format!(
            "{}: Exim {}{named}{ipv6}: {summary}",
            rig.exim.name, rig.exim.version
        ));
    }
}

#[test]
fn the_plugin_works_in_debian_12() {
    let exim = Installed::system();
    assert!(exim.is_known(), "Exim {}", exim.version);
    test_exim(&|| Some(Installed::system()), None);
}

#[test]
fn the_plugin_works_in_trixie() {
    let trixie = || Installed::fetched("trixie-heavy");
    assert!(trixie().unwrap().version.starts_with("4.98."), "trixie stays with 4.98");
    test_exim(&trixie, None);
}

#[test]
fn the_plugin_works_in_trixie_backports_heavy() {
    test_exim(&|| Installed::fetched("backports-heavy"), None);
}

#[test]
fn the_plugin_works_in_trixie_backports_mod() {
    test_exim(&|| Installed::fetched("backports-mod"), None);
}

/// An Exim with the old types, and with the version name of a patched build.
#[test]
fn the_plugin_works_in_an_old_exim_of_unknown_version() {
    test_exim(&|| Installed::fetched("trixie-heavy"), Some("4.98-2"));
}

/// An Exim with the newest types, and with the version name of a later release.
#[test]
fn the_plugin_works_in_the_newest_exim_of_unknown_version() {
    let newest = || Installed::fetched("backports-mod");
    let Some(exim) = newest() else { return };
    let next = exim.version.replacen('4', "5", 1);
    test_exim(&newest, Some(&next));
}
