//! `preload` in a real Exim's daemon: files are read once for all connections, and the next
//! connection sees a changed file. Files that other functions have read there are checked again, too.
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
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::net::TcpStream;
use std::path::PathBuf;

use common::Base;
use common::Client;
use common::Exim;
use common::Site;
use common::mmdb;
use common::site::CN;
use common::site::GB;
use common::smtp::ACCEPTED;
use common::smtp::CANNOT_TELL;
use common::smtp::REFUSED;

const POLICY: &str = "[policy]\nallow_countries = [\"GB\"]\nfailure_time = \"0s\"\n";

/// A site whose daemon calls `preload` with this value, for `smtp_accept_max_per_host`.
fn site(base: Base, value: &str) -> Site {
    let site = Site::new(base, POLICY);
    site.account("u@example.com", "secret");
    site.set_preload(Some(value));
    site
}

fn attempt(exim: &Exim, remote: &str) -> String {
    Client::connect_from(exim.port, remote).plain(b"u@example.com", b"secret")
}

/// True for each file that the daemon has mapped: the plugin, and the copy of the country file.
fn mapped(exim: &Exim) -> [bool; 2] {
    let maps = fs::read_to_string(format!("/proc/{}/maps", exim.pid())).unwrap();
    ["/authpolicy.so", "/memfd:geoip.database"].map(|name| maps.contains(name))
}

/// The files in the state directory that the daemon has open.
fn open_in_state(site: &Site, exim: &Exim) -> Vec<PathBuf> {
    let descriptors = fs::read_dir(format!("/proc/{}/fd", exim.pid())).unwrap();
    let files = descriptors.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
    files.filter(|file| file.starts_with(site.path("state"))).collect()
}

/// Renames a new file into place, as administrators should.
fn replace(site: &Site, name: &str, change: impl FnOnce(&str)) {
    let fresh = format!("{name}.new");
    change(&fresh);
    fs::rename(site.path(&fresh), site.path(name)).unwrap();
}

#[test]
fn the_daemon_has_the_plugin_and_the_country_file_loaded_and_each_connection_decides() {
    for base in Base::all() {
        let site = site(base, "");
        let exim = site.exim();
        assert_eq!(attempt(&exim, GB), ACCEPTED, "{}", site.main_log());
        assert_eq!(mapped(&exim), [true, true]);
        // A process that inherits an open database believes that it holds locks, and does not.
        assert_eq!(open_in_state(&site, &exim), Vec::<PathBuf>::new());
        assert_eq!(attempt(&exim, CN), REFUSED);
        let flags: Vec<_> = site.rows().iter().map(|r| (r.auth_ok, r.policy_reject)).collect();
        assert_eq!(flags, [(Some(true), Some(false)), (Some(true), Some(true))]);
        let rows = site.rows();
        assert_eq!((&*rows[0].country, &*rows[1].country), ("GB", "CN"));
        assert_eq!((site.lines().len(), site.panic_log()), (2, String::new()));
    }
}

#[test]
fn the_next_connection_sees_changed_files() {
    let site = site(Base::Sqlite, "");
    let exim = site.exim();
    assert_eq!(attempt(&exim, GB), ACCEPTED, "{}", site.main_log());
    let good = site.read("authpolicy.toml");
    site.write_config(&good.replace("[\"GB\"]", "[\"CN\"]"));
    assert_eq!([attempt(&exim, GB), attempt(&exim, CN)], [REFUSED, ACCEPTED]);
    replace(&site, "country.mmdb", |fresh| {
        fs::write(site.path(fresh), mmdb::from_list("192.0.2.0/24 CN\n198.51.100.0/24 GB\n"))
            .unwrap();
    });
    assert_eq!([attempt(&exim, GB), attempt(&exim, CN)], [ACCEPTED, REFUSED]);
    replace(&site, "country.mmdb", |fresh| site.write(fresh, "garbage"));
    assert_eq!(attempt(&exim, GB), CANNOT_TELL, "the old file is not used");
    site.write("country.mmdb", "");
    fs::write(site.path("country.mmdb"), mmdb::from_list(common::site::NETWORKS)).unwrap();
    site.write_config("broken");
    assert_eq!(attempt(&exim, GB), CANNOT_TELL, "the old rules are not used");
    assert!(site.lines().last().unwrap().contains("authpolicy.toml: line 1"), "{:?}", site.lines());
    site.write_config(&good);
    assert_eq!([attempt(&exim, GB), attempt(&exim, CN)], [ACCEPTED, REFUSED]);
    assert_eq!(site.panic_log(), "");
}

/// SIGBUS would end the daemon, and with it all mail.
#[test]
fn truncating_the_country_file_does_not_change_the_daemons_copy() {
    let site = site(Base::Sqlite, "");
    let exim = site.exim();
    let mut client = Client::connect_from(exim.port, GB);
    assert_eq!(client.plain(b"u@example.com", b"wrong"), REFUSED, "{}", site.main_log());
    assert_eq!(mapped(&exim), [true, true]);
    let maps = fs::read_to_string(format!("/proc/{}/maps", exim.pid())).unwrap();
    assert!(!maps.contains("/country.mmdb"), "{maps}");
    fs::File::options().write(true).open(site.path("country.mmdb")).unwrap().set_len(0).unwrap();
    // The open connection continues with the old copy. A new one gets 435.
    assert_eq!(client.plain(b"u@example.com", b"secret"), ACCEPTED);
    assert_eq!(attempt(&exim, GB), CANNOT_TELL);
    assert!(site.lines().last().unwrap().contains("is empty"), "{:?}", site.lines());
    let rows: Vec<_> = site.rows().into_iter().map(|row| (row.country, row.auth_ok)).collect();
    let expected = [("GB", Some(false)), ("GB", Some(true)), ("", None)];
    assert_eq!(rows, expected.map(|(country, auth_ok)| (country.to_owned(), auth_ok)));
    assert_eq!(site.panic_log(), "");
}

/// Exim's first line. The connection stays open until the stream is dropped.
fn banner(exim: &Exim) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", exim.port)).unwrap();
    let mut line = String::new();
    // Exim may already have closed a connection that it turns away.
    let _ = stream.write_all(b"PROXY TCP4 192.0.2.7 127.0.0.1 40000 25\r\n");
    BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap_or_default();
    (stream, line)
}

#[test]
fn preload_returns_its_argument_as_exims_limit() {
    let site = site(Base::Sqlite, "1");
    let exim = site.exim();
    let mut first = banner(&exim);
    for _ in 0..200 {
        if first.1.starts_with("220") {
            break;
        }
        // The connection that waited for the daemon to listen still counts.
        std::thread::sleep(std::time::Duration::from_millis(50));
        first = banner(&exim);
    }
    assert!(first.1.starts_with("220"), "{}", first.1);
    let (_, second) = banner(&exim);
    assert!(second.starts_with("421"), "{second}");
}

#[test]
fn a_daemon_that_gets_sighup_loads_the_files_again() {
    let site = site(Base::Sqlite, "");
    let exim = site.exim();
    assert_eq!(attempt(&exim, GB), ACCEPTED, "{}", site.main_log());
    let pid = exim.pid().to_string();
    let hup = std::process::Command::new("kill").args(["-s", "HUP", &pid]).status();
    assert!(hup.unwrap().success());
    for _ in 0..200 {
        if site.main_log().matches("daemon started").count() == 2 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert_eq!(attempt(&exim, CN), REFUSED, "{}", site.main_log());
    assert_eq!(mapped(&exim), [true, true]);
    assert_eq!(site.rows().len(), 2);
}

/// The attempts report an unreadable file. The other files are still preloaded.
#[test]
fn an_unreadable_file_does_not_keep_others_from_being_preloaded() {
    let site = site(Base::Sqlite, "");
    let config = site.read("authpolicy.toml");
    let gone = site.path("gone.mmdb").display().to_string();
    let named = format!("[geoip]\nasn_database = \"{gone}\"\n");
    assert!(config.contains("[geoip]\n"));
    site.write_config(&config.replace("[geoip]\n", &named));
    let exim = site.exim();
    assert_eq!(attempt(&exim, GB), ACCEPTED, "{}", site.main_log());
    assert_eq!(mapped(&exim), [true, true]);
}

/// A site whose daemon calls a function with this address for each connection, and then another
/// function. Exim logs the value, because it is not a number.
fn site_calling(function: &str, address: &str, then: &str) -> (Site, Exim) {
    let site = Site::new(Base::Sqlite, POLICY);
    site.account("u@example.com", "secret");
    let call = site.dlfunc(function, &format!("{{{address}}}"));
    let then = if then.is_empty() { String::new() } else { site.dlfunc(then, "{}") };
    site.set_preload(None);
    let config = site.read("exim.conf");
    site.write("exim.conf", &format!("smtp_accept_max_per_host = is {call}{then}\n{config}"));
    let exim = site.exim();
    (site, exim)
}

/// The reply to an attempt, and the value that the daemon got for its connection.
fn reply_and_value(site: &Site, exim: &Exim, remote: &str) -> (String, String) {
    let reply = attempt(exim, remote);
    let log = site.main_log();
    let found = log.lines().rev().find_map(|line| line.split_once("contains non-digit: is "));
    (reply, found.map(|(_, value)| value.to_owned()).unwrap_or_default())
}

fn expected(reply: &str, value: &str) -> (String, String) {
    (reply.to_owned(), value.to_owned())
}

/// The daemon serves no connection itself, and must not keep the first version of a file for good.
#[test]
fn a_daemon_that_calls_country_sees_changed_files() {
    let (site, exim) = site_calling("country", GB, "");
    let whole = fs::read(site.path("country.mmdb")).unwrap();
    let good = site.read("authpolicy.toml");
    let put = |bytes: &[u8]| {
        replace(&site, "country.mmdb", |fresh| fs::write(site.path(fresh), bytes).unwrap());
    };
    assert_eq!(reply_and_value(&site, &exim, GB), expected(ACCEPTED, "GB"), "{}", site.main_log());
    put(&mmdb::from_list("192.0.2.0/24 CN\n198.51.100.0/24 GB\n"));
    assert_eq!(reply_and_value(&site, &exim, GB), expected(REFUSED, "CN"), "renamed into place");
    let file = fs::File::options().write(true).open(site.path("country.mmdb")).unwrap();
    file.set_len(100).unwrap();
    assert_eq!(reply_and_value(&site, &exim, GB), expected(CANNOT_TELL, ""), "cut short");
    put(&whole);
    assert_eq!(reply_and_value(&site, &exim, GB), expected(ACCEPTED, "GB"), "{:?}", site.lines());
    fs::write(site.path("b.mmdb"), mmdb::from_list("192.0.2.0/24 FR\n")).unwrap();
    site.write_config(&good.replace("country.mmdb", "b.mmdb"));
    assert_eq!(reply_and_value(&site, &exim, GB), expected(REFUSED, "FR"), "another configuration");
    let rows: Vec<_> = site.rows().into_iter().map(|row| (row.country, row.auth_ok)).collect();
    let yes = Some(true);
    let want = [("GB", yes), ("CN", yes), ("", None), ("GB", yes), ("FR", yes)];
    assert_eq!(rows, want.map(|(country, auth_ok)| (country.to_owned(), auth_ok)));
    let attempts = site.lines().iter().filter(|line| line.starts_with("attempt ")).count();
    assert_eq!(attempts, 5, "{:?}", site.lines());
}

#[test]
fn a_daemon_that_calls_allow_sees_changed_files() {
    let (site, exim) = site_calling("allow", CN, "");
    let good = site.read("authpolicy.toml");
    assert_eq!(reply_and_value(&site, &exim, GB), expected(ACCEPTED, "no"), "{}", site.main_log());
    site.write_config(&good.replace("[\"GB\"]", "[\"CN\"]"));
    assert_eq!(reply_and_value(&site, &exim, GB), expected(REFUSED, "yes"));
    site.write_config(&good);
    replace(&site, "country.mmdb", |fresh| {
        fs::write(site.path(fresh), mmdb::from_list("192.0.2.0/24 CN\n")).unwrap();
    });
    assert_eq!(
        reply_and_value(&site, &exim, GB),
        expected(REFUSED, "yes"),
        "an unknown country is admitted"
    );
    let flags: Vec<_> = site.rows().iter().map(|row| row.policy_reject).collect();
    assert_eq!(flags, [Some(false), Some(true), Some(true)]);
    assert!(site.lines().last().unwrap().contains(" rule=policy.allow_countries "));
}

/// The function that is called first has mapped the file itself, which may be truncated later.
#[test]
fn preload_maps_a_copy_even_after_other_functions() {
    let (site, exim) = site_calling("country", GB, "preload");
    assert_eq!(reply_and_value(&site, &exim, GB), expected(ACCEPTED, "GB"), "{}", site.main_log());
    for _ in 0..2 {
        let maps = fs::read_to_string(format!("/proc/{}/maps", exim.pid())).unwrap();
        assert!(mapped(&exim) == [true, true] && !maps.contains("/country.mmdb"), "{maps}");
        replace(&site, "country.mmdb", |fresh| {
            fs::copy(site.path("country.mmdb"), site.path(fresh)).unwrap();
        });
        assert_eq!(
            reply_and_value(&site, &exim, CN),
            expected(REFUSED, "GB"),
            "{}",
            site.main_log()
        );
    }
}

#[test]
fn both_files_of_a_pair_are_preloaded_and_checked_each_time() {
    const GB6: &str = "2001:db8:1::7";
    const CN6: &str = "2001:db8:2::7";
    const MOVED: &str =
        "192.0.2.0/24 CN\n198.51.100.0/24 GB\n2001:db8:1::/48 CN\n2001:db8:2::/48 GB\n";
    let site = site(Base::Sqlite, "");
    let put = |list: &str, index: usize| {
        replace(&site, ["v4.mmdb", "v6.mmdb"][index], |fresh| {
            fs::write(site.path(fresh), &mmdb::pair(list)[index]).unwrap();
        });
    };
    [0, 1].iter().for_each(|index| put(common::site::NETWORKS, *index));
    let path = |name: &str| format!("\"{}\"", site.path(name).display());
    let config = site.read("authpolicy.toml");
    let both = format!("[{}, {}]", path("v4.mmdb"), path("v6.mmdb"));
    assert!(config.contains(&path("country.mmdb")));
    site.write_config(&config.replace(&path("country.mmdb"), &both));
    let exim = site.exim();
    let replies = || [GB, CN, GB6, CN6].map(|remote| attempt(&exim, remote));
    assert_eq!(replies(), [ACCEPTED, REFUSED, ACCEPTED, REFUSED], "{}", site.main_log());
    let maps = fs::read_to_string(format!("/proc/{}/maps", exim.pid())).unwrap();
    assert_eq!(maps.matches("/memfd:geoip.database").count(), 2, "{maps}");
    put(MOVED, 1);
    assert_eq!(replies(), [ACCEPTED, REFUSED, REFUSED, ACCEPTED], "IPv6 has changed");
    put(MOVED, 0);
    assert_eq!(replies(), [REFUSED, ACCEPTED, REFUSED, ACCEPTED], "IPv4 has changed, too");
    fs::remove_file(site.path("v4.mmdb")).unwrap();
    assert_eq!(replies(), [CANNOT_TELL; 4], "the missing file may list any of the addresses");
    let rows = site.rows();
    let countries: Vec<_> = rows.iter().map(|row| &*row.country).collect();
    assert_eq!(countries[4..8], ["GB", "CN", "CN", "GB"]);
    assert_eq!(rows[15].auth_ok.or(rows[15].policy_reject), None);
    assert!(site.lines().last().unwrap().contains("v4.mmdb"), "{:?}", site.lines());
    assert_eq!(site.panic_log(), "");
}
