//! Returned: handles messages that the broker gave up on. The store is asked, and nothing ends here.

use std::time::Duration;

use gristmill_broker::{BrokerError, Consumer, Delivery};
use gristmill_core::backoff;
use gristmill_core::dispatch::{Dispatch, Purpose};
use gristmill_core::id::JobId;
use gristmill_core::job::JobState;
use gristmill_service::dispatcher::Dispatcher;
use gristmill_service::poison;
use gristmill_store::{JobView, PoisonSource, Result, StoreHandle};
use tokio_util::sync::CancellationToken;

use crate::duty::Record;

/// The most messages in one step.
const LIMIT: usize = 100;

/// The most returned messages that are here and not handled yet.
const PREFETCH: u16 = 100;

/// How long one step waits for a message.
const WAIT: Duration = Duration::from_millis(500);

/// Takes returned messages until `stop`. Every scheduler does so, whether it leads or not: the broker distributes them.
///
/// # Errors
///
/// When the broker refuses for good. `stop` is cancelled then, so that the process reports the reason instead of
/// limping on.
pub(crate) async fn keep(
    store: &StoreHandle,
    dispatcher: &Dispatcher,
    stop: &CancellationToken,
) -> std::result::Result<(), BrokerError> {
    if !dispatcher.broker().carries() {
        stop.cancelled().await;
        return Ok(());
    }
    let consumer = match dispatcher.broker().consume_returned(PREFETCH).await {
        Ok(consumer) => consumer,
        Err(error) => {
            stop.cancel();
            return Err(error);
        }
    };
    let (mut record, mut failures) = (Record::new("returned"), 0);
    while !stop.is_cancelled() {
        if record.outcome(returned(store, dispatcher, &consumer, WAIT).await).is_some() {
            failures = 0;
            continue;
        }
        failures += 1;
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = tokio::time::sleep(backoff::RETURNED.wait(failures, 1.0)) => {}
        }
    }
    consumer.stop().await;
    Ok(())
}

/// Takes returned messages, waiting at most `wait` for the first one: jobs that are still queued are published again,
/// poison is kept, anything else is dropped. Returns how many were published.
///
/// # Errors
///
/// Store errors; the messages are given back then.
pub async fn returned(
    store: &StoreHandle,
    dispatcher: &Dispatcher,
    consumer: &Consumer,
    wait: Duration,
) -> Result<u64> {
    let deliveries = consumer.next(LIMIT, wait).await;
    if deliveries.is_empty() {
        return Ok(0);
    }
    let again = match look(store, &deliveries).await {
        Ok(again) => again,
        Err(error) => {
            consumer.requeue(deliveries).await;
            return Err(error);
        }
    };
    if again.is_empty() {
        consumer.ack(deliveries).await;
        return Ok(0);
    }
    match dispatcher.broker().publish(&again).await {
        Ok(published) if published.unconfirmed.is_empty() => {
            consumer.ack(deliveries).await;
            Ok(again.len() as u64)
        }
        // They come again; a claim drops those that were published twice.
        Ok(_) | Err(_) => {
            consumer.requeue(deliveries).await;
            Ok(0)
        }
    }
}

/// Returns the jobs that are to be published again. Messages without a job are recorded as poison first: they are
/// acknowledged with the rest.
async fn look(store: &StoreHandle, deliveries: &[Delivery]) -> Result<Vec<Dispatch>> {
    let ids: Vec<JobId> = deliveries.iter().filter_map(named).collect();
    let unknown = if ids.is_empty() { Vec::new() } else { store.unknown_jobs(&ids).await? };
    let poison: Vec<&Delivery> =
        deliveries.iter().filter(|delivery| named(delivery).is_none_or(|job| unknown.contains(&job))).collect();
    if !poison.is_empty() {
        poison::record_poison(&**store, poison, PoisonSource::Returned, poison::NO_JOB).await?;
    }
    still_queued(store, deliveries).await
}

fn named(delivery: &Delivery) -> Option<JobId> {
    delivery.message.as_ref().ok().map(|message| message.job_id)
}

/// Drops what is no longer queued.
async fn still_queued(store: &StoreHandle, deliveries: &[Delivery]) -> Result<Vec<Dispatch>> {
    let mut again = Vec::new();
    let tenants = store.tenants().await?;
    for message in deliveries.iter().filter_map(|delivery| delivery.message.as_ref().ok()) {
        let Some(job) = of_any(store, &tenants, message.job_id).await? else { continue };
        if job.state == JobState::Queued {
            // No outbox row backs it: the message itself is kept until the confirm.
            let number = again.len() as i64;
            again.push(Dispatch {
                outbox: -1 - number,
                queue: job.queue,
                priority: job.priority,
                purpose: Purpose::Dispatch,
                jobs: vec![job.id],
            });
        }
    }
    Ok(again)
}

/// Finds the job of an id in any tenant: a message does not name its tenant.
async fn of_any(store: &StoreHandle, tenants: &[String], id: JobId) -> Result<Option<JobView>> {
    for tenant in tenants {
        if let Some(job) = store.job(tenant, id).await? {
            return Ok(Some(job));
        }
    }
    Ok(None)
}
