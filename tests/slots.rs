//! A state directory without a usable file for slots. Without `max_parallel_hashes`, attempts work as
//! before. With it, they get 435, and the line says what to do.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use common::Base;
use common::Site;
use common::exim::users::give_to_exim;
use common::limits::NO;
use common::limits::YES;
use common::limits::attempt;
use common::limits::expect_line;
use common::limits::flags;
use common::site::GB;
use common::smtp::ACCEPTED;
use common::smtp::CANNOT_TELL;

const U: &str = "u@example.com";
/// The check in the output of `authpolicy config`.
const CHECK: &str = "check.max_parallel_hashes=";

fn chmod(site: &Site, name: &str, mode: u32) {
    fs::set_permissions(site.path(name), fs::Permissions::from_mode(mode)).unwrap();
}

/// A fault, the function that causes it, and the hint in the message.
type Case = (&'static str, fn(&Site), &'static str);

const CASES: &[Case] = &[
    ("no directory", |site| fs::rename(site.path("state"), site.path("away")).unwrap(), "db init"),
    ("a closed directory", |site| chmod(site, "state", 0o500), "mode 0700"),
    (
        "a link",
        |site| {
            site.write("elsewhere", "");
            give_to_exim(&site.path("elsewhere"));
            let file = site.path("state/hash-slots");
            std::os::unix::fs::symlink(site.path("elsewhere"), file).unwrap();
        },
        "remove it",
    ),
    ("root's own file", |site| site.write("state/hash-slots", ""), "remove it"),
    (
        "root's file for everybody",
        |site| {
            site.write("state/hash-slots", "");
            chmod(site, "state/hash-slots", 0o666);
        },
        "remove it",
    ),
    ("a directory", |site| fs::create_dir(site.path("state/hash-slots")).unwrap(), "remove it"),
];

#[test]
fn without_slots_attempts_are_435_only_if_max_parallel_hashes_is_set() {
    for (name, cause_fault, hint) in CASES {
        // The embedded database would need the state directory, too.
        let site = Site::new(Base::mariadb(), "[policy]\nfailure_time = \"0s\"\n");
        site.account(U, "secret");
        let exim = site.exim();
        let file = site.path("state/hash-slots");
        assert_eq!(attempt(&exim, GB, U, "secret"), ACCEPTED, "{}", site.main_log());
        let made = fs::metadata(&file).unwrap();
        assert_eq!((made.permissions().mode() & 0o777, made.len()), (0o600, 0));
        assert!(site.tool(&["config"], "").contains(&format!("{CHECK}ok")));
        fs::remove_file(&file).unwrap();
        cause_fault(&site);
        assert_eq!(attempt(&exim, GB, U, "secret"), ACCEPTED, "{name}: {}", site.main_log());
        expect_line(&site, "status=204 reason=- rule=- auth_ok=1 policy_reject=0 country=GB");
        assert_eq!(flags(&site), (YES, NO), "{name}");
        let text = site.tool(&["config"], "");
        let warning = text.lines().find_map(|line| line.strip_prefix(CHECK)).unwrap();
        assert!(warning.starts_with("warning ") && warning.contains(hint), "{name}: {warning}");
        let config = site.read("authpolicy.toml");
        let setting = "[accounts]\nmax_parallel_hashes = 4\n";
        site.write_config(&config.replace("[accounts]\n", setting));
        assert_eq!(attempt(&exim, GB, U, "secret"), CANNOT_TELL, "{name}");
        expect_line(
            &site,
            "status=503 reason=internal rule=- auth_ok=- policy_reject=0 country=GB",
        );
        let line = site.lines().pop().unwrap();
        assert!(line.contains("/state/hash-slots: cannot be used for accounts."), "{name}: {line}");
        assert!(line.contains(hint), "{name}: {line}");
        assert_eq!(flags(&site), (None, NO), "{name}");
        let output = site.run_tool(&["config"], "");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains(&format!("{CHECK}failed ")), "{name}: {text}");
        assert_eq!(output.status.code(), Some(2), "{name}");
        // The administrator follows the hint.
        match *hint {
            "db init" => fs::rename(site.path("away"), site.path("state")).unwrap(),
            "mode 0700" => chmod(&site, "state", 0o700),
            _ if file.is_dir() => fs::remove_dir(&file).unwrap(),
            _ => fs::remove_file(&file).unwrap(),
        }
        assert_eq!(attempt(&exim, GB, U, "secret"), ACCEPTED, "{name}: {}", site.main_log());
        assert!(site.tool(&["config"], "").contains("accounts.max_parallel_hashes=4\n"));
    }
}

/// Other users could lock the file, but without it there would be no bound on hashing.
#[test]
fn a_slot_file_that_other_users_may_read_is_made_private() {
    let site = Site::new(Base::mariadb(), "[policy]\nfailure_time = \"0s\"\n");
    site.account(U, "secret");
    let exim = site.exim();
    assert_eq!(attempt(&exim, GB, U, "secret"), ACCEPTED, "{}", site.main_log());
    for mode in [0o644, 0o666, 0o640] {
        chmod(&site, "state/hash-slots", mode);
        assert_eq!(attempt(&exim, GB, U, "secret"), ACCEPTED, "{mode:o}: {}", site.main_log());
        expect_line(&site, "status=204 reason=- rule=- auth_ok=1 policy_reject=0 country=GB");
        assert_eq!(flags(&site), (YES, NO), "{mode:o}");
        let now = fs::metadata(site.path("state/hash-slots")).unwrap().permissions().mode();
        assert_eq!(now & 0o777, 0o600, "{mode:o}");
    }
}
