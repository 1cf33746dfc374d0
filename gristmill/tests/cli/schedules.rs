//! `gristmill schedule`, from outside.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::place::Place;

/// How long anything may take before the test gives up on it.
const PATIENCE: Duration = Duration::from_secs(180);

const SCHEDULES: &str = r#"
[exec]
programs = ["/bin/true"]

[schedule.nightly]
cron = "30 1 * * *"
timezone = "Europe/London"
batch = "sales"
owner = "ops"

[schedule.ping]
every = "1h"
job = { kind = "exec", payload = { command = ["true"] } }
"#;

fn place() -> Place {
    let place = Place::with_batch();
    let config = std::fs::read_to_string(place.path().join("config.toml")).expect("readable");
    place.write("config.toml", &format!("{config}{SCHEDULES}"));
    place
}

#[test]
fn the_next_ticks_need_no_store_and_show_what_the_clocks_do() {
    let place = place();
    let args = ["schedule", "next", "nightly", "--from", "2026-03-28", "-n", "3", "--json"];
    let next = place.json(0, &args);
    assert_eq!(next["timezone"], "Europe/London");
    assert_eq!(next["description"], "at 01:30 every day, by the clock of Europe/London");
    let ticks: Vec<&str> = next["next"].as_array().expect("a list").iter().filter_map(|t| t["tick"].as_str()).collect();
    assert_eq!(ticks, ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]);
    assert!(next["next"][1]["note"].as_str().is_some_and(|note| note.contains("clocks go forward")), "{next}");
    assert!(!place.path().join("gristmill.db").exists(), "no store was needed");
    let error = place.json(3, &["schedule", "next", "nightli", "--json"]);
    assert_eq!(error["error"]["hint"], "did you mean `nightly`?");
    place.expect(2, &["schedule", "next", "nightly", "--from", "soon"]);
}

#[test]
fn a_schedule_is_made_edited_switched_and_deleted_by_command() {
    let place = place();
    let create = ["schedule", "create", "weekly", "--cron", "0 6 * * MON", "--batch", "sales", "--json"];
    let mut dry = create.to_vec();
    dry.push("--dry-run");
    assert_eq!(place.json(0, &dry)["next"].as_array().map(Vec::len), Some(10));
    let made = place.json(0, &create);
    assert_eq!((&made["version"], &made["enabled"], &made["origin"]), (&1.into(), &true.into(), &"command".into()));
    place.expect(5, &create);
    let edited = place.json(0, &["schedule", "edit", "weekly", "--overlap", "buffer_one", "--owner", "ops", "--json"]);
    assert_eq!((&edited["version"], &edited["spec"]["cron"]), (&2.into(), &"0 6 * * MON".into()));
    place.expect(0, &["schedule", "disable", "weekly"]);
    let list = place.json(0, &["schedule", "list", "--json"]);
    let states: Vec<_> = list.as_array().expect("a list").iter().map(|row| (&row["name"], &row["state"])).collect();
    let (new, disabled) = (Value::from("new"), Value::from("disabled"));
    assert_eq!(states, [(&"nightly".into(), &new), (&"ping".into(), &new), (&"weekly".into(), &disabled)]);
    for (code, args) in [
        (5, vec!["schedule", "edit", "nightly", "--cron", "@daily"]),
        (2, vec!["schedule", "create", "bad", "--cron", "61 * * * *", "--batch", "sales"]),
        (2, vec!["schedule", "create", "bad", "--cron", "@daily"]),
        (3, vec!["schedule", "create", "bad", "--cron", "@daily", "--batch", "sale"]),
        (3, vec!["schedule", "show", "nothing-like-it"]),
    ] {
        place.expect(code, &args);
    }
    place.expect(0, &["schedule", "delete", "weekly"]);
    assert_eq!(place.json(0, &["schedule", "list", "--json"]).as_array().map(Vec::len), Some(2));
}

#[test]
fn a_slot_is_run_once_by_hand() {
    let place = place();
    let slot = ["schedule", "run", "nightly", "--slot", "2026-03-28T01:30:00Z", "--json"];
    let mut dry = slot.to_vec();
    dry.push("--dry-run");
    assert_eq!(place.json(0, &dry)["from"], "2026-03-27T01:30:00Z");
    let row = place.json(0, &slot);
    assert_eq!((&row["run"]["cause"], &row["run"]["outcome"]), (&"manual".into(), &"ran".into()));
    let batch = row["run"]["batch"].as_str().expect("a batch");
    assert_eq!(place.json(0, &["batch", "show", batch, "--json"])["batch"]["counts"]["input"], 5);
    place.expect(5, &slot);
    let workers = place.json(0, &["worker", "list", "--json"]);
    let planner = workers.as_array().expect("a list").iter().find(|worker| worker["role"] == "command");
    let planner = planner.expect("its plan was under a lease, so that a scheduler could have taken over");
    assert_ne!(planner["state"], "alive", "and the lease was given back: {planner}");
    place.expect(2, &["schedule", "run", "nightly", "--slot", "2026-03-28T01:31:00Z"]);
    let calendar = place.json(0, &["schedule", "calendar", "ping", "--days", "0", "--ahead", "1", "--json"]);
    let planned = calendar.as_array().expect("a list").iter().filter(|slot| slot["state"] == "planned").count();
    assert!((23..=24).contains(&planned), "{planned}");
}

#[test]
fn a_backfill_is_shown_before_it_is_asked_for_and_can_be_called_off() {
    let place = place();
    let range = ["schedule", "backfill", "nightly", "--from", "2026-03-01", "--to", "2026-03-07T23:00", "--json"];
    let mut dry = range.to_vec();
    dry.extend(["--dry-run", "--newest-first"]);
    let would = place.json(0, &dry);
    assert_eq!((&would["would_run"], &would["slots"][0]["tick"]), (&7.into(), &"2026-03-07T01:30:00Z".into()));
    let asked = place.json(0, &range);
    assert_eq!(asked["waiting"], 7);
    assert_eq!(place.json(0, &range)["waiting"], 0, "they wait already");
    let id = asked["backfill"].as_str().expect("an id");
    place.expect(0, &["schedule", "backfill", "nightly", "--pause", id]);
    let list = place.json(0, &["schedule", "backfill", "nightly", "--json"]);
    assert_eq!((&list[1]["paused"], &list[1]["waiting"]), (&true.into(), &7.into()));
    assert_eq!(place.json(0, &["schedule", "backfill", "nightly", "--cancel", id, "--json"])["affected"], 7);
}

#[test]
fn a_template_that_check_refuses_is_refused_when_a_schedule_is_made_or_edited() {
    let place = place();
    place.expect(0, &["schedule", "create", "mine", "--every", "1h", "--kind", "mine"]);
    let before = place.json(0, &["schedule", "show", "mine", "--json"]);
    for (kind, payload) in [
        ("http", r#"{"url":"https://{{ params.host }}/"}"#),
        ("exec", r#"{"command":["{{ params.program }}"]}"#),
        ("mine", r#"{"x":"{{ params.x | upperr }}"}"#),
    ] {
        let other = Place::new();
        let job = format!("job = {{ kind = \"{kind}\", payload = {} }}", toml_of(payload));
        other.write("config.toml", &format!("[schedule.mine]\nevery = \"1h\"\nparams = {{ x = \"y\" }}\n{job}\n"));
        let output = other.run(&["check"]);
        let checked = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        for verb in [&["create", "bad", "--every", "1h"][..], &["edit", "mine"]] {
            for dry in [&["--dry-run"][..], &[]] {
                let args = [&["schedule"], verb, &["--kind", kind, "--payload", payload], dry].concat();
                let output = place.run(&args);
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
                let (_, wrong) = said.lines().find_map(|line| line.split_once("`job.payload`: ")).expect(&said);
                assert!(checked.contains(wrong), "{wrong:?} is not what `check` says: {checked}");
            }
        }
    }
    let names = place.json(0, &["schedule", "list", "--json"]);
    assert!(names.as_array().is_some_and(|rows| rows.iter().all(|row| row["name"] != "bad")), "{names}");
    assert_eq!(place.json(0, &["schedule", "show", "mine", "--json"])["version"], before["version"]);
}

/// A JSON object as an inline table.
fn toml_of(payload: &str) -> String {
    payload.replace("\":", "\" = ")
}

/// A running scheduler, ended with the test.
struct Dev(Child);

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "{what} did not come true");
        // Polling without a pause would slow down what the test waits for.
        std::thread::park_timeout(Duration::from_millis(200));
    }
}

#[test]
fn a_running_scheduler_follows_the_file_and_starts_what_is_due() {
    let place = Place::new();
    let job = |name: &str| {
        format!(
            "[exec]\nprograms = [\"/bin/true\"]\n[schedule.{name}]\nevery = \"1s\"\noverlap = \"allow\"\njob = {{ kind = \"exec\", payload = {{ command = [\"true\"] }} }}\n"
        )
    };
    place.write("config.toml", &job("first"));
    let child = place.command(&["dev"]).stderr(Stdio::null()).spawn().expect("started");
    let _dev = Dev(child);
    let ran = |name: &str| {
        let output = place.run(&["schedule", "show", name, "--json"]);
        let shown: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        shown["last"].as_array().is_some_and(|rows| rows.iter().any(|row| row["result"] == "done"))
    };
    until("a run of the first", || ran("first"));
    let shown = place.json(0, &["schedule", "show", "first", "--json"]);
    let next = place.json(0, &["schedule", "next", "first", "--json"]);
    let rows = shown["last"].as_array().expect("the ledger");
    assert!(next["tzdb"].is_string() && rows.iter().all(|row| row["tzdb"] == next["tzdb"]), "{shown}");
    place.write("config.toml", "[schedule.first]\nevery = \"never\"\n");
    place.write("config.toml", &job("second"));
    until("a run of the second", || ran("second"));
    let list = place.json(0, &["schedule", "list", "--json"]);
    let names: Vec<_> = list.as_array().expect("a list").iter().map(|row| &row["name"]).collect();
    assert_eq!(names, ["second"], "what is no longer in the file is gone");
}
