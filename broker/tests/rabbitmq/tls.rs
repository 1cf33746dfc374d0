//! AMQP over TLS: a proxy terminates it in front of the broker, with certificates made for the test.

use std::time::Duration;

use gristmill_broker::testing::{Proxy, host_and_port};
use gristmill_broker::{Broker, BrokerError, Health, Settings};
use gristmill_core::job::Priority;
use gristmill_testkit::tls::{Authority, TlsAcceptor};
use tempfile::TempDir;

use crate::env::{TestEnv, amqp, consume, dispatch, ids, in_namespace, sent, take};

/// An authority and the file that its certificate is in.
struct Issuer {
    authority: Authority,
    folder: TempDir,
}

impl Issuer {
    fn new() -> Self {
        Self { authority: Authority::new("An authority for one test"), folder: TempDir::new().unwrap() }
    }

    fn path(&self) -> String {
        self.authority.write(self.folder.path(), "authority.pem")
    }
}

/// A broker that speaks TLS, as far as its clients can see.
async fn broker_with(acceptor: TlsAcceptor) -> Proxy {
    Proxy::tls(&host_and_port(), acceptor).await
}

/// The test's settings, through the proxy.
fn settings(env: &TestEnv, proxy: &Proxy, ca_file: Option<String>) -> Settings {
    // The `url` crate does not allow changing `amqp` into `amqps`.
    let mut url = url::Url::parse(&env.settings.url.replacen("amqp://", "amqps://", 1)).unwrap();
    url.set_host(Some("127.0.0.1")).unwrap();
    url.set_port(Some(proxy.port)).unwrap();
    Settings { url: url.to_string(), ca_file, ..env.settings.clone() }
}

async fn refusal(settings: &Settings) -> String {
    let error = Broker::connect(settings).await.expect_err("the certificate is refused");
    assert!(matches!(error, BrokerError::Invalid(_)), "trying again would not help: {error:?}");
    error.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_travel_under_tls_when_the_authority_is_trusted() {
    in_namespace(async |env: TestEnv| {
        let issuer = Issuer::new();
        let proxy = broker_with(issuer.authority.server(&["127.0.0.1"])).await;
        let broker = Broker::connect(&settings(&env, &proxy, Some(issuer.path()))).await.unwrap();
        assert!(broker.health().borrow().is_up());
        assert!(broker.describe().starts_with("amqps://"), "{}", broker.describe());
        let rows = [dispatch(1, "mail", Priority::Normal, 500), dispatch(2, "mail", Priority::High, 1)];
        let published = broker.publish(&rows).await.unwrap();
        assert_eq!((published.confirmed, published.unconfirmed), (vec![1, 2], vec![]));
        let consumer = consume(&broker, &["mail"], 100).await;
        let mut seen = std::collections::HashSet::new();
        while seen.len() < 501 {
            let taken = take(&consumer, 1).await;
            seen.extend(ids(&taken));
            consumer.ack(taken).await;
        }
        assert_eq!(seen, sent(&rows));
        consumer.stop().await;
        broker.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_an_unknown_authority_is_refused_with_what_to_do() {
    in_namespace(async |env: TestEnv| {
        let proxy = broker_with(Issuer::new().authority.server(&["127.0.0.1"])).await;
        let another = Issuer::new();
        for ca_file in [None, Some(another.path())] {
            let text = refusal(&settings(&env, &proxy, ca_file)).await;
            let expected = format!("the certificate of amqps://guest@127.0.0.1:{}/ is not trusted: ", proxy.port);
            assert!(text.starts_with(&expected) && text.contains("[broker] ca_file"), "{text}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_for_another_host_is_refused_by_the_name_that_it_has() {
    in_namespace(async |env: TestEnv| {
        let issuer = Issuer::new();
        let proxy = broker_with(issuer.authority.server(&["broker.example.org"])).await;
        let text = refusal(&settings(&env, &proxy, Some(issuer.path()))).await;
        let expected = format!("the certificate of amqps://guest@127.0.0.1:{}/ is for another host: ", proxy.port);
        assert!(text.starts_with(&expected) && text.contains("broker.example.org"), "{text}");
        assert!(!text.contains("ca_file"), "trusting more would not help: {text}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_has_run_out_is_called_that() {
    in_namespace(async |env: TestEnv| {
        let issuer = Issuer::new();
        let proxy = broker_with(issuer.authority.server_until(&["127.0.0.1"], 2001)).await;
        let text = refusal(&settings(&env, &proxy, Some(issuer.path()))).await;
        let expected = format!("the certificate of amqps://guest@127.0.0.1:{}/ has run out: ", proxy.port);
        assert!(text.starts_with(&expected), "{text}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_without_tls_is_no_broker_for_amqps() {
    in_namespace(async |env: TestEnv| {
        let mut url = url::Url::parse(&amqp()).unwrap();
        let port = url.port().unwrap_or(5672);
        url.set_port(Some(port)).unwrap();
        let url = url.to_string().replacen("amqp://", "amqps://", 1);
        let settings = Settings { url, ..env.settings.clone() };
        let broker = tokio::time::timeout(Duration::from_secs(120), Broker::connect(&settings)).await.unwrap().unwrap();
        assert!(matches!(&*broker.health().borrow(), Health::Down { .. }));
        broker.close().await;
    })
    .await;
}
