//! `{SCHEME}` and `{SCHEME.ENC}` in upper and lower case, with data of right and wrong lengths. A
//! hash by another implementation must match its password. A match must be confirmed by the other
//! implementation.

#![no_main]

use authpolicy_fuzz::SCHEMES;
use authpolicy_fuzz::oracle;
use authpolicy_fuzz::oracle::Function;
use authpolicy_fuzz::settings;
use authpolicy_fuzz::verify;
use libfuzzer_sys::arbitrary;
use libfuzzer_sys::arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug, Clone, Copy)]
enum Suffix {
    None,
    Hex,
    B64,
    Base64,
    Other,
}

#[derive(Arbitrary, Debug)]
enum Data {
    /// The hash of the password, made by the oracle.
    Right,
    /// The right hash, with one byte changed by XOR, and cut or extended to this length.
    Damaged(u8, u8, Option<u8>),
    /// Any bytes, which are then encoded.
    Raw(Vec<u8>),
    /// Any text, which is not encoded.
    Text(Vec<u8>),
}

#[derive(Arbitrary, Debug)]
struct Input {
    scheme: u8,
    upper: u32,
    suffix: Suffix,
    salt: [u8; 16],
    salt_length: u8,
    data: Data,
    login: String,
    /// The last field, so that it takes all remaining bytes of the input.
    password: Vec<u8>,
}

/// The kind of a scheme's data, which decides how the oracle makes them.
#[derive(Clone, Copy)]
enum Family {
    Bare(Function),
    Salted(Function),
    CramMd5,
    DigestMd5,
    Plain,
    Truncated,
    Pbkdf2,
    Scram(bool),
    /// crypt(3)'s formats.
    Crypt,
    /// MD5-crypt or a bare MD5.
    Md5,
    /// No oracle here computes it, so none of the data made here is a hash of the password.
    Argon2,
}

fuzz_target!(|input: Input| {
    let name = &SCHEMES[usize::from(input.scheme) % SCHEMES.len()];
    let family = family(name);
    let salt = &input.salt[..usize::from(input.salt_length) % (input.salt.len() + 1)];
    let right = make(family, &input.password, salt, &input.login);
    let (data, is_right) = match &input.data {
        Data::Right => (right, true),
        Data::Damaged(place, mask, length) => {
            let mut data = right;
            let at = usize::from(*place) % data.len().max(1);
            data.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= mask);
            data.resize(length.map_or(data.len(), usize::from), b'x');
            (data, false)
        }
        Data::Raw(bytes) | Data::Text(bytes) => (bytes.clone(), false),
    };
    let text = match (&input.data, input.suffix) {
        (Data::Text(text), _) => text.clone(),
        (_, suffix) => encode(suffix, is_text(family), &data),
    };
    let stored = [label(name, input.upper, input.suffix).as_bytes(), &text].concat();
    let verdict = verify(&stored, &input.password, &input.login, &settings("CRYPT"));

    let shown = || format!("{} {:?}", String::from_utf8_lossy(&stored), input.password);
    if verdict == Ok(true) {
        assert!(!input.password.is_empty(), "an empty password: {}", shown());
        let raw = decode(input.suffix, is_text(family), &text);
        let confirmed = |raw: &Vec<u8>| confirms(family, raw, &input.password, &input.login);
        assert!(raw.iter().any(confirmed), "the oracle finds no match: {}", shown());
    } else if is_right && must_match(family, &input, &data, &text) {
        panic!("the oracle finds a match, the library {verdict:?}: {}", shown());
    }
});

fn family(name: &str) -> Family {
    match name {
        "SHA" | "SHA1" => Family::Bare(Function::Sha1),
        "SHA256" => Family::Bare(Function::Sha256),
        "SHA512" => Family::Bare(Function::Sha512),
        "SSHA" => Family::Salted(Function::Sha1),
        "SSHA256" => Family::Salted(Function::Sha256),
        "SSHA512" => Family::Salted(Function::Sha512),
        "SMD5" => Family::Salted(Function::Md5),
        "LDAP-MD5" | "PLAIN-MD5" | "MD5RAW" => Family::Bare(Function::Md5),
        "PLAIN-MD4" => Family::Bare(Function::Md4),
        "MD5" => Family::Md5,
        "CRAM-MD5" | "HMAC-MD5" => Family::CramMd5,
        "DIGEST-MD5" => Family::DigestMd5,
        "PLAIN" | "CLEAR" | "CLEARTEXT" => Family::Plain,
        "PLAIN-TRUNC" => Family::Truncated,
        "PBKDF2" => Family::Pbkdf2,
        "SCRAM-SHA-1" => Family::Scram(false),
        "SCRAM-SHA-256" => Family::Scram(true),
        "ARGON2I" | "ARGON2ID" | "ARGON2" => Family::Argon2,
        "CRYPT" | "BLF-CRYPT" | "SHA256-CRYPT" | "SHA512-CRYPT" | "MD5-CRYPT" | "DES-CRYPT" => {
            Family::Crypt
        }
        other => panic!("a new scheme without an oracle: {other}"),
    }
}

/// True if the data are text, which needs no encoding.
fn is_text(family: Family) -> bool {
    match family {
        Family::Bare(_) | Family::Salted(_) | Family::CramMd5 | Family::DigestMd5 | Family::Md5 => {
            false
        }
        Family::Plain
        | Family::Truncated
        | Family::Pbkdf2
        | Family::Scram(_)
        | Family::Crypt
        | Family::Argon2 => true,
    }
}

fn digest_md5(password: &[u8], login: &str) -> Vec<u8> {
    let (user, realm) = login.rsplit_once('@').unwrap_or((login, ""));
    Function::Md5.digest(&[user.as_bytes(), b":", realm.as_bytes(), b":", password].concat())
}

/// A salt of letters, for schemes whose data are text.
fn text_salt(salt: &[u8]) -> String {
    salt.iter().map(|&c| char::from(b'a' + c % 26)).collect()
}

/// The scheme's data for this password.
fn make(family: Family, password: &[u8], salt: &[u8], login: &str) -> Vec<u8> {
    match family {
        Family::Bare(function) => function.digest(password),
        Family::Salted(function) => [&function.digest(&[password, salt].concat()), salt].concat(),
        Family::CramMd5 => oracle::cram_md5(password),
        Family::DigestMd5 => digest_md5(password, login),
        Family::Md5 => Function::Md5.digest(password),
        Family::Plain => password.to_vec(),
        Family::Truncated => {
            let start = &password[..password.len().min(salt.len().max(1))];
            [format!("{}-", start.len()).as_bytes(), start].concat()
        }
        Family::Pbkdf2 => {
            let (rounds, salt) = (salt.len() as u32 + 1, text_salt(salt));
            let key = oracle::pbkdf2(false, password, salt.as_bytes(), rounds);
            format!("$1${salt}${rounds}${}", oracle::to_hex(&key)).into_bytes()
        }
        Family::Scram(is_sha256) => {
            let (stored, server) = oracle::scram(is_sha256, password, salt, 4096);
            let [salt, stored, server] = [salt, &stored, &server].map(oracle::to_base64);
            format!("4096,{salt},{stored},{server}").into_bytes()
        }
        Family::Crypt => {
            let setting = format!("$1${}", text_salt(&salt[..salt.len().min(8)]));
            oracle::crypt(password, setting.as_bytes()).unwrap_or_default()
        }
        Family::Argon2 => format!("$argon2id$v=19$m=8,t=1,p=1${}$", text_salt(salt)).into_bytes(),
    }
}

/// True if the library must find this match of the oracle.
fn must_match(family: Family, input: &Input, data: &[u8], text: &[u8]) -> bool {
    let salt = usize::from(input.salt_length) % (input.salt.len() + 1) > 0;
    // Marked as locked. In clear text, the mark is part of the password.
    let locked = !matches!(family, Family::Plain | Family::Truncated)
        && (matches!(text.first(), Some(b'!' | b'*')) || text == b"SUSPENDED");
    !input.password.is_empty()
        && !locked
        && !matches!(input.suffix, Suffix::Other)
        && match family {
            Family::Salted(_) | Family::Scram(_) => salt,
            // The oracle makes no data for a password with a NUL, or with more than 511 bytes.
            Family::Crypt => !data.is_empty(),
            Family::Argon2 => false,
            // Data of this scheme have no suffix.
            Family::Md5 => matches!(input.suffix, Suffix::None),
            _ => true,
        }
}

fn label(name: &str, upper: u32, suffix: Suffix) -> String {
    let suffix = match suffix {
        Suffix::None => "",
        Suffix::Hex => ".hex",
        Suffix::B64 => ".b64",
        Suffix::Base64 => ".base64",
        Suffix::Other => ".rot13",
    };
    let letters = name.chars().chain(suffix.chars()).enumerate().map(|(at, c)| {
        if upper >> (at % 32) & 1 == 1 { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() }
    });
    format!("{{{}}}", letters.collect::<String>())
}

fn encode(suffix: Suffix, is_text: bool, data: &[u8]) -> Vec<u8> {
    match suffix {
        Suffix::None | Suffix::Other if is_text => data.to_vec(),
        Suffix::Hex => oracle::to_hex(data).into_bytes(),
        Suffix::None | Suffix::Other | Suffix::B64 | Suffix::Base64 => {
            oracle::to_base64(data).into_bytes()
        }
    }
}

/// All possible meanings of the text.
fn decode(suffix: Suffix, is_text: bool, text: &[u8]) -> Vec<Vec<u8>> {
    match suffix {
        Suffix::None if is_text => vec![text.to_vec()],
        // The data of {MD5} may be an MD5-crypt.
        Suffix::None => vec![oracle::hex(text), oracle::base64(text), text.to_vec()],
        Suffix::Hex => vec![oracle::hex(text)],
        Suffix::B64 | Suffix::Base64 => vec![oracle::base64(text)],
        Suffix::Other => vec![],
    }
}

/// True if the oracle finds that this password matches the data.
fn confirms(family: Family, raw: &[u8], password: &[u8], login: &str) -> bool {
    let text = || String::from_utf8_lossy(raw).into_owned();
    match family {
        Family::Salted(function) => {
            let Some((_, salt)) = raw.split_at_checked(function.length()) else { return false };
            !salt.is_empty() && make(family, password, salt, login) == raw
        }
        Family::Truncated => {
            let Some((length, start)) =
                raw.split_at_checked(raw.iter().position(|&c| c == b'-').unwrap_or_default())
            else {
                return false;
            };
            let length = String::from_utf8_lossy(length).parse().unwrap_or(0_usize);
            let start = &start[1..];
            start == password || start.len() == length && password.starts_with(start)
        }
        Family::Pbkdf2 => {
            let text = text();
            let fields: Vec<_> = text.split('$').collect();
            let ["", "1", salt, rounds, key] = fields[..] else { return false };
            let Ok(rounds) = rounds.parse() else { return false };
            oracle::pbkdf2(false, password, salt.as_bytes(), rounds) == oracle::hex(key.as_bytes())
        }
        Family::Scram(is_sha256) => {
            let text = text();
            let fields: Vec<_> = text.split(',').collect();
            let [rounds, salt, stored, server] = fields[..] else { return false };
            let Ok(rounds) = rounds.parse() else { return false };
            let [salt, stored, server] =
                [salt, stored, server].map(|field| oracle::base64(field.as_bytes()));
            oracle::scram(is_sha256, password, &salt, rounds) == (stored, server)
        }
        Family::Crypt => oracle::crypt(password, raw).as_deref() == Some(raw),
        Family::Md5 if raw.starts_with(b"$1$") => confirms(Family::Crypt, raw, password, login),
        // The digest may be encoded twice, as in {MD5.B64} with hexadecimal digits.
        Family::Md5 => {
            let digest = Function::Md5.digest(password);
            [raw.to_vec(), oracle::hex(raw), oracle::base64(raw)].contains(&digest)
        }
        Family::Bare(_) | Family::CramMd5 | Family::DigestMd5 | Family::Plain => {
            make(family, password, &[], login) == raw
        }
        Family::Argon2 => false,
    }
}
