//! Each example in a real Exim, with only paths and ports changed. A real client logs in over
//! STARTTLS and over implicit TLS, and AUTH is not offered without TLS.
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

use common::Base;
use common::Client;
use common::Exim;
use common::Site;
use common::example::EMBEDDED;
use common::example::certificate;
use common::example::complete;
use common::example::example;
use common::example::with;
use common::exim::free_port;

/// Logs in with swaks; returns the transcript.
fn swaks(port: u16, tls: &str, mechanism: &str, password: &str) -> String {
    let output = Command::new("swaks")
        .args(["--server", "127.0.0.1", "--port", &port.to_string(), tls, "--timeout", "60"])
        .args(["--auth", mechanism, "--auth-user", "u@example.com", "--auth-password", password])
        .args(["--auth-hide-password", "--quit-after", "AUTH"])
        .output()
        .expect("swaks");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Logs in over TLS with both mechanisms, and checks that AUTH is not offered without TLS.
fn check_logins(site: &Site, ports: &[(u16, &str)]) {
    let mut attempts = 0;
    for (port, tls) in ports {
        for mechanism in ["PLAIN", "LOGIN"] {
            let right = swaks(*port, tls, mechanism, "secret");
            assert!(right.contains("235 Authentication succeeded"), "{right}{}", site.main_log());
            let wrong = swaks(*port, tls, mechanism, "wrong");
            assert!(wrong.contains("535 Incorrect authentication data"), "{wrong}");
            attempts += 2;
        }
    }
    let rows = site.rows();
    let flags: Vec<_> = rows.iter().map(|row| (row.auth_ok, row.policy_reject)).collect();
    let want = [(Some(true), Some(false)), (Some(false), Some(false))].repeat(attempts / 2);
    assert_eq!(flags, want);
    for row in rows {
        assert_eq!((&*row.username, &*row.remote_ip), ("u@example.com", "127.0.0.1"));
    }
    let lines = site.lines();
    assert_eq!(lines.len(), attempts, "{lines:?}");
    assert!(site.main_log().contains("(set_id=u@example.com)"), "{}", site.main_log());
    let mut clear = Client::connect(ports[0].0);
    let offered = clear.command("EHLO client.example");
    assert!(offered.contains("STARTTLS") && !offered.contains("AUTH"), "{offered}");
    assert!(clear.command("AUTH PLAIN AHUAcA==").starts_with("503"));
    assert_eq!(site.panic_log(), "");
}

/// True if a client that has not logged in may send to any domain. (Debian's own configuration lets
/// 127.0.0.1 do so.)
fn is_open_relay(port: u16) -> bool {
    let mut clear = Client::connect(port);
    assert!(clear.command("MAIL FROM:<u@example.com>").starts_with("250"));
    !clear.command("RCPT TO:<u@elsewhere.example>").starts_with("550")
}

#[test]
fn the_minimal_sqlite_example_offers_logins_over_tls_only() {
    let site = Site::new(Base::Sqlite, "");
    site.account("u@example.com", "secret");
    let state = format!("\n[state]\ndirectory = \"{}\"\n", site.path("state").display());
    let toml = with(&example("minimal-sqlite/authpolicy.toml"), &[(EMBEDDED, &site.url())]);
    site.write_config(&(toml + &state));
    let (starttls, tls) = complete(&site, "minimal-sqlite/exim.conf", &[]);
    let _exim = Exim::start_on(
        &site.path("exim.conf"),
        starttls,
        &["-oP", site.path("exim.pid").to_str().unwrap()],
    );
    check_logins(&site, &[(starttls, "--tls"), (tls, "--tls-on-connect")]);
    assert!(!is_open_relay(starttls));
}

#[test]
fn the_mariadb_example_offers_logins_over_tls_only() {
    let site = Site::new(Base::mariadb(), "");
    site.sql(&example("mariadb/schema.sql"));
    site.sql("INSERT INTO mailbox (address, password) VALUES ('u@example.com', '{PLAIN}secret')");
    let state = format!("\n[state]\ndirectory = \"{}\"\n", site.path("state").display());
    let toml = with(
        &example("mariadb/authpolicy.toml"),
        &[
            ("mysql://exim:change-me@localhost/mail?socket=/run/mysqld/mysqld.sock", &site.url()),
            ("/var/lib/GeoIP/dbip-country-lite.mmdb", site.path("country.mmdb").to_str().unwrap()),
        ],
    );
    site.write_config(&(toml + &state));
    let (starttls, tls) = complete(&site, "mariadb/exim.conf", &[]);
    let _exim = Exim::start_on(
        &site.path("exim.conf"),
        starttls,
        &["-oP", site.path("exim.pid").to_str().unwrap()],
    );
    check_logins(&site, &[(starttls, "--tls"), (tls, "--tls-on-connect")]);
    assert!(!is_open_relay(starttls));
    site.sql("UPDATE mailbox SET disabled = 1");
    assert!(swaks(starttls, "--tls", "PLAIN", "secret").contains("535 "), "disabled");
}

#[test]
fn the_debian_split_example_offers_logins_over_tls_only() {
    let site = Site::new(Base::Sqlite, "");
    site.account("u@example.com", "secret");
    let state = format!("\n[state]\ndirectory = \"{}\"\n", site.path("state").display());
    let toml = with(&example("debian-split/authpolicy.toml"), &[(EMBEDDED, &site.url())]);
    site.write_config(&(toml + &state));
    let (certificate, key) = certificate(&site);
    let (starttls, tls) = (free_port(), free_port());
    // Debian's own files unchanged, with those of the example beside them.
    let debian = site.path("exim4");
    let copied = Command::new("cp").args(["-R", "/etc/exim4"]).arg(&debian).status().unwrap();
    assert!(copied.success());
    let site_macros = format!(
        "AUTHPOLICY_SO = {}\nAUTHPOLICY_TOML = {}\nAUTHPOLICY_PORTS = {starttls} : {tls}\n\
         AUTHPOLICY_TLS_ONLY = {tls}\nMAIN_TLS_CERTIFICATE = {}\nMAIN_TLS_PRIVATEKEY = {}\n",
        site.path("authpolicy.so").display(),
        site.path("authpolicy.toml").display(),
        certificate.display(),
        key.display()
    );
    fs::write(debian.join("conf.d/main/000_site"), site_macros).unwrap();
    for file in ["conf.d/main/00_authpolicy", "conf.d/auth/30_authpolicy"] {
        fs::write(debian.join(file), example(&format!("debian-split/{file}"))).unwrap();
    }
    let settings = fs::read_to_string("/etc/exim4/update-exim4.conf.conf").unwrap();
    let settings = settings
        .lines()
        .filter(|line| !line.starts_with("dc_use_split") && !line.starts_with("dc_local_int"))
        .collect::<Vec<_>>()
        .join("\n");
    let settings =
        format!("{settings}\ndc_use_split_config='true'\ndc_local_interfaces='127.0.0.1'\n");
    fs::write(debian.join("update-exim4.conf.conf"), settings).unwrap();
    let made = Command::new("update-exim4.conf")
        .arg("-d")
        .arg(&debian)
        .arg("-o")
        .arg(site.path("made.conf"))
        .output()
        .expect("update-exim4.conf");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    // The test's spool and log replace the machine's.
    let text = site.read("made.conf");
    let other_lines: Vec<_> = text
        .lines()
        .filter(|line| !line.starts_with("spool_directory") && !line.starts_with("log_file_path"))
        .collect();
    let spool = site.path("spool").display().to_string();
    let log = site.path("log").display().to_string();
    let paths = format!("spool_directory = {spool}\nlog_file_path = {log}/%slog\n");
    site.write("exim.conf", &(paths + &other_lines.join("\n") + "\n"));
    let _exim = Exim::start_on(
        &site.path("exim.conf"),
        starttls,
        &["-oP", site.path("exim.pid").to_str().unwrap()],
    );
    check_logins(&site, &[(starttls, "--tls"), (tls, "--tls-on-connect")]);
}

#[test]
fn every_configuration_in_the_documents_is_accepted() {
    let mut blocks = 0;
    for document in
        ["README.md", "docs/reference.md", "docs/exim.md", "docs/limits.md", "docs/operations.md"]
    {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(document);
        let text = fs::read_to_string(&path).unwrap();
        for block in text.split("```toml\n").skip(1) {
            let mut block = block.split("```").next().unwrap().to_owned();
            // An example of some sections may leave out the one that is required.
            if !block.contains("[database]") {
                block.insert_str(0, "[database]\nurl = \"sqlite:/var/lib/authpolicy/a.db\"\n");
            }
            let parsed = authpolicy::config::Config::parse(&path, &block);
            assert!(parsed.is_ok(), "{block}\n{}", parsed.unwrap_err());
            blocks += 1;
        }
    }
    assert!(blocks >= 6, "the documents show configurations: {blocks}");
}
