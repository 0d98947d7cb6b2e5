//! Panics at each call of another crate, in a real Exim. The client gets a reply, the log a line,
//! and the table one row.
//!
//! The client's EHLO names the place of the panic, which is before or after the call
//! (src/contain.rs, src/ffi/deliberate.rs).
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
use common::Exim;
use common::Site;
use common::journal::flush;
use common::panicking;
use common::site::GB;
use common::smtp::ACCEPTED;
use common::smtp::CANNOT_TELL;
use common::smtp::REFUSED;

const POLICY: &str = "[policy]\nallow_countries = [\"GB\"]\nfailure_time = \"0s\"\n";

/// The expected result for a right password.
struct Case<'a> {
    /// The places of the panic, by their names in src/contain.rs.
    places: &'a [&'a str],
    reply: &'a str,
    /// `auth_ok` of the row; `None` if there is no row.
    row: Option<Option<bool>>,
    /// Waiting rows, as `flush` counts them: those that it stores, and those that the table has.
    waiting: [usize; 2],
    /// Part of a line.
    line: &'a str,
}

const AT: &str = "internal error at src/contain.rs:";

/// The answer is "cannot tell", and the row is written at once.
fn cannot_tell<'a>(places: &'a [&'a str], line: &'a str) -> Case<'a> {
    Case { places, reply: CANNOT_TELL, row: Some(None), waiting: [0, 0], line }
}

/// The answer is unchanged, and the row waits in the journal.
fn row_waits<'a>(places: &'a [&'a str], line: &'a str) -> Case<'a> {
    Case { places, reply: ACCEPTED, row: Some(Some(true)), waiting: [1, 0], line }
}

/// The answer is unchanged, and the row is written at once.
fn no_effect<'a>(places: &'a [&'a str], line: &'a str) -> Case<'a> {
    Case { waiting: [0, 0], ..row_waits(places, line) }
}

fn site(base: Base) -> Site {
    let site = Site::new(base, POLICY);
    site.account("u@example.com", "secret");
    panicking::install(&site);
    site
}

fn attempt(exim: &Exim, name: &str, password: &[u8]) -> String {
    let mut client = Client::connect_from(exim.port, GB);
    panicking::ehlo(&mut client, name);
    let reply = client.plain(b"u@example.com", password);
    let after = client.command("NOOP");
    assert!(after.starts_with("250 "), "Exim's process is still there: {name} {reply} {after}");
    reply
}

/// Makes an attempt for each case, and checks reply, line, rows and journal.
fn run_cases(site: &Site, cases: &[Case<'_>]) {
    let exim = site.exim();
    assert_eq!(attempt(&exim, "client.example", b"secret"), ACCEPTED, "{}", site.main_log());
    assert_eq!(attempt(&exim, "client.example", b"wrong"), REFUSED);
    for Case { places, reply, row, waiting, line } in cases {
        flush(site);
        let (rows, lines) = (site.rows().len(), site.lines().len());
        assert_eq!(attempt(&exim, &panicking::at(places), b"secret"), *reply, "{places:?}");
        let logged = site.lines().split_off(lines);
        assert!(logged.iter().any(|text| text.contains(line)), "{places:?}: {logged:?}");
        assert!(!format!("{logged:?}").contains("deliberate panic"), "{places:?}: {logged:?}");
        let [stored, known, ..] = flush(site);
        assert_eq!(
            [stored + known, known],
            [waiting[0] + waiting[1], waiting[1]],
            "{places:?}: {logged:?}"
        );
        let new_rows: Vec<_> = site.rows().split_off(rows).iter().map(|row| row.auth_ok).collect();
        assert_eq!(new_rows, row.iter().copied().collect::<Vec<_>>(), "{places:?}: {logged:?}");
        let reply = attempt(&exim, "client.example", b"secret");
        assert_eq!(reply, ACCEPTED, "after {places:?}: {}", site.main_log());
        assert_eq!(site.rows().len(), rows + new_rows.len() + 1, "{places:?}");
    }
    assert_eq!(site.panic_log(), "");
}

#[test]
fn a_panic_in_the_database_of_the_accounts_is_435_with_a_row() {
    for base in Base::all() {
        let site = site(base);
        let name = match site.base {
            Base::Sqlite => format!("error=\"sqlite {}", site.path("state").display()),
            Base::MariaDb(..) => String::from("error=\"mysql /"),
        };
        let line = format!(
            "attempt status=503 reason=internal rule=- auth_ok=- policy_reject=- country=GB remote={GB} {name}"
        );
        run_cases(
            &site,
            &[cannot_tell(&["before-query"], &line), cannot_tell(&["after-query"], &line)],
        );
    }
}

#[test]
fn a_panic_in_the_database_of_the_log_leaves_the_answer_as_it_is_and_one_row() {
    for base in Base::all() {
        let site = site(base);
        let journal = "trouble function=journal error=\"";
        // A server gets the row together with its mark.
        let [before, after, without_journal]: [&[&str]; 3] = match site.base {
            Base::Sqlite => {
                [&["before-insert"], &["after-insert"], &["before-insert", "before-journal"]]
            }
            Base::MariaDb(..) => {
                [&["before-run-all"], &["after-run-all"], &["before-run-all", "before-journal"]]
            }
        };
        let mut cases = vec![
            row_waits(&["before-begin"], journal),
            row_waits(&["after-begin"], journal),
            row_waits(before, AT),
            row_waits(after, journal),
            row_waits(&["before-commit"], journal),
            no_effect(&["before-drop"], "attempt status=204"),
            no_effect(&["after-drop"], "attempt status=204"),
            no_effect(&["before-help"], "trouble function=journal error=\"internal error at "),
            Case {
                places: without_journal,
                reply: CANNOT_TELL,
                row: None,
                waiting: [0, 0],
                line: "no place took the row",
            },
        ];
        match site.base {
            // SQLite can still tell that it has committed.
            Base::Sqlite => cases.push(no_effect(&["after-commit"], "attempt status=204")),
            Base::MariaDb(..) => {
                // The row waits, but `flush` skips it, because the table has it.
                let known = row_waits(&["after-commit"], journal);
                cases.push(Case { waiting: [0, 1], ..known });
                cases.push(row_waits(&["before-run-all", "before-roll-back"], journal));
            }
        }
        run_cases(&site, &cases);
    }
}

#[test]
fn a_panic_while_connecting_is_435_with_a_row_that_waits() {
    for base in Base::all() {
        let site = site(base);
        let (places, line): (&[_], _) = match site.base {
            Base::Sqlite => (&["before-open"], "error=\"sqlite /"),
            Base::MariaDb(..) => {
                (&["before-connect"], "no database server accepts the connection: mysql /")
            }
        };
        let case = cannot_tell(places, line);
        run_cases(&site, &[Case { waiting: [1, 0], ..case }]);
    }
}

#[test]
fn a_panic_in_a_parser_or_a_hash_crate_is_an_error_of_that_file_or_password() {
    let site = site(Base::Sqlite);
    // A daemon that preloads would have read the configuration already.
    site.set_preload(None);
    let file =
        format!("error=\"{}: is not a readable MMDB file", site.path("country.mmdb").display());
    let config =
        format!("error=\"{}: cannot be read: {AT}", site.path("authpolicy.toml").display());
    let stored =
        "error=\"account u@example.com: has a stored password that cannot be used: internal";
    run_cases(
        &site,
        &[
            cannot_tell(&["before-geoip"], &file),
            cannot_tell(&["after-geoip"], &file),
            cannot_tell(&["before-hash-read"], stored),
            cannot_tell(&["before-hash"], stored),
            cannot_tell(&["after-hash"], stored),
            // Without a configuration, it is unknown where the row would go.
            Case {
                places: &["before-config"],
                reply: CANNOT_TELL,
                row: None,
                waiting: [0, 0],
                line: &config,
            },
        ],
    );
}

#[test]
fn a_row_at_which_the_journals_parser_panics_is_set_aside_and_not_lost() {
    let site = site(Base::Sqlite);
    let exim = site.exim();
    assert_eq!(attempt(&exim, "client.example", b"secret"), ACCEPTED, "{}", site.main_log());
    assert_eq!(attempt(&exim, &panicking::at(&["before-insert"]), b"wrong"), REFUSED);
    assert_eq!(site.rows().len(), 1);
    // This attempt delivers the row that waits.
    let reply = attempt(&exim, &panicking::at(&["before-journal-read"]), b"secret");
    assert_eq!(reply, ACCEPTED, "{}", site.main_log());
    assert!(site.main_log().contains("1 rows of "), "{}", site.main_log());
    assert_eq!(flush(&site), [0, 0, 0, 1]);
    site.tool(&["flush", "--set-aside"], "");
    let new_rows: Vec<_> = site.rows().iter().map(|row| row.auth_ok).collect();
    assert_eq!(new_rows, [Some(true), Some(true), Some(false)]);
}

#[test]
fn a_panic_in_our_own_code_is_435_with_one_row() {
    for base in Base::all() {
        let site = site(base);
        let bug = "please report it\" user=\"u@example.com\"";
        let mut cases = vec![
            cannot_tell(&["before-examine"], bug),
            cannot_tell(&["after-examine"], bug),
            Case {
                waiting: [1, 0],
                ..cannot_tell(&["in-decide"], "trouble function=check error=\"internal error at ")
            },
            // The journal fails too, so the row goes into the table.
            cannot_tell(&["in-decide", "before-journal"], "trouble function=journal error=\""),
        ];
        if matches!(site.base, Base::Sqlite) {
            cases.push(Case {
                row: None,
                ..cannot_tell(&["in-decide", "before-journal", "before-insert"], "no place took")
            });
        }
        run_cases(&site, &cases);
    }
}

#[test]
fn journal_delivery_leaves_one_row_whatever_panics() {
    for base in Base::all() {
        let site = site(base);
        let config = site.read("authpolicy.toml");
        site.write_config(&format!("{config}\n[log]\ndelivery = \"journal\"\n"));
        let exim = site.exim();
        assert_eq!(attempt(&exim, "client.example", b"secret"), ACCEPTED, "{}", site.main_log());
        assert_eq!(flush(&site), [1, 0, 0, 0]);
        for (places, reply, row) in [
            (&["in-decide"][..], CANNOT_TELL, None),
            (&["before-examine"], CANNOT_TELL, None),
            // The row goes into the table then.
            (&["before-journal"], ACCEPTED, Some(true)),
            (&["after-journal"], ACCEPTED, Some(true)),
        ] {
            let rows = site.rows().len();
            assert_eq!(attempt(&exim, &panicking::at(places), b"secret"), reply, "{places:?}");
            flush(&site);
            let new_rows: Vec<_> =
                site.rows().split_off(rows).iter().map(|row| row.auth_ok).collect();
            assert_eq!(new_rows, [row], "{places:?}: {}", site.main_log());
        }
        assert_eq!(site.panic_log(), "");
    }
}
