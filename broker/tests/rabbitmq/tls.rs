//! The road under TLS: a proxy that ends it in front of the broker, with certificates made for the test.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use gristmill_broker::{Broker, BrokerError, Health, Settings};
use gristmill_core::job::Priority;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tempfile::NamedTempFile;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::bench::{Bench, amqp, consume, dispatch, ids, on_a_bench, sent, take};

/// An authority that nobody knows but whoever is given its file.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    file: NamedTempFile,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "An authority for one test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(params.self_signed(&key).unwrap().pem().as_bytes()).unwrap();
        Self { issuer: Issuer::new(params, key), file }
    }

    /// What a server needs that calls itself so.
    fn server(&self, name: &str) -> ServerConfig {
        self.server_until(name, 4000)
    }

    /// The same until the first of January of that year.
    fn server_until(&self, name: &str, year: i32) -> ServerConfig {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
            .unwrap()
    }

    fn path(&self) -> String {
        self.file.path().display().to_string()
    }
}

/// A broker that speaks TLS, as far as its clients can see.
struct TlsProxy {
    port: u16,
    accepting: JoinHandle<()>,
}

impl TlsProxy {
    async fn start(server: ServerConfig) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let acceptor = TlsAcceptor::from(Arc::new(server));
        let accepting = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                // A client that refuses the certificate is what some tests are for.
                tokio::spawn(carry(client, acceptor.clone()));
            }
        });
        Self { port, accepting }
    }
}

impl Drop for TlsProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn carry(client: TcpStream, acceptor: TlsAcceptor) -> std::io::Result<()> {
    let mut client = acceptor.accept(client).await?;
    let url = url::Url::parse(&amqp()).unwrap();
    let host = url.host_str().unwrap().to_owned();
    let mut broker = TcpStream::connect((host, url.port().unwrap_or(5672))).await?;
    tokio::io::copy_bidirectional(&mut client, &mut broker).await.map(drop)
}

/// The bench's settings by way of the proxy.
fn settings(bench: &Bench, proxy: &TlsProxy, ca_file: Option<String>) -> Settings {
    // The `url` crate lets nobody change `amqp` into `amqps`.
    let mut url = url::Url::parse(&bench.settings.url.replacen("amqp://", "amqps://", 1)).unwrap();
    url.set_host(Some("127.0.0.1")).unwrap();
    url.set_port(Some(proxy.port)).unwrap();
    Settings { url: url.to_string(), ca_file, ..bench.settings.clone() }
}

async fn refusal(settings: &Settings) -> String {
    let error = Broker::connect(settings).await.expect_err("the certificate is refused");
    assert!(matches!(error, BrokerError::Invalid(_)), "trying again would not help: {error:?}");
    error.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_travel_under_tls_when_the_authority_is_trusted() {
    on_a_bench(async |bench: Bench| {
        let authority = Authority::new();
        let proxy = TlsProxy::start(authority.server("127.0.0.1")).await;
        let broker = Broker::connect(&settings(&bench, &proxy, Some(authority.path()))).await.unwrap();
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
    on_a_bench(async |bench: Bench| {
        let proxy = TlsProxy::start(Authority::new().server("127.0.0.1")).await;
        let another = Authority::new();
        for ca_file in [None, Some(another.path())] {
            let text = refusal(&settings(&bench, &proxy, ca_file)).await;
            let expected = format!("the certificate of amqps://guest@127.0.0.1:{}/ is not trusted: ", proxy.port);
            assert!(text.starts_with(&expected) && text.contains("[broker] ca_file"), "{text}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_for_another_host_is_refused_by_the_name_that_it_has() {
    on_a_bench(async |bench: Bench| {
        let authority = Authority::new();
        let proxy = TlsProxy::start(authority.server("broker.example.org")).await;
        let text = refusal(&settings(&bench, &proxy, Some(authority.path()))).await;
        let expected = format!("the certificate of amqps://guest@127.0.0.1:{}/ is for another host: ", proxy.port);
        assert!(text.starts_with(&expected) && text.contains("broker.example.org"), "{text}");
        assert!(!text.contains("ca_file"), "trusting more would not help: {text}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_has_run_out_is_called_that() {
    on_a_bench(async |bench: Bench| {
        let authority = Authority::new();
        let proxy = TlsProxy::start(authority.server_until("127.0.0.1", 2001)).await;
        let text = refusal(&settings(&bench, &proxy, Some(authority.path()))).await;
        let expected = format!("the certificate of amqps://guest@127.0.0.1:{}/ has run out: ", proxy.port);
        assert!(text.starts_with(&expected), "{text}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_without_tls_is_no_broker_for_amqps() {
    on_a_bench(async |bench: Bench| {
        let mut url = url::Url::parse(&amqp()).unwrap();
        let port = url.port().unwrap_or(5672);
        url.set_port(Some(port)).unwrap();
        let url = url.to_string().replacen("amqp://", "amqps://", 1);
        let settings = Settings { url, ..bench.settings.clone() };
        let broker = tokio::time::timeout(Duration::from_secs(120), Broker::connect(&settings)).await.unwrap().unwrap();
        assert!(matches!(&*broker.health().borrow(), Health::Down { .. }));
        broker.close().await;
    })
    .await;
}
