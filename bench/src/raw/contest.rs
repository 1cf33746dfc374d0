//! The raw limits, row by row.

use std::time::{Duration, Instant};

use uuid::Uuid;

use super::postgres::RawPostgres;
use super::rabbitmq::RawRabbit;
use super::sqlite::RawSqlite;
use crate::amounts::Amounts;
use crate::fault::Result;
use crate::folder::Folder;
use crate::latencies::latencies;
use crate::metric::{Metric, Row, Setup};
use crate::pace::per_second;
use crate::record::History;
use crate::size::{LATENCY_A_SECOND, Size};
use crate::stand::Ground;

/// A raw database and a raw queue, used by all rounds and emptied before each measurement.
#[derive(Debug)]
pub struct Raw {
    ground: Ground,
    database: String,
    postgres: RawPostgres,
    rabbitmq: RawRabbit,
}

/// One of the three, ready to be measured.
enum Limit<'a> {
    Sqlite(RawSqlite, Folder),
    Postgres(&'a RawPostgres),
    Rabbitmq(&'a RawRabbit),
}

impl Raw {
    /// Makes them.
    ///
    /// # Errors
    ///
    /// Those of the servers.
    pub async fn new(ground: &Ground) -> Result<Self> {
        let database = format!("gristmill_raw_{}", Uuid::new_v4().simple());
        ground.administer(format!("CREATE DATABASE {database}")).await?;
        let postgres = RawPostgres::new(&ground.database(&database)).await?;
        let rabbitmq = RawRabbit::new(postgres.clone(), &ground.amqp).await?;
        Ok(Self { ground: ground.clone(), database, postgres, rabbitmq })
    }

    /// Removes them.
    ///
    /// # Errors
    ///
    /// Those of the servers.
    pub async fn clear(self) -> Result<()> {
        self.rabbitmq.close().await?;
        self.postgres.close().await;
        self.ground.administer(format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.database)).await
    }

    async fn limit(&self, setup: Setup) -> Result<Limit<'_>> {
        let limit = match setup {
            Setup::Sqlite => {
                let folder = Folder::within(&self.ground.folder)?;
                Limit::Sqlite(RawSqlite::new(&folder.file("raw.db")).await?, folder)
            }
            Setup::Postgres => {
                self.postgres.empty().await?;
                Limit::Postgres(&self.postgres)
            }
            Setup::Rabbitmq => {
                self.rabbitmq.empty().await?;
                Limit::Rabbitmq(&self.rabbitmq)
            }
        };
        self.ground.settle().await?;
        Ok(limit)
    }

    /// How SQLite is set here.
    ///
    /// # Errors
    ///
    /// When it is not durable.
    pub async fn sqlite_durability(&self) -> Result<String> {
        match self.limit(Setup::Sqlite).await? {
            Limit::Sqlite(mut raw, _folder) => raw.durability().await,
            _ => Err("SQLite was asked for".into()),
        }
    }

    /// Measures a row.
    ///
    /// # Errors
    ///
    /// Those of the servers, and when not every job ran exactly once.
    pub async fn measure(&self, row: Row, setup: Setup, size: Size) -> Result<Vec<(Metric, f64)>> {
        match row {
            Row::Enqueue => self.enqueue(setup, size).await,
            Row::Single => self.single(setup, size).await,
            Row::Drain => self.drain(setup, size).await,
            Row::Latency => self.latency(setup, size).await,
            Row::Batch => self.batch(setup).await,
            // Memory of a loop, and the idling of nothing, say nothing; more claimers than help do not help.
            Row::Idle | Row::Scale => Ok(Vec::new()),
        }
    }

    async fn enqueue(&self, setup: Setup, size: Size) -> Result<Vec<(Metric, f64)>> {
        let (mut limit, log) = (self.limit(setup).await?, self.ground.log_bytes().await?);
        let begin = Instant::now();
        limit.enqueue(size.jobs).await?;
        let rate = (Metric::EnqueueApi, per_second(u64::from(size.jobs), begin.elapsed()));
        let log = self.ground.log_of(Metric::EnqueueWal, setup, log, size.jobs).await?;
        Ok([rate].into_iter().chain(log).collect())
    }

    async fn single(&self, setup: Setup, size: Size) -> Result<Vec<(Metric, f64)>> {
        let mut figures = Vec::new();
        for (metric, jobs, callers) in [(Metric::Single1, size.single, 1), (Metric::Single64, size.single_64, 64)] {
            let mut limit = self.limit(setup).await?;
            let begin = Instant::now();
            match &mut limit {
                // There is one writer: callers that commit by themselves only wait for one another.
                Limit::Sqlite(..) if callers > 1 => continue,
                Limit::Sqlite(raw, _) => raw.enqueue_singly(jobs).await?,
                Limit::Postgres(raw) => raw.enqueue_singly(jobs, callers).await?,
                Limit::Rabbitmq(raw) => raw.enqueue_singly(jobs, callers).await?,
            }
            figures.push((metric, per_second(u64::from(jobs), begin.elapsed())));
        }
        Ok(figures)
    }

    async fn drain(&self, setup: Setup, size: Size) -> Result<Vec<(Metric, f64)>> {
        let mut limit = self.limit(setup).await?;
        limit.enqueue(size.jobs).await?;
        self.ground.settle().await?;
        let folder = Folder::within(&self.ground.folder)?;
        let records = folder.file("records");
        let log = self.ground.log_bytes().await?;
        let begin = Instant::now();
        match &mut limit {
            Limit::Sqlite(raw, _) => raw.drain(&records).await?,
            Limit::Postgres(raw) => raw.drain(&records).await?,
            Limit::Rabbitmq(raw) => raw.drain(size.jobs, &records).await?,
        }
        let rate = (Metric::Drain, per_second(u64::from(size.jobs), begin.elapsed()));
        let log = self.ground.log_of(Metric::DrainWal, setup, log, size.jobs).await?;
        History::read(&records)?.check(size.jobs)?;
        Ok([rate].into_iter().chain(log).collect())
    }

    async fn latency(&self, setup: Setup, size: Size) -> Result<Vec<(Metric, f64)>> {
        let (mut limit, folder) = (self.limit(setup).await?, Folder::within(&self.ground.folder)?);
        let records = folder.file("records");
        match &mut limit {
            Limit::Sqlite(raw, _) => raw.latency(size.latency, LATENCY_A_SECOND, &records).await?,
            Limit::Postgres(raw) => raw.latency(size.latency, LATENCY_A_SECOND, &records).await?,
            Limit::Rabbitmq(raw) => raw.latency(size.latency, LATENCY_A_SECOND, &records).await?,
        }
        latencies(&records, size.latency)
    }

    async fn batch(&self, setup: Setup) -> Result<Vec<(Metric, f64)>> {
        let (mut limit, folder) = (self.limit(setup).await?, Folder::within(&self.ground.folder)?);
        let (path, amounts) = (folder.file("amounts.csv"), Amounts::usual());
        amounts.write(&path)?;
        let begin = Instant::now();
        let chunks = Amounts::read_chunks(&path)?;
        let total = match &mut limit {
            Limit::Sqlite(raw, _) => raw.batch(&chunks).await?,
            Limit::Postgres(raw) => raw.batch(&chunks).await?,
            // What a broker would carry are 200 ids.
            Limit::Rabbitmq(_) => return Ok(Vec::new()),
        };
        let elapsed: Duration = begin.elapsed();
        if total != amounts.total() {
            return Err(format!("the raw batch adds up to {total}, not {}", amounts.total()).into());
        }
        Ok(vec![(Metric::Batch, elapsed.as_secs_f64())])
    }
}

impl Limit<'_> {
    async fn enqueue(&mut self, jobs: u32) -> Result<()> {
        match self {
            Self::Sqlite(raw, _) => raw.enqueue(jobs).await,
            Self::Postgres(raw) => raw.enqueue(jobs).await,
            Self::Rabbitmq(raw) => raw.enqueue(jobs).await,
        }
    }
}
