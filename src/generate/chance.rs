//! Chance that keeps its promises: shares and percentiles that come out as asked in few draws.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::Rng;

use super::Profile;

/// Records in a file: share of the files with at most so many.
const MANAGEMENT_LENGTHS: &[(f64, f64)] = &[
    (0.0, 1.0),
    (0.1, 2.0),
    (0.25, 5.0),
    (0.4, 12.0),
    (0.5, 20.0),
    (0.6, 32.0),
    (0.75, 62.0),
    (0.83, 98.0),
    (0.9, 156.0),
    (0.95, 256.0),
    (0.985, 394.0),
    (1.0, 394.0),
];
const MIXED_LENGTHS: &[(f64, f64)] = &[
    (0.0, 1.0),
    (0.17, 1.0),
    (0.3, 2.0),
    (0.4, 3.3),
    (0.5, 5.0),
    (0.7, 9.0),
    (0.8, 12.0),
    (0.9, 16.0),
    (0.96, 23.0),
    (0.99, 33.0),
    (0.997, 60.0),
    (0.9985, 190.0),
    (1.0, 622.0),
];

/// The numbers of records of file after file.
#[derive(Debug)]
pub(super) struct Lengths {
    /// Where in the distribution the next file stands, 0 to 1.
    place: f64,
}

impl Lengths {
    pub(super) const fn starting_at(place: f64) -> Self {
        Self { place }
    }

    pub(super) fn next(&mut self, profile: Profile) -> usize {
        // Steps of the golden ratio visit the distribution evenly, so few files show its percentiles.
        self.place = (self.place + 0.618_033_988_749_895).fract();
        // Straight lines only: logarithms differ between machines in their last bits.
        let curve = match profile {
            Profile::Management => MANAGEMENT_LENGTHS,
            Profile::Mixed => MIXED_LENGTHS,
        };
        let pair = curve.windows(2).find(|pair| self.place <= pair[1].0);
        let Some(&[(from, low), (to, high)]) = pair else { return 1 };
        let share = if to > from { (self.place - from) / (to - from) } else { 0.0 };
        usize::try_from(whole(low + share * (high - low) + 0.5)).unwrap_or(1).max(1)
    }
}

/// Shares dealt evenly: a file is picked each time the sum of shares passes one.
#[derive(Debug, Default)]
pub(super) struct Shares {
    pub(super) late: f64,
    pub(super) duplicate: f64,
    pub(super) damaged: f64,
    pub(super) kind: f64,
    pub(super) rare: f64,
    pub(super) large: f64,
}

pub(super) fn falls(sum: &mut f64, share: f64) -> bool {
    *sum += share;
    if *sum >= 1.0 {
        *sum -= 1.0;
        return true;
    }
    false
}

/// Places dealt without replacement, so that shares come out as asked in a few thousand records.
#[derive(Debug, Default)]
pub(super) struct Deck {
    runs: Vec<Vec<usize>>,
    cards: Vec<usize>,
}

impl Deck {
    pub(super) fn new(runs: Vec<Vec<usize>>) -> Self {
        Self { runs, cards: Vec::new() }
    }

    pub(super) fn of(count: usize) -> Self {
        Self { runs: (0..count).map(|i| vec![i]).collect(), cards: Vec::new() }
    }

    pub(super) fn deal(&mut self, rng: &mut Xoshiro256PlusPlus) -> usize {
        if self.cards.is_empty() {
            for i in (1..self.runs.len()).rev() {
                self.runs.swap(i, below(rng, i + 1));
            }
            self.cards.extend(self.runs.iter().flatten());
        }
        self.cards.pop().unwrap_or(0)
    }
}

pub(super) fn below(rng: &mut Xoshiro256PlusPlus, count: usize) -> usize {
    let count = u64::try_from(count.max(1)).unwrap_or(1);
    usize::try_from(rng.next_u64() % count).unwrap_or(0)
}

pub(super) fn seconds(rng: &mut Xoshiro256PlusPlus, low: i64, high: i64) -> i64 {
    let width = u64::try_from(high - low + 1).unwrap_or(1).max(1);
    low + i64::try_from(rng.next_u64() % width).unwrap_or(0)
}

/// A number between 0 and 1 with 32 random bits.
pub(super) fn unit(rng: &mut Xoshiro256PlusPlus) -> f64 {
    f64::from(u32::try_from(rng.next_u64() >> 32).unwrap_or(0)) / f64::from(u32::MAX)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "callers give small numbers, and casts of floats saturate"
)]
pub(super) fn whole(number: f64) -> i64 {
    number as i64
}

/// A place below `count` for a number between 0 and 1.
pub(super) fn scaled(draw: f64, count: usize) -> usize {
    let wide = f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    usize::try_from(whole(draw * wide)).unwrap_or(0).min(count.saturating_sub(1))
}
