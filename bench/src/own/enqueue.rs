//! Enqueueing: many at once by the client and by the command, and one by one.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gristmill_client::Client;

use super::tables::Tables;
use crate::fault::Result;
use crate::metric::{Metric, Setup};
use crate::note::Note;
use crate::pace::{by_callers, per_second, until};
use crate::size::{Size, WARM_UP, WARM_UP_FIRST};
use crate::stand::{Ground, Stand};

/// How long the broker may take to show messages that it has confirmed.
const SHOWN: Duration = Duration::from_secs(30);

/// Enqueues so many jobs, numbered from `first` on.
///
/// # Errors
///
/// Those of the client, and when not every job was created.
pub async fn backlog(client: &Client, first: u32, jobs: u32) -> Result<()> {
    let notes = (first..first + jobs).map(|number| client.job(&Note::now(number)).build());
    let many = client.enqueue_many(notes.collect::<std::result::Result<Vec<_>, _>>()?).await?;
    let created = many.count(gristmill_client::EnqueueOutcome::Created);
    if created == jobs as usize { Ok(()) } else { Err(format!("{created} of {jobs} jobs were created").into()) }
}

/// Checks that so many jobs wait more than before, and that the broker has their ids.
async fn check(ground: &Ground, stand: &Stand, tables: &Tables, before: i64, jobs: u32) -> Result<()> {
    let waiting = tables.jobs("queued").await? - before;
    if waiting != i64::from(jobs) {
        return Err(format!("{waiting} jobs wait, not {jobs}").into());
    }
    if stand.setup != Setup::Rabbitmq {
        return Ok(());
    }
    let what = format!("{jobs} messages on the broker");
    until(&what, SHOWN, Duration::from_millis(100), async || {
        let depth = crate::raw::rabbitmq::depth(&ground.amqp, &stand.queue()).await?;
        Ok((depth >= u64::from(jobs)).then_some(()))
    })
    .await
}

/// Many at once, by the client: committed, and published where there is a broker.
///
/// # Errors
///
/// Those of the client, and when not all jobs wait afterwards.
pub async fn by_client(ground: &Ground, stand: &Stand, size: Size) -> Result<Vec<(Metric, f64)>> {
    let (client, tables) = (stand.client().await?, Tables::of(stand).await?);
    let (before, log) = (tables.jobs("queued").await?, ground.log_bytes().await?);
    let begin = Instant::now();
    backlog(&client, 0, size.jobs).await?;
    let elapsed = begin.elapsed();
    let log = ground.log_of(Metric::EnqueueWal, stand.setup, log, size.jobs).await?;
    check(ground, stand, &tables, before, size.jobs).await?;
    client.close().await;
    let rate = (Metric::EnqueueApi, per_second(u64::from(size.jobs), elapsed));
    Ok([rate].into_iter().chain(log).collect())
}

/// Many at once, by `enqueue --jsonl`: the whole process.
///
/// # Errors
///
/// Those of the program, and when not all jobs wait afterwards.
pub async fn by_command(ground: &Ground, stand: &Stand, size: Size) -> Result<Vec<(Metric, f64)>> {
    let (path, tables) = (stand.file("jobs.jsonl"), Tables::of(stand).await?);
    let mut file = std::io::BufWriter::new(std::fs::File::create(&path)?);
    for number in 0..size.jobs {
        writeln!(file, r#"{{"payload":{}}}"#, serde_json::to_string(&Note::now(number))?)?;
    }
    file.flush()?;
    let before = tables.jobs("queued").await?;
    let text = path.display().to_string();
    let begin = Instant::now();
    stand.finish(&["enqueue", "note", "--jsonl", &text], Path::new("/dev/null")).await?;
    let elapsed = begin.elapsed();
    check(ground, stand, &tables, before, size.jobs).await?;
    Ok(vec![(Metric::EnqueueCli, per_second(u64::from(size.jobs), elapsed))])
}

/// One by one, by so many callers of one client.
///
/// # Errors
///
/// Those of the client, and when not all jobs wait afterwards.
pub async fn singly(ground: &Ground, stand: &Stand, jobs: u32, callers: u32) -> Result<f64> {
    let (client, tables) = (Arc::new(stand.client().await?), Tables::of(stand).await?);
    backlog(&client, WARM_UP_FIRST, WARM_UP).await?;
    let before = tables.jobs("queued").await?;
    let begin = Instant::now();
    by_callers(callers, jobs, |share| {
        let client = Arc::clone(&client);
        async move {
            for number in share {
                client.enqueue(&Note::now(number)).await?;
            }
            Ok(())
        }
    })
    .await?;
    let elapsed = begin.elapsed();
    check(ground, stand, &tables, before, jobs).await?;
    client.close().await;
    Ok(per_second(u64::from(jobs), elapsed))
}
