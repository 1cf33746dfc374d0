//! Retention on real stores: a whole pass, the archive, and what an operator deletes.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use gristmill_core::batch::BatchState;
use gristmill_core::id::{BatchId, DEFAULT_TENANT, JobId};
use gristmill_core::job::{JobState, NewJob};
use gristmill_service::retention::{Keep, Pruner, PrunerOptions, RetentionSettings, Step, prune_acknowledged};
use gristmill_store::testing::{chunk_done, dead, done, job, sealed};
use gristmill_store::{BatchEnd, Completion, NewAcknowledgement, PruneNoun, StoreError};
use serde_json::{Value, json};

use crate::env::{TestEnv, envs, order, rehearsal};

/// Everything that has ended goes at once.
fn at_once() -> PrunerOptions {
    let now = Keep::For(Duration::ZERO);
    let settings = RetentionSettings {
        jobs: now,
        batches: now,
        dead_letters: now,
        ticks: now,
        triggers: now,
        emails: now,
        poison: now,
        ..RetentionSettings::default()
    };
    PrunerOptions { settings, whole: true, ..PrunerOptions::default() }
}

async fn finished(env: &TestEnv, dies: bool) -> JobId {
    let asked = job();
    let id = asked.id;
    env.store.enqueue(&[asked]).await.expect("enqueued");
    let claimed = env.claim().await;
    let ours = claimed.iter().filter(|claimed| claimed.fence.job == id);
    let ends: Vec<Completion> = ours.map(|claimed| if dies { dead(claimed) } else { done(claimed) }).collect();
    env.store.complete(&ends).await.expect("completed");
    id
}

/// A batch of three chunks that is complete.
async fn complete_batch(env: &TestEnv) -> BatchId {
    let id = sealed(&env.store, 3, 10).await;
    let chunks: Vec<Completion> = env.claim().await.iter().map(|claimed| chunk_done(claimed, 10)).collect();
    env.store.complete(&chunks).await.expect("completed");
    let aggregate = env.claim().await.remove(0);
    let end = BatchEnd { batch: id, generation: 0, state: BatchState::Complete, result: json!({}), reason: None };
    let end = Completion { batch_end: Some(end), ..done(&aggregate) };
    env.store.complete(&[end]).await.expect("completed");
    id
}

fn archived(folder: &Path) -> BTreeMap<String, Vec<Value>> {
    let mut found: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for entry in std::fs::read_dir(folder).expect("the archive") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("UTF-8").to_owned();
        let (noun, _) = name.split_once("-20").expect("a noun and a date");
        let text = zstd::decode_all(std::fs::File::open(&path).expect("opens")).expect("it unpacks");
        let lines = String::from_utf8(text).expect("UTF-8");
        let rows = lines.lines().map(|line| serde_json::from_str(line).expect("JSON"));
        found.entry(noun.to_owned()).or_default().extend(rows);
    }
    found
}

async fn reconciled(env: &TestEnv) {
    assert_eq!(env.store.reconcile(true).await.expect("compared").findings, Vec::<String>::new());
}

#[tokio::test]
async fn a_pass_deletes_what_its_survey_has_named_and_nothing_else() {
    for env in envs().await {
        let (id, died) = (finished(&env, false).await, finished(&env, true).await);
        let batch = complete_batch(&env).await;
        env.store.enqueue(&[job()]).await.expect("enqueued");
        let survey = env.service.survey(&at_once()).await.expect("looked");
        let counted: Vec<_> = survey.rows.iter().map(|(noun, (rows, _))| (*noun, *rows)).collect();
        let expected =
            [(PruneNoun::Jobs, 1), (PruneNoun::DeadLetters, 1), (PruneNoun::Batches, 1), (PruneNoun::Chunks, 3)];
        assert_eq!(counted, expected);
        let kept = PrunerOptions::default();
        assert!(env.service.survey(&kept).await.expect("looked").rows.is_empty(), "by default all of it is young");
        assert!(env.service.prune(&order(), kept, |_| {}).await.expect("pruned").rows.is_empty());
        let deleted = env.service.prune(&order(), at_once(), |_| {}).await.expect("pruned").rows;
        let expected = [
            (PruneNoun::Jobs, 1),
            (PruneNoun::DeadLetters, 1),
            (PruneNoun::Batches, 1),
            (PruneNoun::Chunks, 4),
            (PruneNoun::Results, 3),
        ];
        assert_eq!(deleted, BTreeMap::from(expected), "the aggregate goes with the chunks");
        assert!(
            env.service.prune(&order(), at_once(), |_| {}).await.expect("pruned").rows.is_empty(),
            "nothing is left"
        );
        for gone in [id, died] {
            assert!(env.store.job(DEFAULT_TENANT, gone).await.expect("asked").is_none());
        }
        assert!(env.store.batch(DEFAULT_TENANT, batch).await.expect("asked").is_none());
        assert_eq!(env.jobs().await.len(), 1, "what waits stays");
        reconciled(&env).await;
    }
}

#[tokio::test]
async fn that_an_error_was_acknowledged_is_forgotten_when_no_job_of_that_time_is_left() {
    for env in envs().await {
        let (tenant, by) = (DEFAULT_TENANT.to_owned(), "ada".to_owned());
        let ack = NewAcknowledgement { tenant, fingerprint: "a1b2c3".to_owned(), by, reason: None };
        env.store.acknowledge_error(&ack, false).await.expect("noted");
        let settings = RetentionSettings::default();
        assert_eq!(prune_acknowledged(&env.store, &settings).await.expect("asked"), 0);
        let mut settings = at_once().settings;
        settings.batch.insert("audited".to_owned(), Keep::Forever);
        assert_eq!(prune_acknowledged(&env.store, &settings).await.expect("asked"), 0, "a batch keeps its jobs");
        assert_eq!(prune_acknowledged(&env.store, &at_once().settings).await.expect("removed"), 1);
        assert_eq!(env.store.acknowledged(DEFAULT_TENANT).await.expect("listed"), []);
    }
}

#[tokio::test]
async fn what_is_deleted_is_in_the_archive_first() {
    for env in envs().await {
        let (id, died) = (finished(&env, false).await, finished(&env, true).await);
        let batch = complete_batch(&env).await;
        let folder = env.dir.path().join("archive");
        let mut options = at_once();
        options.settings.archive = folder.display().to_string();
        env.service.prune(&order(), options, |_| {}).await.expect("pruned");
        let archived = archived(&folder);
        let counts: Vec<_> = archived.iter().map(|(noun, rows)| (noun.as_str(), rows.len())).collect();
        assert_eq!(counts, [("batches", 1), ("chunks", 4), ("jobs", 2), ("results", 3)]);
        let ids: Vec<&Value> = archived["jobs"].iter().map(|row| &row["id"]).collect();
        assert_eq!(ids, [&json!(id), &json!(died)]);
        assert_eq!(archived["batches"][0]["id"], json!(batch));
    }
}

#[tokio::test]
async fn a_row_that_cannot_be_archived_is_not_deleted() {
    for env in envs().await {
        let id = finished(&env, false).await;
        let batch = complete_batch(&env).await;
        let place = env.dir.path().join("archive");
        std::fs::write(&place, "a file, and no folder").expect("written");
        let mut options = at_once();
        options.settings.archive = place.display().to_string();
        let error = env.service.prune(&order(), options, |_| {}).await.expect_err("there is no folder");
        assert!(matches!(&error, StoreError::Unavailable(text) if text.contains("archive")), "{error}");
        assert_eq!(env.job(id).await.state, JobState::Done);
        assert_eq!(env.store.chunk_results(batch, -1, 10).await.expect("asked").len(), 3);
        // Its deletion has begun; a pass that can archive it ends it.
        std::fs::remove_file(&place).expect("removed");
        let mut options = at_once();
        options.settings.archive = place.display().to_string();
        env.service.prune(&order(), options, |_| {}).await.expect("pruned");
        assert!(env.store.batch(DEFAULT_TENANT, batch).await.expect("asked").is_none());
        assert_eq!(archived(&place)["chunks"].len(), 4);
    }
}

#[tokio::test]
async fn a_pass_that_is_given_up_between_two_steps_is_continued_by_the_next() {
    for env in envs().await {
        let batch = complete_batch(&env).await;
        // However many steps the first pass makes, the second ends it.
        for steps in 1..12 {
            let mut pruner = Pruner::new(env.store.clone(), at_once());
            for _ in 0..steps {
                if pruner.step().await.expect("a step") == Step::Over {
                    break;
                }
            }
            drop(pruner);
            reconciled(&env).await;
        }
        env.service.prune(&order(), at_once(), |_| {}).await.expect("pruned");
        assert!(env.store.batch(DEFAULT_TENANT, batch).await.expect("asked").is_none());
        assert!(env.jobs().await.is_empty());
        reconciled(&env).await;
    }
}

#[tokio::test]
async fn a_batch_that_is_redriven_before_its_turn_stays() {
    for env in envs().await {
        let batch = sealed(&env.store, 1, 10).await;
        env.store.cancel_batch(DEFAULT_TENANT, batch, "enough", false).await.expect("cancelled");
        let mut pruner = Pruner::new(env.store.clone(), at_once());
        // The first step has seen the batch, and nothing more.
        pruner.step().await.expect("a step");
        let restart = gristmill_store::Restart { batch, failure_budget: None, dead: false };
        env.store.restart_batch(DEFAULT_TENANT, &restart, false).await.expect("restarted");
        while pruner.step().await.expect("a step") != Step::Over {}
        let view = env.store.batch(DEFAULT_TENANT, batch).await.expect("asked").expect("it is there");
        assert_eq!((view.state, view.chunks), (BatchState::Sealed, 1));
        assert_eq!(env.claim().await.len(), 1, "its chunk runs");
        reconciled(&env).await;
    }
}

#[tokio::test]
async fn an_operator_deletes_batches_that_have_ended_all_or_none() {
    for env in envs().await {
        let ended = complete_batch(&env).await;
        let runs = sealed(&env.store, 1, 1).await;
        let delete = async |order, batches: &[BatchId]| {
            env.service.delete_batches(&order, batches, PrunerOptions::default(), |_| {}).await
        };
        let error = delete(order(), &[ended, runs]).await.expect_err("one of them runs");
        assert!(matches!(error, StoreError::Conflict(_)), "{error}");
        let (report, deleted) = delete(rehearsal(), &[ended]).await.expect("asked");
        assert_eq!((report.affected, deleted.rows.len()), (3, 0));
        assert!(env.store.batch(DEFAULT_TENANT, ended).await.expect("asked").is_some());
        let (report, deleted) = delete(order(), &[ended]).await.expect("deleted");
        assert_eq!((report.affected, deleted.rows.get(&PruneNoun::Batches)), (3, Some(&1)));
        assert!(env.store.batch(DEFAULT_TENANT, ended).await.expect("asked").is_none());
        let error = delete(order(), &[ended]).await.expect_err("it is gone");
        assert!(matches!(error, StoreError::NotFound(_)), "{error}");
        reconciled(&env).await;
    }
}

#[tokio::test]
async fn dead_letters_are_discarded_and_chunks_are_named_as_refused() {
    for env in envs().await {
        let died = finished(&env, true).await;
        let batch = sealed(&env.store, 1, 1).await;
        let chunk = env.claim().await.remove(0);
        env.store.complete(&[dead(&chunk)]).await.expect("completed");
        let filter = gristmill_store::JobFilter { tenant: DEFAULT_TENANT.to_owned(), ..Default::default() };
        let found = env.service.matching_dead(&filter).await.expect("found");
        assert_eq!(found.len(), 2);
        let mut options = PrunerOptions::default();
        options.settings.archive = env.dir.path().join("archive").display().to_string();
        let report = env.service.discard_dead(&rehearsal(), &found, &options).await.expect("asked");
        assert_eq!((report.redriven.affected, report.refused), (1, 1));
        assert_eq!(env.job(died).await.state, JobState::Dead);
        assert!(!env.dir.path().join("archive").exists(), "a rehearsal writes nothing");
        let report = env.service.discard_dead(&order(), &found, &options).await.expect("discarded");
        assert_eq!((report.redriven.affected, report.refused), (1, 1));
        assert!(report.reasons[0].contains(&batch.to_string()), "{:?}", report.reasons);
        assert!(env.store.job(DEFAULT_TENANT, died).await.expect("asked").is_none());
        assert_eq!(archived(&env.dir.path().join("archive"))["dead_letters"][0]["id"], json!(died));
        reconciled(&env).await;
    }
}

#[tokio::test]
async fn a_queue_is_deleted_in_the_store_and_at_the_broker() {
    for env in envs().await {
        let asked = NewJob { queue: "old".to_owned(), ..job() };
        let id = env.service.enqueue(&order(), asked).await.expect("enqueued").expect("an id").id;
        env.service.cancel_job(&order(), id).await.expect("cancelled");
        let delete =
            async |order, finished| env.service.delete_queue(&order, "old", finished, PrunerOptions::default()).await;
        let error = delete(order(), false).await.expect_err("it has a job");
        assert!(matches!(&error, StoreError::Conflict(text) if text.contains("1 cancelled")), "{error}");
        assert_eq!(delete(rehearsal(), true).await.expect("asked").jobs, 1);
        assert_eq!(env.job(id).await.state, JobState::Cancelled);
        let deleted = delete(order(), true).await.expect("deleted");
        assert_eq!((deleted.jobs, deleted.messages, deleted.broker), (1, Some(1), None));
        assert!(env.store.queues(DEFAULT_TENANT).await.expect("listed").is_empty());
        reconciled(&env).await;
    }
}
