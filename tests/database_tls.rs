//! TLS to the database: trusted authorities, client certificates, and the line after a failure.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test code"
)]

mod common;

use std::fs;
use std::sync::Arc;

use common::Base;
use common::Exim;
use common::MariaDb;
use common::Row;
use common::Site;
use common::exim::plugin;
use common::journal::flush;
use common::limits::attempt;
use common::limits::site;
use common::site::GB;
use common::smtp::ACCEPTED;
use common::smtp::CANNOT_TELL;
use common::tls::authority;
use mysql::prelude::Queryable;

struct Rig {
    site: Site,
    server: Arc<MariaDb>,
    exim: Exim,
    config: String,
}

impl Rig {
    /// A site that uses TCP without TLS, after one successful login.
    fn new() -> Self {
        let server = Arc::new(MariaDb::start());
        let name = server.database();
        let url = server.tcp_url(&name);
        let site = site(Base::MariaDb(Arc::clone(&server), name, url), "", &[]);
        let exim = site.exim();
        let config = site.read("authpolicy.toml");
        let rig = Self { site, server, exim, config };
        rig.expect("", Ok(()));
        rig
    }

    /// Makes an attempt with these options in the URL. It is accepted, or its line has these words.
    #[track_caller]
    fn expect(&self, options: &str, want: Result<(), &[&str]>) {
        let url = self.site.url();
        self.site.write_config(&self.config.replace(&url, &format!("{url}{options}")));
        let reply = attempt(&self.exim, GB, "u@example.com", "secret");
        let line = self.site.lines().pop().unwrap();
        match want {
            Ok(()) => {
                assert_eq!(reply, ACCEPTED, "{line}");
                assert!(line.starts_with("attempt status=204 "), "{line}");
            }
            Err(words) => {
                assert_eq!(reply, CANNOT_TELL, "{line}");
                assert!(line.starts_with("attempt status=503 reason=internal "), "{line}");
                let missing = words.iter().find(|words| !line.contains(**words));
                assert_eq!(missing, None, "{line}");
            }
        }
    }

    /// Checks that each attempt has a row. Rows of failed attempts have waited in the journal.
    #[track_caller]
    fn expect_rows(&self) {
        self.server.root("").query_drop("ALTER USER exim@localhost REQUIRE NONE").unwrap();
        self.site.write_config(&self.config);
        flush(&self.site);
        let (rows, lines) = (self.site.rows(), self.site.lines());
        let flags = |row: &Row| (row.auth_ok, row.policy_reject);
        let accepted = rows.iter().filter(|row| flags(row) == (Some(true), Some(false))).count();
        let unknown = rows.iter().filter(|row| flags(row) == (None, None)).count();
        let with = |status: &str| {
            let start = format!("attempt status={status} ");
            lines.iter().filter(|line| line.starts_with(&start)).count()
        };
        assert_eq!((accepted, unknown), (with("204"), with("503")), "{lines:?}");
        assert!(accepted > 0 && unknown > 0, "{lines:?}");
    }

    /// Returns the `check.tls` line of `authpolicy config`, with these options in the URL.
    fn check_tls(&self, options: &str) -> String {
        let url = self.site.url();
        self.site.write_config(&self.config.replace(&url, &format!("{url}{options}")));
        let printed = self.site.tool(&["config"], "");
        let line = printed.lines().find_map(|line| line.strip_prefix("check.tls="));
        line.unwrap_or_else(|| panic!("{printed}")).to_owned()
    }
}

#[test]
fn root_cert_path_is_the_only_authority_trusted() {
    let rig = Rig::new();
    let (ours, theirs) = (authority(&rig.site, "ours"), authority(&rig.site, "theirs"));
    rig.server.kill();
    rig.server.restart_with(&ours.server);
    let trusting = |authority: &str| format!("?root_cert_path={authority}");
    rig.expect(&trusting(&ours.root), Ok(()));
    rig.expect(
        &trusting(&theirs.root),
        Err(&["invalid peer certificate", "root_cert_path must name the authority that signed"]),
    );
    rig.expect(
        &trusting("/nowhere/ca.pem"),
        Err(&["root_cert_path /nowhere/ca.pem: No such file", "correct the path"]),
    );
    let words = "anybody with a certificate from";
    assert_eq!(rig.check_tls(&trusting(&ours.root)), "ok");
    let skip = format!("{}&danger_skip_domain_validation=true", trusting(&ours.root));
    assert!(rig.check_tls(&skip).starts_with("warning ") && rig.check_tls(&skip).contains(words));
    rig.expect_rows();
}

/// The crate `mysql` also trusts the authorities in webpki-roots. The copy in vendor/ has none.
#[test]
fn no_public_authority_is_compiled_in() {
    let bytes = fs::read(plugin()).unwrap();
    let has = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    assert!(has(b"root_cert_path"), "the file is the plugin");
    for name in ["DigiCert", "GlobalSign", "ISRG Root", "Entrust"] {
        assert!(!has(name.as_bytes()), "{name}");
    }
}

#[test]
fn a_client_certificate_is_shown_to_a_server_that_wants_one() {
    let rig = Rig::new();
    let ours = authority(&rig.site, "ours");
    rig.server.kill();
    rig.server.restart_with(&ours.server);
    let tls = format!("?root_cert_path={}", ours.root);
    let full = format!("{tls}&{}", ours.client);
    let require = |requirement: &str| {
        let sql = format!("ALTER USER exim@localhost REQUIRE {requirement}");
        rig.server.root("").query_drop(sql).unwrap();
    };
    require("SSL");
    rig.expect(
        "",
        Err(&["error 1045", "if this user must use TLS (REQUIRE SSL or X509), add ?root_"]),
    );
    rig.expect(&tls, Ok(()));
    require("X509");
    rig.expect(
        "",
        Err(&["error 1045", "if this user must use TLS (REQUIRE SSL or X509), add ?root_"]),
    );
    rig.expect(
        &tls,
        Err(&["error 1045", "must show a certificate (REQUIRE X509), add cert_chain_path="]),
    );
    rig.expect(&full, Ok(()));
    let unreadable = full.replace("ours-client.key", "no.key");
    rig.expect(&unreadable, Err(&["priv_key_path ", "no.key: No such file"]));
    // Over a socket, the advice does not name TLS.
    let socket = rig.server.socket().display().to_string();
    rig.expect(&format!("?socket={socket}"), Err(&["error 1045", "or CREATE USER and GRANT\""]));
    rig.expect_rows();
}
