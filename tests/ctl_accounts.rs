//! The tool over an account table of the administrator's own: weak passwords, and names that nobody has.
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

/// Exit status, what was printed, and what was complained of.
fn run(site: &Site, arguments: &[&str]) -> (i32, String, String) {
    let mut tool = Command::new(common::tool());
    // The site's own way gives `user` another configuration, with the default query.
    tool.arg("--config").arg(site.path("authpolicy.toml")).args(arguments);
    let output = tool.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// A site whose accounts are in a table of another shape, where one has logged in.
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
        let without = site.read("authpolicy.toml");
        let (status, printed, said) = run(&site, &["user", "list", "--weak"]);
        assert_eq!((status, &*printed), (2, ""), "{said}");
        assert!(said.contains("accounts.list = \"SELECT address AS username, password"), "{said}");
        with_list(&site, LIST);
        // A name cannot pose as another line.
        let forged = "SELECT 'a\\nb' AS username, secret AS password FROM mailbox";
        let config = site.read("authpolicy.toml");
        site.write_config(&config.replace(LIST, forged));
        let (_, printed, said) = run(&site, &["user", "list"]);
        assert_eq!((&*printed, &*said), ("account=a?b\n", ""));
        site.write_config(&config);
        let (status, printed, said) = run(&site, &["user", "list", "--weak"]);
        let lines = [
            "account=odd@example.com error=\"has a stored password of the unknown scheme {NO-SUCH}",
            "account=u@example.com scheme=",
            "account=u@example.com scheme=",
        ];
        assert_eq!((status, printed.lines().count(), &*said), (0, 3, ""), "{printed}");
        for (line, wanted) in printed.lines().zip(lines) {
            assert!(line.starts_with(wanted), "{printed}");
        }
        assert!(!printed.contains("hunter2") && !printed.contains("secret"), "{printed}");
        let (_, printed, _) = run(&site, &["user", "list"]);
        let names = ["none@example.com", "odd@example.com", "strong@example.com", "u@example.com"];
        assert_eq!(printed, names.map(|name| format!("account={name}\n")).concat());
        let (status, printed, said) = run(&site, &["config"]);
        assert_eq!(status, 0, "{printed}{said}");
        assert!(printed.contains(&format!("\naccounts.list={LIST}\n")), "{printed}");
        assert!(printed.contains("\ncheck.accounts_list=ok the query fits\n"), "{printed}");
        // The rest stays with whom the table belongs to.
        assert_eq!(run(&site, &["user", "del", "u@example.com"]).0, 2);
        for (list, wanted) in [
            ("SELECT address AS username FROM mailbox", "returns no column named password"),
            ("SELECT secret AS password FROM mailbox", "returns no column named username"),
            ("SELECT username, password FROM no_such_table", "no_such_table"),
            ("SELECT password FROM mailbox WHERE address = :user", "asks for :user"),
        ] {
            site.write_config(&without);
            with_list(&site, list);
            for verb in [&["config"][..], &["user", "list", "--weak"]] {
                let (status, _, said) = run(&site, verb);
                assert!(status == 2 && said.contains(wanted), "{list}: {said}");
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
        let (status, printed, said) = add("U@example.com");
        assert!(status == 0 && printed.contains("account=u@example.com"), "{printed}");
        assert_eq!(said, "");
        // Names that differ only in case are one.
        let config = site.read("authpolicy.toml");
        site.write_config(&config.replace("address AS username", "UPPER(address) AS username"));
        assert_eq!(add("u@example.com").2, "");
        site.write_config(&config);
        let (status, printed, said) = add("nobody@example.com");
        assert!(status == 0 && printed.contains("account=nobody@example.com"), "{printed}");
        assert!(said.contains("finds no account \"nobody@example.com\""), "{said}");
        let (status, _, said) = add("alias@example.com");
        assert!(status == 0 && said.contains("calls the account \"u@example.com\""), "{said}");
        // The exception does not have to wait for the accounts.
        let config = site.read("authpolicy.toml");
        site.write_config(&config.replace("FROM mailbox WHERE", "FROM no_such_table WHERE"));
        let (status, printed, said) = add("late@example.com");
        assert!(status == 0 && printed.contains("account=late@example.com"), "{printed}");
        assert!(said.contains("cannot tell whether there is an account"), "{said}");
        assert_eq!(site.count("SELECT COUNT(*) FROM authpolicy_exception"), 5);
    }
}
