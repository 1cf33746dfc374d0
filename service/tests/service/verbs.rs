//! Verbs change what is there: each publishes what its commit left, and a dry run changes nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use gristmill_core::batch::BatchState;
use gristmill_core::duration::Span;
use gristmill_core::id::{DEFAULT_TENANT, JobId};
use gristmill_core::job::{JobState, NewJob, RunAt};
use gristmill_core::schedule::{JobSpec, ScheduleSpec};
use gristmill_core::unique::Unique;
use gristmill_service::Connect;
use gristmill_service::dispatcher::Dispatcher;
use gristmill_service::{Order, Service};
use gristmill_store::testing::{dead, job, jobs, sealed};
use gristmill_store::{LimitSpec, NewBackfill, NewPoison, PoisonSource, QuarantineWhich, Restart, StoreError};
use serde_json::json;
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::env::{TestEnv, dispatcher, envs, hourly_job, order, rehearsal};

/// A job that has failed for the last time.
async fn dead_letter(env: &TestEnv) -> JobId {
    dies(env, job()).await
}

/// Enqueues a job that fails for the last time.
async fn dies(env: &TestEnv, job: NewJob) -> JobId {
    let id = env.service.enqueue(&order(), job).await.expect("enqueued").expect("an id").id;
    let claimed = env.claim().await;
    let ours: Vec<_> = claimed.iter().filter(|claimed| claimed.fence.job == id).map(dead).collect();
    env.dispatcher.after(env.store.complete(&ours)).await.expect("completed");
    assert_eq!(env.job(id).await.state, JobState::Dead);
    id
}

/// A job that waits for its time.
async fn scheduled(env: &TestEnv) -> JobId {
    let mut later = job();
    later.run = RunAt::In(Duration::from_secs(3_600));
    env.service.enqueue(&order(), later).await.expect("enqueued").expect("an id").id
}

fn limit() -> LimitSpec {
    LimitSpec { queues: ["crm".to_owned()].into(), concurrency: Some(2), ..LimitSpec::default() }
}

#[tokio::test]
async fn jobs_are_published_when_they_are_enqueued_let_run_or_redriven() {
    for env in envs().await {
        let service = &env.service;
        env.publishes("one", 1, async {
            assert!(service.enqueue(&order(), job()).await.expect("enqueued").expect("an id").created);
        })
        .await;
        env.publishes("many", 5, async {
            assert_eq!(service.enqueue_many(&order(), jobs(5)).await.expect("enqueued").jobs.len(), 5);
        })
        .await;
        let waits = scheduled(&env).await;
        env.publishes("retry", 1, async {
            assert_eq!(service.retry_job(&order(), waits).await.expect("it may run").affected, 1);
        })
        .await;
        let dead = dead_letter(&env).await;
        env.publishes("redrive", 1, async {
            assert_eq!(service.redrive_dead(&order(), &[dead]).await.expect("redriven").affected, 1);
        })
        .await;
    }
}

#[tokio::test]
async fn a_queue_that_is_resumed_publishes_what_waited_in_it() {
    for env in envs().await {
        let service = &env.service;
        let reason = order().because("the server is being moved");
        service.pause_queue(&reason, "default").await.expect("paused");
        service.enqueue_many(&order(), jobs(3)).await.expect("enqueued");
        let queues = env.store.queues(DEFAULT_TENANT).await.expect("listed");
        let pause = queues[0].pause.clone().expect("the queue says why");
        assert_eq!(
            (pause.by.as_deref(), pause.reason.as_deref()),
            (Some("ada@laptop"), Some("the server is being moved"))
        );
        let (before, _) = env.published().await;
        assert_eq!(service.resume_queue(&order(), "default").await.expect("resumed").affected, 3);
        let (after, rows) = env.published().await;
        assert!(after >= before + 3, "{before} {after}");
        assert_eq!(rows, 0);
    }
}

#[tokio::test]
async fn a_batch_publishes_its_chunks_when_it_is_resumed_restarted_or_a_chunk_is_split() {
    for env in envs().await {
        let service = &env.service;
        let batch = sealed(&env.store, 2, 4).await;
        service.pause_batch(&order(), batch).await.expect("paused");
        let (before, _) = env.published().await;
        assert_eq!(service.resume_batch(&order(), batch).await.expect("resumed").affected, 2);
        assert!(env.published().await.0 >= before + 2);
        let chunk = env.jobs().await.iter().find(|job| job.kind == "chunk").expect("a chunk").id;
        let (before, _) = env.published().await;
        assert_eq!(service.split_chunk(&order(), chunk).await.expect("split").affected, 2);
        assert!(env.published().await.0 >= before + 2, "both halves");
        service.cancel_batch(&order().because("wrong file"), batch).await.expect("cancelled");
        let view = env.store.batch(DEFAULT_TENANT, batch).await.expect("answers").expect("is there");
        assert_eq!((view.state, view.reason.as_deref()), (BatchState::Cancelled, Some("wrong file")));
        let (before, _) = env.published().await;
        let restart = Restart { batch, failure_budget: None, dead: false };
        let restarted = service.restart_batch(&order(), &restart).await.expect("restarted");
        assert!(restarted.affected >= 2 && env.published().await.0 >= before + restarted.affected);
    }
}

#[tokio::test]
async fn a_dry_run_of_any_verb_changes_and_publishes_nothing() {
    for env in envs().await {
        let (dead, waits) = (dead_letter(&env).await, scheduled(&env).await);
        let batch = sealed(&env.store, 2, 4).await;
        let cancelled = sealed(&env.store, 2, 4).await;
        env.service.cancel_batch(&order(), cancelled).await.expect("cancelled");
        let chunk = env.jobs().await.into_iter().find(|job| job.batch == Some(batch)).expect("a chunk").id;
        let made = env.service.create_schedule(&order(), "nightly", hourly_job(), true).await.expect("made");
        let nightly = made.expect("not a rehearsal");
        env.service.set_limit(&order(), "crm", limit()).await.expect("set").expect("not a rehearsal");
        env.store.record_poison(&[poison()]).await.expect("kept");
        let poison = env.service.all_poison().await.expect("listed");
        let before = env.everything().await;
        let (service, order) = (&env.service, rehearsal());
        let mut would = Vec::new();
        would.push(service.pause_batch(&order, batch).await.expect("pause").affected);
        would.push(service.cancel_batch(&order, batch).await.expect("cancel").affected);
        would.push(service.split_chunk(&order, chunk).await.expect("split").affected);
        let restart = Restart { batch: cancelled, failure_budget: None, dead: false };
        would.push(service.restart_batch(&order, &restart).await.expect("restart").affected);
        would.push(service.cancel_job(&order, waits).await.expect("cancel").affected);
        would.push(service.cancel_jobs(&order, &[waits], |_| {}).await.expect("cancel").affected);
        would.push(service.retry_job(&order, waits).await.expect("retry").affected);
        would.push(service.redrive_dead(&order, &[dead]).await.expect("redrive").affected);
        would.push(service.redrive_each(&order, &[dead]).await.expect("redrive").redriven.affected);
        would.push(service.drop_limit(&order, "crm").await.expect("drop").affected);
        would.push(service.drop_poison(&order, &poison).await.expect("drop").affected);
        assert!(would.iter().all(|affected| *affected > 0), "each says what it would do: {would:?}");
        service.pause_queue(&order, "default").await.expect("pause");
        service.redrive_quarantine(&order, batch, QuarantineWhich::default(), 10).await.expect("redrive");
        service.reconcile(&order).await.expect("reconcile");
        assert_eq!(service.enqueue(&order, job()).await.expect("enqueue"), None);
        assert_eq!(service.set_limit(&order, "new", limit()).await.expect("set"), None);
        assert_eq!(service.create_schedule(&order, "new", hourly_job(), true).await.expect("create"), None);
        let daily = ScheduleSpec { every: Some(Span(Duration::from_secs(86_400))), ..hourly_job() };
        assert_eq!(service.edit_schedule(&order, &nightly, daily).await.expect("edit"), None);
        assert_eq!(service.switch_schedule(&order, &nightly, false).await.expect("disable"), None);
        assert!(service.remove_schedule(&order, "nightly").await.expect("remove"), "it is there");
        assert_eq!(env.everything().await, before, "{}", env.home.url());
    }
}

fn poison() -> NewPoison {
    NewPoison {
        queue: "default".to_owned(),
        sha256: "0".repeat(64),
        size: 3,
        bytes: b"?!?".to_vec(),
        headers: serde_json::json!({}),
        reason: "it is no JSON".to_owned(),
        source: PoisonSource::Worker,
    }
}

#[tokio::test]
async fn a_dry_run_of_a_backfill_counts_the_slots_that_would_wait() {
    for env in envs().await {
        let (service, now) = (&env.service, env.store.now().await.expect("a clock"));
        service.create_schedule(&order(), "nightly", hourly_job(), true).await.expect("made");
        let slot = |hours| now - chrono::TimeDelta::hours(hours);
        let ticks = [3, 2, 1].map(|hours| (slot(hours), (slot(hours + 1), slot(hours)))).to_vec();
        let backfill = NewBackfill {
            id: Uuid::now_v7(),
            tenant: DEFAULT_TENANT.to_owned(),
            schedule: "nightly".to_owned(),
            range: (slot(3), slot(1)),
            concurrency: 1,
            newest_first: false,
            tzdb: None,
            ticks,
        };
        assert_eq!(service.start_backfill(&rehearsal(), &backfill).await.expect("counted"), 3);
        assert!(env.ledger("nightly").await.is_empty());
        assert_eq!(service.start_backfill(&order(), &backfill).await.expect("started"), 3);
        let paused = service.pause_backfill(&rehearsal(), "nightly", backfill.id, true).await.expect("counted");
        let views = env.store.backfills(DEFAULT_TENANT, "nightly").await.expect("listed");
        assert_eq!((paused, views[0].paused, views[0].waiting), (3, false, 3));
        let strange = service.cancel_backfill(&rehearsal(), "nightly", Uuid::now_v7()).await;
        assert!(matches!(strange, Err(StoreError::NotFound(_))), "{strange:?}");
        assert_eq!(service.cancel_backfill(&order(), "nightly", backfill.id).await.expect("cancelled"), 3);
    }
}

#[tokio::test]
async fn those_of_many_dead_letters_that_refuse_are_counted_and_the_others_go() {
    for env in envs().await {
        let unique = || NewJob { unique: Some(Unique::new("shop-7")), ..job() };
        let dead = [dead_letter(&env).await, dies(&env, unique()).await, dead_letter(&env).await];
        let holder = env.service.enqueue(&order(), unique()).await.expect("enqueued").expect("an id").id;
        let all = env.service.redrive_dead(&order(), &dead).await.expect_err("one of them refuses the group");
        assert!(matches!(&all, StoreError::Conflict(_)) && env.job(dead[0]).await.state == JobState::Dead, "{all}");
        let report = env.service.redrive_each(&order(), &dead).await.expect("redriven");
        assert_eq!((report.redriven.affected, report.refused), (2, 1));
        assert!(report.reasons[0].contains(&holder.to_string()), "{:?}", report.reasons);
        let states = [env.job(dead[0]).await.state, env.job(dead[1]).await.state, env.job(dead[2]).await.state];
        assert_eq!(states, [JobState::Queued, JobState::Dead, JobState::Queued]);
        assert_eq!(env.published().await.1, 0);
    }
}

#[tokio::test]
async fn many_jobs_are_cancelled_in_groups_and_the_caller_hears_how_far_it_is() {
    for env in envs().await {
        let many = jobs(1_001);
        let ids: Vec<JobId> = many.iter().map(|job| job.id).collect();
        for group in many.chunks(1_000) {
            env.service.enqueue_many(&order(), group.to_vec()).await.expect("enqueued");
        }
        let mut heard = Vec::new();
        let total = env.service.cancel_jobs(&order(), &ids, |so_far| heard.push(so_far)).await.expect("cancelled");
        assert_eq!((total.affected, heard), (1_001, vec![1_000, 1_001]));
        let reason = env.job(ids[0]).await.error.expect("the reason is kept");
        assert!(reason.contains("ada@laptop"), "without a reason the actor is named: {reason}");
    }
}

#[tokio::test]
async fn an_order_for_a_tenant_is_for_no_other_whatever_the_job_says() {
    for env in envs().await {
        let other = Order { tenant: "other".to_owned(), ..order() };
        let id = env.service.enqueue(&other, job()).await.expect("enqueued").expect("an id").id;
        assert!(env.store.job(DEFAULT_TENANT, id).await.expect("answers").is_none());
        assert!(env.store.job("other", id).await.expect("answers").is_some());
        let refused = env.service.cancel_job(&order(), id).await;
        assert!(matches!(refused, Err(StoreError::NotFound(_))), "{refused:?}");
    }
}

/// Counts how often it had to connect.
#[derive(Debug)]
struct Counted {
    /// What it connects to; `None` refuses.
    dispatcher: Option<Dispatcher>,
    connected: OnceCell<Dispatcher>,
    asked: AtomicU32,
}

impl Counted {
    fn over(dispatcher: Option<Dispatcher>) -> Arc<Self> {
        Arc::new(Self { dispatcher, connected: OnceCell::new(), asked: AtomicU32::new(0) })
    }
}

#[async_trait]
impl Connect for Counted {
    fn connected(&self) -> Option<Dispatcher> {
        self.connected.get().cloned()
    }

    async fn connect(&self) -> Option<Dispatcher> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let dispatcher = self.dispatcher.clone()?;
        Some(self.connected.get_or_init(async || dispatcher).await.clone())
    }
}

#[tokio::test]
async fn a_dispatcher_on_demand_is_connected_once_and_only_when_there_is_something_to_publish() {
    for env in envs().await {
        let counted = Counted::over(Some(dispatcher(&env.store, &env.broker)));
        let service = Service::on_demand(Arc::clone(&env.store), counted.clone());
        service.pause_queue(&order(), "mail").await.expect("paused");
        scheduled(&env).await;
        assert_eq!(counted.asked.load(Ordering::SeqCst), 0);
        env.publishes("both", 2, async {
            service.enqueue(&order(), job()).await.expect("enqueued");
            service.enqueue(&order(), job()).await.expect("enqueued");
        })
        .await;
        assert_eq!(counted.asked.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn a_verb_whose_dispatcher_cannot_be_had_succeeds_and_leaves_its_row_to_the_relay() {
    for env in envs().await {
        let counted = Counted::over(None);
        let service = Service::on_demand(Arc::clone(&env.store), counted.clone());
        let enqueued = service.enqueue(&order(), job()).await.expect("enqueued").expect("an id");
        assert_eq!(env.job(enqueued.id).await.state, JobState::Queued);
        assert_eq!((env.published().await, counted.asked.load(Ordering::SeqCst)), ((0, 1), 1));
    }
}

#[tokio::test]
async fn a_schedule_whose_template_cannot_be_kept_in_its_place_is_neither_made_nor_edited() {
    for env in envs().await {
        let service = &env.service;
        let made = service.create_schedule(&order(), "nightly", hourly_job(), true).await.expect("made");
        let made = made.expect("not a rehearsal");
        let spec = |kind: &str, payload: serde_json::Value, after: Option<&str>| {
            let time = after.map_or_else(|| json!({ "every": "1h" }), |batch| json!({ "after": batch }));
            let mut spec: ScheduleSpec = serde_json::from_value(time).expect("a schedule");
            spec.job = Some(JobSpec { kind: kind.to_owned(), payload, ..JobSpec::default() });
            spec
        };
        for (spec, said) in [
            (spec("http", json!({ "url": "https://{{ params.host }}/" }), None), "`url`"),
            (spec("exec", json!({ "command": ["{{ params.program }}"] }), None), "`command`"),
            (spec("report", json!({ "x": "{{ nobody.x }}" }), None), "there is no `nobody`"),
            (spec("exec", serde_json::Value::Null, Some("retail")), "needs a `payload`"),
        ] {
            let refused = [
                service.create_schedule(&order(), "new", spec.clone(), true).await,
                service.edit_schedule(&order(), &made, spec.clone()).await,
                service.create_schedule(&rehearsal(), "new", spec, true).await,
            ];
            for error in refused.map(|refused| refused.expect_err(said)) {
                let text = error.to_string();
                assert!(matches!(error, StoreError::Invalid(_)), "{text}");
                assert!(text.contains("`job.payload`: ") && text.contains(said), "{text}");
            }
        }
        let kept = env.store.schedules(None, None).await.expect("listed");
        assert_eq!((kept.len(), kept[0].version), (1, made.version));
    }
}
