//! Runs that something else starts than the clock, from outside: after another batch.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::place::Place;

/// How long anything may take before the test gives up on it.
const PATIENCE: Duration = Duration::from_secs(180);

/// A process at work, ended with the test.
pub(crate) struct Dev(Child);

impl Dev {
    pub(crate) fn begin(place: &Place, args: &[&str]) -> Self {
        Self(place.command(args).stderr(Stdio::null()).spawn().expect("started"))
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asks until something holds.
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "{what} did not come true");
        // Asking without a breath would slow down what is waited for.
        std::thread::park_timeout(Duration::from_millis(200));
    }
}

/// What a schedule's ledger has, the newest first.
fn ledger(place: &Place, name: &str) -> Vec<Value> {
    let output = place.run(&["schedule", "show", name, "--json"]);
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    shown["last"].as_array().cloned().unwrap_or_default()
}

#[test]
fn a_batch_starts_when_another_has_ended_and_knows_which() {
    let place = Place::with_batch();
    let config = std::fs::read_to_string(place.path().join("config.toml")).expect("readable");
    let more = r#"
[batch.totals]
source = { csv = "sales.csv" }
tolerate = "100%"
output = { jsonl = "totals-{{ event.generation }}" }
on.late = [{ email = { to = "ops@example.com" } }]

[schedule.totals]
after = "sales"
batch = "totals"
late_after = "1h"
"#;
    place.write("config.toml", &format!("{config}{more}"));
    let next = place.json(0, &["schedule", "next", "totals", "--json"]);
    assert_eq!((&next["description"], &next["next"]), (&"after sales".into(), &Value::Array(Vec::new())));
    let _dev = Dev::begin(&place, &["dev"]);
    let seen = || {
        let list = place.json(0, &["schedule", "list", "--json"]);
        (list[0]["state"] == "enabled").then_some(())
    };
    until("the scheduler has seen it", seen);
    let first = place.json(0, &["batch", "run", "sales", "--json"]);
    let first = first["batch"]["id"].as_str().or(first["id"].as_str()).expect("an id").to_owned();
    let row = until("the second batch has run", || {
        ledger(&place, "totals").into_iter().find(|row| row["result"] == "complete")
    });
    assert_eq!((&row["about"]["batch"], &row["about"]["state"]), (&first.as_str().into(), &"complete".into()), "{row}");
    assert!(place.path().join("totals-0").is_dir(), "its output knows what it followed");
    assert_eq!(ledger(&place, "totals").len(), 1, "once");
    let shown = place.expect(0, &["schedule", "show", "totals"]);
    assert!(shown.contains("after sales"), "{shown}");
    let slot = row["tick"].as_str().expect("a tick");
    place.expect(5, &["schedule", "run", "totals", "--slot", slot]);
    place.expect(2, &["schedule", "create", "round", "--after", "sales", "--batch", "sales"]);
    place.expect(3, &["schedule", "create", "none", "--after", "sale", "--batch", "sales"]);
    let made =
        ["schedule", "create", "more", "--after", "totals", "--ending", "settled", "--batch", "sales", "--dry-run"];
    place.expect(0, &made);
}
