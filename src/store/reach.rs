//! Connects to a server within a time: looks up its addresses, connects, and logs in.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;
use std::time::Instant;

use mysql::Conn;
use mysql::Opts;
use mysql::OptsBuilder;
use mysql::prelude::Queryable;

use super::names;
use super::sockets::sockets_within;
use super::unreached::Unreached;
use crate::config::DatabaseUrl;
use crate::contain::Contained;
use crate::contain::Panic;

/// The longest packet, in bytes. No statement comes near it. If it is not set, the crate asks the
/// server.
const MAX_PACKET: usize = 1 << 24;

/// The server's code for a wrong user or password.
const ACCESS_DENIED: u16 = 1045;

/// The number of times to log in if that is denied.
const LOGIN_TRIES: u32 = 3;

/// The size of the cache of prepared statements. An attempt has fewer, so that none is prepared
/// twice, or closed before the connection is.
const MAX_STATEMENTS: usize = 64;

/// The first statements of each connection.
///
/// - Rows are stored only by COMMIT, whatever the server's default. So an INSERT that waits for a
///   lock when the time is over cannot store its row later. A COMMIT that the server delays still
///   can, for example during the last stage of a hot backup.
/// - With MariaDB's mode EMPTY_STRING_IS_NULL, statements would not find the empty texts that they
///   have stored, and a limit would find no failures. The other modes stay, because the
///   administrator's own statements may need them. A comma replaces the name: both servers ignore
///   an empty word, and in this mode an empty text would be NULL.
/// - A node of a Galera cluster accepts a login and SET even if it has lost the other nodes, or has
///   not caught up with them. `DO 0` is the cheapest statement that it refuses.
pub(super) const FIRST_STATEMENTS: [&str; 2] = [
    "SET autocommit = 0, \
     sql_mode = REPLACE(@@SESSION.sql_mode, 'EMPTY_STRING_IS_NULL', ',')",
    "DO 0",
];

/// A connection to a host that has accepted the login.
pub(super) struct Connected {
    pub(super) connection: Contained<Conn>,
    /// The reason why remembered addresses were used.
    pub(super) silence: Option<String>,
    /// Set if [`FIRST_STATEMENTS`] have not been sent yet.
    pub(super) unready: Option<Unready>,
}

/// A host that may still refuse [`FIRST_STATEMENTS`].
pub(super) struct Unready {
    unreached: Unreached,
    /// The host's address, unless it has a socket.
    address: Option<SocketAddr>,
    start: Instant,
}

impl Unready {
    /// The failure of the host, for this reason.
    pub(super) fn refused(self, e: mysql::Error) -> Unreached {
        self.unreached.with(self.address, e, self.start.elapsed())
    }
}

/// Connects to a host, within this time: finds its addresses, and tries each.
///
/// With `may_wait`, the last address may be returned before [`FIRST_STATEMENTS`] are sent. There is
/// nothing left to try if the server refuses them, so they can go with the caller's first statement.
pub(super) fn connect_to_host(
    host: &DatabaseUrl,
    limit: Duration,
    may_wait: bool,
) -> Result<Connected, Unreached> {
    let start = Instant::now();
    let end = start.checked_add(limit);
    let left = || end.map(|end| end.saturating_duration_since(Instant::now())).unwrap_or_default();
    let mut unreached = Unreached::new(host);
    if host.options().get_socket().is_some() {
        return match connect(host, limit, limit, may_wait) {
            Ok(connection) => {
                let unready = may_wait.then_some(Unready { unreached, address: None, start });
                Ok(Connected { connection, silence: None, unready })
            }
            Err(e) => Err(unreached.with(None, e, limit)),
        };
    }
    sockets_within(limit);
    let found =
        names::resolve(host, limit).map_err(|reason| Unreached::unresolved(host, reason))?;
    unreached.silence = found.silence;
    let mut untried = u32::try_from(found.addresses.len()).unwrap_or(u32::MAX);
    for address in &found.addresses {
        let left = left();
        if left.is_zero() {
            break;
        }
        // A silent address leaves time for the next ones.
        let share = left.checked_div(untried).unwrap_or(left);
        untried = untried.saturating_sub(1);
        let waits = may_wait && untried == 0;
        let start = Instant::now();
        match names::connect_to(*address, || connect(host, left, share, waits)) {
            Ok(connection) => {
                let silence = unreached.silence.clone();
                let unready =
                    waits.then_some(Unready { unreached, address: Some(*address), start });
                return Ok(Connected { connection, silence, unready });
            }
            Err(e) => unreached = unreached.with(Some(*address), e, start.elapsed()),
        }
    }
    Err(unreached)
}

/// Logs in within `limit`; TCP connects within `share`. Sends [`FIRST_STATEMENTS`], unless they wait.
fn connect(
    host: &DatabaseUrl,
    limit: Duration,
    share: Duration,
    waits: bool,
) -> mysql::Result<Contained<Conn>> {
    sockets_within(limit);
    let options = OptsBuilder::from_opts(host.options().clone())
        .tcp_connect_timeout(Some(share))
        .write_timeout(Some(limit))
        .max_allowed_packet(Some(MAX_PACKET))
        // We connect as the URL says, and do not ask the server for its socket.
        .prefer_socket(false)
        // Tells the server nothing about Exim's process.
        .connect_attrs(None::<HashMap<String, String>>)
        .stmt_cache_size(MAX_STATEMENTS);
    let mut connection = log_in(options.into())?;
    if !waits {
        run_both(&mut connection, &FIRST_STATEMENTS.join("; "))?;
    }
    Ok(Contained::new(connection))
}

/// Logs in, and tries again if that is denied. The crate takes a zero at the end of ed25519's 32
/// random bytes for padding, so that the server denies one right login in 256.
fn log_in(options: Opts) -> mysql::Result<Conn> {
    for _ in 1..LOGIN_TRIES {
        match Conn::new(options.clone()) {
            Err(mysql::Error::MySqlError(e)) if e.code == ACCESS_DENIED => {}
            done => return done,
        }
    }
    Conn::new(options)
}

/// The text for a panic at the login: the crate panics at unexpected packets.
pub(super) fn about_panic(panic: &Panic) -> String {
    format!(
        "{panic}: the driver cannot log in there: have this user log in by mysql_native_password, \
         caching_sha2_password or ed25519, or name another server"
    )
}

/// Runs two statements in one round trip. The second runs only if the first has succeeded. Neither
/// returns rows.
fn run_both(connection: &mut Conn, sql: &str) -> mysql::Result<()> {
    let mut results = connection.query_iter(sql)?;
    while let Some(mut result) = results.iter() {
        // Reads to the end, because dropping a result drops its error, too.
        result.try_for_each(|row| row.map(drop))?;
    }
    Ok(())
}
