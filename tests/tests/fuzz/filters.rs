//! Filters and keys of lists, which go into statements of the database.

use gristmill_core::Instant;
use gristmill_core::id::DEFAULT_TENANT;
use gristmill_core::job::NewJob;
use gristmill_core::query::{List, parse};
use gristmill_store::testing::{TestStore, job_id};
use gristmill_store::{BatchFilter, JobFilter, Page, QuarantineFilter, StoreError, TickFilter};
use serde_json::json;

use crate::Target;
use crate::mutator::hostile_text;
use crate::queries;
use gristmill_testkit::Random;

const PIECES: [&[u8]; 12] =
    [b"'", b"''", b"\"", b"%", b"_", b"\\", b"\x00", b"--", b"; DROP TABLE job;", b"$1", b"?1", b"\xf0\x9f\xa6\x80"];

const NAMES: [&str; 5] = ["default", "mail", "it's", "50%_\\", "z\u{fc}rich"];

fn text(random: &mut Random) -> String {
    let valid = *random.pick(&NAMES);
    if random.one_in(3) { valid.to_owned() } else { hostile_text(random, valid, &PIECES) }
}

fn maybe(random: &mut Random) -> Option<String> {
    random.one_in(2).then(|| text(random))
}

/// Every list with one filter: how many rows, or that it was refused as what it is.
async fn lists(store: &TestStore, random: &mut Random) -> Result<Vec<usize>, String> {
    let after = random.one_in(3).then(|| if random.one_in(2) { job_id().to_string() } else { text(random) });
    let page = Page { after, limit: 1 + random.index(5) as u32 };
    let tenant = if random.one_in(5) { text(random) } else { DEFAULT_TENANT.to_owned() };
    let jobs = JobFilter {
        tenant: tenant.clone(),
        queue: maybe(random),
        kind: maybe(random),
        error: maybe(random),
        since: random.one_in(4).then_some(Instant::UNIX_EPOCH),
        ..JobFilter::default()
    };
    let batches = BatchFilter { tenant: tenant.clone(), name: maybe(random), ..BatchFilter::default() };
    let items = QuarantineFilter { tenant: tenant.clone(), open_only: random.one_in(2), ..QuarantineFilter::default() };
    // What a query cannot be is refused before it comes here.
    let asked = |list, text: &str| parse(list, text).unwrap_or_default().at(Instant::UNIX_EPOCH);
    let valid = *random.pick(&queries::VALID);
    let text_of_jobs = hostile_text(random, valid, &PIECES);
    let jobs = JobFilter { query: asked(List::Jobs, &text_of_jobs), ..jobs };
    let ticks = TickFilter { tenant: tenant.clone(), schedule: text(random), from: None, until: None, limit: 10 };
    let mut found = Vec::new();
    for listed in [
        store.jobs(&jobs, &page).await.map(|rows| rows.len()),
        store.batches(&batches, &page).await.map(|rows| rows.len()),
        store.quarantine(&items, &page).await.map(|rows| rows.len()),
        store.poison(&page).await.map(|rows| rows.len()),
        store.ticks(&ticks).await.map(|rows| rows.len()),
        store.schedules(Some(&tenant), Some(&ticks.schedule)).await.map(|rows| rows.len()),
        store.queues(&tenant).await.map(|rows| rows.len()),
    ] {
        match listed {
            Ok(rows) => found.push(rows),
            Err(StoreError::Invalid(why)) if !why.is_empty() => {}
            Err(error) => return Err(format!("{jobs:?} {page:?}: {error:?}")),
        }
    }
    Ok(found)
}

/// Jobs on queues of every name that a queue can have, so that a filter may find something.
async fn filled(store: TestStore) -> TestStore {
    for name in NAMES {
        let job = NewJob { queue: name.to_owned(), ..NewJob::new(job_id(), name, json!({})) };
        let (enqueued, plain) = (store.enqueue(&[job]).await, name.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_eq!(enqueued.is_ok(), plain, "{name}");
    }
    store
}

/// Whatever is asked for, the database answers as the model does, and no text is ever taken for a statement.
fn fuzz(name: &'static str, share: u64, real: impl Future<Output = TestStore>) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let (real, model) =
        runtime.block_on(async { (filled(real.await).await, filled(TestStore::reference(true)).await) });
    Target { name, ordinary: 150, share }.feed(|random| {
        let seed = random.draw();
        let found = runtime.block_on(lists(&real, &mut Random::new(seed)))?;
        let expected = runtime.block_on(lists(&model, &mut Random::new(seed)))?;
        if found != expected {
            return Err(format!("the model lists {expected:?}, the store {found:?}"));
        }
        Ok(found.first().is_some_and(|jobs| *jobs > 0))
    });
}

#[test]
fn whatever_a_filter_says_sqlite_answers_it() {
    fuzz("filters on SQLite", 500, TestStore::sqlite(true));
}

#[test]
fn whatever_a_filter_says_postgresql_answers_it() {
    fuzz("filters on PostgreSQL", 1_000, TestStore::postgres(true));
}
