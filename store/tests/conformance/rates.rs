//! Limits by rate: how many may begin in a given time.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use gristmill_core::duration::Span;
use gristmill_core::job::NewJob;
use gristmill_store::testing::{self, TestStore};
use gristmill_store::{Blocker, LimitSpec};

use crate::limits::{done, enqueue, found, limit, many, on, take};
use crate::{complete, enter};

conformance! {
    a_rate_is_never_exceeded_in_any_window,
    a_rate_says_when_the_next_may_begin,
    a_rate_that_is_raised_makes_nobody_wait_for_the_old_one,
}

async fn a_rate_is_never_exceeded_in_any_window(store: TestStore) {
    // Fifty per second, so that one begins every 20 ms, three of them at one moment after a quiet time.
    let spec = LimitSpec { rate: Some(50), burst: Some(3), per_key: true, ..on(&["crm"]) };
    limit(&store, "fifty", spec).await;
    let jobs: Vec<NewJob> = ["a", "b"].iter().flat_map(|key| many("crm", Some(key), 12)).collect();
    enqueue(&store, &jobs).await;
    let claimers: Vec<_> = (0..4)
        .map(|_| {
            let store = store.handle();
            tokio::spawn(async move {
                let worker = testing::worker_id();
                let mut begun = Vec::new();
                loop {
                    let found = found(&store, worker, 5).await;
                    begun.extend(found.claimed.iter().map(|job| (job.key.clone(), job.started_at)));
                    match found.wait {
                        Some(wait) => tokio::time::sleep(wait).await,
                        None if found.claimed.is_empty() => return begun,
                        None => {}
                    }
                }
            })
        })
        .collect();
    let mut begun: HashMap<Option<String>, Vec<gristmill_core::Instant>> = HashMap::new();
    for claimer in claimers {
        for (key, at) in claimer.await.expect("a claimer ends") {
            begun.entry(key).or_default().push(at);
        }
    }
    for (key, mut instants) in begun {
        instants.sort_unstable();
        assert_eq!(instants.len(), 12, "all of {key:?} came through");
        let mut window: VecDeque<gristmill_core::Instant> = VecDeque::new();
        for at in instants {
            window.push_back(at);
            for (index, from) in window.iter().enumerate() {
                let begun = i64::try_from(window.len() - index).expect("few");
                let bound = 3 + (at - *from).num_microseconds().expect("short") / 20_000;
                assert!(begun <= bound, "{begun} of {key:?} began within {}", at - *from);
            }
        }
    }
}

async fn a_rate_says_when_the_next_may_begin(store: TestStore) {
    let per = Some(Span(Duration::from_secs(3_600)));
    limit(&store, "one", LimitSpec { rate: Some(1), per, ..on(&["crm"]) }).await;
    let jobs = many("crm", None, 2);
    enqueue(&store, &jobs).await;
    let worker = enter(&store).await;
    let first = found(&store, worker, 10).await;
    assert_eq!(first.claimed.len(), 1);
    let wait = first.wait.expect("one waits");
    assert!(wait > Duration::from_secs(3_590) && wait <= Duration::from_secs(3_600), "{wait:?}");
    let again = found(&store, worker, 10).await;
    assert!(again.claimed.is_empty() && again.wait.is_some_and(|again| again <= wait));
    // A completion frees no place of a rate.
    complete(&store, &done(&first.claimed)).await;
    assert!(take(&store, worker, 10).await.is_empty());
    let told = store.blockers(jobs[1].id).await.expect("asked").hindrances;
    assert!(matches!(told.as_slice(), [Blocker::Rate { limit, .. }] if limit == "one"), "{told:?}");
    // No rate whose time is still to come is deleted; a changed rate applies at once.
    store.raise_aged(100).await.expect("swept");
    assert!(take(&store, worker, 10).await.is_empty());
    limit(&store, "one", LimitSpec { rate: Some(1), per, burst: Some(5), ..on(&["crm"]) }).await;
    assert_eq!(take(&store, worker, 10).await.len(), 1);
}

async fn a_rate_that_is_raised_makes_nobody_wait_for_the_old_one(store: TestStore) {
    let hour = Some(Span(Duration::from_secs(3_600)));
    limit(&store, "one", LimitSpec { rate: Some(1), per: hour, ..on(&["crm"]) }).await;
    enqueue(&store, &many("crm", None, 3)).await;
    let worker = enter(&store).await;
    assert_eq!(take(&store, worker, 10).await.len(), 1);
    let minute = Some(Span(Duration::from_secs(60)));
    limit(&store, "one", LimitSpec { rate: Some(1), per: minute, ..on(&["crm"]) }).await;
    let next = found(&store, worker, 10).await;
    assert!(next.claimed.is_empty(), "what began under the old one counts");
    assert!(next.wait.is_some_and(|wait| wait <= Duration::from_secs(60)), "{:?}", next.wait);
}
