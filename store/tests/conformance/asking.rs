//! Lists that are asked by a query: every store gives the same answer.

use gristmill_core::chunk::{ChunkResult, SetAside};
use gristmill_core::job::NewJob;
use gristmill_core::query::{List, parse};
use gristmill_store::testing::{self, TestStore};
use gristmill_store::{BatchFilter, Claim, Completion, JobFilter, Page, QuarantineFilter};

use crate::{LONG, TENANT, claim, complete, enter};

conformance! {
    jobs_are_found_by_every_key_of_a_query,
    batches_and_items_are_found_by_every_key_of_a_query,
    a_query_goes_on_from_page_to_page,
}

fn on(queue: &str, kind: &str, key: Option<&str>) -> NewJob {
    NewJob { queue: queue.to_owned(), kind: kind.to_owned(), key: key.map(str::to_owned), ..testing::job() }
}

/// The kinds of the jobs that match, sorted.
async fn kinds(store: &TestStore, text: &str) -> String {
    let now = store.now().await.expect("now");
    let query = parse(List::Jobs, text).expect(text).at(now);
    let filter = JobFilter { tenant: TENANT.to_owned(), query, ..JobFilter::default() };
    let jobs = store.jobs(&filter, &Page::default()).await.unwrap_or_else(|error| panic!("{text}: {error}"));
    let mut kinds: Vec<String> = jobs.into_iter().map(|job| job.kind).collect();
    kinds.sort();
    kinds.join(" ")
}

async fn jobs_are_found_by_every_key_of_a_query(store: TestStore) {
    let jobs = [on("mail", "a_dead", Some("x")), on("mail", "a_retry", None), on("slow", "b_run", Some("y*"))];
    store.enqueue(&jobs).await.expect("enqueued");
    let worker = enter(&store).await;
    let kinds_here = jobs.iter().map(|job| job.kind.clone()).collect();
    let claimed =
        store.claim_next(&Claim { kinds: kinds_here, ..testing::claim_as(worker, 3) }).await.expect("claimed");
    assert_eq!(claimed.len(), 3);
    for job in &claimed {
        match job.kind.as_str() {
            "a_dead" => drop(complete(&store, &[testing::dead(job)]).await),
            "a_retry" => drop(complete(&store, &[testing::retry(job, LONG)]).await),
            _ => {}
        }
    }
    store.enqueue(&[on("slow", "c_wait", None)]).await.expect("enqueued");
    store.enqueue(&[NewJob { tenant: "other".to_owned(), ..on("mail", "a_other", None) }]).await.expect("enqueued");
    for (text, expected) in [
        ("", "a_dead a_retry b_run c_wait"),
        ("state:dead,retry", "a_dead a_retry"),
        ("state:running", "b_run"),
        ("-state:running", "a_dead a_retry c_wait"),
        ("queue:mail", "a_dead a_retry"),
        ("queue:s*", "b_run c_wait"),
        ("-queue:mail state:running", "b_run"),
        ("kind:a_*", "a_dead a_retry"),
        ("kind:a_dead,c_wait", "a_dead c_wait"),
        ("-kind:a_*,b_run", "c_wait"),
        ("key:x", "a_dead"),
        ("key:\"y*\"", "b_run"),
        ("key:*", "a_dead b_run"),
        ("-key:x", "a_retry b_run c_wait"),
        ("batch:0198f9c1-7f3a-7cc2-9e2b-0123456789ab", ""),
        ("-batch:0198f9c1-7f3a-7cc2-9e2b-0123456789ab kind:c*", "c_wait"),
        ("error:NEVER", "a_dead"),
        ("error:\"not this\",never", "a_dead a_retry"),
        ("-error:nowhere", "a_dead a_retry b_run c_wait"),
        ("attempts>=1", "a_dead a_retry b_run"),
        ("attempts:0", "c_wait"),
        ("attempts>1", ""),
        ("age<1h", "a_dead a_retry b_run c_wait"),
        ("age>1h", ""),
        ("created:2020-01-01..", "a_dead a_retry b_run c_wait"),
        ("created:..2020-01-01", ""),
        ("ended:2020-01-01..", "a_dead"),
        ("-ended:2020-01-01..", "a_retry b_run c_wait"),
        ("queue:mail kind:b*", ""),
        ("kind:a_dead kind:a_retry", ""),
    ] {
        assert_eq!(kinds(&store, text).await, expected, "{text}");
    }
}

async fn batches_and_items_are_found_by_every_key_of_a_query(store: TestStore) {
    let batch = testing::sealed(&store, 1, 2).await;
    testing::sealed(&store, 1, 2).await;
    let worker = enter(&store).await;
    let claimed = claim(&store, worker, 10).await;
    let of_batch = claimed.iter().find(|job| job.batch == Some(batch)).expect("its chunk");
    let aside = |stage: &str, reason: &str, position| SetAside {
        position,
        line: None,
        stage: stage.to_owned(),
        reason: reason.to_owned(),
        item: serde_json::json!({}),
    };
    let set_aside = vec![aside("parse", "Not a number", 0), aside("validate", "too long", 1)];
    let result = ChunkResult { quarantined: 2, set_aside, ..ChunkResult::default() };
    let done = Completion { chunk: Some(result), ..testing::done(of_batch) };
    complete(&store, &[done]).await;
    let now = store.now().await.expect("now");
    for (text, expected) in [
        ("", 2),
        ("state:sealed", 1),
        ("state:aggregating,halted", 1),
        ("-state:sealed", 1),
        ("name:*", 2),
        ("name:none", 0),
        ("created:2020-01-01..", 2),
        ("age>1d", 0),
        ("ended:2020-01-01..", 0),
        ("-ended:2020-01-01..", 2),
    ] {
        let query = parse(List::Batches, text).expect(text).at(now);
        let filter = BatchFilter { tenant: TENANT.to_owned(), query, ..BatchFilter::default() };
        assert_eq!(store.batches(&filter, &Page::default()).await.expect(text).len(), expected, "{text}");
    }
    for (text, expected) in [
        ("", 2),
        ("stage:parse", 1),
        ("stage:p*,v*", 2),
        ("-stage:parse", 1),
        ("reason:\"not a\"", 1),
        ("state:open", 2),
        ("state:redriven", 0),
        (&format!("batch:{batch}"), 2),
        (&format!("-batch:{batch}"), 0),
        ("created:..2020-01-01", 0),
    ] {
        let query = parse(List::Quarantine, text).expect(text).at(now);
        let filter = QuarantineFilter { tenant: TENANT.to_owned(), query, ..QuarantineFilter::default() };
        assert_eq!(store.quarantine(&filter, &Page::default()).await.expect(text).len(), expected, "{text}");
    }
}

async fn a_query_goes_on_from_page_to_page(store: TestStore) {
    for number in 0..30 {
        store.enqueue(&[on("mail", if number % 3 == 0 { "a" } else { "b" }, None)]).await.expect("enqueued");
    }
    let query = parse(List::Jobs, "-kind:b queue:m*").expect("read");
    let filter = JobFilter { tenant: TENANT.to_owned(), query, ..JobFilter::default() };
    let (mut seen, mut page) = (Vec::new(), Page { after: None, limit: 4 });
    loop {
        let jobs = store.jobs(&filter, &page).await.expect("listed");
        seen.extend(jobs.iter().map(|job| job.id));
        let Some(last) = jobs.last() else { break };
        page.after = Some(last.id.to_string());
    }
    let mut sorted = seen.clone();
    sorted.sort_by(|a, b| b.cmp(a));
    sorted.dedup();
    assert_eq!((seen.len(), &seen), (10, &sorted));
}
