//! Any arguments, in any order of calls: no panic, no acceptance of invalid arguments, and no text
//! longer than the limits. Answers and log lines contain no control characters and no password.
//!
//! First the arguments are parsed as the exports parse them. Then the exports are called with them,
//! with a working configuration and database, or without.

mod exim;
mod reading;
mod site;

use arbitrary::Arbitrary;

use self::exim::Answer;
use self::site::Site;

/// One argument more than Exim can pass.
const MOST_ARGUMENTS: usize = 9;
const MOST_CALLS: usize = 4;
/// A text in each password.
const CANARY: &str = "Kq7Zx2Wv9";

/// The calls that Exim makes in one connection.
#[derive(Arbitrary, Debug)]
pub struct Input {
    calls: Vec<Call>,
}

#[derive(Arbitrary, Debug)]
struct Call {
    function: Function,
    arguments: Vec<Argument>,
}

#[derive(Arbitrary, Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    Check,
    Allow,
    Authorize,
    Finish,
    Secret,
    Scram,
    Country,
    Last,
    Preload,
    Version,
}

#[derive(Arbitrary, Debug)]
enum Argument {
    Bytes(Vec<u8>),
    /// A byte, repeated.
    Many(u8, u16),
    /// The name of the only account.
    Account,
    Ipv4([u8; 4]),
    Ipv6([u8; 16]),
    /// A field of `scram` or `last`.
    Field(u8),
    /// A configuration file that exists, or does not.
    Config(bool),
    Named(u8, Vec<u8>),
}

const FIELDS: [&str; 12] = [
    "salt",
    "iter",
    "stored_key",
    "server_key",
    "status",
    "reason",
    "rule",
    "country",
    "asn",
    "username",
    "auth_ok",
    "policy_reject",
];
const NAMES: [&str; 7] = ["protocol", "mechanism", "tls", "helo", "authzid", "config", "colour"];

impl Argument {
    fn bytes(&self, site: &Site) -> Vec<u8> {
        let one = |list: &[&'static str], at: u8| list[usize::from(at) % list.len()].as_bytes();
        match self {
            Self::Bytes(bytes) => bytes.clone(),
            Self::Many(byte, count) => vec![*byte; usize::from(*count % 2048)],
            Self::Account => site::ACCOUNT.into(),
            Self::Ipv4(octets) => std::net::Ipv4Addr::from(*octets).to_string().into(),
            Self::Ipv6(octets) => std::net::Ipv6Addr::from(*octets).to_string().into(),
            Self::Field(at) => one(&FIELDS, *at).into(),
            Self::Config(true) => format!("config={}", site.config.display()).into(),
            Self::Config(false) => b"config=/nonexistent/authpolicy.toml".into(),
            Self::Named(at, value) => [one(&NAMES, *at), b"=", value].concat(),
        }
    }
}

/// Parses the arguments, and makes the calls.
pub fn call(input: &Input) {
    Site::with(|site| {
        exim::begin_connection();
        for Call { function, arguments } in input.calls.iter().take(MOST_CALLS) {
            let arguments = arguments.iter().take(MOST_ARGUMENTS);
            let mut arguments: Vec<_> = arguments.map(|argument| argument.bytes(site)).collect();
            reading::read(&arguments);
            arguments.iter_mut().for_each(exim::cut);
            let is_check = *function == Function::Check;
            if let Some(password) = arguments.get_mut(1).filter(|text| is_check && !text.is_empty())
            {
                password.extend(CANARY.bytes());
            }
            // The plugin must not use a database that this machine's own configuration names.
            if site.is_isolated(&arguments) {
                let (answer, lines) = exim::call(*function, &arguments);
                check_answer(site, *function, &arguments, &answer);
                lines.iter().for_each(|line| check_line(line));
            }
        }
    });
}

fn check_answer(site: &Site, function: Function, arguments: &[Vec<u8>], answer: &Answer) {
    let shown = || format!("{function:?}: {answer:?} to {arguments:?}");
    let Answer { code, text } = answer;
    assert!(text != "internal error", "{}", shown());
    let is_argument = function == Function::Preload;
    assert!(is_argument || !text.contains(char::is_control), "{}", shown());
    assert!(!text.contains(CANARY), "{}", shown());
    let is_miscounted = arguments.len() > 7;
    match function {
        // No input knows the password of the account.
        Function::Check => assert!(text == "no" && *code == 0 || *code == 2, "{}", shown()),
        Function::Authorize => {
            let may_accept = !is_miscounted && reading::is_attempt(arguments, site);
            assert!(*code == 2 || *code == 0, "{}", shown());
            assert!(*code == 2 || text == "no" || text == "yes" && may_accept, "{}", shown());
        }
        Function::Allow => assert!(*code == 0 && ["yes", "no"].contains(&&**text), "{}", shown()),
        Function::Secret => {
            assert!([0, 2, 4].contains(code), "{}", shown());
            let is_known = reading::is_account(arguments) && !is_miscounted;
            assert!(*code != 0 || text == site::PASSWORD && is_known, "{}", shown());
        }
        Function::Preload => {
            let first = arguments.first().map(|first| String::from_utf8_lossy(first));
            assert!(*code == 0 && *text == first.unwrap_or_default(), "{}", shown());
        }
        Function::Finish | Function::Scram | Function::Country | Function::Last => {
            assert!(*code == 0 && text.chars().count() <= 255, "{}", shown());
        }
        Function::Version => {
            assert!(*code == 0 && text.starts_with("authpolicy "), "{}", shown());
        }
    }
}

fn check_line(line: &str) {
    assert!(line.starts_with("authpolicy: "), "{line}");
    assert!(!line.contains("internal error"), "{line}");
    assert!(!line.contains(char::is_control), "{line:?}");
    assert!(!line.contains(CANARY) && !line.contains(site::PASSWORD), "{line}");
}
