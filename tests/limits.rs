//! Limits in a real Exim, on both databases: the attempts that count, and those that a limit
//! refuses.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    clippy::panic,
    reason = "test code"
)]

mod common;

use std::time::Duration;
use std::time::Instant;

use common::Base;
use common::Client;
use common::limits::LIMITED;
use common::limits::NO;
use common::limits::YES;
use common::limits::attempt;
use common::limits::expect_line;
use common::limits::flags;
use common::limits::limit;
use common::limits::site;
use common::site::CN;
use common::site::GB;
use common::smtp::ACCEPTED;
use common::smtp::REFUSED;

/// Checks that an entry of a host whose clock is ahead lasts no longer than `within`.
fn assert_eases_within(site: &common::Site, within: &str) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let ahead = now.as_millis() + 600_000 + 5_000;
    site.sql(&format!("UPDATE authpolicy_count SET expires = {ahead} WHERE value <> ''"));
    let shown = site.tool(&["limits"], "");
    assert!(shown.ends_with(&format!(" within=\"{within}\" eases_in=\"{within}\"\n")), "{shown}");
}

#[test]
fn failures_are_accepted_up_to_the_limit_and_no_further() {
    for base in Base::all() {
        let site = site(base, "", &[limit("guessing", "remote", "failures", 3)]);
        let exim = site.exim();
        assert_eq!(attempt(&exim, GB, "u@example.com", "secret"), ACCEPTED, "{}", site.main_log());
        for (authcid, row) in [("u@example.com", NO), ("v@example.com", NO), ("w@example.com", NO)]
        {
            assert_eq!(attempt(&exim, GB, authcid, "wrong"), REFUSED);
            assert_eq!(flags(&site), (row, NO));
        }
        assert_eq!(attempt(&exim, GB, "u@example.com", "secret"), REFUSED);
        assert_eq!(flags(&site), LIMITED);
        expect_line(&site, "status=403 reason=policy rule=guessing auth_ok=- policy_reject=1");
        assert_eq!(attempt(&exim, CN, "u@example.com", "secret"), ACCEPTED, "another address");
        let shown = site.tool(&["limits"], "");
        let want = "limit=guessing account=\"*\" remote=192.0.2.7 failures=3 max=3 within=\"10m\"";
        assert!(shown.starts_with(want) && shown.lines().count() == 1, "{shown}");
        assert_eases_within(&site, "10m");
        let nothing = site.run_tool(&["limits", "clear", "--remote", CN], "");
        assert_eq!((nothing.status.code(), &*nothing.stdout), (Some(1), &b"cleared=0\n"[..]));
        assert_eq!(attempt(&exim, GB, "u@example.com", "secret"), REFUSED);
        site.tool(&["limits", "clear", "--remote", GB], "");
        assert_eq!(attempt(&exim, GB, "u@example.com", "secret"), ACCEPTED);
        let none = site.run_tool(&["limits"], "");
        assert_eq!((none.status.code(), &*none.stdout), (Some(1), &b""[..]), "no limit is reached");
        let stderr = String::from_utf8_lossy(&none.stderr).into_owned();
        assert!(stderr.contains("no limit has been reached"), "{stderr}");
        assert_eq!(site.panic_log(), "");
    }
}

/// Three attempts of each of these kinds do not reach a limit of two.
#[test]
fn only_wrong_passwords_and_unknown_accounts_count() {
    for base in Base::all() {
        let policy = "deny_countries = [\"CN\"]";
        let per_account = limit("account", "account", "failures", 2);
        let site = site(base, policy, &[limit("remote", "remote", "failures", 2), per_account]);
        site.account("off@example.com", "secret");
        site.account("odd@example.com", "secret");
        site.tool(&["user", "disable", "off@example.com"], "");
        site.sql("UPDATE account SET password = '{NO-SUCH}x' WHERE username = 'odd@example.com'");
        let exim = site.exim();
        for (name, remote, authcid, password) in [
            ("a success", GB, "u@example.com", "secret"),
            ("a refused country", CN, "u@example.com", "secret"),
            ("a wrong password from there", CN, "u@example.com", "wrong"),
            ("an unknown account from there", CN, "nobody@example.com", "wrong"),
            ("a disabled account", GB, "off@example.com", "wrong"),
            ("an empty password", GB, "u@example.com", ""),
            ("an unreadable stored password", GB, "odd@example.com", "wrong"),
        ] {
            for _ in 0..3 {
                let _ = attempt(&exim, remote, authcid, password);
            }
            let rows = site.rows();
            let unlimited = rows.iter().rev().take(3).all(|row| {
                let flags = (row.auth_ok, row.policy_reject);
                flags != LIMITED || password.is_empty()
            });
            assert!(unlimited, "{name}: {:?}", site.lines());
        }
        assert_eq!(attempt(&exim, GB, "u@example.com", "secret"), ACCEPTED);
        // An unknown account is limited like an existing one.
        for authcid in ["v@example.com", "nobody@example.com"] {
            site.run_tool(&["limits", "clear", "--all"], "");
            for (remote, want) in
                [(GB, (NO, NO)), (GB, (NO, NO)), ("192.0.2.8", LIMITED), ("192.0.2.9", LIMITED)]
            {
                assert_eq!(attempt(&exim, remote, authcid, "wrong"), REFUSED);
                assert_eq!(flags(&site), want, "{authcid}: {:?}", site.lines());
            }
        }
    }
}

#[test]
fn a_refusal_by_a_limit_does_not_query_the_account() {
    for base in Base::all() {
        let site = site(base, "", &[limit("guessing", "remote", "failures", 1)]);
        let exim = site.exim();
        assert_eq!(attempt(&exim, GB, "u@example.com", "secret"), ACCEPTED);
        assert_eq!(attempt(&exim, GB, "u@example.com", "wrong"), REFUSED);
        site.sql("DROP TABLE account");
        assert_eq!(attempt(&exim, GB, "u@example.com", "secret"), REFUSED, "{}", site.main_log());
        assert_eq!(flags(&site), LIMITED);
    }
}

/// A right password from a refused country counts as a failure, like a wrong one. Otherwise an
/// attacker could use another account to find out whether the password was right.
#[test]
fn limits_do_not_tell_whether_a_refused_password_was_right() {
    for base in Base::all() {
        let policy = "new_country = \"reject\"";
        let site = site(base, policy, &[limit("remote", "remote", "failures", 2)]);
        let exim = site.exim();
        for (authcid, remote) in [("u@example.com", GB), ("v@example.com", CN)] {
            assert_eq!(attempt(&exim, remote, authcid, "secret"), ACCEPTED);
        }
        for password in ["wrong", "secret"] {
            site.run_tool(&["limits", "clear", "--all"], "");
            assert_eq!(attempt(&exim, CN, "nobody@example.com", "x"), REFUSED);
            assert_eq!(attempt(&exim, CN, "u@example.com", password), REFUSED);
            assert_eq!(attempt(&exim, CN, "v@example.com", "secret"), REFUSED, "{password}");
            assert_eq!(flags(&site), LIMITED, "{password}");
        }
    }
}

/// Names that a database treats as equal share their limits, rules and rows.
#[test]
fn other_spellings_of_a_name_share_its_limits() {
    let base = Base::mariadb();
    let policy = "[policy.account.\"off@example.com\"]\ndisabled = true\n";
    let limits = [limit("account", "account", "failures", 2), policy.to_owned()];
    let site = site(base, "", &limits);
    site.account("off@example.com", "secret");
    site.sql("CREATE TABLE mailbox (name varchar(80), hash varchar(200)) CHARACTER SET utf8mb4");
    site.sql("INSERT INTO mailbox SELECT CONVERT(username USING utf8mb4), password FROM account");
    let query = "SELECT hash AS password, name AS username FROM mailbox WHERE name = :user";
    site.write_config(&site.read("authpolicy.toml").replace(common::site::QUERY, query));
    let exim = site.exim();
    assert_eq!(attempt(&exim, GB, "v@example.com  ", "secret"), ACCEPTED, "{}", site.main_log());
    assert_eq!(site.rows().last().unwrap().username, "v@example.com");
    assert_eq!(attempt(&exim, GB, "off@example.com ", "secret"), REFUSED);
    expect_line(
        &site,
        "status=403 reason=disabled rule=account.disabled auth_ok=1 policy_reject=1",
    );
    assert_eq!(attempt(&exim, CN, "u@example.com", "wrong"), REFUSED);
    assert_eq!(attempt(&exim, CN, "\u{fa}@example.com", "wrong"), REFUSED);
    assert_eq!(site.rows().last().unwrap().username, "u@example.com");
    for name in ["u@example.com", " u@example.com", "\u{fb}@example.com"] {
        assert_eq!(attempt(&exim, CN, name, "secret"), REFUSED, "{name}");
        assert_eq!(flags(&site), LIMITED, "{name}: {:?}", site.lines());
    }
}

#[test]
fn failures_count_even_if_one_stored_password_cannot_be_read() {
    let site = site(Base::Sqlite, "", &[limit("account", "account", "failures", 2)]);
    site.sql("CREATE TABLE app (username text, password text)");
    site.sql("INSERT INTO app SELECT username, password FROM account");
    site.sql("INSERT INTO app SELECT username, '{NO-SUCH}x' FROM account");
    let query = "SELECT password FROM app WHERE username = :user";
    site.write_config(&site.read("authpolicy.toml").replace(common::site::QUERY, query));
    let exim = site.exim();
    assert_eq!(attempt(&exim, GB, "v@example.com", "secret"), ACCEPTED);
    for _ in 0..2 {
        assert_eq!(attempt(&exim, GB, "u@example.com", "wrong"), common::smtp::CANNOT_TELL);
    }
    assert_eq!(attempt(&exim, GB, "u@example.com", "secret"), REFUSED);
    assert_eq!(flags(&site), LIMITED);
}

#[test]
fn a_phone_with_an_old_password_does_not_lock_out_others() {
    let site = site(Base::Sqlite, "", &[limit("passwords", "account", "passwords", 3)]);
    let exim = site.exim();
    assert_eq!(attempt(&exim, CN, "u@example.com", "secret"), ACCEPTED);
    for _ in 0..6 {
        assert_eq!(attempt(&exim, GB, "u@example.com", "old"), REFUSED);
        assert_eq!(flags(&site), (NO, NO));
    }
    for password in ["one", "two"] {
        assert_eq!(attempt(&exim, GB, "u@example.com", password), REFUSED);
    }
    assert_eq!(
        attempt(&exim, GB, "u@example.com", "secret"),
        REFUSED,
        "three passwords reach the limit"
    );
    assert_eq!(flags(&site), LIMITED);
    assert_eq!(attempt(&exim, GB, "v@example.com", "secret"), ACCEPTED, "another account");
}

#[test]
fn an_address_that_is_known_good_is_not_locked_out_of_its_account() {
    for base in Base::all() {
        let limits =
            [limit("account", "account", "failures", 2), limit("remote", "remote", "failures", 4)];
        let site = site(base, "", &limits);
        let exim = site.exim();
        assert_eq!(attempt(&exim, GB, "u@example.com", "secret"), ACCEPTED);
        for _ in 0..2 {
            assert_eq!(attempt(&exim, CN, "u@example.com", "wrong"), REFUSED);
        }
        assert_eq!(
            attempt(&exim, CN, "u@example.com", "secret"),
            REFUSED,
            "the attacker is locked out"
        );
        expect_line(&site, "status=403 reason=policy rule=account auth_ok=- policy_reject=1");
        assert_eq!(
            attempt(&exim, GB, "u@example.com", "secret"),
            ACCEPTED,
            "the owner is not locked out"
        );
        // A known good address is not exempt from limits per remote, nor after a change of password.
        site.sql("UPDATE account SET password = '{PLAIN}new' WHERE username = 'u@example.com'");
        assert_eq!(attempt(&exim, GB, "u@example.com", "new"), REFUSED);
        expect_line(&site, "status=403 reason=policy rule=account auth_ok=- policy_reject=1");
        site.tool(&["limits", "clear", "--account", "u@example.com"], "");
        assert_eq!(attempt(&exim, GB, "u@example.com", "new"), ACCEPTED);
        for _ in 0..4 {
            assert_eq!(attempt(&exim, GB, "u@example.com", "wrong"), REFUSED);
            assert_eq!(flags(&site), (NO, NO));
        }
        assert_eq!(attempt(&exim, GB, "u@example.com", "new"), REFUSED);
        expect_line(&site, "status=403 reason=policy rule=remote auth_ok=- policy_reject=1");
        // After `limits clear`, the address is no longer known good.
        site.run_tool(&["limits", "clear", "--all"], "");
        for _ in 0..2 {
            assert_eq!(attempt(&exim, CN, "u@example.com", "wrong"), REFUSED);
        }
        assert_eq!(attempt(&exim, GB, "u@example.com", "new"), REFUSED);
        assert_eq!(flags(&site), LIMITED);
    }
}

#[test]
fn addresses_are_counted_by_network_and_trusted_ones_not_at_all() {
    let policy = "trusted_networks = [\"198.51.100.0/24\"]";
    let limits =
        [limit("remote", "remote", "failures", 2), limit("account", "account", "failures", 20)];
    let site = site(Base::Sqlite, policy, &limits);
    let exim = site.exim();
    for (remote, password, want) in [
        ("2001:db8:1::7", "secret", (YES, NO)),
        ("2001:db8:1::8", "wrong", (NO, NO)),
        ("2001:db8:1:0:a::9", "wrong", (NO, NO)),
        ("2001:db8:1::a", "secret", LIMITED),
        ("2001:db8:1:1::a", "secret", (YES, NO)),
        // A mapped address is the IPv4 address.
        (GB, "wrong", (NO, NO)),
        ("::ffff:192.0.2.7", "wrong", (NO, NO)),
        (GB, "secret", LIMITED),
        (CN, "wrong", (NO, NO)),
        (CN, "wrong", (NO, NO)),
        (CN, "wrong", (NO, NO)),
        (CN, "secret", (YES, NO)),
    ] {
        let _ = attempt(&exim, remote, "u@example.com", password);
        assert_eq!(flags(&site), want, "{remote} {password}: {:?}", site.lines());
    }
}

#[test]
fn distinct_accounts_and_addresses_are_counted() {
    for base in Base::all() {
        let limits = [
            limit("spraying", "remote", "accounts", 2),
            limit("botnet", "account", "remotes", 3),
            limit("world", "account", "countries", 2),
        ];
        let site = site(base, "", &limits);
        let exim = site.exim();
        for (remote, authcid, password, want) in [
            (GB, "v@example.com", "secret", (YES, NO)),
            ("192.0.2.8", "u@example.com", "wrong", (NO, NO)),
            ("192.0.2.8", "u@example.com", "again", (NO, NO)),
            ("192.0.2.8", "nobody@example.com", "wrong", (NO, NO)),
            ("192.0.2.8", "v@example.com", "secret", LIMITED),
            ("192.0.2.9", "u@example.com", "wrong", (NO, NO)),
            ("192.0.2.10", "u@example.com", "wrong", (NO, NO)),
            ("192.0.2.11", "u@example.com", "secret", LIMITED),
            (GB, "nobody@example.com", "wrong", (NO, NO)),
            (CN, "nobody@example.com", "wrong", LIMITED),
        ] {
            // The third address and the second country just reach the limits of the unknown
            // account.
            let _ = attempt(&exim, remote, authcid, password);
            let want =
                if (remote, authcid) == (CN, "nobody@example.com") { (NO, NO) } else { want };
            assert_eq!(flags(&site), want, "{remote} {authcid}: {:?}", site.lines());
        }
        let _ = attempt(&exim, "192.0.2.12", "nobody@example.com", "wrong");
        assert_eq!(flags(&site), LIMITED, "three addresses, two countries");
    }
}

#[test]
fn local_users_count_as_one_address() {
    let site = site(
        Base::Sqlite,
        "trusted_networks = [\"0.0.0.0/0\"]",
        &[limit("guessing", "remote", "failures", 2)],
    );
    let plain =
        |mut client: Client, password: &str| client.plain(b"u@example.com", password.as_bytes());
    assert_eq!(plain(site.pipes(&["-bs"]), "secret"), ACCEPTED, "{}", site.main_log());
    assert_eq!(plain(site.pipes(&["-bs"]), "wrong"), REFUSED);
    let rows = site.rows().len();
    assert_eq!(plain(site.pipes(&["-bh", GB]), "secret"), ACCEPTED);
    assert_eq!(plain(site.pipes(&["-bh", GB]), "wrong"), REFUSED);
    // `exim -bh` is `local` with any address. Its attempts count, although they leave no row.
    assert_eq!(plain(site.pipes(&["-bh", "203.0.113.50"]), "secret"), REFUSED);
    assert_eq!(site.rows().len(), rows);
    assert_eq!(plain(site.pipes(&["-bs"]), "secret"), REFUSED);
    assert_eq!(flags(&site), LIMITED);
    site.tool(&["limits", "clear", "--remote", "local"], "");
    assert_eq!(plain(site.pipes(&["-bs"]), "secret"), ACCEPTED);
}

#[test]
fn log_only_does_not_refuse_and_delay_makes_attempts_wait() {
    let limits = [limit("guessing", "remote", "failures", 1)];
    let site = site(Base::Sqlite, "log_only = true", &limits);
    let exim = site.exim();
    assert_eq!(attempt(&exim, GB, "u@example.com", "wrong"), REFUSED);
    assert_eq!(attempt(&exim, GB, "u@example.com", "secret"), ACCEPTED);
    expect_line(&site, "status=204 reason=would-reject rule=guessing auth_ok=1 policy_reject=0");
    let config = site.read("authpolicy.toml").replace("log_only = true", "");
    site.write_config(&(config + "action = \"delay\"\ndelay = \"1s\"\n"));
    let start = Instant::now();
    assert_eq!(attempt(&exim, GB, "u@example.com", "secret"), ACCEPTED);
    assert!(start.elapsed() >= Duration::from_secs(1), "the attempt was delayed");
    expect_line(&site, "status=204 reason=- rule=- auth_ok=1 policy_reject=0");
}

/// A limit without its table is an error on our side, which admits nobody.
#[test]
fn without_the_table_of_limits_attempts_get_435() {
    for base in Base::all() {
        let site = site(base, "", &[limit("guessing", "remote", "failures", 1)]);
        let exim = site.exim();
        assert_eq!(attempt(&exim, GB, "u@example.com", "secret"), ACCEPTED);
        site.sql("DROP TABLE authpolicy_count");
        let reply = attempt(&exim, GB, "u@example.com", "secret");
        assert_eq!(reply, common::smtp::CANNOT_TELL);
        let lines = site.lines();
        assert!(lines.last().unwrap().contains("authpolicy_count"), "{lines:?}");
        assert_eq!(site.run_tool(&["config"], "").status.code(), Some(2));
        site.tool(&["db", "init"], "");
        assert_eq!(attempt(&exim, GB, "u@example.com", "secret"), ACCEPTED);
    }
}
