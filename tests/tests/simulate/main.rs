//! The whole core in one process, on one thread, in paused time: thousands of lives with everything
//! that goes wrong, each decided by one number.
//!
//! Real are the worker's loop, the scheduler's duties, the dispatcher, `settle` and the aggregate;
//! simulated are the store (the reference store, which a suite of its own compares with the
//! databases), the broker, the clock and the handlers. One seed is one run, the same every time.
//!
//! * [`plan`]: what a seed means. [`nemesis`]: what goes wrong. [`people`]: who wants what.
//! * [`events`]: who publishes events, who hears them, and what must have been heard.
//! * [`duties`]: the processes. [`hands`]: their handlers. [`faulty`]: the store as they see it.
//! * [`history`]: what happened. [`oracle`]: what should have.
//!
//! `GRISTMILL_SIMULATE_SEEDS` says how many seeds are run, `GRISTMILL_SIMULATE_SEED` which is the
//! first; with only one its whole history is printed.

mod actors;
mod duties;
mod events;
mod faulty;
mod figures;
mod history;
mod items;
mod nemesis;
mod oracle;
mod people;
mod plan;
mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gristmill_store::reference::Clause;
use gristmill_testkit::random::{Random, mix};

use duties::Role;
use figures::Figures;
use plan::{Case, Mutant, Story};
use world::World;

/// How many seeds an ordinary test run takes.
const SEEDS: u64 = 2_000;

/// So many seeds must be enough to catch a mutant.
const TEETH: u64 = 50;

/// What came of one run.
#[derive(Debug)]
struct Outcome {
    figures: Figures,
    hash: u64,
    violations: Vec<String>,
    lines: Vec<String>,
}

/// One run, from its first to its last moment.
fn simulate(case: Case) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime without a network").block_on(run(case))
}

async fn run(case: Case) -> Outcome {
    let began = tokio::time::Instant::now();
    let mut random = Random::new(mix(case.seed));
    let world = World::new(case, &mut random);
    for slot in 1..=world.plan.schedulers {
        tokio::spawn(duties::lives(Arc::clone(&world), Role::Scheduler, slot, random.fork()));
    }
    for slot in 1..=world.plan.workers {
        tokio::spawn(duties::lives(Arc::clone(&world), Role::Worker, slot, random.fork()));
    }
    let mut wanted = Vec::new();
    for number in 1..=world.plan.batches {
        wanted.push(tokio::spawn(people::start_batch(Arc::clone(&world), number, random.fork())));
    }
    wanted.push(tokio::spawn(people::enqueue(Arc::clone(&world), random.fork())));
    if world.plan.events {
        events::subscribe(&world).await;
        wanted.push(tokio::spawn(events::publish(Arc::clone(&world), random.fork())));
    }
    if world.plan.operator {
        tokio::spawn(people::operate(Arc::clone(&world), random.fork()));
    }
    let watched = Arc::clone(&world);
    tokio::spawn(async move { oracle::watch(&watched).await });
    let blow = nemesis::rage(&world, random.fork()).await;
    world.calm_down();
    for wish in wanted {
        if wish.await.is_err() {
            world.violation("somebody who wanted something broke".to_owned());
        }
    }
    oracle::until_quiet(&world).await;
    oracle::judge(&world, blow.as_ref()).await;
    if world.plan.events {
        events::judge(&world).await;
    }
    outcome(&world, began)
}

fn outcome(world: &World, began: tokio::time::Instant) -> Outcome {
    let tally = world.broker.tally();
    world.history(|history| Outcome {
        figures: Figures {
            seeds: 1,
            events: history.events,
            lost: tally.lost,
            doubled: tally.doubled,
            poison: tally.poison,
            virtual_seconds: began.elapsed().as_secs(),
            violations: history.violations.len() as u64,
            ..world.figures()
        },
        hash: history.hash(),
        violations: history.violations.clone(),
        lines: history.lines.take().unwrap_or_default(),
    })
}

/// A number from the environment.
fn asked(name: &str, otherwise: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) if !text.is_empty() => {
            text.parse().unwrap_or_else(|_| panic!("{name} is `{text}`; write a whole number"))
        }
        Ok(_) | Err(_) => otherwise,
    }
}

/// Runs seeds on two threads, each of them on one alone, and gives the figures and the first few failures.
fn campaign(first: u64, seeds: u64, case: impl Fn(u64) -> Case + Sync) -> (Figures, Vec<(u64, Vec<String>)>) {
    let next = AtomicU64::new(first);
    let part = || {
        let (mut figures, mut failed) = (Figures::default(), Vec::new());
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + seeds {
                return (figures, failed);
            }
            let outcome = simulate(case(seed));
            figures += outcome.figures;
            if !outcome.violations.is_empty() {
                failed.push((seed, outcome.violations));
            }
        }
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(part);
        let (mut figures, mut failed) = part();
        let (more, and) = other.join().expect("the other half of the campaign");
        figures += more;
        failed.extend(and);
        failed.sort();
        (figures, failed)
    })
}

fn said(failed: &[(u64, Vec<String>)]) -> String {
    let one = |(seed, violations): &(u64, Vec<String>)| {
        format!("seed {seed} (again: make simulate SEEDS=1 SEED={seed}):\n  {}", violations.join("\n  "))
    };
    failed.iter().take(5).map(one).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_seed_keeps_every_promise() {
    let (first, seeds) = (asked("GRISTMILL_SIMULATE_SEED", 1), asked("GRISTMILL_SIMULATE_SEEDS", SEEDS));
    if seeds == 1 {
        let outcome = simulate(Case { told: true, ..Case::of(first) });
        println!("{}\n{}", outcome.lines.join("\n"), outcome.figures);
        assert!(outcome.violations.is_empty(), "{}", said(&[(first, outcome.violations)]));
        return;
    }
    let (figures, failed) = campaign(first, seeds, Case::of);
    println!("{figures}");
    assert!(failed.is_empty(), "{} of {seeds} seeds fail\n{}", failed.len(), said(&failed));
}

#[test]
fn the_same_seed_gives_the_same_history() {
    for seed in 1..=40 {
        let told = || simulate(Case { told: true, ..Case::of(seed) });
        let (first, second) = (told(), told());
        let differs = first.lines.iter().zip(&second.lines).position(|(one, other)| one != other);
        assert!(
            differs.is_none() && first.hash == second.hash,
            "seed {seed} differs from line {differs:?} on:\n{:?}\n{:?}",
            differs.map(|line| &first.lines[line.saturating_sub(5)..=line]),
            differs.map(|line| &second.lines[line.saturating_sub(5)..=line]),
        );
    }
}

/// The first seed that notices that something was taken away.
fn caught(mutant: Mutant, story: Story) -> u64 {
    let notices = |seed: &u64| {
        let case = Case { seed: *seed, story, mutant: Some(mutant), told: false };
        !simulate(case).violations.is_empty()
    };
    (1..=TEETH).find(notices).unwrap_or_else(|| panic!("{mutant:?} is not noticed in {TEETH} seeds"))
}

#[test]
fn every_clause_that_is_taken_away_is_noticed() {
    // That an incarnation which is over claims nothing is a second line of defence: the next rescue takes the job back,
    // and its fence holds. It costs time alone, and no seed notices that it is gone.
    for clause in Clause::ALL.into_iter().filter(|clause| *clause != Clause::ClaimerIsAlive) {
        // In a storm it may be right to claim a job that somebody still runs.
        let story = if clause == Clause::ClaimOnce { Story::Kill } else { Story::Storm };
        println!("without {clause:?}: noticed by seed {}", caught(Mutant::Without(clause), story));
    }
}

#[test]
fn a_message_acknowledged_before_its_claim_is_noticed() {
    println!("noticed by seed {}", caught(Mutant::AckBeforeTheClaim, Story::Kill));
}

#[test]
fn an_outbox_that_does_not_wait_for_confirms_is_noticed() {
    println!("noticed by seed {}", caught(Mutant::NoConfirms, Story::Storm));
}

#[test]
fn a_duty_that_nobody_does_is_noticed() {
    for mutant in [Mutant::NoProbe, Mutant::NoRescue, Mutant::NoRelay, Mutant::NoReturned] {
        println!("{mutant:?}: noticed by seed {}", caught(mutant, Story::Storm));
    }
}

#[test]
fn a_backlog_is_worked_off_although_workers_die_and_never_floods_the_broker() {
    for seed in 1..=3 {
        let outcome = simulate(Case { story: Story::Backlog, ..Case::of(seed) });
        assert!(outcome.violations.is_empty(), "seed {seed}: {:?}", outcome.violations);
    }
}
