//! `authpolicy log` and `prune` find the right rows, also when daylight saving time begins or ends.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test code"
)]

mod common;

use std::process::Command;
use std::process::Output;
use std::sync::Arc;

use common::Base;
use common::Client;
use common::MariaDb;
use common::Site;
use common::site::GB;
use common::smtp::ACCEPTED;

const POLICY: &str = "[policy]\nallow_countries = [\"GB\"]\nfailure_time = \"0s\"\n";

fn site(base: Base) -> Site {
    let site = Site::new(base, POLICY);
    site.account("u@example.com", "secret");
    let exim = site.exim();
    let reply = Client::connect_from(exim.port, GB).plain(b"u@example.com", b"secret");
    assert_eq!(reply, ACCEPTED, "{}", site.main_log());
    site
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// One column of the rows that `log` prints, without the title.
fn column(output: &Output, number: usize) -> Vec<String> {
    assert!(output.status.success(), "{output:?}");
    let printed = text(&output.stdout);
    let cells = printed.lines().skip(1).map(|line| line.split_whitespace().nth(number).unwrap());
    cells.map(str::to_owned).collect()
}

#[test]
fn the_network_filter_applies_before_the_line_limit() {
    for base in Base::all() {
        let site = site(base);
        for remote in ["192.0.2.200", "192.0.3.1", "2001:db8:1::7", "2001:db8:2::1", "", "local"] {
            site.sql(&format!(
                "INSERT INTO connection_log (protocol, username, remote_ip, country) \
                 VALUES ('SMTP', 'x', '{remote}', 'GB')"
            ));
        }
        for number in 0..60 {
            site.sql(&format!(
                "INSERT INTO connection_log (protocol, username, remote_ip, country) \
                 VALUES ('SMTP', 'other', '198.51.100.{number}', 'CN')"
            ));
        }
        let run_log = |arguments: &[&str]| site.run_tool(&[&["log"], arguments].concat(), "");
        let remotes = |arguments: &[&str]| column(&run_log(arguments), 4);
        assert_eq!(remotes(&["--remote", "192.0.2.0/24", "-n", "9"]), [GB, "192.0.2.200"]);
        assert_eq!(remotes(&["--remote", "192.0.2.0/24", "-n", "1"]), ["192.0.2.200"]);
        assert_eq!(remotes(&["--remote", "192.0.2.9/23"]), [GB, "192.0.2.200", "192.0.3.1"]);
        assert_eq!(remotes(&["--remote", "2001:DB8:1::/48"]), ["2001:db8:1::7"]);
        assert_eq!(remotes(&["--remote", "::/0"]), ["2001:db8:1::7", "2001:db8:2::1"]);
        assert_eq!(remotes(&["--remote", "0.0.0.0/0", "-n", "100"]).len(), 63);
        assert_eq!(remotes(&["--remote", "2001:0db8:0001:0::7"]), ["2001:db8:1::7"]);
        assert_eq!(remotes(&["--remote", "::ffff:192.0.2.7"]), [GB]);
        assert_eq!(remotes(&["--remote", "192.0.3.%"]), ["192.0.3.1"]);
        let summary = run_log(&["--summary", "--remote", "192.0.2.0/24"]);
        let printed = text(&summary.stdout);
        assert!(printed.contains("192.0.2.200") && !printed.contains("192.0.3.1"), "{printed}");
        let wrong = run_log(&["--remote", "192.0.2"]);
        assert_eq!((wrong.status.code(), column(&wrong, 4).len()), (Some(0), 0));
        assert!(text(&wrong.stderr).contains("not an address or a network"), "{wrong:?}");
    }
}

#[test]
fn log_says_if_nothing_matches() {
    for base in Base::all() {
        let site = site(base);
        let run_log = |arguments: &[&str]| site.run_tool(&[&["log"], arguments].concat(), "");
        let found = run_log(&["--user", "u@example.com", "--remote", "192.0.2.0/24"]);
        assert_eq!((column(&found, 3).len(), &*text(&found.stderr)), (1, ""));
        for arguments in [
            &["--user", "nobody@example.com"][..],
            &["--remote", "203.0.113.1"],
            &["--remote", "203.0.113.0/24"],
            &["--remote", "203.0.113.0/24", "--summary"],
        ] {
            let found = run_log(arguments);
            let complaint = text(&found.stderr);
            assert_eq!(found.status.code(), Some(0), "as if there were matches");
            assert!(
                complaint.contains(arguments[0]) && complaint.contains(arguments[1]),
                "{complaint}"
            );
        }
    }
}

/// Runs the tool at this time in UTC.
fn run_at(site: &Site, time: &str, arguments: &[&str]) -> Output {
    let output = Command::new("faketime")
        .args(["-f", &format!("@{time}"), common::tool(), "--config"])
        .arg(site.path("authpolicy.toml"))
        .args(arguments)
        .env("TZ", "UTC")
        .output();
    output.expect("faketime: install it")
}

/// A site whose server has the time of central Europe, with a row for each of these times in UTC.
fn site_in_europe(times: &[&str]) -> Site {
    let server = Arc::new(MariaDb::start());
    server.restart_in_zone("CET-1CEST,M3.5.0,M10.5.0/3");
    let name = server.database();
    let url = server.url(&name);
    let site = site(Base::MariaDb(server, name, url));
    for time in times {
        site.sql(&format!(
            "INSERT INTO connection_log (datetime, protocol, username, remote_ip, country) VALUES \
             (FROM_UNIXTIME(TIMESTAMPDIFF(SECOND, '1970-01-01', '{time}')), 'SMTP', \
             '{}', '', '')",
            time.replace(' ', "T")
        ));
    }
    site
}

/// On 2026-10-25 at 01:00 UTC, European clocks go back from 03:00 to 02:00.
#[test]
fn no_newer_row_is_hidden_or_deleted_after_the_clocks_go_back() {
    let site = site_in_europe(&[
        "2026-10-24 23:30:00",
        "2026-10-25 00:40:00",
        "2026-10-25 00:58:00",
        "2026-10-25 01:02:00",
        "2026-10-25 01:40:00",
    ]);
    let user = ["log", "--user", "2026-%", "--since"];
    let found = |time, span| column(&run_at(&site, time, &[&user[..], &[span]].concat()), 3);
    let newest = ["2026-10-25T00:58:00", "2026-10-25T01:02:00", "2026-10-25T01:40:00"];
    // It is 02:05 for the second time. The table cannot tell these rows from those of an hour
    // before.
    let shown = found("2026-10-25 01:05:00", "10m");
    assert!(shown.ends_with(&newest.map(str::to_owned)), "{shown:?}");
    assert!(!shown.iter().any(|row| row == "2026-10-24T23:30:00"), "{shown:?}");
    let later = found("2026-10-25 01:45:00", "10m");
    assert!(later.ends_with(&[newest[2].to_owned()]), "{later:?}");
    // A month later, the span begins before the change.
    let long_after = found("2026-11-24 00:55:00", "30d");
    assert!(long_after.ends_with(&newest.map(str::to_owned)), "{long_after:?}");
    let pruned = run_at(&site, "2026-10-26 00:55:00", &["prune", "--keep", "1d"]);
    assert!(pruned.status.success(), "{pruned:?}");
    let left = site.texts("SELECT username FROM connection_log WHERE username LIKE '2026%'");
    assert!(left.ends_with(&newest.map(str::to_owned)), "{left:?}");
    assert!(!left.iter().any(|row| row == "2026-10-24T23:30:00"), "{left:?}");
}

/// On 2026-03-29 at 01:00 UTC, European clocks go forward from 02:00 to 03:00.
#[test]
fn no_newer_row_is_hidden_or_deleted_after_the_clocks_go_forward() {
    let site =
        site_in_europe(&["2026-03-29 00:50:00", "2026-03-29 00:58:00", "2026-03-29 01:02:00"]);
    let arguments = ["log", "--user", "2026-%", "--since", "10m"];
    let found = column(&run_at(&site, "2026-03-29 01:05:00", &arguments), 3);
    assert_eq!(found, ["2026-03-29T00:58:00", "2026-03-29T01:02:00"]);
    let pruned = run_at(&site, "2026-03-30 00:55:00", &["prune", "--keep", "1d"]);
    assert!(pruned.status.success(), "{pruned:?}");
    let left = site.texts("SELECT username FROM connection_log WHERE username LIKE '2026%'");
    assert_eq!(left, ["2026-03-29T00:58:00", "2026-03-29T01:02:00"]);
}
