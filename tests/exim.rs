//! Every kind of attempt, in a real Exim on both databases: its SMTP reply, its log line and its
//! row.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    reason = "test code"
)]

mod common;

use std::time::Duration;
use std::time::Instant;

use common::Base;
use common::Client;
use common::Site;
use common::site::CN;
use common::site::GB;
use common::smtp::ACCEPTED;
use common::smtp::CANNOT_TELL;
use common::smtp::REFUSED;

const GB_ONLY: &str = "[policy]\nallow_countries = [\"GB\"]\nfailure_time = \"0s\"\n";

/// An attempt, and the reply, log line and row that it must get.
struct Case<'a> {
    name: &'a str,
    remote: &'a str,
    authcid: &'a str,
    password: &'a str,
    reply: &'a str,
    /// The beginning of the log line, after `attempt`.
    line: &'a str,
    row: (Option<bool>, Option<bool>),
}

const YES: Option<bool> = Some(true);
const NO: Option<bool> = Some(false);

fn add_accounts(site: &Site) {
    site.account("u@example.com", "secret");
    site.account("off@example.com", "secret");
    site.account("es@example.com", "secret");
    site.account("net@example.com", "secret");
    site.account("odd@example.com", "secret");
    site.account("rule@example.com", "secret");
    site.tool(&["user", "disable", "off@example.com"], "");
    for sql in [
        "UPDATE account SET allow_countries = 'ES, cn' WHERE username = 'es@example.com'",
        "UPDATE account SET allow_nets = '198.51.100.0/24' WHERE username = 'net@example.com'",
        "UPDATE account SET password = '{NO-SUCH}hidden' WHERE username = 'odd@example.com'",
        "UPDATE account SET allow_countries = 'Spain' WHERE username = 'rule@example.com'",
    ] {
        site.sql(sql);
    }
}

/// Makes the attempt with each mechanism, and compares reply, line and row with the case.
fn check_case(site: &Site, port: u16, case: &Case<'_>) {
    for mechanism in ["PLAIN", "LOGIN"] {
        let before = (site.rows().len(), site.lines().len());
        let mut client = Client::connect_from(port, case.remote);
        let (authcid, password) = (case.authcid.as_bytes(), case.password.as_bytes());
        let reply = match mechanism {
            "PLAIN" => client.plain(authcid, password),
            _ => client.login(authcid, password),
        };
        let name = format!("{} ({mechanism})", case.name);
        assert_eq!(reply, case.reply, "{name}: {}", site.main_log());
        let (rows, lines) = (site.rows(), site.lines());
        assert_eq!(lines.len(), before.1 + 1, "{name}: one line: {lines:?}");
        let line = lines.last().unwrap();
        assert!(line.starts_with(&format!("attempt {}", case.line)), "{name}: {line}");
        assert_eq!(rows.len(), before.0 + 1, "{name}: one row");
        let row = rows.last().unwrap();
        assert_eq!((row.auth_ok, row.policy_reject), case.row, "{name}");
        // Without a password, the name is not stored, because it may be a password.
        let username = if password.is_empty() { "" } else { case.authcid };
        assert_eq!(row.username, username.to_lowercase(), "{name}");
        assert_eq!((&*row.remote_ip, &*row.protocol), (case.remote, "SMTP"), "{name}");
    }
}

#[test]
fn each_kind_of_attempt_gets_its_reply_line_and_row() {
    #[rustfmt::skip]
    let cases = [
        Case { name: "accepted", remote: GB, authcid: "u@example.com", password: "secret", reply: ACCEPTED,
            line: "status=204 reason=- rule=- auth_ok=1 policy_reject=0 country=GB", row: (YES, NO) },
        Case { name: "accepted over IPv6", remote: "2001:db8:1::7", authcid: "u@example.com", password: "secret", reply: ACCEPTED,
            line: "status=204 reason=- rule=- auth_ok=1 policy_reject=0 country=GB", row: (YES, NO) },
        Case { name: "any case of the name", remote: GB, authcid: "U@Example.COM", password: "secret", reply: ACCEPTED,
            line: "status=204", row: (YES, NO) },
        Case { name: "unknown country", remote: "203.0.113.7", authcid: "u@example.com", password: "secret", reply: ACCEPTED,
            line: "status=204 reason=- rule=- auth_ok=1 policy_reject=0 country=- ", row: (YES, NO) },
        Case { name: "own rule admits", remote: CN, authcid: "es@example.com", password: "secret", reply: ACCEPTED,
            line: "status=204", row: (YES, NO) },
        Case { name: "own network admits", remote: CN, authcid: "net@example.com", password: "secret", reply: ACCEPTED,
            line: "status=204", row: (YES, NO) },
        Case { name: "wrong password", remote: GB, authcid: "u@example.com", password: "wrong", reply: REFUSED,
            line: "status=403 reason=credentials rule=- auth_ok=0 policy_reject=0", row: (NO, NO) },
        Case { name: "wrong password from CN", remote: CN, authcid: "u@example.com", password: "wrong", reply: REFUSED,
            line: "status=403 reason=policy rule=policy.allow_countries auth_ok=0 policy_reject=1", row: (NO, YES) },
        Case { name: "no account", remote: GB, authcid: "nobody@example.com", password: "secret", reply: REFUSED,
            line: "status=403 reason=account rule=- auth_ok=0 policy_reject=0", row: (NO, NO) },
        Case { name: "no account from CN", remote: CN, authcid: "nobody@example.com", password: "secret", reply: REFUSED,
            line: "status=403 reason=policy rule=policy.allow_countries auth_ok=0 policy_reject=1", row: (NO, YES) },
        Case { name: "leaked password", remote: CN, authcid: "u@example.com", password: "secret", reply: REFUSED,
            line: "status=403 reason=policy rule=policy.allow_countries auth_ok=1 policy_reject=1 country=CN", row: (YES, YES) },
        Case { name: "own rule refuses", remote: GB, authcid: "es@example.com", password: "secret", reply: REFUSED,
            line: "status=403 reason=policy rule=account.allow_countries auth_ok=1 policy_reject=1", row: (YES, YES) },
        Case { name: "own network refuses", remote: GB, authcid: "net@example.com", password: "secret", reply: REFUSED,
            line: "status=403 reason=policy rule=account.allow_nets auth_ok=1 policy_reject=1", row: (YES, YES) },
        Case { name: "disabled", remote: GB, authcid: "off@example.com", password: "secret", reply: REFUSED,
            line: "status=403 reason=disabled rule=account.disabled auth_ok=1 policy_reject=1", row: (YES, YES) },
        Case { name: "empty password", remote: GB, authcid: "u@example.com", password: "", reply: REFUSED,
            line: "status=400 reason=client rule=- auth_ok=- policy_reject=0", row: (None, NO) },
        Case { name: "empty password from CN", remote: CN, authcid: "u@example.com", password: "", reply: REFUSED,
            line: "status=400 reason=client rule=policy.allow_countries auth_ok=- policy_reject=1", row: (None, YES) },
        Case { name: "unknown scheme", remote: GB, authcid: "odd@example.com", password: "secret", reply: CANNOT_TELL,
            line: "status=503 reason=internal rule=- auth_ok=- policy_reject=0", row: (None, NO) },
        Case { name: "unreadable rule", remote: GB, authcid: "rule@example.com", password: "secret", reply: CANNOT_TELL,
            line: "status=503 reason=internal rule=- auth_ok=- policy_reject=-", row: (None, None) },
    ];
    for base in Base::all() {
        let site = Site::new(base, GB_ONLY);
        add_accounts(&site);
        let exim = site.exim();
        for case in &cases {
            check_case(&site, exim.port, case);
        }
        assert!(
            site.main_log()
                .contains("odd@example.com: has a stored password of the unknown scheme {")
        );
        assert!(!site.main_log().contains("hidden"), "no stored password in the log");
        assert_eq!(site.panic_log(), "");
    }
}

#[test]
fn log_only_does_not_refuse_and_skip_does_not_check_the_password() {
    for base in Base::all() {
        let log_only = format!("{GB_ONLY}log_only = true\n");
        let skip = format!("{GB_ONLY}when_rejected = \"skip\"\n");
        #[rustfmt::skip]
        let rows = [
            (&log_only, Case { name: "log_only", remote: CN, authcid: "u@example.com", password: "secret", reply: ACCEPTED,
                line: "status=204 reason=would-reject rule=policy.allow_countries auth_ok=1 policy_reject=0", row: (YES, NO) }),
            (&log_only, Case { name: "log_only, wrong", remote: CN, authcid: "u@example.com", password: "wrong", reply: REFUSED,
                line: "status=403 reason=credentials", row: (NO, NO) }),
            (&log_only, Case { name: "log_only, disabled", remote: GB, authcid: "off@example.com", password: "secret", reply: REFUSED,
                line: "status=403 reason=disabled", row: (YES, YES) }),
            (&skip, Case { name: "skip, not refused", remote: GB, authcid: "u@example.com", password: "secret", reply: ACCEPTED,
                line: "status=204", row: (YES, NO) }),
            (&skip, Case { name: "skip", remote: CN, authcid: "u@example.com", password: "secret", reply: REFUSED,
                line: "status=403 reason=policy rule=policy.allow_countries auth_ok=- policy_reject=1", row: (None, YES) }),
        ];
        let site = Site::new(base, GB_ONLY);
        add_accounts(&site);
        let exim = site.exim();
        let before = site.read("authpolicy.toml");
        for (policy, case) in rows {
            site.write_config(&before.replace(GB_ONLY, policy));
            check_case(&site, exim.port, &case);
        }
    }
}

#[test]
fn several_attempts_in_one_connection_are_several_rows() {
    for base in Base::all() {
        let site = Site::new(base, GB_ONLY);
        add_accounts(&site);
        let exim = site.exim();
        let mut client = Client::connect_from(exim.port, GB);
        assert_eq!(client.plain(b"u@example.com", b"wrong"), REFUSED);
        assert_eq!(client.login(b"u@example.com", b"wrong too"), REFUSED);
        assert_eq!(client.plain(b"nobody@example.com", b"secret"), REFUSED);
        assert_eq!(client.login(b"odd@example.com", b"secret"), CANNOT_TELL);
        assert_eq!(client.plain(b"u@example.com", b"secret"), ACCEPTED);
        let flags: Vec<_> =
            site.rows().iter().map(|row| (row.auth_ok, row.policy_reject)).collect();
        assert_eq!(flags, [(NO, NO), (NO, NO), (NO, NO), (None, NO), (YES, NO)]);
    }
}

#[test]
fn last_returns_the_latest_result_and_country_the_clients_country() {
    let site = Site::new(Base::Sqlite, GB_ONLY);
    add_accounts(&site);
    let exim = site.exim();
    let mut client = Client::connect_from(exim.port, CN);
    let before = client.command("MAIL FROM:<>");
    let empty = "550 status= reason= rule= country= username= auth_ok= policy_reject= here=CN";
    assert_eq!(before, empty);
    assert_eq!(client.plain(b"U@example.com", b"secret"), REFUSED);
    assert_eq!(
        client.command("MAIL FROM:<>"),
        "550-status=403 reason=policy rule=policy.allow_countries country=CN\n\
         550 username=u@example.com auth_ok=1 policy_reject=1 here=CN"
    );
    assert_eq!(client.plain(b"es@example.com", b"secret"), ACCEPTED);
    assert_eq!(
        client.command("MAIL FROM:<>"),
        "550-status=204 reason= rule= country=CN username=es@example.com auth_ok=1\n\
         550 policy_reject=0 here=CN"
    );
    assert!(site.main_log().contains("(set_id=u@example.com)"), "{}", site.main_log());
}

#[test]
fn a_local_dialogue_has_no_country() {
    let site = Site::new(Base::Sqlite, GB_ONLY);
    add_accounts(&site);
    let mut client = site.pipes(&["-bs"]);
    assert_eq!(client.plain(b"u@example.com", b"wrong"), REFUSED);
    assert_eq!(client.plain(b"u@example.com", b"secret"), ACCEPTED);
    drop(client);
    let rows = site.rows();
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert_eq!((&*rows[1].remote_ip, &*rows[1].country), ("", ""));
    assert_eq!((rows[1].auth_ok, rows[1].policy_reject), (YES, NO));
}

#[test]
fn an_attempt_under_exim_bh_leaves_no_row() {
    let site = Site::new(Base::Sqlite, GB_ONLY);
    add_accounts(&site);
    let mut client = site.pipes(&["-bh", GB]);
    assert_eq!(client.plain(b"u@example.com", b"wrong"), REFUSED);
    assert_eq!(client.plain(b"u@example.com", b"secret"), ACCEPTED);
    drop(client);
    let mut client = site.pipes(&["-bh", CN]);
    assert_eq!(client.plain(b"u@example.com", b"secret"), REFUSED);
    drop(client);
    assert!(site.read("stderr").contains("authpolicy: attempt status=403 reason=policy"));
    assert_eq!(site.rows(), []);
}

#[test]
fn an_authorization_identity_must_be_the_authcid() {
    let site = Site::new(Base::Sqlite, GB_ONLY);
    add_accounts(&site);
    let exim = site.exim();
    let mut client = Client::connect_from(exim.port, GB);
    assert_eq!(client.plain_as(b"boss@example.com", b"u@example.com", b"secret"), REFUSED);
    assert_eq!(client.plain_as(b"u@example.com", b"u@example.com", b"secret"), ACCEPTED);
    let flags: Vec<_> = site.rows().iter().map(|row| (row.auth_ok, row.policy_reject)).collect();
    assert_eq!(flags, [(None, NO), (YES, NO)]);
    assert!(site.lines()[0].starts_with("attempt status=400 reason=client"));
}

#[test]
fn no_535_comes_before_failure_time() {
    let policy = GB_ONLY.replace("0s", "300ms");
    for base in Base::all() {
        let site = Site::new(base, &policy);
        add_accounts(&site);
        let exim = site.exim();
        let mut client = Client::connect_from(exim.port, GB);
        for (authcid, password) in [
            ("u@example.com", "wrong"),
            ("nobody@example.com", "secret"),
            ("off@example.com", "secret"),
            ("u@example.com", ""),
        ] {
            let start = Instant::now();
            assert_eq!(client.plain(authcid.as_bytes(), password.as_bytes()), REFUSED);
            assert!(start.elapsed() >= Duration::from_millis(300), "{authcid} {password:?}");
        }
        assert_eq!(client.plain(b"u@example.com", b"secret"), ACCEPTED);
    }
}

#[test]
fn an_unavailable_database_causes_435_and_a_log_line() {
    for base in Base::all() {
        let site = Site::new(base, GB_ONLY);
        add_accounts(&site);
        let exim = site.exim();
        let good = site.read("authpolicy.toml");
        let unavailable = match &site.base {
            Base::Sqlite => good.replace("authpolicy.db", "no-such.db"),
            Base::MariaDb(..) => good.replace("/sock\"", "/no-such-sock\""),
        };
        assert_ne!(good, unavailable);
        assert_eq!(
            Client::connect_from(exim.port, GB).plain(b"u@example.com", b"secret"),
            ACCEPTED
        );
        site.write_config(&unavailable);
        for password in [&b"secret"[..], b"wrong"] {
            let reply = Client::connect_from(exim.port, GB).plain(b"u@example.com", password);
            assert_eq!(reply, CANNOT_TELL);
        }
        let lines = site.lines();
        assert!(lines[2].starts_with("attempt status=503 reason=internal rule=- auth_ok=- "));
        assert!(lines[2].contains("no-such"), "{}", lines[2]);
        assert!(!site.main_log().contains("s3cr"), "no database password in the log");
        assert_eq!(site.rows().len(), 1);
        assert_eq!(site.panic_log(), "");
    }
}

#[test]
fn an_unreadable_geoip_file_causes_435_if_a_country_rule_is_set() {
    let site = Site::new(Base::Sqlite, GB_ONLY);
    add_accounts(&site);
    let exim = site.exim();
    let attempt =
        |remote| Client::connect_from(exim.port, remote).plain(b"u@example.com", b"secret");
    assert_eq!(attempt(GB), ACCEPTED);
    std::fs::rename(site.path("country.mmdb"), site.path("away.mmdb")).unwrap();
    assert_eq!(attempt(GB), CANNOT_TELL);
    site.write("country.mmdb", "<html>404</html>");
    assert_eq!(attempt(GB), CANNOT_TELL);
    let without_rule = site.read("authpolicy.toml").replace("allow_countries = [", "# [");
    site.write_config(&without_rule);
    assert_eq!(attempt(GB), ACCEPTED);
    let flags: Vec<_> = site.rows().iter().map(|row| (row.auth_ok, row.policy_reject)).collect();
    assert_eq!(flags, [(YES, NO), (None, None), (None, None), (YES, NO)]);
    let lines = site.lines();
    assert!(lines[1].contains("country.mmdb: cannot be read by uid"), "{}", lines[1]);
    assert!(lines[2].contains("country.mmdb: is not a readable MMDB file"), "{}", lines[2]);
    assert!(lines[3].contains("country.mmdb: is not a readable MMDB file"), "{}", lines[3]);
}

#[test]
fn a_broken_configuration_causes_435_and_a_line_that_names_the_error() {
    let site = Site::new(Base::Sqlite, GB_ONLY);
    add_accounts(&site);
    let exim = site.exim();
    let attempt = || Client::connect_from(exim.port, GB).plain(b"u@example.com", b"secret");
    assert_eq!(attempt(), ACCEPTED);
    let good = site.read("authpolicy.toml");
    site.write_config(&good.replace("allow_countries", "allow_contries"));
    assert_eq!(attempt(), CANNOT_TELL);
    site.write_config("");
    assert_eq!(attempt(), CANNOT_TELL);
    std::fs::remove_file(site.path("authpolicy.toml")).unwrap();
    assert_eq!(attempt(), CANNOT_TELL);
    site.write_config(&good);
    assert_eq!(attempt(), ACCEPTED);
    let lines = site.lines();
    assert!(lines[1].starts_with("attempt status=503 reason=internal"), "{}", lines[1]);
    assert!(lines[1].contains("authpolicy.toml: line ") && lines[1].contains("allow_contries"));
    assert!(lines[2].contains("missing field `database`"), "{}", lines[2]);
    assert!(lines[3].contains("authpolicy.toml: cannot be read"), "{}", lines[3]);
    assert_eq!(site.panic_log(), "");
}
