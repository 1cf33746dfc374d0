//! Random numbers from a seed: the same numbers for the same seed, on every machine.

use std::time::Duration;

/// The variable with the seed that repeats a run.
pub const SEED_VARIABLE: &str = "GRISTMILL_TEST_SEED";

/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014): small, and good enough
/// for choosing faults.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The sequence of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Another sequence, so that drawing from it changes nothing that is drawn from this one later.
    pub fn fork(&mut self) -> Self {
        Self(self.draw())
    }

    /// Any number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number from 0 to one less than `end`; 0 when `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.draw() % end }
    }

    /// A number from `from` to `to`, both included.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to.saturating_sub(from) + 1)
    }

    /// An index into something of this length; 0 when it is empty.
    pub fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap_or(0)
    }

    /// One of several.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.index(from.len())]
    }

    /// `true` once in so many times, on average.
    pub fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// `true` so often in a hundred times.
    pub fn percent(&mut self, of_hundred: u64) -> bool {
        self.below(100) < of_hundred
    }

    /// `true` so often in a thousand times.
    pub fn happens(&mut self, in_thousand: u64) -> bool {
        self.below(1_000) < in_thousand
    }

    /// A number of milliseconds from `from` to `to`, both included.
    pub fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.between(from, to))
    }
}

/// A number that looks like any other, and always the same one for the same argument.
pub fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// The seed of a test: the one that [`SEED_VARIABLE`] gives, or another in each run. It is printed as the assignment
/// that repeats the run; the test harness shows that when the test fails.
///
/// # Panics
///
/// When the variable holds no number.
#[expect(clippy::print_stdout, reason = "a test that fails shows what it printed, and with it the seed")]
pub fn seed() -> u64 {
    let given = std::env::var(SEED_VARIABLE).ok().filter(|text| !text.is_empty());
    let seed = match given {
        Some(text) => text.parse().unwrap_or_else(|_| panic!("{SEED_VARIABLE} is no number: {text}")),
        None => drawn(),
    };
    println!("{SEED_VARIABLE}={seed}");
    seed
}

/// The standard library seeds its hashers from the system, and differently each time.
fn drawn() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        let numbers = |seed| -> Vec<u64> {
            let mut random = Random::new(seed);
            (0..20).map(|_| random.between(3, 9)).collect()
        };
        assert_eq!(numbers(7), numbers(7));
        assert_ne!(numbers(7), numbers(8));
        assert!(numbers(7).iter().all(|number| (3..=9).contains(number)));
    }

    #[test]
    fn the_numbers_are_those_of_the_published_generator() {
        let mut random = Random::new(1_234_567);
        let expected = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!([random.draw(), random.draw(), random.draw()], expected);
    }

    #[test]
    fn a_fork_leaves_the_sequence_it_came_from_alone() {
        let (mut one, mut other) = (Random::new(5), Random::new(5));
        let mut fork = one.fork();
        let _ = other.fork();
        let _ = (fork.draw(), fork.draw());
        assert_eq!(one.draw(), other.draw());
    }

    #[test]
    fn of_nothing_the_first_is_taken() {
        let mut random = Random::new(1);
        assert_eq!((random.below(0), random.index(0)), (0, 0));
        assert!((0..50).all(|_| [1, 2, 3].contains(random.pick(&[1, 2, 3]))));
    }
}
