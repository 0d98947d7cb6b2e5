//! Runs the tool as root on both databases, and checks its output, its exit status and its files.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test code"
)]

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use common::Base;
use common::Client;
use common::Site;
use common::site::CN;
use common::site::GB;

const POLICY: &str = "[policy]\nallow_countries = [\"GB\"]\nfailure_time = \"0s\"\n";

/// Returns the exit status, standard output and standard error.
fn run(site: &Site, arguments: &[&str], stdin: &str) -> (i32, String, String) {
    let output = site.run_tool(arguments, stdin);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn accounts_are_added_changed_disabled_and_deleted() {
    for base in Base::all() {
        let site = Site::new(base, POLICY);
        let test = |password| run(&site, &["test", "U@example.com", GB], password).0;
        assert_eq!(test("secret"), 1, "no account yet");
        site.tool(
            &[
                "user",
                "add",
                "U@Example.com",
                "--scheme",
                "BLF-CRYPT",
                "--cost",
                "4",
                "--allow-countries",
                "gb,es",
            ],
            "secret\n",
        );
        assert_eq!(test("secret"), 0);
        assert_eq!(test("secret\n"), 0, "a final newline is not part of the password");
        let (status, _, stderr) = run(&site, &["user", "add", "u@example.com"], "other");
        assert_eq!(status, 1, "{stderr}");
        assert!(stderr.contains("u@example.com exists"), "{stderr}");
        let list = site.tool(&["user", "list"], "");
        assert_eq!(list, "account=u@example.com active=1 allow_countries=gb,es\n");
        site.tool(
            &["user", "passwd", "u@example.com", "--scheme", "BLF-CRYPT", "--cost", "4"],
            "new",
        );
        assert_eq!((test("secret"), test("new")), (1, 0));
        site.tool(&["user", "disable", "u@example.com"], "");
        assert_eq!(test("new"), 1);
        site.tool(&["user", "enable", "u@example.com"], "");
        assert_eq!(test("new"), 0);
        site.tool(&["user", "del", "u@example.com"], "");
        assert_eq!(test("new"), 1);
        for verb in ["passwd", "del", "disable"] {
            let (status, _, stderr) = run(&site, &["user", verb, "u@example.com"], "x");
            assert_eq!((status, stderr.contains("does not exist")), (1, true), "{stderr}");
        }
        let (status, _, stderr) = run(&site, &["user", "add", "v@example.com"], "");
        assert_eq!((status, stderr.contains("the password must have 1 to")), (2, true), "{stderr}");
        for verb in [&["user", "add", "v@example.com"][..], &["hash"]] {
            let (status, stdout, stderr) = run(&site, verb, "secret\nsecret\n");
            assert_eq!((status, &*stdout), (2, ""), "{verb:?}: {stderr}");
            assert!(stderr.contains("has more than one line: give the password once"));
        }
        let add = ["user", "add", "v@example.com", "--allow-countries", "Spain"];
        let uk = ["user", "add", "v@example.com", "--allow-countries", "UK"];
        assert!(run(&site, &uk, "x").2.contains("not an ISO 3166-1 code: write GB"));
        let (status, _, stderr) = run(&site, &add, "x");
        assert_eq!((status, stderr.contains("\"Spain\" is not a two-letter")), (2, true));
    }
}

#[test]
fn test_explains_the_decision_and_writes_no_row() {
    for base in Base::all() {
        let site = Site::new(base, POLICY);
        site.account("u@example.com", "secret");
        let (status, text, _) = run(&site, &["test", "u@example.com", GB], "secret");
        assert_eq!(status, 0);
        assert!(text.contains("status=204") && text.contains("answer=yes"), "{text}");
        let (status, text, _) = run(&site, &["test", "u@example.com", CN], "secret");
        assert_eq!(status, 1);
        assert!(text.contains("rule=policy.allow_countries") && text.contains("country=CN"));
        assert!(text.contains("answer=no, the client gets 535"), "{text}");
        let in_order = [
            "fact.address=198.51.100.7\n",
            "fact.country=CN\n",
            "fact.asn=not configured\n",
            "fact.protocol=SMTP\n",
            "fact.trusted=no\n",
            "fact.password=right\n",
            "rule=policy.deny_networks says=nothing\n",
            "rule=policy.deny_asns says=nothing\n",
            "rule=policy.protocols says=nothing\n",
            "rule=exception says=nothing\n",
            "rule=account.deny_countries says=nothing\n",
            "rule=account.allow_nets says=nothing\n",
            "rule=account.allow_countries says=nothing\n",
            "rule=policy.deny_countries says=nothing\n",
            "rule=policy.allow_nets says=nothing\n",
            "rule=policy.allow_countries says=refuses\n",
            "rule=policy.unknown_country says=nothing\n",
            "rule=policy.new_country says=nothing\n",
            "decides=policy.allow_countries\n",
        ];
        assert!(text.starts_with(&in_order.concat()), "{text}");
        assert_eq!(run(&site, &["test", "u@example.com", ""], "secret").0, 0, "local");
        let (status, _, stderr) = run(&site, &["test", "u@example.com", "GB"], "secret");
        assert_eq!((status, stderr.contains("is not an IP address")), (2, true), "{stderr}");
        site.sql("UPDATE account SET password = '{NO-SUCH}x'");
        let (status, text, _) = run(&site, &["test", "u@example.com", GB], "secret");
        assert_eq!((status, text.contains("unknown scheme")), (2, true), "{text}");
        assert_eq!(site.rows(), []);
    }
}

#[test]
fn db_init_creates_missing_tables_and_alters_none() {
    for base in Base::all() {
        let site = Site::new(base, POLICY);
        let good = site.read("authpolicy.toml");
        site.configure("");
        site.account("u@example.com", "secret");
        site.sql("ALTER TABLE connection_log ADD COLUMN extra varchar(10)");
        let again = site.tool(&["db", "init"], "");
        let all = again.lines().all(|line| line.ends_with(" exists, left as it is"));
        assert!(all && again.lines().count() == 6, "{again}");
        assert!(again.starts_with("table=account ") && again.contains("table=connection_log "));
        site.sql("UPDATE connection_log SET extra = 'still there'");
        assert!(site.tool(&["user", "list"], "").contains("u@example.com"));
        site.sql("DROP TABLE connection_log");
        site.sql("DROP TABLE account");
        // With the administrator's own query, `db init` does not create the account table.
        site.write_config(&good);
        let made = site.tool(&["db", "init"], "");
        assert!(made.starts_with("table=connection_log made\n"), "{made}");
        assert_eq!(site.rows(), []);
    }
}

#[test]
fn root_makes_the_state_directory_only_where_no_other_user_may_write() {
    let site = Site::new(Base::Sqlite, POLICY);
    let (uid, gid) = common::exim::users::exim();
    let (uid, gid): (u32, u32) = (uid.parse().unwrap(), gid.parse().unwrap());
    let config = site.read("authpolicy.toml");
    let init = |directory: &Path| {
        let state = site.path("state").display().to_string();
        site.write_config(&config.replace(&state, &directory.display().to_string()));
        let output = site.run_tool(&["db", "init"], "");
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(init(&site.path("made")), (0, String::new()));
    let meta = site.path("made").metadata().unwrap();
    assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o7777), (uid, gid, 0o700));
    for (name, owner, mode) in [("exims", uid, 0o755), ("group", 0, 0o775), ("all", 0, 0o1777)] {
        let parent = site.path(name);
        fs::create_dir(&parent).unwrap();
        std::os::unix::fs::chown(&parent, Some(owner), None).unwrap();
        fs::set_permissions(&parent, fs::Permissions::from_mode(mode)).unwrap();
        let (status, stderr) = init(&parent.join("state"));
        let place = parent.join("state").display().to_string();
        let want =
            format!("`install -d -m 700 -o Debian-exim {place}`, or correct state.directory");
        assert!(status == 2 && stderr.contains(&want), "{name}: {stderr}");
        assert!(!parent.join("state").exists(), "{name}");
    }
}

#[test]
fn files_touched_by_root_belong_to_exims_user() {
    let site = Site::new(Base::Sqlite, POLICY);
    let database = site.path("state");
    for arguments in [&["user", "list"][..], &["config"], &["log"], &["prune", "--keep", "1d"]] {
        site.tool(arguments, "");
    }
    site.account("u@example.com", "secret");
    let owner = database.metadata().unwrap().uid();
    assert_ne!(owner, 0);
    let mut files = 0;
    for entry in fs::read_dir(&database).unwrap() {
        let entry = entry.unwrap();
        let meta = entry.metadata().unwrap();
        assert_eq!(meta.uid(), owner, "{:?}", entry.path());
        assert_eq!(meta.mode() & 0o077, 0, "{:?}", entry.path());
        files += 1;
    }
    assert!(files > 0);
    let exim = site.exim();
    let reply = Client::connect_from(exim.port, GB).plain(b"u@example.com", b"secret");
    assert!(reply.starts_with("235"), "{}", site.main_log());
    // The plugin leaves no files of root either: at euid 0 it cannot tell.
    let text = site.dlfunc("check", "{u@example.com}{secret}{192.0.2.7}");
    let output = std::process::Command::new("exim4")
        .args(["-C", site.path("exim.conf").to_str().unwrap(), "-be", &text])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("Failed: authpolicy cannot tell"), "{text}");
    for entry in fs::read_dir(&database).unwrap() {
        assert_eq!(entry.unwrap().metadata().unwrap().uid(), owner);
    }
}

#[test]
fn the_log_is_shown_filtered_and_summarised() {
    for base in Base::all() {
        let site = Site::new(base, POLICY);
        site.account("u@example.com", "secret");
        let exim = site.exim();
        for (remote, user, password) in [
            (GB, "u@example.com", "secret"),
            (GB, "u@example.com", "wrong"),
            (CN, "u@example.com", "secret"),
            (CN, "nobody@example.com", "guess"),
            (CN, "nobody@example.com", "guess2"),
        ] {
            Client::connect_from(exim.port, remote).plain(user.as_bytes(), password.as_bytes());
        }
        let lines = |arguments: &[&str]| {
            let text = site.tool(&[&["log"], arguments].concat(), "");
            text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>()
        };
        let all = lines(&[]);
        assert_eq!(all.len(), 5, "{all:?}");
        assert!(all[0].ends_with("GB       1        0"), "{all:?}");
        assert_eq!(lines(&["--user", "nobody@%"]).len(), 2);
        assert_eq!(lines(&["--remote", CN]).len(), 3);
        assert_eq!(lines(&["--country", "gb"]).len(), 2);
        assert_eq!(lines(&["--refused"]).len(), 4);
        assert_eq!(lines(&["--since", "1h"]).len(), 5);
        let leaked = lines(&["--leaked"]);
        assert_eq!(leaked.len(), 1);
        assert!(leaked[0].contains("u@example.com") && leaked[0].contains("CN"), "{leaked:?}");
        let newest = lines(&["-n", "1"]);
        assert!(newest.len() == 1 && newest[0].contains("nobody@example.com"), "{newest:?}");
        let summary = site.tool(&["log", "--summary"], "");
        let words: Vec<Vec<_>> =
            summary.lines().map(|line| line.split_whitespace().take(6).collect()).collect();
        assert!(words.contains(&vec!["nobody@example.com", "2", "0", "1", "1", "1"]), "{summary}");
        assert!(words.contains(&vec!["u@example.com", "2", "1", "1", "2", "2"]), "{summary}");
        let attacked = summary.lines().find(|line| line.starts_with("u@example.com")).unwrap();
        let from = attacked.split_whitespace().last().unwrap();
        assert!(["CN,GB", "GB,CN"].contains(&from), "{summary}");
        assert!(words.contains(&vec!["CN", "3", "1", "2", "1", "1"]), "{summary}");
        assert!(words.contains(&vec![CN, "3", "1", "2", "1", "1"]), "{summary}");
    }
}

#[test]
fn prune_deletes_old_rows_in_batches_and_keeps_the_rest() {
    for base in Base::all() {
        let site = Site::new(base, POLICY);
        let series = match &site.base {
            Base::Sqlite => {
                "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 12000)"
            }
            Base::MariaDb(..) => "",
        };
        let from = if series.is_empty() { "seq_1_to_12000" } else { "s" };
        site.sql(&format!(
            "INSERT INTO connection_log (datetime, protocol, username, remote_ip, country) \
             {series} SELECT '2001-02-03 04:05:06', 'SMTP', 'old', '', '' FROM {from}"
        ));
        site.sql(
            "INSERT INTO connection_log (protocol, username, remote_ip, country) \
             VALUES ('SMTP', 'new', '', '')",
        );
        assert_eq!(site.tool(&["prune", "--keep", "90d"], ""), "deleted=12000\n");
        let left: Vec<_> = site.rows().into_iter().map(|row| row.username).collect();
        assert_eq!(left, ["new"]);
        let (status, _, stderr) = run(&site, &["prune", "--keep", "0s"], "");
        assert_eq!((status, stderr.contains("at least a day")), (2, true), "{stderr}");
        assert_eq!(site.rows().len(), 1, "a rejected call deletes nothing");
        let (status, _, stderr) = run(&site, &["prune", "--keep", "soon"], "");
        assert_eq!((status, stderr.contains("soon")), (2, true), "{stderr}");
        assert_eq!(run(&site, &["prune"], "").0, 2, "`--keep` is required");
    }
}

#[test]
fn geoip_lookup_answers_by_its_exit_status() {
    let site = Site::new(Base::Sqlite, POLICY);
    let lookup = |ip| run(&site, &["geoip", "lookup", ip], "");
    assert_eq!(lookup(GB), (0, String::from("country=GB\n"), String::new()));
    assert_eq!(lookup("203.0.113.1"), (1, String::from("country=\n"), String::new()));
    assert_eq!(lookup("no").0, 2);
    fs::remove_file(site.path("country.mmdb")).unwrap();
    let (status, _, stderr) = lookup(GB);
    assert!(status == 2 && stderr.contains("country.mmdb: cannot be read by uid"), "{stderr}");
}

#[test]
fn config_prints_the_settings_in_force_and_the_errors() {
    for base in Base::all() {
        let site = Site::new(base, POLICY);
        let text = site.tool(&["config"], "");
        for line in [
            "policy.allow_countries=GB",
            "policy.when_rejected=verify",
            "log.protocol=SMTP",
            "check.accounts=ok",
            "check.log=ok",
            "check.geoip=ok type=\"Authpolicy-Country\"",
        ] {
            assert!(text.lines().any(|l| l.starts_with(line)), "{line}: {text}");
        }
        assert!(!text.contains("s3cr"), "no password: {text}");
        let good = site.read("authpolicy.toml");
        for (bad, want) in [
            (good.replace("SELECT password", "SELECT no_such_column"), "no_such_column"),
            (good.replace("country.mmdb", "no-such.mmdb"), "no-such.mmdb: cannot be read by uid"),
            (good.replace("allow_countries =", "allow_country ="), "unknown field `allow_country`"),
        ] {
            site.write_config(&bad);
            let (status, text, stderr) = run(&site, &["config"], "");
            assert_eq!(status, 2);
            assert!(stderr.contains(want), "{text}{stderr}");
        }
        site.write_config(&good.replace("[policy]", "[policyd]"));
        let (_, text, _) = run(&site, &["config"], "");
        let warning = "\ncheck.sections=warning policyd.allow_countries is ignored here";
        assert!(text.contains(warning), "{text}");
        site.write_config(&good);
        site.sql("DROP TABLE connection_log");
        let (status, _, stderr) = run(&site, &["config"], "");
        assert!(status == 2 && stderr.contains("db init"), "{stderr}");
    }
}

#[test]
fn a_usage_error_exits_with_2_and_help_with_0() {
    let site = Site::new(Base::Sqlite, POLICY);
    let (status, _, stderr) = run(&site, &["frobnicate"], "");
    assert!(status == 2 && stderr.contains("Usage"), "{stderr}");
    let (status, text, _) = run(&site, &["--help"], "");
    assert_eq!(status, 0);
    for verb in ["config", "db", "user", "test", "log", "prune", "geoip"] {
        assert!(text.contains(&format!("\n  {verb}")), "{text}");
    }
    fs::remove_file(site.path("authpolicy.toml")).unwrap();
    let (status, _, stderr) = run(&site, &["config"], "");
    assert!(status == 2 && stderr.contains("authpolicy.toml: cannot be read"), "{stderr}");
}
