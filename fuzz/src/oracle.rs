//! The library's computations by other implementations: libcrypt, ring, and MD4 and MD5 after their
//! RFCs.
//!
//! The decoders are lenient. This can only hide a finding about strict parsing. It cannot cause a
//! false finding about a match.

use std::ffi::CStr;
use std::ffi::CString;
use std::ffi::c_char;
use std::num::NonZeroU32;

use ring::digest;
use ring::hmac;
use ring::pbkdf2;

/// `struct crypt_data` of libxcrypt.
#[repr(C, align(16))]
struct CryptData([u8; 32768]);

#[link(name = "crypt")]
// SAFETY: as in libxcrypt's crypt.h.
unsafe extern "C" {
    fn crypt_r(
        phrase: *const c_char,
        setting: *const c_char,
        data: *mut CryptData,
    ) -> *const c_char;
}

/// Hashes a password with crypt(3); `None` if crypt(3) refuses.
pub fn crypt(password: &[u8], setting: &[u8]) -> Option<Vec<u8>> {
    let (password, setting) = (CString::new(password).ok()?, CString::new(setting).ok()?);
    let mut data = Box::new(CryptData([0; 32768]));
    // SAFETY: both texts end with a NUL and outlive the call. The buffer has the size and alignment
    // of crypt.h's structure, and is zeroed.
    let made = unsafe { crypt_r(password.as_ptr(), setting.as_ptr(), &raw mut *data) };
    if made.is_null() {
        return None;
    }
    // SAFETY: the result points to NUL-terminated text within `data`.
    let made = unsafe { CStr::from_ptr(made) }.to_bytes();
    (!made.starts_with(b"*")).then(|| made.to_vec())
}

/// The hash functions of the schemes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    Md4,
    Md5,
    Sha1,
    Sha256,
    Sha512,
}

impl Function {
    pub fn length(self) -> usize {
        match self {
            Self::Md4 | Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    pub fn digest(self, data: &[u8]) -> Vec<u8> {
        let with = |algorithm| digest::digest(algorithm, data).as_ref().to_vec();
        match self {
            Self::Md4 => digest_blocks(md4_block, data),
            Self::Md5 => digest_blocks(md5_block, data),
            Self::Sha1 => with(&digest::SHA1_FOR_LEGACY_USE_ONLY),
            Self::Sha256 => with(&digest::SHA256),
            Self::Sha512 => with(&digest::SHA512),
        }
    }
}

pub fn pbkdf2(is_sha256: bool, password: &[u8], salt: &[u8], rounds: u32) -> Vec<u8> {
    let (algorithm, length) =
        if is_sha256 { (pbkdf2::PBKDF2_HMAC_SHA256, 32) } else { (pbkdf2::PBKDF2_HMAC_SHA1, 20) };
    let mut key = vec![0; length];
    let rounds = NonZeroU32::new(rounds).unwrap_or(NonZeroU32::MIN);
    pbkdf2::derive(algorithm, rounds, salt, password, &mut key);
    key
}

/// StoredKey and ServerKey of RFC 5802.
pub fn scram(is_sha256: bool, password: &[u8], salt: &[u8], rounds: u32) -> (Vec<u8>, Vec<u8>) {
    let salted = pbkdf2(is_sha256, password, salt, rounds);
    let (algorithm, function) = if is_sha256 {
        (hmac::HMAC_SHA256, Function::Sha256)
    } else {
        (hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, Function::Sha1)
    };
    let key = hmac::Key::new(algorithm, &salted);
    let sign = |text: &[u8]| hmac::sign(&key, text).as_ref().to_vec();
    (function.digest(&sign(b"Client Key")), sign(b"Server Key"))
}

/// Dovecot's CRAM-MD5: the states of the outer and of the inner MD5 after the padded key.
pub fn cram_md5(password: &[u8]) -> Vec<u8> {
    let mut key =
        if password.len() > 64 { Function::Md5.digest(password) } else { password.to_vec() };
    key.resize(64, 0);
    let state = |pad: u8| {
        let block: Vec<u8> = key.iter().map(|byte| byte ^ pad).collect();
        md5_block(INITIAL, &block)
    };
    [state(0x5c), state(0x36)].iter().flatten().flat_map(|word| word.to_le_bytes()).collect()
}

/// Decodes base64, and skips all other characters.
pub fn base64(text: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for digit in text.iter().filter_map(|c| DIGITS.iter().position(|known| known == c)) {
        bits = (bits << 6 | digit as u32) & 0xffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}

pub fn to_base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place > chunk.len() { '=' } else { char::from(digit) });
        }
    }
    text
}

/// Decodes hexadecimal digits; empty if the text is invalid.
pub fn hex(text: &[u8]) -> Vec<u8> {
    let digit = |c: u8| char::from(c).to_digit(16);
    let byte = |pair: &[u8]| Some((digit(pair[0])? * 16 + digit(*pair.get(1)?)?) as u8);
    text.chunks(2).map(byte).collect::<Option<_>>().unwrap_or_default()
}

pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

type State = [u32; 4];

const INITIAL: State = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

fn words(block: &[u8]) -> Vec<u32> {
    block.chunks(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect()
}

fn add(a: State, b: State) -> State {
    std::array::from_fn(|i| a[i].wrapping_add(b[i]))
}

/// RFC 1320, 3.4
fn md4_block(initial: State, block: &[u8]) -> State {
    const ORDER: [[usize; 16]; 3] = [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
        [0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15],
        [0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15],
    ];
    const SHIFT: [[u32; 4]; 3] = [[3, 7, 11, 19], [3, 5, 9, 13], [3, 9, 11, 15]];
    const ADD: [u32; 3] = [0, 0x5a82_7999, 0x6ed9_eba1];
    let x = words(block);
    let [mut a, mut b, mut c, mut d] = initial;
    for i in 0..48 {
        let round = i / 16;
        let f = match round {
            0 => b & c | !b & d,
            1 => b & c | b & d | c & d,
            _ => b ^ c ^ d,
        };
        let sum = a.wrapping_add(f).wrapping_add(x[ORDER[round][i % 16]]);
        let rotated = sum.wrapping_add(ADD[round]).rotate_left(SHIFT[round][i % 4]);
        (a, b, c, d) = (d, rotated, b, c);
    }
    add(initial, [a, b, c, d])
}

/// RFC 1321, 3.4
fn md5_block(initial: State, block: &[u8]) -> State {
    const SHIFT: [[u32; 4]; 4] =
        [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];
    let x = words(block);
    let [mut a, mut b, mut c, mut d] = initial;
    for i in 0..64 {
        let (f, at) = match i / 16 {
            0 => (b & c | !b & d, i),
            1 => (b & d | c & !d, 5 * i + 1),
            2 => (b ^ c ^ d, 3 * i + 5),
            _ => (c ^ (b | !d), 7 * i),
        };
        let constant = (((i + 1) as f64).sin().abs() * 4_294_967_296.0) as u32;
        let sum = a.wrapping_add(f).wrapping_add(x[at % 16]).wrapping_add(constant);
        (a, b, c, d) = (d, b.wrapping_add(sum.rotate_left(SHIFT[i / 16][i % 4])), b, c);
    }
    add(initial, [a, b, c, d])
}

/// The digest of all data: MD4 and MD5 have the same padding.
fn digest_blocks(block: fn(State, &[u8]) -> State, data: &[u8]) -> Vec<u8> {
    let mut padded = data.to_vec();
    padded.push(0x80);
    padded.resize(padded.len().next_multiple_of(64), 0);
    if data.len() % 64 >= 56 {
        padded.resize(padded.len() + 64, 0);
    }
    let end = padded.len() - 8;
    padded[end..].copy_from_slice(&(data.len() as u64 * 8).to_le_bytes());
    let state = padded.chunks(64).fold(INITIAL, block);
    state.iter().flat_map(|word| word.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digests_are_those_of_the_rfcs() {
        for (function, text, want) in [
            (Function::Md4, "message digest", "d9130a8164549fe818874806e1c7014b"),
            (Function::Md5, "message digest", "f96b697d7cb7938d525a2f31aaf161d0"),
            (
                Function::Md5,
                "12345678901234567890123456789012345678901234567890123456789012345678901234567890",
                "57edf4a22be3c955ac49da2e2107b67a",
            ),
        ] {
            assert_eq!(to_hex(&function.digest(text.as_bytes())), want);
        }
    }
}
