//! Dice with a seed: the same throws for the same seed, on every machine.

use std::time::Duration;

/// SplitMix64 (Steele, Lea and Flood, 2014): small, and good enough for choosing faults.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Dice that fall in an order of their own for each seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Other dice, so that what is thrown with them moves nobody else's throws.
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

    /// Whether something happens that happens so often in a thousand.
    pub fn happens(&mut self, in_thousand: u64) -> bool {
        self.below(1_000) < in_thousand
    }

    /// So many milliseconds.
    pub fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.between(from, to))
    }
}

/// A number that looks like any other, always the same for the same one.
pub fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_throws() {
        let throws = |seed| -> Vec<u64> {
            let mut random = Random::new(seed);
            (0..20).map(|_| random.between(3, 9)).collect()
        };
        assert_eq!(throws(7), throws(7));
        assert_ne!(throws(7), throws(8));
        assert!(throws(7).iter().all(|throw| (3..=9).contains(throw)));
    }
}
