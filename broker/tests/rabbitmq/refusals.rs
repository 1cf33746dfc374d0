//! When the broker refuses, the error says why and what would be right.

use gristmill_broker::{Broker, BrokerError, ConsumeOptions, HOLD, Health, Settings};
use gristmill_core::job::Priority;
use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;

use crate::env::{TestEnv, amqp, dispatch, in_namespace};

fn settings(change: impl FnOnce(&mut url::Url)) -> Settings {
    let mut url = url::Url::parse(&amqp()).unwrap();
    change(&mut url);
    Settings { url: url.to_string(), namespace: "test-refused".to_owned(), ..Settings::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_with_other_arguments_is_named_with_the_argument() {
    in_namespace(async |env: TestEnv| {
        let name = env.priority("mail", Priority::High);
        let admin = env.admin().await;
        let classic = QueueDeclareOptions::durable();
        admin.channel.queue_declare(name.as_str().into(), classic, FieldTable::default()).await.unwrap();

        let broker = env.broker().await;
        let options = ConsumeOptions { queues: vec!["mail".to_owned()], prefetch: 10, hold: HOLD };
        let error = broker.consume(options).await.unwrap_err();
        assert!(matches!(&error, BrokerError::Topology { name: named, .. } if *named == name), "{error:?}");
        let text = error.to_string();
        assert!(text.starts_with(&format!("`{name}` exists on the broker with other arguments: ")), "{text}");
        assert!(text.contains("inequivalent arg 'x-"), "{text}");

        // The other queues are still published to.
        let rows = [dispatch(1, "mail", Priority::Low, 1), dispatch(2, "chunks", Priority::Low, 1)];
        let published = broker.publish(&rows).await.unwrap();
        assert_eq!((published.confirmed, published.unconfirmed), (vec![2], vec![1]));
        let error = broker.publish(&rows[..1]).await.unwrap_err();
        assert!(matches!(error, BrokerError::Topology { .. }), "{error:?}");
        broker.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_of_another_kind_refuses_the_start() {
    in_namespace(async |env: TestEnv| {
        let name = format!("{}.dispatch.v1", env.settings.namespace);
        let admin = env.admin().await;
        let (kind, options) = (lapin::ExchangeKind::Topic, lapin::options::ExchangeDeclareOptions::default());
        admin.channel.exchange_declare(name.as_str().into(), kind, options, FieldTable::default()).await.unwrap();
        let error = Broker::connect(&env.settings).await.unwrap_err();
        assert!(matches!(&error, BrokerError::Topology { name: named, .. } if *named == name), "{error:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_login_names_the_user_and_not_the_password() {
    let settings = settings(|url| url.set_password(Some("wrong-s3cret")).unwrap());
    let error = Broker::connect(&settings).await.unwrap_err();
    assert!(matches!(error, BrokerError::Login { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("ACCESS_REFUSED") && text.contains("check the user, the password"), "{text}");
    assert!(!text.contains("wrong-s3cret") && !format!("{error:?}").contains("wrong-s3cret"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_virtual_host_is_named() {
    let error = Broker::connect(&settings(|url| url.set_path("/nobody-made-this"))).await.unwrap_err();
    assert!(matches!(&error, BrokerError::Login { vhost, .. } if vhost == "nobody-made-this"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away_is_down_and_no_error() {
    // Bound and never accepting: no other process can have this port meanwhile.
    let closed = tokio::net::TcpSocket::new_v4().unwrap();
    closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = closed.local_addr().unwrap().port();
    let settings = settings(|url| {
        url.set_host(Some("127.0.0.1")).unwrap();
        url.set_port(Some(port)).unwrap();
        url.set_password(Some("s3cret")).unwrap();
    });
    let broker = Broker::connect(&settings).await.unwrap();
    let health = broker.health().borrow().clone();
    assert!(matches!(&health, Health::Down { reason, .. } if reason.contains("refused")), "{health:?}");
    let error = broker.publish(&[dispatch(1, "mail", Priority::Low, 1)]).await.unwrap_err();
    assert!(matches!(error, BrokerError::Unavailable(_)), "{error:?}");
    assert!(matches!(broker.depth("mail").await.unwrap_err(), BrokerError::Unavailable(_)));
    assert!(!format!("{broker:?} {} {health:?} {settings:?}", broker.describe()).contains("s3cret"));
    broker.close().await;
}

#[tokio::test]
async fn settings_that_make_no_sense_are_refused_by_name() {
    for (change, expected) in [
        ((|s| s.confirm_window = 0) as fn(&mut Settings), "[broker] confirm_window is 0; write 1 to 1000"),
        (|s| s.confirm_window = 5_000, "[broker] confirm_window is 5000"),
        (|s| s.namespace = "a b".to_owned(), "[broker] namespace `a b` cannot be used"),
        (|s| s.url = "redis://h".to_owned(), "[broker] url has the scheme `redis`"),
    ] {
        let mut settings = Settings { url: "amqp://127.0.0.1:1".to_owned(), ..Settings::default() };
        change(&mut settings);
        let error = Broker::connect(&settings).await.unwrap_err();
        assert!(matches!(&error, BrokerError::Invalid(text) if text.starts_with(expected)), "{error:?}");
    }
}
