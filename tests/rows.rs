//! The rows of hostile input, in different tables.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "test code"
)]

mod common;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use common::Base;
use common::Client;
use common::Site;
use common::site::CN;
use common::site::GB;
use common::smtp::ACCEPTED;
use common::smtp::REFUSED;

const POLICY: &str = "[policy]\nallow_countries = [\"GB\"]\nfailure_time = \"0s\"\n";

/// Hostile names: a label, the name that the client sends, the name in the row, and its `auth_ok`.
fn hostile_names() -> Vec<(&'static str, Vec<u8>, String, Option<bool>)> {
    let text = |text: &str| (text.as_bytes().to_vec(), text.to_owned());
    let checked = Some(false);
    let rows = [
        ("quotes", text("it's \"quoted\"; `x` \\ %s %n @example.com"), checked),
        ("an injection", text("' or '1'='1' -- "), checked),
        ("another", text("u@example.com'; drop table connection_log; --"), checked),
        ("an expansion", text("${run{/bin/true}}$acl_m0"), checked),
        ("emoji", text("😀😀@example.com"), checked),
        ("letters of Latin-1", text("jörg.müller@example.com"), checked),
        ("a log line", text("u status=204 auth_ok=1 remote=192.0.2.1"), checked),
    ];
    let mut rows: Vec<_> = rows
        .into_iter()
        .map(|(name, (sent, shown), auth_ok)| (name, sent, shown, auth_ok))
        .collect();
    rows.extend([
        ("10 kB", vec![b'a'; 10_000], "a".repeat(80), None),
        ("100 emoji", "😀".repeat(100).into_bytes(), "😀".repeat(80), None),
        ("81 characters", vec![b'b'; 81], "b".repeat(80), checked),
        (
            "control characters",
            b"a\x01b\tc\rd\ne\x7ff\x1b[31m".to_vec(),
            String::from("a?b?c?d?e?f?[31m"),
            checked,
        ),
        (
            "bytes of Latin-1",
            b"caf\xe9@example.com".to_vec(),
            String::from("caf?@example.com"),
            None,
        ),
        ("half a character", b"a\xf0\x9f\x98".to_vec(), String::from("a?"), None),
    ]);
    rows
}

/// Sends all hostile names, and checks the rows. `shown` returns what this table stores of a name.
fn send_hostile_names(site: &Site, shown: impl Fn(&str) -> String) {
    site.account("u@example.com", "secret");
    let exim = site.exim();
    let attempt = |authcid: &[u8], password: &[u8]| {
        Client::connect_from(exim.port, GB).plain(authcid, password)
    };
    assert!(attempt(b"u@example.com", b"secret").starts_with("235"), "{}", site.main_log());
    for (name, sent, username, auth_ok) in hostile_names() {
        let before = site.rows().len();
        assert_eq!(attempt(&sent, b"secret"), "535 Incorrect authentication data", "{name}");
        let rows = site.rows();
        assert_eq!(rows.len(), before + 1, "{name}: one row");
        let row = rows.last().unwrap();
        assert_eq!(row.username, shown(&username), "{name}");
        assert_eq!((row.auth_ok, row.policy_reject), (auth_ok, Some(false)), "{name}");
        assert_eq!((&*row.remote_ip, &*row.country), (GB, "GB"), "{name}");
    }
    let lines = site.lines();
    assert_eq!(lines.len(), site.rows().len(), "one line per attempt");
    for line in lines {
        assert!(line.starts_with("attempt status="), "{line}");
        assert!(!line.contains(|c: char| c.is_control()), "{line}");
        let fields = line.split(" user=").next().unwrap();
        assert!(fields.contains(&format!(" remote={GB}")) && !fields.contains("192.0.2.1 "));
    }
    assert_eq!(site.panic_log(), "");
}

#[test]
fn hostile_names_are_stored_in_the_embedded_table() {
    send_hostile_names(&Site::new(Base::Sqlite, POLICY), str::to_owned);
}

#[test]
fn hostile_names_are_stored_in_the_production_table() {
    send_hostile_names(&Site::new(Base::mariadb(), POLICY), str::to_owned);
}

#[test]
fn hostile_names_are_stored_in_a_latin1_table_on_a_strict_server() {
    let site = Site::new(Base::mariadb(), POLICY);
    site.sql("ALTER TABLE connection_log CONVERT TO CHARACTER SET latin1");
    send_hostile_names(&site, |text| text.replace('😀', "?"));
}

#[test]
fn hostile_names_are_stored_in_a_utf8mb3_table_on_a_strict_server() {
    let site = Site::new(Base::mariadb(), POLICY);
    site.sql("ALTER TABLE connection_log CONVERT TO CHARACTER SET utf8mb3");
    send_hostile_names(&site, |text| text.replace('😀', "?"));
}

#[test]
fn hostile_names_are_cut_to_a_narrow_column_on_a_strict_server() {
    let site = Site::new(Base::mariadb(), POLICY);
    site.sql("ALTER TABLE connection_log MODIFY username varchar(20) NOT NULL");
    send_hostile_names(&site, |text| text.chars().take(20).collect());
}

#[test]
fn the_administrators_own_insert_statement_stores_the_rows() {
    for base in Base::all() {
        let insert = "[log]\nprotocol = \"SUBMISSION-TLS\"\ninsert = \"INSERT INTO attempts (username, reason, \
                      rule, mechanism, tls, protocol) VALUES (:username, :reason, :rule, :mechanism, \
                      :tls, :protocol)\"\n";
        let site = Site::new(base, &format!("{POLICY}{insert}"));
        site.sql(
            "CREATE TABLE attempts (username varchar(80), reason varchar(20), rule varchar(40), \
             mechanism varchar(20), tls varchar(80), protocol varchar(20))",
        );
        site.account("u@example.com", "secret");
        let exim = site.exim();
        let attempt =
            |password: &[u8]| Client::connect_from(exim.port, GB).plain(b"u@example.com", password);
        assert!(attempt(b"secret").starts_with("235"), "{}", site.main_log());
        assert!(attempt(b"wrong").starts_with("535"));
        assert_eq!(site.rows(), [], "the rows go where the statement says");
        // Copies them to the log table, which the test can read.
        site.sql(
            "INSERT INTO connection_log (protocol, username, remote_ip, country) \
             SELECT mechanism, username, reason, '' FROM attempts WHERE protocol = 'SUBMISSION-TLS'",
        );
        let rows = site.rows();
        let facts: Vec<_> = rows.iter().map(|row| (&*row.protocol, &*row.remote_ip)).collect();
        assert_eq!(facts, [("PLAIN", ""), ("PLAIN", "credentials")]);
    }
}

/// Checks that the password is in no log, row or file of the state directory.
fn assert_unwritten(site: &Site, password: &str) {
    let log = site.main_log();
    assert!(!log.contains(password), "{log}");
    for row in site.rows() {
        assert!(!format!("{row:?}").contains(password), "{row:?}");
    }
    let found = std::process::Command::new("grep")
        .args(["-rlF", password])
        .arg(site.path("state"))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "", "{password}");
    assert_eq!(site.panic_log(), "");
}

const LIMIT: &str = "known_good = \"0s\"
[[policy.limit]]
name = \"guessing\"
per = \"account\"
count = \"failures\"
max = 1
within = \"10m\"
";

#[test]
fn a_password_sent_as_the_name_is_never_written() {
    for base in Base::all() {
        let site = Site::new(base, &format!("{POLICY}{LIMIT}"));
        site.account("p@example.com", "hunter2");
        let config = site.read("exim.conf");
        // LOGIN with the variables of PLAIN, and with `authzid`.
        let login = "{$auth1}{$auth2}{$sender_host_address}{mechanism=LOGIN}";
        let wrong = "{$auth2}{$auth3}{$sender_host_address}{mechanism=LOGIN}{authzid=$auth1}";
        assert!(config.contains(login));
        site.write("exim.conf", &config.replace(login, wrong));
        let exim = site.exim();
        let plain = |client: &mut Client, response: &[u8]| {
            client.command(&format!("AUTH PLAIN {}", BASE64_STANDARD.encode(response)))
        };
        let right = &b"\0p@example.com\0hunter2"[..];
        assert_eq!(plain(&mut Client::connect_from(exim.port, GB), right), ACCEPTED);
        let mut rows = site.rows().len();
        for (remote, policy_reject) in [(GB, false), (CN, true)] {
            for response in [
                &b"p@example.com\0hunter2"[..],
                b"p@example.com\0hunter2\0\n",
                b"p@example.com\0hunter2\n",
                b"\0hunter2",
                b"hunter2",
                b"hunter2\0p@example.com\0",
                b"hunter2\0p@example.com",
                b"hunter2\0hunter2\0",
                b"LOGIN",
            ] {
                let mut client = Client::connect_from(exim.port, remote);
                let reply = match response {
                    b"LOGIN" => client.login(b"p@example.com", b"hunter2"),
                    response => plain(&mut client, response),
                };
                assert_eq!(reply, REFUSED, "{response:?}");
                let facts = client.command("MAIL FROM:<>").replace("\n550 ", " ");
                assert!(facts.contains("status=400 reason=client "), "{facts}");
                assert!(facts.contains(" username= "), "{facts}");
                let line = site.lines().pop().unwrap();
                assert!(line.starts_with("attempt status=400 reason=client "), "{line}");
                assert!(line.contains(" error=\"empty password"), "{line}");
                assert!(line.contains("the table about LOGIN and PLAIN in docs/exim.md"), "{line}");
                assert!(line.ends_with(" user=\"\""), "{line}");
                rows += 1;
                assert_eq!(site.rows().len(), rows, "{response:?}");
                let row = site.rows().pop().unwrap();
                assert_eq!((&*row.username, &*row.remote_ip), ("", remote));
                assert_eq!((row.auth_ok, row.policy_reject), (None, Some(policy_reject)));
            }
        }
        assert_unwritten(&site, "hunter2");
        // Nothing is counted for an empty name, so that nobody is locked out.
        assert_eq!(site.count("SELECT COUNT(*) FROM authpolicy_count WHERE attempt <> ''"), 0);
        assert_eq!(site.count("SELECT COUNT(*) FROM authpolicy_count WHERE account = ''"), 0);
        assert_eq!(plain(&mut Client::connect_from(exim.port, GB), right), ACCEPTED);
        // If only the password is too long, the name is stored.
        let long = [right, &[b'x'; 2000]].concat();
        assert_eq!(plain(&mut Client::connect_from(exim.port, GB), &long), REFUSED);
        assert_eq!(site.rows().pop().unwrap().username, "p@example.com");
    }
}

#[test]
fn a_password_sent_as_the_name_is_never_written_during_an_outage() {
    let site = Site::new(Base::Sqlite, POLICY);
    site.account("p@example.com", "hunter2");
    let exim = site.exim();
    let attempt = |remote: &str| {
        let response = BASE64_STANDARD.encode("p@example.com\0hunter2");
        Client::connect_from(exim.port, remote).command(&format!("AUTH PLAIN {response}"))
    };
    assert_eq!(Client::connect_from(exim.port, GB).plain(b"p@example.com", b"hunter2"), ACCEPTED);
    // The row waits in the journal.
    site.sql("ALTER TABLE connection_log RENAME TO elsewhere");
    assert_eq!(attempt(GB), REFUSED);
    let line = site.lines().pop().unwrap();
    assert!(line.contains("error=\"empty password") && line.ends_with(" user=\"\""), "{line}");
    assert!(site.main_log().contains("the row waits in the journal"), "{}", site.main_log());
    site.sql("ALTER TABLE elsewhere RENAME TO connection_log");
    site.tool(&["flush"], "");
    assert_eq!(site.rows().pop().unwrap().username, "");
    let good = site.read("authpolicy.toml");
    for bad in ["nonsense".to_owned(), good.replace("country.mmdb", "none.mmdb")] {
        site.write_config(&bad);
        let _ = attempt(GB);
        let line = site.lines().pop().unwrap();
        assert!(line.contains("error=\"empty password") && line.ends_with("user=\"\""), "{line}");
    }
    site.write_config(&good);
    let output = site.run_tool(&["test", "hunter2", GB], "");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("empty password") && !text.contains("hunter2"), "{text}");
    assert_unwritten(&site, "hunter2");
}

/// As in a PLAIN authenticator with the variables of LOGIN: the empty authzid is taken for the name.
#[test]
fn the_line_of_an_empty_name_points_to_the_table_about_login_and_plain() {
    let site = Site::new(Base::Sqlite, POLICY);
    site.account("p@example.com", "hunter2");
    let exim = site.exim();
    let mut client = Client::connect_from(exim.port, GB);
    assert_eq!(client.plain(b"p@example.com", b"hunter2"), ACCEPTED);
    let mut client = Client::connect_from(exim.port, GB);
    assert_eq!(client.plain(b"", b"hunter2"), REFUSED);
    let line = site.lines().pop().unwrap();
    assert!(line.starts_with("attempt status=400 reason=client "), "{line}");
    assert!(line.contains(" error=\"empty name: "), "{line}");
    assert!(line.contains("the table about LOGIN and PLAIN in docs/exim.md"), "{line}");
    let row = site.rows().pop().unwrap();
    assert_eq!((&*row.username, row.auth_ok, row.policy_reject), ("", None, Some(false)));
    assert_unwritten(&site, "hunter2");
}
