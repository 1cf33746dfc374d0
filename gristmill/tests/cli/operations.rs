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
    assert_eq!((&would["matches"], would["samples"].as_array().map(Vec::len)), (&3.into(), Some(3)));
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

#[test]
fn items_of_all_batches_are_redriven_and_discarded_by_a_query() {
    let place = Place::with_batch();
    for _ in 0..2 {
        place.json(0, &["batch", "run", "sales", "--wait=60s", "--json"]);
    }
    let open = || count(&place, &["quarantine", "list", "--open", "--json"]);
    assert_eq!(open(), 4);
    let one = place.json(0, &["batch", "list", "--json"])[0]["id"].as_str().expect("an id").to_owned();
    let discard = ["quarantine", "discard", "--query", &format!("batch:{one}"), "--json"];
    let would = place.json(0, &[&discard[..], &["--dry-run"]].concat());
    assert_eq!((&would["verb"], &would["matches"]), (&"discard-items".into(), &2.into()), "{would}");
    let error = place.json(2, &discard);
    assert!(error["error"]["hint"].as_str().is_some_and(|hint| hint.contains("--reason")), "{error}");
    let done = place.json(0, &[&discard[..], &["--reason", "known to be wrong", "--wait=60s"]].concat());
    assert_eq!((&done["state"], &done["done"]), (&"finished".into(), &2.into()), "{done}");
    assert_eq!(open(), 2);
    let id = done["id"].as_str().expect("an id");
    assert_eq!(place.json(0, &["operation", "undo", id, "--wait=60s", "--json"])["undone"], 2);
    assert_eq!(open(), 4);
    let redrive = ["quarantine", "redrive", "--query", "state:open", "--reason", "again", "--wait=60s", "--json"];
    let done = place.json(0, &redrive);
    assert_eq!((&done["verb"], &done["done"], &done["failed"]), (&"redrive-items".into(), &4.into(), &0.into()));
    assert_eq!(open(), 0, "they wait for a worker");
    let log = place.json(0, &["audit", "list", "--json"]);
    let actions: Vec<&str> = log.as_array().expect("rows").iter().filter_map(|row| row["action"].as_str()).collect();
    assert!(actions.contains(&"quarantine.discard") && actions.contains(&"quarantine.redrive"), "{actions:?}");
}

#[test]
fn batches_that_match_a_query_are_paused_cancelled_and_deleted_in_steps() {
    let place = Place::with_batch();
    for _ in 0..2 {
        place.json(0, &["batch", "run", "sales", "--json"]);
    }
    let states = || {
        let all = place.json(0, &["batch", "list", "--json"]);
        let state = |row: &Value| (row["state"].as_str().unwrap_or_default().to_owned(), row["paused"] == true);
        all.as_array().expect("batches").iter().map(state).collect::<Vec<_>>()
    };
    let both = |state: &str, paused: bool| vec![(state.to_owned(), paused); 2];
    let steer = |verb: &str| {
        let args = ["batch", verb, "--query", "name:sales", "--reason", "x", "--wait=60s", "--json"];
        let done = place.json(0, &args);
        assert_eq!((&done["done"], &done["failed"]), (&2.into(), &0.into()), "{verb}: {done}");
        done["id"].as_str().expect("an id").to_owned()
    };
    steer("pause");
    assert_eq!(states(), both("sealed", true));
    steer("resume");
    assert_eq!(states(), both("sealed", false));
    let cancelled = steer("cancel");
    assert_eq!(states(), both("cancelled", false));
    assert_eq!(place.json(0, &["operation", "undo", &cancelled, "--wait=60s", "--json"])["undone"], 2);
    assert_eq!(states(), both("sealed", false));
    steer("cancel");
    steer("restart");
    assert_eq!(states(), both("sealed", false));
    steer("cancel");
    let said = place.run(&["batch", "delete", "--query", "name:sales", "--reason", "x", "--dry-run"]);
    assert!(String::from_utf8_lossy(&said.stdout).contains("would delete: 2 batches"), "{said:?}");
    steer("delete");
}

#[test]
fn a_command_takes_a_name_or_a_query_and_not_both() {
    let place = Place::new();
    let id = "0198f9c1-7d2e-7000-8000-000000000000";
    for args in [
        &["batch", "pause"][..],
        &["batch", "pause", id, "--query", "name:a"],
        &["batch", "cancel", "--name", "a", "--query", "name:a"],
        &["batch", "restart", "--query", "name:a", "--dead", "--reason", "x"],
        &["batch", "delete", id, "--query", "name:a"],
        &["batch", "resume", id, "--rate", "5"],
        &["batch", "resume", id, "--wait"],
        &["batch", "cancel", id, "--wait"],
        &["quarantine", "redrive", id, "--query", "state:open"],
        &["quarantine", "redrive", "--query", "state:open", "--item", "3"],
        &["quarantine", "discard"],
        &["quarantine", "discard", "--query", "state:redriven", "--reason", "x"],
        &["batch", "delete", "--query", "state:sealed", "--reason", "x"],
    ] {
        let refused = place.run(args);
        assert_eq!(refused.status.code(), Some(2), "{args:?}: {refused:?}");
    }
}
