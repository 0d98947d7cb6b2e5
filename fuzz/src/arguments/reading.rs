//! The same arguments, read without the calls: what becomes of them, and what they are.

use authpolicy::attempt::Attempt;
use authpolicy::attempt::MAX_AUTHCID;
use authpolicy::attempt::MAX_PASSWORD;
use authpolicy::attempt::Options;
use authpolicy::attempt::Proof;
use authpolicy::error::Error;

use super::site;
use super::site::Site;

const OPTIONS: [&str; 6] = ["config", "protocol", "mechanism", "tls", "helo", "authzid"];

/// Reads them as each export does.
pub(super) fn read(arguments: &[Vec<u8>]) {
    let slices: Vec<&[u8]> = arguments.iter().map(Vec::as_slice).collect();
    let checked = Attempt::parse(&slices);
    if let Ok(attempt) = &checked
        && attempt.authcid.is_some()
    {
        let length = arguments[1].len();
        assert!((1..=MAX_PASSWORD).contains(&length), "a password of {length} bytes");
    }
    look_at(&slices, 2, checked);
    look_at(&slices, 1, Attempt::parse_proved("authorize", Proof::Proved, &slices));
    look_at(&slices, 1, Attempt::parse_proved("finish", Proof::Refuted, &slices));
    look_at(&slices, 0, Attempt::parse_address("allow", &slices));
    assert_eq!(Options::parse(&slices).is_ok(), are_options(&slices));
}

/// `remote`: which argument the address is.
fn look_at(arguments: &[&[u8]], remote: usize, read: Result<Attempt, Error>) {
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

/// Whether each has a name that is known, and no other has it.
fn are_options(arguments: &[&[u8]]) -> bool {
    let name = |argument: &&[u8]| {
        argument.split(|&c| c == b'=').next().map(<[u8]>::to_vec).unwrap_or_default()
    };
    let names: Vec<_> = arguments.iter().map(name).collect();
    let is_known = |name: &Vec<u8>| OPTIONS.iter().any(|known| known.as_bytes() == name);
    let is_once = |name: &Vec<u8>| names.iter().filter(|other| *other == name).count() == 1;
    names.iter().all(|name| is_known(name) && is_once(name))
}

/// Whether `authorize` can know who it is, and has a database to ask.
pub(super) fn is_attempt(arguments: &[Vec<u8>], site: &Site) -> bool {
    let slices: Vec<&[u8]> = arguments.iter().map(Vec::as_slice).collect();
    let read = Attempt::parse_proved("authorize", Proof::Proved, &slices);
    let config = site.config.to_str();
    read.is_ok_and(|read| read.authcid.is_some() && read.options.config.as_deref() == config)
}

/// Whether they begin with the name of the one account there is.
pub(super) fn is_account(arguments: &[Vec<u8>]) -> bool {
    let first = arguments.first().map(|first| String::from_utf8_lossy(first).to_lowercase());
    first.is_some_and(|first| first == site::ACCOUNT)
}
