//! Processes that have nothing to do: what they take all the same.

use std::time::{Duration, Instant};

use super::enqueue::backlog;
use super::tables::Tables;
use crate::fault::Result;
use crate::metric::{Metric, Setup};
use crate::pace::until;
use crate::process::{cpu_seconds, memory};
use crate::size::{WARM_UP, WARM_UP_FIRST};
use crate::stand::{Running, Stand};

/// How long a process is left alone before it counts as idle.
const SETTLING: Duration = Duration::from_secs(3);

/// The processes of one stand.
#[derive(Debug)]
pub struct Idlers {
    setup: Setup,
    worker: Running,
    scheduler: Option<Running>,
}

impl Idlers {
    /// Starts them, and lets them do a little first.
    ///
    /// # Errors
    ///
    /// Those of the programs.
    pub async fn start(stand: &Stand) -> Result<Self> {
        let (client, tables, records) = (stand.client().await?, Tables::of(stand).await?, stand.file("records"));
        let (scheduler, worker) = (stand.scheduler()?, stand.worker(&records)?);
        let before = tables.jobs("done").await?;
        backlog(&client, WARM_UP_FIRST, WARM_UP).await?;
        let done = async || Ok((tables.jobs("done").await? - before >= i64::from(WARM_UP)).then_some(()));
        until("a few jobs are done", Duration::from_secs(60), Duration::from_millis(20), done).await?;
        client.close().await;
        Ok(Self { setup: stand.setup, worker, scheduler })
    }

    fn processes(&self) -> Vec<(Metric, &Running)> {
        let scheduler = self.scheduler.iter().map(|scheduler| (Metric::SchedulerIdle, scheduler));
        [(Metric::WorkerIdle, &self.worker)].into_iter().chain(scheduler).collect()
    }

    fn seconds(&self) -> Result<Vec<f64>> {
        self.processes().iter().map(|(_, process)| cpu_seconds(process.id()?)).collect()
    }
}

/// Watches the processes of several stands together: idle ones do not disturb one another.
///
/// # Errors
///
/// When one of them ends.
pub async fn watch(idlers: Vec<Idlers>, at_most: Duration) -> Result<Vec<(Setup, Metric, f64)>> {
    tokio::time::sleep(SETTLING).await;
    let before: Vec<Vec<f64>> = idlers.iter().map(Idlers::seconds).collect::<Result<_>>()?;
    let begin = Instant::now();
    tokio::time::sleep(at_most).await;
    let mut figures = Vec::new();
    for (idlers, before) in idlers.iter().zip(before) {
        let (after, elapsed) = (idlers.seconds()?, begin.elapsed().as_secs_f64());
        for (((metric, _), after), before) in idlers.processes().iter().zip(after).zip(before) {
            figures.push((idlers.setup, *metric, (after - before) / elapsed * 100.0));
        }
        if let Some(scheduler) = &idlers.scheduler {
            figures.push((idlers.setup, Metric::SchedulerRss, memory(scheduler.id()?)?.rss));
        }
    }
    for idlers in idlers {
        idlers.worker.stop().await?;
        if let Some(scheduler) = idlers.scheduler {
            scheduler.stop().await?;
        }
    }
    Ok(figures)
}
