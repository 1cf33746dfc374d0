//! What attempts say is in the store: while they run, and as a whole before their jobs are over.

use std::sync::Arc;

use gristmill_core::id::{DEFAULT_TENANT, JobId};
use gristmill_core::job::JobState;
use gristmill_jobs::exec_policy::on_path;
use gristmill_jobs::kind::exec::ExecHandler;
use gristmill_jobs::settings::ExecSettings;
use gristmill_store::LOGS_MAX;
use gristmill_worker::{Settings, Worker, run};
use serde_json::json;
use tokio::sync::oneshot;

use crate::env::{TestEnv, env};

/// What each attempt has said, the last one first: where it came from, and the text.
async fn said(env: &TestEnv, job: JobId) -> Vec<Vec<String>> {
    let logs = env.store.logs(DEFAULT_TENANT, job, None, LOGS_MAX).await.expect("asked");
    let lines = logs.into_iter().map(|log| log.lines.into_iter().map(|line| format!("{}: {}", line.source, line.text)));
    lines.map(Iterator::collect).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_attempt_says_is_seen_while_it_runs_and_whole_when_it_is_over() {
    let env = env().await;
    let job = env.enqueue("speak", |_| {}).await;
    let silent = env.enqueue("succeed", |_| {}).await;
    let (stop, stopped) = oneshot::channel::<()>();
    let worker = tokio::spawn(run(env.options(), async {
        let _ = stopped.await;
    }));
    env.until(job, JobState::Running).await;
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    while said(&env, job).await.is_empty() {
        assert!(tokio::time::Instant::now() < deadline, "nothing is seen while it runs");
        tokio::task::yield_now().await;
    }
    assert_eq!(said(&env, job).await, [["handler: good morning, password=***"]]);
    env.hand.go.notify_one();
    env.until(job, JobState::Done).await;
    assert_eq!(said(&env, job).await, [["handler: good morning, password=***", "handler: good night"]]);
    env.until(silent, JobState::Done).await;
    assert_eq!(said(&env, silent).await, Vec::<Vec<String>>::new(), "what says nothing leaves nothing");
    stop.send(()).expect("it listens");
    worker.await.expect("it ends").expect("well");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_program_writes_is_kept_but_for_its_output_and_its_secrets() {
    let env = env().await;
    let mut options = env.options();
    let sh = on_path("sh").expect("a shell").display().to_string();
    let key = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADAN\n-----END PRIVATE KEY-----";
    let variables = [("API_TOKEN", "hunter2hunter2"), ("DEPLOY_KEY", key)];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let settings = ExecSettings { programs: vec![sh], env: variables, ..ExecSettings::default() };
    options.registry.insert("exec", Arc::new(ExecHandler::new(&settings)));
    options.settings = Settings { log_lines: 4, ..options.settings };
    let mut worker = Worker::enter(options).await.expect("a worker");
    let enqueue = async |script: &str| {
        let command = json!({ "command": ["sh", "-c", script] });
        env.enqueue("succeed", |job| (job.kind, job.payload) = ("exec".to_owned(), command)).await
    };
    let quiet = enqueue("echo the token is $API_TOKEN >&2; echo '{\"rows\": 7}'").await;
    let careless = enqueue("echo \"$DEPLOY_KEY\" >&2").await;
    let wordy =
        enqueue("echo early >&2; echo '['; for n in 1 2 3 4 5 6; do echo $n,; done; echo '7]'; echo late >&2").await;
    let loud = enqueue("for n in 1 2 3 4 5 6; do echo row $n; done; exit 3").await;
    worker.step().await.expect("a step");
    assert_eq!(env.job(quiet).await.output, Some(json!({ "rows": 7 })));
    assert_eq!(said(&env, quiet).await, [["stderr: the token is ***"]]);
    assert_eq!(said(&env, careless).await, [["stderr: ***", "stderr: ***", "stderr: ***"]]);
    assert_eq!(env.job(wordy).await.output, Some(json!([1, 2, 3, 4, 5, 6, 7])));
    assert_eq!(said(&env, wordy).await, [["stderr: early", "stderr: late"]], "the output has pushed nothing out");
    let logs = env.store.logs(DEFAULT_TENANT, loud, None, LOGS_MAX).await.expect("asked");
    assert_eq!((logs[0].said, logs[0].lines.len()), (6, 4));
    assert_eq!(said(&env, loud).await, [["stdout: row 1", "stdout: row 2", "stdout: row 5", "stdout: row 6"]]);
    worker.retire().await.expect("retired");
}
