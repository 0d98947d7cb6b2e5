//! Regressions: each test is for a fault that once admitted a client or gave a wrong answer.
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
use common::MariaDb;
use common::Site;
use common::site::CN;
use common::site::GB;
use common::smtp::ACCEPTED;
use common::smtp::CANNOT_TELL;
use common::smtp::REFUSED;
use mysql::prelude::Queryable;

const POLICY: &str = "[policy]\nallow_countries = [\"GB\"]\nfailure_time = \"0s\"\n";

fn site(base: Base) -> Site {
    let site = Site::new(base, POLICY);
    site.account("u@example.com", "secret");
    site
}

fn attempt(port: u16, remote: &str, authcid: &str, password: &str) -> String {
    Client::connect_from(port, remote).plain(authcid.as_bytes(), password.as_bytes())
}

#[test]
fn an_accounts_country_rule_without_a_geoip_file_is_435() {
    let site = site(Base::Sqlite);
    let exim = site.exim();
    let config = site.read("authpolicy.toml");
    site.write_config(&config.replace(&site.geoip(), "").replace("allow_countries = [", "# ["));
    assert_eq!(attempt(exim.port, CN, "u@example.com", "secret"), ACCEPTED, "no rule at all");
    site.sql("UPDATE account SET allow_countries = 'GB'");
    for remote in [CN, GB] {
        assert_eq!(attempt(exim.port, remote, "u@example.com", "secret"), CANNOT_TELL);
    }
    site.sql("UPDATE account SET allow_countries = '*'");
    assert_eq!(attempt(exim.port, CN, "u@example.com", "secret"), ACCEPTED, "any country");
    assert!(site.lines()[1].contains("has a country rule"), "{}", site.lines()[1]);
}

#[test]
fn a_name_that_the_tables_character_set_cannot_hold_is_an_unknown_account() {
    for charset in ["latin1", "utf8mb3"] {
        let site = site(Base::mariadb());
        site.sql(&format!(
            "ALTER TABLE account MODIFY username varchar(200) CHARACTER SET {charset} NOT NULL"
        ));
        let exim = site.exim();
        assert_eq!(attempt(exim.port, GB, "u@example.com", "secret"), ACCEPTED);
        assert_eq!(attempt(exim.port, GB, "😀@example.com", "secret"), REFUSED, "{charset}");
        let rows = site.rows();
        assert_eq!((rows[1].auth_ok, rows[1].policy_reject), (Some(false), Some(false)));
    }
}

#[test]
fn no_row_is_lost_under_unusual_server_defaults() {
    let server = MariaDb::start();
    let mut root = server.root("");
    root.query_drop("SET GLOBAL autocommit = 0").unwrap();
    root.query_drop("SET GLOBAL sql_mode = 'TRADITIONAL'").unwrap();
    let name = server.database();
    let url = server.url(&name);
    let site = site(Base::MariaDb(std::sync::Arc::new(server), name, url));
    let exim = site.exim();
    assert_eq!(attempt(exim.port, GB, "u@example.com", "secret"), ACCEPTED);
    assert_eq!(attempt(exim.port, GB, &"a".repeat(112), "secret"), REFUSED);
    let names: Vec<_> = site.rows().into_iter().map(|row| row.username).collect();
    assert_eq!(names, [String::from("u@example.com"), "a".repeat(80)]);
}

#[test]
fn a_row_that_took_too_long_is_stored_once() {
    let site = site(Base::mariadb());
    let exim = site.exim();
    assert_eq!(attempt(exim.port, GB, "u@example.com", "secret"), ACCEPTED);
    let config = site.read("authpolicy.toml");
    site.write_config(&config.replace("[state]", "query_timeout = \"300ms\"\n[state]"));
    let Base::MariaDb(server, name, _) = &site.base else { panic!("a server") };
    let mut other = server.root(name);
    other.query_drop("START TRANSACTION").unwrap();
    other.query_drop("SELECT * FROM connection_log FOR UPDATE").unwrap();
    assert_eq!(attempt(exim.port, GB, "u@example.com", "secret"), ACCEPTED);
    let line = &site.lines()[1];
    assert!(line.contains("took too long: the row waits in the journal"), "{line}");
    other.query_drop("COMMIT").unwrap();
    // The server notices that its client has gone only when it has the lock.
    let waits = format!("SELECT COUNT(*) FROM information_schema.processlist WHERE db = '{name}'");
    for _ in 0..200 {
        let others: u32 = server.root("").query_first(&waits).unwrap().unwrap();
        if others <= 1 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(site.rows().len(), 1, "what was not committed is rolled back");
    assert!(site.tool(&["flush"], "").starts_with("stored=1\nknown=0\n"));
    assert_eq!(site.rows().len(), 2);
}

#[test]
fn several_rows_are_several_passwords_of_one_account() {
    for base in Base::all() {
        let site = site(base);
        site.account("v@example.com", "other");
        let exim = site.exim();
        let config = site.read("authpolicy.toml");
        let query = "WHERE username = :user";
        let both = "WHERE :user IN ('u@example.com', 'v@example.com')";
        site.write_config(&config.replace(query, both));
        for password in ["secret", "other"] {
            assert_eq!(attempt(exim.port, GB, "u@example.com", password), ACCEPTED);
        }
        assert_eq!(attempt(exim.port, GB, "u@example.com", "neither"), REFUSED);
        assert_eq!(attempt(exim.port, GB, "nobody@example.com", "secret"), REFUSED);
        site.sql("UPDATE account SET allow_nets = '10.0.0.0/8' WHERE username = 'v@example.com'");
        for password in ["secret", "other"] {
            assert_eq!(attempt(exim.port, GB, "u@example.com", password), CANNOT_TELL);
        }
        assert!(site.main_log().contains("several rows that differ"), "{}", site.main_log());
    }
}

#[test]
fn a_query_without_password_and_a_parameter_of_another_form_are_435() {
    let site = site(Base::Sqlite);
    let exim = site.exim();
    assert_eq!(attempt(exim.port, GB, "u@example.com", "secret"), ACCEPTED);
    let config = site.read("authpolicy.toml");
    for (query, want) in [
        (config.replace("SELECT password", "SELECT password AS hash"), "no column named password"),
        (config.replace("= :user", "= :user AND active = @active"), "@active"),
    ] {
        site.write_config(&query);
        for user in ["u@example.com", "nobody@example.com"] {
            assert_eq!(attempt(exim.port, GB, user, "secret"), CANNOT_TELL, "{want}");
        }
        let output = site.run_tool(&["config"], "");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && stderr.contains(want), "{stderr}");
    }
}

#[test]
fn the_tool_changes_no_table_but_ours() {
    let site = site(Base::Sqlite);
    std::fs::copy(site.path("authpolicy.toml"), site.path("accounts.toml")).unwrap();
    let output = site.run_tool(&["user", "disable", "u@example.com"], "");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr.contains("accounts.query is your own"), "{stderr}");
}

#[test]
fn finish_returns_only_the_authorized_account() {
    let site = site(Base::Sqlite);
    site.account("ceo@example.com", "other");
    let [condition, id] = [("authorize", "{$auth2}"), ("finish", "{$auth1}")]
        .map(|(name, authcid)| site.dlfunc(name, &format!("{authcid}{{$sender_host_address}}")));
    // An easy mistake: the first part of PLAIN is the identity that the client asks for.
    let config = site.read("exim.conf").replace("begin authenticators", &format!(
        "begin authenticators\nproved:\n  driver = plaintext\n  public_name = X-PROVED\n  \
         server_prompts = :\n  server_condition = ${{if and{{{{eq{{$auth3}}{{secret}}}}{{bool{{{condition}}}}}}}}}\n  \
         server_set_id = {id}\n"
    ));
    site.write(
        "exim.conf",
        &config.replace("deny message = ", "deny message = id=$authenticated_id "),
    );
    let exim = site.exim();
    let mut client = Client::connect_from(exim.port, GB);
    let response = BASE64_STANDARD.encode(b"ceo@example.com\0u@example.com\0secret");
    assert_eq!(
        client.command(&format!("AUTH X-PROVED {response}")),
        ACCEPTED,
        "{}",
        site.main_log()
    );
    let facts = client.command("MAIL FROM:<>");
    assert!(facts.contains("id=u@example.com"), "{facts}");
    assert!(facts.contains("username=u@example.com"), "last still returns the name: {facts}");
    let rows: Vec<_> = site.rows().into_iter().map(|r| (r.username, r.auth_ok)).collect();
    let row = |name: &str, auth_ok| (String::from(name), auth_ok);
    assert_eq!(rows, [row("u@example.com", Some(true)), row("ceo@example.com", None)]);
    let lines = site.lines();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines[1].starts_with("attempt status=503 reason=internal rule=- auth_ok=- "),
        "{lines:?}"
    );
    assert!(lines[1].contains("finish got another authcid than authorize"), "{lines:?}");
    assert!(lines[1].ends_with(" user=\"ceo@example.com\""), "{lines:?}");
    // Invalid names from the client do not count for fail2ban either.
    for (name, rows) in [(&b"caf\xe9"[..], 4), (&[b'a'; 300], 6), (b"U@EXAMPLE.COM", 7), (b"", 8)] {
        let mut client = Client::connect_from(exim.port, GB);
        let response = BASE64_STANDARD.encode([name, b"u@example.com", b"secret"].join(&0));
        assert_eq!(client.command(&format!("AUTH X-PROVED {response}")), ACCEPTED, "{name:?}");
        assert!(client.command("MAIL FROM:<>").contains("id=u@example.com"), "{name:?}");
        assert_eq!(site.rows().len(), rows, "{name:?}: {}", site.main_log());
    }
    let counted = |line: &&String| line.contains("status=40");
    assert_eq!(site.lines().iter().filter(counted).count(), 0, "{}", site.main_log());
    // A refused client still gets 535.
    let mut client = Client::connect_from(exim.port, CN);
    assert_eq!(client.command(&format!("AUTH X-PROVED {response}")), REFUSED);
    let last = site.rows().split_off(8);
    let flags: Vec<_> = last.iter().map(|row| (row.auth_ok, row.policy_reject)).collect();
    assert_eq!(flags, [(Some(true), Some(true)), (None, Some(true))]);
}

#[test]
fn an_unreadable_account_table_is_435_but_a_missing_one_is_not() {
    let site = site(Base::mariadb());
    let Base::MariaDb(server, name, url) = &site.base else { panic!("a server") };
    let authorize = site.dlfunc("authorize", "{u@example.com}{$sender_host_address}");
    let exim_conf = site.read("exim.conf");
    let check = exim_conf.lines().find(|line| line.contains("{check}")).unwrap();
    site.write(
        "exim.conf",
        &exim_conf.replace(check, &format!("  server_condition = {authorize}")),
    );
    let mut root = server.root(name);
    let user = format!("nosy_{name}");
    for sql in [
        format!("CREATE USER {user}@localhost IDENTIFIED BY 'x'"),
        format!("GRANT INSERT ON {name}.connection_log TO {user}@localhost"),
        String::from("UPDATE account SET allow_countries = 'ZZ'"),
    ] {
        root.query_drop(sql).unwrap();
    }
    let exim = site.exim();
    let attempt = || attempt(exim.port, GB, "u@example.com", "secret");
    site.configure(&format!("{}\n{POLICY}", site.geoip()));
    assert_eq!(attempt(), REFUSED, "its own rule refuses: {}", site.main_log());
    let socket = server.socket();
    let nosy = format!("mysql://{user}:x@localhost/{name}?socket={}", socket.display());
    let ours = site.read("authpolicy.toml");
    site.write_config(&ours.replace(url.as_str(), &nosy));
    assert_eq!(attempt(), CANNOT_TELL, "{}", site.main_log());
    site.write_config(&ours);
    site.sql("DROP TABLE account");
    assert_eq!(attempt(), ACCEPTED, "without a table, the default rules hold: {}", site.main_log());
}

#[test]
fn time_for_hashing_does_not_count_for_attempt_timeout() {
    let site = site(Base::Sqlite);
    site.tool(
        &["user", "add", "slow@example.com", "--scheme", "BLF-CRYPT", "--cost", "14"],
        "secret",
    );
    let exim = site.exim();
    // Four passwords of about a second each, and a second for the databases.
    let config = site.read("authpolicy.toml");
    let rows = "WHERE username = :user UNION ALL SELECT password, allow_countries, deny_countries, \
                allow_nets, 1 - active FROM account";
    let config = config.replace("WHERE username = :user", &[rows; 4].join(" "));
    let config = config.replace("FROM account\"", "FROM account WHERE username = :user\"");
    let limits =
        "connect_timeout = \"1s\"\nquery_timeout = \"1s\"\nattempt_timeout = \"1s\"\n[state]";
    site.write_config(&config.replace("[state]", limits));
    let user = "slow@example.com";
    assert_eq!(attempt(exim.port, GB, user, "secret"), ACCEPTED, "{}", site.main_log());
    assert_eq!(attempt(exim.port, GB, user, "wrong"), REFUSED, "{}", site.main_log());
    assert_eq!(attempt(exim.port, GB, "nobody@example.com", "secret"), REFUSED);
    assert_eq!(site.rows().len(), 3);
    let dummy_hash = site.read("state/dummy-hash");
    assert!(
        dummy_hash.starts_with("$2y$14$......"),
        "as much work as the slowest account: {dummy_hash}"
    );
}

#[test]
fn the_wal_of_the_embedded_database_stays_short_even_if_no_process_keeps_it_open() {
    let site = site(Base::Sqlite);
    let exim = site.exim();
    let mut longest = 0;
    for _ in 0..150 {
        assert_eq!(attempt(exim.port, GB, "u@example.com", "secret"), ACCEPTED);
        longest = longest.max(site.path("state/authpolicy.db-wal").metadata().unwrap().len());
    }
    assert_eq!(site.rows().len(), 150);
    assert!((1..100_000).contains(&longest), "{longest} bytes to read at each AUTH");
}
