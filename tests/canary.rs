//! A password that goes everywhere, and is written nowhere: not in logs, spool, state, databases,
//! their server's logs, the tool's output, or what a process shows of itself. tests/memory.rs looks
//! into memory.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test code"
)]

mod common;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use common::Base;
use common::Client;
use common::Exim;
use common::MariaDb;
use common::Site;
use common::driver::cram_md5_response;
use common::site::CN;
use common::site::GB;
use common::smtp::ACCEPTED;
use common::smtp::CANNOT_TELL;
use common::smtp::REFUSED;
use mysql::prelude::Queryable;

const CANARY: &str = "Tz9+canary-Wq7!xBv3kLm#pR5nYc8-Hd2sGf6j";
/// Stored in clear, for `secret`: in the database, and nowhere else.
const STORED: &str = "Zk4+canary-Vn8!mJr2wXp#qT6bLs1-Fc7yHd9g";

const POLICY: &str = "[policy]\nfailure_time = \"0s\"\nallow_countries = [\"GB\"]\n\
                      hash_nonce = \"nonce\"\n[[policy.limit]]\nname = \"guesses\"\nper = \"account\"\n\
                      count = \"passwords\"\nmax = 1000\nwithin = \"10m\"\n";

/// A word as it may be written down: as it is, in hexadecimal, or within base64 of anything.
fn forms(word: &str) -> Vec<String> {
    let hex: String = word.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut forms = vec![word.to_owned(), hex.to_uppercase(), hex];
    for skipped in 0..3 {
        let bytes = &word.as_bytes()[skipped..];
        let whole = bytes.len() / 3 * 3;
        forms.push(BASE64_STANDARD_NO_PAD.encode(&bytes[..whole]));
    }
    forms
}

/// The files below a directory in which a word is.
fn holding(word: &str, directory: &Path) -> String {
    let mut grep = Command::new("grep")
        .args(["--recursive", "--files-with-matches", "--text", "--fixed-strings", "--file=-"])
        .arg(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    grep.stdin.take().unwrap().write_all(forms(word).join("\n").as_bytes()).unwrap();
    let output = grep.wait_with_output().unwrap();
    assert!(output.status.code().unwrap() < 2, "grep reads all of it");
    String::from_utf8(output.stdout).unwrap()
}

/// An Exim that also takes CRAM-MD5, and proofs by somebody else.
fn site(base: Base) -> Site {
    let site = Site::new(base, POLICY);
    for (name, scheme, cost, password) in [
        ("u@example.com", "BLF-CRYPT", "4", CANARY),
        ("v@example.com", "SCRAM-SHA-256", "4096", CANARY),
        ("other@example.com", "ARGON2ID", "1", "other"),
    ] {
        keep(&site, &["user", "add", name, "--scheme", scheme, "--cost", cost], password);
    }
    keep(&site, &["user", "add", "w@example.com", "--scheme", "PLAIN"], STORED);
    let call = |function: &str, name: &str| {
        site.dlfunc(function, &format!("{{{name}}}{{$sender_host_address}}"))
    };
    let mut config = site.read("exim.conf");
    for (driver, mechanism, name, proof) in [
        ("plaintext", "X-PROVED", "$auth2", "  server_prompts = :\n".to_owned()),
        (
            "cram_md5",
            "CRAM-MD5",
            "$auth1",
            format!("  server_secret = {}\n", call("secret", "$auth1")),
        ),
    ] {
        config.push_str(&format!(
            "x_{driver}:\n  driver = {driver}\n  public_name = {mechanism}\n{proof}  \
             server_condition = {}\n  server_set_id = {}\n",
            call("authorize", name),
            call("finish", name),
        ));
    }
    let keys = ["salt", "stored_key"].map(|key| call("scram", &format!("{key}}}{{v@example.com")));
    let say = format!("deny message = {} ", keys.join(" "));
    site.write("exim.conf", &config.replace("deny message = ", &say));
    site
}

/// Runs the tool, and keeps what it says in a file to be searched.
fn keep(site: &Site, arguments: &[&str], stdin: &str) {
    let output = site.run_tool(arguments, stdin);
    let mut file = fs::File::options().create(true).append(true).open(site.path("tool")).unwrap();
    file.write_all(format!("\n{arguments:?} {:?}\n", output.status.code()).as_bytes()).unwrap();
    file.write_all(&output.stdout).unwrap();
    file.write_all(&output.stderr).unwrap();
}

fn attempt(exim: &Exim, remote: &str, name: &str, password: &str) -> String {
    Client::connect_from(exim.port, remote).plain(name.as_bytes(), password.as_bytes())
}

fn cram_md5(exim: &Exim) -> String {
    let mut client = Client::connect_from(exim.port, GB);
    let asked = client.command("AUTH CRAM-MD5");
    client.command(&cram_md5_response(asked.strip_prefix("334 ").unwrap(), "w@example.com", STORED))
}

fn proved(exim: &Exim) -> String {
    let response = format!("\0u@example.com\0{CANARY}");
    let response = base64::prelude::BASE64_STANDARD.encode(response);
    Client::connect_from(exim.port, GB).command(&format!("AUTH X-PROVED {response}"))
}

/// What the processes of a daemon show of themselves while a client is there that has just been let in.
fn show_processes(site: &Site, exim: &Exim) {
    let mut client = Client::connect_from(exim.port, GB);
    assert_eq!(client.plain(b"u@example.com", CANARY.as_bytes()), ACCEPTED, "{}", site.main_log());
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", exim.pid())).unwrap();
    let mut shown = 0;
    for pid in children.split_whitespace() {
        for what in ["cmdline", "environ", "status"] {
            // Those that served others may end meanwhile.
            let Ok(text) = fs::read(format!("/proc/{pid}/{what}")) else { continue };
            fs::write(site.path(&format!("shown-{what}-{pid}")), text).unwrap();
            shown += 1;
        }
    }
    assert!(shown >= 3, "somebody serves the client");
}

/// The password in every place where one can be given, right and wrong.
fn play(site: &Site, exim: &Exim) {
    show_processes(site, exim);
    assert_eq!(
        Client::connect_from(exim.port, GB).login(b"v@example.com", CANARY.as_bytes()),
        ACCEPTED
    );
    for (remote, name) in
        [(GB, "other@example.com"), (GB, "nobody@example.com"), (CN, "u@example.com")]
    {
        assert_eq!(attempt(exim, remote, name, CANARY), REFUSED, "{name}");
        assert_eq!(attempt(exim, remote, name, &format!("{CANARY}{}", "x".repeat(2000))), REFUSED);
    }
    assert_eq!(
        (cram_md5(exim), proved(exim)),
        (ACCEPTED.into(), ACCEPTED.into()),
        "{}",
        site.main_log()
    );
    let facts = Client::connect_from(exim.port, GB).command("MAIL FROM:<>");
    assert!(facts.contains("status=") && holding(STORED, &site.path("log")).is_empty());
    let rows = site.rows().len();
    assert_eq!(rows, site.lines().len());
    tool(site);
    assert_eq!(site.rows().len(), rows, "the tool writes none");
    site.sql("UPDATE account SET password = '{NO-SUCH}x' WHERE username = 'other@example.com'");
    assert_eq!(attempt(exim, GB, "other@example.com", CANARY), CANNOT_TELL);
    let good = site.read("authpolicy.toml");
    let away = good.replace("authpolicy.db", "no-such.db").replace("/sock\"", "/no-such-sock\"");
    for bad in [&away, "nonsense", &good.replace("allow_countries", "allow_contries")] {
        site.write_config(bad);
        assert_eq!(attempt(exim, GB, "u@example.com", CANARY), CANNOT_TELL);
        assert_eq!((cram_md5(exim), proved(exim)), (CANNOT_TELL.into(), CANNOT_TELL.into()));
        tool(site);
    }
    site.write_config(&good);
    assert_eq!(site.panic_log(), "");
}

fn tool(site: &Site) {
    for name in ["u@example.com", "other@example.com", "w@example.com", "nobody@example.com"] {
        keep(site, &["test", name, GB], CANARY);
    }
    keep(site, &["user", "passwd", "v@example.com", "--scheme", "SCRAM-SHA-1"], CANARY);
    keep(site, &["user", "add", "u@example.com"], CANARY);
    keep(site, &["user", "add", "long@example.com"], &CANARY.repeat(40));
    keep(site, &["hash", "--scheme", "CRAM-MD5"], CANARY);
    keep(site, &["hash", "--scheme", "NO-SUCH"], CANARY);
    for arguments in [&["user", "list", "--weak"][..], &["config"], &["log", "--summary"]] {
        keep(site, arguments, "");
    }
}

#[test]
fn with_sqlite_a_password_is_written_nowhere() {
    let site = site(Base::Sqlite);
    play(&site, &site.exim());
    assert_eq!(holding(CANARY, site.directory()), "");
    let stored = holding(STORED, site.directory());
    assert!(stored.contains("/state/authpolicy.db"), "the search finds what is there: {stored}");
    assert!(stored.lines().all(|file| file.contains("/state/authpolicy.db")), "{stored}");
}

#[test]
fn with_mariadb_a_password_is_written_nowhere_and_not_in_the_servers_log_either() {
    let server = Arc::new(MariaDb::start());
    let (name, mut root) = (server.database(), server.root(""));
    let data = server.socket().parent().unwrap().to_owned();
    for sql in
        ["general_log = 1", "slow_query_log = 1", "long_query_time = 0", "innodb_fast_shutdown = 0"]
    {
        root.query_drop(format!("SET GLOBAL {sql}")).unwrap();
    }
    let url = server.url(&name);
    let site = site(Base::MariaDb(Arc::clone(&server), name, url));
    play(&site, &site.exim());
    root.query_drop("FLUSH LOGS").unwrap();
    let seen = root.query_first::<String, _>("SELECT @@general_log_file").unwrap().unwrap();
    let log =
        String::from_utf8_lossy(&fs::read(data.join("data").join(seen)).unwrap()).into_owned();
    assert!(log.contains("FROM account WHERE username = 'u@example.com'"), "the server told all");
    for directory in [site.directory(), &data] {
        assert_eq!(holding(CANARY, directory), "");
    }
    assert_eq!(holding(STORED, site.directory()), "");
    let stored = holding(STORED, &data);
    assert!(stored.contains("/data/"), "the search finds what is there: {stored}");
}
