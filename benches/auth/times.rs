//! Times of several ways, measured in turn, and their ratios.

use crate::quantile::quantile;

/// Into so many blocks the rounds are divided, to show how much a ratio varies.
const BLOCKS: usize = 5;

/// The times of all rounds, in milliseconds: of libcrypt's hash, and of each way.
pub(crate) struct Times {
    pub(crate) hash: Vec<f64>,
    pub(crate) ways: Vec<Vec<f64>>,
}

/// A ratio, and its lowest and highest value in the blocks.
#[derive(Clone, Copy)]
pub(crate) struct Ratio {
    pub(crate) all: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// The order of a round. Each round begins with another way and goes on with another step, so that
/// no way always follows the same one.
pub(crate) fn order(round: usize, ways: usize) -> impl Iterator<Item = usize> {
    let steps: Vec<_> = (1..ways.max(2)).filter(|step| divisor(*step, ways) == 1).collect();
    let step = steps[round % steps.len()];
    (0..ways).map(move |turn| (round + turn * step) % ways)
}

/// The greatest common divisor.
fn divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { divisor(b, a % b) }
}

pub(crate) fn median(times: &[f64]) -> f64 {
    quantile(&mut times.to_vec(), 50)
}

impl Times {
    /// The median of a way, less the median of a hash.
    pub(crate) fn beyond(&self, way: usize) -> f64 {
        median(&self.ways[way]) - median(&self.hash)
    }

    /// The times beyond the hash of two ways, as a ratio.
    pub(crate) fn beyond_ratio(&self, way: usize, other: usize) -> Ratio {
        self.ratio(|hash, ways| (median(&ways[way]) - hash) / (median(&ways[other]) - hash))
    }

    /// The whole times of two ways, as a ratio.
    pub(crate) fn whole_ratio(&self, way: usize, other: usize) -> Ratio {
        self.ratio(|_, ways| median(&ways[way]) / median(&ways[other]))
    }

    /// The median of the differences between two ways in each round.
    pub(crate) fn difference(&self, way: usize, other: usize) -> Ratio {
        self.ratio(|_, ways| {
            let pairs = ways[way].iter().zip(&ways[other]);
            median(&pairs.map(|(one, two)| one - two).collect::<Vec<_>>())
        })
    }

    /// Computes something from a hash's median and the times of all ways: over all rounds, and in
    /// each block of rounds.
    fn ratio(&self, of: impl Fn(f64, &[Vec<f64>]) -> f64) -> Ratio {
        let part = |from: usize, to: usize| {
            let ways: Vec<_> = self.ways.iter().map(|times| times[from..to].to_vec()).collect();
            of(median(&self.hash[from..to]), &ways)
        };
        let rounds = self.hash.len();
        let block = |number: usize| part(rounds * number / BLOCKS, rounds * (number + 1) / BLOCKS);
        let mut blocks: Vec<_> = (0..BLOCKS).map(block).collect();
        Ratio {
            all: part(0, rounds),
            low: quantile(&mut blocks, 0),
            high: quantile(&mut blocks, 100),
        }
    }
}
