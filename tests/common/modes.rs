//! All that the plugin and the tool do with a database server, to be tested with each SQL mode.

use std::time::Duration;
use std::time::SystemTime;

use authpolicy::row::journal::Record;
use authpolicy::store::Value;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use mysql::prelude::Queryable;

use super::Base;
use super::Client;
use super::Exim;
use super::MariaDb;
use super::Row;
use super::Site;
use super::journal::flush;
use super::journal::put;
use super::mariadb::PRODUCTION_TABLE;
use super::site::CN;
use super::site::GB;
use super::smtp::ACCEPTED;
use super::smtp::REFUSED;

const POLICY: &str = "[policy]\nallow_countries = [\"GB\"]\nfailure_time = \"0s\"\nhash_nonce = \"x\"\n\
                      new_country = \"log\"\n[[policy.limit]]\nname = \"guessing\"\nper = \"account\"\n\
                      count = \"failures\"\nmax = 2\nwithin = \"10m\"\n";
/// The address of a guessing client, in GB, too.
const GUESSER: &str = "192.0.2.9";
const USER: &str = "u@example.com";

/// A site and its Exim. The Exim's mechanism PROVED accepts the password `secret`, and calls
/// `authorize` and `finish`.
pub struct Stage {
    pub site: Site,
    exim: Exim,
}

impl Stage {
    pub fn new(base: Base) -> Self {
        let site = Site::new(base, POLICY);
        site.account(USER, "secret");
        let authorize = site.dlfunc("authorize", "{$auth2}{$sender_host_address}");
        let finish = site.dlfunc("finish", "{$auth2}{$sender_host_address}");
        let proved = format!(
            "proved:\n  driver = plaintext\n  public_name = PROVED\n  server_prompts = :\n  \
             server_condition = ${{if and{{{{eq{{$auth3}}{{secret}}}}{{bool{{{authorize}}}}}}}}}\n  \
             server_set_id = {finish}\n"
        );
        site.write("exim.conf", &(site.read("exim.conf") + &proved));
        let exim = site.exim();
        Self { site, exim }
    }

    fn server(&self) -> (&MariaDb, &str) {
        match &self.site.base {
            Base::MariaDb(server, name, _) => (server, name),
            Base::Sqlite => panic!("the base must be a server"),
        }
    }

    pub fn plain(&self, remote: &str, name: &str, password: &str) -> String {
        let mut client = Client::connect_from(self.exim.port, remote);
        client.plain(name.as_bytes(), password.as_bytes())
    }

    fn proved(&self, remote: &str, password: &str) -> String {
        let response = format!("\0{USER}\0{password}");
        let mut client = Client::connect_from(self.exim.port, remote);
        client.command(&format!("AUTH PROVED {}", BASE64_STANDARD.encode(response)))
    }

    /// Sets the server's SQL mode, and makes all tables again.
    pub fn set_mode(&self, mode: &str) {
        let (server, name) = self.server();
        let mut root = server.root(name);
        root.query_drop(format!("SET GLOBAL sql_mode = '{mode}'")).unwrap();
        for table in
            ["connection_log", "authpolicy_count", "authpolicy_seen", "authpolicy_delivered"]
        {
            root.query_drop(format!("DROP TABLE {table}")).unwrap();
        }
        root.query_drop("DELETE FROM authpolicy_exception").unwrap();
        // This session still has the old mode.
        root.query_drop(PRODUCTION_TABLE).unwrap();
        self.site.tool(&["db", "init"], "");
    }

    /// The last row; fails if the number of rows is not `count`.
    #[track_caller]
    fn last(&self, count: usize) -> Row {
        let mut rows = self.site.rows();
        assert_eq!(rows.len(), count, "{:?}", self.site.lines());
        rows.pop().unwrap()
    }

    /// Checks the reply, row and line of an attempt.
    #[track_caller]
    fn expect(
        &self,
        (reply, want): (&str, &str),
        count: usize,
        flags: (Option<bool>, Option<bool>),
        line: &str,
    ) {
        let row = self.last(count);
        let lines = self.site.lines();
        let last = lines.last().unwrap();
        assert_eq!(reply, want, "{lines:?}");
        assert_eq!((row.auth_ok, row.policy_reject), flags, "{lines:?}");
        assert!(last.contains(line), "{line}: {last}");
    }

    /// Makes attempts by `check`, `authorize` and `finish`, reaches a limit, and clears it.
    #[track_caller]
    pub fn try_attempts(&self) {
        const YES: Option<bool> = Some(true);
        const NO: Option<bool> = Some(false);
        let site = &self.site;
        self.expect((&self.plain(GB, USER, "secret"), ACCEPTED), 1, (YES, NO), "status=204");
        self.expect((&self.proved(GB, "secret"), ACCEPTED), 2, (YES, NO), "status=204");
        self.expect((&self.proved(GB, "wrong"), REFUSED), 3, (NO, NO), "reason=credentials");
        for count in [4, 5] {
            let reply = self.plain(GUESSER, USER, "wrong");
            self.expect((&reply, REFUSED), count, (NO, NO), "reason=credentials");
        }
        let limited = "reason=policy rule=guessing";
        let reply = self.plain(GUESSER, USER, "secret");
        self.expect((&reply, REFUSED), 6, (None, YES), limited);
        // The limit refuses a proved password, too: `auth_ok` is 1.
        self.expect((&self.proved(GUESSER, "secret"), REFUSED), 7, (YES, YES), limited);
        // The known good address is exempt from the limit.
        self.expect((&self.plain(GB, USER, "secret"), ACCEPTED), 8, (YES, NO), "status=204");
        let shown = site.tool(&["limits"], "");
        assert!(
            shown.contains("limit=guessing account=\"u@example.com\" remote=* failures=2"),
            "{shown}"
        );
        assert_eq!(site.tool(&["limits", "clear", "--account", USER], ""), "cleared=2\n");
        self.expect((&self.plain(GUESSER, USER, "secret"), ACCEPTED), 9, (YES, NO), "status=204");
        // The name is too long for its column, which is an error in strict mode.
        let long = "x".repeat(81);
        let reply = self.plain(GB, &long, "secret");
        self.expect((&reply, REFUSED), 10, (NO, NO), "reason=account");
        assert_eq!(self.last(10).username, "x".repeat(80));
    }

    /// Adds, uses and deletes an exception.
    #[track_caller]
    pub fn try_exceptions(&self) {
        let site = &self.site;
        let before = site.rows().len();
        let flags = (Some(true), Some(true));
        let reply = self.plain(CN, USER, "secret");
        self.expect((&reply, REFUSED), before + 1, flags, "rule=policy.allow_countries");
        let added = site.tool(
            &["exception", "add", USER, "--networks", "198.51.100.0/24", "--until", "2d"],
            "",
        );
        let id = added.trim_start_matches("id=").split(' ').next().unwrap();
        let reply = self.plain(CN, USER, "secret");
        self.expect((&reply, ACCEPTED), before + 2, (Some(true), Some(false)), "status=204");
        let list = site.tool(&["exception", "list"], "");
        assert!(list.contains("countries= networks=198.51.100.0/24 ends="), "{list}");
        site.tool(&["exception", "del", id], "");
        assert_eq!(site.tool(&["exception", "list"], ""), "");
    }

    /// Delivers rows from the journal, once only; shows them, and deletes the old ones.
    #[track_caller]
    pub fn try_rows(&self) {
        let site = &self.site;
        let before = site.rows().len();
        // A text that is too long for its column, and then empty texts in the same session.
        let row = |time: i64, username: &str| {
            let row = vec![
                ("time", Value::Int(time)),
                ("protocol", Value::text("SMTP")),
                ("username", Value::text(username)),
                ("remote_ip", Value::text(GB)),
                ("country", Value::text("")),
                ("auth_ok", Value::Null),
                ("policy_reject", Value::Int(0)),
            ];
            let id = SystemTime::now() + Duration::from_millis(u64::try_from(time % 997).unwrap());
            format!("\n{}", Record::new(id, row).unwrap().line())
        };
        let text: String = [
            row(1_584_446_690, &"y".repeat(90)),
            row(1_584_446_691, "old@example.com"),
            row(1_584_446_692, ""),
        ]
        .concat();
        put(site, "rows.old", &text);
        assert_eq!(flush(site), [3, 0, 0, 0], "{:?}", site.read("state/journal/set-aside"));
        put(site, "rows.old", &text);
        assert_eq!(flush(site), [0, 3, 0, 0], "the rows are stored only once");
        let log = site.tool(&["log"], "");
        assert!(log.contains("old@example.com") && log.contains("  -        0"), "{log}");
        let refused = site.tool(&["log", "--refused", "--user", "old@%", "--since", "87600h"], "");
        assert!(refused.contains("old@example.com"), "{refused}");
        let summary = site.tool(&["log", "--summary"], "");
        assert!(summary.contains("old@example.com"), "{summary}");
        assert_eq!(site.tool(&["prune", "--keep", "1d"], ""), "deleted=3\n");
        assert_eq!(site.rows().len(), before);
    }

    /// Runs the tool's other verbs.
    #[track_caller]
    pub fn try_tool(&self) {
        let site = &self.site;
        site.account("w@example.com", "secret");
        let list = site.tool(&["user", "list"], "");
        assert!(list.contains("account=w@example.com active=1"), "{list}");
        site.tool(&["user", "disable", "w@example.com"], "");
        assert_eq!(site.run_tool(&["test", "w@example.com", GB], "secret").status.code(), Some(1));
        site.tool(&["user", "del", "w@example.com"], "");
        site.tool(&["test", USER, GB], "secret");
        let config = site.tool(&["config"], "");
        assert!(config.contains("check.writes=ok"), "{config}");
        assert!(config.contains("check.tables=ok"), "{config}");
        assert!(!config.contains("=failed"), "{config}");
    }

    /// Runs all of the tests above with this SQL mode.
    #[track_caller]
    pub fn try_mode(&self, mode: &str) {
        eprintln!("sql_mode = {mode:?}");
        self.set_mode(mode);
        self.try_attempts();
        self.try_exceptions();
        self.try_rows();
        self.try_tool();
        assert_eq!(self.site.panic_log(), "");
    }
}
