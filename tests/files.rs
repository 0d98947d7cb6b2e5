//! The plugin's files are for Exim's user only, under any umask. In the state directory, the plugin
//! neither reads nor writes files that other users may have made.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test code"
)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use common::Base;
use common::Client;
use common::Exim;
use common::Site;
use common::exim::users;
use common::site::GB;
use common::smtp::ACCEPTED;
use common::smtp::CANNOT_TELL;
use common::smtp::REFUSED;

const POLICY: &str = "[policy]\nallow_countries = [\"GB\"]\nfailure_time = \"0s\"\n";

/// A shell script that runs a program under umask 0.
const UMASK_0: &str = "umask 0; exec \"$0\" \"$@\"";

/// A site whose reply to MAIL contains the SCRAM salt of an unknown account.
fn site(base: Base) -> Site {
    let site = Site::new(base, POLICY);
    site.account("u@example.com", "secret");
    let key = site.dlfunc("scram", "{salt}{nobody@example.com}{$sender_host_address}");
    let config = site.read("exim.conf");
    site.write(
        "exim.conf",
        &config.replace("deny message = ", &format!("deny message = salt={key} ")),
    );
    site
}

fn attempt(exim: &Exim, password: &str) -> String {
    Client::connect_from(exim.port, GB).plain(b"u@example.com", password.as_bytes())
}

fn salt(exim: &Exim) -> String {
    let reply = Client::connect_from(exim.port, GB).command("MAIL FROM:<>");
    reply.split_once("salt=").unwrap().1.split_whitespace().next().unwrap().to_owned()
}

/// Owner and mode of each file in the state directory. The directory itself has the empty name.
fn state(site: &Site) -> BTreeMap<String, (u32, u32)> {
    let facts = |meta: fs::Metadata| (meta.uid(), meta.mode() & 0o7777);
    let entries = fs::read_dir(site.path("state")).unwrap().map(Result::unwrap);
    let entries =
        entries.map(|e| (e.file_name().into_string().unwrap(), facts(e.metadata().unwrap())));
    let itself = (String::new(), facts(fs::metadata(site.path("state")).unwrap()));
    entries.chain([itself]).collect()
}

#[test]
fn under_umask_0_all_files_are_for_exims_user_only() {
    let site = site(Base::Sqlite);
    let accounts = site.read("accounts.toml");
    fs::remove_dir_all(site.path("state")).unwrap();
    let tool = |arguments: &[&str], stdin: &str| {
        site.write("stdin", stdin);
        let output = Command::new("sh")
            .args(["-c", UMASK_0, common::tool(), "--config"])
            .arg(site.path("accounts.toml"))
            .args(arguments)
            .stdin(fs::File::open(site.path("stdin")).unwrap())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    assert!(accounts.contains("[state]"));
    tool(&["db", "init"], "");
    tool(&["user", "add", "u@example.com", "--scheme", "BLF-CRYPT", "--cost", "4"], "secret");
    for column in ["deny_countries varchar(255)", "allow_nets varchar(255)"] {
        site.sql(&format!("ALTER TABLE account ADD COLUMN {column}"));
    }
    let owner: u32 = users::exim().0.parse().unwrap();
    for name in ["authpolicy.db-wal", "authpolicy.db-shm"] {
        // Made by this test as root.
        let _ = fs::remove_file(site.path("state").join(name));
    }
    let mut command = Command::new("sh");
    let port = common::exim::free_port();
    let ports = format!("{port}");
    let exim = Exim::start_by(
        command.args(["-c", UMASK_0, "exim4"]),
        &site.path("exim.conf"),
        port,
        &["-oX", &ports],
    );
    assert_eq!(attempt(&exim, "secret"), ACCEPTED, "{}", site.main_log());
    assert_eq!(attempt(&exim, "wrong"), REFUSED);
    assert_eq!(salt(&exim).len(), 24, "{}", site.main_log());
    let found = state(&site);
    let names = ["", "authpolicy.db", "authpolicy.db-wal", "dummy-hash", "decoy-key", "hash-slots"];
    for name in names {
        assert!(found.contains_key(name), "{name} is not in {found:?}");
    }
    for (name, facts) in &found {
        let mode = if name.is_empty() { 0o700 } else { 0o600 };
        assert_eq!(*facts, (owner, mode), "{name}: {found:?}");
    }
}

#[test]
fn under_umask_0_journal_and_remembered_accounts_are_for_exims_user_only() {
    let site = site(Base::mariadb());
    let config = site.read("authpolicy.toml");
    let config = config.replace("[accounts]\n", "[accounts]\nserve_stale = \"24h\"\n");
    site.write_config(&format!("{config}\n[log]\ndelivery = \"journal\"\n"));
    let mut command = Command::new("sh");
    let port = common::exim::free_port();
    let exim = Exim::start_by(
        command.args(["-c", UMASK_0, "exim4"]),
        &site.path("exim.conf"),
        port,
        &["-oX", &port.to_string()],
    );
    assert_eq!(attempt(&exim, "secret"), ACCEPTED, "{}", site.main_log());
    let owner: u32 = users::exim().0.parse().unwrap();
    for directory in ["journal", "remembered"] {
        assert_eq!(state(&site)[directory], (owner, 0o700));
        let entries: Vec<_> = fs::read_dir(site.path("state").join(directory)).unwrap().collect();
        assert_eq!(entries.len(), 1, "{directory}: {entries:?}");
        let meta = entries[0].as_ref().unwrap().metadata().unwrap();
        assert_eq!((meta.uid(), meta.mode() & 0o7777), (owner, 0o600), "{directory}");
    }
}

/// Plants a link to a file that Exim's user may write, so that only the plugin's checks protect it.
/// Returns that file.
fn plant(site: &Site, name: &str, content: &[u8]) -> PathBuf {
    let (victim, link) =
        (site.path("spool").join(format!("victim-of-{name}")), site.path("state").join(name));
    fs::write(&victim, content).unwrap();
    users::give_to_exim(&victim);
    fs::set_permissions(&victim, fs::Permissions::from_mode(0o600)).unwrap();
    let _ = fs::remove_file(&link);
    symlink(&victim, &link).unwrap();
    victim
}

#[test]
fn no_link_in_the_state_directory_is_followed() {
    let site = site(Base::Sqlite);
    let exim = site.exim();
    assert_eq!(attempt(&exim, "secret"), ACCEPTED, "{}", site.main_log());
    let own = salt(&exim);
    let state = site.path("state");
    let database = fs::read(state.join("authpolicy.db")).unwrap();
    for name in ["authpolicy.db", "authpolicy.db-wal", "authpolicy.db-shm"] {
        let existed = state.join(name).exists();
        let _ = fs::rename(state.join(name), state.join("away"));
        let victim = plant(&site, name, &database);
        assert_eq!(attempt(&exim, "secret"), CANNOT_TELL, "{name}: {}", site.main_log());
        assert_eq!(fs::read(victim).unwrap(), database, "{name}");
        fs::remove_file(state.join(name)).unwrap();
        if existed {
            fs::rename(state.join("away"), state.join(name)).unwrap();
        }
        assert_eq!(attempt(&exim, "secret"), ACCEPTED, "{name}: {}", site.main_log());
    }
    // A key that an attacker has chosen.
    fs::rename(state.join("decoy-key"), state.join("away")).unwrap();
    plant(&site, "decoy-key", &[7; 32]);
    let keys = salt(&exim);
    assert!(site.lines().last().unwrap().contains("decoy-key: "), "{:?}", site.lines());
    assert_eq!(keys, "AAAAAAAAAAAAAAAAAAAAAA==", "the salt without a key");
    fs::rename(state.join("away"), state.join("decoy-key")).unwrap();
    assert_eq!(salt(&exim), own);
    // A new dummy hash replaces the link, and is not written to its target.
    let cheap = b"{PLAIN}x";
    let victim = plant(&site, "dummy-hash", cheap);
    assert_eq!(attempt(&exim, "secret"), ACCEPTED);
    assert_eq!(fs::read(victim).unwrap(), cheap);
    assert!(!state.join("dummy-hash").is_symlink());
    assert!(site.read("state/dummy-hash").starts_with("$2"));
    assert_eq!(site.panic_log(), "");
}

/// Somebody who guesses the next process IDs could create these files first.
#[test]
fn a_link_in_place_of_a_new_file_is_not_written_through() {
    let site = site(Base::Sqlite);
    let exim = site.exim();
    assert_eq!(attempt(&exim, "secret"), ACCEPTED, "{}", site.main_log());
    let state = site.path("state");
    for name in ["dummy-hash", "decoy-key"] {
        let _ = fs::remove_file(state.join(name));
        let victim = plant(&site, "victim", b"untouched");
        let links = next_pid()..next_pid() + 3000;
        let links: Vec<_> = links.map(|pid| state.join(format!("{name}.{pid}"))).collect();
        links.iter().for_each(|link| symlink(&victim, link).unwrap());
        assert_eq!(attempt(&exim, "secret"), ACCEPTED, "{name}: {}", site.main_log());
        salt(&exim);
        assert_eq!(fs::read(victim).unwrap(), b"untouched", "{name}");
        assert!(!state.join(name).exists(), "{name}: the temporary name was taken");
        links.iter().for_each(|link| drop(fs::remove_file(link)));
        attempt(&exim, "secret");
        salt(&exim);
        assert!(state.join(name).exists(), "{name}: {}", site.main_log());
    }
}

/// A process ID that was used just now, shortly before the next ones.
fn next_pid() -> u32 {
    let mut child = Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    child.id()
}

#[test]
fn files_that_others_may_have_read_or_written_are_not_used() {
    let site = site(Base::Sqlite);
    let exim = site.exim();
    assert_eq!(attempt(&exim, "secret"), ACCEPTED, "{}", site.main_log());
    let own = salt(&exim);
    let (key, dummy) = (site.path("state/decoy-key"), site.path("state/dummy-hash"));
    let mode = |path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let without_key = "AAAAAAAAAAAAAAAAAAAAAA==";
    for wrong in [0o606, 0o620, 0o604, 0o640] {
        mode(&key, wrong);
        assert_eq!(salt(&exim), without_key, "{wrong:o}");
        let line = site.lines().pop().unwrap();
        let why = format!("mode {wrong:04o}, and others may have read or written it: delete it");
        assert!(line.contains(&why), "{line}");
    }
    mode(&key, 0o600);
    std::os::unix::fs::chown(&key, Some(1), None).unwrap();
    mode(&key, 0o644);
    assert_eq!(salt(&exim), without_key);
    users::give_to_exim(&key);
    mode(&key, 0o600);
    assert_eq!(salt(&exim), own);
    // An expensive dummy hash would keep processes busy.
    let expensive = format!("$2y$14${}\n", ".".repeat(53));
    fs::write(&dummy, &expensive).unwrap();
    std::os::unix::fs::chown(&dummy, Some(1), None).unwrap();
    mode(&dummy, 0o644);
    assert_eq!(attempt(&exim, "secret"), ACCEPTED, "{}", site.main_log());
    let learnt = fs::read_to_string(&dummy).unwrap();
    assert!(learnt.starts_with("$2y$04$"), "another hash replaces it: {learnt}");
}

#[test]
fn a_database_password_that_everyone_may_read_causes_435_and_a_log_line() {
    let site = site(Base::mariadb());
    let exim = site.exim();
    assert_eq!(attempt(&exim, "secret"), ACCEPTED, "{}", site.main_log());
    for (mode, want) in
        [(0o644, "everyone may read the database password in it"), (0o660, "others may write it")]
    {
        fs::set_permissions(site.path("authpolicy.toml"), fs::Permissions::from_mode(mode))
            .unwrap();
        assert_eq!(attempt(&exim, "secret"), CANNOT_TELL);
        let line = site.lines().pop().unwrap();
        assert!(
            line.starts_with("attempt status=503 reason=internal ") && line.contains(want),
            "{line}"
        );
        assert!(!line.contains("s3cr"), "{line}");
        let output = site.run_tool(&["config"], "");
        assert_eq!(output.status.code(), Some(2));
    }
    assert_eq!(site.rows().len(), 1);
    fs::set_permissions(site.path("authpolicy.toml"), fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(attempt(&exim, "secret"), ACCEPTED);
}

#[test]
fn sections_of_other_programs_are_ignored_and_misspelt_ones_are_errors() {
    let site = site(Base::Sqlite);
    let exim = site.exim();
    let config = site.read("authpolicy.toml");
    let others =
        "[policyd]\nlisten = \"127.0.0.1:1\"\n[report]\ndays = 7\n[notify]\nto = [\"a\"]\n";
    site.write_config(&format!("{config}{others}"));
    assert_eq!(attempt(&exim, "secret"), ACCEPTED, "{}", site.main_log());
    assert_eq!(attempt(&exim, "wrong"), REFUSED);
    assert_eq!(site.rows().len(), 2);
    site.write_config(&format!("{config}[reports]\n"));
    assert_eq!(attempt(&exim, "secret"), CANNOT_TELL);
    let line = site.lines().pop().unwrap();
    assert!(line.contains("unknown section `reports`"), "{line}");
}

#[test]
fn a_byte_that_is_not_utf8_is_named_by_its_line() {
    let site = site(Base::Sqlite);
    let exim = site.exim();
    assert_eq!(attempt(&exim, "secret"), ACCEPTED, "{}", site.main_log());
    let mut config = site.read("authpolicy.toml").into_bytes();
    let line = config.iter().filter(|&&byte| byte == b'\n').count() + 1;
    config.extend(b"# caf\xe9\n[log]\n");
    fs::write(site.path("authpolicy.toml"), config).unwrap();
    let want = format!("line {line}: has a byte that is not UTF-8: save the file as UTF-8");
    assert_eq!(attempt(&exim, "secret"), CANNOT_TELL);
    let log_line = site.lines().pop().unwrap();
    assert!(log_line.contains(&want), "{log_line}");
    let output = site.run_tool(&["config"], "");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains(&want), "{stderr}");
    assert_eq!(output.status.code(), Some(2));
}

/// Exit status and standard error of `db init` for an embedded database at this path.
fn init(site: &Site, database: &std::path::Path) -> (i32, String) {
    let url = format!("sqlite:{}", database.display());
    let config = site.read("accounts.toml").replace(&site.url(), &url);
    site.write_config(&config);
    let output = site.run_tool(&["db", "init"], "");
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn root_makes_the_last_directory_of_a_database_for_exims_user() {
    let site = site(Base::Sqlite);
    let (uid, gid) = users::exim();
    let owner: (u32, u32) = (uid.parse().unwrap(), gid.parse().unwrap());
    assert_eq!(init(&site, &site.path("new/a.db")), (0, String::new()));
    let facts = |name: &str| {
        let meta = fs::metadata(site.path(name)).unwrap();
        ((meta.uid(), meta.gid()), meta.mode() & 0o7777)
    };
    assert_eq!(facts("new"), (owner, 0o700));
    assert_eq!(facts("new/a.db"), (owner, 0o600));
    // An attempt can use it.
    let accounts = site.read("authpolicy.toml");
    site.write("accounts.toml", &accounts);
    site.account("u@example.com", "secret");
    let exim = site.exim();
    assert_eq!(attempt(&exim, "secret"), ACCEPTED, "{}", site.main_log());
}

#[test]
fn root_never_changes_the_owner_of_an_existing_directory() {
    let site = site(Base::Sqlite);
    fs::create_dir(site.path("etc")).unwrap();
    let before = fs::metadata(site.path("etc")).unwrap();
    let (status, stderr) = init(&site, &site.path("etc/a.db"));
    assert!(
        status == 2 && stderr.contains("/etc/a.db: cannot be made: Permission denied"),
        "{stderr}"
    );
    assert!(stderr.contains("name in database.url a directory for the database alone"), "{stderr}");
    let after = fs::metadata(site.path("etc")).unwrap();
    assert_eq!((after.uid(), after.mode()), (before.uid(), before.mode()));
    assert_eq!(fs::read_dir(site.path("etc")).unwrap().count(), 0);
}

#[test]
fn root_makes_no_directory_below_one_that_others_can_write() {
    let site = site(Base::Sqlite);
    for (name, mode, owner) in [
        ("group", 0o775, 0),
        ("sticky", 0o1777, 0),
        ("others", 0o755, 65534),
        ("above/below", 0o755, 0),
    ] {
        let parent = site.path(name);
        fs::create_dir_all(&parent).unwrap();
        fs::set_permissions(&parent, fs::Permissions::from_mode(mode)).unwrap();
        std::os::unix::fs::chown(&parent, Some(owner), None).unwrap();
        if name.starts_with("above") {
            let above = site.path("above");
            fs::set_permissions(&above, fs::Permissions::from_mode(0o777)).unwrap();
        }
        let (status, stderr) = init(&site, &parent.join("new/a.db"));
        assert!(
            status == 2 && stderr.contains("is writable by users other than root"),
            "{name}: {stderr}"
        );
        assert!(stderr.contains("install -d -m 700 -o Debian-exim"), "{name}: {stderr}");
        assert!(!parent.join("new").exists(), "{name}");
    }
    let (status, stderr) = init(&site, &site.path("no/such/a.db"));
    assert!(status == 2 && stderr.contains("install -d -m 700 -o Debian-exim"), "{stderr}");
    assert!(!site.path("no").exists());
    // A link to a directory is treated as an existing directory.
    fs::create_dir(site.path("target")).unwrap();
    symlink(site.path("target"), site.path("link")).unwrap();
    let (status, stderr) = init(&site, &site.path("link/a.db"));
    assert!(status == 2 && stderr.contains("cannot be made"), "{stderr}");
    assert_eq!(fs::metadata(site.path("target")).unwrap().uid(), 0);
}
