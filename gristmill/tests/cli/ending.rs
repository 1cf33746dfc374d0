//! A batch always ends, also when its aggregate cannot.

use crate::place::Place;

/// Every item is skipped, so that only the aggregate writes to the folder of the output.
const CONFIG: &str = r#"
[kind.aggregate]
max_attempts = 2
retry = { fixed = "10ms" }
[batch.sales]
source = { csv = "sales.csv" }
transform = "empty"
output = { jsonl = "out" }
on.halted = [{ email = { to = "oncall@example.com" } }]
on.settled = [{ email = { to = "ops@example.com" } }]
on.cancelled = [{ email = { to = "desk@example.com" } }]
"#;

fn place() -> Place {
    let place = Place::with_batch();
    place.write("config.toml", CONFIG);
    place
}

fn started(place: &Place) -> String {
    let started = place.json(0, &["batch", "run", "sales", "--json"]);
    started["batch"]["id"].as_str().expect("an id").to_owned()
}

/// Who gets an email of the batch.
fn recipients(place: &Place, id: &str) -> Vec<String> {
    let listed = place.json(0, &["job", "list", "--batch", id, "--kind", "email", "--json"]);
    let jobs = listed.as_array().expect("a list");
    let mut to: Vec<String> = jobs
        .iter()
        .map(|job| place.json(0, &["job", "show", job["id"].as_str().expect("an id"), "--json"]))
        .map(|shown| shown["payload"]["to"].as_str().expect("an address").to_owned())
        .collect();
    to.sort();
    to
}

#[test]
fn a_batch_whose_aggregate_dies_halts_with_the_reason_and_is_restarted() {
    let place = place();
    let id = started(&place);
    let out = place.write("out", "a file where the folder should be");
    let mut worker = place.command(&["worker"]).spawn().expect("started");
    let scheduler = place.command(&["scheduler"]).spawn();
    let halted = place.json(1, &["batch", "watch", &id, "--timeout", "240s", "--json"]);
    assert_eq!(halted["batch"]["state"], "halted");
    let reason = halted["batch"]["reason"].as_str().expect("a reason");
    assert!(reason.starts_with("its aggregate died: ") && reason.contains("out"), "{reason}");
    assert_eq!(recipients(&place, &id), ["oncall@example.com", "ops@example.com"]);
    let dead = place.json(0, &["dead", "list", "--json"]);
    assert_eq!((&dead[0]["kind"], &dead[0]["attempt"]), (&"aggregate".into(), &2.into()));
    let report = place.doctor(9, &[])["findings"].to_string();
    assert!(report.contains(&format!("that of batch {id} is dead")) && report.contains("batch restart"), "{report}");
    std::fs::remove_file(out).expect("removed");
    place.expect(0, &["batch", "restart", &id]);
    let ended = place.json(0, &["batch", "watch", &id, "--timeout", "240s", "--json"]);
    let _ = (worker.kill(), worker.wait(), scheduler.map(|mut scheduler| (scheduler.kill(), scheduler.wait())));
    assert_eq!((&ended["batch"]["state"], &ended["batch"]["generation"]), (&"complete".into(), &1.into()));
    assert_eq!(place.json(0, &["dead", "list", "--json"]).as_array().map(Vec::len), Some(0));
}

#[test]
fn a_batch_that_is_cancelled_says_so() {
    let place = place();
    let id = started(&place);
    place.expect(0, &["batch", "cancel", &id, "--reason", "wrong file"]);
    assert_eq!(recipients(&place, &id), ["desk@example.com"]);
}

#[test]
fn an_output_that_cannot_be_written_is_found_before_anything_starts() {
    let place = place();
    place.write("out", "a file where the folder should be");
    let checked = place.json(9, &["check", "--json"]);
    let problem = &checked["problems"][0];
    assert_eq!(problem["key"], "batch.sales.output");
    assert!(problem["message"].as_str().is_some_and(|text| text.contains("out` is a file")), "{problem}");
    let refused = place.run(&["batch", "run", "sales"]);
    assert!(!refused.status.success(), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("out` is a file"), "{refused:?}");
    assert_eq!(place.json(0, &["batch", "list", "--json"]).as_array().map(Vec::len), Some(0));
}

#[test]
fn a_table_that_is_not_there_is_found_before_anything_starts() {
    let place = place();
    place.write(
        "config.toml",
        &CONFIG.replace(r#"{ jsonl = "out" }"#, r#"{ sql = { table = "sold", columns = ["id"] } }"#),
    );
    let refused = place.run(&["batch", "run", "sales"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("output.sql") && said.contains("sold"), "{said}");
    assert_eq!(place.json(0, &["batch", "list", "--json"]).as_array().map(Vec::len), Some(0));
}

#[test]
fn what_means_nothing_for_an_aggregate_is_refused() {
    let place = place();
    place.write("config.toml", "[kind.aggregate]\nqueue = \"mail\"\npriority = \"low\"\n");
    let checked = place.json(9, &["check", "--json"]);
    let keys: Vec<_> = checked["problems"].as_array().expect("a list").iter().map(|one| one["key"].clone()).collect();
    assert_eq!(keys, ["kind.aggregate.queue", "kind.aggregate.priority"]);
}
