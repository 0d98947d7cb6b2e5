//! A password is given in every possible place. It must not appear in logs, spool, state directory,
//! databases, the database server's logs, the tool's output, or `/proc`. tests/memory.rs searches
//! memory.
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
/// The stored password in clear, for `secret`. It may be in the database and nowhere else.
const STORED: &str = "Zk4+canary-Vn8!mJr2wXp#qT6bLs1-Fc7yHd9g";

const POLICY: &str = "[policy]\nfailure_time = \"0s\"\nallow_countries = [\"GB\"]\n\
                      hash_nonce = \"nonce\"\n[[policy.limit]]\nname = \"guesses\"\nper = \"account\"\n\
                      count = \"passwords\"\nmax = 1000\nwithin = \"10m\"\n";

/// Returns the spellings of a word to search for: plain, hexadecimal, and as a part of base64.
fn spellings(word: &str) -> Vec<String> {
    let hex: String = word.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut spellings = vec![word.to_owned(), hex.to_uppercase(), hex];
    for skipped in 0..3 {
        let bytes = &word.as_bytes()[skipped..];
        let whole = bytes.len() / 3 * 3;
        spellings.push(BASE64_STANDARD_NO_PAD.encode(&bytes[..whole]));
    }
    spellings
}

/// Returns the files below a directory that contain the word.
fn files_containing(word: &str, directory: &Path) -> String {
    let mut grep = Command::new("grep")
        .args(["--recursive", "--files-with-matches", "--text", "--fixed-strings", "--file=-"])
        .arg(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    grep.stdin.take().unwrap().write_all(spellings(word).join("\n").as_bytes()).unwrap();
    let output = grep.wait_with_output().unwrap();
    assert!(output.status.code().unwrap() < 2, "grep can read all files");
    String::from_utf8(output.stdout).unwrap()
}

/// A site whose Exim also offers CRAM-MD5, and a mechanism whose proof is outside the plugin.
fn site(base: Base) -> Site {
    let site = Site::new(base, POLICY);
    for (name, scheme, cost, password) in [
        ("u@example.com", "BLF-CRYPT", "4", CANARY),
        ("v@example.com", "SCRAM-SHA-256", "4096", CANARY),
        ("other@example.com", "ARGON2ID", "1", "other"),
    ] {
        run_and_record(&site, &["user", "add", name, "--scheme", scheme, "--cost", cost], password);
    }
    run_and_record(&site, &["user", "add", "w@example.com", "--scheme", "PLAIN"], STORED);
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
    let with_keys = format!("deny message = {} ", keys.join(" "));
    site.write("exim.conf", &config.replace("deny message = ", &with_keys));
    site
}

/// Runs the tool, and appends its output to a file that is searched later.
fn run_and_record(site: &Site, arguments: &[&str], stdin: &str) {
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
    let reply = client.command("AUTH CRAM-MD5");
    client.command(&cram_md5_response(reply.strip_prefix("334 ").unwrap(), "w@example.com", STORED))
}

fn proved(exim: &Exim) -> String {
    let response = format!("\0u@example.com\0{CANARY}");
    let response = base64::prelude::BASE64_STANDARD.encode(response);
    Client::connect_from(exim.port, GB).command(&format!("AUTH X-PROVED {response}"))
}

/// Copies what `/proc` shows of the daemon's children while a client is logged in.
fn copy_process_files(site: &Site, exim: &Exim) {
    let mut client = Client::connect_from(exim.port, GB);
    assert_eq!(client.plain(b"u@example.com", CANARY.as_bytes()), ACCEPTED, "{}", site.main_log());
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", exim.pid())).unwrap();
    let mut copied = 0;
    for pid in children.split_whitespace() {
        for file in ["cmdline", "environ", "status"] {
            // Children of earlier connections may end meanwhile.
            let Ok(text) = fs::read(format!("/proc/{pid}/{file}")) else { continue };
            fs::write(site.path(&format!("shown-{file}-{pid}")), text).unwrap();
            copied += 1;
        }
    }
    assert!(copied >= 3, "a child serves the client");
}

/// Gives the password in every possible place, where it is right and where it is wrong.
fn use_password_everywhere(site: &Site, exim: &Exim) {
    copy_process_files(site, exim);
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
    assert!(facts.contains("status=") && files_containing(STORED, &site.path("log")).is_empty());
    let rows = site.rows().len();
    assert_eq!(rows, site.lines().len());
    run_verbs(site);
    assert_eq!(site.rows().len(), rows, "the tool writes no row");
    site.sql("UPDATE account SET password = '{NO-SUCH}x' WHERE username = 'other@example.com'");
    assert_eq!(attempt(exim, GB, "other@example.com", CANARY), CANNOT_TELL);
    let good = site.read("authpolicy.toml");
    let away = good.replace("authpolicy.db", "no-such.db").replace("/sock\"", "/no-such-sock\"");
    for bad in [&away, "nonsense", &good.replace("allow_countries", "allow_contries")] {
        site.write_config(bad);
        assert_eq!(attempt(exim, GB, "u@example.com", CANARY), CANNOT_TELL);
        assert_eq!((cram_md5(exim), proved(exim)), (CANNOT_TELL.into(), CANNOT_TELL.into()));
        run_verbs(site);
    }
    site.write_config(&good);
    assert_eq!(site.panic_log(), "");
}

/// Gives the password to the verbs of the tool.
fn run_verbs(site: &Site) {
    for name in ["u@example.com", "other@example.com", "w@example.com", "nobody@example.com"] {
        run_and_record(site, &["test", name, GB], CANARY);
    }
    run_and_record(site, &["user", "passwd", "v@example.com", "--scheme", "SCRAM-SHA-1"], CANARY);
    run_and_record(site, &["user", "add", "u@example.com"], CANARY);
    run_and_record(site, &["user", "add", "long@example.com"], &CANARY.repeat(40));
    run_and_record(site, &["hash", "--scheme", "CRAM-MD5"], CANARY);
    run_and_record(site, &["hash", "--scheme", "NO-SUCH"], CANARY);
    for arguments in [&["user", "list", "--weak"][..], &["config"], &["log", "--summary"]] {
        run_and_record(site, arguments, "");
    }
}

#[test]
fn with_sqlite_a_password_is_written_nowhere() {
    let site = site(Base::Sqlite);
    use_password_everywhere(&site, &site.exim());
    assert_eq!(files_containing(CANARY, site.directory()), "");
    let stored = files_containing(STORED, site.directory());
    assert!(
        stored.contains("/state/authpolicy.db"),
        "the search finds the stored password: {stored}"
    );
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
    use_password_everywhere(&site, &site.exim());
    root.query_drop("FLUSH LOGS").unwrap();
    let log_file = root.query_first::<String, _>("SELECT @@general_log_file").unwrap().unwrap();
    let log =
        String::from_utf8_lossy(&fs::read(data.join("data").join(log_file)).unwrap()).into_owned();
    assert!(
        log.contains("FROM account WHERE username = 'u@example.com'"),
        "the server logs the statements"
    );
    for directory in [site.directory(), &data] {
        assert_eq!(files_containing(CANARY, directory), "");
    }
    assert_eq!(files_containing(STORED, site.directory()), "");
    let stored = files_containing(STORED, &data);
    assert!(stored.contains("/data/"), "the search finds the stored password: {stored}");
}
