//! One complete set-up: plugin, configuration, databases, GeoIP file and Exim's configuration.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;
use std::sync::Arc;

use mysql::prelude::Queryable;

use super::Client;
use super::Exim;
use super::MariaDb;
use super::exim;
use super::mariadb::PRODUCTION_TABLE;
use super::mmdb;

/// Documentation networks, with a country for each.
pub const NETWORKS: &str = "
    192.0.2.0/24     GB
    198.51.100.0/24  CN
    2001:db8:1::/48  GB
    2001:db8:2::/48  CN
";
/// The addresses of clients in these networks.
pub const GB: &str = "192.0.2.7";
pub const CN: &str = "198.51.100.7";

/// The databases that the plugin and the tool support.
#[derive(Clone)]
pub enum Base {
    Sqlite,
    /// The server, and the database's name and URL.
    MariaDb(Arc<MariaDb>, String, String),
}

impl Base {
    /// All databases, for tests that run with each of them.
    pub fn all() -> [Self; 2] {
        [Self::Sqlite, Self::mariadb()]
    }

    pub fn mariadb() -> Self {
        let server = MariaDb::shared();
        let name = server.database();
        let url = server.url(&name);
        Self::MariaDb(server, name, url)
    }
}

/// A row of `connection_log`, without `id` and `datetime`.
#[derive(Debug, PartialEq, Eq, Clone)]
pub struct Row {
    pub protocol: String,
    pub username: String,
    pub remote_ip: String,
    pub country: String,
    pub auth_ok: Option<bool>,
    pub policy_reject: Option<bool>,
}

/// A set-up in a temporary directory.
pub struct Site {
    directory: tempfile::TempDir,
    pub base: Base,
}

const ROWS: &str = "SELECT protocol, username, remote_ip, country, auth_ok, policy_reject \
                    FROM connection_log ORDER BY id";

/// All rows in the database of this connection.
pub fn rows_of(server: &mut mysql::Conn) -> Vec<Row> {
    let make = |(protocol, username, remote_ip, country, auth_ok, policy_reject)| Row {
        protocol,
        username,
        remote_ip,
        country,
        auth_ok,
        policy_reject,
    };
    server.query_map(ROWS, make).unwrap()
}

/// The tests' account query, with columns for the rules of an account.
pub const QUERY: &str = "SELECT password, allow_countries, deny_countries, allow_nets, \
                         1 - active AS disabled FROM account WHERE username = :user";

impl Site {
    /// Makes the databases, the GeoIP file and the configuration. `policy` is appended to the TOML
    /// file.
    pub fn new(base: Base, policy: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let site = Self { directory, base };
        fs::set_permissions(site.path(""), fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["state", "spool", "log"] {
            fs::create_dir(site.path(name)).unwrap();
            exim::users::give_to_exim(&site.path(name));
        }
        fs::set_permissions(site.path("state"), fs::Permissions::from_mode(0o700)).unwrap();
        fs::copy(exim::plugin(), site.path("authpolicy.so")).unwrap();
        fs::write(site.path("country.mmdb"), mmdb::from_list(NETWORKS)).unwrap();
        site.configure(&format!("[accounts]\nquery = \"{QUERY}\"\n{}\n{policy}", site.geoip()));
        site.write("exim.conf", &site.exim_config());
        if std::env::var_os("AUTHPOLICY_TEST_PRELOAD").is_some() {
            site.set_preload(Some(""));
        }
        // `db init` makes the account table only with the default query.
        let all = site.read("authpolicy.toml");
        site.configure(&site.geoip());
        if let Base::MariaDb(server, name, _) = &site.base {
            server.root(name).query_drop(PRODUCTION_TABLE).unwrap();
        }
        site.tool(&["db", "init"], "");
        // `user` works only with the default query.
        fs::rename(site.path("authpolicy.toml"), site.path("accounts.toml")).unwrap();
        for column in ["deny_countries varchar(255)", "allow_nets varchar(255)"] {
            site.sql(&format!("ALTER TABLE account ADD COLUMN {column}"));
        }
        site.write_config(&all);
        site
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// The section `[geoip]` with this site's file.
    pub fn geoip(&self) -> String {
        format!("[geoip]\ndatabase = \"{}\"\n", self.path("country.mmdb").display())
    }

    /// The URL of the database.
    pub fn url(&self) -> String {
        match &self.base {
            Base::Sqlite => format!("sqlite:{}", self.path("state/authpolicy.db").display()),
            Base::MariaDb(_, _, url) => url.clone(),
        }
    }

    /// Writes a configuration with this site's database and state directory, and this rest.
    pub fn configure(&self, rest: &str) {
        let state = self.path("state").display().to_string();
        let url = self.url();
        self.write_config(&format!(
            "[database]\nurl = \"{url}\"\n[state]\ndirectory = \"{state}\"\n{rest}\n"
        ));
    }

    /// Writes a configuration that only root and Exim can read, and renames it into place.
    pub fn write_config(&self, text: &str) {
        let path = self.path("authpolicy.toml.new");
        fs::write(&path, text).unwrap();
        let (_, gid) = exim::users::exim();
        std::os::unix::fs::chown(&path, Some(0), Some(gid.parse().unwrap())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        fs::rename(&path, self.path("authpolicy.toml")).unwrap();
    }

    /// The text in Exim's configuration that calls a function of the plugin.
    pub fn dlfunc(&self, function: &str, arguments: &str) -> String {
        format!(
            "${{dlfunc{{{}}}{{{function}}}{arguments}{{config={}}}}}",
            self.path("authpolicy.so").display(),
            self.path("authpolicy.toml").display()
        )
    }

    /// Has Exim's daemon call `preload` with this value for `smtp_accept_max_per_host`, or not call it.
    pub fn set_preload(&self, value: Option<&str>) {
        let option = "smtp_accept_max_per_host";
        let config = self.read("exim.conf");
        let others = config.lines().filter(|line| !line.starts_with(option));
        let call = |value| self.dlfunc("preload", &format!("{{{value}}}"));
        let own = value.map(|value| format!("{option} = {}", call(value)));
        let lines: Vec<_> = own.iter().map(String::as_str).chain(others).collect();
        self.write("exim.conf", &(lines.join("\n") + "\n"));
    }

    fn exim_config(&self) -> String {
        let directory = self.directory.path().display();
        let so = self.path("authpolicy.so").display().to_string();
        let plain = self.dlfunc(
            "check",
            "{$auth2}{$auth3}{$sender_host_address}{mechanism=PLAIN}{tls=$tls_in_cipher}{authzid=$auth1}",
        );
        let login = self.dlfunc(
            "check",
            "{$auth1}{$auth2}{$sender_host_address}{mechanism=LOGIN}{tls=$tls_in_cipher}",
        );
        let fact = |name: &str| format!("{name}=${{dlfunc{{{so}}}{{last}}{{{name}}}}}");
        let facts = ["status", "reason", "rule", "country", "username", "auth_ok", "policy_reject"]
            .map(fact)
            .join(" ");
        let country = self.dlfunc("country", "{$sender_host_address}");
        format!(
            "exim_user = Debian-exim
exim_group = Debian-exim
spool_directory = {directory}/spool
log_file_path = {directory}/log/%slog
primary_hostname = mx.example.com
local_interfaces = 127.0.0.1
hosts_proxy = 127.0.0.1
host_lookup =
host_lookup_order = bydns
dns_retrans = 1s
dns_retry = 1
rfc1413_query_timeout = 0s
smtp_accept_max = 200
smtp_accept_queue = 200
auth_advertise_hosts = *
tls_advertise_hosts =
acl_smtp_mail = acl_facts
begin acl
acl_facts:
  deny message = {facts} here={country}
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = {plain}
  server_set_id = ${{dlfunc{{{so}}}{{last}}{{username}}}}
login:
  driver = plaintext
  public_name = LOGIN
  server_prompts = \"Username:: : Password::\"
  server_condition = {login}
  server_set_id = ${{dlfunc{{{so}}}{{last}}{{username}}}}
"
        )
    }

    /// Starts an Exim daemon, which expects the PROXY protocol.
    pub fn exim(&self) -> Exim {
        Exim::start(&self.path("exim.conf"))
    }

    /// Opens a dialogue over the pipes of `exim -bs` or `exim -bh`.
    pub fn pipes(&self, arguments: &[&str]) -> Client {
        let mut command = Command::new("exim4");
        command.arg("-C").arg(self.path("exim.conf")).args(arguments);
        command.stderr(fs::File::create(self.path("stderr")).unwrap());
        Client::over_pipes(&mut command)
    }

    /// Runs the tool as root, with this standard input. The verb `user` gets a configuration with
    /// the default query.
    pub fn run_tool(&self, arguments: &[&str], stdin: &str) -> Output {
        let file =
            if arguments.first() == Some(&"user") { "accounts.toml" } else { "authpolicy.toml" };
        let mut child = Command::new(super::tool())
            .arg("--config")
            .arg(self.path(file))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        child.wait_with_output().unwrap()
    }

    /// Runs the tool, which must succeed; returns its standard output.
    pub fn tool(&self, arguments: &[&str], stdin: &str) -> String {
        let output = self.run_tool(arguments, stdin);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {text}{errors}");
        text
    }

    /// Adds an account with a fast hash.
    pub fn account(&self, name: &str, password: &str) {
        self.tool(&["user", "add", name, "--scheme", "BLF-CRYPT", "--cost", "4"], password);
    }

    /// Runs SQL that both databases understand.
    pub fn sql(&self, sql: &str) {
        match &self.base {
            Base::Sqlite => self.sqlite().execute_batch(sql).unwrap(),
            Base::MariaDb(server, name, _) => server.root(name).query_drop(sql).unwrap(),
        }
    }

    /// The number that a query returns.
    pub fn count(&self, sql: &str) -> i64 {
        match &self.base {
            Base::Sqlite => self.sqlite().query_row(sql, (), |row| row.get(0)).unwrap(),
            Base::MariaDb(server, name, _) => {
                server.root(name).query_first(sql).unwrap().expect("a number")
            }
        }
    }

    /// The texts that a query returns, one in each row.
    pub fn texts(&self, sql: &str) -> Vec<String> {
        match &self.base {
            Base::Sqlite => {
                let connection = self.sqlite();
                let mut statement = connection.prepare(sql).unwrap();
                let rows = statement.query_map((), |row| row.get(0)).unwrap();
                rows.map(Result::unwrap).collect()
            }
            Base::MariaDb(server, name, _) => server.root(name).query(sql).unwrap(),
        }
    }

    /// Opens a connection that keeps the files beside the embedded database in place. Otherwise
    /// each query by root would make them again, and Exim's user could not open them for a moment.
    pub fn keep_open(&self) -> Option<rusqlite::Connection> {
        let connection = matches!(self.base, Base::Sqlite).then(|| self.sqlite())?;
        connection.query_row("SELECT COUNT(*) FROM account", (), |_| Ok(())).unwrap();
        Some(connection)
    }

    fn sqlite(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.path("state/authpolicy.db")).unwrap()
    }

    /// All rows of `connection_log`.
    pub fn rows(&self) -> Vec<Row> {
        match &self.base {
            Base::Sqlite => {
                let connection = self.sqlite();
                let mut statement = connection.prepare(ROWS).unwrap();
                let rows = statement.query_map((), |row| {
                    Ok(Row {
                        protocol: row.get(0)?,
                        username: row.get(1)?,
                        remote_ip: row.get(2)?,
                        country: row.get(3)?,
                        auth_ok: row.get(4)?,
                        policy_reject: row.get(5)?,
                    })
                });
                rows.unwrap().map(Result::unwrap).collect()
            }
            Base::MariaDb(server, name, _) => rows_of(&mut server.root(name)),
        }
    }

    pub fn main_log(&self) -> String {
        exim::main_log(self.directory.path())
    }

    /// The plugin's lines in the main log, without the plugin's name.
    pub fn lines(&self) -> Vec<String> {
        let log = self.main_log();
        let lines = log.lines().filter_map(|line| line.split_once(" authpolicy: "));
        lines.map(|(_, line)| line.to_owned()).collect()
    }

    pub fn panic_log(&self) -> String {
        self.read("log/paniclog")
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}
