//! Typed, asynchronous item handlers in a batch: what they receive, what their results mean, and that they end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::batch_env::BatchEnv;
use gristmill_core::batch::Counts;
use gristmill_core::settle::Ending;
use gristmill_jobs::States;
use gristmill_jobs::process::{ItemContext, ItemFailure, ItemHandler, Processors, typed};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::{Barrier, Notify};

#[derive(Deserialize)]
struct Order {
    id: u64,
    lines: Vec<Line>,
}

#[derive(Deserialize)]
struct Line {
    price: u64,
}

#[derive(Serialize)]
struct Priced {
    id: u64,
    total: u64,
    try_number: u32,
    place: String,
}

#[derive(Clone)]
struct Rates {
    times: u64,
}

/// Prices an order at the rates that the program shares.
async fn price(order: Order, context: ItemContext) -> Result<Option<Priced>, ItemFailure> {
    tokio::task::yield_now().await;
    let total = order.lines.iter().map(|line| line.price).sum::<u64>() * context.state::<Rates>().times;
    match order.id {
        1 if context.attempt() < 3 => return Err(ItemFailure::retry("the rates are not there yet")),
        2 => return Err(ItemFailure::permanent("order 2 is closed")),
        3 => panic!("order {} is cursed", order.id),
        4 => return Ok(None),
        5 => Err(std::io::Error::other("the line is busy"))?,
        _ => {}
    }
    assert_eq!((context.batch_name(), context.params()), ("retail", &Value::Null));
    let key = context.idempotency_key();
    let place = format!("{}:{}", context.batch_id(), context.position());
    assert!(key.ends_with(&format!(":{}", context.position())), "{key}");
    Ok(Some(Priced { id: order.id, total, try_number: context.attempt(), place }))
}

fn with(states: States) -> Processors {
    Processors::default().with_handler("price", ItemHandler::Async(typed(states, price)))
}

fn rates() -> States {
    let mut states = States::default();
    states.insert(Rates { times: 10 });
    states
}

fn orders(env: &BatchEnv, count: u64, more: &str) -> String {
    let lines: String =
        (0..count).map(|id| format!("{{\"id\":{id},\"lines\":[{{\"price\":1}},{{\"price\":{id}}}]}}\n")).collect();
    env.file("orders.jsonl", &format!("{lines}{more}"))
}

#[tokio::test]
async fn a_typed_handler_prices_retries_skips_and_sets_aside() {
    let env = BatchEnv::new(with(rates())).await;
    let misfits = "{\"id\":6,\"lines\":[{\"price\":1},{\"price\":\"dear\"}]}\n{\"lines\":[]}\n";
    let source = orders(&env, 6, misfits);
    let definition = json!({
        "source": { "jsonl": source },
        "tolerate": 6,
        "process": { "rust": "price", "item_attempts": 3, "concurrency": 2 },
        "aggregate": { "total": { "sum": "total" }, "tries": { "sum": "try_number" } },
    });
    let run = env.start(definition, 100).await;
    env.work(&run, false).await;
    let batch = env.batch(&run).await;
    assert_eq!(batch.counts, Counts { input: 8, ok: 2, skipped: 1, quarantined: 5, cancelled: 0 });
    assert_eq!(
        batch.result,
        Some(json!({ "total": "30", "tries": "4" })),
        "orders 0 and 1, the second at its third try"
    );
    let found = env.quarantine(&run).await;
    let reasons: Vec<_> = found.iter().map(|item| (item.position, item.reason.as_str())).collect();
    assert_eq!(
        reasons,
        [
            (2, "order 2 is closed"),
            (3, "panicked: order 3 is cursed"),
            (5, "the line is busy (tried 3 times)"),
            (6, "the item does not fit `Order` at `lines[1].price`: invalid type: string \"dear\", expected u64"),
            (7, "the item does not fit `Order`: missing field `id`"),
        ]
    );
    assert!(found.iter().all(|item| item.stage == "process"));
}

#[tokio::test]
async fn a_state_that_the_program_does_not_share_is_named_in_the_quarantine() {
    let env = BatchEnv::new(with(States::default())).await;
    let source = orders(&env, 1, "");
    let definition = json!({ "source": { "jsonl": source }, "tolerate": 1, "process": { "rust": "price" } });
    let run = env.start(definition, 10).await;
    env.work(&run, false).await;
    let reason = &env.quarantine(&run).await[0].reason;
    assert!(reason.contains("no state of type") && reason.contains("Rates"), "{reason}");
}

#[tokio::test]
async fn a_definition_that_asks_for_too_many_items_at_once_is_refused() {
    let work: gristmill_jobs::process::ItemFn =
        Arc::new(|item: &Value, _| gristmill_jobs::process::ItemOut::Ok(item.clone()));
    let env = BatchEnv::new(with(rates()).with_item("compute", work)).await;
    let source = orders(&env, 1, "");
    for (process, wanted) in [
        (json!({ "rust": "price", "concurrency": 0 }), "`concurrency` is 0; write 1 to 1000"),
        (json!({ "rust": "price", "concurrency": 1_001 }), "`concurrency` is 1001; write 1 to 1000"),
        (json!({ "rust": "compute", "concurrency": 4 }), "`compute` computes on the threads for items"),
        (json!({ "exec": { "command": ["cat"] }, "concurrency": 4 }), "`concurrency` is for `rust` handlers"),
    ] {
        let run = env.start(json!({ "source": { "jsonl": source }, "process": process }), 10).await;
        let finish = env.one(&run).await;
        assert_eq!(finish.ending, Ending::Permanent);
        let error = finish.error.expect("a reason");
        assert!(error.contains(wanted), "{error}");
    }
}

/// Lets a test watch handlers that wait.
#[derive(Default)]
struct Watch {
    begun: AtomicUsize,
    most: AtomicUsize,
    now: AtomicUsize,
    dropped: AtomicUsize,
    begins: Notify,
    given: AtomicUsize,
}

/// Counts a handler while it is alive.
struct Alive(Arc<Watch>);

impl Alive {
    fn new(watch: &Arc<Watch>) -> Self {
        let now = watch.now.fetch_add(1, Ordering::SeqCst) + 1;
        watch.most.fetch_max(now, Ordering::SeqCst);
        watch.begun.fetch_add(1, Ordering::SeqCst);
        watch.begins.notify_one();
        Self(Arc::clone(watch))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
        self.0.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_items_are_under_way_at_once_as_the_definition_says() {
    // Each waits for three others: with fewer at once, none would ever end.
    let (watch, barrier) = (Arc::new(Watch::default()), Arc::new(Barrier::new(4)));
    let watched = Arc::clone(&watch);
    let work = move |item: Value, _: ItemContext| {
        let (watch, barrier) = (Arc::clone(&watched), Arc::clone(&barrier));
        async move {
            let _alive = Alive::new(&watch);
            barrier.wait().await;
            Ok::<_, ItemFailure>(item)
        }
    };
    let handler = ItemHandler::Async(typed(States::default(), work));
    let env = BatchEnv::new(Processors::default().with_handler("meet", handler)).await;
    let source = orders(&env, 20, "");
    let definition = json!({ "source": { "jsonl": source }, "process": { "rust": "meet", "concurrency": 4 } });
    let run = env.start(definition, 100).await;
    env.work(&run, false).await;
    assert_eq!(env.batch(&run).await.counts.ok, 20);
    assert_eq!(watch.most.load(Ordering::SeqCst), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_attempt_ends_its_slow_items_and_tells_what_they_started() {
    let watch = Arc::new(Watch::default());
    let watched = Arc::clone(&watch);
    let work = move |_: Value, context: ItemContext| {
        let watch = Arc::clone(&watched);
        async move {
            let (cancelled, given) = (context.cancelled(), Arc::clone(&watch));
            tokio::spawn(async move {
                cancelled.cancelled().await;
                given.given.fetch_add(1, Ordering::SeqCst);
            });
            let _alive = Alive::new(&watch);
            std::future::pending::<Result<Value, ItemFailure>>().await
        }
    };
    let handler = ItemHandler::Async(typed(States::default(), work));
    let env = BatchEnv::new(Processors::default().with_handler("slow", handler)).await;
    let source = orders(&env, 20, "");
    let definition = json!({ "source": { "jsonl": source }, "process": { "rust": "slow", "concurrency": 3 } });
    let run = env.start(definition, 100).await;
    let context = env.next(&run).await;
    let cancel = context.cancel.clone();
    let attempt = env.attempt(context);
    tokio::pin!(attempt);
    while watch.begun.load(Ordering::SeqCst) < 3 {
        tokio::select! {
            finish = &mut attempt => panic!("it ended by itself: {finish:?}"),
            () = watch.begins.notified() => {}
        }
    }
    cancel.cancel();
    assert_eq!(attempt.await.ending, Ending::Failed { retry_after: None });
    while watch.given.load(Ordering::SeqCst) < 3 || watch.now.load(Ordering::SeqCst) > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!((watch.begun.load(Ordering::SeqCst), watch.dropped.load(Ordering::SeqCst)), (3, 3), "no other began");
}
