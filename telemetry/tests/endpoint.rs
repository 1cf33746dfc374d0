//! The three addresses as a scraper and a supervisor see them.

use std::sync::Arc;
use std::time::Duration;

use gristmill_broker::Broker;
use gristmill_core::id::JobId;
use gristmill_core::job::NewJob;
use gristmill_jobs::pool::StuckThreads;
use gristmill_service::dispatcher::Dispatcher;
use gristmill_store::StoreHandle;
use gristmill_store::sqlite::SqliteStore;
use gristmill_telemetry::{Exporter, ListenerSettings, ServerState, bind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

async fn get(addr: std::net::SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(addr).await.expect("a listener");
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    answer
}

#[tokio::test]
async fn metrics_health_and_readiness_are_served() {
    let exporter = Exporter::install().expect("the only recorder of this process");
    let dir = tempfile::TempDir::new().expect("a temporary folder");
    let settings = gristmill_store::Settings::default();
    let store = SqliteStore::connect(&dir.path().join("store.db"), &settings, false).await.expect("a store");
    let store: StoreHandle = Arc::new(store);
    let broker = Broker::connect(&gristmill_broker::Settings::default()).await.expect("in-process");
    let dispatcher = Dispatcher::new(Arc::clone(&store), broker, 20_000);
    store.migrate().await.expect("migrations");
    store.enqueue(&[NewJob::new(JobId::from(uuid()), "note", serde_json::Value::Null)]).await.expect("enqueued");

    let bound = bind("127.0.0.1:0").await.expect("a free port");
    let addr = bound.addr().expect("an address");
    let (stop, stopped) = oneshot::channel::<()>();
    let state = ServerState { store, dispatcher, stuck: StuckThreads::default(), exporter: Some(exporter) };
    let settings = ListenerSettings::default();
    let server = tokio::spawn(bound.serve(state, settings, Duration::from_secs(10), async move {
        stopped.await.expect("the test stops the server");
    }));

    let alive = get(addr, "/healthz").await;
    assert!(alive.starts_with("HTTP/1.1 200") && alive.contains(r#""alive":true"#), "{alive}");
    let ready = get(addr, "/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 200") && ready.contains(r#""ready":true"#), "{ready}");
    assert!(ready.contains("store.db"), "on the machine itself it says where its store is: {ready}");
    for path in ["/readyz", "/healthz"] {
        // A peer behind a proxy is a stranger.
        let shown = get(addr, &format!("{path} HTTP/1.1\r\nx-forwarded-for: 192.0.2.1\r\nx-rest:")).await;
        assert!(shown.starts_with("HTTP/1.1 200") && shown.contains(r#""ready":true"#), "{shown}");
        assert!(!shown.contains("store.db") && !shown.contains("\"name\""), "{shown}");
    }
    let metrics = get(addr, "/metrics").await;
    assert!(metrics.contains(r#"gristmill_queue_jobs{queue="default",state="queued"} 1"#), "{metrics}");
    assert!(metrics.contains("gristmill_broker_up 1") && metrics.contains("gristmill_store_up 1"), "{metrics}");

    let taken = bind(&addr.to_string()).await.expect_err("the port is taken").to_string();
    assert!(taken.contains(&addr.to_string()) && taken.contains("127.0.0.1:9601"), "{taken}");
    stop.send(()).expect("the server runs");
    server.await.expect("no panic");
}

fn uuid() -> uuid::Uuid {
    uuid::Uuid::now_v7()
}
