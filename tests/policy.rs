//! Rules of accounts, domains and the default in a real Exim, with exceptions and new countries.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    reason = "test code"
)]

mod common;

use std::fs;

use common::Base;
use common::Client;
use common::Site;
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
use common::site::QUERY;
use common::smtp::ACCEPTED;
use common::smtp::CANNOT_TELL;
use common::smtp::REFUSED;
use mysql::prelude::Queryable;

#[test]
fn account_rules_override_domain_rules_and_both_override_the_default() {
    for base in Base::all() {
        let policy = "
[policy.domain.\"cn.example\"]
allow_countries = [\"CN\"]
[policy.domain.\"off.example\"]
disabled = true
[policy.domain.\"imap.example\"]
protocols = [\"IMAP\"]
[policy.account.\"boss@cn.example\"]
allow_countries = [\"*\"]
protocols = [\"smtp\"]
[policy.account.\"Mixed@Imap.example\"]
protocols = [\"IMAP\", \"smtp\"]
";
        let site = Site::new(base, &(GB_ONLY.to_owned() + policy));
        for name in
            ["u@example.com", "u@cn.example", "boss@cn.example", "own@cn.example", "u@off.example"]
        {
            site.account(name, "secret");
        }
        site.account("u@imap.example", "secret");
        site.account("mixed@imap.example", "secret");
        site.sql("UPDATE account SET allow_countries = 'GB' WHERE username = 'own@cn.example'");
        let exim = site.exim();
        for (remote, authcid, want) in [
            (GB, "u@example.com", accepted()),
            (CN, "u@example.com", refused("policy.allow_countries")),
            (CN, "u@cn.example", accepted()),
            (GB, "u@cn.example", refused("domain.allow_countries")),
            (GB, "boss@cn.example", accepted()),
            (CN, "boss@cn.example", accepted()),
            (CN, "own@cn.example", refused("account.allow_countries")),
            (GB, "own@cn.example", accepted()),
            (GB, "u@imap.example", refused("domain.protocols")),
            (GB, "mixed@imap.example", accepted()),
            (
                GB,
                "u@off.example",
                (YES, YES, String::from("status=403 reason=disabled rule=domain.disabled")),
            ),
        ] {
            let reply = attempt(&exim, remote, authcid, "secret");
            assert_eq!(reply == ACCEPTED, want.1 == NO, "{remote} {authcid}: {reply}");
            assert_eq!(last(&site), want, "{remote} {authcid}");
        }
        // A column sets the protocols of one account.
        site.sql("ALTER TABLE account ADD COLUMN protocols varchar(80)");
        let query = QUERY.replace("SELECT ", "SELECT protocols, ");
        site.write_config(&site.read("authpolicy.toml").replace(QUERY, &query));
        for (protocols, want) in [("imap", refused("account.protocols")), ("Imap smtp", accepted())]
        {
            site.sql(&format!("UPDATE account SET protocols = '{protocols}'"));
            let _ = attempt(&exim, GB, "u@imap.example", "secret");
            assert_eq!(last(&site), want, "{protocols}");
        }
        assert_eq!(site.panic_log(), "");
    }
}

#[test]
fn a_traveller_gets_an_exception() {
    for base in Base::all() {
        let site = Site::new(base, GB_ONLY);
        site.account("u@example.com", "secret");
        let exim = site.exim();
        assert_eq!(attempt(&exim, GB, "u@example.com", "secret"), ACCEPTED);
        assert_eq!(attempt(&exim, CN, "u@example.com", "secret"), REFUSED);
        let wrong = ["exception", "add", "u@example.com", "--countries", "UK", "--until", "3d"];
        assert_eq!(site.run_tool(&wrong, "").status.code(), Some(2));
        let expired = ["exception", "add", "u@example.com", "--countries", "CN", "--until"];
        assert_eq!(
            site.run_tool(&[&expired[..], &["2020-06-30"]].concat(), "").status.code(),
            Some(2)
        );
        let without_place = ["exception", "add", "u@example.com", "--until", "3d"];
        assert_eq!(site.run_tool(&without_place, "").status.code(), Some(2));
        site.tool(
            &["exception", "add", "U@example.com", "--countries", "es, cn", "--until", "3d"],
            "",
        );
        assert_eq!(attempt(&exim, CN, "u@example.com", "secret"), ACCEPTED, "{}", site.main_log());
        assert_eq!(last(&site), accepted());
        let listed = site.tool(&["exception", "list"], "");
        assert!(listed.starts_with("id=1 account=u@example.com countries=ES,CN networks= ends=2"));
        let test = site.tool(&["test", "u@example.com", CN], "secret");
        assert!(test.contains("rule=exception says=admits\n"), "{test}");
        assert!(test.contains("decides=exception\n"), "{test}");
        // The exception expires.
        site.sql("UPDATE authpolicy_exception SET expires = 1");
        assert_eq!(attempt(&exim, CN, "u@example.com", "secret"), REFUSED);
        assert!(site.tool(&["exception", "list", "u@example.com"], "").contains(" ended=1970"));
        assert_eq!(site.tool(&["exception", "del", "1"], ""), "deleted=1\n");
        assert_eq!(site.run_tool(&["exception", "del", "1"], "").status.code(), Some(1));
        let net = ["exception", "add", "u@example.com", "--networks", "198.51.100.0/24", "--until"];
        site.tool(&[&net[..], &["2099-12-31"]].concat(), "");
        assert!(site.tool(&["exception", "list"], "").contains(" ends=2100-01-01T00:00:00Z"));
        assert_eq!(attempt(&exim, CN, "u@example.com", "secret"), ACCEPTED);
    }
}

/// A database in production may lack our tables, and its user may not see which tables exist.
#[test]
fn without_our_tables_a_denied_country_is_refused() {
    let base = Base::mariadb();
    let Base::MariaDb(server, name, _) = &base else { panic!("MariaDB") };
    let site = Site::new(base.clone(), GB_ONLY);
    site.account("u@example.com", "secret");
    for table in ["exception", "count", "seen"] {
        site.sql(&format!("DROP TABLE authpolicy_{table}"));
    }
    let mut root = server.root("");
    root.query_drop("CREATE USER few@localhost IDENTIFIED BY 'few'").unwrap();
    root.query_drop(format!("GRANT SELECT ON {name}.account TO few@localhost")).unwrap();
    root.query_drop(format!("GRANT INSERT ON {name}.connection_log TO few@localhost")).unwrap();
    let url = format!("mysql://few:few@localhost/{name}?socket={}", server.socket().display());
    let config = site.read("authpolicy.toml").replace(&site.url(), &url);
    site.write_config(&config);
    let exim = site.exim();
    assert_eq!(attempt(&exim, GB, "u@example.com", "secret"), ACCEPTED, "{}", site.main_log());
    assert_eq!(attempt(&exim, CN, "u@example.com", "secret"), REFUSED, "{}", site.main_log());
    assert_eq!(last(&site), refused("policy.allow_countries"));
}

/// A database of autonomous systems, in the layout of MaxMind and DB-IP.
fn asns(list: &str) -> Vec<u8> {
    mmdb::write("Authpolicy-ASN", list, |number| {
        let number = number.parse::<u32>().unwrap();
        mmdb_writer::Value::map([("autonomous_system_number", mmdb_writer::Value::from(number))])
    })
}

#[test]
fn an_autonomous_system_is_refused_logged_and_returned_by_last() {
    for base in Base::all() {
        let insert = "[log]\ninsert = \"INSERT INTO connection_log (protocol, username, remote_ip, \
                      country, auth_ok, policy_reject, asn) VALUES (:protocol, :username, \
                      :remote_ip, :country, :auth_ok, :policy_reject, :asn)\"\n";
        let site = Site::new(base, "");
        let file = site.path("asn.mmdb");
        fs::write(&file, asns("192.0.2.0/24 64496\n198.51.100.0/24 64497")).unwrap();
        site.configure(&format!(
            "[accounts]\nquery = \"{QUERY}\"\n{}asn_database = \"{}\"\n[policy]\n\
             failure_time = \"0s\"\ndeny_asns = [\"AS64497\"]\ndeny_networks = [\"192.0.2.128/25\"]\n\
             {insert}",
            site.geoip(),
            file.display()
        ));
        site.sql("ALTER TABLE connection_log ADD COLUMN asn bigint");
        site.account("u@example.com", "secret");
        site.sql("UPDATE account SET allow_countries = '*' WHERE username = 'u@example.com'");
        let text = site.read("exim.conf").replace(" here=", " asn=${dlfunc{SO}{last}{asn}} here=");
        site.write(
            "exim.conf",
            &text.replace("{SO}", &format!("{{{}}}", site.path("authpolicy.so").display())),
        );
        let exim = site.exim();
        let mut client = Client::connect_from(exim.port, GB);
        assert_eq!(client.plain(b"u@example.com", b"secret"), ACCEPTED, "{}", site.main_log());
        let facts = client.command("MAIL FROM:<u@example.com>");
        assert!(facts.contains(" asn=64496 "), "{facts}");
        assert_eq!(attempt(&exim, CN, "u@example.com", "secret"), REFUSED);
        assert_eq!(last(&site), refused("policy.deny_asns"));
        assert_eq!(attempt(&exim, "192.0.2.200", "u@example.com", "secret"), REFUSED);
        assert_eq!(last(&site), refused("policy.deny_networks"));
        // A network without an autonomous system.
        assert_eq!(attempt(&exim, "203.0.113.5", "u@example.com", "secret"), ACCEPTED);
        let known = "SELECT COUNT(*) FROM connection_log WHERE asn IN (64496, 64497)";
        assert_eq!(site.count(known), 3);
        let lookup = site.tool(&["geoip", "lookup", GB], "");
        assert_eq!(lookup, "asn=64496\ncountry=GB\n");
        fs::rename(&file, site.path("gone.mmdb")).unwrap();
        assert_eq!(attempt(&exim, GB, "u@example.com", "secret"), CANNOT_TELL);
        assert!(site.lines().last().unwrap().contains("geoip.asn_database"));
    }
}

#[test]
fn a_new_country_of_an_account_is_logged_or_rejected() {
    for base in Base::all() {
        let policy = "[policy]\nfailure_time = \"0s\"\nnew_country = \"log\"\n";
        let site = Site::new(base, policy);
        for name in ["u@example.com", "v@example.com", "own@example.com"] {
            site.account(name, "secret");
        }
        site.sql("UPDATE account SET allow_countries = 'CN GB' WHERE username = 'own@example.com'");
        let exim = site.exim();
        let new = (YES, NO, String::from("status=204 reason=new-country rule=policy.new_country"));
        for (remote, authcid, want) in [
            (GB, "u@example.com", accepted()),
            (CN, "u@example.com", new.clone()),
            (CN, "u@example.com", accepted()),
            (GB, "v@example.com", accepted()),
            // An unknown country is not a new one.
            ("203.0.113.7", "v@example.com", accepted()),
            (GB, "own@example.com", accepted()),
        ] {
            assert_eq!(attempt(&exim, remote, authcid, "secret"), ACCEPTED, "{}", site.main_log());
            assert_eq!(last(&site), want, "{remote} {authcid}");
        }
        assert_eq!(attempt(&exim, CN, "v@example.com", "wrong"), REFUSED);
        let reject = site.read("authpolicy.toml").replace("\"log\"", "\"reject\"");
        site.write_config(&reject);
        for _ in 0..2 {
            assert_eq!(attempt(&exim, CN, "v@example.com", "secret"), REFUSED);
            assert_eq!(last(&site), refused("policy.new_country"));
        }
        assert_eq!(attempt(&exim, CN, "own@example.com", "secret"), ACCEPTED, "its own list");
        assert_eq!(last(&site), new);
        site.tool(&["exception", "add", "v@example.com", "--countries", "CN", "--until", "3d"], "");
        assert_eq!(attempt(&exim, CN, "v@example.com", "secret"), ACCEPTED);
        assert_eq!(last(&site), new);
        site.tool(&["exception", "del", "1"], "");
        assert_eq!(
            attempt(&exim, CN, "v@example.com", "secret"),
            ACCEPTED,
            "the country is no longer new"
        );
        // A country that was last seen long ago is new again.
        site.sql("UPDATE authpolicy_seen SET time = 1 WHERE country = 'CN'");
        assert_eq!(attempt(&exim, CN, "v@example.com", "secret"), REFUSED);
        site.write_config(&(reject.replace("failure_time", "log_only = true\nfailure_time")));
        assert_eq!(attempt(&exim, CN, "v@example.com", "secret"), ACCEPTED);
        let would_reject =
            (YES, NO, String::from("status=204 reason=would-reject rule=policy.new_country"));
        assert_eq!(last(&site), would_reject);
        assert_eq!(site.panic_log(), "");
    }
}

/// Without a country file, it is unknown if the country is new, even if another rule admits the client.
#[test]
fn a_rule_for_new_countries_without_the_country_file_is_435() {
    let policy =
        "[policy]\nfailure_time = \"0s\"\nallow_countries = [\"*\"]\nnew_country = \"reject\"\n";
    let site = Site::new(Base::Sqlite, policy);
    site.account("u@example.com", "secret");
    let exim = site.exim();
    assert_eq!(attempt(&exim, GB, "u@example.com", "secret"), ACCEPTED);
    let good = site.read("authpolicy.toml");
    let lost = good.replace("country.mmdb", "no-such.mmdb");
    site.write_config(&lost);
    assert_eq!(attempt(&exim, GB, "u@example.com", "secret"), CANNOT_TELL);
    assert_eq!(last(&site).2, "status=503 reason=internal rule=-");
    // Without the file, a limit cannot count countries either.
    let limit = "[[policy.limit]]\nname = \"world\"\nper = \"account\"\ncount = \"countries\"\n\
                 max = 2\nwithin = \"10m\"\n";
    let config = lost.replace("new_country = \"reject\"", "known_good = \"0s\"") + limit;
    site.write_config(&config);
    assert_eq!(attempt(&exim, GB, "u@example.com", "secret"), CANNOT_TELL);
    site.write_config(&good);
    assert_eq!(attempt(&exim, GB, "u@example.com", "secret"), ACCEPTED);
}
