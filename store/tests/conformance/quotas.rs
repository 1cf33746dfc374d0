//! Quotas: what a tenant may have at most, however many ask at once, and what is not held to it.

use gristmill_core::chunk::{FileFingerprint, SourceFingerprint};
use gristmill_core::job::NewJob;
use gristmill_store::accounts::{NewTenant, Quotas, TenantChange};
use gristmill_store::testing::{self, TestStore};
use gristmill_store::{NewBatch, OverQuota, QuotaOf, StoreError, StoreHandle, TenantUsage};

use super::{claim, complete, enter};

conformance!(;
    databases only, "the model has no tenants":
    jobs_are_let_in_up_to_the_quota_and_again_when_some_have_ended,
    a_group_that_does_not_fit_is_refused_as_a_whole,
    many_at_once_get_no_more_than_the_quota,
    batches_are_let_in_up_to_the_quota_however_many_ask_at_once,
    copies_of_inputs_are_let_in_up_to_the_quota_of_storage_however_many_ask_at_once,
    a_batch_is_refused_where_no_job_of_it_would_fit_and_one_that_has_begun_is_planned_to_its_end,
    what_is_there_already_counts_and_is_not_refused_twice,
    only_what_is_metered_is_held_to_a_quota_and_no_other_tenant,
    quotas_are_set_only_where_they_are_the_ones_that_were_seen,
);

const NORTH: &str = "north";

/// A tenant with quotas, and the store as those see it who are held to them.
async fn north(store: &TestStore, quotas: Quotas) -> StoreHandle {
    let tenant = NewTenant { name: NORTH.to_owned(), quotas, owner: None };
    store.create_tenant(&tenant).await.expect("created");
    store.handle().metered()
}

fn jobs(most: u64) -> Quotas {
    Quotas { jobs_waiting: Some(most), ..Quotas::default() }
}

fn job() -> NewJob {
    NewJob { tenant: NORTH.to_owned(), ..testing::job() }
}

fn batch() -> NewBatch {
    NewBatch { tenant: NORTH.to_owned(), ..testing::batch() }
}

fn over<T: std::fmt::Debug>(result: Result<T, StoreError>) -> OverQuota {
    match result {
        Err(StoreError::OverQuota(over)) => over,
        other => panic!("it is refused: {other:?}"),
    }
}

async fn usage(store: &TestStore) -> (u64, u64) {
    let TenantUsage { jobs_waiting, batches_active, .. } = store.tenant_usage(NORTH).await.expect("asked");
    (jobs_waiting, batches_active)
}

async fn jobs_are_let_in_up_to_the_quota_and_again_when_some_have_ended(store: TestStore) {
    let metered = north(&store, jobs(2)).await;
    for _ in 0..2 {
        metered.enqueue(&[job()]).await.expect("it fits");
    }
    let refused = over(metered.enqueue(&[job()]).await);
    assert_eq!((refused.tenant.as_str(), refused.quota), (NORTH, QuotaOf::JobsWaiting));
    assert_eq!((refused.limit, refused.used, refused.wanted), (2, 2, 1));
    assert_eq!(usage(&store).await, (2, 0));
    let worker = enter(&store).await;
    let claimed = claim(&store, worker, 10).await;
    assert_eq!(claimed.len(), 2);
    over(metered.enqueue(&[job()]).await);
    complete(&store, &[testing::done(&claimed[0])]).await;
    metered.enqueue(&[job()]).await.expect("one has ended");
    over(metered.enqueue(&[job()]).await);
    complete(&store, &[testing::retry(&claimed[1], super::LONG)]).await;
    over(metered.enqueue(&[job()]).await);
    assert_eq!(usage(&store).await, (2, 0), "one that is tried again has not ended");
}

async fn a_group_that_does_not_fit_is_refused_as_a_whole(store: TestStore) {
    let metered = north(&store, jobs(5)).await;
    let group: Vec<NewJob> = (0..6).map(|_| job()).collect();
    assert_eq!(over(metered.enqueue(&group).await).wanted, 6);
    assert_eq!(usage(&store).await, (0, 0), "nothing is half-done");
    metered.enqueue(&group[..5]).await.expect("it fits");
    assert_eq!(usage(&store).await, (5, 0));
    let twice = metered.enqueue(&group[..5]).await.expect("they are there already");
    assert_eq!(twice.jobs.len(), 5);
}

async fn many_at_once_get_no_more_than_the_quota(store: TestStore) {
    north(&store, jobs(7)).await;
    let asking = (0..24).map(|_| {
        let metered = store.handle().metered();
        tokio::spawn(async move { metered.enqueue(&[job(), job()]).await })
    });
    let mut let_in = 0;
    for asked in asking.collect::<Vec<_>>() {
        match asked.await.expect("it ran") {
            Ok(_) => let_in += 1,
            refused => assert_eq!(over(refused).limit, 7),
        }
    }
    assert_eq!((let_in, usage(&store).await), (3, (6, 0)), "the seventh place is for one alone");
}

async fn batches_are_let_in_up_to_the_quota_however_many_ask_at_once(store: TestStore) {
    let quotas = Quotas { batches_active: Some(3), ..Quotas::default() };
    north(&store, quotas).await;
    let asking = (0..12).map(|_| {
        let metered = store.handle().metered();
        tokio::spawn(async move { metered.create_batch(&batch()).await })
    });
    let mut made = Vec::new();
    for asked in asking.collect::<Vec<_>>() {
        match asked.await.expect("it ran") {
            Ok(created) => made.push(created.id),
            refused => assert_eq!(over(refused).quota, QuotaOf::BatchesActive),
        }
    }
    assert_eq!((made.len(), usage(&store).await), (3, (0, 3)));
    let refused = over(store.handle().metered().create_batch(&batch()).await);
    assert_eq!((refused.limit, refused.used, refused.wanted), (3, 3, 1));

    store.cancel_batch(NORTH, made[0], "enough", false).await.expect("cancelled");
    assert_eq!(usage(&store).await, (0, 2));
    store.handle().metered().create_batch(&batch()).await.expect("one has ended");
}

/// A batch that reads a copy of so many bytes, beside a file of the user's own.
fn copying(bytes: u64) -> NewBatch {
    let file = |path: String, name: &str, bytes| FileFingerprint {
        path,
        name: name.to_owned(),
        bytes,
        modified_ns: 0,
        edges: String::new(),
        columns: Vec::new(),
    };
    let copy = file(format!("/spool/{}.spool", uuid::Uuid::now_v7()), "standard input", bytes);
    let own = file("/in/orders.csv".to_owned(), "orders.csv", 1_000_000);
    NewBatch { fingerprint: SourceFingerprint { files: vec![copy, own] }, ..batch() }
}

async fn copies_of_inputs_are_let_in_up_to_the_quota_of_storage_however_many_ask_at_once(store: TestStore) {
    north(&store, Quotas { storage_bytes: Some(250), ..Quotas::default() }).await;
    let asking = (0..8).map(|_| {
        let metered = store.handle().metered();
        tokio::spawn(async move { metered.create_batch(&copying(100)).await })
    });
    let mut made = Vec::new();
    for asked in asking.collect::<Vec<_>>() {
        match asked.await.expect("it ran") {
            Ok(created) => made.push(created.id),
            refused => assert_eq!(over(refused).quota, QuotaOf::StorageBytes),
        }
    }
    let stored = async || store.tenant_usage(NORTH).await.expect("asked").storage_bytes;
    assert_eq!((made.len(), stored().await), (2, 200));
    let refused = over(store.handle().metered().create_batch(&copying(51)).await);
    assert_eq!((refused.limit, refused.used, refused.wanted), (250, 200, 51));
    store.handle().metered().create_batch(&batch()).await.expect("it copies nothing");
    store.cancel_batch(NORTH, made[0], "enough", false).await.expect("cancelled");
    assert_eq!(stored().await, 200, "a copy stays for as long as a restart may read it");
    for (batch, _) in store.spools(std::time::Duration::ZERO, 10).await.expect("asked") {
        store.spools_removed(batch).await.expect("said");
    }
    assert_eq!(stored().await, 100);
    store.handle().metered().create_batch(&copying(150)).await.expect("there is room again");
}

async fn a_batch_is_refused_where_no_job_of_it_would_fit_and_one_that_has_begun_is_planned_to_its_end(
    store: TestStore,
) {
    let metered = north(&store, jobs(3)).await;
    let made = metered.create_batch(&batch()).await.expect("it fits").id;
    store.add_chunks(made, &testing::chunks(5, 10)).await.expect("planned to its end");
    assert_eq!(usage(&store).await, (5, 1));
    let refused = over(metered.create_batch(&batch()).await);
    assert_eq!((refused.quota, refused.used), (QuotaOf::JobsWaiting, 5));
    assert_eq!(usage(&store).await, (5, 1), "nothing is half-done");
}

async fn what_is_there_already_counts_and_is_not_refused_twice(store: TestStore) {
    let metered = north(&store, Quotas::default()).await;
    let known = NewJob { idempotency_key: Some("k".to_owned()), ..job() };
    metered.enqueue(&[known.clone(), job(), job()]).await.expect("not limited");
    let change = TenantChange::Quotas { quotas: jobs(1), seen: None };
    store.change_tenant(NORTH, &change).await.expect("lowered below what there is");
    let refused = over(metered.enqueue(&[job()]).await);
    assert_eq!((refused.limit, refused.used), (1, 3));
    let again = NewJob { id: testing::job_id(), ..known };
    metered.enqueue(&[again]).await.expect("it was enqueued before, and is answered with the same again");
    assert_eq!(usage(&store).await, (3, 0), "what is there stays");
    let change = TenantChange::Quotas { quotas: Quotas::default(), seen: Some(jobs(1)) };
    store.change_tenant(NORTH, &change).await.expect("not limited any more");
    metered.enqueue(&[job()]).await.expect("not limited");
}

async fn only_what_is_metered_is_held_to_a_quota_and_no_other_tenant(store: TestStore) {
    let metered = north(&store, jobs(0)).await;
    over(metered.enqueue(&[job()]).await);
    store.enqueue(&[job()]).await.expect("work that goes on by itself is not refused");
    metered.enqueue(&[testing::job()]).await.expect("another tenant");
    let both = over(metered.enqueue(&[testing::job(), job()]).await);
    assert_eq!(both.wanted, 1);
    let nowhere = NewJob { tenant: "no-such-tenant".to_owned(), ..testing::job() };
    metered.enqueue(&[nowhere]).await.expect("a tenant that nothing is said of");
}

async fn quotas_are_set_only_where_they_are_the_ones_that_were_seen(store: TestStore) {
    north(&store, jobs(5)).await;
    let set = async |quotas, seen| store.change_tenant(NORTH, &TenantChange::Quotas { quotas, seen }).await;
    let stale = set(jobs(9), Some(jobs(4))).await;
    assert!(matches!(stale, Err(StoreError::Conflict(_))), "{stale:?}");
    assert_eq!(set(jobs(9), Some(jobs(5))).await.expect("set").quotas, jobs(9));
    let missing = TenantChange::Quotas { quotas: jobs(1), seen: None };
    let missing = store.change_tenant("south", &missing).await;
    assert!(matches!(missing, Err(StoreError::NotFound(_))), "{missing:?}");
}
