//! What is taken, given back, and bounded.

use std::time::Duration;

use gristmill_broker::message::BYTES_MAX;
use gristmill_broker::{Broker, ConsumeOptions, Consumer};
use gristmill_core::job::Priority;
use lapin::BasicProperties;
use lapin::options::{BasicGetOptions, BasicPublishOptions, BasicRejectOptions};

use crate::env::{PATIENCE, TestEnv, consume, dispatch, ids, in_namespace, sent, take, until_depth};

/// Long enough for a message to arrive that is not held back.
const SILENCE: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_back_comes_again() {
    in_namespace(async |env: TestEnv| {
        let broker = env.broker().await;
        let rows = [dispatch(1, "mail", Priority::Normal, 3)];
        broker.publish(&rows).await.unwrap();
        let consumer = consume(&broker, &["mail"], 10).await;
        let first = take(&consumer, 3).await;
        consumer.requeue(first).await;
        let second = take(&consumer, 3).await;
        assert!(second.iter().all(|delivery| delivery.redelivered));
        assert_eq!(ids(&second), sent(&rows));
        consumer.ack(second).await;
        consumer.stop().await;
        assert_eq!(broker.depth("mail").await.unwrap(), Some(0));
        broker.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledgements_in_any_order_settle_exactly_what_they_name() {
    in_namespace(async |env: TestEnv| {
        let broker = env.broker().await;
        broker.publish(&[dispatch(1, "mail", Priority::Normal, 60)]).await.unwrap();
        let consumer = consume(&broker, &["mail"], 100).await;
        let taken = take(&consumer, 60).await;
        let (mut acked, mut kept, mut requeued) = (Vec::new(), Vec::new(), Vec::new());
        for (index, delivery) in taken.into_iter().enumerate() {
            [&mut acked, &mut kept, &mut requeued][index % 3].push(delivery);
        }
        let (kept_ids, requeued_ids) = (ids(&kept), ids(&requeued));
        tokio::join!(consumer.requeue(requeued), consumer.ack(acked));
        let again = take(&consumer, 20).await;
        assert_eq!(ids(&again), requeued_ids);
        consumer.ack(again).await;
        // What is held when the consumer stops also goes back.
        consumer.stop().await;
        until_depth(&broker, "mail", 20).await;
        let consumer = consume(&broker, &["mail"], 100).await;
        assert_eq!(ids(&take(&consumer, 20).await), kept_ids);
        drop(kept);
        consumer.stop().await;
        broker.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_prefetch_bounds_what_is_here() {
    in_namespace(async |env: TestEnv| {
        let broker = env.broker().await;
        broker.publish(&[dispatch(1, "mail", Priority::Normal, 100)]).await.unwrap();
        let consumer = consume(&broker, &["mail"], 10).await;
        let taken = take(&consumer, 10).await;
        assert!(consumer.next(100, SILENCE).await.is_empty());
        assert_eq!(broker.depth("mail").await.unwrap(), Some(90));
        consumer.ack(taken).await;
        assert_eq!(take(&consumer, 10).await.len(), 10);
        consumer.stop().await;
        broker.close().await;
    })
    .await;
}

/// A consumer that gives back what it cannot hand out after half a second.
async fn short(broker: &Broker, prefetch: u16) -> Consumer {
    let hold = Duration::from_millis(500);
    broker.consume(ConsumeOptions { queues: vec!["mail".to_owned()], prefetch, hold }).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_finds_no_room_goes_to_a_consumer_that_has_some() {
    in_namespace(async |env: TestEnv| {
        let broker = env.broker().await;
        let full = short(&broker, 10).await;
        let rows = Priority::ALL.map(|priority| dispatch(1, "mail", priority, 5));
        broker.publish(&rows).await.unwrap();
        let first = take(&full, 1).await;
        until_depth(&broker, "mail", 0).await;
        // The full one asks for nothing more, and the other one has room for everything.
        let other = short(&broker, 10).await;
        let rest = take(&other, 14).await;
        assert_eq!(&ids(&first) | &ids(&rest), sent(&rows));
        other.ack(rest).await;
        // It takes nothing while it is full, and begins again when it has room, with what it has room for.
        other.stop().await;
        let more = [dispatch(2, "mail", Priority::Normal, 5)];
        broker.publish(&more).await.unwrap();
        until_depth(&broker, "mail", 5).await;
        let mut second = take(&full, 2).await;
        assert_eq!(second.len(), 2);
        second.extend(take(&full, 3).await);
        assert_eq!(ids(&second), sent(&more));
        full.ack(first.into_iter().chain(second).collect()).await;
        full.stop().await;
        assert_eq!(broker.depth("mail").await.unwrap(), Some(0));
        broker.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_back_later_comes_again_and_at_once_when_the_consumer_stops() {
    in_namespace(async |env: TestEnv| {
        let broker = env.broker().await;
        broker.publish(&[dispatch(1, "mail", Priority::Normal, 2)]).await.unwrap();
        let consumer = consume(&broker, &["mail"], 10).await;
        let mut both = take(&consumer, 2).await;
        let later = both.split_off(1);
        consumer.requeue_after(both, Duration::ZERO);
        consumer.requeue_after(later, 100 * PATIENCE);
        let again = take(&consumer, 1).await;
        consumer.ack(again).await;
        consumer.stop().await;
        until_depth(&broker, "mail", 1).await;
        broker.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_priority_arrives_under_its_name_and_urgent_ones_come_first() {
    in_namespace(async |env: TestEnv| {
        let broker = env.broker().await;
        let rows = Priority::ALL.map(|priority| dispatch(1, "mail", priority, 32));
        broker.publish(&rows).await.unwrap();
        let consumer = consume(&broker, &["mail"], 32).await;
        // The whole queue is in the buffer before the first message is handed out.
        until_depth(&broker, "mail", 0).await;
        assert!(consumer.next(0, Duration::ZERO).await.is_empty());
        tokio::time::timeout(6 * SILENCE, std::future::pending::<()>()).await.unwrap_err();
        let taken = take(&consumer, 96).await;
        let count = |priority| taken[..32].iter().filter(|delivery| delivery.priority == priority).count();
        assert_eq!((count(Priority::High), count(Priority::Normal), count(Priority::Low)), (24, 6, 2));
        for (row, priority) in rows.iter().zip(Priority::ALL) {
            let of_priority = taken.iter().filter(|delivery| delivery.priority == priority);
            let found = of_priority.map(|delivery| delivery.message.as_ref().unwrap().job_id).collect();
            assert_eq!(sent(std::slice::from_ref(row)), found);
        }
        consumer.ack(taken).await;
        consumer.stop().await;
        broker.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_gives_back_what_waits_and_loses_no_acknowledgement() {
    in_namespace(async |env: TestEnv| {
        let broker = env.broker().await;
        let rows = [dispatch(1, "mail", Priority::Normal, 1_000)];
        broker.publish(&rows).await.unwrap();
        let consumer = consume(&broker, &["mail"], 600).await;
        let taken = take(&consumer, 400).await;
        let done = ids(&taken);
        for delivery in taken {
            consumer.ack(vec![delivery]).await;
        }
        consumer.stop().await;
        until_depth(&broker, "mail", 600).await;
        let consumer = consume(&broker, &["mail"], 1_000).await;
        let rest = take(&consumer, 600).await;
        assert_eq!(ids(&rest), &sent(&rows) - &done);
        consumer.ack(rest).await;
        consumer.stop().await;
        assert_eq!(broker.depth("mail").await.unwrap(), Some(0));
        broker.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_can_be_changed_while_it_runs() {
    in_namespace(async |env: TestEnv| {
        let broker = env.broker().await;
        broker
            .publish(&[dispatch(1, "mail", Priority::Normal, 30), dispatch(2, "chunks", Priority::Low, 5)])
            .await
            .unwrap();
        let consumer = consume(&broker, &["mail"], 30).await;
        let mail = take(&consumer, 10).await;
        consumer.set_queues(&["chunks".to_owned()]);
        // Mail that waited here may still be handed out until its feed has been notified.
        let mut chunks = Vec::new();
        while chunks.len() < 5 {
            let (new, old) = take(&consumer, 1).await.into_iter().partition(|delivery| delivery.queue == "chunks");
            chunks.extend::<Vec<_>>(new);
            consumer.requeue(old).await;
        }
        assert!(chunks.iter().all(|delivery| delivery.priority == Priority::Low));
        consumer.ack(chunks).await;
        // Messages that were not handed out go back at once; those that were can still be settled.
        until_depth(&broker, "mail", 20).await;
        consumer.ack(mail).await;
        assert!(consumer.next(10, SILENCE).await.is_empty(), "nobody takes mail any more");
        consumer.set_queues(&["chunks".to_owned(), "mail".to_owned()]);
        let rest = take(&consumer, 20).await;
        consumer.ack(rest).await;
        consumer.stop().await;
        assert_eq!(broker.depth("mail").await.unwrap(), Some(0));
        broker.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_delivered_as_poison() {
    in_namespace(async |env: TestEnv| {
        let broker = env.broker().await;
        let consumer = consume(&broker, &["mail"], 10).await;
        let admin = env.admin().await;
        let (exchange, key) = (format!("{}.dispatch.v1", env.settings.namespace), env.priority("mail", Priority::High));
        for body in [b"\xff{not json".to_vec(), vec![b'x'; BYTES_MAX + 1_000]] {
            let options = BasicPublishOptions { mandatory: true, immediate: false };
            let (exchange, key) = (exchange.as_str().into(), key.as_str().into());
            admin.channel.basic_publish(exchange, key, options, &body, BasicProperties::default()).await.unwrap();
        }
        let taken = take(&consumer, 2).await;
        let poisons: Vec<_> = taken.iter().map(|delivery| delivery.message.as_ref().unwrap_err()).collect();
        assert_eq!(poisons[0].bytes, b"\xff{not json");
        assert_eq!((poisons[1].bytes.len(), poisons[1].size), (BYTES_MAX, BYTES_MAX + 1_000));
        consumer.ack(taken).await;
        consumer.stop().await;
        assert_eq!(broker.depth("mail").await.unwrap(), Some(0));
        broker.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_broker_gives_up_on_comes_by_the_return_path() {
    in_namespace(async |env: TestEnv| {
        let broker = env.broker().await;
        let rows = [dispatch(1, "mail", Priority::High, 1)];
        broker.publish(&rows).await.unwrap();
        let (admin, name) = (env.admin().await, env.priority("mail", Priority::High));
        let got = admin.channel.basic_get(name.as_str().into(), BasicGetOptions::default()).await.unwrap().unwrap();
        got.delivery.acker.reject(BasicRejectOptions { requeue: false }).await.unwrap();

        let consumer = broker.consume_returned(10).await.unwrap();
        let taken = take(&consumer, 1).await;
        assert_eq!((ids(&taken), taken[0].queue.as_str()), (sent(&rows), "mail"));
        consumer.ack(taken).await;
        consumer.stop().await;
        broker.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_deleted_is_made_and_consumed_again() {
    in_namespace(async |env: TestEnv| {
        let broker = env.broker().await;
        let consumer = consume(&broker, &["mail"], 10).await;
        broker.publish(&[dispatch(1, "mail", Priority::Normal, 1)]).await.unwrap();
        let taken = take(&consumer, 1).await;
        consumer.ack(taken).await;
        let (admin, name) = (env.admin().await, env.priority("mail", Priority::Normal));
        admin.delete(&name).await;
        // A publisher would make it, too: here the consumer has to.
        admin.until_exists(&name).await;
        let rows = [dispatch(2, "mail", Priority::Normal, 1)];
        assert_eq!(broker.publish(&rows).await.unwrap().confirmed, [2]);
        let taken = take(&consumer, 1).await;
        assert_eq!(ids(&taken), sent(&rows));
        consumer.ack(taken).await;
        consumer.stop().await;
        broker.close().await;
    })
    .await;
}
