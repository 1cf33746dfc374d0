//! Workers and schedulers inside the user's own program: what they do, how they stop, and what they refuse.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gristmill::client::{BatchRun, Enqueued, WaitError};
use gristmill::embed::{Embedded, Role};
use gristmill::exit_code::{CommandError, Exit};
use gristmill::model::job::JobState;
use gristmill::{App, Client, Context, Failure, Kind};
use gristmill_store::testing::TestStore;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(120);

#[derive(Debug, Default)]
struct Gate {
    begun: Notify,
    open: Notify,
}

/// Waits until the gate is open.
#[derive(Serialize, Deserialize)]
struct Pass;

impl Kind for Pass {
    const NAME: &str = "pass";
    type Output = u32;

    async fn run(self, context: Context) -> Result<u32, Failure> {
        let gate = context.state::<Arc<Gate>>();
        gate.begun.notify_one();
        gate.open.notified().await;
        Ok(context.attempt())
    }
}

/// An app on this store, and the value that it shares with its jobs.
async fn open(store: &TestStore, role: Role) -> Result<(Embedded, Arc<Gate>), CommandError> {
    let (url, gate) = (store.url().to_owned(), Arc::<Gate>::default());
    let app = App::new().kind::<Pass>().state(Arc::clone(&gate)).build().role(role);
    let app = app.settings(move |config| {
        config.store.url.clone_from(&url);
        config.store.connections = 4;
    });
    Ok((app.open().await?, gate))
}

/// Runs it until the sender is dropped or used.
fn run(app: Embedded) -> (oneshot::Sender<()>, JoinHandle<Result<(), CommandError>>) {
    let (stop, stopped) = oneshot::channel();
    (stop, tokio::spawn(app.run_until(async { drop(stopped.await) })))
}

async fn ended(runs: JoinHandle<Result<(), CommandError>>) -> Result<(), CommandError> {
    timeout(LONG, runs).await.expect("it ends in time").expect("no panic")
}

async fn drains(store: TestStore, role: Role) {
    let (app, gate) = open(&store, role).await.expect("opened");
    let client = app.client();
    let (stop, runs) = run(app);
    let job = client.job(&Pass).enqueue().await.expect("enqueued").id;
    timeout(LONG, gate.begun.notified()).await.expect("it begins in time");
    let late = client.job(&Pass).delay(Duration::from_secs(3_600)).enqueue().await.expect("enqueued").id;
    stop.send(()).expect("it still runs");
    gate.open.notify_one();
    ended(runs).await.expect("no error");
    assert_eq!(client.wait(job).at_most(Duration::ZERO).await.expect("its first attempt was let finish"), 1);
    assert_eq!(client.job_state(late).await.expect("asked"), Some(JobState::Scheduled));
    assert!(store.workers().await.expect("asked").iter().all(|worker| worker.state != "alive"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_embedded_app_lets_what_runs_finish_when_it_is_asked_to_stop() {
    drains(TestStore::sqlite(false).await, Role::Worker).await;
    drains(TestStore::postgres(false).await, Role::Both).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_and_a_scheduler_work_in_one_program_side_by_side() {
    let store = TestStore::postgres(false).await;
    let (worker, gate) = open(&store, Role::Worker).await.expect("opened");
    let (scheduler, _) = open(&store, Role::Scheduler).await.expect("opened");
    let client = worker.client();
    let (workers, schedulers) = (run(worker), run(scheduler));
    gate.open.notify_one();
    // Without a scheduler, nothing would promote it.
    let job = client.job(&Pass).delay(Duration::from_millis(50)).enqueue().await.expect("enqueued").id;
    assert_eq!(client.wait(job).at_most(LONG).await.expect("done"), 1);
    for (stop, runs) in [workers, schedulers] {
        drop(stop);
        ended(runs).await.expect("no error");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_worker_on_an_embedded_store_is_refused_and_the_first_works_on() {
    let store = TestStore::sqlite(false).await;
    let (first, gate) = open(&store, Role::Both).await.expect("opened");
    let client = first.client();
    let (stop, runs) = run(first);
    let job = client.job(&Pass).enqueue().await.expect("enqueued").id;
    timeout(LONG, gate.begun.notified()).await.expect("the first works");
    let (second, _) = open(&store, Role::Both).await.expect("opened");
    let refused = second.run_until(std::future::pending()).await.expect_err("refused");
    assert_eq!(refused.exit, Exit::Conflict, "{refused}");
    gate.open.notify_one();
    assert_eq!(client.wait(job).at_most(LONG).await.expect("done"), 1);
    drop(stop);
    ended(runs).await.expect("no error");
}

#[tokio::test]
async fn what_makes_no_sense_is_returned_as_an_error() {
    let store = TestStore::sqlite(false).await;
    let scheduler = open(&store, Role::Scheduler).await.expect_err("no scheduler alone on SQLite");
    assert_eq!(scheduler.exit, Exit::Usage, "{scheduler}");
    let slots = App::new().build().settings(|config| config.worker.slots = 0).open().await.expect_err("no slots");
    assert!(slots.exit == Exit::Usage && slots.message.contains("`worker.slots`: is 0"), "{slots}");
    let missing = App::new().build().config_file("there/is/none.toml").open().await.expect_err("no file");
    assert!(missing.message.contains("there/is/none.toml"), "{missing}");
}

#[tokio::test]
async fn code_wins_over_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("c.toml");
    std::fs::write(&file, "[store]\nurl = \"sqlite://a.db\"\n[worker]\nslots = 3\n[kind.pass]\nqueue = \"gate\"\n")
        .expect("written");
    let app = App::new().build().config_file(&file).settings(|config| config.worker.queues = vec!["mail".to_owned()]);
    let app = app.settings(|config| config.worker.slots += 1).open().await.expect("opened");
    let worker = &app.config().worker;
    assert_eq!((worker.slots, worker.queues.as_slice()), (4, ["mail".to_owned()].as_slice()));
    let client = app.client();
    let queue = async |job: Enqueued| client.job_view(job.id).await.expect("asked").expect("there").queue;
    assert_eq!(queue(client.job(&Pass).enqueue().await.expect("enqueued")).await, "gate");
    assert_eq!(queue(client.job(&Pass).queue("mail").enqueue().await.expect("enqueued")).await, "mail");
    assert!(folder.path().join("a.db").exists(), "the file's paths are relative to its folder");
}

/// A folder with a configuration that knows the batch `orders` over `DAY.csv`.
fn batches(folder: &Path, store: &str) {
    std::fs::write(folder.join("monday.csv"), "n\n1\n2\n3\n").expect("written");
    std::fs::write(folder.join("bad.csv"), "n\n1\nx\n3\n").expect("written");
    let config = format!(
        "[store]\nurl = \"{store}\"\n[batch.orders]\nsource = {{ csv = \"{{{{ params.day }}}}.csv\" }}\nchunk = 2\n\
         parse = {{ n = {{ type = \"integer\" }} }}\naggregate = {{ sum = {{ sum = \"n\" }} }}\nfailure_budget = 0\n"
    );
    std::fs::write(folder.join("c.toml"), config).expect("written");
}

async fn asked_for(client: &Client, day: &str) -> BatchRun {
    client.batch("orders").param("day", day).idempotency_key(day).start().await.expect("asked for")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_starts_batches_that_a_scheduler_has_in_its_configuration() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite://{}", folder.path().join("a.db").display());
    batches(folder.path(), &url);
    let app = App::new().build().config_file(folder.path().join("c.toml")).open().await.expect("opened");
    // The thin client needs neither the configuration nor the kinds.
    let client = Client::connect(&url).await.expect("connected");
    let monday = asked_for(&client, "monday").await;
    let (stop, runs) = run(app);

    let batch = client.wait_for_batch(&monday).at_most(LONG).await.expect("complete");
    assert_eq!((batch.name.as_str(), batch.counts.input, batch.counts.ok), ("orders", 3, 3));
    assert_eq!(batch.result.expect("a result")["sum"], "6");
    let again = asked_for(&client, "monday").await;
    assert!(monday.created && !again.created && monday.tick == again.tick);
    assert_eq!(client.wait_for_batch(&again).at_most(Duration::ZERO).await.expect("known").id, batch.id);

    let halted = client.wait_for_batch(&asked_for(&client, "bad").await).at_most(LONG).await.expect_err("halted");
    assert!(matches!(&halted, WaitError::NotComplete(batch) if batch.counts.quarantined == 1), "{halted}");
    let missing = client.wait_for_batch(&asked_for(&client, "sunday").await).at_most(LONG).await.expect_err("no file");
    assert!(matches!(&missing, WaitError::NotStarted { reason, .. } if reason.contains("sunday.csv")), "{missing}");
    let unknown = client.batch("order").start().await.expect("asked for");
    let unknown = client.wait_for_batch(&unknown).at_most(LONG).await.expect_err("no such definition");
    assert_eq!(
        unknown.to_string(),
        "the batch `order` was not started: there is no [batch.order] in the scheduler's configuration"
    );
    let theirs = client.clone().tenant("other");
    let run = theirs.batch("orders").param("day", "monday").start().await.expect("asked for");
    let waits = theirs.wait_for_batch(&run).at_most(Duration::from_millis(100)).await.expect_err("not their scheduler");
    assert!(matches!(waits, WaitError::TimedOut { .. }), "{waits}");
    drop(stop);
    ended(runs).await.expect("no error");
}
