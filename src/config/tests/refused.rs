//! Wrong configurations: each has its own message, with line and key. No message shows a secret.

#![allow(clippy::too_many_lines, reason = "a table is as long as it is")]

use super::*;

/// Texts that are appended to the minimal configuration, or that replace it, with their messages.
#[test]
fn messages_have_line_and_key() {
    let appended = [
        (
            "[policy]\nalow_countries = []",
            "line 4: policy.alow_countries: unknown field `alow_countries`",
        ),
        ("[geiop]\n", "line 3: unknown section `geiop`"),
        (
            "[policy]\nlog_only = 1",
            "line 4: policy.log_only: invalid type: integer `1`, expected true or false",
        ),
        (
            "[policy]\nipv4_prefix = 300",
            "line 4: policy.ipv4_prefix: invalid value: integer `300`, expected a whole number from 1 \
             to 32",
        ),
        (
            "[policy]\nprotocols = \"SMTP\"",
            "line 4: policy.protocols: invalid type: text, expected a list in [ ]",
        ),
        (
            "[accounts]\nquery = \"a\"\n\nquery = \"b\"",
            "line 6: accounts.query: duplicate key `query`: it is also given above",
        ),
        (
            "[policy]\nhash_nonce = \"hunter2\"\nhash_nonce = \"hunter2\"",
            "line 5: policy.hash_nonce: duplicate key `hash_nonce`",
        ),
        ("[policy]\n[log]\n[policy]", "line 5: duplicate key `policy`"),
        ("[policy\n", "line 3: "),
        (
            "[policy]\nallow_countries = [\"GB\"]",
            "line 4: policy.allow_countries: a country rule needs [geoip]",
        ),
        (
            "[policy]\ndeny_countries = [\"CN\"]",
            "line 4: policy.deny_countries: a country rule needs [geoip]",
        ),
        (
            "[policy]\nunknown_country = \"reject\"",
            "line 4: policy.unknown_country: a country rule needs",
        ),
        (
            "[policy]\nunknown_country = \"deny\"",
            "line 4: policy.unknown_country: \"deny\" is not one of \"allow\", \"reject\"",
        ),
        (
            "[policy]\nwhen_rejected = \"never\"",
            "line 4: policy.when_rejected: \"never\" is not one of",
        ),
        (
            "[policy]\nallow_countries = [\"GBR\"]",
            "line 4: policy.allow_countries: \"GBR\" is not a two-letter",
        ),
        (
            "[policy]\ntrusted_networks = [\"10/8\"]",
            "line 4: policy.trusted_networks: \"10/8\" is not a network",
        ),
        (
            "[policy]\nlog_only = true\nnat64_prefixes = [\"64:ff9b::/96\", \"64:ff9b:1::/49\"]",
            "line 5: policy.nat64_prefixes: \"64:ff9b:1::/49\" has a length that NAT64",
        ),
        (
            "[policy]\nnat64_prefixes = [\"64:ff9b::1/96\"]",
            "line 4: policy.nat64_prefixes: \"64:ff9b::1/96\" has bits beyond its length: write",
        ),
        (
            "[policy]\nnat64_prefixes = [\"192.0.2.0/24\"]",
            "line 4: policy.nat64_prefixes: \"192.0.2.0/24\" is not an IPv6 prefix",
        ),
        (
            "[policy]\nnat64_prefixes = [\"64:ff9b::\"]",
            "line 4: policy.nat64_prefixes: \"64:ff9b::/128\" has a length",
        ),
        (
            "[policy]\nnat64_prefixes = [\"x\"]",
            "line 4: policy.nat64_prefixes: \"x\" is not a network",
        ),
        (
            "[policy]\nnat64_prefixes = [\"\"]",
            "line 4: policy.nat64_prefixes: has an empty element",
        ),
        (
            "[policy]\nnat64_prefixes = \"64:ff9b::/96\"",
            "line 4: policy.nat64_prefixes: invalid type: text, expected a list in [ ]",
        ),
        (
            "[policy]\nfailure_time = \"500\"",
            "line 4: policy.failure_time: \"500\" is not a duration",
        ),
        ("[policy]\nfailure_time = \"2h\"", "line 4: policy.failure_time: is longer than an hour"),
        (
            "[accounts]\nquery = \"SELECT password FROM a\"",
            "line 4: accounts.query: does not use the name",
        ),
        (
            "[accounts]\nquery = \"SELECT :usr\"",
            "line 4: accounts.query: names the unknown parameter :usr",
        ),
        (
            "[accounts]\ndefault_scheme = \"ROT13\"",
            "line 4: accounts.default_scheme: \"ROT13\" is not a known",
        ),
        ("[accounts]\ndefault_domain = \"@x\"", "line 4: accounts.default_domain: contains an @"),
        (
            "[accounts]\nmax_parallel_hashes = 0",
            "line 4: accounts.max_parallel_hashes: is not between 1 and 1024",
        ),
        (
            "[accounts]\nmax_parallel_hashes = -1",
            "line 4: accounts.max_parallel_hashes: invalid value: integer `-1`, expected a whole \
             number from 1 to 1024",
        ),
        (
            "[accounts]\nurl = \"postgres://u:hunter2@h/d\"",
            "line 4: accounts.url: does not begin with",
        ),
        (
            "[log]\ninsert = \"INSERT INTO l VALUES (:user)\"",
            "line 4: log.insert: names the unknown parameter :user",
        ),
        (
            "[log]\nurl = \"mysql://exim:hunter2@h\"",
            "line 4: log.url: has no database name after the host",
        ),
        (
            "[log]\nurl = \"mysql://exim:hunter2@h/d?sokcet=/x\"",
            "line 4: log.url: is not mysql://user",
        ),
        (
            "[log]\nurl = \"mysql://exim:hunter2@h/d?root_cert_path=/ca&danger_accept_invalid_certs=true\"",
            "line 4: log.url: has danger_accept_invalid_certs=true, which trusts every server",
        ),
        (
            "[log]\nurl = \"mysql://exim:hunter2@h/d?danger_skip_domain_validation=true\"",
            "line 4: log.url: asks for TLS and names no authority to trust: add root_cert_path=FILE. The public ones are \
             in /etc/ssl/certs/ca-certificates.crt",
        ),
        (
            "[log]\nurl = \"mysql://exim:hunter2@h/d?cert_chain_path=/c&priv_key_path=/k\"",
            "line 4: log.url: asks for TLS and names no authority to trust",
        ),
        (
            "[log]\nurl = \"mysql://exim:hunter2@h/d?require_ssl=true\"",
            "line 4: log.url: asks for TLS by an option that the driver does not know",
        ),
        (
            "[log]\nurl = \"mysql://exim:hunter2@h/d?socket=/s&ssl-mode=REQUIRED\"",
            "line 4: log.url: asks for TLS by an option that the driver does not know",
        ),
        (
            "[log]\nurl = \"mysql://exim:12/hunter2@h/d\"",
            "line 4: log.url: has a /, @ or : after the host",
        ),
        (
            "[log]\nurl = \"mysql://exim:12/hunter2/hunter2@h/d\"",
            "line 4: log.url: has a /, @ or : after the host",
        ),
        (
            "[log]\nurl = \"mysql://exim:p@ss#hunter2@h/d\"",
            "line 4: log.url: contains a #: in user and password, write %23",
        ),
        (
            "[log]\nurl = \"mysql://u:hunter2@h/d?root_cert_path=/a,mysql://u:hunter2@i/d\"",
            "line 4: log.url: contains a second URL",
        ),
        (
            "[log]\nurl = \"mysql://u:hunter2@h/d?root_cert_path=ca.pem\"",
            "line 4: log.url: has a relative path in root_cert_path: write an absolute one",
        ),
        ("[log]\nurl = []", "line 4: log.url: is an empty list: name a database"),
        (
            "[log]\nurl = [\"sqlite:/a\", \"sqlite:/b\"]",
            "line 4: log.url: has an embedded database in a list",
        ),
        (
            "[log]\nurl = \"sqlite:relative.db\"",
            "line 4: log.url: is a relative path: write an absolute one",
        ),
        (
            "[state]\ndirectory = \"state\"",
            "line 4: state.directory: is a relative path: write an absolute one",
        ),
        ("[policy]\ndeny_asns = [1]", "line 4: policy.deny_asns: needs [geoip] asn_database"),
        (
            "[policy]\ndeny_asns = [\"ASx\"]",
            "line 4: policy.deny_asns: \"ASx\" is not an autonomous",
        ),
        ("[policy]\nnew_country = \"log\"", "line 4: policy.new_country: a country rule needs"),
        (
            "[policy.domain.\"example.com\"]\nallow_countries = [\"GB\"]",
            "line 3: policy.domain: a country rule needs [geoip]",
        ),
        (
            "[policy.account.\"u@example.com\"]\nallow_nets = [\"10/8\"]",
            "line 3: policy.account.\"u@example.com\": allow_nets: \"10/8\" is not a network",
        ),
        (
            "[policy.domain.\"example.com\"]\nallow = [\"GB\"]",
            "line 4: policy.domain.\"example.com\".allow: unknown field `allow`",
        ),
        (
            "[policy.domain.\"@example.com\"]\ndisabled = true",
            "line 3: policy.domain.\"@example.com\": is not a domain such as",
        ),
        (
            "[policy.account.\"mike@example.com \"]\ndisabled = true",
            "line 3: policy.account.\"mike@example.com \": is not an account such as",
        ),
        (
            "[policy.domain.\"a.example\"]\n[policy.domain.\"A.example\"]",
            "line 3: policy.domain.\"a.example\": is given twice",
        ),
        (
            "[policy]\nallow_countries = [\"\"]",
            "line 4: policy.allow_countries: has an empty element",
        ),
        ("[policy]\ndeny_networks = [\" \"]", "line 4: policy.deny_networks: has an empty"),
        (
            "[policy.domain.\"a.example.\"]\nprotocols = [\"\"]",
            "line 3: policy.domain.\"a.example.\": protocols: has an empty element",
        ),
        (
            "[policy.domain.\"a.example.\"]\ndisabled = true",
            "line 3: policy.domain.\"a.example.\": is not a domain such as",
        ),
        ("[policy]\nhash_nonce = 5443", "line 4: policy.hash_nonce: is not a text in quotes"),
        ("[policy]\ncountry_memory = \"0s\"", "line 4: policy.country_memory: is 0, which would"),
        ("[policy]\nipv6_prefix = 129", "line 4: policy.ipv6_prefix: is not between 1 and 128"),
        ("[geoip]\ndatabase = \"x.mmdb\"", "line 4: geoip.database: is a relative path"),
        (
            "[geoip]\nasn_database = [\"/a\", \"x\"]",
            "line 4: geoip.asn_database: is a relative path",
        ),
        ("[geoip]\ndatabase = []", "line 4: geoip.database: is an empty list: name a file"),
        (
            "[geoip]\ndatabase = [\"/a\", \"/b\", \"/a\"]",
            "line 4: geoip.database: names the same file twice",
        ),
        ("[geoip]\ndatabase = 5", "line 4: geoip.database: expected a path in quotes, or a list"),
    ];
    let whole = [
        ("", "missing field `database`"),
        ("[database]\n", "missing field `url`"),
        ("database = \"mysql://u:hunter2@h/d\"", "line 1: database: invalid type: text"),
        ("[database]\nurl: \"mysql://u:hunter2@h/d?socket=/x\"", "line 2: "),
        ("[database]\nurl = [\n\"mysql://u:hunter2\\q@h/d?socket=/x\"]", "line 3: "),
        (
            "[database]\nurl = \"mysql://u:1?hunter2=x@h/d\"",
            "line 2: database.url: is not mysql://user",
        ),
        ("[database]\nurl = 5", "line 2: database.url: expected a database URL in quotes"),
        (
            "[database]\nurl = \"sqlite:/a\"\nconnect_timeout = \"0s\"",
            "line 3: database.connect_timeout: is shorter than 10ms",
        ),
        (
            "[database]\nurl = \"sqlite:/a\"\nattempt_timeout = \"1s\"",
            "line 3: database.attempt_timeout: is shorter than connect_timeout",
        ),
    ];
    let all = appended.map(|(text, want)| (format!("{MINIMAL}{text}"), want)).into_iter();
    let all = all.chain(whole.map(|(text, want)| (text.to_owned(), want)));
    for (text, want) in all {
        let message = parse(&text).unwrap_err().to_string();
        let what = message.strip_prefix("/etc/authpolicy.toml: ").unwrap();
        assert!(
            what.starts_with(want) || (want.starts_with("missing") && what.contains(want)),
            "{text}\n{what}"
        );
        assert!(!message.contains("hunter2"), "{message}");
    }
}

/// A correct limit, and the message for each wrong value in it.
#[test]
fn wrong_limits_have_messages() {
    const GOOD: &str = "[policy]\nhash_nonce = \"x\"\n[[policy.limit]]\nname = \"guessing\"\n\
                        per = \"account\"\ncount = \"failures\"\nmax = 10\nwithin = \"10m\"\n";
    let config = parse(&format!("{MINIMAL}{GOOD}")).unwrap();
    let limit = config.policy.limits.list.first().unwrap();
    assert_eq!((&*limit.name, limit.max, limit.within.as_secs()), ("guessing", 10, 600));
    for (good, bad, want) in [
        ("\"guessing\"", "\"a.b\"", "name: is not 1 to 32 letters"),
        ("\"account\"", "\"network\"", "per: \"network\" is not one of"),
        ("\"failures\"", "\"successes\"", "count: \"successes\" is not one of"),
        (
            "\"failures\"",
            "\"accounts\"",
            "count: \"accounts\" makes no sense with per = \"account\"",
        ),
        ("max = 10", "max = 0", "max: is 0, which would refuse all clients"),
        ("\"10m\"", "\"60d\"", "within: is not between 1ms and 30days"),
        ("max = 10", "max = 10\naction = \"drop\"", "action: \"drop\" is not one of"),
        ("max = 10", "max = 10\naction = \"delay\"", "delay: is missing"),
        ("max = 10", "max = 10\ndelay = \"3s\"", "delay: needs action"),
    ] {
        let text = format!("{MINIMAL}{}", GOOD.replace(good, bad));
        let message = parse(&text).unwrap_err().to_string();
        assert!(message.contains("line 5: policy.limit \""), "{message}");
        assert!(message.contains(want), "{message}");
    }
    let twice = GOOD.replace("[policy]\nhash_nonce = \"x\"\n", "");
    let message = parse(&format!("{MINIMAL}{GOOD}{twice}")).unwrap_err().to_string();
    assert!(message.contains("\"guessing\": the name is given twice"), "{message}");
    for (good, bad, ok) in [
        ("hash_nonce = \"x\"", "", false),
        ("hash_nonce = \"x\"", "known_good = \"0s\"", true),
        ("hash_nonce = \"x\"\n[[", "known_good = \"0s\"\n[[", true),
    ] {
        let parsed = parse(&format!("{MINIMAL}{}", GOOD.replace(good, bad)));
        let message = parsed.as_ref().map_or_else(ToString::to_string, |_| String::new());
        assert_eq!(parsed.is_ok(), ok, "{message}");
        let want = "line 5: policy.limit \"guessing\": policy.hash_nonce: is needed";
        assert!(ok || message.contains(want), "{message}");
    }
}
