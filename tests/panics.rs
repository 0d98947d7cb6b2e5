//! A panic in each function, in a real Exim: the function's answer, its line, and no other effect.
//!
//! This build of the plugin panics on demand (src/ffi/deliberate.rs):
//!
//! - in every function, after `EHLO deliberate-panic`
//! - in one function, after `EHLO deliberate-panic-in-check`
//! - after the row is written, for an account with `deliberate-late-panic` in its name
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
use std::path::Path;
use std::process::Command;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use common::Base;
use common::Client;
use common::Site;
use common::driver::cram_md5_response;
use common::journal::flush;
use common::panicking;
use common::site::CN;
use common::site::GB;
use common::smtp::ACCEPTED;
use common::smtp::CANNOT_TELL;
use common::smtp::REFUSED;

const POLICY: &str = "[policy]\nallow_countries = [\"GB\"]\nfailure_time = \"0s\"\n";

/// A site whose replies to MAIL, EXPN and VRFY contain the answers of functions.
fn site(base: Base) -> Site {
    let site = Site::new(base, POLICY);
    site.account("u@example.com", "secret");
    site.account("deliberate-late-panic@example.com", "secret");
    site.sql("UPDATE account SET password = '{PLAIN}secret' WHERE username = 'u@example.com'");
    fs::copy(panicking::plugin(), site.path("authpolicy.so")).unwrap();
    let call = |function: &str, arguments: &str| {
        site.dlfunc(function, &format!("{arguments}{{helo=$sender_helo_name}}"))
    };
    let so = site.path("authpolicy.so").display().to_string();
    let remote = "{$sender_host_address}";
    let (version, status) = (
        call("version", ""),
        format!("${{dlfunc{{{so}}}{{last}}{{status}}{{helo=$sender_helo_name}}}}"),
    );
    let [country, allow] = ["country", "allow"].map(|function| call(function, remote));
    let preload = call("preload", "{20}");
    let [finish, secret] = ["finish", "secret"].map(|f| call(f, &format!("{{$auth1}}{remote}")));
    let authorize = call("authorize", &format!("{{$auth2}}{remote}"));
    let proved = call("finish", &format!("{{$auth2}}{remote}"));
    let named = format!("{{$smtp_command_argument}}{remote}");
    let (end, keys) = (call("finish", &named), call("scram", &format!("{{stored_key}}{named}")));
    let config = site.read("exim.conf");
    let (head, rest) = config.split_once("  deny message = ").unwrap();
    let (_, rest) = rest.split_once('\n').unwrap();
    let head = head
        .replace("begin acl", "acl_smtp_expn = acl_finish\nacl_smtp_vrfy = acl_scram\nbegin acl");
    let rest = rest.replace("{tls=$tls_in_cipher}", "{helo=$sender_helo_name}");
    site.write(
        "exim.conf",
        &format!(
            "{head}  deny message = last={status} country={country} allow={allow} preload={preload} \
             version={version}
acl_finish:
  deny message = finish={end}
acl_scram:
  deny message = scram={keys}
{rest}proved:
  driver = plaintext
  public_name = X-PROVED
  server_prompts = :
  server_condition = ${{if and{{{{eq{{$auth3}}{{secret}}}}{{bool{{{authorize}}}}}}}}}
  server_set_id = {proved}
cram_md5:
  driver = cram_md5
  public_name = CRAM-MD5
  server_secret = {secret}
  server_condition = {authorize_cram}
  server_set_id = {finish}
",
            authorize_cram = call("authorize", &format!("{{$auth1}}{remote}")),
        ),
    );
    site
}

/// The reply to MAIL, as one line.
fn facts(client: &mut Client) -> String {
    client
        .command("MAIL FROM:<>")
        .replace("\n550-", " ")
        .replace("\n550 ", " ")
        .replace("550-", "550 ")
}

fn proved(client: &mut Client, password: &str) -> String {
    let response = format!("\0u@example.com\0{password}");
    client.command(&format!("AUTH X-PROVED {}", BASE64_STANDARD.encode(response)))
}

fn cram_md5(client: &mut Client) -> String {
    let reply = client.command("AUTH CRAM-MD5");
    match reply.strip_prefix("334 ") {
        Some(challenge) => client.command(&cram_md5_response(challenge, "u@example.com", "secret")),
        None => reply,
    }
}

/// Makes all functions panic from now on, or the named one, or none.
fn set_panics(client: &mut Client, function: &str) {
    let name = match function {
        "none" => String::from("client.example"),
        "all" => String::from("deliberate-panic"),
        function => format!("deliberate-panic-in-{function}"),
    };
    panicking::ehlo(client, &name);
}

/// The functions that panicked after the first `since` lines, if there are no other lines.
fn panicked(site: &Site, since: usize) -> Vec<String> {
    let lines = site.lines();
    let lines = lines[since..].iter().map(|line| {
        let rest = line.strip_prefix("trouble function=").unwrap_or_else(|| panic!("{line}"));
        let (name, error) = rest.split_once(' ').unwrap();
        assert!(error.starts_with("error=\"internal error at src/ffi/deliberate.rs:"), "{line}");
        assert!(error.ends_with(", please report it\""), "{line}");
        name.to_owned()
    });
    lines.collect()
}

const GOOD: &str = "country=GB allow=yes preload=20 version=authpolicy ";

#[test]
fn each_function_that_panics_gives_its_answer_and_the_next_attempt_is_served() {
    for base in Base::all() {
        let site = site(base);
        let exim = site.exim();
        let mut client = Client::connect_from(exim.port, GB);
        assert_eq!(client.plain(b"u@example.com", b"secret"), ACCEPTED, "{}", site.main_log());
        let mut client = Client::connect_from(exim.port, GB);
        assert!(facts(&mut client).starts_with(&format!("550 last= {GOOD}")));
        assert_eq!(client.plain(b"u@example.com", b"wrong"), REFUSED);
        assert!(facts(&mut client).starts_with(&format!("550 last=403 {GOOD}")));
        let (rows, lines) = (site.rows().len(), site.lines().len());
        set_panics(&mut client, "all");
        for password in [&b"secret"[..], b"wrong"] {
            assert_eq!(client.plain(b"u@example.com", password), CANNOT_TELL);
        }
        assert_eq!(client.login(b"u@example.com", b"secret"), CANNOT_TELL);
        // Without a password, the name may really be a password, and is not logged.
        let mut other = Client::connect_from(exim.port, GB);
        set_panics(&mut other, "all");
        assert_eq!(other.plain(b"hunter2", b""), CANNOT_TELL);
        // For `server_set_id`, Exim also calls `last` after a refusal.
        let names = ["check"; 4];
        let functions: Vec<_> =
            panicked(&site, lines).into_iter().filter(|f| f != "last").collect();
        assert_eq!(functions, names);
        set_panics(&mut client, "none");
        assert!(facts(&mut client).starts_with(&format!("550 last=503 {GOOD}")), "no longer 403");
        set_panics(&mut client, "all");
        let lines = site.lines().len();
        assert_eq!(facts(&mut client), "550 last= country= allow=yes preload=20 version=");
        assert_eq!(client.command("EXPN u@example.com"), "550 finish=");
        assert_eq!(client.command("VRFY u@example.com"), "252 scram=");
        let names = ["last", "country", "allow", "preload", "version", "finish", "scram"];
        assert_eq!(panicked(&site, lines), names);
        set_panics(&mut client, "none");
        assert!(facts(&mut client).starts_with(&format!("550 last=503 {GOOD}")));
        assert_eq!(
            flush(&site),
            [5, 0, 0, 0],
            "a row for each attempt: four of check, one of finish"
        );
        let names = ["u@example.com", "u@example.com", "u@example.com", "", "u@example.com"];
        for (row, name) in site.rows().split_off(rows).iter().zip(names) {
            assert_eq!((row.auth_ok, row.policy_reject), (None, None), "no result is known");
            assert_eq!((&*row.username, &*row.remote_ip), (name, GB));
        }
        assert!(!site.main_log().contains("hunter2"), "{}", site.main_log());
        assert_eq!(client.plain(b"u@example.com", b"secret"), ACCEPTED, "{}", site.main_log());
        assert!(facts(&mut client).starts_with(&format!("550 last=204 {GOOD}")));
        assert_eq!(site.rows().len(), rows + 6);
        assert_eq!(site.panic_log(), "");
    }
}

#[test]
fn with_other_drivers_a_panic_is_435_and_not_a_wrong_password() {
    let site = site(Base::Sqlite);
    let exim = site.exim();
    let mut client = Client::connect_from(exim.port, GB);
    assert_eq!(cram_md5(&mut client), ACCEPTED, "{}", site.main_log());
    let mut client = Client::connect_from(exim.port, GB);
    assert_eq!(proved(&mut client, "wrong"), REFUSED, "{}", site.main_log());
    let by_proof: fn(&mut Client) -> String = |client| proved(client, "secret");
    for (function, attempt, rows, lines_of_attempt) in [
        ("authorize", by_proof, vec![(None, None)], 0),
        ("authorize", cram_md5, vec![(None, None)], 0),
        // The client cannot send its proof, and `finish` records that.
        ("secret", cram_md5, vec![(None, Some(false))], 1),
    ] {
        let mut client = Client::connect_from(exim.port, GB);
        set_panics(&mut client, function);
        let (before, lines) = (site.rows().len(), site.lines().len());
        assert_eq!(attempt(&mut client), CANNOT_TELL, "{}", site.main_log());
        let line = &site.lines()[lines];
        assert!(
            line.starts_with(&format!("trouble function={function} error=\"internal error at "))
        );
        assert_eq!(site.lines().len(), lines + 1 + lines_of_attempt, "{}", site.main_log());
        flush(&site);
        let made = site.rows().split_off(before);
        let made: Vec<_> = made.iter().map(|row| (row.auth_ok, row.policy_reject)).collect();
        assert_eq!(made, rows, "{}", site.main_log());
        set_panics(&mut client, "none");
        assert_eq!(attempt(&mut client), ACCEPTED, "{}", site.main_log());
    }
    let mut client = Client::connect_from(exim.port, GB);
    set_panics(&mut client, "finish");
    let before = site.rows().len();
    assert_eq!(
        proved(&mut client, "secret"),
        ACCEPTED,
        "the decision stands, and only the name is missing"
    );
    flush(&site);
    assert_eq!(site.rows().len(), before + 1, "finish leaves no second row");
    // After a panic in `scram`, `secret` gives no password to that attempt either.
    let mut client = Client::connect_from(exim.port, GB);
    set_panics(&mut client, "all");
    assert_eq!(client.command("VRFY u@example.com"), "252 scram=");
    set_panics(&mut client, "none");
    assert_eq!(client.command("VRFY u@example.com"), "252 scram=", "the same attempt");
    assert_eq!(cram_md5(&mut client), CANNOT_TELL);
    client.command("EXPN u@example.com");
    assert_eq!(cram_md5(&mut client), ACCEPTED, "{}", site.main_log());
    assert_eq!(site.panic_log(), "");
}

#[test]
fn after_a_panic_in_allow_the_address_gets_435_until_allow_is_called_again() {
    for base in Base::all() {
        let site = site(base);
        let exim = site.exim();
        let mut client = Client::connect_from(exim.port, CN);
        assert!(facts(&mut client).contains("country=CN allow=no "));
        assert_eq!(client.plain(b"u@example.com", b"secret"), REFUSED);
        let mut client = Client::connect_from(exim.port, GB);
        set_panics(&mut client, "all");
        assert!(facts(&mut client).contains(" allow=yes "));
        set_panics(&mut client, "none");
        for _ in 0..2 {
            assert_eq!(client.plain(b"u@example.com", b"secret"), CANNOT_TELL);
        }
        assert!(site.lines().last().unwrap().starts_with("attempt status=503 reason=internal "));
        assert!(site.lines().last().unwrap().contains("error=\"allow: internal error"));
        assert_eq!(site.rows().last().unwrap().auth_ok, None);
        assert!(facts(&mut client).contains(" allow=yes "));
        assert_eq!(client.plain(b"u@example.com", b"secret"), ACCEPTED, "{}", site.main_log());
    }
}

#[test]
fn a_panic_after_the_row_is_written_does_not_accept() {
    for base in Base::all() {
        let site = site(base);
        let exim = site.exim();
        let mut client = Client::connect_from(exim.port, GB);
        assert_eq!(client.plain(b"u@example.com", b"wrong"), REFUSED, "{}", site.main_log());
        let lines = site.lines().len();
        let reply = client.plain(b"deliberate-late-panic@example.com", b"secret");
        assert_eq!(reply, CANNOT_TELL);
        assert_eq!(panicked(&site, lines), ["check"]);
        assert_eq!(flush(&site), [0, 0, 0, 0], "no second row");
        assert_eq!(site.rows().len(), 2);
        let row = site.rows().pop().unwrap();
        assert_eq!(
            (row.auth_ok, row.policy_reject),
            (Some(true), Some(false)),
            "the password was right"
        );
        assert!(
            facts(&mut client).starts_with("550 last=503 "),
            "cannot tell, though the password was right"
        );
        assert_eq!(client.plain(b"u@example.com", b"secret"), ACCEPTED, "{}", site.main_log());
        assert_eq!(site.panic_log(), "");
    }
}

#[test]
fn a_panic_writes_nothing_to_the_client_or_the_terminal() {
    let site = site(Base::Sqlite);
    // As under inetd: standard input, output and error go to the client.
    let mut exim = Command::new("sh");
    exim.args(["-c", "exec exim4 -C \"$0\" -bs 2>&1"]).arg(site.path("exim.conf"));
    let mut client = Client::over_pipes(&mut exim);
    assert_eq!(client.plain(b"u@example.com", b"wrong"), REFUSED, "{}", site.main_log());
    set_panics(&mut client, "all");
    for _ in 0..2 {
        assert_eq!(client.plain(b"u@example.com", b"secret"), CANNOT_TELL);
        assert_eq!(facts(&mut client), "550 last= country= allow=yes preload=20 version=");
    }
    assert!(site.lines().len() > 10, "{}", site.main_log());
    set_panics(&mut client, "none");
    facts(&mut client);
    assert_eq!(client.plain(b"u@example.com", b"secret"), ACCEPTED, "{}", site.main_log());
    assert!(client.command("QUIT").starts_with("221 "));
    assert_eq!(client.reply(), "", "nothing else");
    assert_eq!(site.panic_log(), "");
}

#[test]
fn no_other_plugin_panics_on_demand() {
    let has = |plugin: &Path| {
        let bytes = fs::read(plugin).unwrap();
        bytes.windows(10).any(|window| window == b"deliberate")
    };
    assert!(has(panicking::plugin()), "the search finds it");
    assert!(!has(&common::exim::plugin()));
}
