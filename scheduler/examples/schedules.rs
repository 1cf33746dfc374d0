//! Measures how late ticks start when many fall on one second, and what many schedules cost while none is due.
//!
//! ```text
//! GRISTMILL_TEST_POSTGRES=postgres://… cargo run --release --package gristmill-scheduler --example schedules -- 10000 1000
//! ```
//!
//! The store is a schema of its own in that PostgreSQL, or with the third argument `sqlite` a temporary file.
//! Everything is one process: the lateness is from the tick to the beginning of the transaction that starts its run, by
//! the database's clock; `committed` is when others could see the last of these transactions.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use futures::stream::{self, StreamExt};
use gristmill_broker::Broker;
use gristmill_core::Instant;
use gristmill_core::definition::OneOrMany;
use gristmill_core::id::DEFAULT_TENANT;
use gristmill_core::schedule::{JobSpec, ScheduleSpec};
use gristmill_jobs::RegistryOptions;
use gristmill_jobs::pool::ItemPool;
use gristmill_jobs::process::Processors;
use gristmill_scheduler::{SchedulerOptions, Settings};
use gristmill_service::control::schedule::next_at;
use gristmill_service::dispatcher::Dispatcher;
use gristmill_service::retention::PrunerOptions;
use gristmill_service::start::{ConfigSnapshot, RunContext};
use gristmill_store::testing::TestStore;
use gristmill_store::{SaveSchedule, ScheduleOrigin, StoreHandle, TickFilter};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long the process is observed while nothing is due.
const IDLE: Duration = Duration::from_secs(20);

type Anything = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Anything> {
    let mut args = std::env::args().skip(1);
    let many: usize = args.next().map_or(Ok(10_000), |text| text.parse())?;
    let at_once: usize = args.next().map_or(Ok(1_000), |text| text.parse())?;
    let test = match args.next().as_deref() {
        Some("sqlite") => TestStore::sqlite(false).await,
        _ => TestStore::postgres(false).await,
    };
    let store = test.handle();
    let job = Some(JobSpec { kind: "nothing".to_owned(), ..JobSpec::default() });
    let far = ScheduleSpec { cron: Some("0 0 1 1 *".to_owned()), job: job.clone(), ..ScheduleSpec::default() };
    let now = store.now().await?;
    let made = (0..many - at_once).map(|number| save(&store, format!("far-{number}"), far.clone(), now));
    for saved in stream::iter(made).buffer_unordered(8).collect::<Vec<_>>().await {
        saved?;
    }
    let stop = CancellationToken::new();
    let running = tokio::spawn(gristmill_scheduler::run(options(&store).await?, stop.clone().cancelled_owned()));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = processor_seconds();
    tokio::time::sleep(IDLE).await;
    let idle = (processor_seconds() - before) / IDLE.as_secs_f64() * 100.0;
    let now = store.now().await?;
    let tick = now + TimeDelta::seconds(30);
    let due = ScheduleSpec { at: Some(OneOrMany::One(tick.to_rfc3339())), job, ..ScheduleSpec::default() };
    let made = (0..at_once).map(|number| save(&store, format!("due-{number}"), due.clone(), now));
    for saved in stream::iter(made).buffer_unordered(8).collect::<Vec<_>>().await {
        saved?;
    }
    let committed = committed(&store, tick).await?;
    let late = lateness(&store, at_once).await?;
    stop.cancel();
    running.await??;
    let place = |share: f64| late[((late.len() - 1) as f64 * share) as usize];
    let told = format!(
        "{} schedules in {}; idle {idle:.2} % of a core; {at_once} ticks on one instant started after {} ms (median), {} ms (99 %), {} ms (last), all committed after {committed} ms\n",
        many,
        store.describe(),
        place(0.5),
        place(0.99),
        place(1.0),
    );
    std::io::Write::write_all(&mut std::io::stdout(), told.as_bytes())?;
    Ok(())
}

async fn save(store: &StoreHandle, name: String, spec: ScheduleSpec, now: Instant) -> Result<(), Anything> {
    let next_at = next_at(&name, &spec, now);
    let (tenant, origin) = (DEFAULT_TENANT.to_owned(), ScheduleOrigin::Command);
    store
        .save_schedule(&SaveSchedule {
            tenant,
            name,
            origin,
            spec,
            enabled: true,
            decided_at: now,
            next_at,
            seen: None,
        })
        .await?;
    Ok(())
}

async fn options(store: &StoreHandle) -> Result<SchedulerOptions, Anything> {
    let broker = Broker::connect(&gristmill_broker::Settings::default()).await?;
    let (_, snapshot) = watch::channel(Arc::new(ConfigSnapshot::default()));
    let run_context = RunContext {
        tenant: DEFAULT_TENANT.to_owned(),
        snapshot,
        base_dir: std::env::temp_dir(),
        spool_dir: std::env::temp_dir(),
        spool_bytes_max: gristmill_jobs::source::SPOOL_BYTES_DEFAULT,
        kinds: RegistryOptions { pool: ItemPool::new(1)?, processors: Processors::default() },
        job_defaults: Arc::new(|_| {}),
    };
    let dispatcher = Dispatcher::new(Arc::clone(store), broker, 20_000);
    Ok(SchedulerOptions {
        retention: PrunerOptions::default(),
        audit: Default::default(),
        store: Arc::clone(store),
        dispatcher,
        settings: Settings::default(),
        schedules: Some(run_context),
    })
}

/// How many milliseconds after its instant no tick of that instant is undecided any more.
async fn committed(store: &StoreHandle, tick: Instant) -> Result<i64, Anything> {
    loop {
        let now = store.now().await?;
        if now >= tick && store.due_schedules(tick, 1).await?.is_empty() {
            return Ok((now - tick).num_milliseconds());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// How late each tick started, in milliseconds, in order. Waits until all have.
async fn lateness(store: &StoreHandle, at_once: usize) -> Result<Vec<i64>, Anything> {
    let mut late = Vec::new();
    for number in 0..at_once {
        let schedule = format!("due-{number}");
        let filter = TickFilter { tenant: DEFAULT_TENANT.to_owned(), schedule, from: None, until: None, limit: 1 };
        loop {
            if let Some(row) = store.ticks(&filter).await?.first() {
                let started = row.started_at.ok_or("a tick did not run")?;
                late.push((started - row.tick).num_milliseconds());
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
    late.sort_unstable();
    Ok(late)
}

/// Seconds of CPU time that this process has used, from `/proc`; 0 where there is none.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = stat.rsplit(')').next().unwrap_or_default();
    let ticks: f64 = after.split_whitespace().skip(11).take(2).filter_map(|text| text.parse::<f64>().ok()).sum();
    ticks / 100.0
}
