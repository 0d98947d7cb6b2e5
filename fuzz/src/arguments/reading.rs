//! Parses the arguments without calling the exports, and checks the result.

use authpolicy::attempt::Attempt;
use authpolicy::attempt::MAX_AUTHCID;
use authpolicy::attempt::MAX_PASSWORD;
use authpolicy::attempt::Options;
use authpolicy::attempt::Proof;
use authpolicy::error::Error;

use super::site;
use super::site::Site;

const OPTIONS: [&str; 6] = ["config", "protocol", "mechanism", "tls", "helo", "authzid"];

/// Parses the arguments as each export does, and checks the results.
pub(super) fn read(arguments: &[Vec<u8>]) {
    let slices: Vec<&[u8]> = arguments.iter().map(Vec::as_slice).collect();
    let checked = Attempt::parse(&slices);
    if let Ok(attempt) = &checked
        && attempt.authcid.is_some()
    {
        let length = arguments[1].len();
        assert!((1..=MAX_PASSWORD).contains(&length), "a password of {length} bytes");
    }
    check(&slices, 2, checked);
    check(&slices, 1, Attempt::parse_proved("authorize", Proof::Proved, &slices));
    check(&slices, 1, Attempt::parse_proved("finish", Proof::Refuted, &slices));
    check(&slices, 0, Attempt::parse_address("allow", &slices));
    assert_eq!(Options::parse(&slices).is_ok(), are_options(&slices));
}

/// Checks a parsed attempt. `remote` is the index of the argument with the address.
fn check(arguments: &[&[u8]], remote: usize, read: Result<Attempt, Error>) {
    let is_right = arguments.get(remote + 1..).is_some_and(are_options);
    assert_eq!(read.is_ok(), is_right, "{arguments:?}: {read:?}");
    let attempt = match read {
        Ok(attempt) => attempt,
        Err(e) => {
            assert!(matches!(e, Error::Call(_)), "not about the call: {e}");
            return;
        }
    };
    if let Some(authcid) = &attempt.authcid {
        assert_eq!(authcid.as_bytes(), arguments[0]);
        assert!((1..=MAX_AUTHCID).contains(&authcid.len()), "{authcid}");
        let authzid = attempt.options.authzid.as_deref().unwrap_or_default().to_lowercase();
        assert!(authzid.is_empty() || authzid == authcid.to_lowercase(), "{authzid} by {authcid}");
    }
    let options = &attempt.options;
    let stored = [&options.protocol, &options.mechanism, &options.tls, &options.helo];
    let remote = attempt.remote.text();
    for text in stored.into_iter().flatten().chain([&attempt.shown, &remote]) {
        assert!(!text.contains(char::is_control), "{text:?}");
        assert!(text.chars().count() <= MAX_AUTHCID, "{text}");
    }
}

/// True if each argument has a known name, and no name occurs twice.
fn are_options(arguments: &[&[u8]]) -> bool {
    let name = |argument: &&[u8]| {
        argument.split(|&c| c == b'=').next().map(<[u8]>::to_vec).unwrap_or_default()
    };
    let names: Vec<_> = arguments.iter().map(name).collect();
    let is_known = |name: &Vec<u8>| OPTIONS.iter().any(|known| known.as_bytes() == name);
    let is_once = |name: &Vec<u8>| names.iter().filter(|other| *other == name).count() == 1;
    names.iter().all(|name| is_known(name) && is_once(name))
}

/// True if `authorize` gets a valid name and the configuration with the database.
pub(super) fn is_attempt(arguments: &[Vec<u8>], site: &Site) -> bool {
    let slices: Vec<&[u8]> = arguments.iter().map(Vec::as_slice).collect();
    let read = Attempt::parse_proved("authorize", Proof::Proved, &slices);
    let config = site.config.to_str();
    read.is_ok_and(|read| read.authcid.is_some() && read.options.config.as_deref() == config)
}

/// True if the first argument is the name of the only account.
pub(super) fn is_account(arguments: &[Vec<u8>]) -> bool {
    let first = arguments.first().map(|first| String::from_utf8_lossy(first).to_lowercase());
    first.is_some_and(|first| first == site::ACCOUNT)
}
