//! How long it takes to get over something, on real servers, with the settings that everybody has: `make recovery`.
//!
//! * A worker dies: until its job is claimed by another one. The lease is 15 s, and rescue looks each second.
//! * The broker was away: from its return until what waited is on its queue.
//! * Messages are lost: from their loss until their job's message is on its queue again.

use std::path::Path;
use std::time::{Duration, Instant};

use futures::future::join_all;
use lapin::options::{QueueDeclareOptions, QueuePurgeOptions};
use tokio::process::Child;

use crate::actor::Program;
use crate::env::TestEnv;
use crate::fleet::Servers;
use crate::run::PATIENCE;
use gristmill_testkit::Random;
use gristmill_testkit::proxy::{Break, Way};

/// Places at which each of the three is measured at once: they mostly wait.
const PLACES: u64 = 5;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// What must be kept.
const LIMITS: [(&str, Duration); 3] = [
    ("a worker's death to the next claim", Duration::from_secs(17)),
    ("the broker's return to the first message", Duration::from_secs(5)),
    ("the loss of messages to their return", Duration::from_secs(40)),
];

type Times = Result<Vec<Duration>, String>;

/// Measures each of the three so many times.
///
/// # Errors
///
/// What took too long, or did not happen at all.
pub async fn measure(servers: &Servers, binary: &Path, times: u64, seed: u64) -> Result<String, String> {
    let rounds = times.div_ceil(PLACES);
    let places = |number: u64| (0..PLACES).map(move |place| seed + 100 * number + place);
    let (deaths, returns, losses) = tokio::join!(
        join_all(places(0).map(|seed| deaths(servers, binary, rounds, seed))),
        join_all(places(1).map(|seed| returns(servers, binary, rounds, seed))),
        join_all(places(2).map(|seed| losses(servers, binary, rounds, seed))),
    );
    let mut said = Vec::new();
    let mut late = false;
    for ((what, limit), measured) in LIMITS.iter().zip([deaths, returns, losses]) {
        let mut all: Vec<Duration> = measured.into_iter().collect::<Result<Vec<_>, _>>()?.concat();
        all.sort_unstable();
        let (half, most) = (all[all.len() / 2], all[all.len() - 1]);
        late |= most > *limit;
        said.push(format!(
            "{what}: {} times, half within {:.1} s, all within {:.1} s (limit {} s)",
            all.len(),
            half.as_secs_f64(),
            most.as_secs_f64(),
            limit.as_secs()
        ));
    }
    if late { Err(said.join("; ")) } else { Ok(said.join("; ")) }
}

/// One place, with its processes.
struct Place {
    env: TestEnv,
    program: Program,
    random: Random,
}

impl Place {
    async fn new(servers: &Servers, binary: &Path, seed: u64) -> Self {
        let env = TestEnv::new(servers, seed, 0).await;
        let settings = [
            ("STORE_URL", env.store_url()),
            ("BROKER_URL", env.broker_url()),
            ("BROKER_NAMESPACE", env.namespace.clone()),
            ("STORE_CONNECTIONS", "2".to_owned()),
            ("LOG_LEVEL", "info".to_owned()),
        ];
        let program = Program::of(binary, env.folder.path(), settings);
        Self { env, program, random: Random::new(seed) }
    }

    fn start(&self, role: &str) -> Child {
        self.program.command(&[role], None, &format!("{role}.log")).spawn().expect("the program starts")
    }

    /// A job that runs for longer than this takes.
    async fn enqueue(&self) -> Result<(), String> {
        let payload = r#"{"command":["sleep","3600"]}"#;
        self.program.insist(&["enqueue", "exec", "--payload", payload]).await
    }

    async fn count(&self, query: &'static str) -> i64 {
        sqlx::query_scalar(query).fetch_one(&self.env.pool).await.unwrap_or(-1)
    }

    /// Waits until a count is reached, and says how long that took.
    async fn until(&self, query: &'static str, wanted: i64) -> Result<Duration, String> {
        let began = Instant::now();
        while self.count(query).await < wanted {
            patient(began, query)?;
            tokio::time::sleep(LOOK).await;
        }
        Ok(began.elapsed())
    }

    async fn pause(&mut self, from_ms: u64, to_ms: u64) {
        tokio::time::sleep(Duration::from_millis(self.random.between(from_ms, to_ms))).await;
    }
}

fn patient(began: Instant, what: &str) -> Result<(), String> {
    if began.elapsed() > PATIENCE { Err(format!("it does not happen: {what}")) } else { Ok(()) }
}

const WORKERS: &str = "SELECT count(*) FROM worker WHERE role = 'worker'";
const ATTEMPT: &str = "SELECT COALESCE(max(attempt), 0)::bigint FROM job WHERE state = 'running'";

/// Kills whoever has the job, again and again; the other one must get it.
async fn deaths(servers: &Servers, binary: &Path, rounds: u64, seed: u64) -> Times {
    let mut place = Place::new(servers, binary, seed).await;
    let _scheduler = place.start("scheduler");
    let mut worker = place.start("worker");
    place.until(WORKERS, 1).await?;
    std::fs::write(place.env.file("config.toml"), "[kind.exec]\nmax_attempts = 100\n").expect("a writable folder");
    place.enqueue().await?;
    let (mut times, mut workers) = (Vec::new(), 1);
    for round in 1..=i64::try_from(rounds).unwrap_or(i64::MAX) {
        place.until(ATTEMPT, round).await?;
        let heir = place.start("worker");
        workers += 1;
        place.until(WORKERS, workers).await?;
        // Anywhere between two of its beats.
        place.pause(1_000, 4_000).await;
        worker.kill().await.map_err(|error| error.to_string())?;
        times.push(place.until(ATTEMPT, round + 1).await?);
        worker = heir;
    }
    Ok(times)
}

/// A connection that no fault touches, and how many messages wait.
struct Priority {
    channel: lapin::Channel,
    name: String,
    _connection: lapin::Connection,
}

impl Priority {
    async fn of(env: &TestEnv) -> Result<Self, String> {
        let broken = |error: lapin::Error| error.to_string();
        let properties = lapin::ConnectionProperties::default();
        let connection = lapin::Connection::connect(&env.servers.amqp, properties).await.map_err(broken)?;
        let channel = connection.create_channel().await.map_err(broken)?;
        Ok(Self { channel, name: env.priority("default", "normal"), _connection: connection })
    }

    /// Waits until so many are there, and says how long that took.
    async fn until(&self, wanted: u32) -> Result<Duration, String> {
        let began = Instant::now();
        loop {
            let passive = QueueDeclareOptions::durable().passive();
            let asked = self.channel.queue_declare(self.name.as_str().into(), passive, Default::default()).await;
            if asked.map_err(|error| error.to_string())?.message_count() >= wanted {
                return Ok(began.elapsed());
            }
            patient(began, "a message on its queue")?;
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// A place with a scheduler and one job whose message waits.
async fn waiting(servers: &Servers, binary: &Path, seed: u64) -> Result<(Place, Priority, Child), String> {
    let place = Place::new(servers, binary, seed).await;
    let scheduler = place.start("scheduler");
    place.until("SELECT count(*) FROM worker", 1).await?;
    place.enqueue().await?;
    place.until("SELECT (count(*) = 0)::int::bigint FROM outbox", 1).await?;
    let priority = Priority::of(&place.env).await?;
    priority.until(1).await?;
    Ok((place, priority, scheduler))
}

/// The broker is away for a while, in which a job comes.
async fn returns(servers: &Servers, binary: &Path, rounds: u64, seed: u64) -> Times {
    let (mut place, priority, _scheduler) = waiting(servers, binary, seed).await?;
    let mut times = Vec::new();
    for round in 1..=u32::try_from(rounds).unwrap_or(u32::MAX) {
        place.env.amqp.set(Way::Shut);
        place.env.amqp.cut(Break::Reset);
        place.enqueue().await?;
        place.pause(1_000, 30_000).await;
        place.env.amqp.set(Way::Open);
        times.push(priority.until(round + 1).await?);
    }
    Ok(times)
}

/// All messages are gone.
async fn losses(servers: &Servers, binary: &Path, rounds: u64, seed: u64) -> Times {
    let (mut place, priority, _scheduler) = waiting(servers, binary, seed).await?;
    let mut times = Vec::new();
    for _ in 0..rounds {
        place.pause(0, 5_000).await;
        let purged = priority.channel.queue_purge(priority.name.as_str().into(), QueuePurgeOptions::default()).await;
        purged.map_err(|error| error.to_string())?;
        times.push(priority.until(1).await?);
    }
    Ok(times)
}
