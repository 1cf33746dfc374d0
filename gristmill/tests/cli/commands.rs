//! The real binary, from outside: exit codes, JSON shapes, dry runs, lists by page.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use crate::place::{BAD, MAIL, Place, TRUE};

const RUN: [&str; 5] = ["batch", "run", "sales", "--wait", "--json"];

#[test]
fn a_batch_runs_to_its_end_and_says_so_in_one_document() {
    let place = Place::with_batch();
    let done = place.json(0, &RUN);
    assert_eq!(done["batch"]["state"], "complete");
    assert_eq!(done["batch"]["generation"], 0);
    let counts =
        serde_json::json!({ "input": 5, "ok": 3, "skipped": 0, "quarantined": 2, "cancelled": 0, "pending": 0 });
    assert_eq!(done["batch"]["counts"], counts);
    assert_eq!(done["result"]["rows"], 3);
    assert_eq!(done["result"]["revenue"], "1.45");
    assert_eq!(done["result"]["by_country"]["UK"], "0.4");
    let mails = std::fs::read_dir(place.path().join("mail")).expect("a mail folder").count();
    assert_eq!(mails, 1, "the report is sent before the command ends");
    let items = place.json(0, &["quarantine", "list", "--json"]);
    // Chunks end in any order, and so their items do too.
    let mut lines: Vec<u64> =
        items.as_array().expect("a list").iter().filter_map(|item| item["line"].as_u64()).collect();
    lines.sort_unstable();
    assert_eq!(lines, [4, 6]);
}

#[test]
fn a_batch_over_its_budget_ends_with_1() {
    let place = Place::with_batch();
    let mut args = RUN.to_vec();
    args.extend(["--tolerate", "1"]);
    let halted = place.json(1, &args);
    assert_eq!(halted["batch"]["state"], "halted");
    assert!(halted["batch"]["reason"].is_string());
}

#[test]
fn an_idempotency_key_starts_one_batch_only() {
    let place = Place::with_batch();
    let mut args = RUN.to_vec();
    args.extend(["--idempotency-key", "today"]);
    let (first, second) = (place.json(0, &args), place.json(0, &args));
    assert_eq!(first["batch"]["id"], second["batch"]["id"]);
    assert_eq!(place.json(0, &["batch", "list", "--json"]).as_array().map(Vec::len), Some(1));
}

#[test]
fn what_cannot_start_leaves_nothing_behind() {
    let place = Place::with_batch();
    let error = place.json(3, &["batch", "run", "sales", "--input", "none.csv", "--json"]);
    assert_eq!(error["error"]["code"], "not_found");
    let unknown = place.json(3, &["batch", "run", "sale", "--json"]);
    assert_eq!(unknown["error"]["hint"], "did you mean `sales`?");
    place.expect(2, &["batch", "run", "sales", "--chunk", "0"]);
    assert_eq!(place.json(0, &["batch", "list", "--json"]), Value::Array(Vec::new()));
}

#[test]
fn a_dry_run_changes_nothing() {
    let place = Place::with_batch();
    let would = place.json(0, &["batch", "run", "sales", "--dry-run", "--json"]);
    assert_eq!((&would["batch"]["counts"]["input"], &would["batch"]["chunks"]), (&5.into(), &3.into()));
    place.expect(0, &["enqueue", "email", "--payload", MAIL, "--dry-run"]);
    assert!(!place.path().join("gristmill.db").exists(), "not even a database is made");

    let id = enqueued(&place, &["--payload", MAIL]);
    let would = place.json(0, &["job", "cancel", &id, "--dry-run", "--json"]);
    assert_eq!((&would["affected"], &would["dry_run"]), (&1.into(), &true.into()));
    let paused = place.json(0, &["queue", "pause", "default", "--dry-run", "--json"]);
    assert_eq!(paused["dry_run"], true);
    assert_eq!(place.json(0, &["job", "show", &id, "--json"])["state"], "queued");
    assert_eq!(place.json(0, &["queue", "list", "--json"])[0]["paused"], false);
}

#[test]
fn a_pause_is_shown_with_who_and_why() {
    let place = Place::with_batch();
    enqueued(&place, &["--payload", MAIL]);
    place.expect(0, &["queue", "pause", "default", "--reason", "the server is being moved", "--by", "ann"]);
    let shown = place.json(0, &["queue", "show", "default", "--json"]);
    let pause = &shown["pause"];
    assert_eq!((&pause["by"], &pause["reason"]), (&"ann".into(), &"the server is being moved".into()));
    assert!(pause["since"].is_string() && shown["queued"] == 1, "{shown}");
    assert_eq!(place.json(0, &["queue", "list", "--json"])[0]["pause"], *pause);
    // Another operator's reason does not replace the first one.
    place.expect(0, &["queue", "pause", "default"]);
    assert_eq!(place.json(0, &["queue", "show", "default", "--json"])["pause"], *pause);
    place.expect(0, &["queue", "resume", "default"]);
    place.expect(0, &["queue", "pause", "default"]);
    let by = place.json(0, &["queue", "show", "default", "--json"])["pause"]["by"].clone();
    assert!(by.as_str().is_some_and(|by| by.contains('@')), "who it was is known by itself: {by}");
    let error = place.json(3, &["queue", "show", "nothing", "--json"]);
    assert_eq!(error["error"]["hint"], "`gristmill queue list` shows those that are there");
}

fn enqueued(place: &Place, more: &[&str]) -> String {
    let mut args = vec!["enqueue", "email", "--json"];
    args.extend(more);
    place.json(0, &args)["job"]["id"].as_str().expect("an id").to_owned()
}

#[test]
fn one_process_enqueues_what_another_runs() {
    let place = Place::new();
    let id = enqueued(&place, &["--payload", r#"{"to":"a@example.com","subject":"Hello","text":"You"}"#]);
    let waited = place.json(
        0,
        &[
            "enqueue",
            "email",
            "--payload",
            r#"{"to":"b@example.com","subject":"Hello","text":"Too"}"#,
            "--wait=60s",
            "--json",
        ],
    );
    assert_eq!(waited["job"]["state"], "done");
    // The first one was older: the worker that ran the second one has run it as well.
    assert_eq!(place.json(0, &["job", "show", &id, "--json"])["state"], "done");
}

#[test]
fn a_job_that_is_awaited_and_dies_ends_with_1_and_can_be_redriven() {
    let place = Place::new();
    let waited = place.json(1, &["enqueue", "exec", "--payload", BAD, "--max-attempts", "1", "--wait=60s", "--json"]);
    assert_eq!(waited["job"]["state"], "dead");
    let id = waited["job"]["id"].as_str().expect("an id");
    let dead = place.json(0, &["dead", "list", "--json"]);
    assert_eq!(dead[0]["id"], id);
    assert_eq!(place.json(0, &["dead", "redrive", id, "--json"])["affected"], 1);
    assert_eq!(place.json(0, &["job", "show", id, "--json"])["state"], "queued");
}

#[test]
fn what_a_program_says_is_in_the_log_of_its_job() {
    let place = Place::new();
    place.write("config.toml", "[exec]\nprograms = [\"/bin/sh\"]\n");
    let waited = place.json(1, &["enqueue", "exec", "--payload", BAD, "--max-attempts", "1", "--wait=60s", "--json"]);
    let id = waited["job"]["id"].as_str().expect("an id");
    let logs = place.json(0, &["job", "logs", id, "--json"]);
    let said = &logs[0]["lines"][0];
    assert_eq!((said["source"].as_str(), said["text"].as_str()), (Some("stderr"), Some("no such mailbox")));
    assert_eq!((logs[0]["attempt"].as_u64(), logs[0]["said"].as_u64()), (Some(1), Some(1)));
    // A job that has ended is not waited for.
    let followed = place.expect(0, &["job", "logs", id, "--follow"]);
    assert!(followed.contains("attempt 1") && followed.contains("stderr no such mailbox"), "{followed}");
    place.expect(2, &["job", "show", id, "--logs", "--json"]);
    let shown = place.expect(0, &["job", "show", id, "--logs"]);
    assert!(shown.contains("stderr no such mailbox"), "{shown}");
    let fingerprint = "a1b2c3d4e5f6";
    place.json(0, &["error", "acknowledge", fingerprint, "--reason", "known", "--json"]);
    assert_eq!(place.json(0, &["error", "acknowledged", "--json"])[0]["reason"], "known");
    assert_eq!(place.json(0, &["error", "reopen", fingerprint, "--json"])["affected"], 1);
}

#[test]
fn a_batch_is_written_to_a_file_as_a_document() {
    let place = Place::with_batch();
    let done = place.json(0, &RUN);
    let id = done["batch"]["id"].as_str().expect("an id");
    place.expect(0, &["batch", "report", id, "--html", "report.html"]);
    let html = std::fs::read_to_string(place.path().join("report.html")).expect("written");
    assert!(html.starts_with("<!DOCTYPE html>") && html.contains("revenue") && html.ends_with("</html>"), "{html}");
}

#[test]
fn a_wait_that_is_too_long_ends_with_7() {
    let place = Place::new();
    let error =
        place.json(7, &["enqueue", "exec", "--payload", TRUE, "--in", "1h", "--wait=1s", "--work", "never", "--json"]);
    assert_eq!(error["error"]["code"], "timed_out");
}

#[test]
fn a_bad_line_is_named_and_nothing_of_it_is_enqueued() {
    let place = Place::new();
    place.write("jobs.jsonl", &format!("{{\"payload\":{MAIL}}}\n{{\"payload\":{MAIL},\"quue\":\"x\"}}\n"));
    let error = place.json(2, &["enqueue", "email", "--jsonl", "jobs.jsonl", "--json"]);
    let message = error["error"]["message"].as_str().expect("a message");
    assert!(message.starts_with("jobs.jsonl:2:") && message.contains("quue"), "{message}");
    assert_eq!(place.json(0, &["job", "list", "--json"]), Value::Array(Vec::new()));
}

#[test]
fn many_jobs_come_from_standard_input_once_for_a_key() {
    let place = Place::new();
    let lines: String = (0..1_500).map(|_| format!("{{\"payload\":{MAIL}}}\n")).collect();
    let mut counts = Vec::new();
    for _ in 0..2 {
        let args = ["enqueue", "email", "--jsonl", "-", "--idempotency-key", "mails", "--in", "1h", "--json"];
        let mut child = place.command(&args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("started");
        child.stdin.take().expect("piped").write_all(lines.as_bytes()).expect("written");
        let output = child.wait_with_output().expect("ended");
        counts.push(serde_json::from_slice::<Value>(&output.stdout).expect("JSON"));
    }
    assert_eq!((&counts[0]["enqueued"], &counts[1]["enqueued"]), (&1_500.into(), &0.into()));
    assert_eq!(counts[1]["existing"], 1_500);
}

#[test]
fn a_list_goes_on_after_the_last_key() {
    let place = Place::new();
    let lines: String = (0..5).map(|_| format!("{{\"payload\":{MAIL}}}\n")).collect();
    place.write("jobs.jsonl", &lines);
    place.expect(0, &["enqueue", "email", "--jsonl", "jobs.jsonl"]);
    let mut seen = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let mut args = vec!["job", "list", "--limit", "2", "--json"];
        if let Some(after) = &after {
            args.extend(["--after", after]);
        }
        let page = place.json(0, &args);
        let ids: Vec<String> =
            page.as_array().expect("a list").iter().map(|job| job["id"].as_str().expect("an id").to_owned()).collect();
        let Some(last) = ids.last() else { break };
        after = Some(last.clone());
        seen.extend(ids);
    }
    let mut distinct = seen.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!((seen.len(), distinct.len()), (5, 5));
    let plain = place.run(&["job", "list", "--limit", "2"]);
    assert!(String::from_utf8_lossy(&plain.stderr).contains("--after"), "the next command is said");
    assert_eq!(String::from_utf8_lossy(&plain.stdout).lines().filter(|line| line.contains('\t')).count(), 2);
}

#[test]
fn every_kind_of_mistake_has_its_exit_code() {
    let place = Place::new();
    let nobody = "0198f9c1-0000-7000-8000-000000000000";
    for (code, args) in [
        (2, vec!["jub", "list"]),
        (2, vec!["job", "show", "not-an-id"]),
        (2, vec!["job", "list", "--state", "quued"]),
        (2, vec!["enqueue", "emial", "--payload", "{}"]),
        (2, vec!["enqueue", "email", "--payload", "{"]),
        (2, vec!["enqueue", "email", "--in", "soon"]),
        (2, vec!["--store", "mysql://h/d", "job", "list"]),
        (2, vec!["scheduler"]),
        (3, vec!["job", "show", nobody]),
        (3, vec!["batch", "show", nobody]),
        (3, vec!["quarantine", "show", "7"]),
        (8, vec!["--store", "postgres://nobody@127.0.0.1:1/none", "job", "list"]),
    ] {
        let mut args = args;
        args.push("--json");
        let error = place.json(code, &args);
        assert_eq!(error["error"]["exit"], code, "{args:?}");
        assert!(error["error"]["message"].is_string(), "{args:?}");
    }
}

#[test]
fn a_bad_configuration_is_refused_with_its_line() {
    let place = Place::new();
    place
        .write("config.toml", "[worker]\nslots = 4\n\n[batch.a]\nsource = { csv = \"a.csv\" }\ntransform = \".a +\"\n");
    let report = place.json(9, &["check", "--json"]);
    assert_eq!(report["problems"][0]["key"], "batch.a.transform");
    assert_eq!(report["problems"][0]["place"], "config.toml:6:1");
    place.write("config.toml", "[worker]\nslotz = 4\n");
    let error = place.json(2, &["job", "list", "--json"]);
    let message = error["error"]["message"].as_str().expect("a message");
    assert!(message.contains("config.toml:2") && message.contains("did you mean `slots`?"), "{message}");
}

#[test]
fn the_origin_of_each_setting_is_shown_and_no_secret_is() {
    let place = Place::new();
    place.write("config.toml", "[worker]\nslots = 4\n");
    let output = place
        .command(&["--broker", "amqp://me:hunter2@localhost/", "config", "show", "--origin"])
        .env("GRISTMILL_WORKER_POLL", "1s")
        .output()
        .expect("started");
    let text = String::from_utf8_lossy(&output.stdout);
    for line in [
        "worker.slots\t4\tconfig.toml:2:1",
        "worker.poll\t1s\tenv GRISTMILL_WORKER_POLL",
        "broker.url\tamqp://me:***@localhost/\tflag --broker",
        "store.url\tsqlite://gristmill.db\tdefault",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    assert!(!text.contains("hunter2"));
}

#[test]
fn the_demo_runs_twice_and_its_counts_reconcile() {
    let place = Place::new();
    let args = ["demo", "--items", "2000", "--json"];
    let (first, second) = (place.json(0, &args), place.json(0, &args));
    assert_ne!(first["batch"]["id"], second["batch"]["id"]);
    assert_eq!((&first["batch"]["counts"], &first["result"]), (&second["batch"]["counts"], &second["result"]));
    let (counts, dirt) = (&first["batch"]["counts"], &first["demo"]["dirt"]);
    let number = |value: &Value| value.as_u64().expect("a number");
    let bad = ["missing_customer", "bad_quantity", "bad_price", "never"].map(|name| number(&dirt[name]));
    assert_eq!(number(&counts["quarantined"]), bad.iter().sum::<u64>());
    assert_eq!(number(&counts["skipped"]), number(&dirt["tests"]));
    let settled = ["ok", "skipped", "quarantined", "cancelled", "pending"].map(|name| number(&counts[name]));
    assert_eq!(settled.iter().sum::<u64>(), 2_000);
    assert!(Path::new(first["demo"]["mail"].as_str().expect("a path")).exists());
    for command in first["demo"]["next"].as_array().expect("commands") {
        let words = command.as_str().expect("a text").split(' ').skip(1).collect::<Vec<_>>();
        place.expect(0, &words);
    }
}

#[test]
fn top_prints_one_screen_where_there_is_no_terminal() {
    let place = Place::with_batch();
    place.expect(0, &RUN);
    place.expect(0, &["enqueue", "email", "--payload", MAIL, "--in", "1h"]);
    let screen = place.expect(0, &["top"]);
    let line = |begins: &str| {
        let found = screen.lines().find(|line| line.starts_with(begins)).unwrap_or_else(|| panic!("{screen}"));
        found.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(screen.starts_with("gristmill sqlite:"), "{screen}");
    assert_eq!(line("default")[4], "1", "one waits for its time: {screen}");
    assert!(line("sales").contains(&"100%".to_owned()), "{screen}");
    let glance = place.json(0, &["top", "--once", "--json"]);
    assert_eq!(glance["batches"][0]["name"], "sales", "{glance}");
    assert!(glance["queues"].as_array().is_some_and(|queues| !queues.is_empty()));
    assert!(place.run(&["top", "--every", "1ms"]).status.code() == Some(2));
}

#[test]
fn the_doctor_finds_nothing_wrong_with_an_empty_folder() {
    let place = Place::new();
    let report = place.doctor(0, &[]);
    assert_eq!(report["ok"], true);
    assert!(!place.path().join("gristmill.db").exists());
    let ill = place.doctor(9, &["--store", "postgres://nobody@127.0.0.1:1/none"]);
    assert_eq!(ill["ok"], false);
}

#[test]
fn every_command_begins_its_help_with_examples() {
    let place = Place::new();
    for args in [&["--help"][..], &["batch", "run", "--help"], &["enqueue", "--help"], &["demo", "--help"]] {
        assert!(place.expect(0, args).starts_with("Examples:\n  gristmill"), "{args:?}");
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(place.expect(0, &["completion", shell]).contains("gristmill"), "{shell}");
    }
    assert_eq!(place.json(0, &["version", "--json"])["name"], "gristmill");
    assert_eq!(place.json(0, &["db", "status", "--json"])["applied"], 0);
}

#[test]
fn the_help_is_as_it_was() {
    let place = Place::new();
    insta::assert_snapshot!("help", place.expect(0, &["--help"]));
    insta::assert_snapshot!("help_batch_run", place.expect(0, &["batch", "run", "--help"]));
    insta::assert_snapshot!("help_enqueue", place.expect(0, &["enqueue", "--help"]));
}

#[test]
fn what_is_said_of_a_kind_reaches_what_a_batch_sends() {
    let place = Place::with_batch();
    let config = std::fs::read_to_string(place.path().join("config.toml")).expect("the configuration");
    place.write("config.toml", &format!("{config}\n[kind.email]\nmax_attempts = 9\nlane = \"low\"\n"));
    place.expect(0, &RUN);
    let mails = place.json(0, &["job", "list", "--kind", "email", "--json"]);
    assert_eq!((&mails[0]["max_attempts"], &mails[0]["priority"]), (&9.into(), &"low".into()), "{mails}");
}

#[test]
fn a_halted_batch_is_restarted_with_a_raised_budget() {
    let place = Place::with_batch();
    let mut args = RUN.to_vec();
    args.extend(["--tolerate", "1"]);
    let halted = place.json(1, &args);
    let id = halted["batch"]["id"].as_str().expect("an id");
    let strict = ["batch", "restart", id, "--tolerate", "0", "--json"];
    assert_eq!(place.json(5, &strict)["error"]["code"], "conflict");
    let dry = place.json(0, &["batch", "restart", id, "--tolerate", "2", "--dry-run", "--json"]);
    assert_eq!((&dry["dry_run"], &dry["generation"]), (&Value::Bool(true), &1.into()));
    assert_eq!(place.json(0, &["batch", "show", id, "--json"])["batch"]["state"], "halted");
    place.expect(0, &["batch", "restart", id, "--tolerate", "2"]);
    let work = place.command(&["worker"]).spawn();
    let ended = place.json(0, &["batch", "watch", id, "--timeout", "240s", "--json"]);
    let _ = work.map(|mut worker| (worker.kill(), worker.wait()));
    assert_eq!((&ended["batch"]["state"], &ended["batch"]["generation"]), (&"complete".into(), &1.into()));
    assert_eq!((&ended["batch"]["counts"]["ok"], &ended["batch"]["counts"]["quarantined"]), (&3.into(), &2.into()));
    assert_eq!(ended["result"]["revenue"], "1.45");
}

#[test]
fn what_was_mended_in_a_table_or_by_a_patch_amends_the_batch() {
    let place = Place::with_batch();
    let id = place.json(0, &RUN)["batch"]["id"].as_str().expect("an id").to_owned();
    let table = place.expect(0, &["quarantine", "export", &id, "--format", "csv"]);
    assert!(table.starts_with("quarantine_id,quarantine_position,"), "{table}");
    let path = place.write("mended.csv", &table.replace("3,FR,3,", "3,FR,3,2.00"));
    let path = path.display().to_string();
    let import = ["quarantine", "import", &id, "--file", &path, "--json"];
    let dry = place.json(0, &[&import[..], &["--dry-run"]].concat());
    assert_eq!(
        (&dry["affected"], &dry["unchanged"], &dry["samples"][0]["after"]["price"]),
        (&1.into(), &1.into(), &"2.00".into())
    );
    assert_eq!(place.json(0, &["batch", "show", &id, "--json"])["batch"]["generation"], 0);
    let semicolons = place.write("damaged.csv", &table.replace(',', ";"));
    let damaged =
        ["quarantine", "import", &id, "--file", &semicolons.display().to_string(), "--json"].map(str::to_owned);
    let damaged: Vec<&str> = damaged.iter().map(String::as_str).collect();
    let error = place.json(2, &damaged);
    assert!(
        error["error"]["message"].as_str().is_some_and(|text| text.contains("line 1") && text.contains("--delimiter"))
    );
    assert_eq!(place.json(0, &import)["affected"], 1);
    let again = place.json(2, &import);
    assert!(again["error"]["message"].as_str().is_some_and(|text| text.contains("redriven already")), "{again}");
    let work = place.command(&["worker"]).spawn();
    let ended = place.json(0, &["batch", "watch", &id, "--timeout", "240s", "--json"]);
    assert_eq!((&ended["batch"]["generation"], &ended["batch"]["counts"]["ok"]), (&1.into(), &4.into()));
    assert_eq!(ended["result"]["revenue"], "7.45");
    let misfit = r#"[{"op": "test", "path": "/country", "value": "DE"}]"#;
    let kept = place.json(6, &["quarantine", "redrive", &id, "--patch", misfit, "--json"]);
    assert_eq!((&kept["affected"], &kept["kept"]), (&0.into(), &1.into()));
    let patch = r#"[{"op": "replace", "path": "/quantity", "value": "2"}]"#;
    let redrive = ["quarantine", "redrive", &id, "--where", "stage=parse", "--patch", patch, "--json"];
    assert_eq!(place.json(0, &redrive)["generation"], 2);
    let ended = place.json(0, &["batch", "watch", &id, "--timeout", "240s", "--json"]);
    let _ = work.map(|mut worker| (worker.kill(), worker.wait()));
    assert_eq!((&ended["batch"]["counts"]["ok"], &ended["result"]["revenue"]), (&5.into(), &"9.45".into()));
}

#[test]
fn the_copy_of_a_piped_input_goes_when_the_batch_has_ended() {
    let place = Place::with_batch();
    let mut args = RUN.to_vec();
    args.extend(["--input", "-"]);
    let input = std::fs::File::open(place.path().join("sales.csv")).expect("there");
    let output = place.command(&args).stdin(input).output().expect("started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let left = std::fs::read_dir(place.path().join("gristmill.db.spool")).expect("a copy was made there").count();
    assert_eq!(left, 0, "nothing reads it any more");
}

#[test]
fn a_unique_job_says_what_became_of_a_second_one() {
    let place = Place::new();
    let put = |more: &[&str]| {
        let mut args = vec!["enqueue", "exec", "--payload", TRUE, "--in", "1h", "--unique", "k", "--json"];
        args.extend(more);
        let job = place.json(0, &args)["job"].clone();
        (job["id"].clone(), job["outcome"].as_str().expect("a word").to_owned())
    };
    let (first, outcome) = put(&[]);
    assert_eq!(outcome, "created");
    for (more, expected) in [
        (&["--unique-while", "waiting"][..], "existing"),
        (&["--on-conflict", "replace"], "replaced"),
        (&["--on-conflict", "debounce=5m/2h"], "debounced"),
    ] {
        assert_eq!(put(more), (first.clone(), expected.to_owned()));
    }
    let refused = ["enqueue", "exec", "--payload", TRUE, "--unique", "k", "--on-conflict", "refuse", "--json"];
    assert!(place.json(5, &refused).to_string().contains(first.as_str().expect("an id")));
    // A second key, for an hour, among lines.
    let unique = [r#""k","on_conflict":"replace""#, r#""hourly","unique_for":"1h""#, r#""hourly","unique_for":"1h""#];
    let lines: String = unique.map(|unique| format!("{{\"payload\":{TRUE},\"unique\":{unique}}}\n")).concat();
    place.write("lines.jsonl", &lines);
    let counts = place.json(0, &["enqueue", "exec", "--jsonl", "lines.jsonl", "--json"]);
    assert_eq!((&counts["enqueued"], &counts["existing"], &counts["replaced"]), (&1.into(), &1.into(), &1.into()));
}
