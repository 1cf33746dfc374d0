//! docs/batch.md has every key that a definition may have, its examples are taken, and what it says is refused, is.

use std::collections::BTreeSet;

use gristmill_core::aggregate::{HavingSpec, MeasureSpec};
use gristmill_core::definition::{
    AggregateJob, BatchDefinition, Callback, Callbacks, EmailEffect, EnrichSpec, ExecSpec, FixedField, FormatSpec,
    HttpSpec, JoinSpec, OutputSpec, ParseRule, ProcessSpec, SanitizeSpec, SourceSpec, SqlLookup, SqlOutput, SqlSource,
    ValidateSpec,
};
use gristmill_core::mailing::{MailSpec, VariantSpec};
use gristmill_jobs::kind::payload::{EmailPayload, ExecPayload, HttpPayload, NotifyPayload, WebhookPayload};
use serde::de::DeserializeOwned;
use serde_json::json;

#[allow(dead_code, reason = "the tests of the command line use more of it")]
#[path = "cli/place.rs"]
mod place;

use place::Place;

const DOCUMENT: &str = include_str!("../../docs/batch.md");

/// The keys that a type is read from, as its own error names them.
fn keys<T: DeserializeOwned>() -> BTreeSet<String> {
    let Err(error) = serde_json::from_value::<T>(json!({ "no such key": null })) else { panic!("it took any key") };
    let text = error.to_string();
    let (_, known) = text.split_once("expected").unwrap_or_else(|| panic!("{text}"));
    known.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The heading of a table in the document, and the keys that the parser knows there.
fn sections() -> Vec<(&'static str, BTreeSet<String>)> {
    vec![
        ("`[batch.NAME]`", keys::<BatchDefinition>()),
        ("`source`", keys::<SourceSpec>()),
        ("`source.join[]`", keys::<JoinSpec>()),
        ("`source.fields[]`", keys::<FixedField>()),
        ("`source.sql`", keys::<SqlSource>()),
        ("`aggregate_job`", keys::<AggregateJob>()),
        ("`validate`", keys::<ValidateSpec>()),
        ("`sanitize`", keys::<SanitizeSpec>()),
        ("`parse.FIELD`", keys::<ParseRule>()),
        ("`enrich[]`", keys::<EnrichSpec>()),
        ("`enrich[].sql`", keys::<SqlLookup>()),
        ("`process`", keys::<ProcessSpec>()),
        ("`process.exec`", keys::<ExecSpec>()),
        ("`process.http`", keys::<HttpSpec>()),
        ("`format`", keys::<FormatSpec>()),
        ("`output`", keys::<OutputSpec>()),
        ("`output.sql`", keys::<SqlOutput>()),
        ("`mail`", keys::<MailSpec>()),
        ("`mail.variants[]`", keys::<VariantSpec>()),
        ("`aggregate.NAME`", keys::<MeasureSpec>()),
        ("`having.MEASURE`", keys::<HavingSpec>()),
        ("`on`", keys::<Callbacks>()),
        ("`on.EVENT[]`", keys::<Callback>()),
        ("`on.EVENT[].email`", keys::<EmailEffect>()),
    ]
}

/// The rows of the tables under a heading, each as its cells.
fn rows(heading: &str) -> Vec<Vec<&'static str>> {
    let begin = format!("\n## {heading}\n");
    let (_, after) = DOCUMENT.split_once(&begin).unwrap_or_else(|| panic!("no heading {heading}"));
    let section = after.split("\n## ").next().unwrap_or_default();
    let cells = |line: &'static str| line.trim_matches('|').split(" | ").map(str::trim).collect::<Vec<_>>();
    section.lines().filter(|line| line.starts_with("| `")).map(cells).collect()
}

fn code(cell: &str) -> &str {
    cell.trim_matches('`')
}

#[test]
fn every_key_of_a_definition_stands_in_the_document_and_no_other() {
    for (heading, known) in sections() {
        let written: Vec<String> = rows(heading).iter().map(|row| code(row[0]).to_owned()).collect();
        let unique: BTreeSet<String> = written.iter().cloned().collect();
        assert_eq!(unique.len(), written.len(), "{heading}: a key stands there twice");
        assert_eq!(unique, known, "{heading}");
    }
    let payloads = rows("Payloads of the built-in kinds");
    for (kind, known) in [
        ("email", keys::<EmailPayload>()),
        ("webhook", keys::<WebhookPayload>()),
        ("notify", keys::<NotifyPayload>()),
        ("exec", keys::<ExecPayload>()),
        ("http", keys::<HttpPayload>()),
    ] {
        let of_kind = payloads.iter().filter(|row| code(row[0]) == kind);
        assert_eq!(of_kind.map(|row| code(row[1]).to_owned()).collect::<BTreeSet<_>>(), known, "{kind}");
    }
}

/// A configuration around a line of a source of files.
fn source_around(heading: &str, key: &str, line: &str, example: bool) -> String {
    let unless = |keys: &[&str], base: &str| if keys.contains(&key) { String::new() } else { format!("{base}\n") };
    let fields = "fields = [{ name = \"id\", start = 1, width = 4 }]\n";
    match (heading, key) {
        ("`source`", "fixed") if example => format!("[batch.b.source]\n{fields}{line}\n"),
        ("`source`", "fields") => format!("[batch.b.source]\nfixed = \"in.txt\"\n{line}\n"),
        ("`source`", "by") => format!("[batch.b.source]\nmerge = [{{ csv = \"in.csv\" }}]\n{line}\n"),
        ("`source`", _) => {
            let base = unless(&["csv", "jsonl", "fixed", "sql", "merge"], "csv = \"in.csv\"");
            format!("[batch.b.source]\n{base}{line}\n")
        }
        ("`source.join[]`", _) => {
            let base = unless(&["with"], "with = { csv = \"more.csv\" }") + &unless(&["on"], "on = \"id\"");
            format!("[batch.b.source]\ncsv = \"in.csv\"\n[[batch.b.source.join]]\n{base}{line}\n")
        }
        _ => {
            let base = [("name", "\"id\""), ("start", "1"), ("width", "4")];
            let base = base.map(|(name, value)| unless(&[name], &format!("{name} = {value}")));
            format!("[batch.b.source]\nfixed = \"in.txt\"\n[[batch.b.source.fields]]\n{}{line}\n", base.concat())
        }
    }
}

/// A configuration around a line of a section. `example`: it has what else the line needs.
fn around(heading: &str, key: &str, line: &str, example: bool) -> String {
    let sets = |keys: &[&str]| keys.contains(&key);
    let unless = |keys: &[&str], base: &str| if sets(keys) { String::new() } else { format!("{base}\n") };
    let source = "[batch.b]\nsource = { csv = \"in.csv\" }\n";
    let body = match heading {
        "`[batch.NAME]`" => format!("[batch.b]\n{}{line}\n", unless(&["source"], "source = { csv = \"in.csv\" }")),
        "`source`" | "`source.join[]`" | "`source.fields[]`" => source_around(heading, key, line, example),
        "`source.sql`" => {
            let query = if key == "bind" { "SELECT {{0}}, {{1}}" } else { "SELECT 1" };
            let base = [("url", "env:SHOP"), ("query", query), ("key", "id")];
            let base = base.map(|(name, value)| unless(&[name], &format!("{name} = \"{value}\"")));
            format!("[batch.b.source.sql]\n{}{line}\n", base.concat())
        }
        "`parse.FIELD`" => format!("{source}[batch.b.parse.f]\n{}{line}\n", rule(key)),
        "`enrich[]`" => {
            let base = unless(&["file", "sql"], "file = \"lookup.csv\"") + &unless(&["on"], "on = \"id\"");
            format!("{source}[[batch.b.enrich]]\n{base}{line}\n")
        }
        "`enrich[].sql`" => {
            let base = unless(&["url"], "url = \"env:SHOP\"") + &unless(&["table"], "table = \"t\"");
            format!("{source}[[batch.b.enrich]]\non = \"id\"\n[batch.b.enrich.sql]\n{base}{line}\n")
        }
        "`process`" => {
            let base = unless(&["rust", "exec", "http"], "http = { url = \"https://example.com/\" }");
            format!("{source}[batch.b.process]\n{base}{line}\n")
        }
        "`process.exec`" => {
            format!("{source}[batch.b.process.exec]\n{}{line}\n", unless(&["command"], "command = [\"/bin/cat\"]"))
        }
        "`process.http`" => {
            format!("{source}[batch.b.process.http]\n{}{line}\n", unless(&["url"], "url = \"https://example.com/\""))
        }
        "`output`" => {
            let base = unless(&["jsonl", "csv", "sql"], "csv = \"out\"");
            format!("{source}format = {{ fields = [\"id\"] }}\n[batch.b.output]\n{base}{line}\n")
        }
        "`output.sql`" => {
            let base = unless(&["table"], "table = \"t\"") + &unless(&["columns"], "columns = [\"id\"]");
            format!("{source}[batch.b.output.sql]\n{base}{line}\n")
        }
        "`mail`" => format!("{source}[batch.b.mail]\n{}{line}\n", message(key)),
        "`mail.variants[]`" => {
            let base = unless(&["template"], "template = \"invitation\"") + &unless(&["share"], "share = 1");
            format!("{source}[batch.b.mail]\nto = \"email\"\n[[batch.b.mail.variants]]\n{base}{line}\n")
        }
        "`aggregate.NAME`" => format!("{source}[batch.b.aggregate.a]\n{}{line}\n", measure(key, example)),
        "`having.MEASURE`" => {
            let table = "[batch.b.aggregate.a]\ngroup = \"g\"\nmeasures = { n = \"count\" }\n";
            format!("{source}{table}[batch.b.aggregate.a.having.n]\n{line}\n")
        }
        "`on.EVENT[]`" => format!("{source}[[batch.b.on.settled]]\n{line}\n"),
        "`on.EVENT[].email`" => {
            let base = unless(&["to"], "to = \"a@example.com\"");
            format!("{source}[[batch.b.on.settled]]\n[batch.b.on.settled.email]\n{base}{line}\n")
        }
        other => format!("{source}[batch.b.{}]\n{line}\n", code(other)),
    };
    format!(
        "[exec]\nprograms = [\"/bin/cat\"]\npayload_env = [\"MODE\"]\n[notify.ops]\nkind = \"ntfy\"\nto = \"nightly\"\n{body}"
    )
}

/// What a line of a rule stands beside.
fn rule(key: &str) -> &'static str {
    match key {
        "format" => "type = \"date\"\n",
        "two_digit_year" => "type = \"date\"\nformat = \"%d/%m/%y\"\n",
        "type" => "",
        _ => "type = \"decimal\"\n",
    }
}

/// What a line of a mail stands beside.
fn message(key: &str) -> &'static str {
    match key {
        "to" => "subject = \"Hello\"\ntext = \"It works.\"\n",
        "template" | "variants" => "to = \"email\"\n",
        "subject" => "to = \"email\"\ntext = \"It works.\"\n",
        "text" | "html" => "to = \"email\"\nsubject = \"Hello\"\n",
        "bounce_minimum" => "to = \"email\"\nsubject = \"Hello\"\ntext = \"It works.\"\nbounce_budget = \"5%\"\n",
        _ => "to = \"email\"\nsubject = \"Hello\"\ntext = \"Hello {{ n }}\"\n",
    }
}

/// What a line of a measure stands beside.
fn measure(key: &str, example: bool) -> &'static str {
    match key {
        "count" | "sum" | "min" | "max" | "mean" | "median" | "distinct" | "top" | "quantiles" => "",
        "measures" if example => "group = \"country\"\n",
        "measures" => "",
        "k" if example => "top = \"f\"\n",
        "at" if example => "quantiles = \"f\"\n",
        "having" | "sort" | "limit" | "nested" if example => "group = \"country\"\nmeasures = { n = \"count\" }\n",
        _ => "sum = \"f\"\n",
    }
}

#[test]
fn every_example_is_taken_and_what_is_refused_is_refused_in_these_words() {
    let place = Place::new();
    place.write("lookup.csv", "id,name\n1,x\n");
    place.write("schema.json", "{}");
    let mut wrong = Vec::new();
    for (heading, _) in sections() {
        for row in rows(heading) {
            let key = code(row[0]);
            // This program has no handler in Rust.
            let example = code(row[3]);
            if key != "rust" && key != "concurrency" {
                place.write("config.toml", &around(heading, key, example, true));
                let output = place.run(&["check", "--json"]);
                if !output.status.success() {
                    wrong.push(format!(
                        "{heading}: `{example}` is refused: {}",
                        String::from_utf8_lossy(&output.stdout)
                    ));
                }
            }
            let Some((refused, words)) = row[4].split_once("`: ") else {
                wrong.push(format!("{heading}: {key} says nothing of what is refused"));
                continue;
            };
            place.write("config.toml", &around(heading, key, code(refused), false));
            let output = place.run(&["check", "--json"]);
            let said = String::from_utf8_lossy(&output.stdout).replace("\\\"", "\"")
                + &String::from_utf8_lossy(&output.stderr);
            if output.status.success() || !said.contains(words) {
                wrong.push(format!("{heading}: of `{}` it should say `{words}` and says {said}", code(refused)));
            }
        }
    }
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
}
