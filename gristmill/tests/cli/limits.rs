//! `gristmill limit`, limits of the configuration, and why a job is not running, from outside.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use serde_json::Value;

use crate::place::{Place, TRUE};
use crate::stopping::until;

/// A working process that ends with the test, together with everything it runs.
struct Dev {
    child: Child,
    said: PathBuf,
}

impl Dev {
    fn start(place: &Place) -> Self {
        let said = place.path().join("dev.log");
        let log = File::create(&said).expect("a log");
        let child = place.command(&["dev"]).stdout(Stdio::null()).stderr(log).spawn().expect("started");
        Self { child, said }
    }

    /// Whether something has happened while it runs.
    fn has(&mut self, come_about: impl FnOnce() -> bool) -> bool {
        if let Some(status) = self.child.try_wait().expect("it is our child") {
            panic!("it ended with {status}: {}", std::fs::read_to_string(&self.said).unwrap_or_default());
        }
        come_about()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn enqueue(place: &Place, more: &[&str]) -> String {
    let mut args = vec!["enqueue", "exec", "--json", "--queue", "crm"];
    args.extend(more);
    if !more.contains(&"--payload") {
        args.extend(["--payload", TRUE]);
    }
    place.json(0, &args)["job"]["id"].as_str().expect("an id").to_owned()
}

fn job(place: &Place, id: &str) -> Value {
    place.json(0, &["job", "show", id, "--json"])
}

fn waits(place: &Place, id: &str) -> Vec<String> {
    let shown = job(place, id);
    let waits = shown["waits"].as_array().expect("a list");
    waits.iter().map(|wait| wait["why"].as_str().expect("a word").to_owned()).collect()
}

#[test]
fn a_limit_is_set_seen_and_dropped_by_command() {
    let place = Place::new();
    let set = ["limit", "set", "crm", "--queue", "crm", "--queue", "sync", "--concurrency", "5", "--json"];
    let mut dry = set.to_vec();
    dry.push("--dry-run");
    assert_eq!(place.json(0, &dry)["spec"]["concurrency"], 5);
    assert_eq!(place.json(0, &["limit", "list", "--json"]), Value::Array(Vec::new()), "a dry run changes nothing");
    let made = place.json(0, &set);
    assert_eq!((&made["origin"], &made["running"]), (&"command".into(), &0.into()));
    let args =
        ["limit", "set", "mails", "--kind", "email", "--rate", "100", "--per", "1m", "--burst", "10", "--per-key"];
    assert_eq!(place.expect(0, &args), "set mails: kind email, 100 per 1m (burst 10), each key\n");
    let shown = place.expect(0, &["limit", "show", "crm", "--plain"]);
    assert!(shown.contains("of\tqueue crm, sync\nallows\t5 at once\n"), "{shown}");
    for (code, args) in [
        (2, vec!["limit", "set", "x", "--concurrency", "5"]),
        (2, vec!["limit", "set", "x", "--queue", "crm"]),
        (2, vec!["limit", "set", "x", "--queue", "crm", "--concurrency", "0"]),
        (2, vec!["limit", "set", "x", "--queue", "c r m", "--concurrency", "1"]),
        (2, vec!["limit", "set", "x", "--queue", "crm", "--concurrency", "1", "--per", "1m"]),
        (2, vec!["enqueue", "exec", "--key", ""]),
        (3, vec!["limit", "show", "nothing-like-it"]),
        (3, vec!["limit", "drop", "crn"]),
    ] {
        place.expect(code, &args);
    }
    assert_eq!(place.json(0, &["limit", "drop", "crm", "--dry-run", "--json"])["affected"], 1);
    place.expect(0, &["limit", "drop", "crm"]);
    let list = place.json(0, &["limit", "list", "--json"]);
    assert_eq!(list.as_array().map(Vec::len), Some(1));
}

#[test]
fn why_a_job_is_not_running_is_told() {
    let place = Place::new();
    let id = enqueue(&place, &["--key", "acme"]);
    assert_eq!(job(&place, &id)["key"], "acme");
    assert_eq!(waits(&place, &id), ["no_worker"]);
    place.expect(0, &["queue", "pause", "crm"]);
    assert_eq!(waits(&place, &id), ["queue_paused", "no_worker"]);
    let shown = place.expect(0, &["job", "show", &id, "--plain"]);
    assert!(
        shown.contains("waits\tqueue `crm` is paused (") && shown.contains("`gristmill queue resume crm`"),
        "{shown}"
    );
    let later = enqueue(&place, &["--in", "1h"]);
    assert_eq!(waits(&place, &later), ["time", "queue_paused", "no_worker"]);
    place.expect(0, &["job", "cancel", &id]);
    assert!(waits(&place, &id).is_empty(), "it waits for nothing any more");
    let keyed = place.json(0, &["job", "list", "--key", "acme", "--json"]);
    assert_eq!(keyed.as_array().map(Vec::len), Some(1));
}

#[test]
fn limits_of_the_configuration_are_followed_and_hold_on_the_running_program() {
    let place = Place::new();
    let limit = |most: u32| {
        format!(
            "[exec]\nprograms = [\"/bin/sh\"]\n[limit.crm]\nqueues = [\"crm\"]\nconcurrency = {most}\n\
             [queue.crm]\nfair = true\n"
        )
    };
    place.write("config.toml", &limit(1));
    place.expect(0, &["check"]);
    let mut dev = Dev::start(&place);
    let listed = |most: u32| {
        let output = place.run(&["limit", "list", "--json"]);
        let list: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        list[0]["spec"]["concurrency"] == most && list[0]["origin"] == "file"
    };
    until("the limit is in the store", || dev.has(|| listed(1)));
    // Each job runs until the test ends it.
    let script = "n=0; while [ ! -e go ] && [ $n -lt 3000 ]; do sleep 0.1; n=$((n+1)); done";
    let payload = serde_json::json!({ "command": ["sh", "-c", script] }).to_string();
    let ids: Vec<String> = (0..3).map(|_| enqueue(&place, &["--payload", &payload])).collect();
    until("the first runs", || job(&place, &ids[0])["state"] == "running");
    assert_eq!(waits(&place, &ids[2]), ["concurrency"]);
    let told = &job(&place, &ids[2])["waits"][0];
    assert_eq!((&told["limit"], &told["running"], &told["most"]), (&"crm".into(), &1.into(), &1.into()));
    assert_eq!(job(&place, &ids[2])["attempt"], 0, "waiting spends nothing");
    place.expect(5, &["limit", "set", "crm", "--queue", "crm", "--concurrency", "9"]);
    place.expect(5, &["limit", "drop", "crm"]);
    place.write("config.toml", &limit(2));
    until("the changed limit is in the store", || dev.has(|| listed(2)));
    until("the second runs", || job(&place, &ids[1])["state"] == "running");
    assert_eq!(job(&place, &ids[2])["state"], "queued");
    place.write("go", "");
    for id in &ids {
        until("it is done", || job(&place, id)["state"] == "done");
    }
}
