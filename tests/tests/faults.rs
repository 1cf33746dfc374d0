//! A batch from its input to its result, while processes are killed.

use gristmill_tests::orders::{self, Expected, ten_thousandths};
use gristmill_tests::place::{On, Place};
use gristmill_tests::program::Program;
use serde_json::Value;

/// Waits until the only batch has some chunks done, but not all.
fn until_halfway(program: &Program<'_>) -> String {
    let batches = program.until(&["batch", "list"], |batches| {
        let done = batches[0]["counts"]["ok"].as_u64().unwrap_or(0);
        done > 0 || batches[0]["state"] == "complete"
    });
    batches[0]["id"].as_str().expect("a batch has an id").to_owned()
}

fn until_complete(program: &Program<'_>, batch: &str, expected: &Expected) {
    let shown = program.until(&["batch", "show", batch], |shown| shown["batch"]["state"] == "complete");
    let (batch, result) = (&shown["batch"], &shown["result"]);
    assert_eq!(batch["counts"]["input"].as_u64(), Some(expected.input));
    assert_eq!(batch["counts"]["ok"].as_u64(), Some(expected.ok));
    assert_eq!(batch["counts"]["quarantined"].as_u64(), Some(expected.quarantined()));
    assert_eq!(ten_thousandths(result["revenue"].as_str().expect("money is a text")), expected.revenue);
}

/// Whoever is killed must have had something left to do: else the test shows nothing.
fn was_not_through(program: &Program<'_>, batch: &str) {
    let shown = program.json(&["batch", "show", batch]);
    assert_eq!(shown["batch"]["state"], "sealed", "it was killed too late: {shown:#}");
}

/// Exactly one report, however often anything was killed.
fn one_report(program: &Program<'_>, place: &Place) {
    program.until(&["job", "list", "--kind", "email"], |jobs| {
        jobs.as_array().is_some_and(|jobs| !jobs.is_empty() && jobs.iter().all(|job| job["state"] == "done"))
    });
    assert_eq!(emails(place), 1);
}

fn emails(place: &Place) -> usize {
    std::fs::read_dir(place.file("retail/mail")).map_or(0, |folder| {
        folder.flatten().filter(|entry| entry.path().extension().is_some_and(|extension| extension == "eml")).count()
    })
}

#[test]
fn a_worker_that_is_killed_in_the_middle_costs_nothing_but_time() {
    for on in [On::Postgres, On::PostgresAndRabbit] {
        let place = Place::new(on);
        let input = place.file("orders.csv");
        let expected = orders::write(&input, 20_000, 5);
        let program = Program::retail(&place);
        let _scheduler = program.start(&["scheduler"]);
        let mut doomed = program.start(&["worker"]);
        let input = input.display().to_string();
        let _: Value = program.json(&["batch", "run", "retail", "--input", &input, "--chunk", "50"]);
        let batch = until_halfway(&program);
        doomed.kill();
        was_not_through(&program, &batch);
        let _heir = program.start(&["worker"]);
        until_complete(&program, &batch, &expected);
        one_report(&program, &place);
    }
}

#[test]
fn on_one_machine_a_killed_program_goes_on_where_it_stopped() {
    let place = Place::new(On::Sqlite);
    let input = place.file("orders.csv");
    let expected = orders::write(&input, 20_000, 6);
    let program = Program::retail(&place);
    let input = input.display().to_string();
    let mut doomed = program.start(&["batch", "run", "retail", "--input", &input, "--chunk", "50", "--wait"]);
    let batch = until_halfway(&program);
    doomed.kill();
    was_not_through(&program, &batch);
    let _heir = program.start(&["worker"]);
    until_complete(&program, &batch, &expected);
    one_report(&program, &place);
}
