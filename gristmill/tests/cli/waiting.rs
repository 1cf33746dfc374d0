//! Waiting: what for is said, and every verb that begins something can wait for its end.

use std::process::Output;

use serde_json::Value;

use crate::place::{BAD, MAIL, Place};
use crate::stopping::until;

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn started(place: &Place) -> String {
    let started = place.json(0, &["batch", "run", "sales", "--json"]);
    assert_eq!(started["waits"][0]["why"], "no_worker", "{started}");
    started["batch"]["id"].as_str().expect("an id").to_owned()
}

#[test]
fn what_a_batch_waits_for_is_said_while_it_is_watched() {
    let place = Place::with_batch();
    let id = started(&place);
    let watched = |word: &str| {
        let output = place.run(&["batch", "watch", &id, "--timeout", "4s"]);
        assert_eq!(output.status.code(), Some(7), "{}", err(&output));
        assert!(err(&output).contains("waiting: ") && err(&output).contains(word), "{word}: {}", err(&output));
        let shown = place.expect(0, &["batch", "show", &id, "--plain"]);
        assert!(shown.contains("waits\t") && shown.contains(word), "{word}: {shown}");
    };
    watched("no worker is alive; start one with");
    place.expect(0, &["queue", "pause", "default", "--reason", "moving"]);
    watched("queue `default` is paused");
    place.expect(0, &["batch", "pause", &id]);
    watched("is paused");
    let shown = place.json(0, &["batch", "show", &id, "--json"]);
    let why: Vec<&str> = shown["waits"].as_array().expect("a list").iter().filter_map(|w| w["why"].as_str()).collect();
    assert_eq!(why, ["queue_paused", "batch_paused", "no_worker"]);
    place.expect(0, &["batch", "cancel", &id]);
    assert_eq!(place.json(0, &["batch", "show", &id, "--json"])["waits"], Value::Array(Vec::new()));
}

#[test]
fn what_a_batch_waits_for_is_said_to_the_command_that_started_it() {
    let place = Place::with_batch();
    let output = place.run(&["batch", "run", "sales", "--wait=4s", "--work", "never"]);
    assert_eq!(output.status.code(), Some(7), "{}", err(&output));
    assert!(err(&output).contains("waiting: no worker is alive"), "{}", err(&output));
}

#[test]
fn a_limit_that_holds_a_batch_back_is_named() {
    let place = Place::with_batch();
    let config = std::fs::read_to_string(place.path().join("config.toml")).expect("the configuration");
    place.write("config.toml", &format!("{config}[limit.slow]\nqueues = [\"default\"]\nrate = 1\nper = \"1h\"\n"));
    let mut dev = place.command(&["dev"]).spawn().expect("started");
    until("the limit is in the store", || place.run(&["limit", "show", "slow"]).status.success());
    let started = place.json(0, &["batch", "run", "sales", "--json"]);
    let id = started["batch"]["id"].as_str().expect("an id");
    let output = place.run(&["batch", "watch", id, "--timeout", "8s"]);
    let _ = (dev.kill(), dev.wait());
    assert!(err(&output).contains("waiting: limit `slow` is reached"), "{}", err(&output));
}

#[test]
fn what_a_job_waits_for_is_said() {
    let place = Place::new();
    let output = place.run(&["enqueue", "email", "--payload", MAIL, "--wait=4s", "--work", "never"]);
    assert_eq!(output.status.code(), Some(7), "{}", err(&output));
    assert!(err(&output).contains("no worker is alive; start one"), "{}", err(&output));
}

/// A batch that has ended with two items in quarantine, over its budget or within it.
fn ended(place: &Place, code: i32, more: &[&str]) -> String {
    let mut args = vec!["batch", "run", "sales", "--wait", "--json"];
    args.extend(more);
    let ended = place.json(code, &args);
    ended["batch"]["id"].as_str().expect("an id").to_owned()
}

#[test]
fn a_redrive_and_an_import_and_a_restart_wait_for_the_end_of_their_batch() {
    let place = Place::with_batch();
    let id = ended(&place, 0, &[]);
    let patch = r#"[{"op":"add","path":"/quantity","value":"1"},{"op":"add","path":"/price","value":"2"}]"#;
    let items = place.json(0, &["quarantine", "list", "--batch", &id, "--json"]);
    let first = items[0]["id"].to_string();
    let redrive = ["quarantine", "redrive", &id, "--item", &first, "--patch", patch, "--wait", "--json"];
    let done = place.json(0, &redrive);
    assert_eq!((&done["batch"]["state"], &done["batch"]["generation"]), (&"complete".into(), &1.into()), "{done}");
    assert_eq!(done["batch"]["counts"]["quarantined"], 1);

    place.expect(0, &["quarantine", "export", &id, "--format", "csv", "--to", "mend.csv"]);
    let import = ["quarantine", "import", &id, "--file", "mend.csv", "--also-unchanged", "--wait=60s", "--json"];
    let done = place.json(0, &import);
    assert_eq!((&done["batch"]["state"], &done["batch"]["generation"]), (&"complete".into(), &2.into()), "{done}");

    let halted = ended(&place, 1, &["--failure-budget", "0"]);
    let restart = ["batch", "restart", &halted, "--failure-budget", "2", "--wait", "--json"];
    let done = place.json(0, &restart);
    assert_eq!(done["batch"]["state"], "complete", "{done}");
    let again = place.run(&["quarantine", "redrive", &id, "--wait=4s", "--work", "never"]);
    assert_eq!(again.status.code(), Some(7), "{}", err(&again));
    assert!(err(&again).contains("waiting: no worker is alive"), "{}", err(&again));
}

#[test]
fn many_jobs_print_their_ids_and_are_waited_for() {
    let place = Place::new();
    let line = |payload: &str| format!("{{\"payload\":{payload},\"max_attempts\":1}}\n");
    place.write("good.jsonl", &line(MAIL).repeat(3));
    let output = place.run(&["enqueue", "email", "--jsonl", "good.jsonl"]);
    let ids: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    assert_eq!(ids.len(), 3, "{ids:?}");
    assert!(err(&output).contains("enqueued 3 jobs"), "{}", err(&output));
    assert_eq!(place.json(0, &["job", "show", &ids[2], "--json"])["kind"], "email");

    let done = place.json(0, &["enqueue", "email", "--jsonl", "good.jsonl", "--wait=60s", "--json"]);
    assert_eq!((&done["enqueued"], &done["ended"]["done"]), (&3.into(), &3.into()), "{done}");
    assert_eq!(done["ids"].as_array().map(Vec::len), Some(3));

    let (good, bad) = (line(MAIL).replace("{\"payload", "{\"kind\":\"email\",\"payload"), line(BAD));
    let bad = bad.replace("{\"payload", "{\"kind\":\"exec\",\"payload");
    place.write("some.jsonl", &format!("{good}{bad}"));
    let some = place.json(6, &["enqueue", "--jsonl", "some.jsonl", "--wait=60s", "--json"]);
    assert_eq!((&some["ended"]["done"], &some["ended"]["dead"]), (&1.into(), &1.into()), "{some}");
    place.write("none.jsonl", &bad);
    place.expect(1, &["enqueue", "--jsonl", "none.jsonl", "--wait=60s"]);
}

#[test]
fn dead_letters_are_waited_for_when_they_are_redriven() {
    let place = Place::with_batch();
    let enqueue = ["enqueue", "exec", "--payload", BAD, "--max-attempts", "1", "--wait=60s", "--json"];
    let id = place.json(1, &enqueue)["job"]["id"].as_str().expect("an id").to_owned();
    let again = place.json(1, &["dead", "redrive", &id, "--wait=60s", "--json"]);
    assert_eq!(again["ended"], serde_json::json!({ "done": 0, "dead": 1, "cancelled": 0 }), "{again}");
}

#[test]
fn a_report_that_cannot_be_sent_is_not_silent() {
    let place = Place::with_batch();
    let folder = place.path().join("templates/own");
    std::fs::create_dir_all(&folder).expect("made");
    std::fs::write(folder.join("subject.txt"), "{{ batch.name }}").expect("written");
    // A country that none of the items has: no check can know.
    std::fs::write(folder.join("text.txt"), "{{ result.by_country.Atlantis }}").expect("written");
    let config = std::fs::read_to_string(place.path().join("config.toml")).expect("the configuration");
    let config = config.replace(r#"to = "ops@example.com""#, r#"to = "ops@example.com", template = "own""#);
    place.write("config.toml", &format!("[mail]\ntemplates = \"templates\"\n{config}"));
    place.expect(0, &["check"]);
    let output = place.run(&["batch", "run", "sales", "--wait", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let said = err(&output);
    assert!(said.contains("(email) could not be sent") && said.contains("own/text.txt"), "{said}");
    let done: Value = serde_json::from_slice(&output.stdout).expect("a document");
    let shown = place.run(&["batch", "show", done["batch"]["id"].as_str().expect("an id")]);
    assert!(err(&shown).contains("(email) could not be sent"), "{}", err(&shown));

    std::fs::write(folder.join("text.txt"), "{{ batch.nme }} {{ result.revenu }}").expect("written");
    let wrong = place.json(9, &["check", "--json"]).to_string();
    assert!(wrong.contains("did you mean `name`?") && wrong.contains("did you mean `revenue`?"), "{wrong}");
}

#[test]
fn templates_are_rehearsed_by_check() {
    let place = Place::new();
    let check = |text: &str| {
        place.write("config.toml", &format!("[batch.b]\nsource = {{ csv = \"in.csv\" }}\n{text}"));
        place.json(9, &["check", "--json"])["problems"].to_string()
    };
    let job =
        |payload: &str| format!("[schedule.s]\nevery = \"1h\"\njob = {{ kind = \"exec\", payload = {payload} }}\n");
    for (text, key, word) in [
        (job("{ command = [\"x\", \"{{ schedule.form }}\"] }"), "schedule.s.job.payload", "schedule.form"),
        (job("{ command = [\"x\", \"{{ schedule.from | dat }}\"] }"), "schedule.s.job.payload", "dat"),
        (job("{ command = [\"x\", \"{{ schedule.from\"] }"), "schedule.s.job.payload", "schedule.from"),
        (job("{ comand = [\"x\"] }"), "schedule.s.job.payload", "comand"),
        ("[batch.c]\nsource = { csv = \"{{ params.day }}.csv\" }\nschedule = { cron = \"@daily\" }\n".to_owned(),
         "batch.c.schedule", "params.day"),
        ("[batch.c]\nsource = { csv = \"in.csv\" }\noutput = { jsonl = \"out/{{ params.day\" }\n".to_owned(),
         "batch.c.output", "params.day"),
        ("[watch.w]\nfolder = \"in\"\njob = { kind = \"exec\", payload = { command = [\"x\", \"{{ event.path\"] } }\n".to_owned(),
         "watch.w.job.payload", "event.path"),
    ] {
        let found = check(&text);
        assert!(found.contains(key) && found.contains(word), "{text}\n{found}");
    }
    place.write(
        "config.toml",
        &format!("{}params = {{ day = 1 }}\n", job("{ command = [\"x\", \"{{ params.day }}\"] }")),
    );
    place.expect(0, &["check"]);
}
