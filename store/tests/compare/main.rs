//! SQLite and PostgreSQL do what the model does: random sequences of operations, comparing the outcome of each, and at
//! the end everything that can be seen.
//!
//! No outcome depends on how fast anything is: leases, waits and deadlines are hours long, and time passes by a change
//! of rows, in both alike. `make compare SEQUENCES=n SEED=s` runs as many as desired; a difference is printed with the
//! seed that reproduces it, and with the shortest sequence found that shows it.

mod apply;
mod control;
mod limited;
mod look;
mod made;
mod noted;
mod operated;
mod operation;
mod planned;
mod pruned;
mod side;

use std::fmt::Write;

use gristmill_store::testing::TestStore;

use gristmill_testkit::Random;
use operation::Operation;
use side::{Pair, Side};

/// Number of sequences in an ordinary run of the tests.
const SQLITE: u64 = 100;
const POSTGRES: u64 = 40;

/// The seed of an ordinary run: always the same, so that it fails because of a change and never by chance.
const SEED: u64 = 1;

#[tokio::test]
async fn sqlite_does_what_the_model_does() {
    compare("sqlite", TestStore::sqlite(true).await, SQLITE).await;
}

#[tokio::test]
async fn postgres_does_what_the_model_does() {
    compare("postgres", TestStore::postgres(true).await, POSTGRES).await;
}

/// Two sequences of one seed are the same, and the model shows no difference from itself.
#[tokio::test]
async fn the_model_does_what_the_model_does() {
    compare("reference", TestStore::reference(true), 20).await;
}

/// A number from the environment.
fn given(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number; write one such as 10000")))
}

async fn compare(name: &str, store: TestStore, ordinary: u64) {
    let sequences = given("GRISTMILL_TEST_SEQUENCES").unwrap_or(ordinary);
    let first = given("GRISTMILL_TEST_SEED").unwrap_or(SEED);
    let began = tokio::time::Instant::now();
    let real = Side::new(store);
    let mut operations = 0;
    for seed in first..first.saturating_add(sequences) {
        let sequence = operation::sequence(&mut Random::new(seed));
        operations += sequence.len();
        if let Err(difference) = run(&real, &sequence).await {
            let (shortest, difference) = shrink(&real, sequence, difference).await;
            panic!("{}", told(name, seed, &shortest, &difference));
        }
    }
    let seconds = began.elapsed().as_secs();
    #[expect(clippy::print_stdout, reason = "the figures that the command is run for")]
    {
        println!(
            "compare {name}: {sequences} sequences, {operations} operations, 0 differences, seeds from {first}, {seconds} s"
        );
    }
}

/// Runs a sequence on the emptied store and on a new model; returns the first difference.
async fn run(real: &Side, sequence: &[Operation]) -> Result<(), String> {
    real.empty().await;
    let model = Side::new(TestStore::reference(true));
    let mut pair = Pair::new(&model, real);
    for (number, operation) in sequence.iter().enumerate() {
        let (expected, found) = apply::both(&mut pair, operation).await;
        if expected != found {
            return Err(format!("operation {number}\n  the model says {expected}\n  the store says {found}"));
        }
    }
    let (expected, found) = (look::at(&pair, &model).await, look::at(&pair, real).await);
    match expected.iter().zip(&found).find(|(expected, found)| expected != found) {
        Some((expected, found)) => {
            Err(format!("what can be seen at the end\n  the model shows {expected}\n  the store shows {found}"))
        }
        None if expected.len() != found.len() => {
            let (expected, found) = (expected.len(), found.len());
            Err(format!("what can be seen at the end: {expected} things in the model, {found} in the store"))
        }
        None => Ok(()),
    }
}

/// Leaves out whatever can be left out while a difference remains.
async fn shrink(real: &Side, mut sequence: Vec<Operation>, mut difference: String) -> (Vec<Operation>, String) {
    let mut size = sequence.len() / 2;
    while size > 0 {
        let mut from = 0;
        while from < sequence.len() {
            let mut shorter = sequence.clone();
            shorter.drain(from..(from + size).min(sequence.len()));
            match run(real, &shorter).await {
                Err(still) => (sequence, difference) = (shorter, still),
                Ok(()) => from += size,
            }
        }
        size /= 2;
    }
    (sequence, difference)
}

fn told(name: &str, seed: u64, sequence: &[Operation], difference: &str) -> String {
    let mut text = format!("{name} does not do what the model does: make compare SEQUENCES=1 SEED={seed}\n");
    for (number, operation) in sequence.iter().enumerate() {
        let _ = writeln!(text, "  {number}: {operation:?}");
    }
    text + difference
}
