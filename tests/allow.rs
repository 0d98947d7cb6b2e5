//! `allow` in the ACLs of a real Exim, where the client has not yet sent a user name.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    reason = "test code"
)]

mod common;

use std::fs;

use common::Base;
use common::Client;
use common::Exim;
use common::Site;
use common::limits::NO;
use common::limits::YES;
use common::limits::attempt;
use common::outcome::GB_ONLY;
use common::outcome::accepted;
use common::outcome::last;
use common::outcome::refused;
use common::site::CN;
use common::site::GB;
use common::smtp::ACCEPTED;
use common::smtp::CANNOT_TELL;
use common::smtp::REFUSED;

/// Starts an Exim that calls `allow` in an ACL, and logs the answer.
fn with_allow(site: &Site, acl: &str) -> Exim {
    let allow = site.dlfunc("allow", "{$sender_host_address}");
    let text = site.read("exim.conf").replace(
        "begin acl\n",
        &format!(
            "{acl} = acl_before\nbegin acl\nacl_before:\n  warn set acl_c_policy = {allow}\n       \
         log_message = $sender_host_address before=$acl_c_policy\n  accept\n"
        ),
    );
    site.write("exim.conf", &text);
    site.exim()
}

/// Returns the last answer of `allow` for this address. The probe for a listening Exim uses
/// another.
fn allow_answer(site: &Site, remote: &str) -> String {
    let log = site.main_log();
    let mark = format!(" {remote} before=");
    let last = log.lines().rev().find_map(|line| line.split_once(&mark));
    last.map(|(_, answer)| answer.to_owned()).unwrap_or_default()
}

#[allow(clippy::too_many_lines, reason = "the table of cases is long")]
#[test]
fn the_decision_of_allow_is_recorded_with_the_name_of_the_attempt() {
    for acl in ["acl_smtp_auth", "acl_smtp_connect"] {
        for base in Base::all() {
            let policy = "deny_networks = [\"203.0.113.0/24\"]\n[[policy.limit]]\nname = \"many\"\n\
                          per = \"remote\"\ncount = \"failures\"\nmax = 2\nwithin = \"10m\"\n";
            let site = Site::new(base, &(GB_ONLY.to_owned() + policy));
            site.account("u@example.com", "secret");
            site.account("own@example.com", "secret");
            site.sql(
                "UPDATE account SET allow_countries = 'CN' WHERE username = 'own@example.com'",
            );
            site.sql("DELETE FROM connection_log");
            site.run_tool(&["limits", "clear", "--all"], "");
            let exim = with_allow(&site, acl);
            let wrong = |rule: &str| (NO, YES, format!("status=403 reason=policy rule={rule}"));
            let unchecked =
                |rule: &str| (None, YES, format!("status=403 reason=policy rule={rule}"));
            for (remote, authcid, password, answer, reply, want) in [
                (GB, "u@example.com", "secret", "yes", ACCEPTED, accepted()),
                (CN, "u@example.com", "secret", "no", REFUSED, refused("policy.allow_countries")),
                (CN, "u@example.com", "wrong", "no", REFUSED, wrong("policy.allow_countries")),
                (CN, "nobody@example.com", "x", "no", REFUSED, wrong("policy.allow_countries")),
                (CN, "own@example.com", "secret", "no", ACCEPTED, accepted()),
                (
                    "203.0.113.7",
                    "own@example.com",
                    "secret",
                    "no",
                    REFUSED,
                    refused("policy.deny_networks"),
                ),
                (
                    "64:ff9b::cb00:7107",
                    "own@example.com",
                    "secret",
                    "no",
                    REFUSED,
                    refused("policy.deny_networks"),
                ),
                (
                    "203.0.113.7",
                    "own@example.com",
                    "",
                    "no",
                    REFUSED,
                    (None, YES, String::from("status=400 reason=client rule=policy.deny_networks")),
                ),
                (
                    GB,
                    "u@example.com",
                    "wrong",
                    "yes",
                    REFUSED,
                    (NO, NO, String::from("status=403 reason=credentials rule=-")),
                ),
                (
                    GB,
                    "u@example.com",
                    "wrong",
                    "yes",
                    REFUSED,
                    (NO, NO, String::from("status=403 reason=credentials rule=-")),
                ),
                (GB, "u@example.com", "secret", "no", REFUSED, unchecked("many")),
            ] {
                let rows = site.rows().len();
                assert_eq!(attempt(&exim, remote, authcid, password), reply, "{}", site.main_log());
                assert_eq!(
                    allow_answer(&site, remote),
                    answer,
                    "{acl} {remote} {authcid} {password}"
                );
                assert_eq!(last(&site), want, "{acl} {remote} {authcid} {password}");
                let all = site.rows();
                assert_eq!(all.len(), rows + 1, "allow writes no row");
                let username = if password.is_empty() { "" } else { authcid };
                assert_eq!(all.last().unwrap().username, username);
            }
            assert_eq!(site.panic_log(), "");
        }
    }
}

/// The limit has been reached when the client connects, and is cleared before it logs in. The
/// refusal by `allow` ends with the connection.
#[test]
fn a_refusal_by_allow_lasts_for_the_connection() {
    let policy = "[policy]\nfailure_time = \"0s\"\n[[policy.limit]]\nname = \"many\"\n\
                  per = \"remote\"\ncount = \"failures\"\nmax = 1\nwithin = \"10m\"\n";
    let site = Site::new(Base::Sqlite, policy);
    site.account("u@example.com", "secret");
    let exim = with_allow(&site, "acl_smtp_connect");
    assert_eq!(attempt(&exim, GB, "u@example.com", "secret"), ACCEPTED);
    assert_eq!(attempt(&exim, GB, "u@example.com", "wrong"), REFUSED);
    let mut client = Client::connect_from(exim.port, GB);
    assert_eq!(allow_answer(&site, GB), "no");
    site.tool(&["limits", "clear", "--remote", GB], "");
    assert_eq!(client.plain(b"u@example.com", b"secret"), REFUSED);
    let unchecked = (None, YES, String::from("status=403 reason=policy rule=many"));
    assert_eq!(last(&site), unchecked);
    assert_eq!(attempt(&exim, GB, "u@example.com", "secret"), ACCEPTED);
}

#[test]
fn after_an_error_allow_answers_yes_and_the_attempt_gets_435() {
    let site = Site::new(Base::Sqlite, GB_ONLY);
    site.account("u@example.com", "secret");
    site.sql("UPDATE account SET allow_countries = '*' WHERE username = 'u@example.com'");
    let exim = with_allow(&site, "acl_smtp_connect");
    assert_eq!(attempt(&exim, GB, "u@example.com", "secret"), ACCEPTED);
    let good = site.read("authpolicy.toml");
    for (name, damage) in [
        ("the GeoIP file", good.replace("country.mmdb", "no-such.mmdb")),
        ("the configuration", format!("{good}\n[nonsense]\n")),
    ] {
        site.write_config(&damage);
        assert_eq!(attempt(&exim, GB, "u@example.com", "secret"), CANNOT_TELL, "{name}");
        assert_eq!(allow_answer(&site, GB), "yes", "{name}");
        let (_, _, line) = last(&site);
        assert_eq!(line, "status=503 reason=internal rule=-", "{name}");
    }
    assert_eq!(site.rows().len(), 2, "without a configuration it is unknown where rows go");
    assert_eq!(site.panic_log(), "");
}

#[test]
fn with_skip_the_password_is_not_checked_after_a_refusal_by_allow() {
    let site = Site::new(Base::Sqlite, &(GB_ONLY.to_owned() + "when_rejected = \"skip\"\n"));
    site.account("u@example.com", "secret");
    let exim = with_allow(&site, "acl_smtp_auth");
    assert_eq!(attempt(&exim, GB, "u@example.com", "secret"), ACCEPTED);
    assert_eq!(attempt(&exim, CN, "u@example.com", "secret"), REFUSED);
    let want = (None, YES, String::from("status=403 reason=policy rule=policy.allow_countries"));
    assert_eq!(last(&site), want);
}

/// LOGIN and `allow` use one configuration. PLAIN uses another one, without the rule that refuses.
#[test]
fn a_refusal_by_allow_does_not_apply_to_another_configuration() {
    for base in Base::all() {
        let deny = "[policy]\nfailure_time = \"0s\"\ndeny_networks = [\"198.51.100.0/24\"]\n";
        let site = Site::new(base, deny);
        site.account("u@example.com", "secret");
        let denies = site.read("authpolicy.toml");
        site.write_config(&denies.replace("deny_networks", "allow_nets"));
        fs::rename(site.path("authpolicy.toml"), site.path("other.toml")).unwrap();
        site.write_config(&denies);
        let text = site.read("exim.conf");
        let (head, login) = text.split_once("\nlogin:\n").unwrap();
        let (acls, plain) = head.split_once("begin authenticators").unwrap();
        let plain = plain.replace("authpolicy.toml", "other.toml");
        assert!(plain.contains("other.toml"));
        site.write("exim.conf", &format!("{acls}begin authenticators{plain}\nlogin:\n{login}"));
        let exim = with_allow(&site, "acl_smtp_connect");
        let login = |remote: &str| {
            Client::connect_from(exim.port, remote).login(b"u@example.com", b"secret")
        };
        assert_eq!(login(GB), ACCEPTED, "{}", site.main_log());
        assert_eq!(login(CN), REFUSED);
        assert_eq!(last(&site), refused("policy.deny_networks"));
        assert_eq!(attempt(&exim, CN, "u@example.com", "secret"), ACCEPTED, "{}", site.main_log());
        assert_eq!(allow_answer(&site, CN), "no");
        let (auth_ok, policy_reject, line) = last(&site);
        assert_eq!((auth_ok, policy_reject), (YES, NO));
        assert!(line.starts_with("status=204 reason=- "), "{line}");
        assert_eq!(site.rows().len(), 3);
        assert_eq!(site.panic_log(), "");
    }
}
