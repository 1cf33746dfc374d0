//! Events from their publication to what they start: schemas, predicates, templates, loops, failures, replays.

use gristmill_core::event::route::Refusal;
use gristmill_core::event::subscription::SubscriptionSpec;
use gristmill_core::event::{DEPTH_MAX, EventDraft};
use gristmill_core::id::DEFAULT_TENANT;
use gristmill_service::control::event::ReplayRequest;
use gristmill_service::events::{Routed, Router};
use gristmill_store::testing::done;
use gristmill_store::{
    Completion, DeliveryView, Publication, ReplayState, StoreError, SubscriptionView, requests_ledger,
};
use serde_json::{Value, json};

use crate::env::{TestEnv, envs, order, rehearsal};

fn spec(value: Value) -> SubscriptionSpec {
    serde_json::from_value(value).expect("a subscription")
}

fn event(id: &str, kind: &str, data: Value) -> EventDraft {
    EventDraft { data, ..EventDraft::new(id, "shop", kind) }
}

fn invalid(error: StoreError) -> String {
    match error {
        StoreError::Invalid(what) => what,
        other => panic!("{other}"),
    }
}

impl TestEnv {
    fn router(&self) -> Router {
        Router::new(self.service.clone(), Some(self.run_context()))
    }

    async fn subscribe(&self, name: &str, value: Value) {
        self.service.save_subscription(&order(), name, spec(value)).await.expect("saved");
    }

    async fn publish(&self, events: Vec<EventDraft>) {
        self.service.publish_events(&order(), events).await.expect("published");
    }

    async fn subscription(&self, name: &str) -> SubscriptionView {
        self.service.subscription(DEFAULT_TENANT, name).await.expect("it is there")
    }

    async fn refused(&self, name: &str) -> Vec<DeliveryView> {
        self.store.refused_events(DEFAULT_TENANT, name, 100).await.expect("listed")
    }
}

/// Routes until nothing is left to do.
async fn through(router: &mut Router) {
    for _ in 0..100 {
        if router.round().await.expect("routed") == Routed::default() {
            return;
        }
    }
    panic!("it never ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_starts_one_job_at_each_subscription_that_means_it() {
    for env in envs().await {
        let payload = json!({ "order": "{{ event.data.order }}", "by": "{{ event.subject }}" });
        let wanted =
            json!({ "types": "order.*", "where": ".data.total > 10", "job": { "kind": "k", "payload": payload } });
        env.subscribe("large", wanted).await;
        env.subscribe("all", json!({ "types": "**", "job": { "kind": "whole" } })).await;
        let mut large = event("1", "order.paid", json!({ "order": 17, "total": 20 }));
        large.subject = Some("order/17".to_owned());
        env.publish(vec![large, event("2", "order.paid", json!({ "order": 18, "total": 5 }))]).await;
        let mut router = env.router();
        env.publishes("three jobs", 3, through(&mut router)).await;
        let mut jobs = Vec::new();
        for listed in env.jobs().await {
            jobs.push(env.job(listed.id).await);
        }
        let of = |kind: &str| jobs.iter().filter(|job| job.kind == kind).collect::<Vec<_>>();
        assert_eq!((of("k").len(), of("whole").len()), (1, 2));
        assert_eq!(of("k")[0].payload, json!({ "order": 17, "by": "order/17" }));
        assert_eq!(of("k")[0].queue, "configured", "the settings of its kind");
        let wholes: Vec<&Value> = of("whole").iter().map(|job| &job.payload["id"]).collect();
        assert!(wholes.contains(&&json!("1")) && wholes.contains(&&json!("2")), "{wholes:?}");
        let view = env.subscription("large").await;
        assert_eq!((view.delivered, view.skipped, view.refused, view.lag), (1, 1, 0, 0));
        through(&mut env.router()).await;
        assert_eq!(env.jobs().await.len(), 3, "another router starts nothing more");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_requests_the_run_of_a_batch() {
    for env in envs().await {
        env.subscribe("s", json!({ "types": "file.came", "batch": "retail", "params": { "n": 1 } })).await;
        env.publish(vec![event("1", "file.came", json!({ "file": "a.csv" }))]).await;
        through(&mut env.router()).await;
        let ledger = env.ledger(&requests_ledger("retail")).await;
        let about = ledger[0].about.clone().expect("what is known of it");
        assert_eq!((ledger.len(), &about["params"], &about["data"]["file"]), (1, &json!({ "n": 1 }), &json!("a.csv")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_judged_or_made_is_refused_and_holds_up_no_other() {
    for env in envs().await {
        env.subscribe("judged", json!({ "types": "**", "where": ".data.n + 1 > 1", "job": { "kind": "k" } })).await;
        let job = json!({ "kind": "http", "payload": { "url": "https://example.com/{{ event.data.path }}" } });
        env.subscribe("made", json!({ "types": "**", "job": job })).await;
        env.publish(vec![event("1", "a", json!({ "n": [] })), event("2", "a", json!({ "n": 1, "path": "p" }))]).await;
        through(&mut env.router()).await;
        let (judged, made) = (env.refused("judged").await, env.refused("made").await);
        assert_eq!((judged.len(), judged[0].position, judged[0].refusal), (1, 1, Some(Refusal::Predicate)));
        assert_eq!((made.len(), made[0].position, made[0].refusal), (1, 1, Some(Refusal::Target)));
        assert!(made[0].reason.as_deref().is_some_and(|reason| reason.contains("path")), "{made:?}");
        assert_eq!(env.jobs().await.len(), 2, "the second event goes through at both");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_is_cut_and_said_so() {
    for env in envs().await {
        env.subscribe("echo", json!({ "types": "ping", "job": { "kind": "work" } })).await;
        env.publish(vec![event("0", "ping", json!(null))]).await;
        let mut router = env.router();
        for round in 1..=DEPTH_MAX {
            through(&mut router).await;
            let claimed = env.claim().await;
            assert_eq!(claimed.len(), 1, "round {round}");
            let next = Publication {
                tenant: DEFAULT_TENANT.to_owned(),
                draft: event(&round.to_string(), "ping", json!(null)),
                user: None,
                job: Some(claimed[0].fence.job),
            };
            let done = Completion { events: vec![next], ..done(&claimed[0]) };
            env.store.complete(&[done]).await.expect("completed");
        }
        through(&mut router).await;
        assert_eq!(env.claim().await.len(), 0, "the loop has ended");
        let refused = env.refused("echo").await;
        assert_eq!((refused.len(), refused[0].refusal), (1, Some(Refusal::Loop)));
        let last = env.service.event(DEFAULT_TENANT, &DEPTH_MAX.to_string(), None).await.expect("it is there");
        assert_eq!((last.depth, last.correlation.as_str()), (DEPTH_MAX, "0"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn data_that_does_not_fit_its_schema_is_refused_with_every_fault() {
    for env in envs().await {
        let schema = json!({
            "type": "object", "required": ["order"],
            "properties": { "order": { "type": "integer" }, "mail": { "type": "string" } },
        });
        let by = order();
        let add = |version, schema: Value| env.service.add_event_schema(&by, "order.paid", version, schema, true);
        assert_eq!(add(None, schema.clone()).await.expect("added").samples, ["order.paid/1"]);
        let mut narrower = schema.clone();
        narrower["required"] = json!(["order", "mail"]);
        let refused = add(None, narrower.clone()).await.map_err(invalid).expect_err("not compatible");
        assert!(refused.contains("`mail` was not required"), "{refused}");
        let other = env.service.add_event_schema(&order(), "order.paid", None, narrower, false).await;
        assert_eq!(other.expect("added all the same").samples, ["order.paid/2"]);
        assert!(add(None, json!({ "type": "objct" })).await.map_err(invalid).expect_err("no schema").contains("type"));
        let publish = |events| env.service.publish_events(&by, events);
        let wrong =
            vec![event("1", "order.paid", json!({ "order": "x", "mail": 7 })), event("2", "order.paid", json!([]))];
        let faults = publish(wrong).await.map_err(invalid).expect_err("faults");
        for named in ["event 1", "`order`", "`mail`", "event 2"] {
            assert!(faults.contains(named), "{named} is missing in {faults}");
        }
        let mut old = event("3", "order.paid", json!({ "order": 1 }));
        old.version = Some(1);
        publish(vec![old.clone()]).await.expect("the version that it names");
        old.version = Some(9);
        let unknown = publish(vec![old]).await.map_err(invalid).expect_err("no such version");
        assert!(unknown.contains("it has 1, 2"), "{unknown}");
        publish(vec![event("4", "order.sent", json!("anything"))]).await.expect("a type without a schema");
        let dry = env.service.publish_events(&rehearsal(), vec![event("5", "a", json!(null))]).await.expect("tried");
        assert!(!dry[0].fresh);
        assert!(env.service.event(DEFAULT_TENANT, "5", None).await.is_err(), "a rehearsal publishes nothing");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_subscription_is_all_named() {
    for env in envs().await {
        let wrong = json!({ "types": "a b", "where": ".data >", "job": { "kind": "exec" } });
        let faults =
            env.service.save_subscription(&order(), "s", spec(wrong)).await.map_err(invalid).expect_err("faults");
        for named in ["`types`", "`where`", "`job.payload`"] {
            assert!(faults.contains(named), "{named} is missing in {faults}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_delivers_what_is_meant_once_more() {
    for env in envs().await {
        env.subscribe("s", json!({ "types": "order.*", "job": { "kind": "k" }, "from": "beginning" })).await;
        let kinds = ["order.paid", "order.sent", "refund", "order.paid"];
        env.publish((1..).zip(kinds).map(|(n, kind)| event(&n.to_string(), kind, json!(n))).collect()).await;
        let mut router = env.router();
        through(&mut router).await;
        assert_eq!(env.jobs().await.len(), 3);
        let types = vec!["order.paid".parse().expect("a pattern")];
        let request = ReplayRequest { subscription: "s".to_owned(), types, ..ReplayRequest::default() };
        let would = env.service.start_replay(&rehearsal(), &request).await.expect("tried");
        assert_eq!((would.id, would.matches, would.more), (None, 2, false));
        let started = env.service.start_replay(&order(), &request).await.expect("started");
        through(&mut router).await;
        assert_eq!(env.jobs().await.len(), 5);
        let replay = env.store.replays(DEFAULT_TENANT).await.expect("listed").remove(0);
        assert_eq!((Some(replay.id), replay.state), (started.id, ReplayState::Finished));
        assert_eq!((replay.delivered, replay.skipped, replay.refused), (2, 2, 0));
        let missing = ReplayRequest { subscription: "none".to_owned(), ..ReplayRequest::default() };
        assert!(matches!(env.service.start_replay(&order(), &missing).await, Err(StoreError::NotFound(_))));
    }
}
