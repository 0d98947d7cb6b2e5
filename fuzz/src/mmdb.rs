//! Any bytes as an MMDB file, most of them a good file with some damage: no panic, no end of time,
//! and a file without damage anywhere (`verify`) has an answer for each address.

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

/// A file, and who is looked up beside the usual ones.
#[derive(Arbitrary, Debug)]
pub struct Input {
    ipv4: Ipv4Addr,
    ipv6: Ipv6Addr,
    file: File,
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

/// Asks the file for everything.
pub fn look_up(input: &Input) {
    let (bytes, is_good) = match &input.file {
        File::Good(made) => (made.bytes(), true),
        File::Damaged(made, damages) => {
            let mut bytes = made.bytes();
            damages.iter().for_each(|damage| damage.apply(&mut bytes));
            (bytes, false)
        }
        File::Raw(bytes) => (bytes.clone(), false),
    };
    let path = std::env::temp_dir().join(format!("mmdb-{}", std::process::id()));
    fs::write(&path, bytes).expect("a directory for temporary files");
    let (geo, asns) = (Geo::new(&path), Asns::new(&path));
    let [verified_geo, verified_asns] = [geo.verify(), asns.verify()];
    let usual = ADDRESSES.iter().filter_map(|address| address.parse().ok());
    for address in usual.chain([IpAddr::V4(input.ipv4), IpAddr::V6(input.ipv6)]) {
        let country = geo.country(address).map(|_| ());
        let number = asns.number(address).map(|_| ());
        for (verified, answer) in [(&verified_geo, country), (&verified_asns, number)] {
            let Err(e) = answer else { continue };
            assert!(verified.is_err(), "verified, but {address}: {e}");
            assert!(matches!(e, Error::Geo { .. }), "not about the file: {e}");
            assert!(!is_good || !e.to_string().contains("fetch it again"), "a good file: {e}");
        }
    }
}
