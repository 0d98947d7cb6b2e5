//! GeoIP files: pairs of files, the warnings of `authpolicy config`, and the script that fetches a
//! file.
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

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;
use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use common::Base;
use common::Site;
use common::config::config;
use common::config::value;
use common::fetch::MARKER;
use common::fetch::Script;
use common::fetch::Web;
use common::fetch::gzipped;
use common::limits::NO;
use common::limits::YES;
use common::limits::attempt;
use common::mmdb;
use common::outcome::GB_ONLY;
use common::outcome::accepted;
use common::outcome::last;
use common::outcome::refused;
use common::site::CN;
use common::site::GB;
use common::site::NETWORKS;
use common::smtp::ACCEPTED;
use common::smtp::CANNOT_TELL;
use common::smtp::REFUSED;

const GB6: &str = "2001:db8:1::7";
const CN6: &str = "2001:db8:2::7";

/// A site with this policy and a pair of country files, which the configuration does not name yet.
fn site(base: Base, policy: &str) -> Site {
    let site = Site::new(base, policy);
    site.account("u@example.com", "secret");
    for (name, bytes) in ["v4.mmdb", "v6.mmdb"].iter().zip(mmdb::pair(NETWORKS)) {
        fs::write(site.path(name), bytes).unwrap();
    }
    site
}

/// Sets a key of `[geoip]` to these files.
fn set_files(site: &Site, key: &str, files: &[&str]) {
    let config = site.read("authpolicy.toml");
    let dir = site.directory().display();
    let list: Vec<_> = files.iter().map(|name| format!("\"{dir}/{name}\"")).collect();
    let line = format!("\n{key} = [{}]\n", list.join(", "));
    let is_old = |old: &&str| old.starts_with(&format!("{key} = "));
    // `database` is a key of `[geoip]` alone.
    let rest: Vec<_> = config.lines().filter(|line| !is_old(line)).collect();
    let config = rest.join("\n") + "\n";
    site.write_config(&config.replace("\n[geoip]\n", &format!("\n[geoip]{line}")));
}

/// The exit status of `authpolicy config`, and its `check.geoip`.
fn check(site: &Site) -> (i32, String) {
    let (status, printed, _) = config(site);
    (status, value(&printed, "geoip").to_owned())
}

#[test]
fn a_pair_of_files_serves_both_families() {
    for base in Base::all() {
        let site = site(base, GB_ONLY);
        for files in [["v4.mmdb", "v6.mmdb"], ["v6.mmdb", "v4.mmdb"]] {
            set_files(&site, "database", &files);
            let exim = site.exim();
            for (remote, country) in [(GB, "GB"), (CN, "CN"), (GB6, "GB"), (CN6, "CN")] {
                let reply = attempt(&exim, remote, "u@example.com", "secret");
                let (want, outcome) = match country {
                    "GB" => (ACCEPTED, accepted()),
                    _ => (REFUSED, refused("policy.allow_countries")),
                };
                assert_eq!(reply, want, "{remote} {files:?}: {}", site.main_log());
                assert_eq!(last(&site), outcome, "{remote} {files:?}");
                assert_eq!(site.rows().last().unwrap().country, country, "{remote} {files:?}");
                let lookup = site.tool(&["geoip", "lookup", remote], "");
                assert_eq!(lookup, format!("country={country}\n"));
            }
            let (status, message) = check(&site);
            assert!(status == 0 && message.starts_with("ok type="), "{message}");
            assert!(
                message.contains("holds=IPv4 ") && message.contains("holds=IPv6 "),
                "{message}"
            );
        }
    }
}

#[test]
fn an_unreadable_file_of_a_pair_causes_435_for_addresses_it_may_contain() {
    let site = site(Base::Sqlite, GB_ONLY);
    set_files(&site, "database", &["v4.mmdb", "v6.mmdb"]);
    let exim = site.exim();
    assert_eq!(attempt(&exim, GB, "u@example.com", "secret"), ACCEPTED, "{}", site.main_log());
    for (missing, remote, reply) in [
        ("v6.mmdb", GB, ACCEPTED),
        ("v6.mmdb", GB6, CANNOT_TELL),
        // The first file may contain both families.
        ("v4.mmdb", GB, CANNOT_TELL),
        ("v4.mmdb", GB6, CANNOT_TELL),
    ] {
        fs::rename(site.path(missing), site.path("away")).unwrap();
        assert_eq!(attempt(&exim, remote, "u@example.com", "secret"), reply, "{missing} {remote}");
        let (auth_ok, policy_reject, line) = last(&site);
        if reply == ACCEPTED {
            assert_eq!((auth_ok, policy_reject), (YES, NO));
        } else {
            assert_eq!((auth_ok, policy_reject), (None, None));
            assert!(line.starts_with("status=503 reason=internal "), "{line}");
            assert!(site.lines().last().unwrap().contains(missing), "{:?}", site.lines());
        }
        let (status, message) = check(&site);
        assert!(
            status == 2 && message.starts_with("failed ") && message.contains(missing),
            "{message}"
        );
        fs::rename(site.path("away"), site.path(missing)).unwrap();
    }
    assert_eq!(attempt(&exim, GB6, "u@example.com", "secret"), ACCEPTED);
}

#[test]
fn config_warns_of_a_missing_family_that_a_rule_needs() {
    let site = site(Base::Sqlite, GB_ONLY);
    let exim = site.exim();
    assert_eq!(attempt(&exim, GB, "u@example.com", "secret"), ACCEPTED, "{}", site.main_log());
    for (file, family, known, unknown) in
        [("v6.mmdb", "IPv4", GB6, CN), ("v4.mmdb", "IPv6", GB, CN6)]
    {
        set_files(&site, "database", &[file]);
        let (status, message) = check(&site);
        let want = format!("/{file} has no {family} networks, so that the country of {family}");
        assert!(
            status == 0 && message.starts_with("warning ") && message.contains(&want),
            "{message}"
        );
        assert!(message.contains(&format!("add the {family} file to geoip.database")), "{message}");
        // Addresses of the missing family have no country.
        assert_eq!(attempt(&exim, known, "u@example.com", "secret"), ACCEPTED);
        assert_eq!(attempt(&exim, unknown, "u@example.com", "secret"), ACCEPTED);
        assert_eq!(site.rows().last().unwrap().country, "");
    }
    let rules = site.read("authpolicy.toml");
    let no_rule = rules.replace("allow_countries = [\"GB\"]", "");
    site.write_config(&no_rule);
    let (_, message) = check(&site);
    assert!(message.starts_with("warning "), "accounts may have rules: {message}");
    let columns = "allow_countries, deny_countries, allow_nets";
    assert!(no_rule.contains(columns));
    site.write_config(&no_rule.replace(columns, "allow_nets"));
    let (_, message) = check(&site);
    assert!(message.starts_with("ok ") && message.contains(" holds=IPv4 "), "{message}");
}

#[test]
fn config_warns_of_a_family_missing_from_the_asn_file() {
    let site = site(Base::Sqlite, "[policy]\nfailure_time = \"0s\"\n");
    let system = |number: &str| {
        let number = number.parse::<u32>().unwrap();
        mmdb_writer::Value::map([("autonomous_system_number", mmdb_writer::Value::from(number))])
    };
    let lists = ["192.0.2.0/24 64496\n", "2001:db8::/32 64497\n"];
    for (name, list) in ["asn4.mmdb", "asn6.mmdb"].iter().zip(lists) {
        fs::write(site.path(name), mmdb::write("Authpolicy-ASN", list, system)).unwrap();
    }
    set_files(&site, "asn_database", &["asn4.mmdb"]);
    assert!(check(&site).1.starts_with("ok "), "no rule needs it");
    let config = site.read("authpolicy.toml");
    site.write_config(&config.replace("[policy]\n", "[policy]\ndeny_asns = [64497]\n"));
    let message = check(&site).1;
    let want = "/asn4.mmdb has no IPv6 networks, so that the autonomous system of IPv6 clients";
    assert!(message.starts_with("warning ") && message.contains(want), "{message}");
    let exim = site.exim();
    assert_eq!(attempt(&exim, GB6, "u@example.com", "secret"), ACCEPTED, "{}", site.main_log());
    set_files(&site, "asn_database", &["asn4.mmdb", "asn6.mmdb"]);
    assert!(check(&site).1.starts_with("ok "));
    assert_eq!(attempt(&exim, GB6, "u@example.com", "secret"), REFUSED);
    assert_eq!(last(&site), refused("policy.deny_asns"));
    assert_eq!(attempt(&exim, GB, "u@example.com", "secret"), ACCEPTED);
}

#[test]
fn config_warns_of_an_old_geoip_file() {
    let site = site(Base::Sqlite, GB_ONLY);
    assert!(check(&site).1.starts_with("ok "), "built just now");
    let days_ago = |days: u64| SystemTime::now() - Duration::from_secs(days * 24 * 3600);
    for (time, is_old) in [
        (UNIX_EPOCH + Duration::from_secs(1_000_000_000), true),
        (days_ago(62), true),
        (days_ago(58), false),
        (UNIX_EPOCH + Duration::from_secs(5_000_000_000), false),
    ] {
        fs::write(site.path("country.mmdb"), mmdb::built_at(NETWORKS, time)).unwrap();
        let (status, message) = check(&site);
        assert_eq!((status, message.starts_with("warning ")), (0, is_old), "{message}");
        let advice = " days ago, and addresses change hands: fetch a newer one";
        assert_eq!(
            message.contains("/country.mmdb was built ") && message.contains(advice),
            is_old
        );
    }
}

#[test]
fn db_ips_file_contains_both_families_and_is_used_after_an_ipv6_file() {
    let file = std::env::var("AUTHPOLICY_TEST_GEOIP")
        .expect("AUTHPOLICY_TEST_GEOIP names DB-IP's country file: run `make test`");
    let site = site(Base::Sqlite, GB_ONLY);
    fs::copy(file, site.path("db-ip.mmdb")).unwrap();
    set_files(&site, "database", &["v6.mmdb", "db-ip.mmdb"]);
    let message = check(&site).1;
    assert!(message.contains("holds=IPv4+IPv6 "), "{message}");
    let lookup = |ip| site.run_tool(&["geoip", "lookup", ip], "").stdout;
    assert_eq!(lookup("122.11.169.35"), b"country=SG\n");
    assert_eq!(lookup(CN6), b"country=CN\n");
    set_files(&site, "database", &["v4.mmdb", "db-ip.mmdb"]);
    assert_eq!(lookup("122.11.169.35"), b"country=\n", "only the first file of a family is used");
    assert_eq!(lookup("2a00:1450:4001:830::200e").len(), b"country=XX\n".len());
}

fn complaint(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_script_fetches_db_ips_file_of_this_month_or_of_the_month_before() {
    let country = mmdb::from_list(NETWORKS);
    for downloader in ["curl", "wget"] {
        let compressed = gzipped(&country);
        let web = Web::start(move |path| match path.contains("2027-03") {
            true => ("200 OK", compressed.clone()),
            false => ("404 Not Found", Vec::new()),
        });
        let mut script = Script::new(downloader);
        let output = script.run(&["--mirror", &web.url]);
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        assert_eq!((script.file() == country, web.months()), (true, vec!["2027-03".to_owned()]));
        let mode = fs::metadata(script.path("country.mmdb")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
        // The file of this month is not published yet. The month before January is December.
        script.month = "2027-04";
        fs::write(script.path("country.mmdb"), "old").unwrap();
        let output = script.run(&["--refresh", "--mirror", &web.url]);
        assert!(output.status.success() && script.file() == country, "{output:?}");
        assert_eq!(web.months(), ["2027-04", "2027-03"]);
        for (month, before) in [("2028-01", "2027-12"), ("2028-10", "2028-09")] {
            script.month = month;
            let message = complaint(&script.run(&["--refresh", "--mirror", &web.url]));
            assert!(
                message.contains("(HTTP status 404)") && message.contains("--from npm"),
                "{message}"
            );
            assert_eq!(web.months(), [month, before]);
            assert_eq!(script.file(), country, "the file is unchanged");
        }
    }
}

#[test]
fn the_script_installs_only_valid_mmdb_files() {
    let compressed = gzipped(&mmdb::from_list(NETWORKS));
    let half = compressed[..compressed.len() / 2].to_vec();
    for downloader in ["curl", "wget"] {
        let script = Script::new(downloader);
        fs::write(script.path("country.mmdb"), "old").unwrap();
        for (status, body, want) in [
            ("200 OK", gzipped(b"<html>maintenance</html>"), "is not an MMDB file"),
            ("200 OK", b"<html>maintenance</html>".to_vec(), "is damaged"),
            ("200 OK", half.clone(), "is damaged"),
            // The script does not try the month before, because that file may be older than the
            // installed file.
            ("503 Unavailable", compressed.clone(), "(HTTP status 503)"),
        ] {
            let web = Web::start(move |_| (status, body.clone()));
            let message = complaint(&script.run(&["--refresh", "--mirror", &web.url]));
            assert!(message.contains(want), "{downloader}: {message}");
            assert_eq!(web.months(), ["2027-03"]);
            assert_eq!(script.file(), b"old");
        }
        let closed = format!("http://127.0.0.1:{}/free", common::exim::free_port());
        let message = complaint(&script.run(&["--refresh", "--mirror", &closed]));
        assert!(message.contains("(HTTP status 000)"), "{message}");
    }
    let message = complaint(&Script::new("true").run(&["--mirror", "http://127.0.0.1/free"]));
    assert!(message.contains("needs curl or wget"), "{message}");
}

#[test]
fn the_script_keeps_an_existing_file_unless_refresh_is_given() {
    let script = Script::new("true");
    fs::create_dir(script.path("bin")).unwrap();
    script.npm("fresh\\253\\315\\357MaxMind.com");
    fs::write(script.path("country.mmdb"), "old").unwrap();
    let message = String::from_utf8(script.run(&["--from", "npm"]).stdout).unwrap();
    assert!(message.contains("country.mmdb is there, left as it is; --refresh"), "{message}");
    assert_eq!(script.file(), b"old");
    let output = script.run(&["--refresh", "--from", "npm"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(script.file(), [b"fresh", MARKER].concat());
    script.npm("<html>");
    let message = complaint(&script.run(&["--refresh", "--from", "npm"]));
    assert!(message.contains("is not an MMDB file"), "{message}");
    assert_eq!(script.file(), [b"fresh", MARKER].concat());
    for wrong in [&["--refesh"][..], &["--from", "nobody"], &["--from"]] {
        let wrong = script.run(wrong);
        assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
        assert!(wrong.stderr.starts_with(b"usage: "), "{wrong:?}");
    }
}
