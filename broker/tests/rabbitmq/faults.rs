//! Connections break, and nothing is lost.

use std::collections::HashSet;
use std::time::Duration;

use gristmill_broker::testing::{Break, Namespace, Way, proxy};
use gristmill_broker::{Broker, BrokerError, Health, Published};
use gristmill_core::dispatch::Dispatch;
use gristmill_core::duration::Span;
use gristmill_core::job::Priority;
use tokio::time::{Instant, timeout};

use crate::env::{PATIENCE, TestEnv, consume, dispatch, ids, in_namespace, sent, take};

async fn until(broker: &Broker, wanted: impl FnMut(&Health) -> bool) -> Health {
    let mut health = broker.health();
    timeout(PATIENCE, health.wait_for(wanted)).await.expect("its health changes").unwrap().clone()
}

/// As the outbox does: unconfirmed messages are published again.
async fn publish_until_confirmed(broker: &Broker, mut rows: Vec<Dispatch>) -> usize {
    let (mut rounds, deadline) = (0, Instant::now() + PATIENCE);
    while !rows.is_empty() {
        assert!(Instant::now() < deadline, "{} rows are never confirmed", rows.len());
        rounds += 1;
        match broker.publish(&rows).await {
            Ok(published) => rows.retain(|row| !published.confirmed.contains(&row.outbox)),
            Err(_) => drop(until(broker, Health::is_up).await),
        }
    }
    rounds
}

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_messages_survive_connections_that_break_again_and_again() {
    in_namespace(async |env: TestEnv| {
        let proxy = proxy(Way::Open).await;
        let broker = env.broker_at(proxy.port, |_| {}).await;
        let rows: Vec<Dispatch> = (0..50).map(|row| dispatch(row, "mail", Priority::Normal, 100)).collect();
        let all = sent(&rows);
        let consumer = consume(&broker, &["mail"], 200).await;
        let (mut seen, mut cuts) = (HashSet::new(), 0);
        let consuming = async {
            let deadline = Instant::now() + 2 * PATIENCE;
            while seen.len() < all.len() {
                assert!(Instant::now() < deadline, "only {} of {} messages came", seen.len(), all.len());
                let taken = consumer.next(64, Duration::from_secs(1)).await;
                seen.extend(ids(&taken));
                // With messages in hand, in the buffer, and on their way in both directions.
                if seen.len() > (cuts + 1) * 1_200 {
                    proxy.cut(Break::Close);
                    cuts += 1;
                }
                consumer.ack(taken).await;
            }
        };
        tokio::join!(consuming, publish_until_confirmed(&broker, rows));
        assert_eq!(seen, all);
        assert!(cuts >= 3, "the connections were cut {cuts} times");
        consumer.stop().await;
        broker.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_its_confirm_when_the_connection_breaks_is_unconfirmed() {
    in_namespace(async |env: TestEnv| {
        let proxy = proxy(Way::Open).await;
        let broker = env.broker_at(proxy.port, |settings| settings.confirm_timeout = Span(2 * PATIENCE)).await;
        let first = broker.publish(&[dispatch(1, "mail", Priority::Normal, 10)]).await.unwrap();
        assert_eq!(first.confirmed, [1]);

        proxy.set(Way::Unanswered);
        let before = proxy.sent();
        let row = dispatch(2, "mail", Priority::Normal, 10);
        let publishing = tokio::spawn({
            let (broker, row) = (broker.clone(), row.clone());
            async move { broker.publish(&[row]).await }
        });
        proxy.until_sent_more_than(before).await;
        proxy.set(Way::Open);
        proxy.cut(Break::Close);
        let published = timeout(PATIENCE, publishing).await.expect("it does not wait for the timeout").unwrap();
        // The confirm may have arrived between opening and cutting; it was never both.
        let published = published.unwrap();
        assert_eq!(published.confirmed.len() + published.unconfirmed.len(), 1);
        publish_until_confirmed(&broker, vec![row]).await;
        broker.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_does_not_confirm_in_time_has_confirmed_nothing() {
    in_namespace(async |env: TestEnv| {
        let proxy = proxy(Way::Open).await;
        let patience = Span(Duration::from_secs(2));
        let broker = env.broker_at(proxy.port, |settings| settings.confirm_timeout = patience).await;
        broker.publish(&[dispatch(1, "mail", Priority::Normal, 1)]).await.unwrap();
        proxy.set(Way::Unanswered);
        let rows = [dispatch(2, "mail", Priority::Normal, 1_000), dispatch(3, "mail", Priority::Normal, 1)];
        let published = timeout(PATIENCE, broker.publish(&rows)).await.expect("it ends").unwrap();
        assert_eq!(published, Published { confirmed: vec![], unconfirmed: vec![2, 3] });
        proxy.set(Way::Open);
        publish_until_confirmed(&broker, rows.to_vec()).await;
        broker.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_gives_no_answer_holds_up_no_other() {
    in_namespace(async |env: TestEnv| {
        let proxy = proxy(Way::Open).await;
        let patience = Span(Duration::from_secs(2));
        let broker = env.broker_at(proxy.port, |settings| settings.confirm_timeout = patience).await;
        let both =
            |row: i64| [dispatch(row, "mail", Priority::Normal, 10), dispatch(row + 1, "chunks", Priority::Normal, 10)];
        assert_eq!(broker.publish(&both(1)).await.unwrap().confirmed, [1, 2]);

        proxy.silence(&env.priority("mail", Priority::Normal));
        let published = broker.publish(&both(3)).await.unwrap();
        assert_eq!(published, Published { confirmed: vec![4], unconfirmed: vec![3] });
        // One caller at a time finds out whether it answers again; the others do not wait for that.
        let rows = [5, 6, 7].map(|row| [dispatch(row, if row == 7 { "chunks" } else { "mail" }, Priority::Normal, 1)]);
        let (probe, second, other) =
            tokio::join!(broker.publish(&rows[0]), broker.publish(&rows[1]), broker.publish(&rows[2]));
        assert!(probe.unwrap().confirmed.is_empty());
        let text = second.unwrap_err().to_string();
        assert!(text.contains("the normal priority of the queue `mail` gives no answer just now"), "{text}");
        assert_eq!(other.unwrap().confirmed, [7]);

        proxy.silence("");
        publish_until_confirmed(&broker, both(8).to_vec()).await;
        broker.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_cannot_be_declared_holds_up_no_other() {
    in_namespace(async |env: TestEnv| {
        let proxy = proxy(Way::Open).await;
        proxy.silence(&env.priority("mail", Priority::Normal));
        let patience = Span(Duration::from_secs(2));
        let broker = env.broker_at(proxy.port, |settings| settings.confirm_timeout = patience).await;
        let starting = timeout(PATIENCE, consume(&broker, &["mail", "chunks"], 10));
        let publishing = async {
            let rows: Vec<_> = (0..20).map(|row| dispatch(row, "mail", Priority::Normal, 1)).collect();
            let chunks = dispatch(20, "chunks", Priority::Normal, 3);
            let published = broker.publish(&[rows.as_slice(), std::slice::from_ref(&chunks)].concat()).await.unwrap();
            assert_eq!((published.confirmed, published.unconfirmed.len()), (vec![20], 20));
            chunks
        };
        let (consumer, chunks) = tokio::join!(starting, publishing);
        let consumer = consumer.expect("a consumer begins without the queue that does not answer");
        let taken = take(&consumer, 3).await;
        assert_eq!(ids(&taken), sent(&[chunks]));
        consumer.ack(taken).await;

        proxy.silence("");
        publish_until_confirmed(&broker, vec![dispatch(21, "mail", Priority::Normal, 1)]).await;
        let taken = take(&consumer, 1).await;
        consumer.ack(taken).await;
        consumer.stop().await;
        broker.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_comes_late_is_found() {
    in_namespace(async |env: TestEnv| {
        let proxy = proxy(Way::Shut).await;
        let broker = env.broker_at(proxy.port, |_| {}).await;
        let consumer = consume(&broker, &["mail"], 10).await;
        until(&broker, |health| matches!(health, Health::Down { .. })).await;
        proxy.set(Way::Open);
        until(&broker, Health::is_up).await;
        let rows = vec![dispatch(1, "mail", Priority::Normal, 3)];
        let all = sent(&rows);
        publish_until_confirmed(&broker, rows).await;
        let taken = take(&consumer, 3).await;
        assert_eq!(ids(&taken), all);
        consumer.ack(taken).await;
        consumer.stop().await;
        broker.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledgement_that_comes_after_the_break_hits_nothing() {
    in_namespace(async |env: TestEnv| {
        let proxy = proxy(Way::Open).await;
        let (broker, direct) = (env.broker_at(proxy.port, |_| {}).await, env.broker().await);
        let rows = [dispatch(1, "mail", Priority::Normal, 5)];
        direct.publish(&rows).await.unwrap();
        let consumer = consume(&broker, &["mail"], 10).await;
        let old = take(&consumer, 5).await;
        proxy.cut(Break::Close);
        let new = take(&consumer, 5).await;
        assert_eq!(ids(&new), ids(&old));
        // The tags are the same numbers on the new channel; none of its messages may be settled.
        consumer.ack(old).await;
        consumer.requeue(new).await;
        let again = take(&consumer, 5).await;
        assert_eq!(ids(&again), sent(&rows));
        consumer.ack(again).await;
        consumer.stop().await;
        broker.close().await;
        direct.close().await;
    })
    .await;
}

/// `connection.blocked` and `connection.unblocked` as they are on the wire: the real ones need a
/// broker that runs out of memory.
fn frame(method: u8, argument: &[u8]) -> Vec<u8> {
    let payload = [&[0, 10, 0, method], argument].concat();
    let size = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&[1, 0, 0][..], &size, &payload, &[0xCE]].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_without_memory_is_blocked_and_makes_nobody_wait() {
    in_namespace(async |env: TestEnv| {
        let proxy = proxy(Way::Open).await;
        let broker = env.broker_at(proxy.port, |_| {}).await;
        let row = [dispatch(1, "mail", Priority::Normal, 1)];
        assert_eq!(broker.publish(&row).await.unwrap().confirmed, [1]);
        proxy.inject(frame(60, b"\x0dlow on memory"));
        let health = until(&broker, |health| !health.is_up()).await;
        assert!(matches!(&health, Health::Blocked { reason, .. } if reason == "low on memory"), "{health:?}");
        let error = broker.publish(&row).await.unwrap_err();
        assert!(matches!(&error, BrokerError::Unavailable(text) if text.contains("low on memory")), "{error:?}");
        proxy.inject(frame(61, b""));
        until(&broker, Health::is_up).await;
        assert_eq!(broker.publish(&row).await.unwrap().confirmed, [1]);
        broker.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_test_has_made_is_cleared_away_even_when_it_fails() {
    let namespace = Namespace::new(&["mail"]);
    let (names, admin) =
        ([namespace.priority("mail", Priority::Normal), namespace.returned()], namespace.admin().await);
    let failing = tokio::spawn(async move {
        let broker = namespace.connect(&namespace.settings()).await;
        let consumer = consume(&broker, &["mail"], 10).await;
        broker.publish(&[dispatch(1, "mail", Priority::Normal, 3)]).await.unwrap();
        // What goes on beside the test must not recreate what is cleared away.
        tokio::spawn(async move { while consumer.next(1, Duration::from_secs(1)).await.len() < 5 {} });
        panic!("as a test does that fails");
    });
    assert!(failing.await.unwrap_err().is_panic());
    for name in &names {
        assert_eq!(admin.depth(name).await, None, "{name} is still there");
    }
}
