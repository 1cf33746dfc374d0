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
    let expected = orders::write(&input, 80_000, 6);
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

/// A program for items that kills the worker which has started it, whenever it is given the culprit.
const POISON: &str = r#"
while read -r line; do
    case "$line" in
        *culprit*) kill -9 "$PPID"; exit 1 ;;
        *) printf '{"ok": {}}\n' ;;
    esac
done
"#;

const POISONED: &str = r#"
[worker]
slots = 1

[scheduler]
rescue = "100ms"

[batch.mine]
source = { csv = "items.csv" }
chunk = 8
tolerate = 8
max_attempts = 1
retry = { fixed = "100ms" }
process = { exec = { command = ["sh", "poison.sh"] } }
aggregate = { rows = "count" }
"#;

#[test]
fn an_item_that_kills_its_workers_is_set_aside_and_the_rest_goes_through() {
    let place = Place::new(On::Postgres);
    std::fs::write(place.file("poison.sh"), POISON).expect("written");
    std::fs::write(place.file("config.toml"), POISONED).expect("written");
    let names = (1..=16).map(|n| if n == 6 { "culprit".to_owned() } else { format!("item{n}") });
    let items = names.fold("name\n".to_owned(), |text, name| format!("{text}{name}\n"));
    std::fs::write(place.file("items.csv"), items).expect("written");
    let program = Program::with_config(&place, place.file("config.toml"));
    let _scheduler = program.start(&["scheduler"]);
    let _: Value = program.json(&["batch", "run", "mine"]);
    let batches = program.json(&["batch", "list"]);
    let batch = batches[0]["id"].as_str().expect("a batch has an id").to_owned();
    // Whoever starts the next worker does so as long as the batch goes on: as a service manager would.
    let mut deaths = 0;
    let shown = loop {
        let worker = program.start(&["worker"]);
        let shown = program
            .until(&["batch", "show", &batch], |shown| shown["batch"]["finished_at"].is_string() || !worker.alive());
        if shown["batch"]["finished_at"].is_string() {
            break shown;
        }
        deaths += 1;
        assert!(deaths < 20, "workers die for ever: {shown:#}");
    };
    // One attempt of the whole, one loss for each of the halves of 4 and 2, one of the item alone.
    assert_eq!(deaths, 4);
    assert_eq!(shown["batch"]["state"], "complete", "{shown:#}");
    // What was done and not yet written down when the process died was lost with it, and with one attempt counts as
    // suspect, too: at most one neighbour at each death.
    let counts = &shown["batch"]["counts"];
    let (ok, quarantined) = (counts["ok"].as_u64().unwrap_or(0), counts["quarantined"].as_u64().unwrap_or(0));
    assert!(ok + quarantined == 16 && (1..=5).contains(&quarantined), "{shown:#}");
    assert_eq!(shown["result"]["rows"], ok);
    let items = program.json(&["quarantine", "list", "--batch", &batch]);
    let found = items.as_array().and_then(|items| items.iter().find(|item| item["item"]["name"] == "culprit"));
    let culprit = found.expect("the culprit is in quarantine");
    assert_eq!(culprit["line"], 7);
    let reason = culprit["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("its worker died 1 times"), "{reason}");
}
