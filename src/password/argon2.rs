//! Argon2 (RFC 9106) as PHC strings: `$argon2id$v=19$m=65536,t=3,p=1$salt$hash`. The string names
//! the variant, whatever the label is, as in Dovecot.

use ::argon2::Algorithm;
use ::argon2::Argon2;
use ::argon2::Block;
use ::argon2::Params;
use ::argon2::Version;
use base64ct::Base64Unpadded;
use base64ct::Encoding as _;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::Candidate;
use super::Fault;
use super::Settings;
use super::Stored;
use super::encoding::anonymous;
use super::malformed;

/// The most passes with the largest memory. With less memory, more passes are allowed.
const MAX_PASSES: u64 = 8;

struct Phc {
    algorithm: Algorithm,
    version: Version,
    params: Params,
    salt: Zeroizing<Vec<u8>>,
    hash: Zeroizing<Vec<u8>>,
    same_cost_dummy: Option<String>,
}

pub(super) fn read(data: &[u8], settings: &Settings) -> Result<Box<dyn Stored>, Fault> {
    let text = std::str::from_utf8(data).map_err(|_| malformed("Argon2"))?;
    let read = parse(text).ok_or_else(|| malformed("Argon2"))?;
    let (memory, most) = (u64::from(read.params.m_cost()), settings.max_argon2_memory);
    settings.check_limit("an Argon2 memory in KiB", memory, "max_argon2_memory", most)?;
    let work = memory.saturating_mul(u64::from(read.params.t_cost()));
    if work > u64::from(most).saturating_mul(MAX_PASSES) {
        return Err(Fault(format!(
            "has {} passes of Argon2 over {memory} KiB, above what accounts.max_argon2_memory = \
             {most} allows",
            read.params.t_cost()
        )));
    }
    Ok(Box::new(read))
}

fn parse(text: &str) -> Option<Phc> {
    let mut fields = text.strip_prefix('$')?.split('$').peekable();
    let algorithm = match fields.next()? {
        "argon2i" => Algorithm::Argon2i,
        "argon2id" => Algorithm::Argon2id,
        "argon2d" => Algorithm::Argon2d,
        _ => return None,
    };
    // Strings of the first version have no version field.
    let version = match fields.next_if(|field| field.starts_with("v=")) {
        Some("v=19") => Version::V0x13,
        Some("v=16") | None => Version::V0x10,
        Some(_) => return None,
    };
    let parameters = fields.next()?;
    let (salt, hash) = (fields.next()?, fields.next()?);
    let start = text.len().checked_sub(salt.len().checked_add(hash.len())?.checked_add(1)?)?;
    let bytes = |text| Base64Unpadded::decode_vec(text).ok().map(Zeroizing::new);
    let (salt, hash) = (bytes(salt)?, bytes(hash)?);
    let mut numbers = parameters.split(',');
    let mut number = |name: &str| numbers.next()?.strip_prefix(name)?.parse().ok();
    let (memory, passes, lanes) = (number("m=")?, number("t=")?, number("p=")?);
    if numbers.next().is_some() || fields.next().is_some() || hash.len() < 16 {
        return None;
    }
    let params = Params::new(memory, passes, lanes, Some(hash.len())).ok()?;
    Some(Phc {
        algorithm,
        version,
        params,
        salt,
        hash,
        same_cost_dummy: anonymous(text, start, 'A'),
    })
}

/// Hashes a password.
pub(super) fn compute(
    (algorithm, version): (Algorithm, Version),
    params: Params,
    password: &[u8],
    salt: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Fault> {
    // `vec!` would end Exim's process if there is no memory.
    let mut memory = Vec::new();
    memory
        .try_reserve_exact(params.block_count())
        .map_err(|_| Fault(String::from("needs more memory for Argon2 than is available")))?;
    memory.resize(params.block_count(), Block::default());
    let mut hash = Zeroizing::new(vec![0; params.output_len().unwrap_or(32)]);
    Argon2::new(algorithm, version, params)
        .hash_password_into_with_memory(password, salt, &mut hash, &mut memory)
        .map_err(|_| malformed("Argon2"))?;
    Ok(hash)
}

impl Stored for Phc {
    fn matches(&self, candidate: Candidate<'_>) -> Result<bool, Fault> {
        let kind = (self.algorithm, self.version);
        let password = candidate.password.expose();
        let hash = compute(kind, self.params.clone(), password, &self.salt)?;
        Ok(bool::from(hash.ct_eq(&self.hash)))
    }

    fn format(&self) -> Option<&'static str> {
        Some(match self.algorithm {
            Algorithm::Argon2i => "ARGON2I",
            Algorithm::Argon2id => "ARGON2ID",
            Algorithm::Argon2d => "ARGON2D",
        })
    }

    fn work(&self) -> u64 {
        // 64 MiB and three passes take 120 ms.
        let blocks = u64::from(self.params.m_cost()).saturating_mul(self.params.t_cost().into());
        blocks.saturating_mul(6) / 10
    }

    fn same_cost_dummy(&self) -> Option<String> {
        self.same_cost_dummy.clone()
    }
}
