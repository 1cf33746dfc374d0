//! Items through programs that behave, and through programs that do not.

use std::sync::Arc;
use std::time::Duration;

use gristmill_core::attempt_log::LogBounds;
use gristmill_core::definition::ExecSpec;
use gristmill_core::duration::Span;
use gristmill_core::id::{BatchId, JobId, WorkerId};
use gristmill_core::job::Fence;
use gristmill_jobs::attempt_log::Recorder;
use gristmill_jobs::exec_policy::{ExecPolicy, on_path};
use gristmill_jobs::process::envelope::Room;
use gristmill_jobs::process::exec::ExecProcessor;
use gristmill_jobs::process::{Answers, BatchContext, ItemIn, ItemOut, ItemProcessor, ProcessContext};
use gristmill_jobs::settings::ExecSettings;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// A secret of every program.
const SECRET: &str = "hunter2hunter2";

/// What allows a shell, and the variables of these tests.
fn policy() -> ExecPolicy {
    let shell = on_path("sh").expect("a shell").display().to_string();
    let programs = vec![shell, "/nowhere/no-such-program".to_owned()];
    let (env, payload_env) = ([("API_KEY".to_owned(), SECRET.to_owned())].into(), vec!["COLOUR".to_owned()]);
    ExecPolicy::new(&ExecSettings { programs, env, payload_env, ..ExecSettings::default() })
}

fn shell(script: &str) -> ExecProcessor {
    let spec = ExecSpec {
        command: ["sh", "-c", script].map(str::to_owned).to_vec(),
        env: [("COLOUR".to_owned(), "red".to_owned())].into(),
        dir: None,
        timeout: Some(Span(Duration::from_secs(20))),
    };
    ExecProcessor::new(&spec, &policy()).expect("a processor")
}

fn items(count: u64) -> Vec<ItemIn> {
    (0..count).map(|position| ItemIn { position, attempt: 1, item: json!({"n": position}) }).collect()
}

fn context() -> ProcessContext {
    let batch = BatchContext { id: BatchId(Uuid::now_v7()), name: "retail".to_owned(), params: Value::Null };
    ProcessContext {
        idempotency_key: "chunk".to_owned(),
        trace: None,
        cancel: CancellationToken::new(),
        batch: Arc::new(batch),
        last_attempt: false,
        answers: Answers::default(),
        room: Room::default(),
    }
}

async fn failure(script: &str) -> String {
    let failure = shell(script).process(items(3), &context()).await.expect_err("a failure");
    assert!(!failure.permanent);
    failure.message
}

#[tokio::test]
async fn each_answer_belongs_to_its_item() {
    let script = r#"read a; echo '{"ok":{"x":1}}'; read b; echo '{"skip":true}'; read c; echo '{"error":"no","retry":true,"position":2}'"#;
    let outcome = shell(script).process(items(3), &context()).await.expect("answers");
    let expected =
        [ItemOut::Ok(json!({"x": 1})), ItemOut::Skip, ItemOut::Failed { reason: "no".to_owned(), retry: true }];
    assert_eq!(outcome, expected);
}

#[tokio::test]
async fn a_program_sees_the_item_its_key_and_its_environment() {
    let script = r#"while read -r line; do printf '{"ok":{"colour":"%s","line":%s}}\n' "$COLOUR" "$line"; done"#;
    let outcome = shell(script).process(items(1), &context()).await.expect("answers");
    let line = json!({"position": 0, "attempt": 1, "idempotency_key": "chunk:0", "item": {"n": 0}});
    assert_eq!(outcome, [ItemOut::Ok(json!({"colour": "red", "line": line}))]);
}

#[tokio::test]
async fn one_program_serves_chunk_after_chunk() {
    let processor = shell(r#"while read -r line; do echo "{\"ok\":{\"pid\":$$}}"; done"#);
    let first = processor.process(items(2), &context()).await.expect("answers");
    let second = processor.process(items(1), &context()).await.expect("answers");
    assert_eq!(first[1], second[0]);
}

#[tokio::test]
async fn a_program_that_has_ended_between_chunks_is_replaced() {
    let processor = shell(r#"read -r line; echo '{"skip":true}'"#);
    for _ in 0..3 {
        assert_eq!(processor.process(items(1), &context()).await.expect("answers"), [ItemOut::Skip]);
    }
}

/// What an attempt has said.
async fn said(recorder: &Recorder, fence: Fence) -> Vec<String> {
    let logs = recorder.take_of(&[fence]).await.written();
    logs.into_iter().flat_map(|log| log.lines).map(|line| format!("{}: {}", line.source, line.text)).collect()
}

#[tokio::test]
async fn what_a_program_says_belongs_to_the_chunk_that_it_works_on() {
    let recorder = Recorder::new(LogBounds { lines: 100, bytes: 100_000 });
    let script =
        r#"n=0; while read -r line; do n=$((n+1)); echo "item $n" >&2; printf 'half ' >&2; echo '{"skip":true}'; done"#;
    let processor = shell(script);
    for number in 1..=100 {
        let fence = Fence { job: JobId(Uuid::from_u128(number)), attempt: 1, worker: WorkerId(Uuid::nil()) };
        let voice = recorder.voice(fence);
        assert_eq!(voice.around(processor.process(items(1), &context())).await.expect("an answer"), [ItemOut::Skip]);
        assert_eq!(said(&recorder, fence).await, [format!("stderr: item {number}"), "stderr: half".to_owned()]);
    }
}

#[tokio::test]
async fn the_last_words_are_of_the_chunk_that_has_failed() {
    let script = r#"read a; echo 'no price' >&2; echo '{"skip":true}'
        read b; echo '{"skip":true}'; read c; echo 'no shop' >&2; exit 3"#;
    let processor = shell(script);
    processor.process(items(1), &context()).await.expect("an answer");
    let failure = processor.process(items(2), &context()).await.expect_err("it has ended");
    assert!(failure.message.contains("no shop") && !failure.message.contains("no price"), "{}", failure.message);
}

#[tokio::test]
async fn full_pipes_do_not_wait_for_each_other() {
    let processor = shell(r#"while read -r line; do printf '{"ok":{"echo":%s}}\n' "$line"; done"#);
    let large: Vec<_> =
        (0..40).map(|position| ItemIn { position, attempt: 1, item: json!({"text": "x".repeat(50_000)}) }).collect();
    assert_eq!(processor.process(large, &context()).await.expect("answers").len(), 40);
}

#[tokio::test]
async fn a_program_that_dies_is_named_with_its_last_words() {
    let message = failure("read a; echo 'out of cheese' >&2; exit 3").await;
    for words in ["`sh`", "exit code 3", "before it answered item 0", "out of cheese"] {
        assert!(message.contains(words), "{message}");
    }
}

#[tokio::test]
async fn no_secret_of_a_program_is_in_what_is_shown_of_its_output() {
    for script in [
        "read a; echo \"not JSON: $API_KEY\"",
        "read a; printf 'half %s' \"$API_KEY\"",
        r#"read a; read b; read c; printf '{"skip":true}\n{"skip":true}\n{"skip":true}\nmore %s\n' "$API_KEY"; sleep 9"#,
        "read a; head -c 4090 /dev/zero | tr '\\0' ' '; echo \"$API_KEY\"",
    ] {
        let message = failure(script).await;
        assert!(message.contains("`sh`") && !message.contains("hunt"), "{message}");
    }
}

#[tokio::test]
async fn nonsense_is_shown_beside_what_would_be_right() {
    for (said, words) in [
        ("hello", "not JSON"),
        ("[1]", "no answer"),
        (r#"{"okay":{}}"#, "okay"),
        (r#"{"ok":1}"#, "no answer"),
        (r#"{"skip":false}"#, "no answer"),
        (r#"{"ok":{},"skip":true}"#, "no answer"),
        (r#"{"skip":true,"position":7}"#, "another item"),
    ] {
        let message = failure(&format!("while read -r line; do echo '{said}'; done")).await;
        assert!(
            message.contains(words) && message.contains(said) && message.contains(r#"{"skip": true}"#),
            "{message}"
        );
    }
}

#[tokio::test]
async fn too_many_lines_at_once_are_noticed() {
    // One `write`: the reader's first look finds all four lines in the pipe, or none.
    let script = r#"printf '{"skip":true}\n{"skip":true}\n{"skip":true}\n{"skip":true}\n'; cat > /dev/null"#;
    let message = failure(script).await;
    assert!(message.contains("more lines than it was given items"), "{message}");
}

#[tokio::test]
async fn a_line_that_comes_after_the_last_answer_costs_the_next_chunk_its_attempt() {
    let dir = tempfile::tempdir().expect("a folder");
    let said = dir.path().join("said");
    let script = format!(
        r#"read a; echo '{{"skip":true}}'; read go < '{said}'; echo '{{"skip":true}}'; echo done > '{said}'; cat > /dev/null"#,
        said = said.display()
    );
    let made = std::process::Command::new("mkfifo").arg(&said).status().expect("mkfifo");
    assert!(made.success());
    let processor = shell(&script);
    assert_eq!(processor.process(items(1), &context()).await.expect("answers"), [ItemOut::Skip]);
    // The first chunk is settled. The surplus line is written now, and only then comes the next chunk.
    tokio::task::spawn_blocking(move || {
        std::fs::write(&said, "go\n").expect("the word to go on");
        std::fs::read_to_string(&said).expect("the word that it is said")
    })
    .await
    .expect("a thread");
    let failure = processor.process(items(1), &context()).await.expect_err("a failure");
    assert!(failure.message.contains("more lines than it was given items"), "{}", failure.message);
}

#[tokio::test]
async fn a_flood_without_a_line_end_is_cut_off() {
    let message = failure("yes | tr -d '\\n'").await;
    assert!(message.contains("more than 16 MiB") && message.len() < 1_000, "{message}");
}

#[tokio::test]
async fn an_answer_cut_short_is_no_answer() {
    let message = failure(r#"printf '{"ok":{'"#).await;
    assert!(message.contains("in the middle of its answer to item 0"), "{message}");
}

#[tokio::test]
async fn a_program_that_hangs_is_ended_with_all_that_it_has_started() {
    let folder = tempfile::tempdir().expect("a folder");
    let pid = folder.path().join("pid");
    let spec = ExecSpec {
        command: ["sh", "-c", &format!("sleep 600 & echo $! > {}; wait", pid.display())].map(str::to_owned).to_vec(),
        env: Default::default(),
        dir: None,
        timeout: Some(Span(Duration::from_secs(5))),
    };
    let processor = ExecProcessor::new(&spec, &policy()).expect("a processor");
    let message = processor.process(items(1), &context()).await.expect_err("a failure").message;
    assert!(message.contains("has not answered item 0 within 5s"), "{message}");
    let pid = std::fs::read_to_string(&pid).expect("the shell has written it");
    let status = format!("/proc/{}/stat", pid.trim());
    // A killed process stays a zombie until its new parent reaps it.
    let gone = || std::fs::read_to_string(&status).map_or(true, |stat| stat.contains(") Z "));
    tokio::time::timeout(Duration::from_secs(120), async {
        while !gone() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the grandchild is gone");
}

#[tokio::test]
async fn a_cancelled_attempt_ends_at_once() {
    let cancelled = context();
    cancelled.cancel.cancel();
    let failure = shell("sleep 600").process(items(1), &cancelled).await.expect_err("a failure");
    assert!(failure.message.contains("called off"), "{}", failure.message);
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    let spec =
        ExecSpec { command: vec!["no-such-program".to_owned()], env: Default::default(), dir: None, timeout: None };
    let failure = ExecProcessor::new(&spec, &policy())
        .expect("a processor")
        .process(items(1), &context())
        .await
        .expect_err("a failure");
    assert!(failure.message.contains("`no-such-program` cannot be started"), "{}", failure.message);
}

#[test]
fn a_step_is_refused_before_anything_runs_when_its_program_is_not_allowed() {
    let spec = ExecSpec { command: vec!["cat".to_owned()], env: Default::default(), dir: None, timeout: None };
    let error = ExecProcessor::new(&spec, &policy()).expect_err("refused");
    assert!(error.starts_with("`process.exec`: the program `cat` is not allowed here"), "{error}");
    let env = [("LD_PRELOAD".to_owned(), "x".to_owned())].into();
    let spec = ExecSpec { command: vec!["sh".to_owned()], env, dir: None, timeout: None };
    assert!(ExecProcessor::new(&spec, &policy()).expect_err("refused").contains("`LD_PRELOAD` cannot be set"));
}

#[tokio::test]
async fn the_example_in_shell_speaks_the_protocol() {
    let spec = ExecSpec {
        command: vec!["sh".to_owned(), concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/exec/upper.sh").to_owned()],
        env: Default::default(),
        dir: None,
        timeout: None,
    };
    let people = [json!({"name": "ada", "city": "London"}), json!({"name": ""}), json!({"city": "Paris"})];
    let people = people.into_iter().zip(0..).map(|(item, position)| ItemIn { position, attempt: 1, item }).collect();
    let outcome =
        ExecProcessor::new(&spec, &policy()).expect("a processor").process(people, &context()).await.expect("answers");
    assert_eq!(outcome[..2], [ItemOut::Ok(json!({"name": "ADA", "city": "London"})), ItemOut::Skip]);
    assert!(matches!(outcome[2], ItemOut::Failed { retry: false, .. }));
}
