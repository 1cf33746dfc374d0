//! How soon a job begins that another process enqueues.

use std::sync::Arc;
use std::time::Duration;

use super::enqueue::backlog;
use crate::fault::Result;
use crate::latencies::latencies;
use crate::metric::Metric;
use crate::note::Note;
use crate::pace::{steadily, until};
use crate::record::count;
use crate::size::{LATENCY_A_SECOND, Size, WARM_UP, WARM_UP_FIRST};
use crate::stand::Stand;

/// How long jobs may take to begin that should begin within milliseconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Jobs at a steady pace, to a worker that has nothing else to do.
///
/// # Errors
///
/// Those of the programs, and when not every job ran exactly once.
pub async fn measure(stand: &Stand, size: Size) -> Result<Vec<(Metric, f64)>> {
    let (client, records) = (Arc::new(stand.client().await?), stand.file("records"));
    let (scheduler, worker) = (stand.scheduler()?, stand.worker(&records)?);
    backlog(&client, WARM_UP_FIRST, WARM_UP).await?;
    let began = async |jobs: u32| {
        let look = async || Ok((count(&records) >= u64::from(jobs)).then_some(()));
        until("all jobs have begun", PATIENCE, Duration::from_millis(20), look).await
    };
    began(WARM_UP).await?;
    steadily(size.latency, LATENCY_A_SECOND, |number| {
        let client = Arc::clone(&client);
        async move {
            client.enqueue(&Note::now(number)).await?;
            Ok(())
        }
    })
    .await?;
    began(WARM_UP + size.latency).await?;
    worker.stop().await?;
    if let Some(scheduler) = scheduler {
        scheduler.stop().await?;
    }
    client.close().await;
    latencies(&records, size.latency)
}
