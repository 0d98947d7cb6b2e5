//! Replays the attempts of the production log against a real Exim behind the PROXY protocol.
//! MariaDB has the production table, the country file is DB-IP's, and the policy admits GB only.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test code"
)]

mod common;

use common::Base;
use common::Client;
use common::Row;
use common::Site;

/// The path of DB-IP's country file (CC BY 4.0), which `make test` fetches.
fn country_file() -> String {
    std::env::var("AUTHPOLICY_TEST_GEOIP")
        .expect("AUTHPOLICY_TEST_GEOIP names DB-IP's country file: run `make test`")
}

const ATTEMPTS: [(&str, &str, &str); 8] = [
    ("mike.tubby@example.com", "122.11.169.35", "SG"),
    ("stuart.davies@example.com", "173.254.227.90", "US"),
    ("simon@example.com", "222.161.47.82", "CN"),
    ("kime.tubby@example.com", "183.167.225.165", "CN"),
    ("david.young@example.com", "118.163.143.170", "TW"),
    ("stuart@example.com", "187.189.230.250", "MX"),
    ("andy@example.com", "173.245.239.187", "US"),
    ("jim.harper@example.com", "177.135.101.5", "BR"),
];

/// An address of the University of Cambridge, where Exim comes from.
const GB: &str = "131.111.8.42";

fn row(username: &str, remote_ip: &str, country: &str, flags: (bool, bool)) -> Row {
    Row {
        protocol: String::from("IMAP"),
        username: username.to_owned(),
        remote_ip: remote_ip.to_owned(),
        country: country.to_owned(),
        auth_ok: Some(flags.0),
        policy_reject: Some(flags.1),
    }
}

#[test]
fn replayed_attempts_produce_the_rows_of_the_production_log() {
    let policy = "[policy]\nallow_countries = [\"GB\"]\nfailure_time = \"0s\"\n\
                  [log]\nprotocol = \"IMAP\"\n";
    let site = Site::new(Base::mariadb(), policy);
    std::fs::copy(country_file(), site.path("country.mmdb")).unwrap();
    // Some of the attacked accounts exist, some do not: the rows are the same.
    site.account("mike.tubby@example.com", "secret");
    site.account("simon@example.com", "secret");
    let exim = site.exim();
    let attempt = |user: &str, remote: &str, password: &str| {
        Client::connect_from(exim.port, remote).plain(user.as_bytes(), password.as_bytes())
    };
    assert!(attempt("simon@example.com", GB, "secret").starts_with("235"), "{}", site.main_log());
    for (user, remote, _) in ATTEMPTS {
        assert_eq!(attempt(user, remote, "guessed"), "535 Incorrect authentication data");
    }
    let leaked = attempt("simon@example.com", "222.161.47.82", "secret");
    assert_eq!(leaked, "535 Incorrect authentication data");
    let mut want = vec![row("simon@example.com", GB, "GB", (true, false))];
    want.extend(ATTEMPTS.map(|(user, remote, country)| row(user, remote, country, (false, true))));
    want.push(row("simon@example.com", "222.161.47.82", "CN", (true, true)));
    assert_eq!(site.rows(), want);
}
