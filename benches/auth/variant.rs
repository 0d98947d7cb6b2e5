//! The compared variants of deciding an AUTH, each with its own Exim.

use std::fs;
use std::path::Path;
use std::rc::Rc;

use mysql::prelude::Queryable;

use crate::COSTS;
use crate::common::Base;
use crate::common::Exim;
use crate::common::MariaDb;
use crate::common::Site;
use crate::common::exim::users;
use crate::common::site::GB;

pub(crate) const PASSWORD: &str = "correct horse battery";

/// An address in Great Britain, for a real GeoIP file. The variants get it in place of
/// `$sender_host_address`: loopback has no country, and Exim 4.96 asks the DNS for the name of each
/// client that the PROXY protocol names.
const GB_PUBLIC: &str = "81.2.69.142";
/// The user and password of Exim's own lookups. Exim separates the fields of a server by slashes,
/// so the password has none.
const LOOKUP_USER: &str = "lookup";

/// A variant with a running Exim.
pub(crate) struct Variant {
    pub(crate) name: &'static str,
    pub(crate) exim: Exim,
    pub(crate) site: Rc<Site>,
    /// The `protocol` and `country` of its rows; `None` if it writes no rows.
    rows: Option<(&'static str, &'static str)>,
}

/// A limit per remote and one per account, with known good addresses.
const LIMITS: &str = "hash_nonce = \"nonce\"
[[policy.limit]]
name = \"spraying\"
per = \"remote\"
count = \"accounts\"
max = 10
within = \"10m\"
[[policy.limit]]
name = \"guessing\"
per = \"account\"
count = \"passwords\"
max = 10
within = \"1h\"
";
/// Live entries of other accounts in the table of the limits' counters.
const OTHERS: u32 = 200_000;

/// All variants. The first four are compared with each other; the two with limits come last.
pub(crate) fn all(plugin: &Path) -> [Variant; 6] {
    let sqlite = Rc::new(site(Base::Sqlite, plugin, ""));
    let mariadb = Rc::new(site(Base::mariadb(), plugin, ""));
    let limited = [Base::Sqlite, Base::mariadb()].map(|base| {
        let site = Rc::new(site(base, plugin, LIMITS));
        site.sql(&format!(
            "INSERT INTO authpolicy_count WITH RECURSIVE n (i) AS \
             (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {OTHERS}) \
             SELECT 'guessing', i, '', i, '', 4000000000000 + i FROM n"
        ));
        site
    });
    let Base::MariaDb(server, database, _) = &mariadb.base else { panic!("it is MariaDB") };
    let lookup = lookup(server, database);
    [
        variant("server_condition = yes", &sqlite, "", "yes", None),
        variant("plugin on SQLite", &sqlite, "", &check(&sqlite), Some(("SMTP", "GB"))),
        variant("plugin on MariaDB", &mariadb, "", &check(&mariadb), Some(("SMTP", "GB"))),
        variant("lookup mysql and crypteq", &mariadb, &lookup.0, &lookup.1, Some(("lookup", ""))),
        variant("SQLite, two limits", &limited[0], "", &check(&limited[0]), Some(("SMTP", "GB"))),
        variant("MariaDB, two limits", &limited[1], "", &check(&limited[1]), Some(("SMTP", "GB"))),
    ]
}

/// A site with an account for each cost, and with the GeoIP file.
fn site(base: Base, plugin: &Path, limits: &str) -> Site {
    let site = Site::new(base, &format!("[policy]\nallow_countries = [\"GB\"]\n{limits}"));
    if let Base::MariaDb(server, ..) = &site.base {
        // For the statement that inserts the entries of other accounts.
        server.root("").query_drop("SET GLOBAL max_recursive_iterations = 1000000").unwrap();
    }
    fs::copy(plugin, site.path("authpolicy.so")).unwrap();
    if let Some(real) = real_geoip() {
        fs::copy(real, site.path("country.mmdb")).unwrap();
    }
    for (cost, account, _) in COSTS {
        site.tool(
            &["user", "add", account, "--scheme", "BLF-CRYPT", "--cost", &cost.to_string()],
            PASSWORD,
        );
    }
    // Exim's crypteq expects the bare format of crypt(3).
    site.sql("UPDATE account SET password = REPLACE(password, '{BLF-CRYPT}', '')");
    site
}

fn real_geoip() -> Option<String> {
    std::env::var("AUTHPOLICY_TEST_GEOIP").ok().filter(|path| !path.is_empty())
}

fn remote() -> &'static str {
    if real_geoip().is_some() { GB_PUBLIC } else { GB }
}

fn variant(
    name: &'static str,
    site: &Rc<Site>,
    main: &str,
    condition: &str,
    rows: Option<(&'static str, &'static str)>,
) -> Variant {
    let number = fs::read_dir(site.directory()).unwrap().count();
    let spool = site.path(&format!("spool{number}"));
    fs::create_dir(&spool).unwrap();
    users::give_to_exim(&spool);
    let config = format!("exim{number}.conf");
    site.write(&config, &exim_config(site, &spool, main, condition));
    Variant { name, exim: Exim::start(&site.path(&config)), site: Rc::clone(site), rows }
}

fn exim_config(site: &Site, spool: &Path, main: &str, condition: &str) -> String {
    let (directory, spool) = (site.directory().display(), spool.display());
    format!(
        "exim_user = Debian-exim
exim_group = Debian-exim
spool_directory = {spool}
log_file_path = {directory}/log/%slog
primary_hostname = mx.example.com
local_interfaces = 127.0.0.1
host_lookup =
rfc1413_query_timeout = 0s
smtp_accept_max = 500
auth_advertise_hosts = *
tls_advertise_hosts =
{main}
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = {condition}
  server_set_id = $auth2
"
    )
}

/// A call of the plugin, as in docs/exim.md.
fn check(site: &Site) -> String {
    let remote = remote();
    let options = "{mechanism=PLAIN}{tls=$tls_in_cipher}{authzid=$auth1}";
    site.dlfunc("check", &format!("{{$auth2}}{{$auth3}}{{{remote}}}{options}"))
}

/// The variant without the plugin: an option for Exim's main section, and a condition. It writes
/// the same row as the plugin, except for the country.
fn lookup(server: &MariaDb, database: &str) -> (String, String) {
    let mut root = server.root("");
    for sql in [
        // As in production: the server confirms a row only after it is on disk.
        String::from("SET GLOBAL innodb_flush_log_at_trx_commit = 1"),
        format!("CREATE USER {LOOKUP_USER}@localhost IDENTIFIED BY '{LOOKUP_USER}'"),
        format!("GRANT ALL ON {database}.* TO {LOOKUP_USER}@localhost"),
    ] {
        root.query_drop(sql).unwrap();
    }
    let socket = server.socket().display().to_string();
    let main = format!("hide mysql_servers = ({socket})/{database}/{LOOKUP_USER}/{LOOKUP_USER}");
    let (name, remote) = ("'${quote_mysql:$auth2}'", remote());
    let stored = format!(
        "${{lookup mysql{{SELECT password FROM account WHERE username = {name} AND active = 1}}\
         {{$value}}fail}}"
    );
    let insert = |auth_ok: u8| {
        format!(
            "${{lookup mysql{{INSERT INTO connection_log \
             (protocol, username, remote_ip, country, auth_ok, policy_reject) VALUES \
             ('lookup', {name}, '{remote}', '', {auth_ok}, 0)}}}}"
        )
    };
    let (good, bad) = (insert(1), insert(0));
    let condition = format!(
        "${{if crypteq{{$auth3}}{{\\{{crypt\\}}{stored}}}{{${{if eq{{{good}}}{{1}}}}}}\
         {{${{if eq{{{bad}}}{{none}}}}}}}}"
    );
    (main, condition)
}

impl Variant {
    /// Checks that each attempt has a row, and that the rows say "accepted".
    pub(crate) fn assert_recorded(&self, attempts: usize) {
        let Some((protocol, country)) = self.rows else { return };
        let rows = self.site.rows();
        let good = rows.iter().filter(|row| {
            row.protocol == protocol
                && row.country == country
                && row.auth_ok == Some(true)
                && row.policy_reject == Some(false)
        });
        let good = good.count();
        assert_eq!(good, attempts, "{}: one row for each, like {:?}", self.name, rows.last());
    }
}
