//! The plugin and the tool with MySQL: logins with its default authentication plugin, TLS with its own
//! certificate, and all statements under each of its SQL modes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    reason = "test code"
)]

mod common;

use std::fs;
use std::sync::Arc;

use common::Base;
use common::Exim;
use common::MariaDb;
use common::Site;
use common::exim::users::give_to_exim;
use common::journal::flush;
use common::limits;
use common::limits::RESERVATIONS;
use common::limits::YES;
use common::limits::attempt_together;
use common::limits::make_hashes_slow;
use common::limits::wait_at_most;
use common::modes::Stage;
use common::site::GB;
use common::smtp::ACCEPTED;
use common::smtp::CANNOT_TELL;
use common::smtp::REFUSED;
use mysql::prelude::Queryable;

/// A new database on this MySQL server.
fn base(server: &Arc<MariaDb>) -> Base {
    let name = server.database();
    let url = server.url(&name);
    Base::MariaDb(Arc::clone(server), name, url)
}

/// A site with its own MySQL server.
struct Rig {
    site: Site,
    server: Arc<MariaDb>,
    exim: Exim,
    /// The URL for TCP without TLS.
    tcp: String,
    /// The URL for TLS with MySQL's own CA.
    tls: String,
}

/// Needed because MySQL's own certificate names no host.
const SKIP: &str = "danger_skip_domain_validation=true";

impl Rig {
    fn new() -> Self {
        let server = Arc::new(common::mysql::start());
        let site = limits::site(base(&server), "", &[]);
        let Base::MariaDb(_, name, _) = &site.base else { panic!("a server") };
        // MySQL's own CA, and a client certificate that it has signed.
        for file in ["ca.pem", "client-cert.pem", "client-key.pem"] {
            fs::copy(server.directory().join("data").join(file), site.path(file)).unwrap();
            give_to_exim(&site.path(file));
        }
        let tcp = server.tcp_url(name);
        let tls = format!("{tcp}?root_cert_path={}", site.path("ca.pem").display());
        let exim = site.exim();
        let rig = Self { site, server, exim, tcp, tls };
        rig.expect(&rig.site.url(), Ok(()));
        rig
    }

    fn sql(&self, sql: &str) {
        self.server.root("").query_drop(sql).unwrap();
    }

    /// Makes an attempt with this URL, and expects success, or a 435 with these words in the line.
    #[track_caller]
    fn expect(&self, url: &str, want: Result<(), [&str; 2]>) {
        let before = self.site.read("authpolicy.toml");
        self.site.write_config(&before.replace(&self.site.url(), url));
        let reply = limits::attempt(&self.exim, GB, "u@example.com", "secret");
        self.site.write_config(&before);
        let line = self.site.lines().pop().unwrap();
        match want {
            Ok(()) => {
                assert_eq!(reply, ACCEPTED, "{url}: {line}");
                assert!(line.starts_with("attempt status=204 "), "{line}");
            }
            Err(words) => {
                assert_eq!(reply, CANNOT_TELL, "{url}: {line}");
                assert!(words.iter().all(|words| line.contains(words)), "{line}");
            }
        }
    }

    /// Checks that each attempt has a row. Rows of failed attempts have waited in the journal.
    #[track_caller]
    fn expect_rows(&self) {
        flush(&self.site);
        let (rows, lines) = (self.site.rows(), self.site.lines());
        assert_eq!(rows.len(), lines.iter().filter(|l| l.starts_with("attempt ")).count());
        assert!(rows.iter().all(|row| row.auth_ok != Some(false)), "{lines:?}");
        assert_eq!(self.site.panic_log(), "");
    }
}

#[test]
fn a_user_of_caching_sha2_password_logs_in_over_socket_tcp_and_tls() {
    let rig = Rig::new();
    let plugin = "SELECT plugin FROM mysql.user WHERE user = 'exim' AND host = '127.0.0.1'";
    let plugin: Option<String> = rig.server.root("").query_first(plugin).unwrap();
    assert_eq!(plugin.as_deref(), Some("caching_sha2_password"));
    for url in [rig.site.url(), rig.tcp.clone(), format!("{}&{SKIP}", rig.tls)] {
        // This clears the server's cache of logins. Then the server sends its public key for the
        // next login over TCP without TLS.
        rig.sql("FLUSH PRIVILEGES");
        rig.expect(&url, Ok(()));
        rig.expect(&url, Ok(()));
        rig.expect(&url.replace("s3cr", "wr0ng"), Err(["error 1045", "Access denied for user"]));
    }
    // The server's certificate names no host.
    rig.expect(&rig.tls, Err(["certificate not valid for name", "in docs/reference.md"]));
    rig.expect_rows();
}

#[test]
fn required_tls_and_certificates_work_and_the_line_says_if_they_are_missing() {
    let rig = Rig::new();
    let tls = format!("{}&{SKIP}", rig.tls);
    let path = |file: &str| rig.site.path(file).display().to_string();
    let (certificate, key) = (path("client-cert.pem"), path("client-key.pem"));
    rig.sql("ALTER USER exim@127.0.0.1 REQUIRE SSL");
    rig.expect(&rig.tcp, Err(["error 1045", "if this user must use TLS"]));
    rig.expect(&tls, Ok(()));
    rig.sql("ALTER USER exim@127.0.0.1 REQUIRE X509");
    rig.expect(&tls, Err(["error 1045", "if this user must show a certificate"]));
    rig.expect(&format!("{tls}&cert_chain_path={certificate}&priv_key_path={key}"), Ok(()));
    rig.sql("ALTER USER exim@127.0.0.1 REQUIRE NONE");
    rig.sql("SET GLOBAL require_secure_transport = ON");
    rig.expect(&rig.tcp, Err(["error 3159", "add ?root_cert_path=FILE"]));
    rig.expect(&tls, Ok(()));
    rig.expect_rows();
}

#[test]
fn our_statements_mean_the_same_under_each_mode_of_mysql() {
    let server = Arc::new(common::mysql::start());
    let stage = Stage::new(base(&server));
    // The list in the manual, server variable sql_mode. A mode that a later server adds is not noticed here.
    let modes = [
        "ALLOW_INVALID_DATES",
        "ANSI",
        "ANSI_QUOTES",
        "ERROR_FOR_DIVISION_BY_ZERO",
        "HIGH_NOT_PRECEDENCE",
        "IGNORE_SPACE",
        "NO_AUTO_VALUE_ON_ZERO",
        "NO_BACKSLASH_ESCAPES",
        "NO_DIR_IN_CREATE",
        "NO_ENGINE_SUBSTITUTION",
        "NO_UNSIGNED_SUBTRACTION",
        "NO_ZERO_DATE",
        "NO_ZERO_IN_DATE",
        "ONLY_FULL_GROUP_BY",
        "PAD_CHAR_TO_FULL_LENGTH",
        "PIPES_AS_CONCAT",
        "REAL_AS_FLOAT",
        "STRICT_ALL_TABLES",
        "STRICT_TRANS_TABLES",
        "TIME_TRUNCATE_FRACTIONAL",
        "TRADITIONAL",
    ];
    let default: String = server.root("").query_first("SELECT @@sql_mode").unwrap().unwrap();
    for mode in ["", &default].into_iter().chain(modes) {
        stage.try_mode(mode);
    }
}

/// Many attempts at the same time make reservations.
#[test]
fn parallel_guesses_get_no_more_answers_than_the_limit() {
    let server = Arc::new(common::mysql::start());
    let limit = limits::limit("guessing", "account", "failures", 4);
    let site = limits::site(base(&server), limits::NONE_KNOWN_GOOD, &[limit]);
    make_hashes_slow(&site);
    wait_at_most(&site, "30s");
    let exim = site.exim();
    assert_eq!(limits::attempt(&exim, GB, "u@example.com", "secret"), ACCEPTED);
    let credentials = |number: usize| (String::from("u@example.com"), format!("wrong {number}"));
    let replies = attempt_together(&exim, 12, credentials);
    assert!(replies.iter().all(|reply| reply == REFUSED), "{replies:?}: {:?}", site.lines());
    let rows = site.rows();
    let checked = rows.iter().filter(|row| row.auth_ok == Some(false)).count();
    let limited = rows.iter().filter(|row| (row.auth_ok, row.policy_reject) == (None, YES)).count();
    assert_eq!((rows.len(), checked, limited), (13, 4, 8), "{:?}", site.lines());
    let lines = site.lines();
    assert_eq!(lines.iter().filter(|line| line.contains("rule=guessing")).count(), 8);
    assert_eq!(site.count(RESERVATIONS), 0);
}
