//! Values that others got wrong: each comes out as a standard says, or is set aside with a reason.

use serde_json::{Value, json};

use crate::place::Place;

/// Runs a batch to its end, and returns the document, the lines of its output, and what was set aside.
fn run(config: &str, name: &str, input: &str) -> (Value, Vec<Value>, Vec<Value>) {
    let place = Place::new();
    let source = if name.ends_with(".csv") { "csv" } else { "jsonl" };
    let head = format!(
        "[batch.b]\nsource = {{ {source} = \"{name}\" }}\ntolerate = \"100%\"\noutput = {{ jsonl = \"out\" }}\n"
    );
    place.write("config.toml", &format!("{head}{config}\n"));
    place.write(name, input);
    place.write("look.csv", "k,name\na,Alpha\nb,Beta\n");
    let ended = place.json(0, &["batch", "run", "b", "--wait", "--json"]);
    let aside = place.json(0, &["quarantine", "list", "--json"]);
    let mut lines = Vec::new();
    for folder in std::fs::read_dir(place.path().join("out")).expect("an output") {
        for part in std::fs::read_dir(folder.expect("a folder").path()).expect("readable") {
            let path = part.expect("a file").path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("part")) {
                let text = std::fs::read_to_string(path).expect("a part");
                lines.extend(text.lines().map(|line| gristmill_core::json::read(line.as_bytes()).expect("JSON")));
            }
        }
    }
    (ended, lines, aside.as_array().cloned().expect("a list"))
}

#[test]
fn null_is_nothing_and_not_a_text() {
    let config = "transform = \".name = null\"\nenrich = [{ file = \"look.csv\", on = \"k\", missing = \"keep\" }]\n\
                  aggregate = { by = { group = \"name\", count = true } }";
    let (ended, _, aside) = run(config, "in.csv", "k,v\na,1\nb,2\nc,3\n");
    assert_eq!((&ended["result"]["by"], aside.len()), (&json!({ "Alpha": 1, "Beta": 1, "null": 1 }), 0));
    let config = "aggregate = { g = { group = \"k\", sum = \"v\" }, d = { distinct = \"k\" } }";
    let (ended, ..) = run(config, "in.jsonl", "{\"k\":null,\"v\":1}\n{\"k\":\"null\",\"v\":2}\n");
    assert_eq!(ended["result"], json!({ "g": { "null": "1", "\"null\"": "2" }, "d": 1 }));
    let config = "parse = { zip = \"text\" }\naggregate = { lo = { min = \"zip\" }, hi = { max = \"zip\" } }";
    let (ended, ..) = run(config, "in.csv", "zip,st\n00501,NY\n01001,MA\n");
    assert_eq!(ended["result"], json!({ "lo": "00501", "hi": "01001" }));
}

#[test]
fn a_date_is_what_it_says_or_set_aside() {
    let config = "parse = { d = { type = \"date\", format = [\"%Y-%m-%d\", \"%d-%m-%y\"] } }";
    let (_, lines, aside) = run(config, "in.csv", "d\n30-09-19\n2019-09-30\n31/01/-26\n");
    assert_eq!((lines, aside.len()), (vec![json!({ "d": "2019-09-30" }), json!({ "d": "2019-09-30" })], 1));
    let (_, lines, aside) = run("parse = { d = \"date\" }", "in.csv", "d\n+026-01-31\n-026-01-31\n");
    assert_eq!((lines.len(), aside.len()), (0, 2));
    let config = "parse = { t = { type = \"datetime\", format = [\"%s\", \"%+\"] } }";
    let (_, lines, aside) = run(
        config,
        "in.csv",
        "t\n1767225600123\n9999-12-31T23:59:59-01:00\n0000-01-01T00:00:00+01:00\n2016-12-31T23:59:60Z\n1767225600\n",
    );
    assert_eq!((lines, aside.len()), (vec![json!({ "t": "2026-01-01T00:00:00Z" })], 4));
}

#[test]
fn a_format_that_could_only_go_wrong_is_found_by_check() {
    let place = Place::new();
    for (rule, word) in [
        ("{ type = \"datetime\", format = \"%Y-%m-%d\" }", "time of day"),
        ("{ type = \"datetime\", format = \"%Y-%m-%d %H:%M %Z\" }", "%Z"),
        ("{ type = \"date\", format = \"%d.%m.%y\", two_digit_year = \"refuse\" }", "two digits"),
    ] {
        place.write("config.toml", &format!("[batch.b]\nsource = {{ csv = \"in.csv\" }}\nparse = {{ t = {rule} }}\n"));
        place.write("in.csv", "t\n2026-01-31\n");
        let output = place.run(&["check"]);
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(!output.status.success() && said.contains(word) && said.contains("parse"), "{rule}: {said}");
    }
}

#[test]
fn a_number_is_exact_or_set_aside() {
    let input = "v\n12345678901234567890123456789.5e0\n0.00000000000000000000000000005e0\n\
                 1.2345678901234567890123456789012e5\n12345678901234567890123456789.5\n1.5e2\n";
    let (ended, lines, aside) =
        run("parse = { v = \"decimal\" }\naggregate = { s = { sum = \"v\" } }", "in.csv", input);
    assert_eq!((lines, aside.len()), (vec![json!({ "v": "150" })], 4));
    assert_eq!(ended["result"], json!({ "s": "150" }));
    let config =
        "parse = { v = \"money\" }\naggregate = { g = { group = \"v\", count = true }, d = { distinct = \"v\" } }";
    let (ended, ..) = run(config, "in.csv", "v\n(0.00)\n0\n");
    assert_eq!(ended["result"], json!({ "g": { "0": 2 }, "d": 1 }));
}

#[test]
fn a_key_that_means_something_to_a_library_goes_through_as_it_came() {
    let line = |text: &str| json!({ "v": { "$serde_json::private::RawValue": text } });
    let input = ["1", "123456789.123456789", "x"].map(line);
    let text: String = input.iter().map(|item| format!("{item}\n")).collect();
    let (_, lines, aside) = run("", "in.jsonl", &text);
    assert_eq!((lines, aside.len()), (input.to_vec(), 0));
}

#[test]
fn a_payload_that_could_not_be_read_back_is_refused_and_costs_no_other() {
    let place = Place::new();
    place.write("config.toml", "");
    let deep = format!("{{\"input\":{}1{}}}", "[".repeat(64), "]".repeat(64));
    for (payload, word) in
        [(deep.as_str(), "deeper than 64"), ("{\"id\":123456789012345678901234567890}", "more digits")]
    {
        let output = place.run(&["enqueue", "mine", "--payload", payload]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && said.contains(word), "{said}");
    }
    place.expect(2, &["enqueue", "mine", "--at", "26-01-31T08:00:00Z"]);
    let odd = json!({ "input": { "$serde_json::private::RawValue": "[".repeat(100) } });
    place.expect(0, &["enqueue", "mine", "--payload", &odd.to_string()]);
    // Not by the reader of the other tests, for which the key is no ordinary one.
    let read = |text: String| gristmill_core::json::read(text.as_bytes()).expect("JSON");
    let jobs = read(place.expect(0, &["job", "list", "--json"]));
    let id = jobs[0]["id"].as_str().expect("an id");
    assert_eq!(read(place.expect(0, &["job", "show", id, "--json"]))["payload"], odd);
}

#[test]
fn ticks_follow_the_laws_of_2026() {
    let place = Place::new();
    for (zone, tick) in [("America/Vancouver", "2026-12-01T16:00:00Z"), ("Africa/Casablanca", "2026-12-01T09:00:00Z")] {
        let job = "job = { kind = \"mine\" }";
        place.write("config.toml", &format!("[schedule.s]\ncron = \"0 9 * * *\"\ntimezone = \"{zone}\"\n{job}\n"));
        let next = place.json(0, &["schedule", "next", "s", "--from", "2026-12-01T00:00:00", "-n", "1", "--json"]);
        assert_eq!((&next["next"][0]["tick"], &next["timezone"]), (&json!(tick), &json!(zone)));
        assert!(next["tzdb"].as_str().is_some_and(|edition| edition >= "2026f"), "{next}");
    }
    let report = place.doctor(0, &[]);
    let findings = report["findings"].as_array().expect("findings");
    assert!(findings.iter().any(|finding| finding["what"] == "time zones"), "{report}");
    place.write("config.toml", "[scheduler]\nzoneinfo = \"nowhere\"\n");
    let output = place.run(&["check"]);
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!output.status.success() && said.contains("has no time zones"), "{said}");
}
