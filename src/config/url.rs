//! The keys `url`: a database file, or the servers of one database.

use std::fmt;
use std::path::Path;
use std::path::PathBuf;

use mysql::Opts;
use mysql::SslOpts;

/// Debian's file of public certificate authorities.
const SYSTEM_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// One database server, as `mysql://user:password@host:port/name?socket=PATH`.
#[derive(Clone)]
pub struct DatabaseUrl {
    options: Opts,
    /// The directory where the addresses of the server's name are remembered.
    memory: Option<PathBuf>,
}

impl DatabaseUrl {
    /// The options of the driver, with the password.
    #[must_use]
    pub fn options(&self) -> &Opts {
        &self.options
    }

    /// The name or address of the server, without brackets.
    #[must_use]
    pub fn name(&self) -> String {
        self.options.get_ip_or_hostname().trim_matches(['[', ']']).to_owned()
    }

    /// The options of TLS; `None` for a connection in clear, such as over a socket.
    #[must_use]
    pub fn tls(&self) -> Option<&SslOpts> {
        self.options.get_ssl_opts().filter(|_| self.options.get_socket().is_none())
    }

    /// The directory where the addresses of the server's name are remembered.
    #[must_use]
    pub fn memory(&self) -> Option<&Path> {
        self.memory.as_deref()
    }
}

/// Writes the server without the password.
impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.options.get_db_name().unwrap_or_default();
        match self.options.get_socket() {
            Some(socket) => write!(f, "mysql {socket} {name}"),
            None => {
                let (host, port) = (self.options.get_ip_or_hostname(), self.options.get_tcp_port());
                write!(f, "mysql {host}:{port} {name}")
            }
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A database: a file, or the servers that hold it, in the order of attempts to connect.
#[derive(Debug, Clone)]
pub enum Database {
    /// The embedded database, in this file.
    Sqlite(PathBuf),
    /// MariaDB or MySQL.
    MySql(Vec<DatabaseUrl>),
}

impl Database {
    /// Reads one URL, or several of servers that hold the same database.
    ///
    /// # Errors
    /// A URL is wrong. The message does not contain it, because it has a password.
    pub fn parse(urls: &[String]) -> Result<Self, String> {
        match urls {
            [] => Err(String::from("is an empty list: name a database")),
            [url] if url.starts_with("sqlite:") => {
                let path = PathBuf::from(url.trim_start_matches("sqlite:"));
                if !path.is_absolute() {
                    return Err(String::from(
                        "is a relative path: write an absolute one, such as sqlite:/var/lib/…",
                    ));
                }
                Ok(Self::Sqlite(path))
            }
            urls if urls.iter().any(|url| url.starts_with("sqlite:")) => Err(String::from(
                "has an embedded database in a list: give only its URL, without a list",
            )),
            urls => {
                urls.iter().map(|url| parse_host(url)).collect::<Result<_, _>>().map(Self::MySql)
            }
        }
    }

    /// Sets the directory where the addresses of servers' names are remembered.
    pub(super) fn remember_addresses_in(&mut self, directory: &Path) {
        if let Self::MySql(hosts) = self {
            hosts.iter_mut().for_each(|host| host.memory = Some(directory.to_owned()));
        }
    }

    /// True if both are the same database, so that they can share a connection.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Sqlite(a), Self::Sqlite(b)) => a == b,
            (Self::MySql(a), Self::MySql(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.options == b.options)
            }
            (Self::Sqlite(_), Self::MySql(_)) | (Self::MySql(_), Self::Sqlite(_)) => false,
        }
    }

    pub(super) fn holds_password(&self) -> bool {
        match self {
            Self::Sqlite(_) => false,
            Self::MySql(hosts) => hosts.iter().any(|host| host.options.get_pass().is_some()),
        }
    }
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite {}", path.display()),
            Self::MySql(hosts) => {
                for (i, host) in hosts.iter().enumerate() {
                    write!(f, "{}{host}", if i == 0 { "" } else { ", then " })?;
                }
                Ok(())
            }
        }
    }
}

fn parse_host(url: &str) -> Result<DatabaseUrl, String> {
    if !url.starts_with("mysql://") {
        return Err(String::from(
            "does not begin with sqlite: or mysql:// (also for MariaDB): correct it",
        ));
    }
    if url.contains('#') {
        return Err(String::from("contains a #: in user and password, write %23"));
    }
    if url.matches("://").count() > 1 {
        return Err(String::from(
            "contains a second URL: write several servers as a list, [\"mysql://…\", \"mysql://…\"]",
        ));
    }
    if has_unknown_tls_option(url) {
        return Err(format!(
            "asks for TLS by an option that the driver does not know: use ?root_cert_path=FILE instead, where FILE \
             has the authority to trust. For public authorities, FILE is {SYSTEM_BUNDLE}"
        ));
    }
    // The driver's message is not shown, because it may contain a part of the password.
    let options = Opts::from_url(url).map_err(|_| {
        "is not mysql://user:password@host:port/name, optionally with ?socket=PATH or \
         ?root_cert_path=PATH: correct it, and percent-encode special characters of the password"
    })?;
    check_tls(&options)?;
    if options.get_db_name().unwrap_or_default().is_empty() {
        return Err(String::from("has no database name after the host: add /NAME"));
    }
    let path = url.splitn(4, '/').nth(3).and_then(|rest| rest.split('?').next());
    if path.is_some_and(|path| path.contains(['/', '@', ':'])) {
        // The text after the host may be a part of the password. Messages show names of databases.
        let what = "has a /, @ or : after the host: in user and password, write %2F, %40, %3A";
        return Err(String::from(what));
    }
    Ok(DatabaseUrl { options, memory: None })
}

/// True if the options ask for TLS as other clients do: `require_ssl`, `ssl-mode`, `tls`.
fn has_unknown_tls_option(url: &str) -> bool {
    let options = url.split_once('?').map(|(_, options)| options).unwrap_or_default();
    let mut names = options.split('&').filter_map(|option| option.split('=').next());
    names.any(|name| {
        let name = name.to_ascii_lowercase();
        ["ssl", "tls", "require_ssl", "require_tls", "verify_ca", "verify_identity"]
            .contains(&&*name)
            || ["ssl-", "ssl_", "sslmode", "tls-", "tls_"]
                .iter()
                .any(|start| name.starts_with(start))
    })
}

/// Checks that the options of TLS name the authority to trust.
fn check_tls(options: &Opts) -> Result<(), String> {
    let Some(tls) = options.get_ssl_opts() else { return Ok(()) };
    if tls.accept_invalid_certs() {
        return Err(String::from(
            "has danger_accept_invalid_certs=true, which trusts every server: remove it, and write \
             root_cert_path=FILE, where FILE has the authority that signed the server's certificate",
        ));
    }
    let identity = tls.client_identity();
    let files = [
        ("root_cert_path", tls.root_cert_path()),
        ("cert_chain_path", identity.map(|identity| identity.cert_chain_path())),
        ("priv_key_path", identity.map(|identity| identity.priv_key_path())),
    ];
    let relative = files.iter().find(|(_, path)| path.is_some_and(|path| !path.is_absolute()));
    if let Some((name, _)) = relative {
        return Err(format!("has a relative path in {name}: write an absolute one"));
    }
    if tls.root_cert_path().is_none() {
        return Err(format!(
            "asks for TLS and names no authority to trust: add root_cert_path=FILE. The public ones are in \
             {SYSTEM_BUNDLE}; MySQL's own is ca.pem in its data directory"
        ));
    }
    Ok(())
}
