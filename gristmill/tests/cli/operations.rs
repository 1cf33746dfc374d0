//! Operations over many jobs, and lists that are asked by a query.

use serde_json::Value;

use crate::place::{MAIL, Place};

fn waiting(place: &Place, jobs: usize) {
    for _ in 0..jobs {
        place.json(0, &["enqueue", "email", "--payload", MAIL, "--in", "1h", "--json"]);
    }
}

fn count(place: &Place, args: &[&str]) -> usize {
    place.json(0, args).as_array().expect("a list").len()
}

#[test]
fn jobs_that_match_a_query_are_cancelled_in_steps_and_brought_back() {
    let place = Place::new();
    waiting(&place, 3);
    place.json(0, &["enqueue", "http", "--payload", r#"{"url":"https://example.com/"}"#, "--in", "1h", "--json"]);
    let cancel = ["job", "cancel", "--query", "kind:em* age<1h"];
    let would = place.json(0, &[&cancel[..], &["--dry-run", "--json"]].concat());
    assert_eq!((&would["jobs"], would["samples"].as_array().map(Vec::len)), (&3.into(), Some(3)));
    assert_eq!(count(&place, &["job", "list", "--query", "state:cancelled", "--json"]), 0);
    let error = place.json(2, &[&cancel[..], &["--json"]].concat());
    assert!(error["error"]["hint"].as_str().is_some_and(|hint| hint.contains("--reason")), "{error}");
    let ended = place.json(0, &[&cancel[..], &["--reason", "wrong file", "--wait=60s", "--json"]].concat());
    assert_eq!((&ended["state"], &ended["done"]), (&"finished".into(), &3.into()), "{ended}");
    assert_eq!(count(&place, &["job", "list", "--query", "state:cancelled kind:email", "--json"]), 3);
    let id = ended["id"].as_str().expect("an id");
    let shown = place.json(0, &["operation", "show", id, "--json"]);
    assert_eq!(shown["reason"], "wrong file");
    let undone = place.json(0, &["operation", "undo", id, "--wait=60s", "--json"]);
    assert_eq!((&undone["state"], &undone["undone"]), (&"undone".into(), &3.into()), "{undone}");
    assert_eq!(count(&place, &["job", "list", "--query", "state:scheduled", "--json"]), 4);
    assert_eq!(count(&place, &["operation", "list", "--json"]), 1);
    place.expect(5, &["operation", "cancel", id]);
    let rows = place.json(0, &["audit", "list", "--json"]);
    let actions: Vec<&str> =
        rows.as_array().expect("rows").iter().filter_map(|row| row["action"].as_str()).take(4).collect();
    assert_eq!(actions, ["operation.undo", "operation.undo", "job.cancel", "operation.start"]);
}

#[test]
fn what_was_started_is_said_in_words_with_what_to_do_next() {
    let place = Place::new();
    waiting(&place, 2);
    let cancel = ["job", "cancel", "--query", "kind:email", "--rate", "500/s", "--reason", "wrong file"];
    let started = place.run(&cancel);
    let (out, err) = (String::from_utf8_lossy(&started.stdout), String::from_utf8_lossy(&started.stderr));
    assert!(out.contains("started: cancel 2 jobs (kind:email) at 500/s, about 1s"), "{out}");
    assert!(err.contains("operation show") && err.contains("operation undo"), "{err}");
}

#[test]
fn a_query_that_makes_no_sense_is_refused_with_its_place() {
    let place = Place::new();
    for (args, said) in [
        (&["job", "list", "--query", "kind:a sate:dead"][..], "at 8: `sate` is no key of jobs; did you mean `state`?"),
        (&["dead", "list", "--query", "state:dead"], "`state` is no key of dead letters"),
        (&["batch", "list", "--query", "state:dead"], "is no state of batches"),
        (&["quarantine", "list", "--query", "age:1h"], "write `age>1h`"),
        (&["job", "cancel", "--query", "", "--reason", "x"], "state:queued,retry,scheduled"),
        (&["dead", "discard", "--query", "kind:a", "--rate", "fast"], "500/s"),
        (&["job", "cancel", "--all", "--wait"], "--query"),
    ] {
        let refused = place.run(args);
        let err = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{args:?}: {err}");
        assert!(err.contains(said), "{args:?}: {err}");
    }
}

#[test]
fn a_query_that_nothing_matches_ends_well() {
    let place = Place::new();
    let redrive = ["dead", "redrive", "--query", "kind:email", "--reason", "provider is back", "--wait=60s", "--json"];
    let ended: Value = place.json(0, &redrive);
    assert_eq!((&ended["verb"], &ended["state"], &ended["done"]), (&"redrive".into(), &"finished".into(), &0.into()));
    let discard = ["dead", "discard", "--query", "kind:email", "--reason", "unknown", "--wait=60s", "--json"];
    assert_eq!(place.json(0, &discard)["state"], "finished");
}
