//! Whatever happens, in whatever order: the maintained counters equal what they count, and every batch reconciles.
//!
//! The sequence of operations comes from a seed, which a failure prints; `GRISTMILL_TEST_SEED` repeats it.

use std::time::Duration;

use gristmill_core::batch::BatchState;
use gristmill_core::id::{BatchId, WorkerId};
use gristmill_core::job::{ClaimedJob, JobState, Priority, RunAt};
use gristmill_core::settle::{Ending, Verdict};
use gristmill_core::unique::Unique;
use gristmill_store::testing::{self, TestStore};
use gristmill_store::{BatchEnd, BatchFilter, Completion, JobFilter, Page, Pause, StoreError};
use gristmill_testkit::random::{Random, seed};
use serde_json::json;

use crate::{TENANT, assert_reconciled, claim, enter};

conformance! {
    counters_are_what_they_count_after_anything,
    counters_are_what_they_count_after_anything_at_once,
}

/// How many operations one run has.
const STEPS: u32 = 150;

/// One client that does one thing after another.
struct Client<'a> {
    store: &'a TestStore,
    random: Random,
    worker: WorkerId,
    running: Vec<ClaimedJob>,
    batches: Vec<(BatchId, i64)>,
}

async fn client(store: &TestStore, seed: u64) -> Client<'_> {
    Client { store, random: Random::new(seed), worker: enter(store).await, running: Vec::new(), batches: Vec::new() }
}

impl Client<'_> {
    async fn step(&mut self) {
        match self.random.below(16) {
            0 | 1 => self.enqueue().await,
            2 => self.begin_batch().await,
            3 => self.add_chunks().await,
            4 => self.seal().await,
            5..=7 => self.claim().await,
            8..=10 => self.complete().await,
            11 => drop(self.store.promote(5).await.expect("promoted")),
            12 => self.redrive().await,
            13 => self.stop().await,
            14 => self.call_off().await,
            _ => drop(self.store.rescue(5).await.expect("rescued")),
        }
    }

    async fn enqueue(&mut self) {
        let mut jobs = testing::jobs(usize::try_from(self.random.below(4)).expect("small"));
        for job in &mut jobs {
            job.queue =
                ["default", "mail", "reports"][usize::try_from(self.random.below(3)).expect("small")].to_owned();
            job.priority = Priority::ALL[usize::try_from(self.random.below(3)).expect("small")];
            job.unique = (self.random.below(4) == 0).then(|| Unique::new("only one"));
            if self.random.below(4) == 0 {
                job.run = RunAt::In(Duration::from_millis(1));
            }
        }
        self.store.enqueue(&jobs).await.expect("enqueued");
    }

    async fn begin_batch(&mut self) {
        let new = testing::batch();
        self.store.create_batch(&new).await.expect("created");
        self.batches.push((new.id, 0));
    }

    async fn add_chunks(&mut self) {
        let Some((batch, next)) = self.batches.last_mut() else { return };
        let chunks: Vec<_> = (*next..*next + 3).map(|seq| testing::chunk(seq, 4)).collect();
        // Now and then the last one is sent twice, as after an unknown commit result.
        *next += 2;
        refused_or_done(self.store.add_chunks(*batch, &chunks).await);
    }

    async fn seal(&mut self) {
        if let Some((batch, _)) = self.batches.pop() {
            refused_or_done(self.store.seal(batch).await);
        }
    }

    async fn claim(&mut self) {
        let limit = u32::try_from(self.random.below(5)).expect("small");
        self.running.extend(claim(self.store, self.worker, limit).await);
    }

    async fn complete(&mut self) {
        let count = usize::try_from(self.random.below(4)).expect("small").min(self.running.len());
        let taken: Vec<_> = self.running.drain(..count).collect();
        let all: Vec<_> = taken.iter().map(|job| self.ending(job)).collect();
        self.store.complete(&all).await.expect("completed");
        if self.random.below(3) == 0 {
            let again = self.store.complete(&all).await.expect("completed again");
            assert_eq!(again.settled, 0, "a completion is written once");
        }
    }

    fn ending(&mut self, job: &ClaimedJob) -> Completion {
        if job.kind == "aggregate" {
            let state = if self.random.below(2) == 0 { BatchState::Complete } else { BatchState::Halted };
            let batch = job.batch.expect("an aggregate has a batch");
            let end = BatchEnd { batch, generation: job.generation, state, result: json!({}), reason: None };
            return Completion { batch_end: Some(end), ..testing::done(job) };
        }
        let spent = job.fence.attempt >= job.max_attempts;
        match self.random.below(6) {
            0 => testing::dead(job),
            1 if !spent => testing::retry(job, Duration::ZERO),
            2 => Completion::new(job.fence, Ending::Interrupted, Verdict::Release),
            3 if !spent => Completion::new(job.fence, Ending::WorkerLost, Verdict::Requeue),
            _ => testing::chunk_done(job, if job.seq.is_some() { 4 } else { 0 }),
        }
    }

    async fn redrive(&mut self) {
        let filter = JobFilter { tenant: TENANT.to_owned(), states: vec![JobState::Dead], ..JobFilter::default() };
        let dead = self.store.jobs(&filter, &Page { after: None, limit: 2 }).await.expect("listed");
        let ids: Vec<_> = dead.iter().map(|job| job.id).collect();
        refused_or_done(self.store.redrive_dead(TENANT, &ids, self.random.below(3) == 0).await);
    }

    /// The worker stops, voluntarily or not, and a new one starts.
    async fn stop(&mut self) {
        if self.random.below(2) == 0 {
            self.store.retire_worker(self.worker).await.expect("retired");
        } else {
            self.store.beat(self.worker, Duration::ZERO, 0).await.expect("the last beat");
        }
        // It may still try to complete what it ran: it is fenced then.
        self.worker = enter(self.store).await;
    }

    async fn call_off(&mut self) {
        let filter = BatchFilter { tenant: TENANT.to_owned(), ..BatchFilter::default() };
        let batches = self.store.batches(&filter, &Page { after: None, limit: 3 }).await.expect("listed");
        if let Some(batch) = batches.last() {
            match self.random.below(4) {
                0 => refused_or_done(self.store.cancel_batch(TENANT, batch.id, "called off", false).await),
                1 => refused_or_done(self.store.halt_batch(batch.id, batch.generation, "over").await),
                2 => refused_or_done(self.store.discard_batch(batch.id).await),
                _ => refused_or_done(
                    self.store.pause_batch(TENANT, batch.id, (!batch.paused).then_some(&Pause::default()), false).await,
                ),
            }
        }
        let queued = JobFilter { tenant: TENANT.to_owned(), states: vec![JobState::Queued], ..JobFilter::default() };
        let queued = self.store.jobs(&queued, &Page { after: None, limit: 1 }).await.expect("listed");
        if let Some(job) = queued.first() {
            refused_or_done(self.store.cancel_job(TENANT, job.id, "no", false).await);
        }
    }
}

/// A refusal because of a state is an answer like any other here; anything else is a failure.
fn refused_or_done<T>(result: Result<T, StoreError>) {
    match result {
        Ok(_) | Err(StoreError::Conflict(_) | StoreError::NotFound(_)) => {}
        Err(error) => panic!("neither done nor refused: {error}"),
    }
}

/// Every batch counts exactly its jobs' items, and the counters are exact.
async fn assert_consistent(store: &TestStore, seed: u64) {
    if store.knows_sql() {
        assert_counted(store, seed).await;
    }
    assert_reconciled(store).await;
}

async fn assert_counted(store: &TestStore, seed: u64) {
    let unequal = "
        SELECT count(*) FROM batch b WHERE
            b.input <> (SELECT coalesce(sum(items), 0) FROM job j WHERE j.batch_id = b.id AND j.seq IS NOT NULL)
            OR b.cancelled <> (SELECT coalesce(sum(items), 0) FROM job j
                               WHERE j.batch_id = b.id AND j.seq IS NOT NULL AND j.state = 'cancelled')
            OR b.ok <> (SELECT coalesce(sum(items), 0) FROM job j
                        WHERE j.batch_id = b.id AND j.seq IS NOT NULL AND j.state = 'done')
            OR b.quarantined <> (SELECT coalesce(sum(items), 0) FROM job j
                                 WHERE j.batch_id = b.id AND j.seq IS NOT NULL AND j.state = 'dead')
            OR (SELECT count(*) FROM result r WHERE r.batch_id = b.id)
               <> (SELECT count(*) FROM job j WHERE j.batch_id = b.id AND j.seq IS NOT NULL AND j.state = 'done')";
    assert_eq!(store.count(unequal).await, 0, "GRISTMILL_TEST_SEED={seed}: a batch does not count its items");
    let counters = "
        SELECT count(*) FROM (
            SELECT tenant, queue, state FROM (
                SELECT tenant, queue, state, count(*) AS n FROM job GROUP BY tenant, queue, state
                UNION ALL SELECT tenant, queue, state, -jobs FROM queue_count) AS both_of_them
            GROUP BY tenant, queue, state HAVING sum(n) <> 0) AS wrong";
    assert_eq!(store.count(counters).await, 0, "GRISTMILL_TEST_SEED={seed}: a queue counter is wrong");
}

async fn counters_are_what_they_count_after_anything(store: TestStore) {
    let seed = seed();
    let mut client = client(&store, seed).await;
    for step in 0..STEPS {
        client.step().await;
        if step % 25 == 24 {
            assert_consistent(&store, seed).await;
        }
    }
}

async fn counters_are_what_they_count_after_anything_at_once(store: TestStore) {
    let seed = seed();
    let mut one = client(&store, seed).await;
    let mut two = client(&store, seed.rotate_left(17).max(1)).await;
    let mut three = client(&store, seed.rotate_left(39).max(1)).await;
    for _ in 0..STEPS / 3 {
        tokio::join!(one.step(), two.step(), three.step());
    }
    assert_consistent(&store, seed).await;
}
