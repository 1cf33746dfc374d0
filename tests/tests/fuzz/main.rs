//! Hostile input for everything that reads what somebody else wrote: valid input that is mutated, and garbage, from a
//! seed that is printed.
//!
//! The ordinary run makes a small share of each; `make fuzz RUNS=n SEED=s` as many as it is told, and of what takes
//! longer its share of that.

mod config;
mod decoder;
mod definitions;
mod exec;
mod filters;
mod json;
mod mutator;
mod patches;
mod queries;
mod reports;
mod schedules;
mod sources;
mod words;

use std::panic::{AssertUnwindSafe, catch_unwind};

use gristmill_testkit::Random;

/// What is fed, and how much of it.
struct Target {
    name: &'static str,
    /// Runs of an ordinary test.
    ordinary: u64,
    /// One of so many of the runs that the command asks for.
    share: u64,
}

impl Target {
    /// Feeds it. `Ok(true)` is input that was accepted, `Ok(false)` one that was refused in words; anything else is
    /// told with the seed that brings it back.
    #[expect(clippy::print_stdout, reason = "the harness keeps it, but for `make fuzz`, whose figures it is")]
    fn feed(&self, work: impl Fn(&mut Random) -> Result<bool, String>) {
        let runs = given("GRISTMILL_TEST_FUZZ_RUNS").map_or(self.ordinary, |runs| runs.div_ceil(self.share));
        let seed = given("GRISTMILL_TEST_FUZZ_SEED").unwrap_or(1);
        let (mut accepted, mut refused) = (0_u64, 0_u64);
        for run in 0..runs {
            // Each run has a seed of its own, so that one is repeated without those before it.
            let seed = seed.wrapping_add(run);
            let outcome = catch_unwind(AssertUnwindSafe(|| work(&mut Random::new(seed))));
            match outcome.unwrap_or_else(|_| Err("it panicked".to_owned())) {
                Ok(true) => accepted += 1,
                Ok(false) => refused += 1,
                Err(wrong) => panic!("{}: make fuzz RUNS=1 SEED={seed}: {wrong}", self.name),
            }
        }
        let name = self.name;
        println!("fuzz: {name} {runs} runs from seed {seed}, {accepted} accepted, {refused} refused");
        let few = runs / 100;
        assert!(runs < 1_000 || (accepted > few && refused > few), "{name}: {accepted} and {refused}: too one-sided");
    }
}

fn given(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// Of an error that is for people: it must say something.
fn in_words(error: &impl std::fmt::Display) -> Result<bool, String> {
    match error.to_string().trim() {
        "" => Err("it is refused without a word".to_owned()),
        _ => Ok(false),
    }
}
