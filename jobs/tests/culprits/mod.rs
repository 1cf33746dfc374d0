//! What one bad item costs: itself. What an outage costs: an attempt, and no item.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::batch_env::{BatchEnv, Run};
use gristmill_core::batch::Counts;
use gristmill_core::settle::Ending;
use gristmill_jobs::exec_policy::on_path;
use gristmill_jobs::process::Processors;
use gristmill_jobs::settings::ExecSettings;
use gristmill_jobs::sink::{MANIFEST, Manifest};
use gristmill_testkit::http::{FakeHttp, Seen, reply};
use serde_json::{Value, json};

const AGAIN: Ending = Ending::Failed { retry_after: None };

/// A batch of so many items in one chunk, whose process step is this.
async fn started(items: u64, process: Value, max_attempts: u32) -> (BatchEnv, Run) {
    let path = on_path("sh").expect("a shell").display().to_string();
    let allowed = ExecSettings { programs: vec![path], ..ExecSettings::default() };
    let env = BatchEnv::new(Processors::default().with_outside(&allowed, &[])).await;
    let lines: String = (0..items).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    let source = env.file("a.jsonl", &lines);
    let definition = json!({
        "source": { "jsonl": source },
        "tolerate": items,
        "max_attempts": max_attempts,
        "process": process,
        "aggregate": { "sum": { "sum": "n" } },
        "output": { "jsonl": env.path("out") },
    });
    let run = env.start(definition, 1_000).await;
    (env, run)
}

/// A program that answers each item with itself, but does as the cases of a shell say where one of them fits.
fn shell(env: &str, cases: &str) -> Value {
    let script = format!(
        r#"{env}
        while read -r line; do
            item=${{line#*\"item\":}}; item=${{item%\}}}}
            case $line in {cases} esac
            printf '{{"ok":%s}}\n' "$item"
        done"#
    );
    json!({ "exec": { "command": ["sh", "-c", script], "timeout": "20s" } })
}

/// Everything else is done, the culprits are in the quarantine, and all that counts them agrees.
async fn only_these_are_set_aside(env: &BatchEnv, run: &Run, items: u64, culprits: &[(u64, &str)]) {
    env.work(run, false).await;
    let set_aside = culprits.len() as u64;
    let batch = env.batch(run).await;
    let counts = Counts { input: items, ok: items - set_aside, quarantined: set_aside, ..Counts::default() };
    assert_eq!(batch.counts, counts);
    let sum = (0..items).sum::<u64>() - culprits.iter().map(|(n, _)| n).sum::<u64>();
    assert_eq!(batch.result, Some(json!({ "sum": sum.to_string() })));
    let found = env.quarantine(run).await;
    assert_eq!(found.len(), culprits.len());
    for (item, (position, words)) in found.iter().zip(culprits) {
        assert_eq!((item.position, item.stage.as_str()), (*position, "process"));
        assert!(item.reason.contains(words), "{}", item.reason);
    }
    let manifest = std::fs::read(env.path(&format!("out/{}/{MANIFEST}", run.batch))).expect("a manifest");
    let manifest: Manifest = serde_json::from_slice(&manifest).expect("a manifest");
    assert_eq!((manifest.items, manifest.counts), (items - set_aside, counts));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_dies_of_some_items_costs_those_items() {
    let cases = r#"*'"n":0}'*) exit 1;; *'"n":37}'*) echo 'out of cheese' >&2; exit 3;; *'"n":99}'*) kill -9 $$;;"#;
    let (env, run) = started(100, shell("", cases), 5).await;
    let culprits = [(0, "exit code 1"), (37, "out of cheese"), (99, "signal")];
    only_these_are_set_aside(&env, &run, 100, &culprits).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_none_costs_its_item() {
    let cases = r#"*'"n":5}'*) echo hello; continue;; *'"n":6}'*) echo '{"okay":1}'; continue;;"#;
    let (env, run) = started(10, shell("", cases), 5).await;
    only_these_are_set_aside(&env, &run, 10, &[(5, "`hello`"), (6, "okay")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_hangs_at_an_item_costs_that_item() {
    let mut process = shell("", r#"*'"n":3}'*) sleep 600;;"#);
    process["exec"]["timeout"] = json!("1s");
    let (env, run) = started(8, process, 5).await;
    only_these_are_set_aside(&env, &run, 8, &[(3, "has not answered item 3 within 1s")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_culprits_side_by_side_cost_as_many_items() {
    let (env, run) = started(60, shell("", r#"*'"n":2'[0-9]'}'*) exit 1;;"#), 5).await;
    let culprits: Vec<_> = (20..30).map(|n| (n, "exit code 1")).collect();
    only_these_are_set_aside(&env, &run, 60, &culprits).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_works_for_no_item_costs_an_attempt_and_is_not_started_for_each() {
    let env = BatchEnv::new(Processors::default()).await;
    let starts = env.path("starts");
    let (env, run) = started(500, shell(&format!("echo x >> {starts}; exit 1"), "x) ;;"), 5).await;
    let finish = env.one(&run).await;
    assert_eq!((finish.ending, finish.chunk), (AGAIN, None));
    assert!(finish.error.is_some_and(|error| error.contains("exit code 1") && error.contains("after another")));
    let starts = std::fs::read_to_string(starts).expect("it was started").lines().count();
    assert!(starts <= 9, "{starts} programs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exit_code_may_say_whose_fault_it_is() {
    for (code, ending, quarantined) in [
        (65, Ending::Done, 1),
        (64, Ending::Permanent, 0),
        (78, Ending::Permanent, 0),
        (69, AGAIN, 0),
        (75, AGAIN, 0),
        (1, AGAIN, 0),
    ] {
        let (env, run) = started(1, shell("", &format!("*) exit {code};;")), 5).await;
        let finish = env.one(&run).await;
        assert_eq!((finish.ending, finish.chunk.map_or(0, |chunk| chunk.quarantined)), (ending, quarantined), "{code}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_attempt_at_a_few_items_names_them_rather_than_dying_with_them() {
    let (env, run) = started(2, shell("", "*) exit 1;;"), 1).await;
    only_these_are_set_aside(&env, &run, 2, &[(0, "exit code 1"), (1, "exit code 1")]).await;
    let (env, run) = started(20, shell("", "*) exit 1;;"), 1).await;
    assert_eq!(env.one(&run).await.chunk, None, "more of them are an outage");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_leaves_a_daemon_behind_is_done_when_it_ends() {
    let cases = r#"*'"n":2}'*) setsid sleep 30 & exit 1;;"#;
    let (env, run) = started(4, shell("", cases), 5).await;
    let begun = std::time::Instant::now();
    only_these_are_set_aside(&env, &run, 4, &[(2, "exit code 1")]).await;
    assert!(begun.elapsed() < Duration::from_secs(18), "{:?}", begun.elapsed());
}

// ---- Services ------------------------------------------------------------------------------------

fn item(seen: &Seen) -> Value {
    let question: Value = serde_json::from_slice(&seen.body).expect("JSON");
    question["item"].clone()
}

fn number(seen: &Seen) -> u64 {
    item(seen)["n"].as_u64().expect("a number")
}

/// How often each item was sent.
fn sent(service: &FakeHttp) -> BTreeMap<u64, usize> {
    let mut sent = BTreeMap::new();
    for seen in service.seen() {
        *sent.entry(number(&seen)).or_default() += 1;
    }
    sent
}

fn posted(service: &FakeHttp) -> Value {
    json!({ "http": { "url": service.url("/"), "concurrency": 3 }, "item_attempts": 2 })
}

fn echo(seen: &Seen) -> axum::response::Response {
    reply(200, &[], json!({ "ok": item(seen) }).to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_item_that_a_service_cannot_answer_costs_that_item_and_no_other_is_sent_again() {
    let service = FakeHttp::start(|seen| async move {
        match number(&seen) {
            4 => reply(500, &[], "out of cheese"),
            9 => reply(200, &[], "<html>"),
            19 => reply(403, &[], "not yours"),
            _ => echo(&seen),
        }
    })
    .await;
    let (env, run) = started(20, posted(&service), 5).await;
    let culprits = [(4, "out of cheese` (tried 2 times)"), (9, "`<html>`"), (19, "does not let us in: 403")];
    only_these_are_set_aside(&env, &run, 20, &culprits).await;
    let sent = sent(&service);
    assert!(sent.iter().all(|(n, times)| *times == if *n == 4 { 2 } else { 1 }), "{sent:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_is_down_for_all_costs_an_attempt_and_no_item() {
    let down = Arc::new(AtomicBool::new(true));
    let shared = Arc::clone(&down);
    let service = FakeHttp::start(move |seen| {
        let down = shared.load(Ordering::SeqCst);
        async move { if down { reply(502, &[], "bad gateway") } else { echo(&seen) } }
    })
    .await;
    let (env, run) = started(50, posted(&service), 5).await;
    let context = env.next(&run).await;
    let finish = env.attempt(context.clone()).await;
    assert_eq!((finish.ending, finish.chunk), (AGAIN, None));
    assert!(finish.error.is_some_and(|error| error.contains("50 of 50 items have no answer")));
    down.store(false, Ordering::SeqCst);
    assert_eq!(env.attempt(context).await.chunk.map(|chunk| chunk.ok), Some(50));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_service_has_answered_is_not_sent_again_after_an_outage() {
    let answered = Arc::new(AtomicUsize::new(0));
    let shared = Arc::clone(&answered);
    let service = FakeHttp::start(move |seen| {
        let before = shared.fetch_add(1, Ordering::SeqCst);
        async move { if before == 20 { reply(503, &[("retry-after", "9")], "") } else { echo(&seen) } }
    })
    .await;
    let (env, run) = started(50, posted(&service), 5).await;
    let context = env.next(&run).await;
    let finish = env.attempt(context.clone()).await;
    assert_eq!(finish.ending, Ending::Failed { retry_after: Some(Duration::from_secs(9)) });
    let again = env.attempt(context).await;
    assert_eq!(again.chunk.map(|chunk| (chunk.ok, chunk.quarantined)), Some((50, 0)));
    let sent = sent(&service);
    assert_eq!((sent.len(), sent.values().sum::<usize>()), (50, 51), "only the refused one twice: {sent:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_and_services_take_and_give_the_same() {
    let service = FakeHttp::start(|seen| async move {
        let answer = match number(&seen) {
            0 => json!({ "skip": true }),
            1 => json!({ "error": "no such n" }),
            _ => json!({ "ok": { "n": 7, "asked": serde_json::from_slice::<Value>(&seen.body).expect("JSON") } }),
        };
        reply(200, &[], answer.to_string())
    })
    .await;
    let cases = r#"*'"n":0}'*) echo '{"skip":true}'; continue;; *'"n":1}'*) echo '{"error":"no such n"}'; continue;;
        *) printf '{"ok":{"n":7,"asked":%s}}\n' "$line"; continue;;"#;
    let mut outcomes = Vec::new();
    for process in [shell("", cases), posted(&service)] {
        let (env, run) = started(3, process, 5).await;
        let context = env.next(&run).await;
        let key = format!("{}:2", context.job_id());
        let chunk = env.attempt(context).await.chunk.expect("done");
        let part = std::fs::read_to_string(env.path("out").clone() + "/" + &chunk.parts[0].path).expect("a part");
        let mut written: Value = serde_json::from_str(&part).expect("one line");
        assert_eq!(written["asked"]["idempotency_key"].take(), json!(key));
        let reasons: Vec<String> = chunk.set_aside.into_iter().map(|item| item.reason).collect();
        outcomes.push((written, chunk.ok, chunk.skipped, reasons));
    }
    assert_eq!(outcomes[0], outcomes[1]);
    assert_eq!(outcomes[0].3, ["no such n"]);
}
