//! Drivers that leave the check to Dovecot, Cyrus SASL or a certificate, in a real Exim with the
//! examples. Exim calls `authorize` after it, and `finish` at the end.
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
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use common::Base;
use common::Client;
use common::Dovecot;
use common::Site;
use common::driver;
use common::driver::Case;
use common::driver::NO;
use common::driver::Rig;
use common::driver::YES;
use common::driver::check_all_cases;
use common::driver::check_case;
use common::driver::check_without_database;
use common::driver::disable;
use common::driver::login;
use common::driver::plain;
use common::example::example;
use common::example::with;
use common::exim::users::give_to_exim;
use common::site::CN;
use common::site::GB;
use common::smtp::ACCEPTED;
use common::smtp::CANNOT_TELL;
use common::smtp::REFUSED;

fn dovecot(passdb: &str) -> (Rig, Dovecot) {
    let site = driver::site(Base::Sqlite, "dovecot");
    disable(&site);
    let users = "u@example.com:secret\noff@example.com:secret\n";
    let dovecot = Dovecot::start(&site.path("dovecot"), users, passdb);
    let socket = dovecot.socket().display().to_string();
    (Rig::start(site, "dovecot", &[("DOVECOT_SOCKET", &socket)]), dovecot)
}

/// Sends malformed PLAIN, with a password in place of the name, and checks that it is not written.
fn send_malformed(rig: &Rig) {
    let rows = rig.site.rows().len();
    for response in ["u@example.com\0hunter2", "\0hunter2", "hunter2"] {
        let mut client = Client::over_tls(rig.port, GB, &[]);
        let reply = client.command(&format!("AUTH PLAIN {}", BASE64_STANDARD.encode(response)));
        assert!(!reply.starts_with('2'), "{response:?}: {reply}");
    }
    assert!(!rig.site.main_log().contains("hunter2"), "{}", rig.site.main_log());
    let rows = rig.site.rows().split_off(rows);
    assert!(rows.iter().all(|row| row.username != "hunter2"), "{rows:?}");
}

#[test]
fn dovecot_logins_follow_the_policy() {
    let (rig, _dovecot) = dovecot("");
    check_all_cases(&rig.site, &plain(rig.port), true);
    check_all_cases(&rig.site, &login(rig.port), true);
    send_malformed(&rig);
    check_without_database(&rig, &plain(rig.port), REFUSED);
}

#[test]
fn a_failure_in_dovecot_is_a_refusal_and_without_dovecot_it_is_435() {
    let (rig, dovecot) = dovecot("passdb {\n driver = checkpassword\n args = /no-such-program\n}");
    let right = || plain(rig.port)(GB, "u@example.com", "secret");
    assert_eq!(right(), ACCEPTED, "{}", rig.site.main_log());
    // Exim takes Dovecot's temporary failure for a refusal.
    #[rustfmt::skip]
    check_case(&rig.site, &plain(rig.port), &Case { name: "away", remote: GB, authcid: "away@example.com", password: "secret",
        reply: REFUSED, line: "status=403 reason=credentials rule=- auth_ok=0 policy_reject=0", row: (NO, NO) });
    assert!(dovecot.log().contains("no-such-program"), "{}", dovecot.log());
    // If Dovecot does not answer, Exim has no name for `finish`.
    drop(dovecot);
    assert_eq!(right(), CANNOT_TELL, "{}", rig.site.main_log());
    assert_eq!((rig.site.rows().len(), rig.site.lines().len()), (2, 2));
}

/// Adds a password to a sasldb.
fn saslpasswd2(database: &Path, user: &str) {
    let mut child = Command::new("saslpasswd2")
        .args(["-p", "-c", "-u", "example.com", "-f"])
        .arg(database)
        .arg(user)
        .stdin(Stdio::piped())
        .spawn()
        .expect("saslpasswd2: install sasl2-bin");
    child.stdin.take().unwrap().write_all(b"secret").unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn cyrus_sasl_logins_follow_the_policy() {
    let site = driver::site(Base::Sqlite, "cyrus-sasl");
    disable(&site);
    let database = site.path("sasldb2");
    for user in ["u", "off"] {
        saslpasswd2(&database, user);
    }
    give_to_exim(&database);
    let at = database.display().to_string();
    let settings = with(&example("cyrus-sasl/sasl/exim.conf"), &[("/etc/exim4/sasldb2", &at)]);
    fs::create_dir(site.path("sasl")).unwrap();
    site.write("sasl/exim.conf", &settings);
    let directory = site.path("sasl").display().to_string();
    let rig = Rig::start(site, "cyrus-sasl", &[("SASL_DIRECTORY", &directory)]);
    check_all_cases(&rig.site, &plain(rig.port), true);
    check_all_cases(&rig.site, &login(rig.port), true);
    send_malformed(&rig);
    check_without_database(&rig, &plain(rig.port), REFUSED);
}

/// Makes a certificate with `openssl req`: self-signed, or signed by an authority.
fn make_certificate(site: &Site, name: &str, arguments: &[&str], authority: Option<&str>) {
    let path = |name: &str| site.path(name).display().to_string();
    let (certificate, key) = (path(&format!("{name}.crt")), path(&format!("{name}.key")));
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]);
    openssl.args(["-nodes", "-days", "2", "-out", &certificate, "-keyout", &key]).args(arguments);
    if let Some(authority) = authority {
        openssl.args(["-CA", &path(&format!("{authority}.crt"))]);
        openssl.args(["-CAkey", &path(&format!("{authority}.key"))]);
        openssl.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
    }
    let made = openssl.output().expect("openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// A site with an authority and certificates: one for each account, one without a name, one with
/// two, and one of an unknown authority.
fn site_with_certificates(name: &str) -> Site {
    let site = driver::site(Base::Sqlite, name);
    disable(&site);
    for authority in ["ca", "other-ca"] {
        make_certificate(&site, authority, &["-subj", &format!("/CN={authority}")], None);
    }
    let subject = ["-subj", "/CN=u@example.com"];
    for (name, names, authority) in [
        ("u", "email:u@example.com", "ca"),
        ("off", "email:off@example.com", "ca"),
        ("two", "email:v@example.com,email:u@example.com", "ca"),
        ("host", "DNS:u@example.com", "ca"),
        ("list", "email:v:u@example.com", "ca"),
        ("forged", "email:u@example.com", "other-ca"),
    ] {
        let names = format!("subjectAltName={names}");
        make_certificate(
            &site,
            name,
            &[&subject[..], &["-addext", &names]].concat(),
            Some(authority),
        );
    }
    make_certificate(&site, "nameless", &subject, Some("ca"));
    site
}

/// A connection with this certificate, or with none.
fn connect(rig: &Rig, remote: &str, certificate: &str) -> Client {
    if certificate == "none" {
        return Client::over_tls(rig.port, remote, &[]);
    }
    let path = |kind| rig.site.path(&format!("{certificate}.{kind}")).display().to_string();
    Client::over_tls(rig.port, remote, &["-cert", &path("crt"), "-key", &path("key")])
}

fn external(rig: &Rig) -> impl Fn(&str, &str, &str) -> String {
    move |remote, authcid, certificate| {
        let authcid = BASE64_STANDARD.encode(authcid);
        connect(rig, remote, certificate).command(&format!("AUTH EXTERNAL {authcid}"))
    }
}

fn authority(site: &Site) -> String {
    site.path("ca.crt").display().to_string()
}

const WRONG: &str = "status=403 reason=credentials rule=- auth_ok=0 policy_reject=0 country=GB";

#[test]
fn external_accepts_only_names_in_the_certificate() {
    let site = site_with_certificates("external");
    let authority = authority(&site);
    let rig = Rig::start(site, "external", &[("CLIENT_AUTHORITY", &authority)]);
    #[rustfmt::skip]
    let cases = [
        Case { name: "accepted", remote: GB, authcid: "u@example.com", password: "u", reply: ACCEPTED,
            line: "status=204 reason=- rule=- auth_ok=1 policy_reject=0 country=GB", row: (YES, NO) },
        Case { name: "one of two names", remote: GB, authcid: "u@example.com", password: "two", reply: ACCEPTED,
            line: "status=204 reason=- rule=- auth_ok=1 policy_reject=0 country=GB", row: (YES, NO) },
        Case { name: "stolen certificate", remote: CN, authcid: "u@example.com", password: "u", reply: REFUSED,
            line: "status=403 reason=policy rule=policy.allow_countries auth_ok=1 policy_reject=1 country=CN", row: (YES, YES) },
        Case { name: "name of another account", remote: GB, authcid: "off@example.com", password: "u", reply: REFUSED,
            line: "status=403 reason=disabled rule=account.disabled auth_ok=0 policy_reject=1", row: (NO, YES) },
        Case { name: "unknown name", remote: GB, authcid: "nobody@example.com", password: "u", reply: REFUSED,
            line: WRONG, row: (NO, NO) },
        Case { name: "unknown name from CN", remote: CN, authcid: "nobody@example.com", password: "u", reply: REFUSED,
            line: "status=403 reason=policy rule=policy.allow_countries auth_ok=0 policy_reject=1 country=CN", row: (NO, YES) },
        Case { name: "all names at once", remote: GB, authcid: "v@example.com\nu@example.com", password: "two", reply: REFUSED,
            line: WRONG, row: (NO, NO) },
        Case { name: "no name", remote: GB, authcid: "u@example.com", password: "nameless", reply: REFUSED,
            line: WRONG, row: (NO, NO) },
        Case { name: "a name of another kind", remote: GB, authcid: "u@example.com", password: "host", reply: REFUSED,
            line: WRONG, row: (NO, NO) },
        Case { name: "a name that looks like a list", remote: GB, authcid: "u@example.com", password: "list", reply: REFUSED,
            line: WRONG, row: (NO, NO) },
        Case { name: "disabled", remote: GB, authcid: "off@example.com", password: "off", reply: REFUSED,
            line: "status=403 reason=disabled rule=account.disabled auth_ok=1 policy_reject=1", row: (YES, YES) },
    ];
    for case in &cases {
        check_case(&rig.site, &external(&rig), case);
    }
    let before = rig.site.rows().len();
    for certificate in ["none", "forged"] {
        let reply = external(&rig)(GB, "u@example.com", certificate);
        assert!(reply.starts_with("503 "), "{certificate}: {reply}");
    }
    assert_eq!(rig.site.rows().len(), before);
    rig.lose_database();
    assert_eq!(external(&rig)(GB, "u@example.com", "u"), CANNOT_TELL);
    assert_eq!(rig.site.rows().len(), before);
    assert_eq!(rig.site.panic_log(), "");
}

#[test]
fn external_needs_a_certificate_even_if_it_is_offered_to_all() {
    let site = site_with_certificates("external");
    let authority = authority(&site);
    let mut rig = Rig::start(site, "external", &[("CLIENT_AUTHORITY", &authority)]);
    let offered = "server_advertise_condition = ${if eq{$tls_in_certificate_verified}{1}}";
    rig.restart_with(&[(offered, "server_advertise_condition = yes")]);
    assert_eq!(external(&rig)(GB, "u@example.com", "u"), ACCEPTED, "{}", rig.site.main_log());
    for certificate in ["none", "forged", "nameless"] {
        #[rustfmt::skip]
        check_case(&rig.site, &external(&rig), &Case { name: certificate, remote: GB, authcid: "u@example.com", password: certificate,
            reply: REFUSED, line: WRONG, row: (NO, NO) });
    }
}

const MAY_SEND: &str = "250 Accepted";
const MAY_NOT_SEND: &str = "550 relay not permitted";

/// Sends to another domain, which needs a login by certificate; returns the reply.
fn relay(rig: &Rig) -> impl Fn(&str, &str, &str) -> String {
    move |remote, _, certificate| {
        let mut client = connect(rig, remote, certificate);
        let reply = client.command("MAIL FROM:<u@example.com>");
        assert!(reply.starts_with("250"), "{reply}");
        client.command("RCPT TO:<u@elsewhere.example>")
    }
}

#[test]
fn a_certificate_alone_logs_in() {
    let site = site_with_certificates("tls");
    let authority = authority(&site);
    let rig = Rig::start(site, "tls", &[("CLIENT_AUTHORITY", &authority)]);
    #[rustfmt::skip]
    let cases = [
        Case { name: "accepted", remote: GB, authcid: "u@example.com", password: "u", reply: MAY_SEND,
            line: "status=204 reason=- rule=- auth_ok=1 policy_reject=0 country=GB", row: (YES, NO) },
        Case { name: "stolen certificate", remote: CN, authcid: "u@example.com", password: "u", reply: MAY_NOT_SEND,
            line: "status=403 reason=policy rule=policy.allow_countries auth_ok=1 policy_reject=1 country=CN", row: (YES, YES) },
        Case { name: "disabled", remote: GB, authcid: "off@example.com", password: "off", reply: MAY_NOT_SEND,
            line: "status=403 reason=disabled rule=account.disabled auth_ok=1 policy_reject=1", row: (YES, YES) },
        Case { name: "one of two names", remote: GB, authcid: "v@example.com\nu@example.com", password: "two", reply: MAY_NOT_SEND,
            line: WRONG, row: (NO, NO) },
    ];
    for case in &cases {
        check_case(&rig.site, &relay(&rig), case);
    }
    let before = rig.site.rows().len();
    for name in ["none", "nameless", "host", "forged"] {
        assert_eq!(relay(&rig)(GB, "", name), MAY_NOT_SEND, "{name}");
        assert_eq!(rig.site.rows().len(), before, "{name}: not an attempt");
    }
    rig.lose_database();
    assert_eq!(relay(&rig)(GB, "", "u"), MAY_NOT_SEND);
    assert_eq!(rig.site.rows().len(), before);
    assert_eq!(rig.site.panic_log(), "");
}
