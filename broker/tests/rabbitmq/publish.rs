//! What is confirmed is in the queue, and what is not in the queue is not confirmed.

use gristmill_broker::{Broker, Message, Published, Settings};
use gristmill_core::dispatch::Purpose;
use gristmill_core::job::Priority;
use lapin::options::BasicGetOptions;
use lapin::types::AMQPValue;

use crate::env::{TestEnv, consume, dispatch, ids, in_namespace, sent, take, until_depth};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_is_consumed_and_acknowledged_once() {
    in_namespace(async |env: TestEnv| {
        let broker = env.broker().await;
        let rows = [dispatch(7, "mail", Priority::Normal, 1_500), dispatch(8, "chunks", Priority::High, 500)];
        let published = broker.publish(&rows).await.unwrap();
        assert_eq!(published, Published { confirmed: vec![7, 8], unconfirmed: vec![] });
        assert_eq!(broker.depth("mail").await.unwrap(), Some(1_500));

        let consumer = consume(&broker, &["mail", "chunks"], 500).await;
        let mut taken = Vec::new();
        while taken.len() < 2_000 {
            let some = take(&consumer, 100).await;
            assert!(some.iter().all(|delivery| !delivery.redelivered));
            taken.extend(ids(&some));
            consumer.ack(some).await;
        }
        assert_eq!(taken.into_iter().collect::<std::collections::HashSet<_>>(), sent(&rows));
        consumer.stop().await;
        assert_eq!(broker.depth("mail").await.unwrap(), Some(0));
        broker.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_for_a_deleted_queue_is_not_confirmed_and_its_queue_is_made_again() {
    in_namespace(async |env: TestEnv| {
        let broker = env.broker().await;
        broker.publish(&[dispatch(1, "mail", Priority::Low, 1)]).await.unwrap();
        env.admin().await.delete(&env.priority("mail", Priority::Low)).await;

        let rows = [
            dispatch(2, "mail", Priority::High, 40),
            dispatch(3, "mail", Priority::Low, 1),
            dispatch(4, "chunks", Priority::Low, 40),
        ];
        let published = broker.publish(&rows).await.unwrap();
        assert_eq!(published, Published { confirmed: vec![2, 4], unconfirmed: vec![3] });
        let published = broker.publish(&rows[1..2]).await.unwrap();
        assert_eq!(published, Published { confirmed: vec![3], unconfirmed: vec![] });
        until_depth(&broker, "mail", 41).await;
        broker.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_goes_to_the_dead_letter_queue_and_nowhere_else() {
    in_namespace(async |env: TestEnv| {
        let broker = env.broker().await;
        let mut row = dispatch(1, "mail", Priority::Normal, 1);
        row.purpose = Purpose::DeadLetter;
        assert_eq!(broker.publish(std::slice::from_ref(&row)).await.unwrap().confirmed, [1]);

        let name = env.dead("mail");
        let got = env.admin().await.channel.basic_get(name.as_str().into(), BasicGetOptions { no_ack: true }).await;
        let copy = got.unwrap().expect("it is there").delivery;
        assert_eq!(Message::decode(&copy.data).unwrap(), Message::new(row.jobs[0], "mail"));
        let headers = copy.properties.headers().as_ref().unwrap().inner();
        assert_eq!(headers.get("gristmill-purpose"), Some(&AMQPValue::LongString("dead_letter".into())));
        assert_eq!(*copy.properties.delivery_mode(), Some(2));
        assert_eq!(broker.depth("mail").await.unwrap(), Some(0));
        broker.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_publish_at_once_over_one_connection() {
    in_namespace(async |env: TestEnv| {
        let broker = env.broker().await;
        let publishing = (0..8).map(|row| {
            let (broker, row) = (broker.clone(), dispatch(row, "mail", Priority::Normal, 200));
            tokio::spawn(async move { broker.publish(&[row]).await.unwrap().confirmed })
        });
        let mut confirmed: Vec<i64> =
            futures::future::join_all(publishing).await.into_iter().flat_map(Result::unwrap).collect();
        confirmed.sort_unstable();
        assert_eq!(confirmed, (0..8).collect::<Vec<_>>());
        until_depth(&broker, "mail", 1_600).await;
        broker.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_to_publish_is_no_error() {
    in_namespace(async |env: TestEnv| {
        let broker = env.broker().await;
        assert_eq!(broker.publish(&[]).await.unwrap(), Published::default());
        assert_eq!(broker.depth("mail").await.unwrap(), Some(0), "a queue that was never used is empty");
        broker.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_queue_is_gone_with_its_messages_and_made_again_when_it_is_used() {
    in_namespace(async |env: TestEnv| {
        let (broker, admin) = (env.broker().await, env.admin().await);
        let mut copy = dispatch(2, "mail", Priority::Normal, 2);
        copy.purpose = Purpose::DeadLetter;
        broker.publish(&[dispatch(1, "mail", Priority::High, 3), copy]).await.unwrap();
        assert_eq!(broker.delete_queue("mail").await.unwrap(), 5);
        for name in Priority::ALL.map(|priority| env.priority("mail", priority)).iter().chain([&env.dead("mail")]) {
            assert_eq!(admin.depth(name).await, None, "{name}");
        }
        assert_eq!(broker.delete_queue("mail").await.unwrap(), 0, "twice is once");
        assert_eq!(broker.depth("mail").await.unwrap(), Some(0));
        assert_eq!(broker.publish(&[dispatch(3, "mail", Priority::Low, 4)]).await.unwrap().confirmed, [3]);
        assert_eq!(broker.depth("mail").await.unwrap(), Some(4));
        broker.close().await;
    })
    .await;
}

#[tokio::test]
async fn in_process_there_is_nothing_to_delete() {
    let broker = Broker::connect(&Settings::default()).await.unwrap();
    assert_eq!(broker.delete_queue("mail").await.unwrap(), 0);
}
