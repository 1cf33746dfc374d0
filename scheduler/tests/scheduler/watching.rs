//! Watched folders: each complete file once, none lost, none doubled, wherever a crash cuts.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use gristmill_core::duration::Span;
use gristmill_core::id::DEFAULT_TENANT;
use gristmill_core::schedule::JobSpec;
use gristmill_scheduler::watch::{WatchReport, ledger};
use gristmill_scheduler::{ConfigSnapshot, RunContext, ScheduleRunner, Watcher};
use gristmill_service::start::WatchSettings;
use gristmill_store::{TickFilter, TickOutcome, TickView};
use serde_json::json;
use tokio::sync::watch;

use crate::env::{TestEnv, env};
use crate::schedules::{killed_after, run_context};

const DEFINITION: &str = r#"{ "source": { "csv": "elsewhere.csv" }, "chunk": 1, "aggregate": { "rows": "count" } }"#;

/// An environment with a watched folder.
struct Inbox {
    env: TestEnv,
    run_context: RunContext,
    folder: PathBuf,
    watcher: Watcher,
    schedule_runner: ScheduleRunner,
}

fn settings(folder: &Path) -> WatchSettings {
    WatchSettings {
        folder: folder.display().to_string(),
        pattern: "*.csv".to_owned(),
        settle: Span(Duration::from_secs(5)),
        batch: Some("test".to_owned()),
        ..WatchSettings::default()
    }
}

async fn inbox(change: impl FnOnce(&mut WatchSettings)) -> Inbox {
    let env = env().await;
    let folder = env.path().join("inbox");
    fs::create_dir(&folder).expect("made");
    let mut settings = settings(&folder);
    change(&mut settings);
    let mut run_context = run_context(&env, DEFINITION);
    let batches = run_context.snapshot.borrow().batches.clone();
    let triggers = BTreeMap::from([(ledger("inbox"), settings.starts())]);
    let watches = BTreeMap::from([("inbox".to_owned(), settings)]);
    (_, run_context.snapshot) =
        watch::channel(Arc::new(ConfigSnapshot { batches, triggers, watches, ..ConfigSnapshot::default() }));
    let watcher = Watcher::new(Arc::clone(&env.store), env.dispatcher.clone(), run_context.clone());
    let schedule_runner = ScheduleRunner::new(Arc::clone(&env.store), env.dispatcher.clone(), run_context.clone());
    Inbox { env, run_context, folder, watcher, schedule_runner }
}

impl Inbox {
    fn put(&self, name: &str, text: &str) {
        fs::write(self.folder.join(name), text).expect("written");
    }

    async fn look(&mut self, seconds: u64) -> WatchReport {
        self.watcher.run_once(Duration::from_secs(seconds)).await.expect("a pass")
    }

    /// Starts what waits, runs it, and notes how it ended.
    async fn run(&mut self) {
        let who = self.env.worker(Duration::from_secs(600)).await;
        self.run_once(who).await;
        self.env.work().await;
        self.run_once(who).await;
    }

    async fn run_once(&mut self, who: gristmill_core::id::WorkerId) {
        let now = self.env.store.now().await.expect("now");
        self.schedule_runner.run_once(now, who).await.expect("a pass");
        self.schedule_runner.planned().await.expect("planned");
    }

    async fn rows(&self) -> Vec<TickView> {
        let (tenant, schedule) = (DEFAULT_TENANT.to_owned(), ledger("inbox"));
        let filter = TickFilter { tenant, schedule, from: None, until: None, limit: 100 };
        let mut rows = self.env.store.ticks(&filter).await.expect("listed");
        rows.reverse();
        rows
    }

    /// Every file below the folder, as `done/a.csv`; the hash before a name is `#`.
    fn files(&self) -> Vec<String> {
        let mut found = Vec::new();
        for folder in ["", "working", "done", "failed"] {
            let Ok(entries) = fs::read_dir(self.folder.join(folder)) else { continue };
            for entry in entries.flatten() {
                let kind = entry.file_type().expect("a type");
                let name = entry.file_name().into_string().expect("text");
                let name = if folder == "working" { format!("#{}", &name[64..]) } else { name };
                let sign = if kind.is_symlink() { "@" } else { "" };
                if !kind.is_dir() {
                    found.push(format!("{folder}/{name}{sign}").trim_start_matches('/').to_owned());
                }
            }
        }
        found.sort();
        found
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join(name)).expect("readable")
    }
}

#[tokio::test]
async fn a_file_is_taken_when_it_has_settled_and_put_away_when_its_batch_has_ended() {
    let mut inbox = inbox(|_| {}).await;
    inbox.put("a.csv", "id\n1\n");
    assert_eq!(inbox.look(0).await, WatchReport::default());
    assert_eq!(inbox.look(4).await.taken, 0);
    inbox.put("a.csv", "id\n1\n2\n3\n");
    assert_eq!(inbox.look(6).await.taken, 0, "it has grown meanwhile");
    assert_eq!(inbox.look(10).await.taken, 0);
    assert_eq!(inbox.look(11).await.taken, 1);
    assert_eq!(inbox.files(), ["working/#-a.csv"]);
    assert_eq!(inbox.look(12).await, WatchReport::default(), "it stays while its run is under way");
    inbox.run().await;
    let rows = inbox.rows().await;
    let batch = inbox.env.store.batch(DEFAULT_TENANT, rows[0].batch.expect("a batch")).await.expect("asked");
    assert_eq!(batch.map(|batch| batch.counts.ok), Some(3), "the batch has read this file");
    assert_eq!(inbox.look(13).await.done, 1);
    assert_eq!((inbox.files(), inbox.look(14).await), (vec!["done/a.csv".to_owned()], WatchReport::default()));
    let about = rows[0].about.clone().expect("an event");
    assert_eq!((&about["name"], &about["bytes"]), (&json!("a.csv"), &json!(9)));
    assert_eq!(rows[0].event.as_deref(), about["sha256"].as_str());
}

#[tokio::test]
async fn what_is_no_complete_file_is_left_alone_and_said() {
    let mut inbox = inbox(|settings| settings.settle = Span(Duration::ZERO)).await;
    for name in [".a.csv", "a.csv.part", "b.csv.tmp", "notes.txt"] {
        inbox.put(name, "id\n1\n");
    }
    inbox.put("empty.csv", "");
    inbox.put(&format!("{}.csv", "x".repeat(200)), "id\n1\n");
    fs::create_dir(inbox.folder.join("folder.csv")).expect("made");
    std::os::unix::fs::symlink("/etc/passwd", inbox.folder.join("link.csv")).expect("linked");
    let before = inbox.files();
    assert_eq!((inbox.look(0).await, inbox.look(100).await), (WatchReport::default(), WatchReport::default()));
    assert_eq!(inbox.files(), before);
    let wrong = inbox.watcher.wrong().iter().cloned().collect::<Vec<_>>().join("\n");
    for said in ["empty.csv: it is empty", "link.csv: it is a symbolic link", ".csv: its name is too long"] {
        assert!(wrong.contains(said), "{wrong}");
    }
    assert_eq!(wrong.lines().count(), 3, "{wrong}");
    fs::remove_dir_all(&inbox.folder).expect("removed");
    inbox.look(101).await;
    let wrong = inbox.watcher.wrong().iter().cloned().collect::<Vec<_>>();
    assert!(wrong.len() == 1 && wrong[0].contains("cannot be looked at"), "{wrong:?}");
    fs::create_dir(&inbox.folder).expect("it is back");
    inbox.put("a.csv", "id\n1\n");
    assert_eq!((inbox.look(102).await.taken, inbox.watcher.wrong().len()), (1, 0));
}

#[tokio::test]
async fn the_same_content_starts_nothing_again_and_is_put_aside_with_a_note() {
    let mut inbox = inbox(|settings| settings.settle = Span(Duration::ZERO)).await;
    inbox.put("a.csv", "id\n1\n");
    inbox.look(0).await;
    inbox.put("a.csv", "id\n1\n");
    inbox.put("b.csv", "id\n1\n");
    assert_eq!(inbox.look(1).await, WatchReport { duplicates: 2, ..WatchReport::default() }, "while it is worked on");
    assert_eq!(inbox.files(), ["done/a.csv", "done/a.csv.note", "done/b.csv", "done/b.csv.note", "working/#-a.csv"]);
    inbox.run().await;
    assert_eq!(inbox.look(2).await.done, 1);
    inbox.put("a.csv", "id\n1\n");
    assert_eq!(inbox.look(3).await.duplicates, 1, "and after its end");
    let files = inbox.files();
    assert!(files.contains(&"done/a.1.csv".to_owned()) && files.contains(&"done/a.2.csv".to_owned()), "{files:?}");
    assert!(inbox.text("done/a.2.csv.note").starts_with("duplicate: its content was taken already"));
    assert_eq!(inbox.rows().await.len(), 1);
    inbox.put("a.csv", "id\n2\n");
    assert_eq!(inbox.look(4).await.taken, 1, "another content of the same name is another file");
}

#[tokio::test]
async fn what_did_not_end_well_is_put_into_failed_and_can_be_restarted_from_there() {
    let mut inbox = inbox(|settings| settings.settle = Span(Duration::ZERO)).await;
    inbox.put("a.csv", "id\n1\n2\n");
    inbox.look(0).await;
    let who = inbox.env.worker(Duration::from_secs(600)).await;
    inbox.run_once(who).await;
    let batch = inbox.rows().await[0].batch.expect("a batch");
    inbox.env.store.cancel_batch(DEFAULT_TENANT, batch, "enough", false).await.expect("cancelled");
    inbox.run_once(who).await;
    assert_eq!(inbox.look(1).await.failed, 1);
    assert_eq!(inbox.files(), ["failed/a.csv", "failed/a.csv.note", "working/#-a.csv@"]);
    assert!(inbox.text("failed/a.csv.note").contains("cancelled"));
    let restart = gristmill_store::Restart { batch, failure_budget: None, dead: true };
    inbox.env.store.restart_batch(DEFAULT_TENANT, &restart, false).await.expect("restarted");
    inbox.env.work().await;
    let ended = inbox.env.store.batch(DEFAULT_TENANT, batch).await.expect("asked").expect("there");
    assert_eq!((ended.state.as_str(), ended.counts.ok), ("complete", 2), "it has read the file where it is now");
    fs::remove_file(inbox.folder.join("failed/a.csv")).expect("somebody takes it away");
    inbox.look(2).await;
    assert_eq!(inbox.files(), ["failed/a.csv.note"], "a name that leads nowhere goes too");
}

#[tokio::test]
async fn more_files_under_way_than_one_question_may_name_stop_no_pass() {
    let mut inbox = inbox(|settings| settings.settle = Span(Duration::ZERO)).await;
    inbox.put("a.csv", "id\n1\n");
    inbox.look(0).await;
    let hash = inbox.rows().await[0].event.clone().expect("an event");
    let working = inbox.folder.join("working");
    for number in 0..10_001 {
        fs::write(working.join(format!("{hash}-z{number}.csv")), "").expect("written");
    }
    for second in 1..4 {
        assert_eq!(inbox.look(second).await, WatchReport::default(), "the run of all of them is under way");
    }
}

#[tokio::test]
async fn a_file_whose_run_could_not_start_may_come_back() {
    let mut inbox = inbox(|settings| settings.settle = Span(Duration::ZERO)).await;
    inbox.put("a.csv", "id,id\n1,1\n");
    inbox.look(0).await;
    inbox.run().await;
    let row = inbox.rows().await.remove(0);
    assert_eq!(row.outcome, TickOutcome::Failed, "two columns of one name");
    assert_eq!(inbox.look(1).await.failed, 1);
    assert!(inbox.text("failed/a.csv.note").contains(row.reason.as_deref().expect("a reason")));
    fs::rename(inbox.folder.join("failed/a.csv"), inbox.folder.join("again.csv")).expect("put back");
    assert_eq!(inbox.look(2).await.taken, 1);
    assert_eq!(inbox.rows().await[0].outcome, TickOutcome::Waiting);
    inbox.run().await;
    assert_eq!((inbox.rows().await.len(), inbox.look(3).await.failed), (1, 1), "and fails again, for the same reason");
}

#[tokio::test]
async fn a_job_is_told_which_file_it_is() {
    let mut inbox = inbox(|settings| {
        settings.settle = Span(Duration::ZERO);
        settings.batch = None;
        let payload = json!({ "file": "{{ event.path }}", "was": "{{ event.name }}" });
        settings.job = Some(JobSpec { kind: "told".to_owned(), payload, ..JobSpec::default() });
    })
    .await;
    inbox.put("a.csv", "x");
    assert_eq!(inbox.look(0).await.taken, 1);
    let row = inbox.rows().await.remove(0);
    let job = inbox.env.job(row.job.expect("a job")).await;
    let path = job.payload["file"].as_str().expect("a path");
    assert_eq!(
        (fs::read_to_string(path).expect("it is there"), &job.payload["was"]),
        ("x".to_owned(), &json!("a.csv"))
    );
}

/// What `id` and `1` hash to.
const HASH: &str = "7cde7fb64fd82bd152710cf238e017b9ab46c0592483edc067ba4f6c75fac108";

#[tokio::test]
async fn what_a_crash_left_between_two_steps_is_gone_on_with() {
    let mut inbox = inbox(|_| {}).await;
    let working = inbox.folder.join("working");
    let moved = working.join(format!("{HASH}-moved.csv"));
    fs::create_dir(&working).expect("made");
    fs::write(&moved, "id\n1\n").expect("moved, and no row");
    assert_eq!(inbox.look(0).await.taken, 1);
    // Linked under both names: the move was cut off halfway.
    fs::hard_link(&moved, inbox.folder.join("moved.csv")).expect("linked");
    fs::write(working.join("theirs.csv"), "id\n").expect("somebody's own");
    inbox.look(1).await;
    assert!(inbox.watcher.wrong().iter().any(|wrong| wrong.contains("theirs.csv: it was not put there")));
    fs::remove_file(working.join("theirs.csv")).expect("removed");
    inbox.run().await;
    // Already linked into done, and the process died.
    fs::create_dir(inbox.folder.join("done")).expect("made");
    fs::hard_link(&moved, inbox.folder.join("done/moved.csv")).expect("linked");
    assert_eq!(inbox.look(2).await.done, 1);
    assert_eq!(inbox.files(), ["done/moved.csv", "moved.csv"]);
    for seconds in [20, 40] {
        inbox.look(seconds).await;
    }
    assert_eq!(inbox.rows().await.len(), 1, "its content has run");
    assert_eq!(inbox.files(), ["done/moved.csv", "done/moved.csv.note"]);
}

#[tokio::test]
async fn what_others_put_into_our_folders_runs_only_under_its_true_name_and_is_never_followed_or_replaced() {
    let mut inbox = inbox(|settings| settings.settle = Span(Duration::ZERO)).await;
    let (working, elsewhere) = (inbox.folder.join("working"), inbox.env.path().join("elsewhere"));
    fs::create_dir(&working).expect("made");
    fs::create_dir(&elsewhere).expect("made");
    let planted = working.join(format!("{}-planted.csv", "aa".repeat(32)));
    fs::write(&planted, "id\n1\n").expect("planted");
    std::os::unix::fs::symlink(&elsewhere, inbox.folder.join("done")).expect("linked");
    inbox.put("a.csv", "id\n2\n");
    assert_eq!(inbox.look(0).await.taken, 1, "the planted one has another content than its name says");
    let wrong = |inbox: &Inbox| inbox.watcher.wrong().iter().cloned().collect::<Vec<_>>().join("\n");
    assert!(wrong(&inbox).contains("planted.csv: it was not put there"), "{}", wrong(&inbox));
    inbox.run().await;
    assert_eq!(inbox.look(1).await.done, 0);
    assert!(wrong(&inbox).contains("done is a link or a file"), "{}", wrong(&inbox));
    assert_eq!(fs::read_dir(&elsewhere).expect("there").count(), 0, "nothing is put behind a link");
    fs::remove_file(inbox.folder.join("done")).expect("removed");
    fs::create_dir(inbox.folder.join("done")).expect("made");
    fs::write(inbox.folder.join("done/a.csv"), "somebody's own").expect("written");
    assert_eq!(inbox.look(2).await.done, 1);
    assert_eq!((inbox.text("done/a.csv"), inbox.text("done/a.1.csv")), ("somebody's own".into(), "id\n2\n".into()));
    assert!(planted.exists(), "it is somebody's own");
}

#[tokio::test]
async fn a_watcher_that_is_killed_anywhere_leaves_each_file_once() {
    let mut through = false;
    for polls in 0..500 {
        let mut inbox = inbox(|settings| settings.settle = Span(Duration::ZERO)).await;
        for number in 0..2 {
            inbox.put(&format!("{number}.csv"), &format!("id\n{number}\n"));
        }
        let watcher = |inbox: &Inbox| {
            Watcher::new(Arc::clone(&inbox.env.store), inbox.env.dispatcher.clone(), inbox.run_context.clone())
        };
        through = true;
        // The process dies while it takes the files, and another one while it puts them away.
        for _ in 0..2 {
            let mut dying = watcher(&inbox);
            through &= killed_after(polls, dying.run_once(Duration::ZERO)).await.is_some();
            inbox.watcher = watcher(&inbox);
            for seconds in 0..3 {
                inbox.look(seconds).await;
            }
            inbox.run().await;
        }
        for seconds in 4..7 {
            inbox.look(seconds).await;
        }
        let files: Vec<String> = inbox.files().into_iter().filter(|name| !name.ends_with(".note")).collect();
        assert_eq!(files, ["done/0.csv", "done/1.csv"], "after {polls} polls");
        let rows = inbox.rows().await;
        let told: Vec<_> = rows.iter().map(|row| (row.outcome, row.tries, row.result.as_deref())).collect();
        assert_eq!(told, [(TickOutcome::Ran, 1, Some("complete")); 2], "after {polls} polls");
        if through {
            break;
        }
    }
    assert!(through, "the last one went through to its end");
}
