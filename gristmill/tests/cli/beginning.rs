//! `gristmill init`: each template runs as it is, and nothing that is there is overwritten.

use std::process::Command;

use serde_json::json;

use crate::place::Place;

fn begun(template: &str) -> Place {
    let place = Place::new();
    let said = place.json(0, &["init", "--template", template, "--json"]);
    for file in said["files"].as_array().expect("files") {
        assert!(place.path().join(file.as_str().expect("a name")).is_file(), "{file}");
    }
    assert_eq!(place.json(0, &["check", "--json"])["problems"], json!([]));
    place
}

#[test]
fn the_template_of_a_csv_file_runs() {
    let place = begun("csv");
    let tried = place.json(0, &["batch", "try", "sales", "--json"]);
    assert_eq!(tried["items"].as_array().map(Vec::len), Some(6));
    let found = place.json(0, &["batch", "run", "sales", "--wait", "--json"]);
    assert_eq!((&found["batch"]["counts"]["ok"], &found["batch"]["counts"]["quarantined"]), (&json!(5), &json!(1)));
    let first = json!({ "country": "France", "sales": 2, "revenue": "30", "middle": "15" });
    assert_eq!(found["result"]["countries"][0], first);
    let id = found["batch"]["id"].as_str().expect("an id");
    let csv = place.expect(0, &["batch", "results", id, "--format", "csv", "--of", "countries"]);
    assert_eq!(csv.lines().next(), Some("country,sales,revenue,middle"));
    assert_eq!(csv.lines().count(), 4, "{csv}");
    assert_eq!(place.expect(0, &["batch", "try", "sales", "--limit", "1"]).matches("item ").count(), 1);
    let markdown = place.expect(0, &["batch", "results", id, "--format", "markdown"]);
    assert!(markdown.contains("## figures") && markdown.contains("| France | 2 | 30 | 15 |"), "{markdown}");
    place.expect(2, &["batch", "results", id, "--format", "csv"]);
    place.expect(3, &["batch", "results", id, "--format", "csv", "--of", "nothing"]);
}

#[test]
fn a_check_shows_what_files_look_like_and_which_delimiter_fits() {
    let place = begun("csv");
    let looks = &place.json(0, &["check", "--json"])["sources"];
    assert_eq!(
        (&looks[0]["batch"], &looks[0]["columns"][1], &looks[0]["better"]),
        (&json!("sales"), &json!("country"), &json!(null))
    );
    assert_eq!(looks[0]["rows"].as_array().map(Vec::len), Some(3));
    place.write("sales.csv", "day;country;quantity;price\n2026-01-30;Norway;3;2,55\n");
    let output = place.run(&["check"]);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains("sales.csv has"), "{out}");
    assert!(err.contains("write `delimiter = \";\"`"), "{err}");
}

#[test]
fn the_template_of_a_query_runs() {
    let place = begun("sql");
    let found = place.json(0, &["batch", "run", "orders", "--wait", "--json"]);
    assert_eq!(found["result"]["revenue"], "22.5");
    let rows = json!([
        { "who.name": "Ada", "orders": 2, "revenue": "20" },
        { "who.name": "Bob", "orders": 1, "revenue": "2.5" },
    ]);
    assert_eq!(found["result"]["customers"], rows);
}

#[test]
fn the_template_of_a_mailing_writes_each_letter_once() {
    let place = begun("mailing");
    for _ in 0..2 {
        place.expect(0, &["batch", "run", "welcome", "--idempotency-key", "spring", "--wait"]);
    }
    let mails: Vec<_> = std::fs::read_dir(place.path().join("mails")).expect("a folder").collect();
    assert_eq!(mails.len(), 2);
}

#[test]
fn the_template_of_a_program_is_a_package_and_its_program_is_part_of_this_test() {
    let place = begun("rust");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let read = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(place.path())
        .output()
        .expect("cargo");
    let package: serde_json::Value = serde_json::from_slice(&read.stdout).expect("JSON");
    assert_eq!(package["packages"][0]["name"], "my-jobs");
    assert_eq!(package["packages"][0]["targets"][0]["kind"], json!(["bin"]));
    // Compiled with this test.
    drop(program::app());
}

#[allow(dead_code, reason = "its `main` is not run here")]
#[path = "../../templates/rust/src/main.rs"]
mod program;

#[test]
fn nothing_that_is_there_is_overwritten() {
    let place = Place::new();
    place.write("sales.csv", "mine\n");
    let error = place.json(5, &["init", "--template", "csv", "--json"]);
    assert!(error["error"]["message"].as_str().expect("a message").contains("sales.csv"), "{error}");
    assert_eq!(std::fs::read_to_string(place.path().join("sales.csv")).expect("there"), "mine\n");
    assert!(!place.path().join("config.toml").exists());
}

#[cfg(unix)]
#[test]
fn nothing_is_written_through_a_link() {
    use std::os::unix::fs::symlink;
    let outside = tempfile::tempdir().expect("a folder");
    let dangling = |name: &str, to: &str| {
        let place = Place::new();
        symlink(outside.path().join(to), place.path().join(name)).expect("a link");
        place
    };
    for (place, template) in [
        (dangling("config.toml", "config.toml"), "csv"),
        (dangling("shop.db", "shop.db"), "sql"),
        (dangling("letters", ""), "mailing"),
    ] {
        let error = place.json(5, &["init", "--template", template, "--json"]);
        assert!(error["error"]["message"].as_str().expect("a message").contains("nothing was written"), "{error}");
        assert_eq!(std::fs::read_dir(place.path()).expect("a folder").count(), 1, "the link alone");
    }
    assert_eq!(std::fs::read_dir(outside.path()).expect("a folder").count(), 0);
}

#[test]
fn a_trial_reads_no_further_than_it_shows_and_touches_no_folder() {
    let place = Place::new();
    std::fs::create_dir(place.path().join("out")).expect("made");
    place.write(
        "config.toml",
        "[batch.b]\nsource = { csv = \"in.csv\", ragged = \"error\" }\noutput = { jsonl = \"out/deep\" }\n",
    );
    // The last row would keep a batch from being planned.
    place.write("in.csv", &format!("n\n{}1,2\n", "1\n".repeat(100_000)));
    let state =
        |name: &str| std::fs::metadata(place.path().join(name)).and_then(|found| found.modified()).expect("a time");
    let before = (state("."), state("out"));
    let tried = place.json(0, &["batch", "try", "b", "--limit", "3", "--json"]);
    assert_eq!(tried["items"].as_array().map(Vec::len), Some(3));
    assert_eq!((state("."), state("out")), before);
    place.expect(2, &["batch", "run", "b"]);
}

#[test]
fn tables_in_a_terminal_are_not_obeyed_by_it() {
    let place = Place::new();
    place.write(
        "config.toml",
        "[batch.b]\nsource = { csv = \"in.csv\" }\naggregate = { by = { group = \"n\", count = true } }\n",
    );
    place.write("in.csv", "n\n\u{1b}[31mred\n[x](http://example.com)\n");
    let found = place.json(0, &["batch", "run", "b", "--wait", "--json"]);
    let id = found["batch"]["id"].as_str().expect("an id");
    for format in ["csv", "markdown"] {
        let shown = place.expect(0, &["batch", "results", id, "--format", format, "--of", "by"]);
        assert!(shown.contains("\\u{1b}") && !shown.contains('\u{1b}'), "{shown}");
    }
    let markdown = place.expect(0, &["batch", "results", id, "--format", "markdown"]);
    assert!(!markdown.contains("[x](") && !markdown.contains("http://"), "{markdown}");
}
