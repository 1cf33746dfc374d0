//! Each verb that changes something leaves one row in the audit, on each database.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::TimeDelta;
use gristmill_core::access::{Principal, Role, Subject};
use gristmill_core::audit::{Action, SealedEntry};
use gristmill_core::chunk::{ChunkResult, SetAside};
use gristmill_core::duration::Span;
use gristmill_core::event::subscription::SubscriptionSpec;
use gristmill_core::id::{BatchId, DEFAULT_TENANT, JobId, UserId};
use gristmill_core::job::{JobState, NewJob, RunAt};
use gristmill_core::job_edit::JobEdit;
use gristmill_core::letter::SuppressionReason;
use gristmill_core::mail_flow::RelayEvent;
use gristmill_core::one_or_many::OneOrMany;
use gristmill_core::operation::OperationVerb;
use gristmill_core::query::{List, parse};
use gristmill_core::schedule::{JobSpec, ScheduleSpec};
use gristmill_service::control::event::ReplayRequest;
use gristmill_service::control::operation::OperationRequest;
use gristmill_service::retention::{Keep, PrunerOptions, RetentionSettings};
use gristmill_service::start::{BatchRequest, StartedRun};
use gristmill_service::{Actor, Order};
use gristmill_store::testing::{chunk_done, dead, job, sealed};
use gristmill_store::{
    AuditFilter, Completion, FireTick, Firing, LimitSpec, NewBackfill, NewEvent, NewPoison, PoisonSource,
    QuarantineWhich, Restart, Suppression, TickCause, TickOutcome,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::env::{TestEnv, databases, hourly_job, order};
use crate::people;

/// What verbs cannot do: the removal of old entries is a duty, and its test is in `auditing`.
const NO_VERBS: [Action; 1] = [Action::AuditPrune];

impl TestEnv {
    async fn entries(&self) -> Vec<SealedEntry> {
        let filter = AuditFilter { tenant: DEFAULT_TENANT.to_owned(), limit: 10_000, ..AuditFilter::default() };
        self.store.audit(&filter).await.expect("listed")
    }

    /// Asserts that an act leaves one row, with this action, and returns it.
    async fn leaves(&self, action: Action, act: impl Future<Output = ()>) -> SealedEntry {
        let before = self.entries().await.len();
        act.await;
        let entries = self.entries().await;
        let actions: Vec<&str> = entries.iter().take(3).map(|found| found.entry.action.as_str()).collect();
        assert_eq!(entries.len(), before + 1, "{action} on {}: {actions:?}", self.home.url());
        assert_eq!(entries[0].entry.action, action.as_str());
        assert_eq!(entries[0].entry.actor, "ada@laptop");
        entries[0].clone()
    }

    async fn dies(&self) -> JobId {
        let id = self.service.enqueue(&order(), job()).await.expect("enqueued").expect("an id").id;
        let claimed = self.claim().await;
        let ours: Vec<_> = claimed.iter().filter(|claimed| claimed.fence.job == id).map(dead).collect();
        self.dispatcher.after(self.store.complete(&ours)).await.expect("completed");
        assert_eq!(self.job(id).await.state, JobState::Dead);
        id
    }

    async fn waits(&self) -> JobId {
        let later = NewJob { run: RunAt::In(Duration::from_secs(3_600)), ..job() };
        self.service.enqueue(&order(), later).await.expect("enqueued").expect("an id").id
    }
}

fn details(found: &SealedEntry) -> Value {
    serde_json::from_str(&found.entry.details).expect("JSON")
}

#[tokio::test]
async fn every_action_leaves_one_row_with_what_it_did() {
    for env in databases().await {
        queues_jobs_and_dead_letters(&env).await;
        batches(&env).await;
        limits_and_poison(&env).await;
        errors(&env).await;
        events(&env).await;
        schedules(&env).await;
        the_system(&env).await;
        operations(&env).await;
        addresses(&env).await;
        relays_and_domains(&env).await;
        let mut seen: BTreeSet<String> = env.entries().await.into_iter().map(|found| found.entry.action).collect();
        seen.extend(people::every_verb(&env).await);
        for action in Action::ALL.into_iter().filter(|action| !NO_VERBS.contains(action)) {
            assert!(seen.contains(action.as_str()), "no verb left `{action}` on {}", env.home.url());
        }
    }
}

async fn addresses(env: &TestEnv) {
    let service = &env.service;
    let entry = Suppression {
        tenant: DEFAULT_TENANT.to_owned(),
        address_hash: [7; 32],
        stream: String::new(),
        reason: SuppressionReason::Manual,
        note: Some("by phone".to_owned()),
        keep: None,
    };
    let row = env.leaves(Action::AddressSuppress, async {
        service.suppress(&order(), &[entry]).await.expect("put on the list");
    });
    assert_eq!(row.await.entry.target, "07".repeat(32));
    env.leaves(Action::AddressRelease, async {
        service.unsuppress(&order(), &[7; 32], "").await.expect("taken off");
    })
    .await;
}

async fn relays_and_domains(env: &TestEnv) {
    let (service, moved) = (&env.service, order().because("it is being moved"));
    env.store.relay_note("main", "mail.example.com:587", &RelayEvent::Known).await.expect("noted");
    let row = env.leaves(Action::RelaySuspend, async {
        service.suspend_relay(&moved, "main").await.expect("suspended");
    });
    let row = row.await;
    assert_eq!((row.entry.target.as_str(), row.entry.reason.as_deref()), ("main", Some("it is being moved")));
    let resumed = async {
        service.resume_relay(&order(), "main").await.expect("resumed");
    };
    env.leaves(Action::RelayResume, resumed).await;
    let row = env.leaves(Action::DomainSuspend, async {
        service.suspend_domain(&order(), "Example.org", None).await.expect("suspended");
    });
    assert_eq!(row.await.entry.target, "example.org");
    env.leaves(Action::DomainResume, async {
        service.resume_domain(&order(), "example.org").await.expect("resumed");
    })
    .await;
}

async fn queues_jobs_and_dead_letters(env: &TestEnv) {
    let service = &env.service;
    let hot = order().because("too hot");
    let row = env.leaves(Action::QueuePause, async {
        service.pause_queue(&hot, "default").await.expect("paused");
    });
    let row = row.await;
    assert_eq!((row.entry.target.as_str(), row.entry.reason.as_deref()), ("default", Some("too hot")));
    assert_eq!(details(&row)["before"], json!({ "paused": false }));
    assert_eq!(details(&row)["after"]["by"], "ada@laptop");
    let resumed = async {
        service.resume_queue(&order(), "default").await.expect("resumed");
    };
    env.leaves(Action::QueueResume, resumed).await;
    let secret = NewJob { payload: json!({ "password": "hunter2" }), ..job() };
    let row = env.leaves(Action::JobEnqueue, async {
        service.enqueue(&order(), secret).await.expect("enqueued");
    });
    let row = row.await;
    assert_eq!(details(&row)["created"], 1);
    assert!(!format!("{row:?}").contains("hunter2"), "no payload is in the audit");
    let waits = env.waits().await;
    env.leaves(Action::JobRetry, async {
        service.retry_job(&order(), waits).await.expect("retried");
    })
    .await;
    let secret = Some(json!({ "password": "hunter2" }));
    let edit = JobEdit { payload: secret, queue: Some("slow".to_owned()), ..JobEdit::default() };
    let row = env.leaves(Action::JobEdit, async {
        service.edit_job(&order(), waits, &edit).await.expect("edited");
    });
    let row = row.await;
    assert_eq!(
        (&details(&row)["before"]["queue"], &details(&row)["after"]["queue"]),
        (&json!("default"), &json!("slow"))
    );
    assert_ne!(details(&row)["before"]["payload"], details(&row)["after"]["payload"]);
    assert!(!format!("{row:?}").contains("hunter2"), "no payload is in the audit");
    env.leaves(Action::JobCancel, async {
        service.cancel_job(&order(), waits).await.expect("cancelled");
    })
    .await;
    let more = [env.waits().await, env.waits().await];
    let row = env.leaves(Action::JobCancel, async {
        service.cancel_jobs(&order(), &more, |_| {}).await.expect("cancelled");
    });
    let row = row.await;
    assert_eq!((details(&row)["affected"].as_u64(), row.entry.target.as_str()), (Some(2), "2 of them"));
    let dead = env.dies().await;
    env.leaves(Action::DeadRedrive, async {
        service.redrive_dead(&order(), &[dead]).await.expect("redriven");
    })
    .await;
    let dead = env.dies().await;
    let died = env.job(dead).await.finished_at.expect("it has ended");
    env.leaves(Action::DeadDiscard, async {
        let options = PrunerOptions::default();
        service.discard_dead(&order(), &[(dead, died)], &options).await.expect("discarded");
    })
    .await;
}

async fn batches(env: &TestEnv) {
    let service = &env.service;
    let start = env.run_context().batch(BatchRequest::new("retail")).expect("defined");
    let row = env.leaves(Action::BatchStart, async {
        service.start_batch(&order(), start).await.expect("started");
    });
    assert_eq!(row.await.entry.target, "retail");
    let open = gristmill_store::testing::batch();
    env.store.create_batch(&open).await.expect("created");
    env.leaves(Action::BatchTakeBack, service.take_back(&order(), open.id)).await;
    let batch = sealed(&env.store, 2, 4).await;
    env.leaves(Action::BatchPause, async {
        service.pause_batch(&order(), batch).await.expect("paused");
    })
    .await;
    env.leaves(Action::BatchResume, async {
        service.resume_batch(&order(), batch).await.expect("resumed");
    })
    .await;
    let chunk = env.jobs().await.into_iter().find(|job| job.batch == Some(batch)).expect("a chunk").id;
    env.leaves(Action::ChunkSplit, async {
        service.split_chunk(&order(), chunk).await.expect("split");
    })
    .await;
    let row = env.leaves(Action::BatchCancel, async {
        service.cancel_batch(&order(), batch).await.expect("cancelled");
    });
    assert!(details(&row.await)["affected"].as_u64() > Some(1));
    let restart = Restart { batch, failure_budget: None, dead: false };
    let row = env.leaves(Action::BatchRestart, async {
        service.restart_batch(&order(), &restart).await.expect("restarted");
    });
    assert_eq!(details(&row.await)["generation"], 1);
    quarantine(env).await;
    service.cancel_batch(&order(), batch).await.expect("cancelled");
    env.leaves(Action::BatchDelete, async {
        let options = PrunerOptions::default();
        service.delete_batches(&order(), &[batch], options, |_| {}).await.expect("deleted");
    })
    .await;
}

/// A batch of which one item is set aside, and runs again.
async fn quarantine(env: &TestEnv) {
    // Its other chunk goes on, so that it does not aggregate meanwhile.
    let batch: BatchId = sealed(&env.store, 2, 4).await;
    let claimed = env.claim().await;
    let ours = claimed.iter().find(|claimed| claimed.batch == Some(batch)).expect("its chunk");
    let (reason, item) = ("no shop".to_owned(), json!({ "secret": "item" }));
    let aside = SetAside { position: 3, line: None, stage: "parse".to_owned(), reason, item };
    let other = SetAside { position: 2, stage: "read".to_owned(), ..aside.clone() };
    let result = ChunkResult { ok: 2, quarantined: 2, set_aside: vec![aside, other], ..ChunkResult::default() };
    let done = Completion { chunk: Some(result), ..chunk_done(ours, 2) };
    env.dispatcher.after(env.store.complete(&[done])).await.expect("completed");
    let query = parse(List::Quarantine, &format!("batch:{batch} stage:read")).expect("a query");
    let request = OperationRequest { verb: OperationVerb::DiscardItems, query, rate: None, snapshot: None, id: None };
    let (why, settings) = (order().because("known to be wrong"), RetentionSettings::default());
    env.service.start_operation(&why, &request, &settings).await.expect("started");
    let row = env.leaves(Action::QuarantineDiscard, async {
        assert_eq!(env.service.step_operations(&PrunerOptions::default()).await.expect("a step"), 1);
    });
    let row = row.await;
    assert_eq!((&details(&row)["affected"], &details(&row)["state"]), (&json!(1), &json!("finished")));
    assert!(!format!("{row:?}").contains("secret"), "no item is in the audit");
    let row = env.leaves(Action::QuarantineRedrive, async {
        let all = QuarantineWhich::default();
        env.service.redrive_quarantine(&order(), batch, all, 10).await.expect("redriven");
    });
    let row = row.await;
    assert_eq!(details(&row)["affected"], 1);
    assert!(!format!("{row:?}").contains("secret"), "no item is in the audit");
}

async fn limits_and_poison(env: &TestEnv) {
    let service = &env.service;
    let limit = |most| LimitSpec { queues: ["crm".to_owned()].into(), concurrency: Some(most), ..LimitSpec::default() };
    let set = async |most| {
        service.set_limit(&order(), "crm", limit(most)).await.expect("set");
    };
    assert_eq!(details(&env.leaves(Action::LimitSet, set(2)).await)["before"], Value::Null);
    let row = env.leaves(Action::LimitSet, set(5)).await;
    assert_eq!(details(&row)["before"]["concurrency"], 2);
    assert_eq!(details(&row)["after"]["concurrency"], 5);
    env.leaves(Action::LimitDrop, async {
        service.drop_limit(&order(), "crm").await.expect("dropped");
    })
    .await;
    let poison = NewPoison {
        queue: "default".to_owned(),
        sha256: "0".repeat(64),
        size: 3,
        bytes: b"?!?".to_vec(),
        headers: json!({}),
        reason: "it is no JSON".to_owned(),
        source: PoisonSource::Worker,
    };
    env.store.record_poison(&[poison]).await.expect("kept");
    let ids = service.all_poison().await.expect("listed");
    env.leaves(Action::PoisonDrop, async {
        service.drop_poison(&order(), &ids).await.expect("dropped");
    })
    .await;
}

async fn errors(env: &TestEnv) {
    let (service, hot) = (&env.service, order().because("the provider knows"));
    let row = env.leaves(Action::ErrorAcknowledge, async {
        service.acknowledge_error(&hot, "a1b2c3").await.expect("noted");
    });
    let row = row.await;
    assert_eq!((row.entry.target.as_str(), row.entry.reason.as_deref()), ("a1b2c3", Some("the provider knows")));
    let reopened = async {
        service.reopen_error(&order(), "a1b2c3").await.expect("reopened");
    };
    env.leaves(Action::ErrorReopen, reopened).await;
}

async fn events(env: &TestEnv) {
    let service = &env.service;
    let schema = json!({ "type": "object" });
    let added = async {
        service.add_event_schema(&order(), "order.paid", None, schema, true).await.expect("added");
    };
    assert_eq!(env.leaves(Action::SchemaAdd, added).await.entry.target, "order.paid/1");
    let spec = SubscriptionSpec {
        types: OneOrMany::One("**".to_owned()),
        job: Some(JobSpec { kind: "k".to_owned(), ..JobSpec::default() }),
        ..SubscriptionSpec::default()
    };
    let saved = async {
        service.save_subscription(&order(), "s", spec).await.expect("saved");
    };
    env.leaves(Action::SubscriptionSave, saved).await;
    let paused = async {
        service.pause_subscription(&order(), "s").await.expect("paused");
    };
    env.leaves(Action::SubscriptionPause, paused).await;
    let resumed = async {
        service.resume_subscription(&order(), "s").await.expect("resumed");
    };
    env.leaves(Action::SubscriptionResume, resumed).await;
    env.store.sequence_events(1_000).await.expect("sequenced");
    let request = ReplayRequest { subscription: "s".to_owned(), ..ReplayRequest::default() };
    let mut replay = None;
    let started = async {
        replay = service.start_replay(&order(), &request).await.expect("started").id;
    };
    env.leaves(Action::ReplayStart, started).await;
    let cancelled = async {
        service.cancel_replay(&order(), replay.expect("its id")).await.expect("cancelled");
    };
    env.leaves(Action::ReplayCancel, cancelled).await;
    let removed = async {
        service.remove_subscription(&order(), "s").await.expect("removed");
    };
    env.leaves(Action::SubscriptionRemove, removed).await;
}

async fn schedules(env: &TestEnv) {
    let service = &env.service;
    let create = async {
        service.create_schedule(&order(), "nightly", hourly_job(), true).await.expect("made");
    };
    env.leaves(Action::ScheduleCreate, create).await;
    let seen = async || env.store.schedules(Some(DEFAULT_TENANT), Some("nightly")).await.expect("listed").remove(0);
    let now = seen().await;
    let daily = ScheduleSpec { every: Some(Span(Duration::from_secs(86_400))), ..hourly_job() };
    let row = env.leaves(Action::ScheduleEdit, async {
        service.edit_schedule(&order(), &now, daily).await.expect("edited");
    });
    let row = details(&row.await);
    assert_ne!(row["before"]["spec"]["every"], row["after"]["spec"]["every"]);
    for (action, enabled) in [(Action::ScheduleDisable, false), (Action::ScheduleEnable, true)] {
        let now = seen().await;
        env.leaves(action, async {
            service.switch_schedule(&order(), &now, enabled).await.expect("switched");
        })
        .await;
    }
    run_by_hand(env).await;
    backfill(env).await;
    env.leaves(Action::ScheduleRemove, async {
        assert!(service.remove_schedule(&order(), "nightly").await.expect("removed"));
    })
    .await;
}

async fn run_by_hand(env: &TestEnv) {
    let (now, context) = (env.store.now().await.expect("a clock"), env.run_context());
    let tick = FireTick {
        tzdb: None,
        tick: now,
        interval: (now, now),
        cause: TickCause::Manual,
        outcome: TickOutcome::Ran,
        late_ms: 0,
        ticks: 1,
        reason: None,
        was: None,
        run: None,
        holder: None,
        about: None,
    };
    let firing =
        Firing { tenant: DEFAULT_TENANT.to_owned(), schedule: "nightly".to_owned(), advance: None, ticks: vec![tick] };
    env.leaves(Action::ScheduleRun, async {
        let run = env.service.start_run(&order(), &context, &hourly_job(), firing).await.expect("started");
        assert!(matches!(run, StartedRun::Enqueued(_)), "{run:?}");
    })
    .await;
}

async fn backfill(env: &TestEnv) {
    let (service, now) = (&env.service, env.store.now().await.expect("a clock"));
    let slot = |hours| now - TimeDelta::hours(hours);
    let backfill = NewBackfill {
        tzdb: None,
        id: Uuid::now_v7(),
        tenant: DEFAULT_TENANT.to_owned(),
        schedule: "nightly".to_owned(),
        range: (slot(3), slot(1)),
        concurrency: 1,
        newest_first: false,
        ticks: [3, 2, 1].map(|hours| (slot(hours), (slot(hours + 1), slot(hours)))).to_vec(),
    };
    let row = env.leaves(Action::BackfillStart, async {
        assert_eq!(service.start_backfill(&order(), &backfill).await.expect("started"), 3);
    });
    assert_eq!(details(&row.await)["affected"], 3);
    for (action, paused) in [(Action::BackfillPause, true), (Action::BackfillResume, false)] {
        env.leaves(action, async {
            service.pause_backfill(&order(), "nightly", backfill.id, paused).await.expect("paused");
        })
        .await;
    }
    env.leaves(Action::BackfillCancel, async {
        assert_eq!(service.cancel_backfill(&order(), "nightly", backfill.id).await.expect("cancelled"), 3);
    })
    .await;
}

async fn the_system(env: &TestEnv) {
    let service = &env.service;
    let event = NewEvent {
        tenant: DEFAULT_TENANT.to_owned(),
        schedule: "hook/orders".to_owned(),
        event: "1".to_owned(),
        about: json!({}),
        job: None,
    };
    let noted = env.store.note_event(&event).await.expect("noted");
    let failed = FireTick {
        outcome: TickOutcome::Failed,
        run: None,
        reason: Some("no batch".to_owned()),
        ..gristmill_service::start::turn(&noted.tick)
    };
    let (tenant, schedule) = (DEFAULT_TENANT.to_owned(), "hook/orders".to_owned());
    service.fire(&[Firing { tenant, schedule, advance: None, ticks: vec![failed] }]).await.expect("failed");
    let row = env.ledger("hook/orders").await.remove(0);
    env.leaves(Action::EventRetry, async { assert_eq!(service.retry_event(&order(), &row).await.expect("again"), 1) })
        .await;
    env.home.tamper("UPDATE queue_count SET jobs = jobs + 1 WHERE state = 'queued'").await;
    env.leaves(Action::SystemReconcile, async {
        assert!(!service.reconcile(&order()).await.expect("reconciled").findings.is_empty());
    })
    .await;
    service.pause_queue(&order(), "idle").await.expect("paused");
    env.leaves(Action::QueueDelete, async {
        let options = PrunerOptions::default();
        service.delete_queue(&order(), "idle", false, options).await.expect("deleted");
    })
    .await;
    env.waits().await;
    let settings = RetentionSettings { jobs: Keep::For(Duration::ZERO), ..RetentionSettings::default() };
    env.leaves(Action::SystemPrune, async {
        let options = PrunerOptions { settings, whole: true, ..PrunerOptions::default() };
        service.prune(&order(), options, |_| {}).await.expect("pruned");
    })
    .await;
}

#[tokio::test]
async fn what_changes_nothing_or_has_no_order_leaves_no_row() {
    for env in databases().await {
        let service = &env.service;
        service.pause_queue(&order(), "mail").await.expect("paused");
        let one = env.entries().await.len();
        service.pause_queue(&order(), "mail").await.expect("paused already");
        service.drop_limit(&order(), "none").await.expect("nothing to drop");
        service.redrive_dead(&order(), &[Uuid::now_v7().into()]).await.expect("nothing to redrive");
        service.reconcile(&order()).await.expect("nothing to repair");
        service.cancel_job(&order(), Uuid::now_v7().into()).await.expect_err("there is no such job");
        service.resume_queue(&order().rehearsed(true), "mail").await.expect("rehearsed");
        for actor in [Actor::Trigger("hook/x".to_owned()), Actor::Duty("plan")] {
            service.enqueue(&Order::new(DEFAULT_TENANT, actor), job()).await.expect("enqueued");
        }
        let claimed = env.claim().await;
        let done: Vec<_> = claimed.iter().map(gristmill_store::testing::done).collect();
        env.store.complete(&done).await.expect("completed");
        assert_eq!(env.entries().await.len(), one, "{}", env.home.url());
    }
}

#[tokio::test]
async fn a_caller_of_the_api_is_written_down_with_role_address_and_request() {
    for env in databases().await {
        let user = UserId(Uuid::now_v7());
        let principal = Principal {
            subject: Subject::User(user),
            name: "ada@example.org".to_owned(),
            tenant: DEFAULT_TENANT.to_owned(),
            role: Role::Operator,
            scopes: None,
            installation: false,
        };
        let order = Order::of(&principal, Some("127.0.0.1".to_owned()), Some("r-7".to_owned()));
        env.service.pause_queue(&order, "mail").await.expect("paused");
        let row = env.entries().await.remove(0).entry;
        assert_eq!((row.actor.as_str(), row.actor_kind.as_str()), ("ada@example.org", "user"));
        assert_eq!((row.subject, row.role.as_deref(), row.order), (Some(user.0), Some("operator"), order.id));
        assert_eq!((row.address.as_deref(), row.request.as_deref()), (Some("127.0.0.1"), Some("r-7")));
    }
}

async fn operations(env: &TestEnv) {
    let (service, settings) = (&env.service, RetentionSettings::default());
    let waits = env.waits().await;
    let query = parse(List::Jobs, "state:scheduled").expect("a query");
    let request = OperationRequest { verb: OperationVerb::Cancel, query, rate: None, snapshot: None, id: None };
    let why = order().because("wrong file");
    let mut started = None;
    let row = env.leaves(Action::OperationStart, async {
        started = service.start_operation(&why, &request, &settings).await.expect("started").operation;
    });
    let row = row.await;
    let operation = started.expect("an operation");
    assert_eq!(
        (row.entry.target.as_str(), row.entry.reason.as_deref()),
        (&*operation.id.to_string(), Some("wrong file"))
    );
    assert_eq!(details(&row)["query"], "state:scheduled");
    let options = PrunerOptions::default();
    let step = env.leaves(Action::JobCancel, async {
        assert_eq!(service.step_operations(&options).await.expect("a step"), 1);
    });
    let step = step.await;
    assert_eq!(step.entry.order, row.entry.order, "a step belongs to the order that has started it");
    assert_eq!(step.entry.target, format!("operation {}", operation.id));
    assert!(details(&step)["affected"].as_u64().expect("a count") >= 1, "{}", details(&step));
    assert_eq!(env.job(waits).await.state, JobState::Cancelled);
    let undone = env.leaves(Action::OperationUndo, async {
        service.undo_operation(&order(), operation.id).await.expect("undone");
    });
    assert_ne!(undone.await.entry.order, row.entry.order, "another order");
    let back = env.leaves(Action::OperationUndo, async {
        assert_eq!(service.step_operations(&options).await.expect("a step"), 1);
    });
    assert_eq!(details(&back.await)["state"], "undone");
    assert_eq!(env.job(waits).await.state, JobState::Scheduled);
    let slow = OperationRequest { rate: Some(1), ..request };
    let second = service.start_operation(&why, &slow, &settings).await.expect("started").operation.expect("one");
    env.leaves(Action::OperationCancel, async {
        service.cancel_operation(&order(), second.id).await.expect("called off");
    })
    .await;
}
