//! What is measured: each metric with its unit, which direction is better, and what it should reach.

use serde::{Deserialize, Serialize};

/// What is measured together, and may be chosen with `ONLY`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Row {
    /// Many jobs in groups.
    Enqueue,
    /// Jobs one by one.
    Single,
    /// A backlog, by one worker process.
    Drain,
    /// How soon a job begins.
    Latency,
    /// A batch of many chunks with one sum.
    Batch,
    /// Processes that have nothing to do.
    Idle,
    /// The same backlog, by one, two and four worker processes.
    Scale,
}

impl Row {
    /// All of them, in the order in which they are measured.
    pub const ALL: [Self; 7] =
        [Self::Enqueue, Self::Single, Self::Drain, Self::Latency, Self::Batch, Self::Idle, Self::Scale];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Enqueue => "enqueue",
            Self::Single => "single",
            Self::Drain => "drain",
            Self::Latency => "latency",
            Self::Batch => "batch",
            Self::Idle => "idle",
            Self::Scale => "scale",
        }
    }
}

/// What it is measured on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Setup {
    /// SQLite and the in-process broker.
    Sqlite,
    /// PostgreSQL alone.
    Postgres,
    /// PostgreSQL and RabbitMQ.
    Rabbitmq,
}

impl Setup {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Sqlite, Self::Postgres, Self::Rabbitmq];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
            Self::Rabbitmq => "rabbitmq",
        }
    }
}

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Contestant {
    /// The least that has the same effect, written against the client library of the database and the broker.
    Raw,
    /// Gristmill.
    Gristmill,
    /// The crate `graphile_worker`.
    Peer,
}

impl Contestant {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Raw, Self::Gristmill, Self::Peer];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Gristmill => "gristmill",
            Self::Peer => "peer",
        }
    }
}

/// One number that is measured once a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Jobs a second by `enqueue_many`, committed, and published where there is a broker.
    EnqueueApi,
    /// Jobs a second by `enqueue --jsonl`, the whole process.
    EnqueueCli,
    /// Bytes of PostgreSQL's log for each job of [`Metric::EnqueueApi`].
    EnqueueWal,
    /// Jobs a second by one caller, each committed before the next.
    #[serde(rename = "single_1")]
    Single1,
    /// Jobs a second by 64 callers of one client.
    #[serde(rename = "single_64")]
    Single64,
    /// Jobs a second until the last completion is committed.
    Drain,
    /// Bytes of PostgreSQL's log for each of its jobs.
    DrainWal,
    /// The processor time of the worker for each of its jobs, its start included, in microseconds.
    DrainCpu,
    /// The worker's resident memory right after that, in MB.
    WorkerRss,
    /// Its proportional share of it, in MB.
    WorkerPss,
    /// From the call that enqueues to the start of the handler, in ms, at 200 jobs a second: the median.
    LatencyP50,
    /// The same, 99 of 100.
    LatencyP99,
    /// From the creation of a batch of 100,000 items in 200 chunks to its committed sum, in seconds.
    Batch,
    /// The share of one core that an idle worker takes, in percent.
    WorkerIdle,
    /// The same of an idle scheduler.
    SchedulerIdle,
    /// The resident memory of an idle scheduler, in MB.
    SchedulerRss,
    /// Jobs a second by one worker process, counted from when all worked.
    #[serde(rename = "scale_1")]
    Scale1,
    /// By two.
    #[serde(rename = "scale_2")]
    Scale2,
    /// By four.
    #[serde(rename = "scale_4")]
    Scale4,
}

/// What a metric should reach.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// At least this share of the raw limit, of the same round.
    OfRaw(f64),
    /// At most so much, in the metric's own unit.
    AtMost(f64),
    /// At least this many times another metric of Gristmill, of the same round.
    OfMetric(Metric, f64),
}

impl Metric {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 19] = [
        Self::EnqueueApi,
        Self::EnqueueCli,
        Self::EnqueueWal,
        Self::Single1,
        Self::Single64,
        Self::Drain,
        Self::DrainWal,
        Self::DrainCpu,
        Self::WorkerRss,
        Self::WorkerPss,
        Self::LatencyP50,
        Self::LatencyP99,
        Self::Batch,
        Self::WorkerIdle,
        Self::SchedulerIdle,
        Self::SchedulerRss,
        Self::Scale1,
        Self::Scale2,
        Self::Scale4,
    ];

    /// What the table calls it.
    pub fn title(self) -> &'static str {
        match self {
            Self::EnqueueApi => "enqueue in bulk, client",
            Self::EnqueueCli => "enqueue in bulk, command",
            Self::EnqueueWal => "log of enqueueing in bulk",
            Self::Single1 => "one by one, 1 caller",
            Self::Single64 => "one by one, 64 callers",
            Self::Drain => "drain, 1 worker",
            Self::DrainWal => "log of the drain",
            Self::DrainCpu => "processor time of its worker",
            Self::WorkerRss => "worker after it, RSS",
            Self::WorkerPss => "worker after it, PSS",
            Self::LatencyP50 => "enqueue to start, p50",
            Self::LatencyP99 => "enqueue to start, p99",
            Self::Batch => "100,000 items, 200 chunks",
            Self::WorkerIdle => "worker idle",
            Self::SchedulerIdle => "scheduler idle",
            Self::SchedulerRss => "scheduler idle, RSS",
            Self::Scale1 => "backlog, 1 worker",
            Self::Scale2 => "backlog, 2 workers",
            Self::Scale4 => "backlog, 4 workers",
        }
    }

    /// Its unit.
    pub fn unit(self) -> &'static str {
        match self {
            Self::WorkerRss | Self::WorkerPss | Self::SchedulerRss => "MB",
            Self::EnqueueWal | Self::DrainWal => "B/job",
            Self::DrainCpu => "µs/job",
            Self::LatencyP50 | Self::LatencyP99 => "ms",
            Self::Batch => "s",
            Self::WorkerIdle | Self::SchedulerIdle => "% of a core",
            _ => "jobs/s",
        }
    }

    /// Whether more of it is better.
    pub fn more_is_better(self) -> bool {
        self.unit() == "jobs/s"
    }

    /// The metric that measures the same raw limit or peer, when this one has none of its own.
    pub fn raw(self) -> Self {
        if self == Self::EnqueueCli { Self::EnqueueApi } else { self }
    }

    /// What Gristmill should reach.
    pub fn target(self, setup: Setup) -> Option<Target> {
        let sqlite = setup == Setup::Sqlite;
        Some(match self {
            Self::EnqueueApi | Self::EnqueueCli => Target::OfRaw(match setup {
                Setup::Sqlite => 0.4,
                Setup::Postgres => 0.45,
                Setup::Rabbitmq => 0.8,
            }),
            Self::Single1 => Target::OfRaw(0.7),
            Self::Single64 => Target::OfMetric(Self::Single1, 10.0),
            Self::Drain => Target::OfRaw(if sqlite { 0.5 } else { 0.6 }),
            Self::WorkerRss | Self::SchedulerRss => Target::AtMost(20.0),
            Self::LatencyP50 => Target::AtMost(if sqlite { 1.0 } else { 1.5 }),
            Self::LatencyP99 => Target::AtMost(if sqlite { 3.0 } else { 4.0 }),
            Self::Batch => Target::AtMost(match setup {
                Setup::Sqlite => 0.10,
                Setup::Postgres => 0.15,
                Setup::Rabbitmq => 0.18,
            }),
            Self::WorkerIdle | Self::SchedulerIdle => Target::AtMost(0.25),
            Self::Scale2 | Self::Scale4 => Target::OfMetric(Self::Scale1, 0.9),
            Self::EnqueueWal | Self::DrainWal | Self::DrainCpu | Self::WorkerPss | Self::Scale1 => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_a_name_of_its_own() {
        let names: std::collections::BTreeSet<String> =
            Metric::ALL.iter().map(|metric| serde_json::to_string(metric).expect("a word")).collect();
        assert_eq!(names.len(), Metric::ALL.len());
        assert!(names.contains("\"single_64\"") && names.contains("\"enqueue_api\""));
    }

    #[test]
    fn targets_are_those_of_the_set_up() {
        assert_eq!(Metric::EnqueueApi.target(Setup::Postgres), Some(Target::OfRaw(0.45)));
        assert_eq!(Metric::LatencyP99.target(Setup::Sqlite), Some(Target::AtMost(3.0)));
        assert_eq!(Metric::Single64.target(Setup::Rabbitmq), Some(Target::OfMetric(Metric::Single1, 10.0)));
    }
}
