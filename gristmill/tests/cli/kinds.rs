//! Kinds that no live worker has: their jobs wait, and the operator sees why.

use crate::place::Place;

#[test]
fn what_no_worker_has_waits_and_is_reported() {
    let place = Place::new();
    place.write("config.toml", "[exec]\nprograms = [\"/bin/true\"]\n");
    let id = place.json(0, &["enqueue", "resize", "--payload", "{}", "--payload-version", "2", "--json"]);
    let id = id["job"]["id"].as_str().expect("an id").to_owned();
    // A process that works here for a while has this program's kinds, but not this one.
    place.expect(0, &["enqueue", "exec", "--payload", r#"{"command": ["true"]}"#, "--wait=4m"]);
    let job = place.json(0, &["job", "show", &id, "--json"]);
    assert_eq!((&job["state"], &job["version"]), (&"queued".into(), &2.into()), "neither failed nor dropped");
    let queues = place.json(0, &["queue", "list", "--json"]);
    let unhandled = serde_json::json!([{ "queue": "default", "kind": "resize", "version": 2, "jobs": 1 }]);
    assert_eq!(queues[0]["unhandled"], unhandled, "{queues}");
    let text = place.expect(0, &["job", "show", &id]);
    assert!(text.contains("resize@2") && text.contains("no worker is alive"), "{text}");
}
