//! Accepted AUTHs a second with many clients at once. The ways take turns in short slices, because
//! the rate of one way alone differs from run to run.

use std::thread;
use std::time::Duration;
use std::time::Instant;

use crate::common::Client;
use crate::place::PASSWORD;
use crate::quantile::quantile;
use crate::times::Ratio;
use crate::times::median;
use crate::times::order;
use crate::way::Way;

const CLIENTS: usize = 32;
const SLICE: Duration = Duration::from_secs(2);
/// Slices of each way.
const TURNS: usize = 6;
/// After a slice, Exim's processes that still wait for the end of their connections end.
const PAUSE: Duration = Duration::from_millis(300);

/// The rates of each way, by turn.
pub(crate) struct Rates(Vec<Vec<f64>>);

pub(crate) fn measure(ways: &[Way], account: &str) -> Rates {
    let mut rates = vec![Vec::new(); ways.len()];
    for turn in 0..TURNS {
        for at in order(turn, ways.len()) {
            let way = &ways[at];
            let (in_time, all) = slice(way.exim.port, account);
            way.add_attempts(all);
            rates[at].push(in_time as f64 / SLICE.as_secs_f64());
            thread::sleep(PAUSE);
        }
    }
    Rates(rates)
}

/// Runs all clients for the time of a slice. Returns the number of attempts that were accepted
/// within it, and the number of all attempts, which were accepted, too. Each attempt has its own
/// connection. The clients do not wait for the reply to QUIT.
fn slice(port: u16, account: &str) -> (usize, usize) {
    let end = Instant::now() + SLICE;
    let client = || {
        let (mut in_time, mut all) = (0, 0);
        while Instant::now() < end {
            let mut client = Client::connect(port);
            let reply = client.plain(account.as_bytes(), PASSWORD.as_bytes());
            assert!(reply.starts_with("235"), "under load: {reply}");
            in_time += usize::from(Instant::now() < end);
            all += 1;
        }
        (in_time, all)
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        let counts = clients.into_iter().map(|client| client.join().expect("a client failed"));
        counts.fold((0, 0), |sum, counts| (sum.0 + counts.0, sum.1 + counts.1))
    })
}

impl Rates {
    pub(crate) fn median(&self, way: usize) -> f64 {
        median(&self.0[way])
    }

    /// The rates of two ways, as a ratio in each turn: its median, lowest and highest value.
    pub(crate) fn ratio(&self, way: usize, other: usize) -> Ratio {
        let pairs = self.0[way].iter().zip(&self.0[other]);
        let mut ratios: Vec<_> = pairs.map(|(one, two)| one / two).collect();
        Ratio {
            all: median(&ratios),
            low: quantile(&mut ratios, 0),
            high: quantile(&mut ratios, 100),
        }
    }
}
