//! Notifications to services on the loopback that hold what they are sent against their own documentation.

mod fixtures;
#[path = "notify/services.rs"]
mod services;

use std::collections::BTreeMap;
use std::time::Duration;

use fixtures::TestEnv;
use gristmill_core::one_or_many::OneOrMany;
use gristmill_core::settle::Ending;
use gristmill_jobs::kind::notify::NotifyHandler;
use gristmill_jobs::kind::payload::EmailPayload;
use gristmill_jobs::notify::{ChannelKind, ChannelSettings, NotifySettings};
use gristmill_jobs::{Finish, Handler};
use gristmill_testkit::http::{FakeHttp, closed_port, reply};
use serde_json::{Value, json};
use services::{Service, TOKEN};
use tempfile::TempDir;

/// A channel to a service, its secrets in files.
fn channel(kind: ChannelKind, base: &str, folder: &TempDir) -> ChannelSettings {
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, format!("{text}\n")).expect("written");
        Some(path.display().to_string())
    };
    let token = || file("token", TOKEN);
    let new = ChannelSettings::new(kind);
    let to = |text: &str| OneOrMany::One(text.to_owned());
    match kind {
        ChannelKind::Slack | ChannelKind::Discord | ChannelKind::Teams => {
            ChannelSettings { url_file: file("url", &format!("{base}/hook/{TOKEN}")), ..new }
        }
        ChannelKind::Telegram => {
            ChannelSettings { url: Some(base.to_owned()), token_file: token(), to: to("-100123"), ..new }
        }
        ChannelKind::Ntfy => {
            ChannelSettings { url: Some(base.to_owned()), token_file: token(), to: to("nightly"), ..new }
        }
        ChannelKind::Matrix => {
            ChannelSettings { url: Some(base.to_owned()), token_file: token(), to: to("!a/b:m.example"), ..new }
        }
        ChannelKind::Email => {
            ChannelSettings { to: OneOrMany::Many(vec!["a@example.com".into(), "b@example.com".into()]), ..new }
        }
        _ => ChannelSettings { url: Some(base.to_owned()), token_file: token(), ..new },
    }
}

fn settings(channel: ChannelSettings) -> NotifySettings {
    NotifySettings {
        channels: BTreeMap::from([("ops".to_owned(), channel)]),
        pages: "https://jobs.example.com".to_owned(),
    }
}

async fn send(settings: &NotifySettings, payload: Value) -> Finish {
    let env = TestEnv::new().await;
    let context = env.claim("notify", payload).await;
    NotifyHandler::new(settings).run(context).await
}

/// What a hostile definition and hostile data could make of it: far too long, with all that means something somewhere.
fn hostile() -> Value {
    let nasty =
        "<!channel> @everyone [a](https://evil.example) *b* `c` & <script> \"q\" \\ \u{202e} ä€😀\n".repeat(400);
    json!({
        "to": "ops", "type": "batch.halted",
        "title": nasty, "text": nasty, "severity": "critical",
        "data": { "batch": batch(&nasty), "result": null },
    })
}

fn batch(reason: &str) -> Value {
    json!({
        "id": "01890a5d-ac96-774b-bcce-b302099a8057", "name": "nightly", "tenant": "acme", "state": "halted", "paused": false,
        "pause": null, "generation": 0, "chunks": 4, "remaining": 0, "chunks_dead": 1, "retries": 2, "failure_budget": "10%",
        "reason": reason, "created_at": "2026-01-31T08:00:00Z", "finished_at": "2026-01-31T08:05:00Z",
        "counts": { "input": 40, "ok": 37, "skipped": 0, "quarantined": 3, "cancelled": 0, "pending": 0 },
    })
}

const SERVICES: [ChannelKind; 10] = [
    ChannelKind::Slack,
    ChannelKind::Discord,
    ChannelKind::Teams,
    ChannelKind::Telegram,
    ChannelKind::Ntfy,
    ChannelKind::Matrix,
    ChannelKind::Pagerduty,
    ChannelKind::Opsgenie,
    ChannelKind::Alertmanager,
    ChannelKind::Http,
];

#[tokio::test]
async fn every_service_takes_what_it_is_sent_however_hostile_the_data_is() {
    for kind in SERVICES {
        for payload in [
            hostile(),
            json!({ "to": "ops", "title": "Hello" }),
            json!({ "to": "ops", "title": "End", "severity": "ok" }),
        ] {
            let (service, folder) = (Service::start(kind).await, tempfile::tempdir().expect("a folder"));
            let finish = send(&settings(channel(kind, &service.url(), &folder)), payload).await;
            assert_eq!(service.refused(), Vec::<String>::new(), "{kind}");
            assert_eq!((finish.ending, service.taken()), (Ending::Done, 1), "{kind}: {:?}", finish.error);
        }
    }
}

#[tokio::test]
async fn an_end_ends_what_the_same_key_has_begun() {
    for kind in [ChannelKind::Pagerduty, ChannelKind::Opsgenie, ChannelKind::Alertmanager] {
        let (service, folder) = (Service::start(kind).await, tempfile::tempdir().expect("a folder"));
        let settings = settings(channel(kind, &service.url(), &folder));
        for (key, severity, open) in [
            ("disk a/ä", "warning", vec!["disk a/ä"]),
            ("disk b", "critical", vec!["disk a/ä", "disk b"]),
            ("disk a/ä", "ok", vec!["disk b"]),
            ("never begun", "ok", vec!["disk b"]),
        ] {
            let finish =
                send(&settings, json!({ "to": "ops", "title": "Disk", "severity": severity, "key": key })).await;
            assert_eq!((finish.ending, service.refused()), (Ending::Done, Vec::new()), "{kind}: {:?}", finish.error);
            assert_eq!(service.open(), open, "{kind}");
        }
    }
}

#[tokio::test]
async fn an_attempt_that_is_repeated_is_shown_once_where_the_service_can_tell() {
    let (service, folder) = (Service::start(ChannelKind::Matrix).await, tempfile::tempdir().expect("a folder"));
    let handler = NotifyHandler::new(&settings(channel(ChannelKind::Matrix, &service.url(), &folder)));
    let env = TestEnv::new().await;
    let context = env.claim("notify", json!({ "to": "ops", "title": "Once" })).await;
    let again = env.again(&context).await;
    assert_eq!(handler.run(context).await.ending, Ending::Done);
    assert_eq!(handler.run(again).await.ending, Ending::Done);
    assert_eq!((service.taken(), service.shown()), (2, 1));
}

#[tokio::test]
async fn a_channel_has_words_of_its_own() {
    let (service, folder) = (FakeHttp::always(200).await, tempfile::tempdir().expect("a folder"));
    let own = ChannelSettings {
        title: Some("{{ data.batch.tenant }}/{{ title }}".to_owned()),
        body: Some("{\"say\": {{ title | tojson }}, \"items\": {{ facts.Items | tojson }}}".to_owned()),
        method: Some("PUT".to_owned()),
        headers: BTreeMap::from([("x-team".to_owned(), "ops".to_owned())]),
        ..channel(ChannelKind::Http, &service.url("/in"), &folder)
    };
    let payload = json!({ "to": "ops", "type": "batch.halted", "data": { "batch": batch("full"), "result": null } });
    assert_eq!(send(&settings(own.clone()), payload.clone()).await.ending, Ending::Done);
    let seen = service.seen().pop().expect("asked");
    assert_eq!((seen.method.as_str(), seen.path.as_str(), seen.header("x-team")), ("PUT", "/in", "ops"));
    assert_eq!(seen.header("authorization"), format!("Bearer {TOKEN}"));
    let body: Value = serde_json::from_slice(&seen.body).expect("JSON");
    assert_eq!(body, json!({ "say": "acme/nightly has halted", "items": "37 of 40" }));
    let lacking = ChannelSettings { text: Some("{{ data.nothing.there }}".to_owned()), ..own };
    let finish = send(&settings(lacking), payload).await;
    assert_eq!(finish.ending, Ending::Permanent);
    assert!(
        finish.error.as_deref().is_some_and(|said| said.contains("notify.ops") && said.contains("`text`")),
        "{finish:?}"
    );
}

#[tokio::test]
async fn emails_are_jobs_of_their_own_that_are_made_with_the_end_of_this_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let finish = send(
        &settings(channel(ChannelKind::Email, "", &folder)),
        json!({ "to": "ops", "title": "Full", "severity": "warning" }),
    )
    .await;
    assert_eq!((finish.ending, finish.follow.len()), (Ending::Done, 1));
    let job = &finish.follow[0];
    let email: EmailPayload = serde_json::from_value(job.payload.clone()).expect("an email");
    assert_eq!((job.kind.as_str(), email.subject.as_deref()), ("email", Some("[warning] Full")));
    assert_eq!(email.to.as_slice(), ["a@example.com", "b@example.com"]);
    assert!(job.idempotency_key.as_deref().is_some_and(|key| key.starts_with("notify:")));
}

#[tokio::test]
async fn a_service_that_wants_to_be_left_alone_costs_no_attempt() {
    let folder = tempfile::tempdir().expect("a folder");
    let service = FakeHttp::start(|_| async { reply(429, &[("retry-after", "30")], "rate_limited") }).await;
    let finish =
        send(&settings(channel(ChannelKind::Slack, &service.url(""), &folder)), json!({ "to": "ops", "title": "t" }))
            .await;
    assert_eq!(finish.ending, Ending::Snoozed { wait: Duration::from_secs(30) });
}

#[tokio::test]
async fn no_error_shows_a_secret() {
    for kind in SERVICES {
        let folder = tempfile::tempdir().expect("a folder");
        let away = format!("http://127.0.0.1:{}", closed_port().await);
        let finish = send(&settings(channel(kind, &away, &folder)), json!({ "to": "ops", "title": "t" })).await;
        assert!(matches!(finish.ending, Ending::Failed { .. }), "{kind}: {finish:?}");
        assert!(!format!("{finish:?}").contains(TOKEN), "{kind}: {finish:?}");
    }
    let unknown = send(&NotifySettings::default(), json!({ "to": "ops", "title": "t" })).await;
    assert_eq!(unknown.ending, Ending::Permanent);
    assert!(unknown.error.as_deref().is_some_and(|said| said.contains("[notify.ops]: there is none")), "{unknown:?}");
}
