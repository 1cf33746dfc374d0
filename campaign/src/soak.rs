//! L7: a long backlog, a worker killed every five seconds, and a consumer at one hundredth of its speed.

use std::fs;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;

use crate::actor::Program;
use crate::env::TestEnv;
use crate::fleet::Servers;
use crate::oracle::depths;

/// Workers of which one is killed at a time.
const WORKERS: usize = 3;

/// Between two kills.
const KILL_EVERY: Duration = Duration::from_secs(5);

/// The slow one runs for so long, and stands still for ninety-nine times as long.
const SLOW_RUNS: Duration = Duration::from_millis(10);

/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);

/// The most published and unclaimed messages in a queue.
const WINDOW: i64 = 5_000;

/// The most memory that any process may have had, in MiB.
const MEMORY_MIB_MAX: u64 = 150;

/// When nothing has ended for so long it hangs.
const PATIENCE: Duration = Duration::from_secs(300);

struct Watch {
    jobs: i64,
    deepest: i64,
    /// By role: the most memory that any process had by when a fifth was done, and at the end, in KiB.
    early: [u64; 2],
    late: [u64; 2],
    kills: u64,
}

/// Works off a backlog of so many jobs.
///
/// # Errors
///
/// What must not be.
pub async fn soak(servers: &Servers, binary: &Path, jobs: u64) -> Result<String, String> {
    let began = Instant::now();
    let env = TestEnv::new(servers, 1, 0).await;
    let settings = [
        ("STORE_URL", env.store_url()),
        ("BROKER_URL", env.broker_url()),
        ("BROKER_NAMESPACE", env.namespace.clone()),
        ("BROKER_WINDOW", WINDOW.to_string()),
        ("WORKER_LEASE", "6s".to_owned()),
        ("WORKER_BEAT", "1s".to_owned()),
        ("LOG_LEVEL", "warn".to_owned()),
    ];
    let program = Program::of(binary, env.folder.path(), settings);
    write_jobs(&env.file("jobs.jsonl"), jobs).map_err(|error| error.to_string())?;
    program.insist(&["enqueue", "--jsonl", "jobs.jsonl"]).await?;
    let enqueued = began.elapsed();
    let jobs = i64::try_from(jobs).unwrap_or(i64::MAX);
    let mut watch = Watch { jobs, deepest: 0, early: [0; 2], late: [0; 2], kills: 0 };
    let mut scheduler = start(&program, "scheduler", "scheduler");
    // The backlog fills the window before anybody works.
    filled(&env, &mut watch).await?;
    let mut workers: Vec<Child> = (0..WORKERS).map(|number| start(&program, "worker", &format!("w{number}"))).collect();
    let slow = start(&program, "worker", "slow");
    let crawl = tokio::spawn(crawl(slow.id()));
    let worked = work_off(&env, &program, &mut watch, &scheduler, &mut workers).await;
    crawl.abort();
    wake(slow.id());
    let took = began.elapsed() - enqueued;
    worked?;
    for child in workers.iter_mut().chain([&mut scheduler]) {
        // Their work is done.
        let _ = child.kill().await;
    }
    drop(slow);
    judge(&env, &watch).await?;
    let mib = |kib: [u64; 2]| format!("scheduler {} MiB, worker {} MiB", kib[0] / 1024, kib[1] / 1024);
    let said = format!(
        "{jobs} jobs, 0 lost, {} workers killed, one at 1 % of its speed; {:.0} s to enqueue, {:.0} s to work off ({:.0} \
         jobs/s); at most {} messages in a queue (window {WINDOW}); most memory by a fifth of the way: {}; in all: {}",
        watch.kills,
        enqueued.as_secs_f64(),
        took.as_secs_f64(),
        jobs as f64 / took.as_secs_f64(),
        watch.deepest,
        mib(watch.early),
        mib(watch.late),
    );
    env.clear().await;
    Ok(said)
}

fn write_jobs(path: &Path, jobs: u64) -> std::io::Result<()> {
    let mut file = BufWriter::new(fs::File::create(path)?);
    for number in 0..jobs {
        let key = format!("grain-{number}");
        writeln!(
            file,
            r#"{{"kind":"grain","max_attempts":50,"idempotency_key":"{key}","payload":{{"number":{number}}}}}"#
        )?;
    }
    file.flush()
}

fn start(program: &Program, role: &str, log: &str) -> Child {
    program.command(&[role], None, &format!("{log}.log")).spawn().expect("the program starts")
}

async fn filled(env: &TestEnv, watch: &mut Watch) -> Result<(), String> {
    let (began, wanted) = (Instant::now(), WINDOW.min(watch.jobs) / 2);
    while watch.deepest < wanted {
        look(env, watch).await?;
        if began.elapsed() > PATIENCE {
            return Err(format!("the window does not fill: {} messages", watch.deepest));
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

async fn look(env: &TestEnv, watch: &mut Watch) -> Result<(), String> {
    let depths = depths(env).await.map_err(|error| error.to_string())?;
    // What is on all priorities of a queue together counts.
    let deep: i64 = depths.iter().filter(|(name, _)| name.contains(".default.")).map(|(_, depth)| depth).sum();
    watch.deepest = watch.deepest.max(deep);
    if deep > WINDOW { Err(format!("{deep} messages are in the queue, the window is {WINDOW}")) } else { Ok(()) }
}

async fn work_off(
    env: &TestEnv,
    program: &Program,
    watch: &mut Watch,
    scheduler: &Child,
    workers: &mut [Child],
) -> Result<(), String> {
    let (mut last, mut moved, mut killed, mut turn) = (-1, Instant::now(), Instant::now(), 0);
    loop {
        let done = done(env).await?;
        if done != last {
            (last, moved) = (done, Instant::now());
        }
        measure(watch, done, scheduler, workers);
        if done >= watch.jobs {
            return Ok(());
        }
        if moved.elapsed() > PATIENCE {
            return Err(format!("it hangs with {done} of {} jobs done", watch.jobs));
        }
        look(env, watch).await?;
        if killed.elapsed() >= KILL_EVERY {
            killed = Instant::now();
            workers[turn].kill().await.map_err(|error| error.to_string())?;
            workers[turn] = start(program, "worker", &format!("w{turn}"));
            (turn, watch.kills) = ((turn + 1) % workers.len(), watch.kills + 1);
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn done(env: &TestEnv) -> Result<i64, String> {
    let query = "SELECT COALESCE(sum(jobs), 0)::bigint FROM queue_count WHERE state IN ('done', 'dead', 'cancelled')";
    sqlx::query_scalar(query).fetch_one(&env.pool).await.map_err(|error| error.to_string())
}

fn measure(watch: &mut Watch, done: i64, scheduler: &Child, workers: &[Child]) {
    let of = |child: &Child| child.id().map_or(0, peak_kib);
    let now = [of(scheduler), workers.iter().map(of).max().unwrap_or(0)];
    for (role, kib) in now.into_iter().enumerate() {
        watch.late[role] = watch.late[role].max(kib);
        if done <= watch.jobs / 5 {
            watch.early[role] = watch.early[role].max(kib);
        }
    }
}

/// The most memory that a process has had so far, as Linux counts it.
fn peak_kib(id: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix("kB")?.trim().parse().ok());
    line.unwrap_or(0)
}

/// Lets a process run for a hundredth of the time.
async fn crawl(id: Option<u32>) {
    loop {
        tell(id, Signal::CONT);
        tokio::time::sleep(SLOW_RUNS).await;
        tell(id, Signal::STOP);
        tokio::time::sleep(SLOW_RUNS * 99).await;
    }
}

fn wake(id: Option<u32>) {
    tell(id, Signal::CONT);
}

fn tell(id: Option<u32>, signal: Signal) {
    if let Some(pid) = id.and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)) {
        // One that has ended needs none.
        let _ = kill_process(pid, signal);
    }
}

async fn judge(env: &TestEnv, watch: &Watch) -> Result<(), String> {
    let states: Vec<(String, i64)> = sqlx::query_as("SELECT state, count(*) FROM job WHERE kind = 'grain' GROUP BY 1")
        .fetch_all(&env.pool)
        .await
        .map_err(|error| error.to_string())?;
    if states != [("done".to_owned(), watch.jobs)] {
        return Err(format!("of {} jobs: {states:?}", watch.jobs));
    }
    if let Some(most) = watch.late.iter().find(|kib| **kib / 1024 > MEMORY_MIB_MAX) {
        return Err(format!("a process had {} MiB, {MEMORY_MIB_MAX} are allowed", most / 1024));
    }
    // Flat: what it had after a fifth of the way is, within a half, what it has at the end.
    for (early, late) in watch.early.iter().zip(watch.late) {
        if late > early + early / 2 {
            return Err(format!("memory grows: {} MiB after a fifth, {} MiB at the end", early / 1024, late / 1024));
        }
    }
    Ok(())
}
