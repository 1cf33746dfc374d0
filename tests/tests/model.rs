//! The exhaustive model: no state that can be reached is wrong, none is stuck, and no clause can be spared.
//!
//! The ordinary run explores small bounds; with `GRISTMILL_TEST_MODEL=full`, which `make model` sets, it explores
//! millions of states: 1, 2 or 3 instead of `full` takes only the first, second or third of the full bounds.

use gristmill_tests::model::{Bounds, Clause, Figures, Found, explore};

/// What must be reached within the full bounds, for the figure to mean something.
const STATES_FULL: usize = 5_000_000;

fn described(found: Option<&Found>) -> String {
    found.map_or_else(String::new, |found| format!("{}\n  {}", found.what, found.way.join("\n  ")))
}

fn assert_sound(figures: &Figures) {
    assert!(figures.violation.is_none(), "violated: {}", described(figures.violation.as_ref()));
    assert_eq!(figures.stuck, 0, "stuck: {}", described(figures.stuck_at.as_ref()));
    assert!(figures.ends > 0, "no good end was reached at all");
}

/// The bounds that are asked for, and how many states they must have at least.
fn wanted() -> (Vec<Bounds>, usize) {
    let full = Bounds::full();
    match std::env::var("GRISTMILL_TEST_MODEL").as_deref() {
        Err(_) => (vec![Bounds::small()], 50_000),
        Ok("full") => (full.to_vec(), STATES_FULL),
        Ok(number) => {
            let one = number.parse::<usize>().ok().and_then(|number| full.get(number.checked_sub(1)?).cloned());
            let one =
                one.unwrap_or_else(|| panic!("GRISTMILL_TEST_MODEL={number}: neither `full` nor 1 to {}", full.len()));
            (vec![one], STATES_FULL)
        }
    }
}

#[test]
fn nothing_that_can_be_reached_is_wrong_and_nothing_is_stuck() {
    let (wanted, least) = wanted();
    let (mut states, mut steps, mut depth) = (0, 0, 0);
    for bounds in wanted {
        let figures = explore(&bounds, None);
        assert_sound(&figures);
        println!("model: with {} chunks and any {} mishaps {} states", bounds.chunks, bounds.mishaps, figures.states);
        states += figures.states;
        steps += figures.steps;
        depth = depth.max(figures.depth);
    }
    assert!(states >= least, "only {states} states: the bounds allow too little to mean anything");
    println!("model: {states} states, {steps} steps, {depth} deep: 0 violations, 0 stuck");
}

#[test]
fn no_clause_can_be_taken_away() {
    for clause in Clause::ALL {
        let bounds = Bounds::without(clause);
        // With it, what these bounds allow is sound: it is the clause that is missed.
        assert_sound(&explore(&bounds, None));
        let figures = explore(&bounds, Some(clause));
        let found = figures.found();
        assert!(found.is_some(), "without {clause:?} nothing was found in {} states", figures.states);
        println!("model: without {clause:?}: {}", found.map_or("", |found| &found.what));
    }
    println!("model: {} of {} removals caught", Clause::ALL.len(), Clause::ALL.len());
}
