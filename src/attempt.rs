//! One AUTH, from the bytes that Exim passes to typed values.
//!
//! Whose fault a bad argument is matters: what the client can send is the client's nonsense and
//! gets 535 and a row; what only the administrator's configuration can get wrong is an error.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use crate::error::Error;
use crate::secret::Secret;

/// The longest authcid in bytes that is looked up; an address has at most 254 (RFC 5321 §4.5.3.1).
pub const MAX_AUTHCID: usize = 255;
/// The longest password in bytes that is hashed: longer ones would cost CPU time, not safety.
pub const MAX_PASSWORD: usize = 1024;

/// Where the client is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remote {
    /// A dialogue without a network, as under `exim -bs`.
    Local,
    /// The client's address; IPv4 where it was IPv4-mapped IPv6.
    Address(IpAddr),
    /// Exim passed something that is no address.
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

    /// The canonical text, as it stands in the row.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Local => String::new(),
            Self::Address(address) => address.to_string(),
            Self::Unusable(text) => text.clone(),
        }
    }
}

/// The arguments that may follow the positional ones as `name=value`.
#[derive(Debug, Default)]
pub struct Options {
    /// The configuration file, in place of `/etc/authpolicy.toml`.
    pub config: Option<String>,
    /// What the row's `protocol` says.
    pub protocol: Option<String>,
    /// The SASL mechanism.
    pub mechanism: Option<String>,
    /// The TLS cipher; empty in clear.
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
    /// An argument without a known name, or a name given twice: the administrator's mistake.
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
                // The argument itself may be a password in the wrong place: not shown.
                _ => {
                    return Err(Error::Call(String::from(
                        "an argument after the positional ones is not one of config=, protocol=, \
                     mechanism=, tls=, helo=, authzid=: correct the ${dlfunc} call",
                    )));
                }
            };
            // A path and an identity are used as they are; the rest ends in rows.
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

/// What there is to hold against the account.
#[derive(Debug)]
pub enum Proof {
    /// The cleartext password that the client sent.
    Password(Secret),
    /// Somebody else is about to look at it.
    Awaited,
    /// Somebody else has found the client's proof right.
    Proved,
    /// Somebody else has found it wrong.
    Refuted,
    /// Nobody could look at it, for this reason.
    Unknown(String),
    /// It could not be looked at, because other attempts took all the room of this limit.
    LimitFull(Arc<str>),
    /// Nobody looked at it, since the client was refused before.
    Unchecked,
    /// The client did not wait for anybody to look at it.
    GivenUp,
}

impl Proof {
    /// Whether it may be one at all. A password may be any bytes, since old clients send Latin-1.
    fn is_sized(&self) -> bool {
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

/// The row of an attempt. It gets its id before anything can fail, and a note when it is recorded.
/// So an attempt that ends with a panic still leaves one row, and never two.
#[derive(Debug, Default)]
pub struct Ticket {
    /// The id of the row, if it has one already.
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
    /// The authentication identity as the client sent it; `None` where its words are nonsense
    /// that nobody needs to look up.
    pub authcid: Option<String>,
    /// The authcid in a form that can be printed and stored. Empty if `is_unnamed`.
    pub shown: String,
    /// True if the password may stand in the place of a name, so that neither name is kept.
    pub is_unnamed: bool,
    /// The password, or what somebody else found about it.
    pub proof: Proof,
    /// The client's address.
    pub remote: Remote,
    /// What else Exim told.
    pub options: Options,
    /// Its row.
    pub ticket: Arc<Ticket>,
}

impl Attempt {
    /// Reads `authcid`, `password`, `remote` and the named arguments.
    ///
    /// # Errors
    /// The call in Exim's configuration is wrong. Nothing that a client sends leads here.
    pub fn parse(arguments: &[&[u8]]) -> Result<Self, Error> {
        let [authcid, password, remote, options @ ..] = arguments else {
            return Err(Error::Call(format!(
                "check wants authcid, password and remote, and got {} arguments: correct the \
                 ${{dlfunc}} call",
                arguments.len()
            )));
        };
        Self::new(authcid, Proof::Password(Secret::new(password.to_vec())), remote, options)
    }

    /// Reads `authcid`, `remote` and the named arguments of a function that comes after the proof.
    ///
    /// # Errors
    /// As for `parse`.
    pub fn parse_proved(name: &str, proof: Proof, arguments: &[&[u8]]) -> Result<Self, Error> {
        let [authcid, remote, options @ ..] = arguments else {
            return Err(Error::Call(format!(
                "{name} wants authcid and remote, and got {} arguments: correct the ${{dlfunc}} call",
                arguments.len()
            )));
        };
        Self::new(authcid, proof, remote, options)
    }

    /// Reads the `remote` and the named arguments of a function that asks for an address alone.
    ///
    /// # Errors
    /// As for `parse`.
    pub fn parse_address(name: &str, arguments: &[&[u8]]) -> Result<Self, Error> {
        let [remote, options @ ..] = arguments else {
            return Err(Error::Call(format!(
                "{name} wants an address, and got no argument: correct the ${{dlfunc}} call"
            )));
        };
        Self::new(b"", Proof::Unchecked, remote, options)
    }

    fn new(authcid: &[u8], proof: Proof, remote: &[u8], options: &[&[u8]]) -> Result<Self, Error> {
        let mut options = Options::parse(options)?;
        let sent = valid_name(authcid, options.authzid.as_deref()).filter(|_| proof.is_sized());
        let is_unnamed = sent.is_none() && may_be_password(&proof, options.authzid.as_deref());
        if is_unnamed {
            options.authzid = None;
        }
        Ok(Self {
            authcid: sent,
            shown: if is_unnamed { String::new() } else { printable(authcid) },
            is_unnamed,
            proof,
            remote: Remote::parse(remote),
            options,
            ticket: Arc::default(),
        })
    }
}

/// True if the client, or a LOGIN that is wired like PLAIN, may have put the password in the place of a
/// name: the password is empty, or there is an authorization identity beside a password that is blank
/// or that identity again.
fn may_be_password(proof: &Proof, authzid: Option<&str>) -> bool {
    let Proof::Password(password) = proof else { return false };
    let (password, authzid) = (password.expose(), authzid.unwrap_or_default());
    let is_blank = password.iter().all(u8::is_ascii_whitespace);
    password.is_empty() || !authzid.is_empty() && (is_blank || password == authzid.as_bytes())
}

/// The authcid, if it can be one.
fn valid_name(authcid: &[u8], authzid: Option<&str>) -> Option<String> {
    let authcid = std::str::from_utf8(authcid).ok()?;
    let authzid = authzid.unwrap_or_default();
    let same_identity = authzid.is_empty() || authzid.to_lowercase() == authcid.to_lowercase();
    let sized = (1..=MAX_AUTHCID).contains(&authcid.len());
    (same_identity && sized).then(|| authcid.to_owned())
}

/// Makes text out of whatever was sent or stored: at most [`MAX_AUTHCID`] characters, control
/// characters and bytes that are no UTF-8 replaced by `?`.
#[must_use]
pub fn printable(bytes: &[u8]) -> String {
    // Four bytes a character at the most: a megabyte is not decoded to be thrown away.
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
    fn what_a_client_sends_is_never_an_error() {
        let long = vec![b'a'; MAX_AUTHCID + 1];
        let long_password = vec![b'a'; MAX_PASSWORD + 1];
        let rows: [(&str, &[u8], &[u8], bool); 8] = [
            ("an ordinary client", b"u@example.com", b"secret", true),
            ("a Latin-1 password", b"u@example.com", b"caf\xe9", true),
            ("an empty authcid", b"", b"secret", false),
            ("an empty password", b"u", b"", false),
            ("an over-long authcid", &long, b"secret", false),
            ("an over-long password", b"u", &long_password, false),
            ("an authcid that is no text", b"caf\xe9", b"secret", false),
            ("a control character is text", b"a\x01b", b"secret", true),
        ];
        for (name, authcid, password, valid_name) in rows {
            let attempt = Attempt::parse(&[authcid, password, b"192.0.2.1"]).unwrap();
            assert_eq!(attempt.authcid.is_some(), valid_name, "{name}");
            assert!(!attempt.shown.contains(|c: char| c.is_control()), "{name}");
        }
    }

    #[test]
    fn a_password_in_the_place_of_a_name_is_not_kept() {
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
    fn the_administrators_mistakes_are_errors() {
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
