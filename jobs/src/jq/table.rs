//! Expressions with what jq 1.8 makes of them, in `table.jsonl`: one case a line.
//!
//! `jq` and `in` are the program and its input, `out` are its outputs; `error` says that an error follows them.
//! `older` marks what jq before 1.8 does otherwise. `ours` is what we do on purpose instead: outputs, or `"error"`;
//! `why` says the purpose, and `docs/jq.md` lists it.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Output, Program};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    jq: String,
    #[serde(rename = "in")]
    input: Value,
    out: Vec<Value>,
    #[serde(default)]
    error: bool,
    #[serde(default)]
    older: bool,
    #[serde(default)]
    ours: Option<Value>,
    #[serde(default)]
    why: Option<String>,
}

/// What a program gave: its outputs, and whether an error ended it.
#[derive(Debug, PartialEq)]
struct Given(Vec<Value>, bool);

fn cases() -> Vec<Case> {
    let table = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/jq/table.jsonl")).expect("the table");
    table.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// Numbers by their value: whether `2` or `2.0` is written is tested where it becomes a text.
fn plain(value: &Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(items) => items.iter().map(plain).collect(),
        Value::Object(object) => object.iter().map(|(key, value)| (key.clone(), plain(value))).collect(),
        other => other.clone(),
    }
}

fn given_by_us(case: &Case) -> Given {
    let program = match Program::compile(&case.jq) {
        Ok(program) => program,
        Err(problem) => return Given(vec![json!(problem)], true),
    };
    let (mut out, mut error) = (Vec::new(), false);
    for output in program.run(&case.input, 1_000) {
        match output {
            Output::Value(value) => out.push(plain(&value)),
            Output::Error(_) | Output::Unfit(_) | Output::Runaway(_) => error = true,
        }
        if error {
            break;
        }
    }
    Given(out, error)
}

fn wanted(case: &Case) -> Given {
    Given(case.out.iter().map(plain).collect(), case.error)
}

#[test]
fn a_program_gives_what_jq_1_8_gives_or_what_the_table_says_instead() {
    let mut wrong = Vec::new();
    for case in cases() {
        let given = given_by_us(&case);
        let right = match &case.ours {
            None => given == wanted(&case),
            Some(Value::String(_)) => given.1,
            Some(ours) => given == Given(plain(ours).as_array().cloned().expect("outputs"), false),
        };
        assert_eq!(case.ours.is_some(), case.why.is_some(), "{}: `ours` and `why` belong together", case.jq);
        if !right {
            wrong.push(format!("{}  <- {}\n    jq: {:?}\n  ours: {given:?}", case.jq, case.input, wanted(&case)));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// Runs these cases in one process of the real jq.
fn given_by_jq(cases: &[&Case]) -> Vec<Given> {
    let programs = cases
        .iter()
        .enumerate()
        .map(|(number, case)| format!("({} | try ((\n{}\n) | [{number}, .]) catch [{number}])", case.input, case.jq));
    let program = programs.collect::<Vec<_>>().join(",\n");
    let mut jq = Command::new("jq");
    jq.args(["-c", "-n", "-f", "/dev/stdin"]).env("TZ", "UTC").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut jq = jq.stderr(Stdio::piped()).spawn().expect("jq");
    jq.stdin.take().expect("a pipe").write_all(program.as_bytes()).expect("jq reads");
    let output = jq.wait_with_output().expect("jq ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut given = cases.iter().map(|_| Given(Vec::new(), false)).collect::<Vec<_>>();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let line: Vec<Value> = serde_json::from_str(line).expect(line);
        let one = &mut given[line[0].as_u64().expect("a number") as usize];
        match line.get(1) {
            Some(value) => one.0.push(plain(value)),
            None => one.1 = true,
        }
    }
    given
}

#[test]
fn the_table_says_what_the_installed_jq_says() {
    let version = Command::new("jq").arg("--version").output().map(|output| output.stdout);
    let Ok(version) = version.map(|version| String::from_utf8_lossy(&version).trim().to_owned()) else {
        eprintln!("skipped: there is no `jq` here; install the system's package to compare the table with it");
        return;
    };
    let recent = version.strip_prefix("jq-1.").and_then(|minor| minor.split('.').next()?.parse().ok());
    let recent = recent.is_none_or(|minor: u32| minor >= 8);
    let cases = cases();
    let compared = cases.iter().filter(|case| recent || !case.older).collect::<Vec<_>>();
    let mut wrong = Vec::new();
    for some in compared.chunks(100) {
        for (case, given) in some.iter().zip(given_by_jq(some)) {
            if given != wanted(case) {
                wrong.push(format!("{} <- {}\n table: {:?}\n    jq: {given:?}", case.jq, case.input, wanted(case)));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ from {version}:\n{}", wrong.len(), compared.len(), wrong.join("\n"));
    eprintln!("{} cases compared with {version}", compared.len());
}
