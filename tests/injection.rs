//! SQL from clients, through every function that takes client input, and through the tool. It is
//! looked up, counted and stored like any name, and no statement has it in its text.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test code"
)]

mod common;

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use common::Base;
use common::Client;
use common::MariaDb;
use common::Row;
use common::Site;
use common::site::GB;
use common::smtp::ACCEPTED;
use common::smtp::CANNOT_TELL;
use common::smtp::REFUSED;
use mysql::prelude::Queryable;

/// A word in each hostile text, to search for.
const MARK: &str = "mallory";

/// Hostile texts, in lower case as names are stored. A UNION needs five columns, like the query of accounts.
const HOSTILE: [&str; 22] = [
    "mallory' or '1'='1",
    "mallory' or 1=1 -- ",
    "mallory' or 1=1 #",
    "mallory\" or \"\"=\"",
    "mallory\\' or 1=1 -- ",
    "mallory\\",
    "mallory') or ('1'='1",
    "mallory'; drop table account; --",
    "mallory'; delete from connection_log; commit; --",
    "mallory'; update account set password = '{plain}x'; --",
    "mallory' union select '{plain}x', null, null, null, 0 -- ",
    "mallory' union select password, null, null, null, 0 from account -- ",
    "mallory'/**/or/**/1=1/*",
    "mallory'||(select password from account limit 1)||'",
    "mallory' and sleep(5) and '1'='1",
    "mallory`; drop table precious; --",
    "%mallory%",
    ":user mallory",
    "?1 mallory ? @active $1",
    "mallory'', '', '', '', 1, 0), ('smtp",
    "0x27206f7220313d31 mallory",
    "mallory' into outfile '/tmp/x' -- ",
];

/// Uses all text parameters, and limits, new countries and exceptions, whose tables contain names.
const CONFIG: &str = "[accounts]
query = \"SELECT password, allow_countries, deny_countries, allow_nets, 1 - active AS disabled \
FROM account WHERE username = :user AND :login <> '' AND :local_part <> '' AND :domain IS NOT NULL \
AND :remote IS NOT NULL AND :protocol IS NOT NULL\"
[log]
insert = \"INSERT INTO connection_log (protocol, username, remote_ip, country, auth_ok, \
policy_reject, helo, mechanism, tls) VALUES (:protocol, :username, :remote_ip, :country, :auth_ok, \
:policy_reject, :helo, :mechanism, :tls)\"
[policy]
failure_time = \"0s\"
new_country = \"log\"
hash_nonce = \"nonce\"
[[policy.limit]]
name = \"guesses\"
per = \"account\"
count = \"failures\"
max = 1000
within = \"10m\"
";

/// A site with one mechanism for each function. A client sends an option such as the protocol, the
/// name and the password.
fn site(base: Base) -> Site {
    let site = Site::new(base, "");
    site.configure(&format!("{}{CONFIG}", site.geoip()));
    site.account("u@example.com", "secret");
    site.account("v@example.com", "x");
    // This account's rule refuses, so that a test notices if a query finds it instead of another.
    site.sql("UPDATE account SET allow_countries = 'ZZ' WHERE username = 'v@example.com'");
    site.sql("CREATE TABLE precious (word varchar(20))");
    site.sql("INSERT INTO precious VALUES ('still here')");
    let wide = ["helo", "mechanism", "tls"].map(|column| format!("ADD COLUMN {column}"));
    let narrow = ["protocol", "username", "remote_ip"].map(|column| format!("MODIFY {column}"));
    let narrow = if matches!(site.base, Base::Sqlite) { &[][..] } else { &narrow };
    for change in wide.iter().chain(narrow) {
        site.sql(&format!("ALTER TABLE connection_log {change} varchar(255)"));
    }
    let (remote, options) =
        ("{$sender_host_address}", "{protocol=$auth1}{helo=$auth1}{tls=$auth1}");
    let call = |function: &str, arguments: &str| {
        site.dlfunc(function, &format!("{arguments}{remote}{options}"))
    };
    let end = call("finish", "{$auth2}");
    let secret = call("secret", "{$auth2}");
    let key = call("scram", "{server_key}{$auth2}");
    let allow = site.dlfunc("allow", "{$auth2}{helo=$auth1}");
    let country = site.dlfunc("country", "{$auth2}{helo=$auth1}");
    let mut mechanisms = String::new();
    for (name, condition, id) in [
        ("CHECK", call("check", "{$auth2}{$auth3}"), ""),
        ("AUTHORIZE", call("authorize", "{$auth2}"), &*end),
        ("FINISH", String::from("false"), &end),
        ("SECRET", format!("${{if eq{{$auth3}}{{{secret}}}}}"), &end),
        ("SCRAM", format!("${{if eq{{$auth3}}{{{key}}}}}"), &end),
        (
            "REMOTE",
            site.dlfunc("check", &format!("{{u@example.com}}{{secret}}{{$auth2}}{options}")),
            "",
        ),
        ("ADDRESS", format!("${{if eq{{[{allow}{country}]}}{{[yes]}}}}"), ""),
    ] {
        mechanisms.push_str(&format!(
            "x_{name}:\n  driver = plaintext\n  public_name = X-{name}\n  server_prompts = :\n  \
             server_condition = {condition}\n  server_set_id = {id}\n"
        ));
    }
    let config = site.read("exim.conf");
    site.write("exim.conf", &format!("{config}{mechanisms}"));
    site
}

fn attempt(port: u16, mechanism: &str, option: &str, name: &str, password: &str) -> String {
    let response = BASE64_STANDARD.encode([option, name, password].join("\0"));
    Client::connect_from(port, GB).command(&format!("AUTH X-{mechanism} {response}"))
}

/// The data that no attempt may change: the list of tables, and the rows of those that are not
/// ours.
fn protected_data(site: &Site) -> Vec<String> {
    let tables = match site.base {
        Base::Sqlite => "SELECT name FROM sqlite_master ORDER BY name",
        Base::MariaDb(..) => {
            "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() \
             ORDER BY table_name"
        }
    };
    let accounts =
        "SELECT CONCAT(username, ' ', password, ' ', active) FROM account ORDER BY username";
    let precious = "SELECT word FROM precious";
    [tables, accounts, precious].iter().flat_map(|sql| site.texts(sql)).collect()
}

/// Sends each hostile text as each argument. Returns the rows that are expected.
fn send_hostile_input(site: &Site, port: u16) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut row = |protocol: &str, username: &str, remote_ip: &str, flags| {
        let (auth_ok, policy_reject) = flags;
        let country = if remote_ip == GB { "GB" } else { "" };
        let [protocol, username, remote_ip, country] =
            [protocol, username, remote_ip, country].map(str::to_owned);
        rows.push(Row { protocol, username, remote_ip, country, auth_ok, policy_reject });
    };
    let refused = (Some(false), Some(false));
    assert_eq!(
        attempt(port, "CHECK", "SMTP", "u@example.com", "secret"),
        ACCEPTED,
        "{}",
        site.main_log()
    );
    row("SMTP", "u@example.com", GB, (Some(true), Some(false)));
    for text in HOSTILE {
        for (mechanism, reply, flags) in [
            ("CHECK", REFUSED, refused),
            // Another service has checked the password, and the account is not in the table.
            ("AUTHORIZE", ACCEPTED, (Some(true), Some(false))),
            ("FINISH", REFUSED, refused),
            ("SECRET", REFUSED, refused),
            ("SCRAM", REFUSED, refused),
        ] {
            let start = std::time::Instant::now();
            assert_eq!(attempt(port, mechanism, text, text, text), reply, "{mechanism} {text}");
            assert!(start.elapsed().as_secs() < 5, "{mechanism} {text}: no SLEEP is executed");
            row(text, text, GB, flags);
        }
        // As the password of an existing account.
        assert_eq!(attempt(port, "CHECK", text, "u@example.com", text), REFUSED, "{text}");
        row(text, "u@example.com", GB, refused);
        assert_eq!(attempt(port, "REMOTE", text, text, ""), CANNOT_TELL, "{text}");
        row(text, "u@example.com", text, (None, None));
        assert_eq!(attempt(port, "ADDRESS", text, text, ""), ACCEPTED, "{}", site.main_log());
    }
    assert_eq!(attempt(port, "CHECK", "SMTP", "u@example.com", "secret"), ACCEPTED);
    row("SMTP", "u@example.com", GB, (Some(true), Some(false)));
    rows
}

fn sorted(mut texts: Vec<String>) -> Vec<String> {
    texts.sort_unstable();
    texts
}

fn check_hostile_input(site: &Site) {
    let before = protected_data(site);
    let exim = site.exim();
    let rows = send_hostile_input(site, exim.port);
    assert_eq!(protected_data(site), before);
    let found = site.rows();
    assert_eq!(found.len(), rows.len());
    for (found, row) in found.iter().zip(&rows) {
        assert_eq!(found, row);
    }
    for column in ["helo", "tls"] {
        let sql = format!("SELECT DISTINCT {column} FROM connection_log WHERE {column} <> 'SMTP'");
        let stored = sorted(site.texts(&sql));
        let want = if column == "helo" {
            sorted(HOSTILE.map(str::to_owned).to_vec())
        } else {
            stored.clone()
        };
        assert_eq!(stored, want, "{column}");
    }
    let names = |table: &str| sorted(site.texts(&format!("SELECT DISTINCT account FROM {table}")));
    let mut known = HOSTILE.map(|text| text.trim().to_owned()).to_vec();
    // The existing account has logged in from this address, so that its failures are not counted.
    assert_eq!(names("authpolicy_count WHERE value <> ''"), sorted(known.clone()));
    known.push(String::from("u@example.com"));
    assert_eq!(names("authpolicy_seen"), sorted(known));
    assert_eq!(site.panic_log(), "");
}

#[test]
fn client_input_is_only_data_to_sqlite() {
    check_hostile_input(&site(Base::Sqlite));
}

#[test]
fn mariadb_gets_client_input_only_as_values() {
    let server = MariaDb::start();
    let (name, mut root) = (server.database(), server.root(""));
    let url = server.url(&name);
    let site = site(Base::MariaDb(Arc::new(server), name, url));
    root.query_drop("SET GLOBAL log_output = 'TABLE'").unwrap();
    root.query_drop("SET GLOBAL general_log = 1").unwrap();
    check_hostile_input(&site);
    root.query_drop("SET GLOBAL general_log = 0").unwrap();
    let mut logged = |kind: &str, mark: &str| -> u64 {
        let sql = format!(
            "SELECT COUNT(*) FROM mysql.general_log WHERE command_type {kind} \
             AND user_host LIKE 'exim%' AND argument LIKE '%{mark}%'"
        );
        root.query_first(sql).unwrap().unwrap()
    };
    let hex: String = MARK.bytes().map(|byte| format!("{byte:02X}")).collect();
    // For a prepared statement, the server also logs its execution, with the values in the text.
    let counts = [
        logged("= 'Query'", &hex),
        logged("= 'Query'", "EXECUTE IMMEDIATE"),
        logged("= 'Execute'", MARK),
    ];
    assert!(counts.iter().all(|count| *count > 100), "as literals, and bound: {counts:?}");
    assert_eq!(logged("<> 'Execute'", MARK), 0, "no statement contains client input");
    let outside: u64 = root
        .query_first(format!(
            "SELECT COUNT(*) FROM mysql.general_log WHERE user_host LIKE 'exim%' \
             AND REGEXP_REPLACE(argument, \"_utf8mb4 X'[0-9A-F]*'\", '') LIKE '%{hex}%'"
        ))
        .unwrap()
        .unwrap();
    assert_eq!(outside, 0, "it is in whole literals only");
}

#[test]
fn the_tool_treats_hostile_arguments_as_names() {
    for base in Base::all() {
        let site = site(base);
        assert_eq!(site.run_tool(&["test", "u@example.com", GB], "secret").status.code(), Some(0));
        let before = protected_data(&site);
        for text in HOSTILE {
            let status = |arguments: &[&str]| site.run_tool(arguments, text).status.code().unwrap();
            assert_eq!(status(&["test", text, GB]), 1, "{text}");
            for arguments in [
                &["log", "--user", text][..],
                &["log", "--remote", text],
                &["log", "--country", text, "--summary"],
                &["exception", "list", text],
            ] {
                assert_eq!(status(arguments), 0, "{arguments:?}");
            }
            assert_eq!(status(&["limits", "clear", "--account", text]), 1, "{text}: none");
            for verb in ["passwd", "del", "disable", "enable"] {
                assert_eq!(status(&["user", verb, text]), 1, "{verb} {text}: no such account");
            }
            assert_eq!(protected_data(&site), before, "{text}");
            assert_eq!(status(&["user", "add", text, "--scheme", "BLF-CRYPT", "--cost", "4"]), 0);
            let names = site.texts("SELECT username FROM account WHERE username NOT LIKE '_@%'");
            assert_eq!(names, [text]);
            assert_eq!(status(&["test", text, GB]), 0, "{text}");
            assert_eq!(status(&["user", "del", text]), 0, "{text}");
            assert_eq!(protected_data(&site), before, "{text}");
        }
    }
}
