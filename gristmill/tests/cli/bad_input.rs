//! Errors are reported: what, where, and what would be right; and a batch that cannot start leaves nothing behind.

use std::io::{BufWriter, Write};
use std::process::Output;

use serde_json::Value;

use crate::place::Place;
use crate::servers::{Broker, Schema};

const HEAD: &str = "[batch.b]\nsource = { csv = \"in.csv\" }\n";

/// What an input is, its bytes if there is one, the exit code, and parts of the message.
type Input<'a> = (&'a str, Option<Vec<u8>>, i32, &'a [&'a str]);

/// Asserts what a command reports, and that it ends with this code and leaves nothing behind.
fn refused(place: &Place, code: i32, args: &[&str], parts: &[&str]) {
    let output = place.run(args);
    says(&output, code, parts, &format!("{args:?}"));
    nothing_left(place, args);
}

fn says(output: &Output, code: i32, parts: &[&str], what: &str) {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{what}\n{out}\n{err}");
    for part in parts {
        assert!(err.contains(part) || out.contains(part), "{what}\nlacks `{part}`:\n{out}\n{err}");
    }
    assert!(!err.contains("panicked"), "{what}\n{err}");
}

/// A wrong configuration hides the list of batches too: the list is requested without one.
fn nothing_left(place: &Place, what: &[&str]) {
    let _ = std::fs::remove_file(place.path().join("config.toml"));
    assert_eq!(place.json(0, &["batch", "list", "--json"]), Value::Array(Vec::new()), "{what:?}");
    assert_eq!(place.json(0, &["job", "list", "--json"]), Value::Array(Vec::new()), "{what:?}");
}

#[test]
fn a_wrong_configuration_is_shown_at_its_place() {
    let with = |line: &str| format!("{HEAD}{line}\n");
    let table: [(String, &[&str]); 19] = [
        (
            "[scheduler.duties]\npromote = \"0s\"\n".to_owned(),
            &["config.toml:2", "scheduler.duties.promote", "is 0", "such as `200ms`"],
        ),
        (
            "[scheduler]\nreconcile = \"0s\"\n".to_owned(),
            &["config.toml:2", "scheduler.duties.reconcile", "such as `1m`"],
        ),
        (
            "[scheduler]\nrows_max = 0\n".to_owned(),
            &["config.toml:2", "scheduler.rows_max", "at least 1, such as 1000"],
        ),
        ("[scheduler]\nbatch = 0\n".to_owned(), &["config.toml:2", "scheduler.rows_max", "at least 1"]),
        (
            "[batch.b]\nsource = { csv = \"in.csv\" }\ntolerat = 1\n".to_owned(),
            &["config.toml:3", "tolerat", "`tolerate`"],
        ),
        ("[workr]\nslots = 1\n".to_owned(), &["config.toml:1", "did you mean `worker`?"]),
        (with("timeout = \"5 minuts\""), &["config.toml:3", "batch.b.timeout", "`5 minuts` is not a duration"]),
        (with("schedule = { cron = \"0 25 * * *\" }"), &["config.toml:3", "batch.b.schedule.cron", "`0 2 * * *`"]),
        (
            with("schedule = { cron = \"0 2 * * *\", timezone = \"Europe/Pariss\" }"),
            &["config.toml:3", "`Europe/Paris`"],
        ),
        (
            with("on.settled = [{ webhook = \"example.com/x\" }]"),
            &["config.toml:3", "webhook", "https://example.com/hook"],
        ),
        (with("on.settled = [{ email = { to = \"ops\" } }]"), &["config.toml:3", "`ops` is not an email address"]),
        (
            with("on.settled = [{ email = { to = \"a@b.c\", template = \"batch-reprot\" } }]"),
            &["config.toml:3", "did you mean `batch-report`?"],
        ),
        (with("transform = \".a +\""), &["config.toml:3", "batch.b.transform"]),
        (with("validate = { inline = { type = \"objekt\" } }"), &["config.toml:3", "batch.b.validate"]),
        (with("validate = { schema = \"none.json\" }"), &["config.toml:3", "none.json", "cannot be read"]),
        (
            "[batch.b]\nsource = { csv = \"in.csv\", encoding = \"utf-9\" }\n".to_owned(),
            &["config.toml:2", "batch.b.source", "`utf-8`"],
        ),
        (with("chunk = 0"), &["config.toml:3", "a chunk has 1 to 100000 items"]),
        (with("process = { rust = \"nobody\" }"), &["config.toml:3", "batch.b.process", "nobody"]),
        ("[batch.b\n".to_owned(), &["config.toml:1"]),
    ];
    for (config, parts) in table {
        let place = Place::new();
        place.write("in.csv", "a\n1\n");
        place.write("config.toml", &config);
        let checked = place.run(&["check"]);
        says(&checked, 9, parts, &config);
        refused(&place, 2, &["batch", "run", "b", "--wait"], parts);
    }
}

#[test]
fn an_input_that_cannot_be_read_is_shown_at_its_place() {
    let wide = (0..10_000).map(|n| format!("c{n}")).collect::<Vec<_>>().join(",");
    let table: [Input; 6] = [
        ("missing", None, 3, &["in.csv", "there is no such file"]),
        ("empty", Some(Vec::new()), 2, &["in.csv", "header"]),
        (
            "of another encoding",
            Some(b"Jos\xe9\n1\n".to_vec()),
            2,
            &["in.csv:1", "not UTF-8", "`encoding = \"windows-1252\"`"],
        ),
        ("ragged", Some(b"a,b\n1,2\n3\n".to_vec()), 2, &["in.csv:3", "the row has 1 field, the header has 2"]),
        ("wide", Some(format!("{wide}\n{wide}\n").into_bytes()), 2, &["in.csv:1", "10000 columns", "4096"]),
        ("binary", Some(b"\x1f\x8b\x08\x00torn".to_vec()), 2, &["in.csv", "gzip data is damaged"]),
    ];
    for (what, bytes, code, parts) in table {
        let place = Place::new();
        place.write("config.toml", "[batch.b]\nsource = { csv = \"in.csv\", ragged = \"error\" }\n");
        if let Some(bytes) = bytes {
            std::fs::write(place.path().join("in.csv"), bytes).expect("written");
        }
        let run = ["batch", "run", "b", "--wait"];
        says(&place.run(&run), code, parts, what);
        nothing_left(&place, &run);
    }
    let place = Place::new();
    place.write("config.toml", HEAD);
    std::fs::create_dir(place.path().join("in.csv")).expect("a folder");
    refused(&place, 2, &["batch", "run", "b"], &["in.csv", "cannot be read"]);
}

#[test]
fn a_record_of_another_encoding_and_a_ragged_row_are_set_aside_with_their_line() {
    let place = Place::new();
    place.write("config.toml", &format!("{HEAD}tolerate = 5\n"));
    std::fs::write(place.path().join("in.csv"), b"a,b\n1,2\nJos\xe9,2\n3\n").expect("written");
    let done = place.json(0, &["batch", "run", "b", "--wait", "--json"]);
    assert_eq!(done["batch"]["counts"]["quarantined"], 2);
    let items = place.json(0, &["quarantine", "list", "--json"]);
    let of_line = |line: u64| {
        let item = items.as_array().expect("a list").iter().find(|item| item["line"] == line).expect("the line");
        item["reason"].as_str().expect("a reason").to_owned()
    };
    assert!(of_line(3).contains("not UTF-8") && of_line(3).contains("encoding"), "{}", of_line(3));
    assert!(of_line(4).contains("1 field"), "{}", of_line(4));
}

#[test]
fn a_line_of_100_megabytes_is_refused_at_its_line() {
    let place = Place::new();
    place.write("config.toml", HEAD);
    let file = std::fs::File::create(place.path().join("in.csv")).expect("a file");
    let mut file = BufWriter::new(file);
    file.write_all(b"a\n1\n").expect("written");
    for _ in 0..100 {
        file.write_all(&[b'x'; 1024 * 1024]).expect("written");
    }
    file.flush().expect("written");
    refused(&place, 2, &["batch", "run", "b", "--wait"], &["in.csv:3", "record_bytes_max"]);
}

#[test]
fn a_bad_flag_or_payload_is_refused_with_what_would_be_right() {
    let huge = format!("\"{}\"", "x".repeat(2 * 1024 * 1024));
    let table: [(&[&str], &[&str]); 9] = [
        (&["enqueue", "emial", "--payload", "{}"], &["did you mean `email`?"]),
        (&["enqueue", "email", "--payload", "@huge.json"], &["huge.json", "bytes", "object store"]),
        (&["enqueue", "email", "--payload", "@none.json"], &["none.json", "cannot be read"]),
        (&["enqueue", "email", "--in", "5 minuts"], &["5 minuts", "duration"]),
        (&["enqueue", "email", "--unique", "k", "--unique-while", "queued"], &["lack `scheduled`", "slips through"]),
        (&["enqueue", "email", "--unique", "k", "--on-conflict", "debounce=0s"], &["debounce of 0"]),
        (&["enqueue", "email", "--on-conflict", "replace"], &["no key is given", "--unique KEY"]),
        (&["enqueue", "email", "--max-attempts", "0"], &["--max-attempts", "1..=10000"]),
        (&["batch", "run", "b", "--chunk", "0"], &["--chunk", "1..=100000"]),
    ];
    for (args, parts) in table {
        let place = Place::new();
        place.write("config.toml", HEAD);
        place.write("in.csv", "a\n1\n");
        place.write("huge.json", &huge);
        refused(&place, 2, args, parts);
    }
}

#[test]
fn a_nul_byte_runs_through_and_is_quarantined_on_both_stores() {
    let schema = Schema::new();
    let server = schema.migrated();
    for store in ["sqlite://gristmill.db", &server] {
        let place = Place::new();
        place.write("config.toml", &format!("{HEAD}tolerate = 9\nparse = {{ n = \"integer\" }}\n"));
        place.write("in.csv", "n,t\n1,a\0b\nx\0,c\n");
        let done = place.json(0, &["--store", store, "batch", "run", "b", "--wait", "--json"]);
        let counts = &done["batch"]["counts"];
        assert_eq!((&counts["ok"], &counts["quarantined"]), (&1.into(), &1.into()), "{store}\n{done:#}");
    }
}

#[test]
fn a_database_without_migrations_or_with_newer_ones_is_left_alone() {
    let schema = Schema::new();
    let place = Place::new();
    place.write("config.toml", HEAD);
    place.write("in.csv", "a\n1\n");
    let run = ["--store", &schema.url, "batch", "run", "b"];
    says(&place.run(&run), 5, &["lacks", "db migrate"], "no migrations");
    assert_eq!(schema.tables(), 0, "nothing was made in it");
    schema.migrated();
    schema.change("INSERT INTO _gristmill_migrations (version, description, success, checksum, execution_time) VALUES (999999, 'later', true, '', 0)");
    says(&place.run(&run), 5, &["newer", "999999", "use a newer gristmill"], "newer migrations");
    assert_eq!(schema.count("SELECT count(*) FROM batch"), 0);
    let report = place.doctor(9, &["--store", &schema.url]);
    let found = report["findings"].as_array().expect("findings").iter().find(|f| f["what"] == "migrations");
    assert_eq!(found.expect("migrations")["remedy"], "use a newer gristmill");
}

#[test]
fn a_broker_that_refuses_the_login_leaves_no_batch() {
    let place = Place::new();
    place.write("config.toml", HEAD);
    place.write("in.csv", "a\n1\n");
    let broker = Broker::new();
    let wrong = broker.with_password("wrong-on-purpose");
    for args in [&["batch", "run", "b"][..], &["dev"]] {
        let output = place.run(&[&["--broker", wrong.as_str()][..], args].concat());
        says(&output, 4, &["refuse", "user"], &format!("{args:?}"));
        assert!(!String::from_utf8_lossy(&output.stderr).contains("wrong-on-purpose"), "the password is not shown");
    }
    let report = place.doctor(9, &["--broker", &wrong]);
    let found = report["findings"].as_array().expect("findings").iter().find(|f| f["what"] == "broker").expect("it");
    assert!(found["remedy"].as_str().expect("a text").contains("[broker] url"), "{found}");
    assert!(!report.to_string().contains("wrong-on-purpose"), "the password is not shown");
    nothing_left(&place, &["batch", "run", "b"]);
}

#[test]
fn a_queue_with_other_arguments_is_named() {
    let place = Place::new();
    place.write("config.toml", HEAD);
    place.write("in.csv", "a\n1\n");
    let broker = Broker::new();
    let queue = broker.odd_queue();
    let mut command = place.command(&["--broker", &broker.url, "dev"]);
    let output = command.env("GRISTMILL_BROKER_NAMESPACE", &broker.namespace).output().expect("started");
    says(&output, 5, &[&queue, "arguments"], "dev");
    nothing_left(&place, &["dev"]);
}

#[test]
fn a_disk_that_is_full_fails_the_chunk_and_keeps_what_is_done() {
    let schema = Schema::new();
    let store = schema.migrated();
    let place = Place::new();
    place.write(
        "config.toml",
        &format!("{HEAD}chunk = 1\nmax_attempts = 1\ntolerate = 5\noutput = {{ jsonl = \"out\" }}\n"),
    );
    place.write("in.csv", &format!("n,t\n1,small\n2,{}\n", "x".repeat(600 * 1024)));
    let script = "trap '' XFSZ; ulimit -f 128; exec \"$@\"";
    let mut command = std::process::Command::new("sh");
    command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_gristmill"), "--store", &store]);
    command.args(["batch", "run", "b", "--wait", "--json"]).current_dir(place.path());
    let output = command.output().expect("started");
    says(&output, 0, &["\"ok\": 1", "\"quarantined\": 1"], "a full disk");
    let dead = place.json(0, &["--store", &store, "dead", "list", "--json"]);
    let error = dead[0]["error"].as_str().expect("an error");
    assert!(error.contains("out") && error.contains("File too large"), "{error}");
}
