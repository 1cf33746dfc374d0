//! What the doctor finds, and that it changes nothing; names and ids that are not there.

use std::process::Child;

use serde_json::{Value, json};

use crate::place::{BAD, MAIL, Place, TRUE, doctor};
use crate::servers::{Broker, Schema};
use crate::stopping::until;

const NOBODY: &str = "00000000-0000-7000-8000-000000000000";

/// A process that ends with its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = (self.0.kill(), self.0.wait());
    }
}

fn finding(report: &Value, what: &str) -> Value {
    let findings = report["findings"].as_array().expect("findings");
    findings.iter().find(|finding| finding["what"] == what).unwrap_or_else(|| panic!("no {what} in {report}")).clone()
}

#[test]
fn the_doctor_says_that_no_worker_serves_a_queue_with_jobs() {
    let place = Place::new();
    place.expect(0, &["enqueue", "email", "--payload", MAIL, "--queue", "mail"]);
    let report = place.doctor(9, &[]);
    let workers = finding(&report, "workers");
    assert_eq!(workers["ok"], false, "{report}");
    assert!(workers["found"].as_str().is_some_and(|found| found.contains("1 job waits on queue `mail`")), "{workers}");
    place.expect(0, &["queue", "pause", "mail"]);
    assert_eq!(finding(&place.doctor(0, &[]), "workers")["ok"], true, "it waits on purpose");
    place.expect(0, &["enqueue", "email", "--payload", MAIL, "--in", "1h"]);
    let scheduler = finding(&place.doctor(9, &[]), "scheduler");
    assert!(scheduler["found"].as_str().is_some_and(|found| found.contains("1 job waits for its time")), "{scheduler}");
}

#[test]
fn a_job_whose_time_nobody_keeps_says_so_and_so_does_the_doctor() {
    let schema = Schema::new();
    let store = schema.migrated();
    let place = Place::new();
    let args = |more: &[&'static str]| [&["--store", store.as_str()][..], more].concat();
    let worker = place.command(&args(&["worker", "run", "--queues", "default"])).spawn().expect("started");
    let _worker = Running(worker);
    until("a worker is alive", || !place.json(0, &args(&["worker", "list", "--json"])).to_string().eq("[]"));
    let made = place.json(0, &args(&["enqueue", "exec", "--payload", TRUE, "--in", "1s", "--json"]));
    let id = made["job"]["id"].as_str().expect("an id");
    let show = ["--store", store.as_str(), "job", "show", id];
    until("its time has come", || place.expect(0, &show).contains("its time has come"));
    let waits = place.json(0, &[&show[..], &["--json"]].concat())["waits"].clone();
    let why: Vec<&str> = waits.as_array().expect("a list").iter().filter_map(|wait| wait["why"].as_str()).collect();
    assert_eq!(why, ["time", "no_scheduler"]);
    let shown = place.expect(0, &show);
    assert!(shown.contains("its time has come") && shown.contains("no scheduler is alive; start one"), "{shown}");
    let report = place.doctor(9, &args(&[]));
    assert_eq!(
        (&finding(&report, "scheduler")["ok"], &finding(&report, "workers")["ok"]),
        (&json!(false), &json!(true))
    );

    place.expect(0, &args(&["enqueue", "exec", "--payload", TRUE, "--queue", "other"]));
    let workers = finding(&place.doctor(9, &args(&[])), "workers");
    assert!(workers["found"].as_str().is_some_and(|found| found.contains("queue `other`")), "{workers}");
    let _scheduler = Running(place.command(&args(&["scheduler"])).spawn().expect("started"));
    until("the scheduler lets it run", || place.json(0, &[&show[..], &["--json"]].concat())["state"] != "scheduled");
}

#[test]
fn the_doctor_declares_nothing_on_the_broker() {
    let place = Place::new();
    let broker = Broker::new();
    let report = |code: i32| {
        let mut command = place.command(&["--broker", &broker.url, "doctor", "--json"]);
        doctor(command.env("GRISTMILL_BROKER_NAMESPACE", &broker.namespace), code)
    };
    let found = finding(&report(0), "broker");
    assert!(found["found"].as_str().is_some_and(|found| found.contains("declares its queues")), "{found}");
    assert!(!broker.has_exchange("dispatch") && !broker.has_exchange("returned"), "nothing is declared");

    // What is there with other arguments is named all the same.
    let queue = broker.odd_queue();
    place.expect(0, &["enqueue", "exec", "--payload", TRUE, "--in", "1h"]);
    let found = finding(&report(9), "broker");
    assert!(found["ok"] == false && found.to_string().contains(&queue), "{found}");
    assert!(!broker.has_exchange("dispatch"), "still nothing is declared");
}

#[test]
fn a_dead_letter_that_is_not_there_is_neither_redriven_nor_discarded() {
    let place = Place::new();
    let enqueue = |payload: &str, code: i32| {
        let made =
            place.json(code, &["enqueue", "exec", "--payload", payload, "--max-attempts", "1", "--wait=60s", "--json"]);
        made["job"]["id"].as_str().expect("an id").to_owned()
    };
    let (first, second) = (enqueue(BAD, 1), enqueue(BAD, 1));
    place.expect(0, &["enqueue", "email", "--payload", MAIL, "--queue", "mail", "--wait=60s"]);
    let jobs = place.json(0, &["job", "list", "--state", "done", "--json"]);
    let done = jobs[0]["id"].as_str().expect("an id");

    for verb in ["redrive", "discard"] {
        let error = place.json(3, &["dead", verb, NOBODY, "--json"]);
        assert!(error["error"]["message"].as_str().is_some_and(|text| text.contains(NOBODY)), "{error}");
        let error = place.json(5, &["dead", verb, done, "--json"]);
        assert!(error["error"]["message"].as_str().is_some_and(|text| text.contains("is done")), "{error}");
        place.expect(5, &["dead", verb, done, NOBODY]);
        place.expect(6, &["dead", verb, &first, done, "--dry-run"]);
    }
    let output = place.run(&["dead", "redrive", &first, done, NOBODY, "--json"]);
    assert_eq!(output.status.code(), Some(6));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains(&format!("the job {done} is done")) && said.contains(NOBODY), "{said}");
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).expect("a document")["affected"], 1);
    assert_eq!(place.json(0, &["dead", "redrive", &second, "--json"])["affected"], 1);
}

#[test]
fn of_several_jobs_those_that_are_there_are_cancelled_and_the_others_named() {
    let place = Place::new();
    let enqueue = || {
        let made = place.json(0, &["enqueue", "exec", "--payload", TRUE, "--in", "1h", "--json"]);
        made["job"]["id"].as_str().expect("an id").to_owned()
    };
    let (first, second) = (enqueue(), enqueue());
    place.expect(6, &["job", "retry", NOBODY, &first]);
    let output = place.run(&["job", "cancel", NOBODY, &first, &second, "--json"]);
    assert_eq!(output.status.code(), Some(6));
    assert!(String::from_utf8_lossy(&output.stderr).contains(NOBODY));
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).expect("a document")["affected"], 2);
    place.expect(3, &["job", "cancel", NOBODY]);
    place.expect(5, &["job", "retry", &first, NOBODY]);
    place.expect(3, &["batch", "cancel", NOBODY]);
}

#[test]
fn a_queue_that_is_not_there_is_not_paused() {
    let place = Place::new();
    place.write("config.toml", "[kind.report]\nqueue = \"reports\"\n");
    place.expect(0, &["enqueue", "email", "--payload", MAIL, "--queue", "mail"]);
    for verb in ["pause", "resume"] {
        let error = place.json(3, &["queue", verb, "mial", "--json"]);
        assert_eq!(error["error"]["hint"], "did you mean `mail`?");
        place.expect(3, &["queue", verb, "mial", "--dry-run"]);
    }
    let names = place.json(0, &["queue", "list", "--json"]);
    assert!(!names.to_string().contains("mial"), "{names}");
    for known in ["mail", "default", "reports"] {
        place.expect(0, &["queue", "pause", known]);
    }
    place.expect(0, &["queue", "pause", "imports", "--new"]);
    place.expect(0, &["queue", "resume", "imports"]);
}
