//! The keys of the configuration, their defaults, and the permissions of the file.

mod refused;

use super::*;

const PATH: &str = "/etc/authpolicy.toml";
const MINIMAL: &str = "[database]\nurl = \"sqlite:/var/lib/authpolicy/authpolicy.db\"\n";

fn parse(text: &str) -> Result<Config, Error> {
    Config::parse(Path::new(PATH), text)
}

#[test]
fn only_the_database_is_required() {
    let config = parse(MINIMAL).unwrap();
    assert_eq!(config.accounts.query, DEFAULT_QUERY);
    assert_eq!(config.failure_time, Duration::from_millis(500));
    assert_eq!(config.timeouts.attempt, Duration::from_secs(5));
    assert_eq!(config.log.protocol, "SMTP");
    assert_eq!(config.state_directory, Path::new("/var/lib/authpolicy"));
    assert!(config.accounts.database.is_same(&config.log.database));
}

#[test]
fn a_rule_for_a_name_beyond_ascii_is_noted_with_its_line() {
    let message = |text: &str| parse(&format!("{MINIMAL}{text}")).unwrap().ambiguous_rule;
    let rule = "[policy.account.\"mike@example.com\"]\ndisabled = true\n";
    assert_eq!(message(rule), None);
    for (name, key) in [
        ("domain.\"ex\u{e1}mple.com\"", "domain"),
        ("account.\"stra\u{df}e@example.com\"", "account"),
        ("account.\"mi\\u0001ke@example.com\"", "account"),
    ] {
        let text = format!("{rule}[policy.{name}]\ndisabled = true\n");
        let message = message(&text).unwrap();
        assert!(message.starts_with(&format!("line 5: policy.{key}.\"")), "{message}");
        assert!(!message.contains(char::is_control), "{message}");
    }
    let default = format!("[accounts]\ndefault_domain = \"ex\u{e1}mple.com\"\n{rule}");
    assert_eq!(message(&default), None, "the rule has its own domain");
    assert!(message(&format!("{default}[policy.account.mike]\ndisabled = true\n")).is_some());
}

#[test]
fn every_key_is_read() {
    let config = parse(
        r#"
        [database]
        url = ["mysql://exim:p%40ss@db1/mail", "mysql://exim:p%40ss@db2:3307/mail?socket=/run/s"]
        connect_timeout = "1s"
        query_timeout = "2s"
        attempt_timeout = "4s"
        [accounts]
        url = "sqlite:/srv/accounts.db"
        query = "SELECT password FROM a WHERE n = :local_part AND d = :domain AND :tls = 1"
        default_scheme = "plain"
        allow_weak_schemes = false
        max_bcrypt_cost = 12
        max_rounds = 1000
        max_argon2_memory = 65536
        max_parallel_hashes = 8
        scram_iterations = 4096
        dummy_hash = "{BLF-CRYPT}$2y$11$11ipvo5dR6CwkzwmhwM26OXgzXwhV2PyPuLV.Qi31ILcRcThQpEiW"
        default_domain = "Example.COM"
        [geoip]
        database = "/var/lib/GeoIP/country.mmdb"
        asn_database = ["/var/lib/GeoIP/asn-ipv4.mmdb", "/var/lib/GeoIP/asn-ipv6.mmdb"]
        [policy]
        allow_countries = ["GB", "ie"]
        deny_countries = ["CN"]
        unknown_country = "reject"
        trusted_networks = ["10.0.0.0/8", "::1"]
        nat64_prefixes = ["64:ff9b::/96", "2001:db8:64::/48", "2001:db8:65::/96"]
        when_rejected = "skip"
        failure_time = "1s 500ms"
        log_only = true
        hash_nonce = "hunter2"
        [log]
        url = "sqlite:/srv/log.db"
        insert = "INSERT INTO l (u, r) VALUES (:username, :reason)"
        protocol = "SUBMISSION"
        [state]
        directory = "/srv/state"
        "#,
    )
    .unwrap();
    assert_eq!(config.accounts.default_domain, "example.com");
    assert_eq!(config.accounts.max_parallel_hashes, Some(8));
    assert!(config.policy.reject_unknown_country && config.policy.log_only);
    assert_eq!(config.policy.trusted_networks.len(), 2);
    assert_eq!(config.policy.nat64.prefixes().len(), 3);
    assert_eq!((config.geoip.len(), config.asn_database.len()), (1, 2));
    assert_eq!(config.failure_time, Duration::from_millis(1500));
    let shown = format!("{config:?}");
    assert!(!shown.contains("$2y$"), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(!shown.contains("p@ss") && !shown.contains("p%40ss"), "{shown}");
}

#[test]
fn only_sections_of_other_programs_are_ignored() {
    let sections =
        "[policyd]\nlisten = 1\n[report]\n[[report.page]]\nx = [{ y = 1.5 }]\n[[notify]]\n";
    let config = parse(&format!("{MINIMAL}{sections}")).unwrap();
    assert_eq!(config.log.protocol, "SMTP");
    for (text, want) in [
        ("[policyd]\n[reports]\n", "line 4: unknown section `reports`"),
        ("[Notify]\n", "line 3: unknown section `Notify`"),
        ("[database.report]\n", "line 3: unknown section `report`"),
    ] {
        let message = parse(&format!("{MINIMAL}{text}")).unwrap_err().to_string();
        assert!(message.starts_with(&format!("{PATH}: {want}")), "{message}");
    }
}

#[test]
fn a_file_that_others_may_write_or_read_a_password_in_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("authpolicy.toml");
    let load = |text: &str, mode: u32| {
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        Config::load(&path)
    };
    let secret = "[database]\nurl = \"mysql://exim:hunter2@localhost/mail\"\n";
    assert!(load(MINIMAL, 0o644).is_ok(), "a correct file is accepted");
    assert!(load(secret, 0o640).is_ok());
    for (text, mode, want) in [
        (MINIMAL, 0o666, "others may write it (mode 0666)"),
        (MINIMAL, 0o660, "others may write it (mode 0660)"),
        (secret, 0o644, "everyone may read the database password in it (mode 0644)"),
    ] {
        let message = load(text, mode).unwrap_err().to_string();
        assert!(message.contains(want) && message.contains("chmod 640"), "{message}");
        assert!(!message.contains("hunter2"), "{message}");
    }
    let message = Config::load(directory.path()).unwrap_err().to_string();
    assert!(message.contains("is not a regular file"), "{message}");
}
