//! What an operator deletes, what goes after what it depends on, and what is known of all that was deleted.

use std::time::Duration;

use gristmill_core::job::{JobState, NewJob};
use gristmill_core::letter::UnknownPolicy;
use gristmill_core::unique::{Hold, OnConflict, Unique};
use gristmill_store::testing::{self, TestStore, claim_as};
use gristmill_store::{
    Claim, EmailKey, ExpiryLook, NewEvent, NewPoison, Pause, PoisonSource, Prune, PruneNoun, StoreError, TickFilter,
};
use serde_json::{Value, json};

use crate::callbacks::new_email;
use crate::retaining::{dead, done, ended, enqueue, expired, keyed, prune, whole};
use crate::{LONG, TENANT, assert_reconciled, claim, claim_one, complete, enter, job, state};

conformance! {
    a_dead_letter_is_discarded_for_good,
    a_chunk_is_discarded_only_with_its_batch,
    a_tick_goes_after_its_run,
    an_email_goes_after_its_job,
    poison_and_discarded_batches_go,
    counters_of_a_queue_without_jobs_go_unless_it_is_needed,
    a_queue_without_jobs_is_deleted,
    a_queue_with_jobs_is_not_deleted,
    what_was_deleted_is_counted,
    an_archive_has_what_a_job_was,
    the_size_of_the_database_names_its_tables,
    a_wrong_cursor_or_key_is_refused,
}

async fn a_dead_letter_is_discarded_for_good(store: TestStore) {
    let mut asked = keyed("order-1");
    asked.unique = Some(Unique { key: "k".to_owned(), hold: Hold::Period(LONG), conflict: OnConflict::Keep });
    let (id, at) = dead(&store, asked).await;
    let kept = done(&store, testing::job()).await;
    let finished = job(&store, kept).await.finished_at.expect("it has ended");
    let which = [(id, at), (kept, finished), (testing::job_id(), at)];
    assert_eq!(store.discard_dead(TENANT, &which, LONG, true).await.expect("asked").affected, 1);
    assert_eq!(state(&store, id).await, JobState::Dead, "only asked");
    assert_eq!(store.discard_dead("other", &which, LONG, false).await.expect("asked").affected, 0);
    let report = store.discard_dead(TENANT, &which, LONG, false).await.expect("discarded");
    assert_eq!((report.affected, report.samples), (1, vec![id.to_string()]));
    assert!(store.job(TENANT, id).await.expect("asked").is_none());
    assert_eq!(state(&store, kept).await, JobState::Done);
    let again = store.enqueue(&[keyed("order-1")]).await.expect("enqueued");
    assert_eq!((again.jobs[0].id, again.jobs[0].created), (id, false), "its key still answers");
    let unique = Unique { key: "k".to_owned(), hold: Hold::Unfinished, conflict: OnConflict::Keep };
    let free = NewJob { unique: Some(unique), ..testing::job() };
    assert!(store.enqueue(&[free]).await.expect("enqueued").jobs[0].created, "its unique key is free");
    assert_reconciled(&store).await;
}

async fn a_chunk_is_discarded_only_with_its_batch(store: TestStore) {
    let id = testing::sealed(&store, 2, 10).await;
    let worker = enter(&store).await;
    let chunk = claim(&store, worker, 1).await.remove(0);
    complete(&store, &[testing::dead(&chunk)]).await;
    let at = job(&store, chunk.fence.job).await.finished_at.expect("it has ended");
    let error = store.discard_dead(TENANT, &[(chunk.fence.job, at)], LONG, false).await.expect_err("a chunk");
    let named = |text: &str| text.contains(&id.to_string()) && text.contains("batch delete");
    assert!(matches!(&error, StoreError::Conflict(text) if named(text)), "{error}");
    // A callback counts nowhere.
    let (callback, at) = {
        let callback = NewJob { batch: Some(id), queue: "mail".to_owned(), ..testing::job() };
        let (job_id, worker) = (callback.id, enter(&store).await);
        enqueue(&store, &[callback]).await;
        let mail = Claim { queues: vec!["mail".to_owned()], ..claim_as(worker, 1) };
        let claimed = store.claim_next(&mail).await.expect("claimed");
        complete(&store, &[testing::dead(&claimed[0])]).await;
        (job_id, job(&store, job_id).await.finished_at.expect("it has ended"))
    };
    let report = store.discard_dead(TENANT, &[(callback, at)], LONG, false).await.expect("discarded");
    assert_eq!(report.affected, 1);
    assert_reconciled(&store).await;
}

async fn a_tick_goes_after_its_run(store: TestStore) {
    let event = |key: &str, job: Option<NewJob>| NewEvent {
        tenant: TENANT.to_owned(),
        schedule: "hook/orders".to_owned(),
        event: key.to_owned(),
        about: json!({}),
        job: job.map(Box::new),
    };
    let run = testing::job();
    store.note_event(&event("a", Some(run.clone()))).await.expect("noted");
    assert_eq!(expired(&store, PruneNoun::Ticks).await, [], "its run is active");
    let worker = enter(&store).await;
    let claimed = claim_one(&store, worker).await;
    complete(&store, &[testing::done(&claimed)]).await;
    store.note_ended_runs().await.expect("noted");
    assert_eq!(expired(&store, PruneNoun::Ticks).await, [], "its run is still there");
    let jobs = expired(&store, PruneNoun::Jobs).await;
    prune(&store, PruneNoun::Jobs, &jobs).await;
    let rows = expired(&store, PruneNoun::Ticks).await;
    assert_eq!(
        rows.iter().map(|row| (row.noun, row.name.as_str())).collect::<Vec<_>>(),
        [(PruneNoun::Triggers, "hook/orders")]
    );
    assert!(!store.note_event(&event("a", None)).await.expect("noted").fresh, "the same event starts nothing");
    assert_eq!(prune(&store, PruneNoun::Ticks, &rows).await.deleted, [(PruneNoun::Triggers, 1)]);
    let filter = TickFilter {
        tenant: TENANT.to_owned(),
        schedule: "hook/orders".to_owned(),
        from: None,
        until: None,
        limit: 10,
    };
    assert_eq!(store.ticks(&filter).await.expect("listed"), []);
}

async fn an_email_goes_after_its_job(store: TestStore) {
    let asked = testing::job();
    let key = EmailKey { tenant: TENANT.to_owned(), key: asked.id.to_string() };
    store.enqueue(std::slice::from_ref(&asked)).await.expect("enqueued");
    let worker = enter(&store).await;
    let claimed = claim_one(&store, worker).await;
    let new = new_email(asked.id, &["ada@example.org"]);
    let begun = store.email_begin(&key, &claimed.fence, Some(&new), UnknownPolicy::Hold).await.expect("begun");
    let first = begun.expect("its own");
    complete(&store, &[testing::done(&claimed)]).await;
    assert_eq!(expired(&store, PruneNoun::Emails).await, [], "its job is there, and may be redriven");
    let jobs = expired(&store, PruneNoun::Jobs).await;
    prune(&store, PruneNoun::Jobs, &jobs).await;
    let rows = expired(&store, PruneNoun::Emails).await;
    assert_eq!((rows.len(), rows[0].at), (1, Some(first.created_at)));
    assert_eq!(prune(&store, PruneNoun::Emails, &rows).await.deleted, [(PruneNoun::Emails, 1)]);
    assert_eq!(expired(&store, PruneNoun::Emails).await, []);
}

async fn poison_and_discarded_batches_go(store: TestStore) {
    let poison = |text: &str| NewPoison {
        queue: "mail".to_owned(),
        sha256: format!("{:0>64}", text.len()),
        size: text.len() as u64,
        bytes: text.as_bytes().to_vec(),
        headers: json!({}),
        reason: "it is no message".to_owned(),
        source: PoisonSource::Worker,
    };
    store.record_poison(&[poison("a"), poison("bb")]).await.expect("kept");
    let rows = expired(&store, PruneNoun::Poison).await;
    assert_eq!(rows.len(), 2);
    store.record_poison(&[poison("a")]).await.expect("kept");
    let report = prune(&store, PruneNoun::Poison, &rows[1..]).await;
    assert_eq!(report.deleted, [(PruneNoun::Poison, 1)]);

    let new = testing::batch();
    store.create_batch(&new).await.expect("created");
    let chunks = testing::chunks(2, 1);
    store.add_chunks(new.id, &chunks).await.expect("added");
    store.discard_batch(new.id).await.expect("taken back");
    let rows = expired(&store, PruneNoun::Discarded).await;
    assert_eq!(rows.len(), 1);
    prune(&store, PruneNoun::Discarded, &rows).await;
    assert_eq!(expired(&store, PruneNoun::Discarded).await, []);
    assert_eq!(store.unknown_jobs(&[chunks[1].id]).await.expect("asked"), [], "its ids are gone, not unknown");
}

async fn counters_of_a_queue_without_jobs_go_unless_it_is_needed(store: TestStore) {
    let on = |queue: &str| NewJob { queue: queue.to_owned(), ..testing::job() };
    let asked = [on("used"), on("idle"), on("stopped")];
    enqueue(&store, &asked).await;
    for job in &asked[1..] {
        store.cancel_job(TENANT, job.id, "enough", false).await.expect("cancelled");
    }
    let jobs = expired(&store, PruneNoun::Jobs).await;
    prune(&store, PruneNoun::Jobs, &jobs).await;
    store.pause_queue(TENANT, "stopped", Some(&Pause::default()), false).await.expect("paused");
    let rows = expired(&store, PruneNoun::Queues).await;
    assert_eq!(rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), ["idle"]);
    assert_eq!(prune(&store, PruneNoun::Queues, &rows).await.deleted, [(PruneNoun::Queues, 1)]);
    let names = store.queues(TENANT).await.expect("listed").into_iter().map(|queue| queue.name);
    assert_eq!(names.collect::<Vec<_>>(), ["stopped", "used"]);
    enqueue(&store, &[on("idle")]).await;
    assert_eq!(prune(&store, PruneNoun::Queues, &rows).await.rows(), 0, "it has a job again");
    assert_reconciled(&store).await;
}

async fn a_queue_without_jobs_is_deleted(store: TestStore) {
    let asked = NewJob { queue: "old".to_owned(), ..testing::job() };
    enqueue(&store, std::slice::from_ref(&asked)).await;
    store.pause_queue(TENANT, "old", Some(&Pause::default()), false).await.expect("paused");
    store.cancel_job(TENANT, asked.id, "enough", false).await.expect("cancelled");
    let jobs = expired(&store, PruneNoun::Jobs).await;
    prune(&store, PruneNoun::Jobs, &jobs).await;
    assert_eq!(store.delete_queue("old", true).await.expect("asked").affected, 1);
    assert_eq!(store.queues(TENANT).await.expect("listed").len(), 1, "only asked");
    assert_eq!(store.delete_queue("old", false).await.expect("deleted").affected, 1);
    assert_eq!(store.queues(TENANT).await.expect("listed"), []);
    let error = store.delete_queue("old", false).await.expect_err("it is gone");
    assert!(matches!(error, StoreError::NotFound(_)), "{error}");
    enqueue(&store, &[NewJob { queue: "old".to_owned(), ..testing::job() }]).await;
    assert!(!store.queues(TENANT).await.expect("listed")[0].paused, "it begins anew");
    assert_reconciled(&store).await;
}

async fn a_queue_with_jobs_is_not_deleted(store: TestStore) {
    done(&store, testing::job()).await;
    enqueue(&store, &[NewJob { tenant: "other".to_owned(), ..testing::job() }]).await;
    let error = store.delete_queue("default", false).await.expect_err("it has jobs");
    assert!(matches!(&error, StoreError::Conflict(text) if text.contains("1 queued, 1 done")), "{error}");
    assert_reconciled(&store).await;
}

async fn what_was_deleted_is_counted(store: TestStore) {
    assert_eq!(store.pruned().await.expect("asked"), []);
    let first = done(&store, testing::job()).await;
    let rows = expired(&store, PruneNoun::Jobs).await;
    prune(&store, PruneNoun::Jobs, &rows).await;
    let second = done(&store, testing::job()).await;
    let rows = expired(&store, PruneNoun::Jobs).await;
    prune(&store, PruneNoun::Jobs, &rows).await;
    let pruned = store.pruned().await.expect("asked");
    assert_eq!(pruned.len(), 1);
    assert_eq!((pruned[0].noun, pruned[0].deleted), (PruneNoun::Jobs, 2));
    assert!(pruned[0].since <= pruned[0].last_at);
    assert_eq!(pruned[0].horizon, Some(first.max(second).0));
}

async fn an_archive_has_what_a_job_was(store: TestStore) {
    let mut asked = testing::job();
    asked.payload = json!({ "n": 1, "text": "é" });
    let (id, _) = dead(&store, asked.clone()).await;
    let rows = expired(&store, PruneNoun::Jobs).await;
    let keys: Vec<String> = rows.iter().map(|row| row.key.clone()).collect();
    let documents = store.documents(PruneNoun::DeadLetters, None, &keys).await.expect("read");
    let seen: Vec<(&Value, &Value, &Value, usize)> = documents
        .iter()
        .map(|one| (&one["id"], &one["state"], &one["payload"], one["attempts"].as_array().map_or(0, Vec::len)))
        .collect();
    assert_eq!(seen, [(&json!(id), &json!("dead"), &asked.payload, 1)]);
    let unknown = [testing::job_id().to_string()];
    assert_eq!(store.documents(PruneNoun::Jobs, None, &unknown).await.expect("read"), Vec::<Value>::new());
    // Every noun that is archived has its documents.
    let batch = ended(&store, &testing::batch(), whole).await;
    for noun in [PruneNoun::Batches, PruneNoun::Chunks, PruneNoun::Results, PruneNoun::Quarantine] {
        let look = ExpiryLook { batch: Some(batch), ..ExpiryLook::first(noun) };
        let rows = store.expired(&look).await.expect("looked").rows;
        let keys: Vec<String> = rows.into_iter().map(|row| row.key).collect();
        let documents = store.documents(noun, Some(batch), &keys).await.expect("read");
        assert_eq!(documents.len(), keys.len(), "{noun}");
        assert!(documents.iter().all(|one| one["noun"] == json!(noun)), "{documents:?}");
    }
}

async fn the_size_of_the_database_names_its_tables(store: TestStore) {
    done(&store, testing::job()).await;
    let size = store.size().await.expect("measured");
    let job = size.tables.iter().find(|table| table.name == "job").expect("the table of jobs");
    if store.knows_sql() {
        assert!(size.bytes > 0 && job.bytes > 0 && job.index_bytes > 0, "{size:?}");
    }
}

async fn a_wrong_cursor_or_key_is_refused(store: TestStore) {
    let look = ExpiryLook { after: Some("yesterday".to_owned()), ..ExpiryLook::first(PruneNoun::Jobs) };
    let error = store.expired(&look).await.expect_err("no cursor");
    assert!(
        matches!(&error, StoreError::Invalid(text) if text.contains("`yesterday`") && text.contains("an id")),
        "{error}"
    );
    let rows = (0..1_001).map(|_| (testing::job_id().to_string(), None)).collect();
    let many = Prune { noun: PruneNoun::Jobs, batch: None, rows, keys: Duration::ZERO };
    let error = store.prune(&many).await.expect_err("too many");
    assert!(matches!(&error, StoreError::Invalid(text) if text.contains("1000")), "{error}");
}
