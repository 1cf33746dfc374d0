//! The peer: the crate `graphile_worker` on PostgreSQL, as a program of its own that takes what to do
//! by arguments and prints how many seconds it took.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio::process::Command;
use uuid::Uuid;

use crate::fault::Result;
use crate::folder::Folder;
use crate::latencies::latencies;
use crate::metric::{Metric, Row, Setup};
use crate::note::RECORDS;
use crate::pace::{per_second, until};
use crate::process::{cpu_seconds, memory};
use crate::record::{History, count, now};
use crate::size::{LATENCY_A_SECOND, Size, WARM_UP, WARM_UP_FIRST};
use crate::stand::{Ground, Running};

/// The version that is compared with.
pub const VERSION: &str = "graphile_worker 0.14";

/// Whether a job is left: done ones are deleted.
const LEFT: &str = "SELECT EXISTS (SELECT 1 FROM graphile_worker._private_jobs)";

/// The peer's side of the rows that it has.
#[derive(Debug)]
pub struct Peer<'a> {
    ground: &'a Ground,
    program: PathBuf,
}

/// A database for one measurement.
struct Place {
    name: String,
    url: String,
    pool: PgPool,
}

impl<'a> Peer<'a> {
    /// Returns `None` when its program was not built.
    pub fn new(ground: &'a Ground) -> Option<Self> {
        Some(Self { ground, program: ground.peer.clone()? })
    }

    /// Measures a row, on PostgreSQL alone.
    ///
    /// # Errors
    ///
    /// Those of the program and the server, and when not every job ran exactly once.
    pub async fn measure(&self, row: Row, setup: Setup, size: Size) -> Result<Vec<(Metric, f64)>> {
        if setup != Setup::Postgres {
            return Ok(Vec::new());
        }
        match row {
            Row::Enqueue => self.enqueue(&[(Metric::EnqueueApi, "many", size.jobs, 1)]).await,
            Row::Single => {
                let (one, many) = (size.single, size.single_64);
                self.enqueue(&[(Metric::Single1, "singly", one, 1), (Metric::Single64, "singly", many, 64)]).await
            }
            Row::Drain => self.drain(size).await,
            Row::Latency => self.latency(size).await,
            Row::Scale => {
                let mut figures = Vec::new();
                for (metric, workers) in [(Metric::Scale1, 1), (Metric::Scale2, 2), (Metric::Scale4, 4)] {
                    figures.push((metric, self.backlog(size, workers).await?.0));
                }
                Ok(figures)
            }
            Row::Batch | Row::Idle => Ok(Vec::new()),
        }
    }

    async fn place(&self) -> Result<Place> {
        let name = format!("gristmill_peer_{}", Uuid::new_v4().simple());
        self.ground.administer(format!("CREATE DATABASE {name}")).await?;
        let url = self.ground.database(&name);
        let pool = PgPoolOptions::new().max_connections(1).connect(&url).await?;
        let place = Place { name, url, pool };
        self.finish(&place, &["migrate"]).await?;
        self.ground.settle().await?;
        Ok(place)
    }

    async fn clear(&self, place: Place) -> Result<()> {
        place.pool.close().await;
        self.ground.administer(format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", place.name)).await
    }

    fn command(&self, place: &Place, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(&place.url).args(arguments).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Runs it to its end; returns the seconds that it printed.
    async fn finish(&self, place: &Place, arguments: &[&str]) -> Result<Duration> {
        let output = self.command(place, arguments).output().await?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(format!("the peer's {arguments:?} ended with {}: {text}", output.status).into());
        }
        Ok(Duration::from_secs_f64(String::from_utf8_lossy(&output.stdout).trim().parse()?))
    }

    async fn enqueue(&self, parts: &[(Metric, &str, u32, u32)]) -> Result<Vec<(Metric, f64)>> {
        let mut figures = Vec::new();
        for (metric, verb, jobs, callers) in parts {
            let place = self.place().await?;
            let numbers = [jobs.to_string(), callers.to_string()];
            let took = self.finish(&place, &[verb, "0", &numbers[0], &numbers[1]]).await?;
            let waiting: i64 =
                sqlx::query_scalar("SELECT count(*) FROM graphile_worker._private_jobs").fetch_one(&place.pool).await?;
            if waiting != i64::from(*jobs) {
                return Err(format!("{waiting} jobs of the peer wait, not {jobs}").into());
            }
            figures.push((*metric, per_second(u64::from(*jobs), took)));
            self.clear(place).await?;
        }
        Ok(figures)
    }

    fn worker(&self, place: &Place, records: &Path) -> Result<Running> {
        Ok(Running::of(self.command(place, &["work"]).env(RECORDS, records).stdout(Stdio::null()).spawn()?))
    }

    /// A backlog by so many workers; returns jobs a second first, then what else is known of one worker's drain.
    async fn backlog(&self, size: Size, workers: usize) -> Result<(f64, Vec<(Metric, f64)>)> {
        let (place, folder) = (self.place().await?, Folder::within(&self.ground.folder)?);
        let records = folder.file("records");
        self.finish(&place, &["many", "0", &size.jobs.to_string(), "1"]).await?;
        self.ground.settle().await?;
        let log = self.ground.log_bytes().await?;
        let running: Vec<Running> = (0..workers).map(|_| self.worker(&place, &records)).collect::<Result<_>>()?;
        let began = async || Ok((count(&records) >= u64::from(size.jobs)).then_some(()));
        until("all jobs of the peer have begun", size.patience(), Duration::from_millis(1), began).await?;
        let ended = async || {
            let left: bool = sqlx::query_scalar(LEFT).fetch_one(&place.pool).await?;
            Ok((!left).then(now))
        };
        let ended_at = until("all jobs of the peer are done", size.patience(), Duration::from_millis(1), ended).await?;
        let log = self.ground.log_of(Metric::DrainWal, Setup::Postgres, log, size.jobs).await?;
        let first = running.first().ok_or("at least one worker")?.id()?;
        let (memory, seconds) = (memory(first)?, cpu_seconds(first)?);
        let cpu = (Metric::DrainCpu, seconds * 1e6 / f64::from(size.jobs));
        let about = [cpu, (Metric::WorkerRss, memory.rss), (Metric::WorkerPss, memory.pss)];
        for worker in running {
            worker.stop().await?;
        }
        self.clear(place).await?;
        let history = History::read(&records)?;
        history.check(size.jobs)?;
        let (from, counted) = history.all_at_work().ok_or("no job ran")?;
        let rate = per_second(counted, Duration::from_nanos(u64::try_from(ended_at - from)?));
        Ok((rate, log.into_iter().chain(about).collect()))
    }

    async fn drain(&self, size: Size) -> Result<Vec<(Metric, f64)>> {
        let (rate, about) = self.backlog(size, 1).await?;
        Ok([(Metric::Drain, rate)].into_iter().chain(about).collect())
    }

    async fn latency(&self, size: Size) -> Result<Vec<(Metric, f64)>> {
        let (place, folder) = (self.place().await?, Folder::within(&self.ground.folder)?);
        let records = folder.file("records");
        let worker = self.worker(&place, &records)?;
        self.finish(&place, &["many", &WARM_UP_FIRST.to_string(), &WARM_UP.to_string(), "1"]).await?;
        let began = async |jobs: u32| {
            let look = async || Ok((count(&records) >= u64::from(jobs)).then_some(()));
            until("all jobs of the peer have begun", size.patience(), Duration::from_millis(20), look).await
        };
        began(WARM_UP).await?;
        self.finish(&place, &["steadily", "0", &size.latency.to_string(), &LATENCY_A_SECOND.to_string()]).await?;
        began(WARM_UP + size.latency).await?;
        worker.stop().await?;
        self.clear(place).await?;
        latencies(&records, size.latency)
    }
}
