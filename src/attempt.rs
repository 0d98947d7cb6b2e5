//! One attempt, read from the arguments that Exim passes.
//!
//! A malformed argument may be the client's fault or the administrator's. The client's gets 535 and
//! a row. The administrator's is an error: the call in Exim's configuration is wrong.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use crate::error::Error;
use crate::secret::Secret;

/// The longest authcid, in bytes. A mail address has at most 254 (RFC 5321 §4.5.3.1).
pub const MAX_AUTHCID: usize = 255;
/// The longest password, in bytes. To hash a longer one would take CPU time without being safer.
pub const MAX_PASSWORD: usize = 1024;

/// The remote: the client's address as Exim passes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remote {
    /// A dialogue on this machine, such as `exim -bs`: there is no address.
    Local,
    /// The client's address. An IPv4-mapped IPv6 address becomes IPv4.
    Address(IpAddr),
    /// A text that is not an address.
    Unusable(String),
}

impl Remote {
    /// Reads `$sender_host_address`.
    #[must_use]
    pub fn parse(text: &[u8]) -> Self {
        if text.is_empty() {
            return Self::Local;
        }
        match std::str::from_utf8(text).ok().and_then(|text| text.parse::<IpAddr>().ok()) {
            Some(address) => Self::Address(address.to_canonical()),
            None => Self::Unusable(printable(text)),
        }
    }

    /// The canonical text, as in the row.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Local => String::new(),
            Self::Address(address) => address.to_string(),
            Self::Unusable(text) => text.clone(),
        }
    }
}

/// The named arguments (`name=value`), which follow the positional ones.
#[derive(Debug, Default)]
pub struct Options {
    /// The configuration file, instead of `/etc/authpolicy.toml`.
    pub config: Option<String>,
    /// The `protocol` of the row.
    pub protocol: Option<String>,
    /// The SASL mechanism.
    pub mechanism: Option<String>,
    /// The TLS cipher; empty for a connection in clear.
    pub tls: Option<String>,
    /// The client's HELO name.
    pub helo: Option<String>,
    /// The authorization identity.
    pub authzid: Option<String>,
}

impl Options {
    /// Reads `name=value` arguments.
    ///
    /// # Errors
    /// An argument without a known name, or a name that is given twice. Both are mistakes in Exim's
    /// configuration.
    pub fn parse(arguments: &[&[u8]]) -> Result<Self, Error> {
        let mut options = Self::default();
        for argument in arguments {
            let text = String::from_utf8_lossy(argument);
            let (name, value) = text.split_once('=').unwrap_or((&text, ""));
            let slot = match name {
                "config" => &mut options.config,
                "protocol" => &mut options.protocol,
                "mechanism" => &mut options.mechanism,
                "tls" => &mut options.tls,
                "helo" => &mut options.helo,
                "authzid" => &mut options.authzid,
                // The argument is not shown, because it may be a password in the wrong place.
                _ => {
                    return Err(Error::Call(String::from(
                        "an argument after the positional ones is not one of config=, protocol=, \
                     mechanism=, tls=, helo=, authzid=: correct the ${dlfunc} call",
                    )));
                }
            };
            // The path and the identity are used unchanged. The other values are stored in rows.
            let value = match name {
                "config" | "authzid" => value.to_owned(),
                _ => printable(value.as_bytes()),
            };
            if slot.replace(value).is_some() {
                return Err(Error::Call(format!(
                    "the argument {name}= is given twice: correct the ${{dlfunc}} call"
                )));
            }
        }
        Ok(options)
    }
}

/// The client's proof that it knows the password, or the result of checking it elsewhere.
#[derive(Debug)]
pub enum Proof {
    /// The cleartext password that the client sent.
    Password(Secret),
    /// A driver of Exim will check the proof.
    Awaited,
    /// Another program has checked the proof, and it was right.
    Proved,
    /// Another program has checked the proof, and it was wrong.
    Refuted,
    /// The proof could not be checked, for this reason.
    Unknown(String),
    /// The proof could not be checked, because other attempts took all the room of this limit.
    LimitFull(Arc<str>),
    /// The proof was not checked, because the client had been refused before.
    Unchecked,
    /// The client gave up before it sent a proof.
    GivenUp,
}

impl Proof {
    /// True if the password has a valid length. Any bytes are valid, because old clients send
    /// Latin-1.
    fn has_valid_length(&self) -> bool {
        match self {
            Self::Password(password) => (1..=MAX_PASSWORD).contains(&password.expose().len()),
            Self::Awaited
            | Self::Proved
            | Self::Refuted
            | Self::Unknown(_)
            | Self::LimitFull(_)
            | Self::Unchecked
            | Self::GivenUp => true,
        }
    }
}

/// The row of an attempt: its id, and whether it is recorded. The id is set before anything can
/// fail. So an attempt that ends with a panic still gets one row, and never two.
#[derive(Debug, Default)]
pub struct Ticket {
    /// The id of the row; `None` if there is none.
    pub id: Option<String>,
    is_recorded: AtomicBool,
}

impl Ticket {
    /// A row with this id, not recorded yet.
    #[must_use]
    pub fn new(id: Option<String>) -> Self {
        Self { id, is_recorded: AtomicBool::new(false) }
    }

    /// Notes that the row is in the database or in the journal.
    pub fn mark_recorded(&self) {
        self.is_recorded.store(true, Ordering::Relaxed);
    }

    /// True if the row is in the database or in the journal.
    #[must_use]
    pub fn is_recorded(&self) -> bool {
        self.is_recorded.load(Ordering::Relaxed)
    }
}

/// One attempt to authenticate.
#[derive(Debug)]
pub struct Attempt {
    /// The authentication identity as the client sent it; `None` if the attempt is malformed, so
    /// that no account can match.
    pub authcid: Option<String>,
    /// The authcid in a form that can be printed and stored. Empty if `is_unnamed`.
    pub shown: String,
    /// True if the authcid or the authzid may be the password. Then neither is kept.
    pub is_unnamed: bool,
    /// The password, or the result of checking a proof elsewhere.
    pub proof: Proof,
    /// The client's address.
    pub remote: Remote,
    /// The named arguments.
    pub options: Options,
    /// The row of the attempt.
    pub ticket: Arc<Ticket>,
}

impl Attempt {
    /// Reads `authcid`, `password`, `remote` and the named arguments.
    ///
    /// # Errors
    /// The call in Exim's configuration is wrong. A client cannot cause this error.
    pub fn parse(arguments: &[&[u8]]) -> Result<Self, Error> {
        let [authcid, password, remote, options @ ..] = arguments else {
            return Err(Error::Call(format!(
                "check needs authcid, password and remote, but got {} arguments: correct the \
                 ${{dlfunc}} call",
                arguments.len()
            )));
        };
        Self::new(authcid, Proof::Password(Secret::new(password.to_vec())), remote, options)
    }

    /// Reads `authcid`, `remote` and the named arguments of a function without a password.
    ///
    /// # Errors
    /// As for `parse`.
    pub fn parse_proved(name: &str, proof: Proof, arguments: &[&[u8]]) -> Result<Self, Error> {
        let [authcid, remote, options @ ..] = arguments else {
            return Err(Error::Call(format!(
                "{name} needs authcid and remote, but got {} arguments: correct the ${{dlfunc}} call",
                arguments.len()
            )));
        };
        Self::new(authcid, proof, remote, options)
    }

    /// Reads `remote` and the named arguments of a function without an authcid.
    ///
    /// # Errors
    /// As for `parse`.
    pub fn parse_address(name: &str, arguments: &[&[u8]]) -> Result<Self, Error> {
        let [remote, options @ ..] = arguments else {
            return Err(Error::Call(format!(
                "{name} needs an address, but got no argument: correct the ${{dlfunc}} call"
            )));
        };
        Self::new(b"", Proof::Unchecked, remote, options)
    }

    fn new(authcid: &[u8], proof: Proof, remote: &[u8], options: &[&[u8]]) -> Result<Self, Error> {
        let mut options = Options::parse(options)?;
        let name =
            valid_name(authcid, options.authzid.as_deref()).filter(|_| proof.has_valid_length());
        let is_unnamed = name.is_none() && may_be_password(&proof, options.authzid.as_deref());
        if is_unnamed {
            options.authzid = None;
        }
        Ok(Self {
            authcid: name,
            shown: if is_unnamed { String::new() } else { printable(authcid) },
            is_unnamed,
            proof,
            remote: Remote::parse(remote),
            options,
            ticket: Arc::default(),
        })
    }
}

/// True if the authcid or the authzid may be the password, because the client mixed them up or
/// LOGIN is configured with the variables of PLAIN. This is assumed if one of these holds:
///
/// - The password is empty.
/// - There is an authzid, and the password is blank or equal to it.
fn may_be_password(proof: &Proof, authzid: Option<&str>) -> bool {
    let Proof::Password(password) = proof else { return false };
    let (password, authzid) = (password.expose(), authzid.unwrap_or_default());
    let is_blank = password.iter().all(u8::is_ascii_whitespace);
    password.is_empty() || !authzid.is_empty() && (is_blank || password == authzid.as_bytes())
}

/// The authcid, if it is valid.
fn valid_name(authcid: &[u8], authzid: Option<&str>) -> Option<String> {
    let authcid = std::str::from_utf8(authcid).ok()?;
    let authzid = authzid.unwrap_or_default();
    let same_identity = authzid.is_empty() || authzid.to_lowercase() == authcid.to_lowercase();
    let has_valid_length = (1..=MAX_AUTHCID).contains(&authcid.len());
    (same_identity && has_valid_length).then(|| authcid.to_owned())
}

/// Makes printable text of any bytes: at most [`MAX_AUTHCID`] characters, with `?` in place of
/// control characters and of bytes that are not UTF-8.
#[must_use]
pub fn printable(bytes: &[u8]) -> String {
    // A character has at most four bytes. More are not needed, and would only take time to decode.
    let head = bytes.get(..MAX_AUTHCID.saturating_mul(4)).unwrap_or(bytes);
    String::from_utf8_lossy(head)
        .chars()
        .map(|c| if c.is_control() || c == char::REPLACEMENT_CHARACTER { '?' } else { c })
        .take(MAX_AUTHCID)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remote_is_canonical() {
        for (given, want) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:DB8:0:0::1", "2001:db8::1"),
            ("", ""),
        ] {
            let remote = Remote::parse(given.as_bytes());
            assert!(!matches!(remote, Remote::Unusable(_)), "{given}");
            assert_eq!(remote.text(), want);
        }
        assert_eq!(Remote::parse(b"not\nan address"), Remote::Unusable("not?an address".into()));
    }

    #[test]
    fn nothing_that_a_client_sends_is_an_error() {
        let long = vec![b'a'; MAX_AUTHCID + 1];
        let long_password = vec![b'a'; MAX_PASSWORD + 1];
        let rows: [(&str, &[u8], &[u8], bool); 8] = [
            ("an ordinary client", b"u@example.com", b"secret", true),
            ("a Latin-1 password", b"u@example.com", b"caf\xe9", true),
            ("an empty authcid", b"", b"secret", false),
            ("an empty password", b"u", b"", false),
            ("an authcid that is too long", &long, b"secret", false),
            ("a password that is too long", b"u", &long_password, false),
            ("an authcid that is not UTF-8", b"caf\xe9", b"secret", false),
            ("an authcid with a control character", b"a\x01b", b"secret", true),
        ];
        for (name, authcid, password, valid_name) in rows {
            let attempt = Attempt::parse(&[authcid, password, b"192.0.2.1"]).unwrap();
            assert_eq!(attempt.authcid.is_some(), valid_name, "{name}");
            assert!(!attempt.shown.contains(|c: char| c.is_control()), "{name}");
        }
    }

    #[test]
    fn a_name_that_may_be_the_password_is_not_kept() {
        let hidden: [(&[u8], &[u8]); 5] = [
            (b"", b"authzid=hunter2"),
            (b"", b"authzid=p@example.com"),
            (b"\n", b"authzid=p@example.com"),
            (b" \r\n", b"authzid=p@example.com"),
            (b"p@example.com", b"authzid=p@example.com"),
        ];
        for (password, authzid) in hidden {
            let arguments: [&[u8]; 4] = [b"hunter2", password, b"192.0.2.1", authzid];
            let attempt = Attempt::parse(&arguments).unwrap();
            assert!(attempt.is_unnamed && attempt.authcid.is_none());
            assert!(!format!("{attempt:?}").contains("hunter2"), "{attempt:?}");
        }
        let named: [(&[u8], &[u8]); 4] = [
            (b"secret", b"authzid=boss@example.com"),
            (b"\n", b"authzid="),
            (b"u@example.com", b"authzid=u@example.com"),
            (b" ", b"authzid=U@example.com"),
        ];
        for (password, authzid) in named {
            let arguments: [&[u8]; 4] = [b"u@example.com", password, b"192.0.2.1", authzid];
            let attempt = Attempt::parse(&arguments).unwrap();
            assert_eq!((&*attempt.shown, attempt.is_unnamed), ("u@example.com", false));
        }
        let arguments: [&[u8]; 2] = [b"u@example.com", b"192.0.2.1"];
        let attempt = Attempt::parse_proved("finish", Proof::Refuted, &arguments).unwrap();
        assert_eq!((&*attempt.shown, attempt.is_unnamed), ("u@example.com", false));
    }

    #[test]
    fn an_authzid_must_be_the_authcid() {
        let long = "a".repeat(MAX_AUTHCID);
        let longer = format!("{long}-boss");
        for (authcid, authzid, valid_name) in [
            ("u@example.com", "", true),
            ("u@example.com", "U@Example.com", true),
            ("u@example.com", "other", false),
            ("a?b", "a\u{1}b", false),
            ("a\u{1}b", "a\u{1}b", true),
            (&long, &long, true),
            (&long, &longer, false),
        ] {
            let option = format!("authzid={authzid}");
            let arguments: [&[u8]; 4] = [authcid.as_bytes(), b"pw", b"", option.as_bytes()];
            let attempt = Attempt::parse(&arguments).unwrap();
            assert_eq!(attempt.authcid.is_some(), valid_name, "{authzid}");
        }
    }

    #[test]
    fn wrong_calls_are_errors() {
        let rows: [&[&[u8]]; 4] = [
            &[],
            &[b"u", b"p"],
            &[b"u", b"p", b"", b"colour=red"],
            &[b"u", b"p", b"", b"tls=", b"tls="],
        ];
        for arguments in rows {
            assert!(matches!(Attempt::parse(arguments), Err(Error::Call(_))), "{arguments:?}");
        }
        let message = Attempt::parse(&[b"u", b"p", b"", b"hunter2"]).unwrap_err().to_string();
        assert!(!message.contains("hunter2"), "{message}");
    }
}
