//! The time of one AUTH at a time, of all ways in turn.

use std::ffi::CString;
use std::time::Instant;

use crate::common::Site;
use crate::libcrypt::Libcrypt;
use crate::place;
use crate::place::PASSWORD;
use crate::times::Times;
use crate::times::order;
use crate::way::Way;

/// Rounds before the measured ones, to fill every cache.
const WARM_UP: usize = 10;

/// Times each way and one hash by libcrypt in each round.
pub(crate) fn measure(ways: &[Way], site: &Site, account: &str, rounds: usize) -> Times {
    let mut libcrypt = Libcrypt::new();
    let stored = CString::new(place::stored(site, account)).unwrap();
    let password = CString::new(PASSWORD).unwrap();
    let mut times = Times { hash: Vec::new(), ways: vec![Vec::new(); ways.len()] };
    for round in 0..WARM_UP + rounds {
        let start = Instant::now();
        assert!(libcrypt.verify(&password, &stored), "{account}");
        let hash = start.elapsed();
        if round >= WARM_UP {
            times.hash.push(hash.as_secs_f64() * 1000.0);
        }
        for at in order(round, ways.len()) {
            let (_client, taken) = ways[at].authenticate(account);
            if round >= WARM_UP {
                times.ways[at].push(taken.as_secs_f64() * 1000.0);
            }
        }
    }
    times
}
