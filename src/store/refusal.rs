//! Errors of MariaDB, MySQL and the driver: their text, their kind, and the remedy.

use std::error::Error as _;

use super::tls;
use crate::config::DatabaseUrl;
use crate::error::StoreFault;

/// The error code for a connection without TLS to a server that requires it
/// (`require_secure_transport`).
const INSECURE: u16 = 3159;

/// The error code for a missing table, for a user with rights on it.
const NO_SUCH_TABLE: u16 = 1146;

/// The error codes for a table or a column that is missing, or that the user may not use.
const DENIED: &[u16] = &[1142, 1143];

/// Classes of SQLSTATE for values of a wrong type, or that violate a constraint, or that a trigger
/// or a view refuses.
const VALUE_CLASSES: &[&str] = &["22", "23", "44", "45"];

/// The error codes for a row at fault that have a general SQLSTATE. The row has no partition, fails
/// a CHECK of MySQL, does not fit its column in any mode, or has a text that cannot be compared.
const ROW_ERRORS: &[u16] = &[1265, 1267, 1271, 1366, 1526, 1748, 3819, 3854, 3988];

/// The kind of fault for a server's error code and SQLSTATE.
pub(super) fn fault(code: u16, state: &str) -> StoreFault {
    match code {
        NO_SUCH_TABLE => StoreFault::NoTable,
        _ if DENIED.contains(&code) => StoreFault::Denied,
        _ if ROW_ERRORS.contains(&code)
            || VALUE_CLASSES.iter().any(|class| state.starts_with(class)) =>
        {
            StoreFault::Row
        }
        _ => StoreFault::Other,
    }
}

/// The text of an error. A server's text may contain part of a login or of a row, and no other
/// value of ours. The text about a value that cannot be read is left out, because the value may be
/// a stored password.
pub(super) fn message(e: &mysql::Error) -> String {
    match e {
        mysql::Error::IoError(e) if is_timeout(e) => String::from("took too long"),
        mysql::Error::IoError(e) => e.to_string(),
        mysql::Error::MySqlError(e) => format!("error {}: {}", e.code, e.message),
        mysql::Error::DriverError(e) => e.to_string(),
        mysql::Error::TlsError(e) => format!("TLS: {e}"),
        mysql::Error::CodecError(e) => {
            let io = e.source().and_then(|e| e.downcast_ref::<std::io::Error>());
            if io.is_some_and(is_timeout) { String::from("took too long") } else { e.to_string() }
        }
        mysql::Error::UrlError(_) => String::from("the url is wrong"),
        mysql::Error::FromValueError(_) | mysql::Error::FromRowError(_) => {
            String::from("a value has an unexpected type")
        }
    }
}

/// The remedy for a server that refuses the connection.
pub(super) fn remedy(e: &mysql::Error, host: &DatabaseUrl) -> String {
    let mysql::Error::MySqlError(e) = e else { return tls::remedy(&message(e), host) };
    match e.code {
        1045 | 1698 => format!(
            ": correct user and password in database.url (special characters are percent-encoded), or CREATE USER \
             and GRANT{}",
            tls::denied_login_hint(host)
        ),
        1044 => ": GRANT this user rights on that database, or correct its name in database.url"
            .to_owned(),
        1049 => ": CREATE DATABASE, or correct its name in database.url".to_owned(),
        INSECURE => ": add ?root_cert_path=FILE to database.url".to_owned(),
        _ => String::new(),
    }
}

/// True if the server gave no answer, though it had its time. A fault on this host, such as a name
/// that does not resolve or a wrong certificate, is not silence of the server.
pub(super) fn is_silence(e: &mysql::Error, had_its_time: bool) -> bool {
    use std::io::ErrorKind as Kind;
    match kind(e) {
        Some(Kind::TimedOut | Kind::WouldBlock) => had_its_time,
        Some(
            Kind::ConnectionRefused
            | Kind::ConnectionReset
            | Kind::ConnectionAborted
            | Kind::NotConnected
            | Kind::BrokenPipe
            | Kind::UnexpectedEof
            | Kind::HostUnreachable
            | Kind::NetworkUnreachable,
        ) => true,
        Some(_) | None => false,
    }
}

/// The kind of an error of the connection; `None` for other errors.
fn kind(e: &mysql::Error) -> Option<std::io::ErrorKind> {
    use mysql::DriverError;
    use std::io::ErrorKind as Kind;
    match e {
        mysql::Error::IoError(e) => Some(e.kind()),
        mysql::Error::CodecError(e) => {
            e.source()?.downcast_ref::<std::io::Error>().map(std::io::Error::kind)
        }
        // A server that ends deletes its unix socket.
        mysql::Error::DriverError(DriverError::CouldNotConnect(Some((_, _, Kind::NotFound)))) => {
            Some(Kind::ConnectionRefused)
        }
        mysql::Error::DriverError(DriverError::CouldNotConnect(Some((_, _, kind)))) => Some(*kind),
        mysql::Error::DriverError(DriverError::ConnectTimeout | DriverError::Timeout) => {
            Some(Kind::TimedOut)
        }
        mysql::Error::MySqlError(_)
        | mysql::Error::DriverError(_)
        | mysql::Error::UrlError(_)
        | mysql::Error::TlsError(_)
        | mysql::Error::FromValueError(_)
        | mysql::Error::FromRowError(_) => None,
    }
}

fn is_timeout(e: &std::io::Error) -> bool {
    matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}
