//! Draining: a backlog is worked off by one worker process, or by several.

use std::path::Path;
use std::time::Duration;

use super::enqueue::backlog;
use super::tables::Tables;
use crate::fault::Result;
use crate::metric::Metric;
use crate::pace::{per_second, until};
use crate::process::{cpu_seconds, memory};
use crate::record::{History, count, now};
use crate::size::Size;
use crate::stand::{Ground, Running, Stand};

/// How often it is looked whether all jobs have begun: a look at the length of a file.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Waits until so many more jobs are done than before; returns that instant. The counters are asked only once all jobs
/// have begun.
async fn all_done(tables: &Tables, records: &Path, before: i64, size: Size) -> Result<i64> {
    let jobs = u64::from(size.jobs);
    let began = async || Ok((count(records) >= jobs).then_some(()));
    until("all jobs have begun", size.patience(), LOOK_EVERY, began).await?;
    let done = async || {
        let done = tables.jobs("done").await? - before;
        Ok((done >= i64::from(size.jobs)).then(now))
    };
    until("all jobs are done", size.patience(), LOOK_EVERY, done).await
}

/// What the records of a drain give: jobs a second, from the instant at which the last worker began its first job.
fn rate(records: &Path, jobs: u32, ended_at: i64) -> Result<f64> {
    let history = History::read(records)?;
    history.check(jobs)?;
    let (from, counted) = history.all_at_work().ok_or("no job ran")?;
    Ok(per_second(counted, Duration::from_nanos(u64::try_from(ended_at - from)?)))
}

/// What a drain leaves.
struct Drained {
    /// Jobs a second.
    rate: f64,
    /// What PostgreSQL's log took.
    log: Option<(Metric, f64)>,
    /// The workers, which still run.
    running: Vec<Running>,
}

/// A backlog that was there before the workers.
async fn drain(ground: &Ground, stand: &Stand, size: Size, workers: usize) -> Result<Drained> {
    let (client, tables, records) = (stand.client().await?, Tables::of(stand).await?, stand.file("records"));
    backlog(&client, 0, size.jobs).await?;
    let (before, scheduler) = (tables.jobs("done").await?, stand.scheduler()?);
    ground.settle().await?;
    let log = ground.log_bytes().await?;
    let running: Vec<Running> = (0..workers).map(|_| stand.worker(&records)).collect::<Result<_>>()?;
    let ended_at = all_done(&tables, &records, before, size).await?;
    let rate = rate(&records, size.jobs, ended_at)?;
    let log = ground.log_of(Metric::DrainWal, stand.setup, log, size.jobs).await?;
    if let Some(scheduler) = scheduler {
        scheduler.stop().await?;
    }
    client.close().await;
    Ok(Drained { rate, log, running })
}

/// By one worker, whose memory is looked at while it still has what the work took.
///
/// # Errors
///
/// Those of the programs, and when not every job ran exactly once.
pub async fn by_one(ground: &Ground, stand: &Stand, size: Size) -> Result<Vec<(Metric, f64)>> {
    let Drained { rate, log, running } = drain(ground, stand, size, 1).await?;
    let mut figures: Vec<_> = [(Metric::Drain, rate)].into_iter().chain(log).collect();
    for worker in running {
        let (memory, seconds) = (memory(worker.id()?)?, cpu_seconds(worker.id()?)?);
        figures.push((Metric::DrainCpu, seconds * 1e6 / f64::from(size.jobs)));
        figures.extend([(Metric::WorkerRss, memory.rss), (Metric::WorkerPss, memory.pss)]);
        worker.stop().await?;
    }
    Ok(figures)
}

/// By so many workers at once.
///
/// # Errors
///
/// Those of the programs, and when not every job ran exactly once.
pub async fn by_many(ground: &Ground, stand: &Stand, size: Size, workers: usize) -> Result<f64> {
    let Drained { rate, running, .. } = drain(ground, stand, size, workers).await?;
    for worker in running {
        worker.stop().await?;
    }
    Ok(rate)
}
