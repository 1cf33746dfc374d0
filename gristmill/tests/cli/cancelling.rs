//! Cancelling waiting and running jobs, by id and by filter.

use std::process::Command;

use serde_json::Value;

use crate::place::{MAIL, Place};
use crate::stopping::{Slow, finished, until};

fn enqueue(place: &Place, kind: &str, more: &[&str]) -> String {
    let payload = match kind {
        "email" => MAIL,
        "webhook" => r#"{"url":"https://example.com/","type":"a","data":{}}"#,
        _ => r#"{"url":"https://example.com/"}"#,
    };
    let mut args = vec!["enqueue", kind, "--payload", payload, "--json"];
    args.extend(more);
    place.json(0, &args)["job"]["id"].as_str().expect("an id").to_owned()
}

fn states(place: &Place) -> Vec<(String, String)> {
    let jobs = place.json(0, &["job", "list", "--json"]);
    let word = |job: &Value, key: &str| job[key].as_str().expect(key).to_owned();
    let mut states: Vec<_> =
        jobs.as_array().expect("a list").iter().map(|job| (word(job, "kind"), word(job, "state"))).collect();
    states.sort();
    states
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(kind, state)| ((*kind).to_owned(), (*state).to_owned())).collect()
}

#[test]
fn a_running_program_ends_when_its_job_is_cancelled_and_the_slot_is_free() {
    let slow = Slow::start();
    let pid = std::fs::read_to_string(slow.place.path().join("runs")).expect("the program's id");
    let alive = || Command::new("kill").args(["-0", pid.trim()]).output().expect("kill runs").status.success();
    assert!(alive());
    let cancelled = slow.place.json(0, &["job", "cancel", "--kind", "exec", "--reason", "not needed", "--json"]);
    assert_eq!(cancelled["affected"], 1);
    assert_eq!(slow.job().0, "cancelled", "final in the store at once");
    until("the program has ended", || !alive());
    // The worker goes on with the next one.
    let payload = r#"{"command": ["sh", "-c", "true"]}"#;
    slow.place.expect(0, &["enqueue", "exec", "--payload", payload, "--wait=4m", "--work", "never"]);
    assert!(!finished(slow.place.path()));
    let job = slow.place.json(0, &["job", "show", &slow.job, "--json"]);
    assert_eq!((&job["state"], &job["error"]), (&"cancelled".into(), &"not needed".into()));
    assert_eq!(job["attempts"].as_array().map(Vec::len), Some(1));
    assert_eq!(job["attempts"][0]["ending"], "cancelled");
}

#[test]
fn all_jobs_that_match_are_cancelled_and_no_other() {
    let place = Place::new();
    for (kind, more) in [
        ("email", &[][..]),
        ("email", &["--in", "1h"]),
        ("webhook", &["--queue", "hooks"]),
        ("http", &["--queue", "hooks"]),
    ] {
        enqueue(&place, kind, more);
    }
    let would = place.json(0, &["job", "cancel", "--kind", "email", "--dry-run", "--json"]);
    assert_eq!((&would["affected"], would["samples"].as_array().map(Vec::len)), (&2.into(), Some(2)));
    assert!(states(&place).iter().all(|(_, state)| state != "cancelled"));
    let one = place.json(0, &["job", "cancel", "--kind", "email", "--state", "scheduled", "--json"]);
    assert_eq!(one["affected"], 1);
    let two = place.json(0, &["job", "cancel", "--queue", "hooks", "--kind", "http", "--json"]);
    assert_eq!(two["affected"], 1);
    let expected = [("email", "cancelled"), ("email", "queued"), ("http", "cancelled"), ("webhook", "queued")];
    assert_eq!(states(&place), pairs(&expected));
    assert_eq!(place.json(0, &["job", "cancel", "--all", "--json"])["affected"], 2);
    assert_eq!(place.json(0, &["job", "cancel", "--all", "--json"])["affected"], 0, "again, after a break");
}

#[test]
fn batches_are_cancelled_by_name() {
    let place = Place::with_batch();
    for _ in 0..2 {
        place.expect(0, &["batch", "run", "sales", "--json"]);
    }
    let would = place.json(0, &["batch", "cancel", "--name", "sales", "--dry-run", "--json"]);
    assert_eq!(would["affected"], 6, "chunks");
    assert_eq!(place.json(0, &["batch", "cancel", "--name", "other", "--json"])["affected"], 0);
    assert_eq!(place.json(0, &["batch", "cancel", "--name", "sales", "--json"])["affected"], 6);
    let batches = place.json(0, &["batch", "list", "--state", "cancelled", "--json"]);
    assert_eq!(batches.as_array().map(Vec::len), Some(2));
}

#[test]
fn a_cancel_that_does_not_say_what_is_refused_with_what_would_be_right() {
    let place = Place::new();
    for args in [
        &["job", "cancel", "--json"][..],
        &["job", "cancel", "--state", "done", "--json"],
        &["job", "cancel", "--state", "dying", "--json"],
        &["batch", "cancel", "--json"],
        &["batch", "cancel", "--state", "complete", "--json"],
    ] {
        let error = place.json(2, args);
        assert!(error["error"]["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{args:?}: {error}");
    }
    place.expect(2, &["job", "cancel", "0198f9c1-0000-7000-8000-000000000000", "--all"]);
}
