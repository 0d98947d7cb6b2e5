//! Other spellings of an account's name, and patterns instead of a name. Rules and counters by name apply
//! to them, or the result is "cannot tell".
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test code"
)]

mod common;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use common::Base;
use common::Client;
use common::Exim;
use common::Site;
use common::driver::cram_md5_response;
use common::limits::NO;
use common::limits::YES;
use common::limits::attempt;
use common::limits::flags;
use common::limits::limit;
use common::site::CN;
use common::site::GB;
use common::smtp::ACCEPTED;
use common::smtp::CANNOT_TELL;
use common::smtp::REFUSED;

/// A query that leaves the name to what the client typed.
const NAMELESS: &str = "SELECT password, allow_countries FROM mailbox WHERE address = :user";
/// One that does not.
const NAMED: &str =
    "SELECT password, allow_countries, address AS username FROM mailbox WHERE address = :user";
/// Spellings of p@example.com under `unicode_ci`, one of nobody, and one that is just odd.
const SPELLINGS: [&str; 5] = [
    "\u{1e55}@example.com",
    "p@ex\u{e1}mple.com",
    "p\u{1}@example.com",
    "\u{1e55}nobody@example.com",
    "\u{ff50}@example.com",
];
const POLICY: &str = "[policy]\nfailure_time = \"0s\"\nhash_nonce = \"nonce\"\n";

/// A site whose accounts are in the administrator's own table, which folds accents.
fn site(base: Base) -> Site {
    let site = Site::new(base, "");
    let collation = match site.base {
        Base::Sqlite => "",
        Base::MariaDb(..) => "CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci",
    };
    site.sql(&format!(
        "CREATE TABLE mailbox (address varchar(80) NOT NULL, password varchar(80), \
         allow_countries varchar(80)) {collation}"
    ));
    for (name, password) in [("p", "secret"), ("mike", "secret"), ("other", "another")] {
        site.sql(&format!(
            "INSERT INTO mailbox (address, password) VALUES ('{name}@example.com', '{{PLAIN}}{password}')"
        ));
    }
    site
}

fn configure(site: &Site, query: &str, policy: &str) {
    let accounts = format!("[accounts]\nquery = \"{query}\"\n");
    site.configure(&format!("{accounts}{}\n{POLICY}{policy}", site.geoip()));
}

fn last_line(site: &Site) -> String {
    site.lines().pop().unwrap()
}

/// The exit status of `authpolicy config`, and what it prints of one check.
fn check(site: &Site, name: &str) -> (Option<i32>, String) {
    let output = site.run_tool(&["config"], "");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let start = format!("check.{name}=");
    let line = text.lines().find_map(|line| line.strip_prefix(&start));
    (output.status.code(), line.unwrap_or_else(|| panic!("{text}")).to_owned())
}

/// All spellings are "cannot tell", whether there is such an account or not.
fn assert_cannot_tell(site: &Site, exim: &Exim, what: &str) {
    assert_eq!(
        attempt(exim, GB, "p@example.com", "secret"),
        ACCEPTED,
        "{what}: {}",
        site.main_log()
    );
    assert_eq!((flags(site), &*site.rows().pop().unwrap().username), ((YES, NO), "p@example.com"));
    for name in SPELLINGS {
        for password in ["secret", "wrong"] {
            let rows = site.rows().len();
            assert_eq!(attempt(exim, GB, name, password), CANNOT_TELL, "{what}: {name:?}");
            let line = last_line(site);
            assert!(
                line.starts_with("attempt status=503 reason=internal rule=- auth_ok=- "),
                "{line}"
            );
            assert!(line.contains("authpolicy.toml: accounts.query: no column username"), "{line}");
            assert_eq!(site.rows().len(), rows + 1);
            assert_eq!(flags(site).0, None);
        }
    }
    assert_eq!(attempt(exim, GB, "mike@example.com", "secret"), ACCEPTED, "{what}");
    assert_eq!(site.panic_log(), "");
}

#[test]
fn without_username_only_plain_names_are_served_if_names_matter() {
    for base in Base::all() {
        let site = site(base);
        let exim = site.exim();
        for policy in [
            String::from("[policy.account.\"other@example.com\"]\ndisabled = true\n"),
            String::from("[policy.domain.\"example.org\"]\nallow_countries = [\"GB\"]\n"),
            String::from("new_country = \"log\"\n"),
            limit("one", "account", "failures", 1000),
            limit("one", "account", "passwords", 1000),
            limit("one", "account+remote", "failures", 1000),
        ] {
            configure(&site, NAMELESS, &policy);
            assert_cannot_tell(&site, &exim, &policy);
            let (status, names) = check(&site, "names");
            assert!(
                names.starts_with("warning accounts.query returns no column username"),
                "{names}"
            );
            assert_eq!(status, Some(0), "a warning");
        }
    }
}

#[test]
fn exceptions_depend_on_names_too() {
    for base in Base::all() {
        let site = site(base);
        configure(&site, NAMELESS, "allow_countries = [\"GB\"]\n");
        let exim = site.exim();
        assert_eq!(check(&site, "names"), (Some(0), String::from("ok")));
        assert_eq!(attempt(&exim, GB, "p@example.com", "secret"), ACCEPTED);
        let want = if matches!(site.base, Base::Sqlite) { REFUSED } else { ACCEPTED };
        assert_eq!(
            attempt(&exim, GB, SPELLINGS[0], "secret"),
            want,
            "nothing has to do with names"
        );
        site.tool(&["exception", "add", "p@example.com", "--countries", "CN", "--until", "2d"], "");
        assert_eq!(attempt(&exim, CN, "p@example.com", "secret"), ACCEPTED, "{}", site.main_log());
        assert_cannot_tell(&site, &exim, "an exception");
        assert!(check(&site, "names").1.starts_with("warning "));
        site.sql("UPDATE authpolicy_exception SET expires = 1");
        assert_eq!(attempt(&exim, GB, SPELLINGS[0], "secret"), want, "it is over");
    }
}

#[test]
fn with_username_all_spellings_get_the_rules_of_the_account() {
    let site = site(Base::mariadb());
    let exim = site.exim();
    let policy = "[policy.account.\"p@example.com\"]\nallow_countries = [\"GB\"]\n";
    configure(&site, NAMED, policy);
    for name in ["p@example.com", SPELLINGS[0], SPELLINGS[1], SPELLINGS[2]] {
        assert_eq!(attempt(&exim, GB, name, "secret"), ACCEPTED, "{}", site.main_log());
        assert_eq!(attempt(&exim, CN, name, "secret"), REFUSED, "{name}");
        assert_eq!(
            (flags(&site), &*site.rows().pop().unwrap().username),
            ((YES, YES), "p@example.com")
        );
    }
    assert_eq!(check(&site, "names"), (Some(0), String::from("ok")));
    // A name that the table does not have for this account is none.
    let empty = NAMED.replace("address AS", "NULLIF(address, 'p@example.com') AS");
    configure(&site, &empty, policy);
    assert_eq!(attempt(&exim, GB, "mike@example.com", "secret"), ACCEPTED, "{}", site.main_log());
    assert_eq!(attempt(&exim, CN, SPELLINGS[0], "secret"), CANNOT_TELL);
    assert!(
        last_line(&site).contains("no column username, or an empty one"),
        "{}",
        last_line(&site)
    );
}

#[test]
fn the_default_query_has_one_name_for_an_account() {
    for base in Base::all() {
        let site = Site::new(base, "");
        site.account("j\u{f6}rg@example.com", "secret");
        site.account("u@example.com", "secret");
        let policy = "[policy.account.\"j\u{f6}rg@example.com\"]\nallow_countries = [\"GB\"]\n";
        site.configure(&format!("{}\n{POLICY}{policy}", site.geoip()));
        let exim = site.exim();
        for name in ["j\u{f6}rg@example.com", "J\u{d6}RG@example.com"] {
            assert_eq!(attempt(&exim, GB, name, "secret"), ACCEPTED, "{}", site.main_log());
            assert_eq!(attempt(&exim, CN, name, "secret"), REFUSED, "the rule holds");
        }
        assert_eq!(attempt(&exim, GB, "jorg@example.com", "secret"), REFUSED, "is another");
        assert_eq!(attempt(&exim, GB, "\u{fa}@example.com", "secret"), REFUSED, "is another");
        assert_eq!(check(&site, "names"), (Some(0), String::from("ok")));
        if matches!(site.base, Base::MariaDb(..)) {
            let varchar =
                "ALTER TABLE account MODIFY username varchar(200) CHARACTER SET utf8mb4 COLLATE";
            site.sql(&format!("{varchar} utf8mb4_bin NOT NULL"));
            assert_eq!(check(&site, "names"), (Some(0), String::from("ok")));
            site.sql(&format!("{varchar} utf8mb4_unicode_ci NOT NULL"));
            let (status, names) = check(&site, "names");
            assert_eq!(status, Some(0), "{names}");
            assert!(
                names.starts_with("warning account.username has the collation utf8mb4_u"),
                "{names}"
            );
        }
    }
}

#[test]
fn a_rule_for_an_ambiguous_name_is_an_error() {
    let site = site(Base::mariadb());
    let exim = site.exim();
    site.sql("INSERT INTO mailbox (address, password) VALUES ('stra\u{df}e@example.com', '{PLAIN}secret')");
    for (rule, key) in [
        ("account.\"stra\u{df}e@example.com\"", "stra\u{df}e@example.com"),
        ("domain.\"ex\u{e1}mple.com\"", "ex\u{e1}mple.com"),
    ] {
        let policy = format!("[policy.{rule}]\nallow_countries = [\"IE\"]\n");
        configure(&site, NAMED, &policy);
        assert_eq!(attempt(&exim, GB, "p@example.com", "secret"), ACCEPTED, "{}", site.main_log());
        let name = if key.contains('@') { "strasse@example.com" } else { "p@example.com" };
        let right = if key.contains('@') { REFUSED } else { ACCEPTED };
        assert_eq!(
            attempt(&exim, GB, name, "secret"),
            right,
            "the rule holds: {}",
            site.main_log()
        );
        configure(&site, NAMELESS, &policy);
        for name in ["strasse@example.com", "p@example.com", "nobody@example.com"] {
            assert_eq!(attempt(&exim, GB, name, "secret"), CANNOT_TELL, "{rule} {name}");
            let text = site.read("authpolicy.toml");
            let line = 1 + text.lines().position(|line| line.contains(rule)).unwrap();
            let want =
                format!("authpolicy.toml: line {line}: policy.{}", rule.replace('"', "\\\""));
            assert!(last_line(&site).contains(&want), "{want}: {}", last_line(&site));
            assert!(last_line(&site).contains("no column username"), "{}", last_line(&site));
        }
        let (status, names) = check(&site, "names");
        assert!(status == Some(2) && names.starts_with("failed "), "{names}");
        assert!(names.contains(&format!("policy.{rule}: the name has")), "{names}");
    }
    // A default domain is part of a rule's name.
    let accounts =
        format!("[accounts]\nquery = \"{NAMELESS}\"\ndefault_domain = \"ex\u{e1}mple.com\"\n");
    site.configure(&format!(
        "{accounts}{}\n{POLICY}[policy.account.p]\ndisabled = true\n",
        site.geoip()
    ));
    assert!(check(&site, "names").1.contains("policy.account.\"p\": the name has"));
    assert_eq!(attempt(&exim, GB, "p@example.com", "secret"), CANNOT_TELL);
}

/// The drivers that prove a password themselves ask for accounts, too.
#[test]
fn drivers_get_no_account_for_another_spelling() {
    let site = site(Base::mariadb());
    configure(&site, NAMELESS, &limit("one", "account", "failures", 2));
    let call = |function: &str, arguments: &str| {
        site.dlfunc(function, &format!("{arguments}{{$sender_host_address}}"))
    };
    let (authorize, finish) = (call("authorize", "{$auth1}"), call("finish", "{$auth1}"));
    let config = site.read("exim.conf");
    site.write(
        "exim.conf",
        &format!(
            "{config}cram_md5:\n  driver = cram_md5\n  public_name = CRAM-MD5\n  server_secret = {}\n  \
             server_condition = {authorize}\n  server_set_id = {finish}\nproved:\n  driver = plaintext\n  \
             public_name = X-PROVED\n  server_prompts = :\n  server_condition = {authorize}\n  \
             server_set_id = {finish}\nkeys:\n  driver = plaintext\n  public_name = X-KEYS\n  \
             server_prompts = :\n  server_condition = ${{if eq{{$auth1}}{{{}}}}}\n  server_set_id = {finish}\n",
            call("secret", "{$auth1}"),
            call("scram", "{stored_key}{$auth1}"),
        ),
    );
    let exim = site.exim();
    let cram_md5 = |name: &str, password: &str| {
        let mut client = Client::connect_from(exim.port, GB);
        let challenge = client.command("AUTH CRAM-MD5");
        let challenge = challenge.strip_prefix("334 ").unwrap();
        client.command(&cram_md5_response(challenge, name, password))
    };
    let proved = |mechanism: &str, name: &str| {
        let response = BASE64_STANDARD.encode(name);
        Client::connect_from(exim.port, GB).command(&format!("AUTH {mechanism} {response}"))
    };
    assert_eq!(cram_md5("p@example.com", "secret"), ACCEPTED, "{}", site.main_log());
    assert_eq!(proved("X-PROVED", "p@example.com"), ACCEPTED, "{}", site.main_log());
    assert_eq!(proved("X-KEYS", "p@example.com"), REFUSED, "{}", site.main_log());
    for name in &SPELLINGS[..2] {
        for password in ["secret", "wrong"] {
            assert_eq!(cram_md5(name, password), CANNOT_TELL);
            assert_eq!(flags(&site).0, None, "{}", site.main_log());
        }
        assert_eq!(proved("X-PROVED", name), CANNOT_TELL);
        assert_eq!(flags(&site).0, None);
        proved("X-KEYS", name);
        assert_eq!(flags(&site).0, None);
        assert!(last_line(&site).starts_with("attempt status=503 "), "{}", last_line(&site));
    }
}

/// All shapes of queries that take a name for a pattern, for both databases or one.
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
        for query in [NAMELESS, NAMED] {
            configure(&site, query, "");
            assert_eq!(check(&site, "accounts"), (Some(0), String::from("ok the query runs")));
        }
        // One row for any name, without a password where there is no such account.
        let single = "SELECT (SELECT password FROM mailbox WHERE address = :user) AS password";
        configure(&site, single, "");
        assert_eq!(check(&site, "accounts").0, Some(0));
        configure(&site, &single.replace("= :user", "LIKE :user LIMIT 1"), "");
        assert_eq!(check(&site, "accounts").0, Some(2));
        for (how, in_sqlite, in_mariadb) in PATTERNS {
            if !(is_sqlite && in_sqlite || !is_sqlite && in_mariadb) {
                continue;
            }
            let (select, _) = NAMELESS.split_once("WHERE").unwrap();
            configure(&site, &format!("{select}{how}"), "");
            let (status, accounts) = check(&site, "accounts");
            assert!(status == Some(2) && accounts.starts_with("failed "), "{how}: {accounts}");
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
        let like = NAMED.replace("= :user", "LIKE :user");
        configure(&site, &like, "");
        let complaints = || {
            let lines = site.lines();
            lines
                .iter()
                .filter(|line| line.contains("which is a pattern of LIKE or REGEXP"))
                .count()
        };
        assert_eq!(attempt(&exim, GB, "p@example.com", "secret"), ACCEPTED, "{}", site.main_log());
        assert_eq!(complaints(), 0);
        let mut client = Client::connect_from(exim.port, GB);
        for name in ["m_ke@example.com", "m%@example.com", "_@example.com"] {
            assert_eq!(client.plain(name.as_bytes(), b"wrong"), REFUSED, "{}", site.main_log());
            assert_eq!(flags(&site), (NO, NO));
        }
        assert_eq!(complaints(), 1, "once in a connection: {}", site.main_log());
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
        assert_eq!(complaints(), 1, "{}", site.main_log());
        assert_eq!(check(&site, "accounts").0, Some(0));
    }
}

#[test]
fn a_cached_account_is_served_only_by_a_plain_name() {
    let rig = common::stale::rig("serve_stale = \"24h\"\n", &["u", "j\u{f6}rg"]);
    for name in ["u", "j\u{f6}rg"] {
        assert_eq!(rig.attempt(name, "secret"), ACCEPTED, "{}", rig.site.main_log());
    }
    let rule = "[policy.account.\"v@example.com\"]\ndisabled = true\n";
    rig.site.write_config(&(rig.site.read("authpolicy.toml") + rule));
    rig.server.kill();
    assert_eq!(rig.attempt("u", "secret"), ACCEPTED, "{}", rig.site.main_log());
    assert_eq!(rig.attempt("j\u{f6}rg", "secret"), CANNOT_TELL);
    let line = last_line(&rig.site);
    assert!(line.contains("accounts.query: no column username"), "{line}");
    rig.server.restart();
    rig.site.tool(&["flush"], "");
    assert_eq!(flags(&rig.site).0, None);
}
