//! Sites whose table accepts no rows for a while, and the content of their journal.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::SystemTime;

use authpolicy::row::journal::Record;
use authpolicy::store::Value;

use super::Base;
use super::Client;
use super::Exim;
use super::Site;
use super::exim;
use super::site::GB;
use super::smtp::REFUSED;

pub const POLICY: &str = "[policy]\nallow_countries = [\"GB\"]\nfailure_time = \"0s\"\n";
pub const LATER: &str = "[policy]\nfailure_time = \"0s\"\n[log]\ndelivery = \"journal\"\n";

pub fn site(base: Base, policy: &str) -> Site {
    let site = Site::new(base, policy);
    site.account("u@example.com", "secret");
    site
}

pub fn attempt(exim: &Exim, password: &str) -> String {
    Client::connect_from(exim.port, GB).plain(b"u@example.com", password.as_bytes())
}

/// The value of a key in the output of `flush`.
pub fn value(printed: &str, key: &str) -> String {
    let line = printed.lines().find_map(|line| line.strip_prefix(&format!("{key}=")));
    line.unwrap_or_else(|| panic!("no {key} in: {printed}")).to_owned()
}

/// Runs `flush`; returns four numbers of rows: stored, already in the table, still waiting, set
/// aside.
pub fn flush(site: &Site) -> [usize; 4] {
    let output = site.run_tool(&["flush"], "");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    ["stored", "known", "waiting", "set_aside"].map(|key| value(&printed, key).parse().unwrap())
}

/// Renames the table, so that it accepts no rows.
pub fn hide_table(site: &Site) {
    site.sql("ALTER TABLE connection_log RENAME TO gone");
}

/// Gives the table its name again.
pub fn restore_table(site: &Site) {
    site.sql("ALTER TABLE gone RENAME TO connection_log");
}

/// Lines of the journal, as attempts append them.
pub fn rows(count: usize) -> String {
    (0..count).map(|number| row(&format!("u-{number}@example.com"))).collect()
}

/// The line of the journal for an attempt with this user name.
pub fn row(username: &str) -> String {
    let row = vec![
        ("time", Value::Int(1_584_446_690)),
        ("protocol", Value::text("smtp")),
        ("username", Value::text(username)),
        ("remote_ip", Value::text(GB)),
        ("country", Value::text("GB")),
        ("auth_ok", Value::Int(1)),
        ("policy_reject", Value::Int(0)),
    ];
    format!("\n{}", Record::new(SystemTime::now(), row).unwrap().line())
}

/// Makes a file in the journal, with the owner and modes that attempts give it.
pub fn put(site: &Site, name: &str, text: impl AsRef<[u8]>) {
    let path = site.path(&format!("state/journal/{name}"));
    let directory = path.parent().unwrap();
    if !directory.exists() {
        fs::create_dir(directory).unwrap();
        exim::users::give_to_exim(directory);
        fs::set_permissions(directory, fs::Permissions::from_mode(0o700)).unwrap();
    }
    fs::write(&path, text).unwrap();
    exim::users::give_to_exim(&path);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// The names of the files in the journal.
pub fn names(site: &Site) -> Vec<String> {
    let entries = fs::read_dir(site.path("state/journal")).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Makes the table refuse names that begin with `bad`: in MariaDB with the error number `how`, in
/// SQLite with `RAISE(how, …)`.
pub fn refuse_bad_names(site: &Site, how: &str) {
    site.sql(&match site.base {
        Base::Sqlite => format!(
            "CREATE TRIGGER no BEFORE INSERT ON connection_log WHEN NEW.username LIKE 'bad%' BEGIN \
             SELECT RAISE({how}, 'not this one'); END"
        ),
        Base::MariaDb(..) => format!(
            "CREATE TRIGGER no BEFORE INSERT ON connection_log FOR EACH ROW BEGIN \
             IF NEW.username LIKE 'bad%' THEN SIGNAL SQLSTATE 'HY000' \
             SET MYSQL_ERRNO = {how}, MESSAGE_TEXT = 'not this one'; END IF; END"
        ),
    });
}

/// Makes an attempt whose row the table refuses after `refuse_bad_names`.
pub fn attempt_with_refused_row(exim: &Exim) {
    assert_eq!(Client::connect_from(exim.port, GB).plain(b"bad@example.com", b"x"), REFUSED);
}
