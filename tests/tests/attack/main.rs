//! What an attacker does who reaches us from outside: over connections, through folders, with names, texts and mail.
//! Everything stays on the loopback and in the test's own folder.
//!
//! The ordinary run makes a small share of each; `make attack RUNS=n SEED=s` as many as it is told. What is timed
//! against real processes does not interleave twice in the same way: a seed may have to be run a few times.

mod folders;
mod listeners;
mod mail;
mod names;
mod texts;

use gristmill_testkit::Random;

/// How many attacks are made: `ordinary` ones, or those that the command asks for, of what takes longer its share.
fn runs(ordinary: u64, share: u64) -> u64 {
    given("GRISTMILL_TEST_ATTACK_RUNS").map_or(ordinary, |runs| runs.div_ceil(share))
}

fn seed() -> u64 {
    given("GRISTMILL_TEST_ATTACK_SEED").unwrap_or(1)
}

fn given(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// Makes so many attacks, each with a seed of its own, by which it is repeated without those before it.
fn attack(name: &str, runs: u64, one: impl Fn(&mut Random) -> Result<(), String>) {
    for run in 0..runs {
        let seed = seed().wrapping_add(run);
        if let Err(wrong) = one(&mut Random::new(seed)) {
            panic!("{name}: make attack RUNS=1 SEED={seed}: {wrong}");
        }
    }
    held(name, &format!("{runs} attacks from seed {}", seed()));
}

/// Says what was attacked and held.
#[expect(clippy::print_stdout, reason = "the harness keeps it, but for `make attack`, whose figures it is")]
fn held(name: &str, figures: &str) {
    println!("attack: {name}: {figures}");
}
