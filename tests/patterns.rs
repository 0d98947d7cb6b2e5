//! Patterns in place of a name, against queries that compare with LIKE, REGEXP or GLOB.
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
use common::limits::NO;
use common::limits::attempt;
use common::limits::flags;
use common::mailbox::QUERY_WITH_USERNAME;
use common::mailbox::QUERY_WITHOUT_USERNAME;
use common::mailbox::check;
use common::mailbox::configure;
use common::mailbox::site;
use common::site::GB;
use common::smtp::ACCEPTED;
use common::smtp::REFUSED;

/// Conditions that treat a name as a pattern, and if SQLite and MariaDB accept them.
const PATTERNS: [(&str, bool, bool); 7] = [
    ("WHERE address LIKE :user", true, true),
    ("WHERE address LIKE :login", true, true),
    ("WHERE address LIKE :local_part || '@%' OR address = :user", true, false),
    ("WHERE address LIKE CONCAT(:local_part, '@', :domain)", false, true),
    ("WHERE address REGEXP :user", false, true),
    ("WHERE address REGEXP :login AND :tls = 1 AND :protocol = 'SMTP'", false, true),
    ("WHERE address GLOB :user", true, false),
];

#[test]
fn config_fails_for_a_query_that_matches_patterns() {
    for base in Base::all() {
        let is_sqlite = matches!(base, Base::Sqlite);
        let site = site(base);
        for query in [QUERY_WITHOUT_USERNAME, QUERY_WITH_USERNAME] {
            configure(&site, query, "");
            assert_eq!(check(&site, "accounts"), (0, String::from("ok the query runs")));
        }
        // One row for any name, without a password where there is no such account.
        let single = "SELECT (SELECT password FROM mailbox WHERE address = :user) AS password";
        configure(&site, single, "");
        assert_eq!(check(&site, "accounts").0, 0);
        configure(&site, &single.replace("= :user", "LIKE :user LIMIT 1"), "");
        assert_eq!(check(&site, "accounts").0, 2);
        for (condition, in_sqlite, in_mariadb) in PATTERNS {
            if !(is_sqlite && in_sqlite || !is_sqlite && in_mariadb) {
                continue;
            }
            let (select, _) = QUERY_WITHOUT_USERNAME.split_once("WHERE").unwrap();
            configure(&site, &format!("{select}{condition}"), "");
            let (status, accounts) = check(&site, "accounts");
            assert!(status == 2 && accounts.starts_with("failed "), "{condition}: {accounts}");
            assert!(
                accounts.contains("authpolicy.toml: accounts.query: finds an account"),
                "{accounts}"
            );
            assert!(accounts.contains("compare with = instead of LIKE"), "{accounts}");
        }
        // A domain that is compared with = must be a known one.
        let policy = "[policy.domain.\"example.com\"]\nallow_countries = [\"GB\"]\n";
        site.sql("ALTER TABLE mailbox ADD COLUMN local_part varchar(80)");
        site.sql("UPDATE mailbox SET local_part = 'p' WHERE address = 'p@example.com'");
        let query = "SELECT password FROM mailbox WHERE local_part LIKE :local_part \
                     AND address = 'p@example.com' AND :domain = 'example.com'";
        configure(&site, query, policy);
        assert!(
            check(&site, "accounts").1.contains("finds an account for the name \"%@example.com\"")
        );
    }
}

#[test]
fn a_pattern_login_is_logged_once_and_an_alias_is_not() {
    for base in Base::all() {
        let site = site(base);
        let exim = site.exim();
        let like = QUERY_WITH_USERNAME.replace("= :user", "LIKE :user");
        configure(&site, &like, "");
        let reports = || {
            let lines = site.lines();
            lines
                .iter()
                .filter(|line| line.contains("which is a pattern of LIKE or REGEXP"))
                .count()
        };
        assert_eq!(attempt(&exim, GB, "p@example.com", "secret"), ACCEPTED, "{}", site.main_log());
        assert_eq!(reports(), 0);
        let mut client = Client::connect_from(exim.port, GB);
        for name in ["m_ke@example.com", "m%@example.com", "_@example.com"] {
            assert_eq!(client.plain(name.as_bytes(), b"wrong"), REFUSED, "{}", site.main_log());
            assert_eq!(flags(&site), (NO, NO));
        }
        assert_eq!(reports(), 1, "once in a connection: {}", site.main_log());
        let lines = site.lines();
        let line = lines.iter().find(|line| line.starts_with("trouble function=check ")).unwrap();
        assert!(line.contains("accounts.query found \\\"mike@example.com\\\""), "{line}");
        assert!(line.contains("for the login \\\"m_ke@example.com\\\""), "{line}");
        // An alias with such a character is an ordinary login.
        site.sql(
            "CREATE TABLE alias AS SELECT 'm_tubby@example.com' AS name, address FROM mailbox \
             WHERE address = 'mike@example.com'",
        );
        let by_alias = "SELECT password, mailbox.address AS username FROM mailbox JOIN alias \
                        ON mailbox.address = alias.address WHERE name = :user";
        configure(&site, by_alias, "");
        assert_eq!(attempt(&exim, GB, "m_tubby@example.com", "secret"), ACCEPTED);
        assert_eq!(site.rows().pop().unwrap().username, "mike@example.com");
        assert_eq!(reports(), 1, "{}", site.main_log());
        assert_eq!(check(&site, "accounts").0, 0);
    }
}
