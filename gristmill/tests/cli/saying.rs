//! What is said and where: a result that does not arrive is an error, a log in JSON has nothing else in it, and errors
//! speak of the user's things.

use std::fs::OpenOptions;
use std::process::{Output, Stdio};

use serde_json::Value;

use crate::place::{BAD, MAIL, Place, TRUE};
use crate::servers::Schema;
use crate::stopping::until;

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_result_that_cannot_be_written_is_an_error() {
    let place = Place::with_batch();
    for args in [
        &["job", "list", "--json"][..],
        &["queue", "list", "--json"],
        &["config", "show"],
        &["check"],
        &["check", "--json"],
        &["completion", "bash"],
        &["version"],
        &["--version"],
        &["enqueue", "--help"],
        &["enqueue", "email", "--payload", MAIL],
        &["batch", "run", "sales", "--dry-run"],
    ] {
        let full = OpenOptions::new().write(true).open("/dev/full").expect("a full disk");
        let output = place.command(args).stdout(full).output().expect("started");
        assert_eq!(output.status.code(), Some(1), "{args:?}: {}", err(&output));
        assert!(err(&output).contains("standard output: No space left"), "{args:?}: {}", err(&output));
    }
    let mut gone = place.command(&["config", "show"]).stdout(Stdio::piped()).spawn().expect("started");
    drop(gone.stdout.take());
    assert_eq!(gone.wait().expect("ended").code(), Some(0), "a reader that has gone away is no error");
}

#[test]
fn the_code_of_what_went_wrong_is_kept_when_the_result_cannot_be_written_either() {
    let place = Place::new();
    let full = OpenOptions::new().write(true).open("/dev/full").expect("a full disk");
    let output = place.command(&["queue", "show", "nothing", "--json"]).stdout(full).output().expect("started");
    assert_eq!(output.status.code(), Some(3), "{}", err(&output));
    assert!(err(&output).contains("standard output"), "{}", err(&output));
}

/// Every line is one object with what a collector of logs needs.
fn objects(text: &str, what: &str) -> Vec<Value> {
    let read = |line: &str| -> Value {
        let object: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{what}: {error}: {line}"));
        for key in ["timestamp", "level", "message", "target"] {
            assert!(object[key].is_string(), "{what}: no `{key}` in {line}");
        }
        object
    };
    text.lines().map(read).collect()
}

#[test]
fn a_log_in_json_has_nothing_but_objects_in_it() {
    let place = Place::with_batch();
    let runs = [
        (0, vec!["--log", "json", "batch", "run", "sales", "--wait"]),
        (0, vec!["--log=json", "enqueue", "my-kind", "--payload", "{}"]),
        (0, vec!["--log", "json", "queue", "pause", "default", "--reason", "a\nb"]),
        (2, vec!["--log", "json", "job", "show", "no-id"]),
        (2, vec!["--log=json", "jub"]),
        (3, vec!["job", "show", "0198f9c1-0000-7000-8000-000000000000", "--log", "json"]),
        (8, vec!["--log", "json", "--store", "postgres://nobody@127.0.0.1:1/none", "job", "list"]),
    ];
    for (code, args) in runs {
        let output = place.run(&args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", err(&output));
        let found = objects(&err(&output), &format!("{args:?}"));
        assert!(!found.is_empty(), "{args:?}");
        assert!(code == 0 || found.iter().any(|line| line["level"] == "ERROR"), "{args:?}: {found:?}");
    }
    // By the environment and by the file, too, also when the command line is wrong.
    let output = place.command(&["jub"]).env("GRISTMILL_LOG_FORMAT", "json").output().expect("started");
    assert_eq!(objects(&err(&output), "the environment").len(), 1);
    place.write("config.toml", "[log]\nformat = \"json\"\n");
    let output = place.run(&["batch", "run", "nothing"]);
    assert!(!objects(&err(&output), "the file").is_empty());
}

#[test]
fn a_worker_whose_log_is_json_says_its_comings_and_goings_in_it() {
    let place = Place::new();
    place.expect(0, &["enqueue", "exec", "--payload", BAD, "--max-attempts", "1"]);
    let log = std::fs::File::create(place.path().join("log")).expect("a log");
    let mut worker = place.command(&["--log", "json", "worker"]).stderr(log).spawn().expect("started");
    let said = || std::fs::read_to_string(place.path().join("log")).expect("a log");
    until("it has begun, and the job is dead", || said().contains("worker and scheduler") && said().contains("dead"));
    let id = worker.id().to_string();
    assert!(std::process::Command::new("kill").arg(&id).status().expect("kill runs").success());
    assert_eq!(worker.wait().expect("ended").code(), Some(0));
    let lines = objects(&said(), "a worker");
    let says = |text: &str| lines.iter().any(|line| line["message"].as_str().is_some_and(|said| said.contains(text)));
    assert!(says("stop with Ctrl-C") && says("stopping: what runs is finished"), "{lines:?}");
}

#[test]
fn no_name_of_a_type_is_in_what_is_said_of_a_value() {
    let place = Place::new();
    place.write("line.jsonl", "5\n");
    place.write("kind.jsonl", "{\"kind\":\"email\",\"payload\":{\"to\":5}}\n");
    place.write("priority.jsonl", "{\"kind\":\"exec\",\"priority\":[]}\n");
    let table = |text: &str| {
        place.write("config.toml", text);
        place.run(&["check"])
    };
    let found = [
        place.run(&["enqueue", "exec"]),
        place.run(&["enqueue", "email", "--payload", "[]"]),
        place.run(&["enqueue", "http", "--payload", r#"{"url":"https://example.com/","headers":[]}"#]),
        place.run(&["enqueue", "webhook", "--payload", r#"{"url":{}}"#]),
        place.run(&["enqueue", "--jsonl", "line.jsonl"]),
        place.run(&["enqueue", "--jsonl", "kind.jsonl"]),
        place.run(&["enqueue", "--jsonl", "priority.jsonl"]),
        table("store = 5\n"),
        table("[mail]\nurl = []\n"),
        table("[batch.a]\nsource = 5\n"),
        table("[batch.a]\nsource = { csv = {} }\n"),
        table("[batch.a]\nsource = { csv = \"a\" }\non = 5\n"),
        table("[batch.a]\nsource = { csv = \"a\" }\non.settled = [5]\n"),
        table("[batch.a]\nsource = { csv = \"a\" }\nretry = 5\n"),
        table("[batch.a]\nsource = { csv = \"a\" }\nparse = { n = 5 }\n"),
        table("[schedule.a]\nevery = \"1h\"\njob = 5\n"),
        table("[hook.a]\njob = 5\n"),
        table("[limit.a]\nqueues = 5\n"),
    ];
    for output in found {
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), err(&output));
        assert!(matches!(output.status.code(), Some(2 | 9)), "{said}");
        for word in ["struct ", "enum ", "variant", "Payload", "Settings", "Spec", "OneOrMany", " u8", " u32", "usize"]
        {
            assert!(!said.contains(word), "`{word}` in: {said}");
        }
    }
}

#[test]
fn a_query_that_is_wrong_is_shown_at_its_own_line() {
    let schema = Schema::new();
    let place = Place::new();
    let run = |query: &str| {
        let source = format!("{{ sql = {{ url = \"{}\", query = \"\"\"{query}\"\"\", key = \"k\" }} }}", schema.url);
        place.write("config.toml", &format!("[batch.b]\nsource = {source}\n"));
        let output = place.run(&["batch", "run", "b"]);
        assert_ne!(output.status.code(), Some(0), "{query}");
        err(&output)
    };
    let said = run("select k,, v from uu");
    assert!(said.contains("syntax error at or near \",\" (42601), in line 1, column 10 of the query"), "{said}");
    assert!(!said.contains("at line"), "{said}");
    let said = run("select 1 as k,\n  nothing\nfrom (select 1) x");
    assert!(said.contains("in line 2, column 3 of the query"), "{said}");
}

#[test]
fn what_no_worker_could_run_is_refused_when_it_is_enqueued() {
    let place = Place::new();
    let mails = format!("{{\"payload\":{MAIL}}}\n{{\"payload\":{{\"to\":\"nobody\",\"template\":\"x\"}}}}\n");
    place.write("mails.jsonl", &mails);
    for (args, word) in [
        (&["enqueue", "email", "--payload", r#"{"too":"a@example.com"}"#][..], "too"),
        (&["enqueue", "email", "--payload", r#"{"to":"a@example.com"}"#], "`template`, or a `subject` and a `text`"),
        (&["enqueue", "email"], "it is null, and no object such as {\"to\""),
        (&["enqueue", "exec", "--payload", r#"{"command":[]}"#], "`command` is empty"),
        (&["enqueue", "http", "--payload", r#"{"url":"example.com"}"#], "not a URL"),
        (&["enqueue", "webhook", "--payload", r#"{"url":"https://example.com/"}"#], "type"),
        (&["enqueue", "email", "--jsonl", "mails.jsonl"], "mails.jsonl:2: `to`"),
        (&["schedule", "create", "s", "--every", "1h", "--kind", "exec", "--payload", "{\"comand\":[]}"], "comand"),
    ] {
        let output = place.run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", err(&output));
        assert!(err(&output).contains(word), "{args:?}: {}", err(&output));
    }
    assert_eq!(place.json(0, &["job", "list", "--json"]), Value::Array(Vec::new()));
    place.expect(0, &["enqueue", "exec", "--payload", TRUE]);
    place.expect(0, &["enqueue", "exec", "--payload", "7", "--payload-version", "2"]);
}

#[test]
fn the_retail_example_runs_on_its_own_sample() {
    let place = Place::new();
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/retail");
    std::fs::create_dir(place.path().join("schemas")).expect("made");
    for name in ["config.toml", "invoices.csv", "schemas/invoice.json"] {
        std::fs::copy(format!("{example}/{name}"), place.path().join(name)).expect(name);
    }
    place.expect(0, &["check"]);
    let done = place.json(0, &["batch", "run", "retail", "--wait", "--json"]);
    assert_eq!((&done["batch"]["counts"]["ok"], &done["batch"]["counts"]["quarantined"]), (&9.into(), &3.into()));
    assert_eq!((&done["result"]["rows"], &done["result"]["revenue"]), (&9.into(), &"453.29".into()));
    assert_eq!(done["result"]["by_country"]["Portugal"], "68");
}
