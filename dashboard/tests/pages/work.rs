//! Batches and jobs in several states, with texts that would be markup if they were not escaped.

use std::time::Duration;

use gristmill_core::chunk::SetAside;
use gristmill_core::id::{BatchId, DEFAULT_TENANT, JobId};
use gristmill_core::job::ClaimedJob;
use gristmill_store::testing;
use gristmill_store::{Completion, Pause};
use serde_json::json;

use crate::env::TestEnv;

/// What must never arrive as markup.
pub(crate) const HOSTILE: &str = "<script>alert(\"x\")</script>&'";

/// What there is to look at.
pub(crate) struct Work {
    /// A batch whose chunks are done, dead, to be tried again, running and waiting.
    pub(crate) batch: BatchId,
    /// A dead job of it.
    pub(crate) dead: JobId,
    /// One that is to be tried again.
    pub(crate) retry: JobId,
    /// One that runs.
    pub(crate) running: JobId,
}

/// Makes a batch of seven chunks, and leaves each in another state.
pub(crate) async fn work(env: &TestEnv) -> Work {
    let store = &env.store;
    let worker = testing::worker(Duration::from_secs(600));
    store.register_worker(&worker).await.expect("entered");
    let batch = testing::sealed(store, 7, 4).await;
    let claimed: Vec<ClaimedJob> = store.claim_next(&testing::claim_as(worker.id, 5)).await.expect("claimed");
    let mut aside = testing::chunk_done(&claimed[0], 3);
    let result = aside.chunk.as_mut().expect("a result");
    result.quarantined = 1;
    result.set_aside = vec![SetAside {
        position: 2,
        line: Some(4),
        stage: "validate".to_owned(),
        reason: HOSTILE.to_owned(),
        item: json!({ "shop": HOSTILE }),
    }];
    let ended: Vec<Completion> = vec![
        aside,
        testing::chunk_done(&claimed[1], 4),
        failed(testing::dead(&claimed[2])),
        failed(testing::retry(&claimed[3], Duration::from_secs(3_600))),
    ];
    let report = store.complete(&ended).await.expect("completed");
    assert_eq!(report.fenced, []);
    Work { batch, dead: claimed[2].fence.job, retry: claimed[3].fence.job, running: claimed[4].fence.job }
}

fn failed(completion: Completion) -> Completion {
    Completion { error: Some(HOSTILE.to_owned()), ..completion }
}

/// Pauses a queue with a hostile reason.
pub(crate) async fn pause(env: &TestEnv, queue: &str) {
    let pause = Pause { by: Some(HOSTILE.to_owned()), reason: Some(HOSTILE.to_owned()) };
    env.store.pause_queue(DEFAULT_TENANT, queue, Some(&pause), false).await.expect("paused");
}
