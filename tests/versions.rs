//! The plugin in each Exim that people run: Debian 12's, trixie's, and the newest of
//! trixie-backports, in both of its builds. An attempt of each kind, with its reply, its log line
//! and its row.
//!
//! trixie-backports moves. For a version that the plugin does not know, the tests expect lines in
//! syslog, and the same answers and rows. They try this also with copies of known Exims that call
//! themselves differently.
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
use common::exims::tell;
use common::site::CN;
use common::site::GB;
use common::smtp::ACCEPTED;
use common::smtp::REFUSED;

const POLICY: &str = "[policy]\nallow_countries = [\"GB\"]\nfailure_time = \"0s\"\n";

/// `auth_ok` and `policy_reject`.
type Flags = (Option<bool>, Option<bool>);

/// An Exim on a site with all functions of the plugin, and what has come of it so far.
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

    /// The lines that are new: of the main log where the version is known, else of syslog.
    fn new_lines(&mut self) -> Vec<String> {
        let (mut main, other) = (self.site.lines(), self.syslog.lines());
        if self.is_known {
            assert_eq!(other, [""; 0], "nothing goes to syslog");
            return main.split_off(std::mem::replace(&mut self.seen, main.len()));
        }
        assert_eq!(main, [""; 0], "nothing goes to the main log");
        other
    }

    /// One line that begins like this, and one row, or none. The first line of a process says so if
    /// the version is unknown.
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
type Way = fn(&mut Client, &str) -> String;

const WAYS: [(&str, Way); 3] = [
    ("PLAIN", |client, password| client.plain(b"u@example.com", password.as_bytes())),
    ("LOGIN", |client, password| client.login(b"u@example.com", password.as_bytes())),
    ("CRAM-MD5", |client, password| {
        let asked = client.command("AUTH CRAM-MD5");
        let challenge = asked.strip_prefix("334 ").unwrap_or_else(|| panic!("{asked}"));
        client.command(&cram_md5_response(challenge, "u@example.com", password))
    }),
];

const RIGHT: &str = "status=204 reason=- rule=- auth_ok=1 policy_reject=0";
const WRONG: &str = "status=403 reason=credentials rule=- auth_ok=0 policy_reject=0";
const ABROAD: &str =
    "status=403 reason=policy rule=policy.allow_countries auth_ok=1 policy_reject=1";

/// The connections of a daemon: each is a process that is forked after `preload`.
fn play_daemon(rig: &mut Rig) {
    let exim = rig.daemon();
    let name = format!("{} {}", rig.exim.name, rig.exim.version);
    for (mechanism, way) in WAYS {
        let name = format!("{name} {mechanism}");
        let mut client = Client::connect_from(exim.port, GB);
        assert_eq!(way(&mut client, "wrong"), REFUSED, "{name}: {}", rig.site.main_log());
        rig.expect(&name, true, WRONG, Some((NO, NO)));
        assert_eq!(way(&mut client, "secret"), ACCEPTED, "{name}: {}", rig.site.main_log());
        rig.expect(&name, false, RIGHT, Some((YES, NO)));
        let facts = client.command("MAIL FROM:<>").replace("\n550 ", " ").replace("\n550-", " ");
        let told = "allow=yes status=204 reason= rule= country=GB username=u@example.com auth_ok=1";
        assert!(facts.contains(told), "{name}: {facts}");
        drop(client);
        let mut client = Client::connect_from(exim.port, CN);
        assert_eq!(way(&mut client, "secret"), REFUSED, "{name}: {}", rig.site.main_log());
        rig.expect(&name, true, ABROAD, Some((YES, YES)));
        let facts = client.command("MAIL FROM:<>");
        assert!(facts.contains("allow=no status=403 reason=policy"), "{name}: {facts}");
    }
    let set_ids = rig.site.main_log().matches("(set_id=u@example.com)").count();
    assert!(set_ids == 6 || !rig.is_known, "{name}: {}", rig.site.main_log());
    let maps = fs::read_to_string(format!("/proc/{}/maps", exim.pid())).unwrap();
    assert!(maps.contains("/memfd:geoip.database"), "{name}: preload has loaded: {maps}");
}

/// Dialogues over pipes: real, and played through for an administrator.
fn play_pipes(rig: &mut Rig) {
    let name = format!("{} {}", rig.exim.name, rig.exim.version);
    for (arguments, rows) in [(&["-bs"][..], true), (&["-bh", GB], false)] {
        for (mechanism, way) in WAYS {
            let name = format!("{name} {arguments:?} {mechanism}");
            let mut client = rig.pipes(arguments);
            for (password, reply, line, flags) in
                [("wrong", REFUSED, WRONG, (NO, NO)), ("secret", ACCEPTED, RIGHT, (YES, NO))]
            {
                assert_eq!(
                    way(&mut client, password),
                    reply,
                    "{name}: {}",
                    rig.site.read("stderr")
                );
                if rows || !rig.is_known {
                    rig.expect(&name, password == "wrong", line, rows.then_some(flags));
                    continue;
                }
                // The main log of such a dialogue is standard error.
                assert_eq!(rig.new_lines(), [""; 0], "{name}");
                let told = rig.site.read("stderr");
                assert!(told.contains(&format!("authpolicy: attempt {line} ")), "{name}: {told}");
                assert_eq!(rig.site.rows().len(), rig.rows, "{name}: no row");
            }
        }
    }
}

/// Names that the plugin answers are as good as those that the client has sent: Exim uses them as
/// no file name. This writes to the panic log.
fn play_taint(rig: &mut Rig) {
    let mut client = rig.pipes(&["-bs"]);
    assert_eq!(client.plain(b"u@example.com", b"secret"), ACCEPTED);
    rig.expect("taint", true, RIGHT, Some((YES, NO)));
    let reply = client.command("VRFY somebody");
    let panic_log = rig.site.panic_log();
    let is_refused = panic_log.contains("ainted");
    assert!(is_refused || !rig.is_known, "{} {reply} {panic_log}", rig.exim.version);
}

/// The expansion around the first call of a process stays as it is, though the plugin has Exim
/// expand something meanwhile.
fn play_expansion(rig: &mut Rig) {
    let mut client = rig.pipes(&["-bs"]);
    let reply = client.command("EXPN somebody");
    assert_eq!(reply, "550 [1bNOb1,2bNOb2]", "{}", rig.exim.version);
    let attempts = rig.new_lines().into_iter().filter(|line| line.starts_with("attempt "));
    assert_eq!((attempts.count(), rig.site.rows().len()), (2, rig.rows + 2));
}

/// Plays everything on an Exim, under the name that it is to give itself.
fn play(exim: &dyn Fn() -> Option<Installed>, renamed: Option<&str>) {
    for ipv6 in ["disable_ipv6 = true\n", ""] {
        let Some(exim) = exim() else { return };
        let mut rig = Rig::new(exim, ipv6, renamed);
        play_daemon(&mut rig);
        play_pipes(&mut rig);
        assert_eq!(rig.site.panic_log(), "", "{} {}", rig.exim.name, rig.exim.version);
        play_taint(&mut rig);
        play_expansion(&mut rig);
        let told = if rig.is_known { "known" } else { "UNKNOWN to this plugin, lines in syslog" };
        let named = renamed.map(|name| format!(" as {name}")).unwrap_or_default();
        let ipv6 = if ipv6.is_empty() { "" } else { ", without IPv6" };
        tell(&format!("{}: Exim {}{named}{ipv6}: {told}", rig.exim.name, rig.exim.version));
    }
}

#[test]
fn debian_12() {
    let exim = Installed::system();
    assert!(exim.is_known(), "Exim {}", exim.version);
    play(&|| Some(Installed::system()), None);
}

#[test]
fn trixie() {
    let trixie = || Installed::fetched("trixie-heavy");
    assert!(trixie().unwrap().version.starts_with("4.98."), "trixie stays with 4.98");
    play(&trixie, None);
}

#[test]
fn trixie_backports_heavy() {
    play(&|| Installed::fetched("backports-heavy"), None);
}

#[test]
fn trixie_backports_mod() {
    play(&|| Installed::fetched("backports-mod"), None);
}

/// An Exim with the old types, and with a version name as in a patched build.
#[test]
fn an_old_exim_under_an_unknown_name() {
    play(&|| Installed::fetched("trixie-heavy"), Some("4.98-2"));
}

/// With the newest types, as its next release might call itself.
#[test]
fn the_newest_exim_under_an_unknown_name() {
    let newest = || Installed::fetched("backports-mod");
    let Some(exim) = newest() else { return };
    let next = exim.version.replacen('4', "5", 1);
    play(&newest, Some(&next));
}
