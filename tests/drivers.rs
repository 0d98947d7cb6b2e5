//! Drivers that check the password themselves, in a real Exim with the examples. Exim calls
//! `secret` for the check, `authorize` after it, and `finish` at the end.
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
use std::process::Command;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use common::Base;
use common::Client;
use common::Site;
use common::driver;
use common::driver::Case;
use common::driver::NO;
use common::driver::Rig;
use common::driver::YES;
use common::driver::check_all_cases;
use common::driver::check_case;
use common::driver::check_without_database;
use common::driver::cram_md5_response;
use common::driver::disable;
use common::driver::login;
use common::driver::plain;
use common::example::with;
use common::site::CN;
use common::site::GB;
use common::smtp::ACCEPTED;
use common::smtp::CANNOT_TELL;
use common::smtp::REFUSED;
use common::smtp::proxy;

/// The account has only a hash: an error of the administrator, not a wrong password.
#[rustfmt::skip]
const ONLY_A_HASH: Case<'_> = Case { name: "only a hash", remote: GB, authcid: "hash@example.com", password: "secret",
    reply: REFUSED, line: "status=503 reason=internal rule=- auth_ok=- policy_reject=0 country=GB", row: (None, NO) };

/// Adds accounts with passwords in clear, and one with a hash.
fn add_accounts(site: &Site) {
    for name in ["u@example.com", "off@example.com"] {
        site.tool(&["user", "add", name, "--scheme", "PLAIN"], "secret");
    }
    site.account("hash@example.com", "secret");
    site.tool(&["user", "disable", "off@example.com"], "");
}

/// `openssl passwd -5 -salt saltsalt secret`
const HASH: &str = "$5$saltsalt$0IyaXrmV7.sGNS6tirgqHLqX/G.FBvgkYA.lpPdS5sA";

fn crypteq(base: Base) -> Rig {
    let site = driver::site(base, "crypteq");
    disable(&site);
    site.write("passwd", &format!("u@example.com:{HASH}\noff@example.com:{HASH}:0:0\n"));
    let passwd = site.path("passwd").display().to_string();
    Rig::start(site, "crypteq", &[("PASSWD_FILE", &passwd)])
}

#[test]
fn plaintext_with_crypteq_follows_the_policy() {
    for base in Base::all() {
        let rig = crypteq(base);
        check_all_cases(&rig.site, &plain(rig.port), true);
        check_all_cases(&rig.site, &login(rig.port), true);
        check_without_database(&rig, &login(rig.port), REFUSED);
    }
}

/// Uses a real PAM with the test's own service and passwords.
#[test]
fn plaintext_with_pam_follows_the_policy() {
    let libraries = format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    let mut rig = crypteq(Base::Sqlite);
    let site = &rig.site;
    let matrix =
        format!("{libraries}/pam_wrapper/pam_matrix.so passdb={}", site.path("passdb").display());
    fs::create_dir(site.path("pam.d")).unwrap();
    site.write("pam.d/exim", &format!("auth required {matrix}\naccount required {matrix}\n"));
    site.write("passdb", "u@example.com:secret:exim\noff@example.com:secret:exim\n");
    let services = site.path("pam.d").display().to_string();
    let environment = "keep_environment = PAM_WRAPPER : PAM_WRAPPER_SERVICE_DIR\nexim_user ";
    let crypteq = |password: &str, name: &str| {
        format!(
            "crypteq{{{password}}}{{${{extract{{1}}{{:}}{{${{lookup{{{name}}}lsearch{{PASSWD_FILE}}}}}}}}}}"
        )
    };
    let pam =
        |password: &str, name: &str| format!("pam{{{name}:${{sg{{{password}}}{{:}}{{::}}}}}}");
    rig.restart_with_environment(
        &[
            ("keep_environment =\n", ""),
            ("exim_user ", environment),
            (&crypteq("$auth3", "$auth2"), &pam("$auth3", "$auth2")),
            (&crypteq("$auth2", "$auth1"), &pam("$auth2", "$auth1")),
        ],
        &[
            ("PAM_WRAPPER", "1"),
            ("PAM_WRAPPER_SERVICE_DIR", &services),
            ("LD_PRELOAD", &format!("{libraries}/libpam_wrapper.so")),
        ],
    );
    check_all_cases(&rig.site, &plain(rig.port), true);
    check_all_cases(&rig.site, &login(rig.port), true);
}

#[test]
fn attempts_of_one_connection_are_recorded_separately() {
    let rig = crypteq(Base::Sqlite);
    let mut client = Client::over_tls(rig.port, CN, &[]);
    assert_eq!(client.plain(b"u@example.com", b"secret"), REFUSED);
    assert_eq!(client.plain(b"u@example.com", b"wrong"), REFUSED);
    assert_eq!(client.login(b"nobody@example.com", b"secret"), REFUSED);
    assert!(client.command("AUTH PLAIN !!!").starts_with("501 "));
    assert_eq!(client.plain_as(b"boss", b"u@example.com", b"secret"), REFUSED);
    let flags: Vec<_> =
        rig.site.rows().iter().map(|row| (row.auth_ok, row.policy_reject)).collect();
    assert_eq!(flags, [(YES, YES), (NO, YES), (NO, YES), (None, YES)]);
    drop(client);
    assert_eq!(plain(rig.port)(GB, "u@example.com", "secret"), ACCEPTED);
}

#[test]
fn authorize_follows_log_only_and_cannot_tell_without_a_country() {
    let rig = crypteq(Base::Sqlite);
    let (site, login) = (&rig.site, plain(rig.port));
    let good = site.read("authpolicy.toml");
    check_case(site, &login, &RIGHT);
    site.write_config(&with(&good, &[("[policy]", "[policy]\nlog_only = true")]));
    #[rustfmt::skip]
    check_case(site, &login, &Case { name: "would refuse", remote: CN, row: (YES, NO),
        line: "status=204 reason=would-reject rule=policy.allow_countries auth_ok=1 policy_reject=0 country=CN", ..RIGHT });
    site.write_config(&with(&good, &[("country.mmdb", "no-such.mmdb")]));
    #[rustfmt::skip]
    check_case(site, &login, &Case { name: "no country", reply: CANNOT_TELL, row: (None, None),
        line: "status=503 reason=internal rule=- auth_ok=- policy_reject=- country=-", ..RIGHT });
    site.write_config(&good);
    check_case(site, &login, &RIGHT);
}

/// `finish` cannot know why `authorize` was not called.
#[test]
fn a_failed_check_outside_the_plugin_is_recorded_as_a_wrong_password() {
    let rig = crypteq(Base::Sqlite);
    assert_eq!(plain(rig.port)(GB, "u@example.com", "secret"), ACCEPTED);
    fs::remove_file(rig.site.path("passwd")).unwrap();
    #[rustfmt::skip]
    check_case(&rig.site, &plain(rig.port), &Case { name: "away", remote: GB, authcid: "u@example.com", password: "secret",
        reply: CANNOT_TELL, line: "status=403 reason=credentials rule=- auth_ok=0 policy_reject=0 country=GB", row: (NO, NO) });
}

/// A client that uses CRAM-MD5.
fn cram_md5(port: u16) -> impl Fn(&str, &str, &str) -> String {
    move |remote, authcid, password| {
        let mut client = Client::over_tls(port, remote, &[]);
        let reply = client.command("AUTH CRAM-MD5");
        let challenge = reply.strip_prefix("334 ").unwrap();
        client.command(&cram_md5_response(challenge, authcid, password))
    }
}

#[test]
fn cram_md5_works_with_the_accounts_of_the_plugin() {
    for base in Base::all() {
        let site = driver::site(base, "cram-md5");
        add_accounts(&site);
        let rig = Rig::start(site, "cram-md5", &[]);
        let login = cram_md5(rig.port);
        check_all_cases(&rig.site, &login, false);
        check_case(&rig.site, &login, &ONLY_A_HASH);
        // An attempt without a name has a row too.
        let rows = rig.site.rows().len();
        assert_eq!(login(GB, "", "secret"), REFUSED);
        let line = rig.site.lines().pop().unwrap();
        assert!(line.starts_with("attempt status=400 reason=client rule=- auth_ok=- "), "{line}");
        assert_eq!(rig.site.rows().len(), rows + 1);
        check_without_database(&rig, &login, CANNOT_TELL);
    }
}

/// Adds a limit of two failures for each account.
fn add_limit(site: &Site) {
    let limit = "known_good = \"0s\"\n[[policy.limit]]\nname = \"guessing\"\nper = \"account\"\n\
                 count = \"failures\"\nmax = 2\nwithin = \"10m\"\n";
    let config = site.read("authpolicy.toml");
    site.write_config(&config.replace("\n[state]", &format!("{limit}\n[state]")));
}

#[rustfmt::skip]
const WRONG: Case<'_> = Case { name: "wrong", remote: GB, authcid: "u@example.com", password: "wrong", reply: REFUSED,
    line: "status=403 reason=credentials rule=- auth_ok=0 policy_reject=0 country=GB", row: (NO, NO) };
#[rustfmt::skip]
const RIGHT: Case<'_> = Case { name: "right", remote: GB, authcid: "u@example.com", password: "secret", reply: ACCEPTED,
    line: "status=204 reason=- rule=- auth_ok=1 policy_reject=0 country=GB", row: (YES, NO) };

/// Once the limit is reached, `secret` returns no password.
#[test]
fn a_limit_applies_to_guesses_that_the_driver_checks() {
    for base in Base::all() {
        let site = driver::site(base, "cram-md5");
        add_accounts(&site);
        add_limit(&site);
        let rig = Rig::start(site, "cram-md5", &[]);
        let login = cram_md5(rig.port);
        for case in [&RIGHT, &RIGHT, &RIGHT, &WRONG, &RIGHT, &WRONG] {
            check_case(&rig.site, &login, case);
        }
        #[rustfmt::skip]
        check_case(&rig.site, &login, &Case { name: "beyond", reply: REFUSED, row: (None, YES),
            line: "status=403 reason=policy rule=guessing auth_ok=- policy_reject=1 country=GB", ..RIGHT });
        rig.site.tool(&["limits", "clear", "--account", "u@example.com"], "");
        check_case(&rig.site, &login, &RIGHT);
    }
}

/// An attempt with an alias of the account is counted once, for both names.
#[test]
fn guesses_with_an_alias_are_counted_once() {
    let site = driver::site(Base::Sqlite, "cram-md5");
    add_accounts(&site);
    add_limit(&site);
    let query = "SELECT password, username FROM account \
                 WHERE username = replace(:user, 'alias@', 'u@')";
    let config = site.read("authpolicy.toml");
    site.write_config(&format!("[accounts]\nquery = \"{query}\"\n{config}"));
    let rig = Rig::start(site, "cram-md5", &[]);
    let login = cram_md5(rig.port);
    let alias = |password| login(GB, "alias@example.com", password);
    assert_eq!(alias("secret"), ACCEPTED, "{}", rig.site.main_log());
    assert_eq!(alias("wrong"), REFUSED);
    assert_eq!(alias("secret"), ACCEPTED, "{}", rig.site.main_log());
    assert_eq!(alias("wrong"), REFUSED);
    assert_eq!(alias("secret"), REFUSED, "two failures are the limit");
    assert_eq!(login(GB, "u@example.com", "secret"), REFUSED, "with this name too");
    let row = rig.site.rows().pop().unwrap();
    assert_eq!((row.username.as_str(), row.auth_ok), ("u@example.com", None));
}

/// Another program may have had an outage, so its refusals must not lock an account out.
#[test]
fn refusals_by_another_program_do_not_count() {
    let rig = crypteq(Base::Sqlite);
    add_limit(&rig.site);
    let login = plain(rig.port);
    for case in [&RIGHT, &WRONG, &WRONG, &WRONG, &RIGHT] {
        check_case(&rig.site, &login, case);
    }
    // But a limit that has been reached refuses passwords that the program finds right.
    rig.site.sql(
        "INSERT INTO authpolicy_count VALUES ('guessing', 'u@example.com', '', 'a', '', 99999999999999), \
         ('guessing', 'u@example.com', '', 'b', '', 99999999999999)",
    );
    check_case(&rig.site, &login, &RIGHT);
    rig.site.sql("UPDATE authpolicy_count SET expires = (strftime('%s', 'now') + 60) * 1000");
    #[rustfmt::skip]
    check_case(&rig.site, &login, &Case { name: "beyond", reply: REFUSED, row: (YES, YES),
        line: "status=403 reason=policy rule=guessing auth_ok=1 policy_reject=1 country=GB", ..RIGHT });
}

/// A client that uses NTLM.
fn ntlm(port: u16) -> impl Fn(&str, &str, &str) -> String {
    move |remote, authcid, password| {
        let output = Command::new("swaks")
            .args(["--server", "127.0.0.1", "--port", &proxy(port, remote).to_string()])
            .args(["--tls-on-connect", "--auth", "NTLM", "--auth-user", authcid])
            .args(["--auth-password", password, "--quit-after", "AUTH", "--timeout", "60"])
            .output()
            .expect("swaks");
        let transcript = String::from_utf8_lossy(&output.stdout).into_owned();
        let replies = transcript.lines().filter_map(|line| line.get(4..));
        let mut last = replies.filter(|line| line.contains("uthentic") && !line.starts_with("250"));
        last.next_back().unwrap_or(&transcript).to_owned()
    }
}

#[test]
fn spa_works_with_the_accounts_of_the_plugin() {
    let site = driver::site(Base::Sqlite, "spa");
    add_accounts(&site);
    let rig = Rig::start(site, "spa", &[]);
    let login = ntlm(rig.port);
    check_all_cases(&rig.site, &login, false);
    check_case(&rig.site, &login, &ONLY_A_HASH);
    check_without_database(&rig, &login, CANNOT_TELL);
}

/// `finish` does not see that the password is empty, but Exim does.
#[test]
fn a_password_sent_as_the_name_does_not_reach_finish() {
    let rig = crypteq(Base::Sqlite);
    check_case(&rig.site, &plain(rig.port), &RIGHT);
    check_case(&rig.site, &login(rig.port), &RIGHT);
    for response in ["u@example.com\0secret", "secret\0u@example.com\0", "\0secret"] {
        let mut client = Client::over_tls(rig.port, GB, &[]);
        let reply = client.command(&format!("AUTH PLAIN {}", BASE64_STANDARD.encode(response)));
        assert!(reply == REFUSED || reply == CANNOT_TELL, "{response:?}: {reply}");
    }
    let log = rig.site.main_log();
    assert!(!log.contains("secret"), "{log}");
    assert_eq!((rig.site.rows().len(), rig.site.lines().len()), (2, 2), "{log}");
    check_case(&rig.site, &plain(rig.port), &RIGHT);
}
