//! A batch from its input to its result, by the program that people run, on everything it runs on.

use std::collections::BTreeMap;
use std::path::Path;

use gristmill_tests::orders::{self, Expected, ten_thousandths};
use gristmill_tests::place::{On, Place};
use gristmill_tests::program::{Program, Running};
use serde_json::Value;

/// Compares what the program says with what the oracle says.
fn agree(document: &Value, expected: &Expected) {
    let (batch, result) = (&document["batch"], &document["result"]);
    let count =
        |name: &str| batch["counts"][name].as_u64().unwrap_or_else(|| panic!("no count `{name}` in {document:#}"));
    assert_eq!(batch["state"], "complete", "{document:#}");
    assert_eq!(count("input"), expected.input);
    assert_eq!(count("ok"), expected.ok);
    assert_eq!(count("quarantined"), expected.quarantined());
    assert_eq!((count("skipped"), count("cancelled"), count("pending")), (0, 0, 0));
    assert_eq!(result["rows"].as_u64(), Some(expected.ok));
    assert_eq!(ten_thousandths(result["revenue"].as_str().expect("money is a text")), expected.revenue);
    if !expected.by_country.is_empty() {
        let by_country: BTreeMap<String, i128> = result["by_country"]
            .as_object()
            .expect("groups are an object")
            .iter()
            .map(|(country, sum)| (country.clone(), ten_thousandths(sum.as_str().expect("money is a text"))))
            .collect();
        assert_eq!(by_country, expected.by_country);
    }
}

fn workers(program: &Program<'_>, count: usize) -> Vec<Running> {
    let mut all = vec![program.start(&["scheduler"])];
    all.extend((0..count).map(|_| program.start(&["worker"])));
    program.until(&["worker", "list"], |list| {
        list.as_array().is_some_and(|rows| rows.iter().filter(|row| row["state"] == "alive").count() > count)
    });
    all
}

fn run(program: &Program<'_>, input: &Path, chunk: &str) -> Value {
    let input = input.display().to_string();
    program.json(&["batch", "run", "retail", "--input", &input, "--chunk", chunk, "--wait"])
}

#[test]
fn on_one_machine_with_nothing_installed_every_chunk_size_gives_the_oracles_result() {
    for (chunk, rows) in [("1", 300), ("7", 2_000), ("500", 5_000)] {
        let place = Place::new(On::Sqlite);
        let input = place.file("orders.csv");
        let expected = orders::write(&input, rows, 1);
        agree(&run(&Program::retail(&place), &input, chunk), &expected);
    }
}

#[test]
fn on_postgresql_alone_one_two_and_four_workers_give_the_oracles_result() {
    for count in [1, 2, 4] {
        let place = Place::new(On::Postgres);
        let input = place.file("orders.csv");
        let expected = orders::write(&input, 3_000, 2);
        let program = Program::retail(&place);
        let _workers = workers(&program, count);
        agree(&run(&program, &input, "50"), &expected);
    }
}

#[test]
fn on_postgresql_and_rabbitmq_one_two_and_four_workers_give_the_oracles_result() {
    for count in [1, 2, 4] {
        let place = Place::new(On::PostgresAndRabbit);
        let input = place.file("orders.csv");
        let expected = orders::write(&input, 3_000, 3);
        let program = Program::retail(&place);
        let _workers = workers(&program, count);
        agree(&run(&program, &input, "50"), &expected);
    }
}

#[test]
fn the_invoices_of_a_real_retailer_give_the_known_revenue_everywhere() {
    let Some((input, expected)) = orders::real() else {
        // The generated invoices above say the same; the real ones are not part of the project.
        return;
    };
    for on in [On::Sqlite, On::Postgres, On::PostgresAndRabbit] {
        let place = Place::new(on);
        agree(&run(&Program::retail(&place), &input, "500"), &expected);
    }
}

#[test]
fn a_job_enqueued_by_one_process_is_done_by_another() {
    for on in [On::Sqlite, On::PostgresAndRabbit] {
        let place = Place::new(on);
        let program = Program::retail(&place);
        let _worker = if on == On::Sqlite { vec![program.start(&["worker"])] } else { workers(&program, 1) };
        let payload = r#"{"command": ["cat"], "input": {"hello": "world"}}"#;
        let job = program.json(&["enqueue", "exec", "--payload", payload]);
        let id = job["job"]["id"].as_str().expect("an id").to_owned();
        let done = program.until(&["job", "show", &id], |job| job["state"] == "done" || job["state"] == "dead");
        assert_eq!(done["state"], "done", "{done:#}");
    }
}
