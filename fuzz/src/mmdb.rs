//! Any bytes as an MMDB file or a pair of them; most inputs are good files with some damage. No
//! panic, no endless loop, and files that pass `verify` have an answer for each address.

mod file;

use std::fs;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;

use arbitrary::Arbitrary;
use authpolicy::error::Error;
use authpolicy::geo::Asns;
use authpolicy::geo::Geo;

use self::file::Damage;
use self::file::Made;

/// One or two files, and two addresses that are looked up beside the usual ones.
#[derive(Arbitrary, Debug)]
pub struct Input {
    ipv4: Ipv4Addr,
    ipv6: Ipv6Addr,
    file: File,
    second: Option<File>,
}

#[derive(Arbitrary, Debug)]
enum File {
    Good(Made),
    Damaged(Made, Vec<Damage>),
    Raw(Vec<u8>),
}

const ADDRESSES: [&str; 8] = [
    "0.0.0.1",
    "127.255.255.255",
    "128.0.0.1",
    "203.0.113.7",
    "255.255.255.255",
    "2001:db8::1",
    "8000::1",
    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
];

impl File {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Good(made) => made.bytes(),
            Self::Damaged(made, damages) => {
                let mut bytes = made.bytes();
                damages.iter().for_each(|damage| damage.apply(&mut bytes));
                bytes
            }
            Self::Raw(bytes) => bytes.clone(),
        }
    }
}

/// Looks up all addresses in the files.
pub fn look_up(input: &Input) {
    let files: Vec<_> = std::iter::once(&input.file).chain(&input.second).collect();
    let is_good = files.iter().all(|file| matches!(file, File::Good(_)));
    let path = |index| std::env::temp_dir().join(format!("mmdb-{}-{index}", std::process::id()));
    let paths: Vec<_> = (0..files.len()).map(path).collect();
    for (path, file) in paths.iter().zip(files) {
        fs::write(path, file.bytes()).expect("a directory for temporary files");
    }
    let (geo, asns) = (Geo::from_paths(&paths), Asns::from_paths(&paths));
    let (geo, asns) = (geo.expect("a file"), asns.expect("a file"));
    let [verified_geo, verified_asns] = [geo.verify(), asns.verify()];
    let usual = ADDRESSES.iter().filter_map(|address| address.parse().ok());
    for address in usual.chain([IpAddr::V4(input.ipv4), IpAddr::V6(input.ipv6)]) {
        let country = geo.country(address).map(|_| ());
        let number = asns.number(address).map(|_| ());
        for (verified, answer) in [(&verified_geo, country), (&verified_asns, number)] {
            let Err(e) = answer else { continue };
            assert!(verified.is_err(), "an error in a verified file for {address}: {e}");
            assert!(matches!(e, Error::Geo { .. }), "an error that is not about the file: {e}");
            let asks_for_new = e.to_string().contains("fetch it again");
            assert!(!is_good || !asks_for_new, "the error for a good file: {e}");
        }
    }
}
