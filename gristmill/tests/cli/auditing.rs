//! The real binary writes down what is ordered, shows it, and finds out who bent it.

use serde_json::{Value, json};

use crate::deleting::tamper;
use crate::place::Place;

#[test]
fn what_is_ordered_is_listed_shown_exported_and_verified() {
    let place = Place::with_batch();
    place.expect(0, &["queue", "pause", "mail", "--new", "--reason", "too hot", "--by", "ada"]);
    place.expect(0, &["queue", "resume", "mail"]);
    place.expect(0, &["limit", "set", "crm", "--queue", "crm", "--concurrency", "2"]);
    place.expect(0, &["queue", "pause", "other", "--new", "--dry-run"]);
    let list = place.json(0, &["audit", "list", "--json"]);
    let actions: Vec<&Value> = list.as_array().expect("a list").iter().map(|entry| &entry["action"]).collect();
    assert_eq!(actions, ["limit.set", "queue.resume", "queue.pause"]);
    let by = place.json(0, &["audit", "list", "--actor", "ada", "--json"]);
    assert_eq!((by.as_array().map(Vec::len), &by[0]["reason"]), (Some(1), &json!("too hot")));
    let shown = place.json(0, &["audit", "show", "1", "--json"]);
    assert_eq!(shown["details"]["after"], json!({ "paused": true, "by": "ada", "reason": "too hot" }));
    assert!(place.expect(0, &["audit", "show", "1"]).contains("queue.pause"));
    place.expect(3, &["audit", "show", "4"]);
    place.expect(3, &["audit", "show", "0"]);
    let lines = place.expect(0, &["audit", "export"]);
    let seqs: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")["seq"].take()).collect();
    assert_eq!(seqs, [1, 2, 3]);
    assert_eq!(place.expect(0, &["audit", "export", "--behind", "2"]).lines().count(), 1);
    let verified = place.json(0, &["audit", "verify", "--json"]);
    assert_eq!((&verified["ok"], &verified["chains"][0]["last"]), (&json!(true), &json!(3)));
    place.expect(2, &["audit", "list", "--since", "yesterday"]);
}

#[test]
fn a_bent_entry_is_named_and_the_exit_code_is_9() {
    let place = Place::with_batch();
    for queue in ["a", "b", "c"] {
        place.expect(0, &["queue", "pause", queue, "--new"]);
    }
    tamper(&place, "DROP TRIGGER audit_entry_kept; UPDATE audit_entry SET actor = 'nobody' WHERE seq = 2");
    let verified = place.json(9, &["audit", "verify", "--all", "--json"]);
    let broken = &verified["chains"][0]["broken"];
    assert_eq!((&broken["seq"], &broken["fault"]), (&json!(2), &json!("changed")));
    assert!(place.expect(9, &["audit", "verify"]).contains("entry 2"));
    // A head that was kept elsewhere, with a signature that does not fit.
    let head = json!({ "tenant": "other", "seq": 7, "hash": "0".repeat(64), "at": "2030-01-31T00:00:00Z",
                       "key": "1".repeat(64), "signature": "2".repeat(128) });
    place.write("heads", &format!("{head}\n"));
    let verified = place.json(9, &["audit", "verify", "--all", "--heads", "heads", "--json"]);
    assert_eq!(verified["chains"][1]["broken"]["fault"], "signature");
}
