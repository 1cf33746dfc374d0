//! The peer's program: `gristmill-bench-peer URL VERB …`, where VERB is
//!
//! * `migrate`: makes its tables.
//! * `many FIRST JOBS _`: enqueues so many jobs in groups of 1,000, numbered from FIRST.
//! * `singly FIRST JOBS CALLERS`: one by one, by so many callers.
//! * `steadily FIRST JOBS RATE`: one by one, so many a second.
//! * `work`: works until SIGTERM, with the settings for throughput that its manual names: a local queue of 500 and
//!   completions in groups.
//!
//! All but `work` print the seconds that it took, the first connection included.

use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use graphile_worker::tokio_postgres::TokioPostgresDatabase;
use graphile_worker::{
    Database, IntoTaskHandlerResult, JobSpec, LocalQueueConfig, RawJobSpec, TaskHandler, WorkerContext, WorkerOptions,
    WorkerUtils,
};
use gristmill_bench::note::{Note, RECORDS};
use gristmill_bench::record::{Record, Records};
use serde::{Deserialize, Serialize};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// The schema of its tables.
const SCHEMA: &str = "graphile_worker";

/// The most connections: its default.
const CONNECTIONS: usize = 20;

/// The same job as Gristmill's.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
struct PeerNote(Note);

/// The file of this process.
fn records() -> std::result::Result<&'static Records, String> {
    static FILE: OnceLock<Option<Records>> = OnceLock::new();
    let open = || Records::append_to(&PathBuf::from(std::env::var_os(RECORDS)?)).ok();
    FILE.get_or_init(open).as_ref().ok_or_else(|| format!("{RECORDS} names no file to write"))
}

impl TaskHandler for PeerNote {
    const IDENTIFIER: &'static str = "note";

    async fn run(self, _context: WorkerContext) -> impl IntoTaskHandlerResult {
        let Self(note) = self;
        records()?.write(Record::begun(note.number, note.enqueued_at)).map_err(|error| error.to_string())
    }
}

async fn work(database: Database) -> Result<()> {
    let worker = WorkerOptions::default()
        .database(database)
        .schema(SCHEMA)
        .concurrency(256)
        .local_queue(LocalQueueConfig::default().with_size(500))
        .complete_job_batch_delay(Duration::from_millis(5))
        .fail_job_batch_delay(Duration::from_millis(5))
        .define_job::<PeerNote>()
        .init()
        .await?;
    // It handles SIGTERM by itself.
    Ok(worker.run().await?)
}

async fn many(utils: &WorkerUtils, first: u32, jobs: u32) -> Result<()> {
    let numbers: Vec<u32> = (first..first + jobs).collect();
    for group in numbers.chunks(1_000) {
        let jobs = group.iter().map(|number| {
            let payload = serde_json::to_value(Note::now(*number))?;
            Ok(RawJobSpec { identifier: PeerNote::IDENTIFIER.to_owned(), payload, spec: JobSpec::default() })
        });
        utils.add_raw_jobs(&jobs.collect::<Result<Vec<_>>>()?).await?;
    }
    Ok(())
}

async fn singly(utils: Arc<WorkerUtils>, first: u32, jobs: u32, callers: u32) -> Result<()> {
    let mut under_way = tokio::task::JoinSet::new();
    for caller in 0..callers {
        let utils = Arc::clone(&utils);
        under_way.spawn(async move {
            for number in (first..first + jobs).filter(|number| number % callers == caller) {
                utils.add_job(PeerNote(Note::now(number)), JobSpec::default()).await?;
            }
            Ok::<_, Box<dyn Error + Send + Sync>>(())
        });
    }
    while let Some(ended) = under_way.join_next().await {
        ended??;
    }
    Ok(())
}

async fn steadily(utils: Arc<WorkerUtils>, first: u32, jobs: u32, a_second: u32) -> Result<()> {
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / a_second);
    let mut under_way = tokio::task::JoinSet::new();
    for number in first..first + jobs {
        ticks.tick().await;
        let (utils, note) = (Arc::clone(&utils), PeerNote(Note::now(number)));
        under_way.spawn(async move { utils.add_job(note, JobSpec::default()).await.map(drop) });
    }
    while let Some(ended) = under_way.join_next().await {
        ended??;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, verb, rest @ ..] = arguments.as_slice() else {
        return Err("usage: gristmill-bench-peer URL migrate|many|singly|steadily|work …".into());
    };
    let numbers = rest.iter().map(|number| number.parse()).collect::<std::result::Result<Vec<u32>, _>>()?;
    let database = Database::from(TokioPostgresDatabase::from_url(url, CONNECTIONS)?);
    let utils = Arc::new(WorkerUtils::new(database.clone(), SCHEMA));
    let begin = Instant::now();
    match (verb.as_str(), numbers.as_slice()) {
        ("work", _) => return work(database).await,
        ("migrate", _) => utils.migrate().await?,
        ("many", [first, jobs, _]) => many(&utils, *first, *jobs).await?,
        ("singly", [first, jobs, callers]) => singly(utils, *first, *jobs, *callers).await?,
        ("steadily", [first, jobs, rate]) => steadily(utils, *first, *jobs, *rate).await?,
        _ => return Err(format!("there is no {verb} with {} numbers", numbers.len()).into()),
    }
    writeln!(std::io::stdout().lock(), "{}", begin.elapsed().as_secs_f64())?;
    Ok(())
}
