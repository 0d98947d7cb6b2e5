//! The fixed set of compared ways, and the configuration of Exim for each.

use std::path::Path;
use std::rc::Rc;

use mysql::prelude::Queryable;

use crate::common::Base;
use crate::common::MariaDb;
use crate::common::Site;
use crate::exim_config;
use crate::others::Others;
use crate::others::USER;
use crate::place;
use crate::place::COSTS;
use crate::place::LIMITS;
use crate::place::REMOTE;
use crate::way::Id;
use crate::way::Kind;
use crate::way::Setting;
use crate::way::Way;

const SETTINGS: [Setting; 6] = [
    Setting::Readme,
    Setting::NoPreload,
    Setting::Journal,
    Setting::Cache,
    Setting::Verified,
    Setting::Limits,
];
const JOURNAL: &str = "[log]\ndelivery = \"journal\"\n";
/// Keys of the section `[accounts]`.
const CACHE: &str = "cache = \"30s\"\n";
const VERIFIED: &str = "remember_verified = \"10m\"\n";
/// Live entries of other accounts in the table of the limits' counters.
const OTHER_ENTRIES: u32 = 200_000;

/// All ways with their servers. The Exims end first.
pub(crate) struct Ways {
    pub(crate) all: Vec<Way>,
    pub(crate) others: Others,
}

impl Ways {
    pub(crate) fn start(plugin: &Path) -> Self {
        let site = Rc::new(place::site(Base::mariadb(), plugin, ""));
        let Base::MariaDb(server, database, _) = &site.base else { panic!("it is MariaDB") };
        grant(server, database);
        let others = Others::start(server, database, &site.path("country.mmdb"));
        let constant = exim_config::plaintext(&constant(&site));
        let mut ways = vec![
            Way::start(Id::Yes, &site, "", &exim_config::plaintext("yes")),
            Way::start(Id::Crypteq, &site, "", &constant),
        ];
        for kind in [Kind::Sqlite, Kind::MariaDb] {
            for setting in SETTINGS {
                ways.push(plugin_way(kind, setting, plugin));
            }
        }
        ways.push(lookup(&site, server, database));
        let dovecot = format!(
            "  driver = dovecot\n  server_socket = {}\n  server_set_id = $auth1",
            others.dovecot().display()
        );
        ways.push(Way::start(Id::Dovecot, &site, "", &dovecot));
        ways.push(Way::start(Id::Php, &site, "", &exim_config::plaintext(&readsocket(&others))));
        Self { all: ways, others }
    }

    pub(crate) fn index(&self, id: Id) -> usize {
        self.all.iter().position(|way| way.id == id).expect("each way is in the set")
    }

    /// Ends the measurement: delivers the rows that wait, and checks that each way has done its
    /// work. Returns the delivered rows and the seconds this took.
    pub(crate) fn check(&self) -> (usize, f64) {
        let delivered = self.all.iter().filter_map(Way::deliver);
        let sums = delivered.fold((0, 0.0), |(rows, seconds), (more, time)| {
            (rows + more, seconds + time.as_secs_f64())
        });
        self.all.iter().for_each(Way::assert_recorded);
        let dovecot = self.index(Id::Dovecot);
        self.others.assert_policy_calls(self.all[dovecot].attempts());
        sums
    }
}

/// Starts the plugin with this setting.
fn plugin_way(kind: Kind, setting: Setting, plugin: &Path) -> Way {
    let (accounts, policy) = match setting {
        Setting::Readme | Setting::NoPreload => (String::new(), ""),
        Setting::Journal => (String::new(), JOURNAL),
        Setting::Cache => (CACHE.to_owned(), JOURNAL),
        Setting::Verified => (format!("{CACHE}{VERIFIED}"), JOURNAL),
        Setting::Limits => (String::new(), LIMITS),
    };
    let base = match kind {
        Kind::Sqlite => Base::Sqlite,
        Kind::MariaDb => Base::mariadb(),
    };
    let site = Rc::new(place::site(base, plugin, policy));
    let config = site.read("authpolicy.toml");
    site.write_config(&config.replace("[accounts]\n", &format!("[accounts]\n{accounts}")));
    if setting == Setting::Limits {
        add_entries(&site);
    }
    let preload =
        if setting == Setting::NoPreload { String::new() } else { exim_config::preload(&site) };
    let check = exim_config::plaintext(&exim_config::check(&site));
    Way::start(Id::Plugin(kind, setting), &site, &preload, &check)
}

/// Makes the entries of other accounts.
fn add_entries(site: &Site) {
    if let Base::MariaDb(server, ..) = &site.base {
        server.root("").query_drop("SET GLOBAL max_recursive_iterations = 1000000").unwrap();
    }
    site.sql(&format!(
        "INSERT INTO authpolicy_count WITH RECURSIVE n (i) AS \
         (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {OTHER_ENTRIES}) \
         SELECT 'guessing', i, '', i, '', 4000000000000 + i FROM n"
    ));
}

/// Compares with a hash that stands in the configuration.
fn constant(site: &Site) -> String {
    let [cheap, dear] = COSTS.map(|(_, account)| place::stored(site, account));
    format!(
        "${{if crypteq{{$auth3}}{{\\{{crypt\\}}\
         ${{if eq{{$auth2}}{{{}}}{{\\N{cheap}\\N}}{{\\N{dear}\\N}}}}}}}}",
        COSTS[0].1
    )
}

/// Gives the other solutions their user of the database.
fn grant(server: &MariaDb, database: &str) {
    let mut root = server.root("");
    for sql in [
        format!("CREATE USER {USER}@localhost IDENTIFIED BY '{USER}'"),
        format!("GRANT ALL ON {database}.* TO {USER}@localhost"),
    ] {
        root.query_drop(sql).unwrap();
    }
}

/// Exim's own lookups. They write the same row as the plugin, except for the country.
fn lookup(site: &Rc<Site>, server: &MariaDb, database: &str) -> Way {
    let socket = server.socket().display().to_string();
    let main = format!("hide mysql_servers = ({socket})/{database}/{USER}/{USER}");
    let name = "'${quote_mysql:$auth2}'";
    let stored = format!(
        "${{lookup mysql{{SELECT password FROM account WHERE username = {name} AND active = 1}}\
         {{$value}}fail}}"
    );
    let insert = |auth_ok: u8| {
        format!(
            "${{lookup mysql{{INSERT INTO connection_log \
             (protocol, username, remote_ip, country, auth_ok, policy_reject) VALUES \
             ('lookup', {name}, '{REMOTE}', '', {auth_ok}, 0)}}}}"
        )
    };
    let (good, bad) = (insert(1), insert(0));
    let condition = format!(
        "${{if crypteq{{$auth3}}{{\\{{crypt\\}}{stored}}}{{${{if eq{{{good}}}{{1}}}}}}\
         {{${{if eq{{{bad}}}{{none}}}}}}}}"
    );
    Way::start(Id::Lookup, site, &main, &exim_config::plaintext(&condition))
}

/// A request to the web server. Without `shutdown=no`, nginx would see the client leave.
fn readsocket(others: &Others) -> String {
    format!(
        "${{if match{{${{readsocket{{{}}}{{GET /auth HTTP/1.0\\r\\n\
         Auth-Name: ${{base64:$auth2}}\\r\\nAuth-Password: ${{base64:$auth3}}\\r\\n\
         Auth-Remote: {REMOTE}\\r\\n\\r\\n}}{{5s:shutdown=no}}}}}}{{\\N\\nyes$\\N}}}}",
        others.web().display()
    )
}
