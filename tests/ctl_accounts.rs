//! The tool with the administrator's own account table: weak passwords and unknown names.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::panic,
    reason = "test code"
)]

mod common;

use std::process::Command;

use common::Base;
use common::Client;
use common::Site;
use common::site::GB;
use common::smtp::ACCEPTED;

const POLICY: &str = "[policy]\nallow_countries = [\"GB\"]\nfailure_time = \"0s\"\n";
const LIST: &str = "SELECT address AS username, secret AS password FROM mailbox ORDER BY address";

/// Returns the exit status, standard output and standard error.
fn run(site: &Site, arguments: &[&str]) -> (i32, String, String) {
    let mut tool = Command::new(common::tool());
    // `Site::run_tool` gives `user` another configuration, with the default query.
    tool.arg("--config").arg(site.path("authpolicy.toml")).args(arguments);
    let output = tool.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// A site whose account table has other columns, after one successful login.
fn site(base: Base) -> Site {
    let site = Site::new(base, POLICY);
    site.sql("CREATE TABLE mailbox (address varchar(80), secret varchar(255))");
    for (address, secret) in [
        ("u@example.com", "'{PLAIN}secret'"),
        ("u@example.com", "'{MD5}Xr4ilOzQ4PCOq3aQ0qbuaQ=='"),
        ("strong@example.com", "'$2y$04$11ipvo5dR6CwkzwmhwM26OXgzXwhV2PyPuLV.Qi31ILcRcThQpEiW'"),
        ("odd@example.com", "'{NO-SUCH}hunter2'"),
        ("none@example.com", "NULL"),
    ] {
        site.sql(&format!("INSERT INTO mailbox (address, secret) VALUES ('{address}', {secret})"));
    }
    let query = "SELECT secret AS password, address AS username FROM mailbox \
                 WHERE address = :user OR address = 'u@example.com' AND :user = 'alias@example.com'";
    let config = site.read("authpolicy.toml").replace(common::site::QUERY, query);
    site.write_config(&config);
    let exim = site.exim();
    let reply = Client::connect_from(exim.port, GB).plain(b"u@example.com", b"secret");
    assert_eq!(reply, ACCEPTED, "{}", site.main_log());
    site
}

fn with_list(site: &Site, list: &str) {
    let config = site.read("authpolicy.toml");
    site.write_config(&config.replace("[accounts]\n", &format!("[accounts]\nlist = \"{list}\"\n")));
}

#[test]
fn accounts_list_lists_weak_passwords_of_any_table() {
    for base in Base::all() {
        let site = site(base);
        let without_list = site.read("authpolicy.toml");
        let (status, stdout, stderr) = run(&site, &["user", "list", "--weak"]);
        assert_eq!((status, &*stdout), (2, ""), "{stderr}");
        assert!(
            stderr.contains("accounts.list = \"SELECT address AS username, password"),
            "{stderr}"
        );
        with_list(&site, LIST);
        // A name cannot add a line to the output.
        let forged = "SELECT 'a\\nb' AS username, secret AS password FROM mailbox";
        let config = site.read("authpolicy.toml");
        site.write_config(&config.replace(LIST, forged));
        let (_, stdout, stderr) = run(&site, &["user", "list"]);
        assert_eq!((&*stdout, &*stderr), ("account=a?b\n", ""));
        site.write_config(&config);
        let (status, stdout, stderr) = run(&site, &["user", "list", "--weak"]);
        let lines = [
            "account=odd@example.com error=\"has a stored password of the unknown scheme {NO-SUCH}",
            "account=u@example.com scheme=",
            "account=u@example.com scheme=",
        ];
        assert_eq!((status, stdout.lines().count(), &*stderr), (0, 3, ""), "{stdout}");
        for (line, wanted) in stdout.lines().zip(lines) {
            assert!(line.starts_with(wanted), "{stdout}");
        }
        assert!(!stdout.contains("hunter2") && !stdout.contains("secret"), "{stdout}");
        let (_, stdout, _) = run(&site, &["user", "list"]);
        let names = ["none@example.com", "odd@example.com", "strong@example.com", "u@example.com"];
        assert_eq!(stdout, names.map(|name| format!("account={name}\n")).concat());
        let (status, stdout, stderr) = run(&site, &["config"]);
        assert_eq!(status, 0, "{stdout}{stderr}");
        assert!(stdout.contains(&format!("\naccounts.list={LIST}\n")), "{stdout}");
        assert!(stdout.contains("\ncheck.accounts_list=ok the query fits\n"), "{stdout}");
        // Other verbs do not change a table of another shape.
        assert_eq!(run(&site, &["user", "del", "u@example.com"]).0, 2);
        for (list, wanted) in [
            ("SELECT address AS username FROM mailbox", "returns no column named password"),
            ("SELECT secret AS password FROM mailbox", "returns no column named username"),
            ("SELECT username, password FROM no_such_table", "no_such_table"),
            ("SELECT password FROM mailbox WHERE address = :user", "uses :user"),
        ] {
            site.write_config(&without_list);
            with_list(&site, list);
            for verb in [&["config"][..], &["user", "list", "--weak"]] {
                let (status, _, stderr) = run(&site, verb);
                assert!(status == 2 && stderr.contains(wanted), "{list}: {stderr}");
            }
        }
    }
}

#[test]
fn an_exception_for_an_unknown_account_is_added_with_a_warning() {
    for base in Base::all() {
        let site = site(base);
        let add = |name| {
            run(
                &site,
                &["exception", "add", name, "--networks", "198.51.100.0/24", "--until", "1d"],
            )
        };
        let (status, stdout, stderr) = add("U@example.com");
        assert!(status == 0 && stdout.contains("account=u@example.com"), "{stdout}");
        assert_eq!(stderr, "");
        // Names that differ only in case are the same name.
        let config = site.read("authpolicy.toml");
        site.write_config(&config.replace("address AS username", "UPPER(address) AS username"));
        assert_eq!(add("u@example.com").2, "");
        site.write_config(&config);
        let (status, stdout, stderr) = add("nobody@example.com");
        assert!(status == 0 && stdout.contains("account=nobody@example.com"), "{stdout}");
        assert!(stderr.contains("finds no account \"nobody@example.com\""), "{stderr}");
        let (status, _, stderr) = add("alias@example.com");
        assert!(status == 0 && stderr.contains("calls the account \"u@example.com\""), "{stderr}");
        // The exception is added even if the accounts cannot be read.
        let config = site.read("authpolicy.toml");
        site.write_config(&config.replace("FROM mailbox WHERE", "FROM no_such_table WHERE"));
        let (status, stdout, stderr) = add("late@example.com");
        assert!(status == 0 && stdout.contains("account=late@example.com"), "{stdout}");
        assert!(stderr.contains("cannot tell whether there is an account"), "{stderr}");
        assert_eq!(site.count("SELECT COUNT(*) FROM authpolicy_exception"), 5);
    }
}
