//! Other spellings of an account's name. Rules and counters by name apply to them, or the result is "cannot
//! tell".
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
use common::mailbox::POLICY;
use common::mailbox::QUERY_WITH_USERNAME;
use common::mailbox::QUERY_WITHOUT_USERNAME;
use common::mailbox::check;
use common::mailbox::configure;
use common::mailbox::site;
use common::site::CN;
use common::site::GB;
use common::smtp::ACCEPTED;
use common::smtp::CANNOT_TELL;
use common::smtp::REFUSED;

/// Three spellings of p@example.com under `unicode_ci`, one of an unknown account, and one with a
/// full-width letter.
const SPELLINGS: [&str; 5] = [
    "\u{1e55}@example.com",
    "p@ex\u{e1}mple.com",
    "p\u{1}@example.com",
    "\u{1e55}nobody@example.com",
    "\u{ff50}@example.com",
];

fn last_line(site: &Site) -> String {
    site.lines().pop().unwrap()
}

/// Checks that all spellings get "cannot tell", with or without such an account.
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
            configure(&site, QUERY_WITHOUT_USERNAME, &policy);
            assert_cannot_tell(&site, &exim, &policy);
            let (status, names) = check(&site, "names");
            assert!(
                names.starts_with("warning accounts.query returns no column username"),
                "{names}"
            );
            assert_eq!(status, 0, "a warning");
        }
    }
}

#[test]
fn exceptions_depend_on_names_too() {
    for base in Base::all() {
        let site = site(base);
        configure(&site, QUERY_WITHOUT_USERNAME, "allow_countries = [\"GB\"]\n");
        let exim = site.exim();
        assert_eq!(check(&site, "names"), (0, String::from("ok")));
        assert_eq!(attempt(&exim, GB, "p@example.com", "secret"), ACCEPTED);
        let want = if matches!(site.base, Base::Sqlite) { REFUSED } else { ACCEPTED };
        assert_eq!(attempt(&exim, GB, SPELLINGS[0], "secret"), want, "no rule is for a name");
        site.tool(&["exception", "add", "p@example.com", "--countries", "CN", "--until", "2d"], "");
        assert_eq!(attempt(&exim, CN, "p@example.com", "secret"), ACCEPTED, "{}", site.main_log());
        assert_cannot_tell(&site, &exim, "an exception");
        assert!(check(&site, "names").1.starts_with("warning "));
        site.sql("UPDATE authpolicy_exception SET expires = 1");
        assert_eq!(attempt(&exim, GB, SPELLINGS[0], "secret"), want, "the exception has expired");
    }
}

#[test]
fn with_username_all_spellings_get_the_rules_of_the_account() {
    let site = site(Base::mariadb());
    let exim = site.exim();
    let policy = "[policy.account.\"p@example.com\"]\nallow_countries = [\"GB\"]\n";
    configure(&site, QUERY_WITH_USERNAME, policy);
    for name in ["p@example.com", SPELLINGS[0], SPELLINGS[1], SPELLINGS[2]] {
        assert_eq!(attempt(&exim, GB, name, "secret"), ACCEPTED, "{}", site.main_log());
        assert_eq!(attempt(&exim, CN, name, "secret"), REFUSED, "{name}");
        assert_eq!(
            (flags(&site), &*site.rows().pop().unwrap().username),
            ((YES, YES), "p@example.com")
        );
    }
    assert_eq!(check(&site, "names"), (0, String::from("ok")));
    // The query returns NULL as the name of this account.
    let empty = QUERY_WITH_USERNAME.replace("address AS", "NULLIF(address, 'p@example.com') AS");
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
        assert_eq!(attempt(&exim, GB, "jorg@example.com", "secret"), REFUSED, "another account");
        assert_eq!(attempt(&exim, GB, "\u{fa}@example.com", "secret"), REFUSED, "another account");
        assert_eq!(check(&site, "names"), (0, String::from("ok")));
        if matches!(site.base, Base::MariaDb(..)) {
            let varchar =
                "ALTER TABLE account MODIFY username varchar(200) CHARACTER SET utf8mb4 COLLATE";
            site.sql(&format!("{varchar} utf8mb4_bin NOT NULL"));
            assert_eq!(check(&site, "names"), (0, String::from("ok")));
            site.sql(&format!("{varchar} utf8mb4_unicode_ci NOT NULL"));
            let (status, names) = check(&site, "names");
            assert_eq!(status, 0, "{names}");
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
        configure(&site, QUERY_WITH_USERNAME, &policy);
        assert_eq!(attempt(&exim, GB, "p@example.com", "secret"), ACCEPTED, "{}", site.main_log());
        let name = if key.contains('@') { "strasse@example.com" } else { "p@example.com" };
        let right = if key.contains('@') { REFUSED } else { ACCEPTED };
        assert_eq!(
            attempt(&exim, GB, name, "secret"),
            right,
            "the rule holds: {}",
            site.main_log()
        );
        configure(&site, QUERY_WITHOUT_USERNAME, &policy);
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
        assert!(status == 2 && names.starts_with("failed "), "{names}");
        assert!(names.contains(&format!("policy.{rule}: the name has")), "{names}");
    }
    // A default domain is part of a rule's name.
    let accounts = format!(
        "[accounts]\nquery = \"{QUERY_WITHOUT_USERNAME}\"\ndefault_domain = \"ex\u{e1}mple.com\"\n"
    );
    site.configure(&format!(
        "{accounts}{}\n{POLICY}[policy.account.p]\ndisabled = true\n",
        site.geoip()
    ));
    assert!(check(&site, "names").1.contains("policy.account.\"p\": the name has"));
    assert_eq!(attempt(&exim, GB, "p@example.com", "secret"), CANNOT_TELL);
}

/// Drivers that check the proof themselves also look up accounts.
#[test]
fn drivers_get_no_account_for_another_spelling() {
    let site = site(Base::mariadb());
    configure(&site, QUERY_WITHOUT_USERNAME, &limit("one", "account", "failures", 2));
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

#[test]
fn a_remembered_account_is_served_only_by_a_plain_name() {
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
