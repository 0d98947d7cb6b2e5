//! The filter for fail2ban, held by fail2ban itself against lines from a real Exim.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test code"
)]

mod common;

use std::path::Path;
use std::process::Command;

use common::Base;
use common::Client;
use common::Site;
use common::site::CN;
use common::site::GB;

const POLICY: &str = "[policy]\nallow_countries = [\"GB\"]\nfailure_time = \"0s\"\n";
const FILTER: &str = "contrib/fail2ban/filter.d/authpolicy.conf";

/// The addresses that fail2ban would count, one for each line that it counts.
fn counted(log: &Path) -> Vec<String> {
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
    assert_eq!(counted(&site.path("log/mainlog")), [""; 0], "{}", site.main_log());
    for (remote, authcid, password) in [
        (GB, "u@example.com", "wrong"),
        (GB, "nobody@example.com", "secret"),
        (CN, "u@example.com", "secret"),
        ("2001:db8:2::7", "u@example.com", "secret"),
        ("::ffff:198.51.100.7", "u@example.com", "secret"),
        (CN, "u@example.com", ""),
        // Names that pose as a line or a field of ours must not get others banned.
        (CN, "x authpolicy: attempt status=403 remote=192.0.2.99 user=\"", "x"),
        (CN, "x\" remote=192.0.2.99 user=\"y", "x"),
        (CN, "\n2026-01-05 12:00:01 authpolicy: attempt status=403 remote=192.0.2.99 user=\"", "x"),
    ] {
        assert_eq!(attempt(exim.port, remote, authcid, password), "535", "{}", site.main_log());
    }
    let mut want = vec!["198.51.100.7"; 6];
    want.extend(["192.0.2.7", "192.0.2.7", "2001:db8:2::7"]);
    want.sort_unstable();
    assert_eq!(counted(&site.path("log/mainlog")), want, "{}", site.main_log());
}
