//! What is reported about the store and the broker when something is wrong with them: what, since when, and what to do.

use std::time::Duration;

use gristmill_broker::testing::{Namespace, PATIENCE, Way, proxy};
use gristmill_broker::{Broker, Settings};
use gristmill_core::duration::Span;
use gristmill_core::job::Priority;
use gristmill_jobs::pool::StuckThreads;
use gristmill_service::dispatcher::Dispatcher;
use gristmill_store::StoreHandle;
use gristmill_store::postgres::PostgresStore;
use gristmill_store::testing::{self, TestStore, eventually};
use gristmill_telemetry::{Health, HealthMonitor};
use std::sync::Arc;

async fn dispatcher_in_process(store: &StoreHandle) -> Dispatcher {
    let broker = Broker::connect(&Settings::default()).await.expect("in-process");
    Dispatcher::new(Arc::clone(store), broker, 20_000)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exhausted_pool_is_not_ready_since_it_was_first_seen_and_ready_again_by_itself() {
    let home = TestStore::postgres(false).await;
    let settings = gristmill_store::Settings {
        connections: 1,
        acquire_timeout: Span(Duration::from_millis(500)),
        ..gristmill_store::Settings::default()
    };
    let connected = async || PostgresStore::connect(home.url(), &settings, false).await.ok();
    let narrow = Arc::new(eventually("a pool", connected).await);
    let store: StoreHandle = narrow.clone();
    let (dispatcher, monitor) = (dispatcher_in_process(&store).await, HealthMonitor::default());
    assert_eq!(monitor.latest(), None);
    let held = eventually("its only connection", async || narrow.begin().await.ok()).await;
    let first = monitor.check(&store, &dispatcher, &StuckThreads::default()).await;
    assert!(!first.ready && !first.store.ok && first.broker.ok, "{first:?}");
    assert!(first.store.reason.is_some() && first.store.remedy.is_some(), "{first:?}");
    let again = monitor.check(&store, &dispatcher, &StuckThreads::default()).await;
    assert!(again.store.since <= first.store.since.map(|since| since + Duration::from_secs(1)), "{first:?} {again:?}");
    assert_eq!(monitor.latest(), Some(again));
    held.rollback().await.expect("given back");
    let ready =
        async || Some(monitor.check(&store, &dispatcher, &StuckThreads::default()).await).filter(|health| health.ready);
    let well = eventually("ready again", ready).await;
    assert_eq!((well.store.reason, well.store.since, well.store.remedy), (None, None, None));
}

/// A method frame of the class `connection`.
fn frame(method: u16, arguments: &[u8]) -> Vec<u8> {
    let payload = [&10u16.to_be_bytes()[..], &method.to_be_bytes(), arguments].concat();
    let size = u32::try_from(payload.len()).expect("short").to_be_bytes();
    [&[1, 0, 0][..], &size, &payload, &[0xce]].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_takes_no_messages_is_not_ready_and_ready_again_when_it_does() {
    let (proxy, namespace) = (proxy(Way::Open).await, Namespace::new(&["default"]));
    let broker = namespace.connect(&namespace.settings_at(proxy.port)).await;
    let home = TestStore::sqlite(true).await;
    let (store, dispatcher) = (home.handle(), Dispatcher::new(home.handle(), broker, 20_000));
    let monitor = HealthMonitor::default();
    let seen = async |what: &str, enough: &dyn Fn(&Health) -> bool| {
        let check = async || {
            Some(monitor.check(&store, &dispatcher, &StuckThreads::default()).await).filter(|health| enough(health))
        };
        tokio::time::timeout(2 * PATIENCE, eventually(what, check)).await.expect("in time")
    };
    seen("ready", &|health| health.ready).await;
    proxy.inject(frame(60, b"\x0dlow on memory"));
    let blocked = seen("blocked", &|health| !health.ready).await;
    let reason = blocked.broker.reason.clone().unwrap_or_default();
    assert!(reason.contains("low on memory") && blocked.broker.since.is_some(), "{blocked:?}");
    assert!(blocked.broker.remedy.is_some_and(|remedy| remedy.contains("outbox")) && blocked.store.ok, "{blocked:?}");
    proxy.inject(frame(61, b""));
    seen("ready again", &|health| health.ready).await;
    proxy.shut();
    let away = seen("away", &|health| !health.ready).await;
    assert!(away.broker.reason.is_some_and(|reason| reason.starts_with("it is away")), "{:?}", away.broker.since);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_gives_no_answer_is_named_while_the_rest_can_be_used() {
    let (proxy, namespace) = (proxy(Way::Open).await, Namespace::new(&["default"]));
    let impatient = Settings { confirm_timeout: Span(Duration::from_secs(1)), ..namespace.settings_at(proxy.port) };
    let broker = namespace.connect(&impatient).await;
    let home = TestStore::postgres(true).await;
    let (store, dispatcher, monitor) =
        (home.handle(), Dispatcher::new(home.handle(), broker, 20_000), HealthMonitor::default());
    proxy.silence(&namespace.priority("default", Priority::Normal));
    let report = home.enqueue(&testing::jobs(3)).await.expect("enqueued");
    assert_eq!(dispatcher.publish(&report.dispatched).await.published, 0);
    let health = monitor.check(&store, &dispatcher, &StuckThreads::default()).await;
    assert!(health.ready && health.broker.ok, "{health:?}");
    let reason = health.broker.reason.unwrap_or_default();
    assert!(reason.contains("no answer comes from the queue `default`"), "{reason}");
    assert!(
        health.broker.since.is_some() && health.broker.remedy.is_some_and(|remedy| remedy.contains("quorum_status"))
    );

    proxy.silence("");
    let published = async || (dispatcher.publish(&report.dispatched).await.published == 3).then_some(());
    tokio::time::timeout(PATIENCE, eventually("published", published)).await.expect("in time");
    assert_eq!(monitor.check(&store, &dispatcher, &StuckThreads::default()).await.broker.reason, None);
}
