//! The GeoIP file and the configuration are replaced, truncated, damaged and removed while clients
//! make attempts. Each connection uses the current file, or answers 435.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test code"
)]

mod common;

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use common::Base;
use common::Client;
use common::Exim;
use common::Row;
use common::Site;
use common::fault::CLIENTS;
use common::fault::Fault;
use common::fault::POLICY;
use common::mmdb;
use common::site::GB;
use common::site::NETWORKS;
use common::smtp::CANNOT_TELL;
use common::smtp::REFUSED;

/// Networks that put the clients in another country.
const MOVED: &str = "192.0.2.0/24 CN\n";

/// A site whose daemon reads the files if `preloads`, and otherwise leaves that to its children.
fn site(base: Base, preloads: bool) -> (Site, Exim) {
    let site = common::fault::site(base, POLICY);
    site.set_preload(preloads.then_some(""));
    let exim = site.exim();
    (site, exim)
}

/// Replaces a file by rename, as administrators should.
fn replace(site: &Site, name: &str, bytes: &[u8]) {
    let fresh = site.path(&format!("{name}.new"));
    fs::write(&fresh, bytes).unwrap();
    let (_, gid) = common::exim::users::exim();
    std::os::unix::fs::chown(&fresh, Some(0), Some(gid.parse().unwrap())).unwrap();
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o640)).unwrap();
    fs::rename(fresh, site.path(name)).unwrap();
}

/// The rows of these attempts.
fn rows_of(site: &Site, names: &HashSet<String>) -> Vec<Row> {
    let rows: Vec<_> =
        site.rows().into_iter().filter(|row| names.contains(&row.username)).collect();
    assert_eq!(rows.len(), names.len(), "each attempt has its row");
    rows
}

#[test]
fn each_new_connection_uses_the_geoip_file_that_was_renamed_into_place() {
    for (base, preloads) in [(Base::Sqlite, false), (Base::Sqlite, true), (Base::mariadb(), true)] {
        let (site, exim) = site(base, preloads);
        let mut seen = Vec::new();
        let fault = Fault::named("GeoIP file replaced by rename").with_refusals_by_rules();
        let tally = fault.run(&site, &exim, |load| {
            for _ in 0..2 {
                for (list, country) in [(MOVED, "CN"), (NETWORKS, "GB")] {
                    replace(&site, "country.mmdb", &mmdb::from_list(list));
                    seen.push((load.wait_for_new(CLIENTS), country));
                }
            }
        });
        for (names, country) in seen {
            for row in rows_of(&site, &names) {
                let stored = (&*row.country, row.policy_reject);
                assert_eq!(stored, (country, Some(country == "CN")), "{row:?}");
            }
        }
        assert_eq!((tally.cannot_tell, tally.unanswered), (0, 0), "{tally:?}");
    }
}

/// Damages the GeoIP file, and restores it. Meanwhile, each attempt gets 435 and has a row.
fn break_geoip(name: &str, damage: impl Fn(&Site), symptom: &str) {
    for preloads in [false, true] {
        let (site, exim) = site(Base::Sqlite, preloads);
        let whole = fs::read(site.path("country.mmdb")).unwrap();
        let mut seen = HashSet::new();
        let tally = Fault::named(name).run(&site, &exim, |load| {
            damage(&site);
            seen = load.wait_for_new(CLIENTS);
            replace(&site, "country.mmdb", &whole);
        });
        assert!(tally.unanswered == 0 && tally.cannot_tell >= seen.len(), "{tally:?}");
        for row in rows_of(&site, &seen) {
            assert_eq!((&*row.country, row.policy_reject), ("", None), "{row:?}");
        }
        let file = site.path("country.mmdb").display().to_string();
        let lines = site.lines();
        let has_line = |name: &str, want: &str| {
            lines.iter().any(|line| line.ends_with(&format!("{name:?}")) && line.contains(want))
        };
        for name in &seen {
            assert!(has_line(name, &file) && has_line(name, symptom), "{name}: {lines:#?}");
        }
    }
}

#[test]
fn a_removed_geoip_file_causes_435() {
    let remove = |site: &Site| fs::remove_file(site.path("country.mmdb")).unwrap();
    break_geoip("GeoIP file removed, and put back", remove, "No such file");
}

#[test]
fn a_geoip_file_of_garbage_causes_435() {
    let garbage = |site: &Site| replace(site, "country.mmdb", &[b'x'; 5000]);
    break_geoip("GeoIP file replaced by garbage, and put back", garbage, "not a readable MMDB");
}

#[test]
fn a_geoip_file_that_exim_may_not_read_causes_435() {
    let hide = |site: &Site| {
        let path = site.path("country.mmdb");
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    };
    break_geoip("GeoIP file unreadable, and put back", hide, "cannot be read by uid");
}

/// Writing over a file truncates it first, perhaps during a lookup. docs/exim.md says to rename;
/// this test is about administrators who do not.
#[test]
fn a_geoip_file_truncated_in_place_causes_435() {
    for (name, length) in [("to half", 2), ("to nothing", u64::MAX)] {
        let truncate = move |site: &Site| {
            let file = fs::File::options().write(true).open(site.path("country.mmdb")).unwrap();
            let whole = file.metadata().unwrap().len();
            file.set_len(whole / length).unwrap();
        };
        break_geoip(&format!("GeoIP file cut short in place {name}, and put back"), truncate, "");
    }
}

/// A process that has the file mapped survives the truncation, and answers 435.
#[test]
fn a_geoip_file_truncated_while_it_is_mapped_causes_435() {
    let (site, exim) = site(Base::Sqlite, false);
    // The file has many pages, because the rest of its last page can be read after a truncation.
    let mut list = NETWORKS.to_owned();
    for number in 0..2000 {
        let country = ["FR", "DE"][number % 2];
        list += &format!("11.{}.{}.0/24 {country}\n", number / 250, number % 250);
    }
    let whole = mmdb::from_list(&list);
    assert!(whole.len() > 3 * 4096, "{}", whole.len());
    for length in [0, 1, whole.len() / 2] {
        replace(&site, "country.mmdb", &whole);
        let mut client = Client::connect_from(exim.port, GB);
        let mut attempt = |password: &[u8]| client.plain(b"u-1@example.com", password);
        assert_eq!(attempt(b"wrong"), REFUSED, "{}", site.main_log());
        let file = fs::File::options().write(true).open(site.path("country.mmdb")).unwrap();
        file.set_len(length.try_into().unwrap()).unwrap();
        assert_eq!(attempt(b"wrong"), CANNOT_TELL, "{length}: {}", site.main_log());
        assert_eq!(attempt(b"secret"), CANNOT_TELL, "{length}");
        let line = site.lines().pop().unwrap();
        assert!(line.contains("was truncated while in use"), "{line}");
        let row = site.rows().pop().unwrap();
        assert_eq!((&*row.country, row.policy_reject), ("", None), "{row:?}");
    }
    assert_eq!((site.rows().len(), site.panic_log()), (9, String::new()));
}

#[test]
fn each_new_connection_uses_the_configuration_that_was_renamed_into_place() {
    for (base, preloads) in [(Base::Sqlite, false), (Base::mariadb(), true)] {
        let (site, exim) = site(base, preloads);
        let old = site.read("authpolicy.toml");
        let new = old.replace("[\"GB\"]", "[\"CN\"]");
        let mut seen = Vec::new();
        let fault = Fault::named("configuration replaced by rename").with_refusals_by_rules();
        let tally = fault.run(&site, &exim, |load| {
            for _ in 0..2 {
                for (text, refuses) in [(&new, true), (&old, false)] {
                    replace(&site, "authpolicy.toml", text.as_bytes());
                    seen.push((load.wait_for_new(CLIENTS), refuses));
                }
            }
        });
        for (names, refuses) in seen {
            for row in rows_of(&site, &names) {
                assert_eq!(row.policy_reject, Some(refuses), "{row:?}");
            }
        }
        assert_eq!((tally.cannot_tell, tally.unanswered), (0, 0), "{tally:?}");
    }
}

/// Damages the configuration, and restores it. Meanwhile, the plugin does not know where rows go,
/// so that an attempt has only a log line.
fn break_config(name: &str, base: Base, damage: impl Fn(&Site, &str), symptom: &str) {
    let (site, exim) = site(base, false);
    let good = site.read("authpolicy.toml");
    let mut seen = HashSet::new();
    let cause = format!("authpolicy.toml: {symptom}");
    let causes = [&*cause];
    let tally = Fault::named(name).without_rows_for(&causes).run(&site, &exim, |load| {
        damage(&site, &good);
        seen = load.wait_for_new(CLIENTS);
        replace(&site, "authpolicy.toml", good.as_bytes());
    });
    assert!(tally.without_row == tally.cannot_tell && tally.without_row >= seen.len(), "{tally:?}");
    assert!(
        site.rows().iter().all(|row| !seen.contains(&row.username)),
        "attempts without a configuration have no row"
    );
    assert_eq!(tally.unanswered, 0, "{tally:?}");
}

fn set_mode(site: &Site, mode: u32) {
    let path = site.path("authpolicy.toml");
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_broken_or_missing_configuration_causes_435() {
    let damage = |site: &Site, good: &str| {
        replace(site, "authpolicy.toml", good.replace("allow_countries", "alow").as_bytes());
    };
    break_config("configuration broken, and mended", Base::Sqlite, damage, "line ");
    let remove = |site: &Site, _: &str| fs::remove_file(site.path("authpolicy.toml")).unwrap();
    break_config("configuration gone, and back", Base::Sqlite, remove, "cannot be read");
}

#[test]
fn a_configuration_that_only_root_may_read_causes_435() {
    let hide = |site: &Site, _: &str| set_mode(site, 0o600);
    break_config("configuration unreadable, and readable", Base::mariadb(), hide, "cannot be read");
}

#[test]
fn a_configuration_that_others_may_write_causes_435() {
    let allow_others = |site: &Site, _: &str| set_mode(site, 0o660);
    break_config(
        "configuration writable for others",
        Base::mariadb(),
        allow_others,
        "others may write it",
    );
}
