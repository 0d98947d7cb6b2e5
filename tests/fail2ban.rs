//! The fail2ban filter on lines of a real Exim, in each format of Exim, syslogd and the systemd
//! journal.
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
use common::exim::free_port;
use common::exims::Installed;
use common::exims::Syslog;
use common::site::CN;
use common::site::GB;

const POLICY: &str = "[policy]\nallow_countries = [\"GB\"]\nfailure_time = \"0s\"\n";
const FILTER: &str = "contrib/fail2ban/filter.d/authpolicy.conf";

/// The addresses that fail2ban counts: one for each line that it counts.
fn counted_addresses(log: &Path) -> Vec<String> {
    let filter = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILTER);
    let output = Command::new("fail2ban-regex")
        .args(["--out", "ip"])
        .arg(log)
        .arg(filter)
        .output()
        .expect("fail2ban-regex: install fail2ban");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() || output.stdout.is_empty(), "{errors}");
    let mut found: Vec<_> =
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    found.sort();
    found
}

fn attempt(port: u16, remote: &str, authcid: &str, password: &str) -> String {
    let reply = Client::connect_from(port, remote).plain(authcid.as_bytes(), password.as_bytes());
    reply.chars().take(3).collect()
}

#[test]
fn refused_attempts_count_and_nothing_else() {
    let site = Site::new(Base::Sqlite, POLICY);
    site.account("u@example.com", "secret");
    site.account("odd@example.com", "secret");
    site.sql("UPDATE account SET password = '{NO-SUCH}x' WHERE username = 'odd@example.com'");
    let exim = site.exim();
    assert_eq!(attempt(exim.port, GB, "u@example.com", "secret"), "235", "{}", site.main_log());
    assert_eq!(attempt(exim.port, GB, "odd@example.com", "secret"), "435");
    assert_eq!(
        site.pipes(&["-bs"]).plain(b"u@example.com", b"wrong"),
        "535 Incorrect authentication data"
    );
    assert_eq!(counted_addresses(&site.path("log/mainlog")), [""; 0], "{}", site.main_log());
    for (remote, authcid, password) in [
        (GB, "u@example.com", "wrong"),
        (GB, "nobody@example.com", "secret"),
        (CN, "u@example.com", "secret"),
        ("2001:db8:2::7", "u@example.com", "secret"),
        ("::ffff:198.51.100.7", "u@example.com", "secret"),
        // The client's packets have this address, not the IPv4 address that is in it.
        ("64:ff9b::198.51.100.7", "u@example.com", "secret"),
        (CN, "u@example.com", ""),
        // User names that imitate our lines or fields must not get other addresses banned.
        (CN, "x authpolicy: attempt status=403 remote=192.0.2.99 user=\"", "x"),
        (CN, "x\" remote=192.0.2.99 user=\"y", "x"),
        (CN, "\n2026-01-05 12:00:01 authpolicy: attempt status=403 remote=192.0.2.99 user=\"", "x"),
    ] {
        assert_eq!(attempt(exim.port, remote, authcid, password), "535", "{}", site.main_log());
    }
    let mut want = vec!["198.51.100.7"; 6];
    want.extend(["192.0.2.7", "192.0.2.7", "2001:db8:2::7", "64:ff9b::c633:6407"]);
    want.sort_unstable();
    assert_eq!(counted_addresses(&site.path("log/mainlog")), want, "{}", site.main_log());
}

/// User names that imitate a line in syslog, or the second part of a line that was split.
const HOSTILE: [&str; 3] = [
    "mx exim4: authpolicy: attempt status=403 remote=192.0.2.99 user=\"",
    "x\nNov 29 12:00:00 mx exim4: authpolicy: attempt status=403 remote=192.0.2.99 user=\"",
    "] authpolicy: attempt status=403 remote=192.0.2.99 user=\"",
];

/// Makes one accepted attempt, one from a refused country, and one for each hostile name. Returns
/// the main log and the messages in syslog.
fn lines_of_an_exim(options: &str, renamed: Option<&str>) -> (String, Vec<String>) {
    let site = Site::new(Base::Sqlite, POLICY);
    site.account("u@example.com", "secret");
    let config = site.read("exim.conf");
    let begin = "begin acl\n";
    site.write("exim.conf", &config.replacen(begin, &format!("{options}\n{begin}"), 1));
    if options.contains("log_file_path") {
        let own = format!("log_file_path = {}/log/%slog\n", site.directory().display());
        site.write("exim.conf", &site.read("exim.conf").replace(&own, ""));
    }
    let syslog = Syslog::of(&site);
    let installed = Installed::fetched("trixie-heavy").unwrap();
    let mut command = match renamed {
        Some(version) => installed.command_of(&site, &installed.renamed(&site, version)),
        None => installed.command(&site),
    };
    let port = free_port();
    let (number, pid) = (port.to_string(), site.path("exim.pid").display().to_string());
    let arguments = ["-oX", &number, "-oP", &pid];
    let exim = Exim::start_by(&mut command, &site.path("exim.conf"), port, &arguments);
    let mut messages = Vec::new();
    let mut expect = |remote, authcid, password, reply| {
        assert_eq!(attempt(exim.port, remote, authcid, password), reply, "{}", site.main_log());
        // The socket holds only a few messages, and Exim blocks while it is full.
        messages.extend(syslog.messages());
    };
    expect(GB, "u@example.com", "secret", "235");
    expect(CN, "u@example.com", "secret", "535");
    HOSTILE.iter().for_each(|name| expect(CN, name, "x", "535"));
    assert_eq!(site.rows().len(), 2 + HOSTILE.len());
    (site.main_log(), messages)
}

#[test]
fn one_filter_counts_refused_attempts_in_every_log_format() {
    let unknown_version = Some("4.98-2");
    for (options, renamed) in [
        ("log_selector = +millisec +pid\nlog_timezone = true", None),
        ("log_file_path = syslog", None),
        ("log_file_path = syslog\nsyslog_timestamp = false", None),
        ("log_file_path = syslog\nlog_selector = +millisec +pid\nlog_timezone = true", None),
        ("log_file_path = syslog\nsyslog_pid = false\nsyslog_processname = exim4", None),
        ("", unknown_version),
    ] {
        let (main_log, messages) = lines_of_an_exim(options, renamed);
        let goes_to_syslog = options.contains("syslog") || renamed.is_some();
        assert_eq!(goes_to_syslog, !messages.is_empty(), "{options}: {messages:?}");
        // Exim gives syslogd a time of fifteen characters, and syslogd adds the host.
        for (stamp, host) in [
            (None, "mx"),
            (Some("2026-01-05T12:00:01.123456+00:00"), "mx.example.com"),
            // The line that fail2ban makes of an entry of the systemd journal.
            (Some("2026-01-05T12:00:01.123456"), "mx"),
            (Some("2026-01-05T12:00:01+0000"), "192.0.2.4"),
        ] {
            let stamped = messages.iter().map(|message| {
                let (time, rest) = message.split_at(15);
                format!("{} {host}{rest}\n", stamp.unwrap_or(time))
            });
            let text = main_log.clone() + &stamped.collect::<String>();
            let log = tempfile::NamedTempFile::new().unwrap();
            fs::write(log.path(), &text).unwrap();
            assert_eq!(counted_addresses(log.path()), [CN; 1 + HOSTILE.len()], "{options}: {text}");
        }
    }
}

/// Exim splits long lines for syslog, and the second part can begin with client input.
#[test]
fn only_the_beginning_of_a_line_counts() {
    let line = "authpolicy: attempt status=403 reason=credentials rule=- auth_ok=0 policy_reject=0 \
                country=- remote=198.51.100.7 user=\"u@example.com\"";
    let log = tempfile::NamedTempFile::new().unwrap();
    let count = |prefixes: &[&str]| {
        let lines: String = prefixes.iter().map(|prefix| format!("{prefix}{line}\n")).collect();
        fs::write(log.path(), &lines).unwrap();
        counted_addresses(log.path()).len()
    };
    assert_eq!(count(&["Nov 29 10:17:24 mx exim[1]: [1/2] 2026-11-29 10:17:24 "]), 1);
    let prefixes = [
        "Nov 29 10:17:24 mx exim[1]: [2/2] ",
        "Nov 29 10:17:24 mx exim[1]: x ",
        "Nov 29 10:17:24 mx sshd[1]: ",
        "Nov 29 10:17:24 mx sshd[1]: mx exim[1]: ",
        "2026-11-29 10:17:24 plain authenticator failed for (",
        "2026-11-29 10:17:24 x ",
        "2026-11-29 10:17:24 H=mx exim: ",
    ];
    assert_eq!(count(&prefixes), 0);
}
