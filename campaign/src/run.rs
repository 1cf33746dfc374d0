//! One schedule, from its beginning to the oracle's verdict.

use std::collections::{BTreeMap, VecDeque};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;
use sqlx::Row;
use tokio::task::JoinSet;

use crate::actor::{Actors, Program};
use crate::env::{QUEUES, TestEnv};
use crate::filed::{self, Filed};
use crate::fleet::Servers;
use crate::input::Input;
use crate::oracle;
use crate::plan::{BatchPlan, Crash, Fault, JOB_MODES, Plan, REASON, Role, Server};
use gristmill_testkit::Random;
use gristmill_testkit::proxy::{Break, Way};

/// After so long without rest a schedule hangs. Generous: it says nothing about speed.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// Between two looks.
const BREATH: Duration = Duration::from_millis(60);

/// How long faults go on at least.
const FAULTS_AT_LEAST: Duration = Duration::from_millis(1_600);

/// Before this a schedule has hardly begun, and that nothing is left to do says nothing.
const FIRST_REST: Duration = Duration::from_secs(4);

/// How long is waited at most for what the seed is about.
const LAST_DEED: Duration = Duration::from_secs(10);

/// What came of a schedule.
#[derive(Debug)]
pub struct Outcome {
    /// Which.
    pub seed: u64,
    /// Nothing, or what must not be.
    pub violation: Option<String>,
    /// The failpoints at which a process killed or stalled itself.
    pub deeds: Vec<String>,
    /// The failpoints that were passed at all.
    pub passed: Vec<String>,
    /// Processes that died by SIGKILL.
    pub killed: u64,
    /// Processes stalled past their lease.
    pub stalled: u64,
    /// Attempts written down after their job had been taken away: all refused.
    pub fenced: u64,
    /// How long it took.
    pub took: Duration,
    /// Where its files are, when it failed.
    pub folder: Option<PathBuf>,
}

/// Runs the schedule of a seed.
///
/// # Panics
///
/// When the servers or the file system do not do what they must: then nothing is known.
pub async fn schedule(servers: &Servers, binary: &Path, seed: u64) -> Outcome {
    let began = Instant::now();
    let plan = Plan::new(seed);
    let calm = servers.calm.read().await;
    let env = TestEnv::new(servers, seed, plan.bad_mail).await;
    let inputs = prepare(&env, &plan).await;
    drop(calm);
    let program = Program::new(binary, &env);
    let mut actors = Actors::start(&program, &plan);
    let verdict = play(&env, &plan, &program, &mut actors, &inputs).await;
    let (deeds, passed) = points(&env);
    let mut outcome = Outcome {
        seed,
        violation: verdict.err(),
        deeds,
        passed,
        killed: actors.killed,
        stalled: actors.stalled,
        fenced: fenced(&env),
        took: began.elapsed(),
        folder: None,
    };
    drop(actors);
    if outcome.violation.is_some() {
        let TestEnv { folder, .. } = env;
        outcome.folder = Some(folder.keep());
    } else {
        let _calm = servers.calm.read().await;
        env.clear().await;
    }
    outcome
}

async fn play(
    env: &TestEnv,
    plan: &Plan,
    program: &Program,
    actors: &mut Actors,
    inputs: &[Input],
) -> Result<(), String> {
    on_duty(env, plan, actors).await?;
    let mut clients = JoinSet::new();
    for (number, _) in plan.batches.iter().enumerate() {
        clients.spawn(run_batch(program.clone(), env.pool.clone(), number, crashes(plan, Role::Run, number)));
    }
    clients.spawn(enqueue(program.clone(), crashes(plan, Role::Enqueue, 0)));
    let files: Vec<Filed> = filed::files(plan.seed, plan.files);
    clients.spawn(filed::deliver(env.folder.path().to_owned(), files.clone()));
    disturb(env, plan, program, actors, &mut clients).await;
    env.postgres.heal();
    env.amqp.heal();
    env.smtp.heal();
    actors.calm().await;
    let clients = async {
        while let Some(ended) = clients.join_next().await {
            ended.map_err(|error| format!("a client: {error}"))??;
        }
        for queue in QUEUES {
            program.insist(&["queue", "resume", queue]).await?;
        }
        resume_batches(env, program).await
    };
    tended(actors, clients).await?;
    // What was taken and not acknowledged when they stopped is on its queue again: whoever comes next drains it.
    for _ in 0..3 {
        rest(env, program, actors).await?;
        actors.stop(env.servers.struck).await?;
        if unfinished(env).await.is_ok_and(|left| left.is_empty()) {
            break;
        }
        actors.again();
    }
    let _calm = env.servers.calm.read().await;
    oracle::judge(env, plan, inputs).await?;
    filed::judge(env, &files).await.map_err(|wrong| format!("the watched folder: {wrong}"))
}

/// Waits until the processes have entered the store: what goes wrong before they work shows little.
async fn on_duty(env: &TestEnv, plan: &Plan, actors: &mut Actors) -> Result<(), String> {
    let (began, wanted) = (Instant::now(), (plan.workers + plan.schedulers) as i64);
    while began.elapsed() < PATIENCE {
        let there = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM worker").fetch_one(&env.pool).await;
        if there.is_ok_and(|there| there >= wanted) {
            return Ok(());
        }
        actors.tend();
        tokio::time::sleep(BREATH).await;
    }
    Err("the processes do not enter the store".to_owned())
}

/// Waits for something while the processes are looked after.
async fn tended<T>(actors: &mut Actors, work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    tokio::pin!(work);
    let began = Instant::now();
    loop {
        tokio::select! {
            done = &mut work => return done,
            () = tokio::time::sleep(BREATH) => actors.tend(),
        }
        if began.elapsed() > PATIENCE {
            return Err("the clients hang".to_owned());
        }
    }
}

fn crashes(plan: &Plan, role: Role, number: usize) -> Vec<Crash> {
    // Commands of the first client only: the others come through at once.
    let own = plan.crashes.iter().filter(|(who, _)| *who == role && number == 0);
    own.map(|(_, failpoint)| failpoint.clone()).collect()
}

/// Writes what the schedule needs into its folder and its database.
async fn prepare(env: &TestEnv, plan: &Plan) -> Vec<Input> {
    let mut random = Random::new(plan.seed ^ 0x1234_5678);
    let (mut inputs, mut config) = (Vec::new(), String::new());
    for (number, batch) in plan.batches.iter().enumerate() {
        let input = Input::new(batch.rows, batch.culprits, &mut random);
        std::fs::write(env.file(&format!("input-{number}.csv")), &input.text).expect("a writable folder");
        config.push_str(&definition(number, batch, env.service.port));
        if batch.into_table {
            let table = table(number, batch, &input);
            sqlx::query(sqlx::AssertSqlSafe(table)).execute(&env.pool).await.expect("a table");
        }
        inputs.push(input);
    }
    config.push_str(&mail(env.smtp.port, 60));
    if plan.files > 0 {
        config.push_str(filed::DEFINITION);
    }
    std::fs::create_dir(env.file("inbox")).expect("a writable folder");
    for (name, text) in [("config.toml", config), ("job.sh", JOB.to_owned()), ("items.sh", ITEMS.to_owned())] {
        std::fs::write(env.file(name), text).expect("a writable folder");
    }
    std::fs::write(env.file("jobs.jsonl"), lines(plan)).expect("a writable folder");
    inputs
}

/// The user's own table. What neither a program nor a service has refused, it refuses.
fn table(number: usize, batch: &BatchPlan, input: &Input) -> String {
    let culprits: Vec<String> = input.culprits.iter().map(ToString::to_string).collect();
    let check = match culprits.is_empty() || batch.through_program || batch.through_service {
        true => String::new(),
        false => format!(" CHECK (id NOT IN ({}))", culprits.join(", ")),
    };
    format!("CREATE TABLE effect_{number} (id bigint{check}, amount numeric)")
}

/// What a plain job runs: it says that it has run, and does what its mode says.
const JOB: &str = r#"echo "$GRISTMILL_JOB_ID $GRISTMILL_ATTEMPT" >>runs.log
case $1 in
    flaky) [ "$GRISTMILL_ATTEMPT" -gt 1 ] || exit 1 ;;
    fail) exit 1 ;;
    permanent) exit 65 ;;
    slow) sleep 0.4 ;;
esac
"#;

/// What items go through: it answers each with itself, and dies after a while, and at each culprit.
const ITEMS: &str = r#"left=$(($$ % 150 + 30))
while IFS= read -r line; do
    left=$((left - 1))
    [ "$left" -gt 0 ] || exit 1
    case "$line" in *culprit*) exit 1 ;; esac
    printf '%s\n' "{\"ok\":${line#*\"item\":}"
done
"#;

/// Where mail goes, and how often it and plain jobs are tried.
pub(crate) fn mail(port: u16, attempts: u64) -> String {
    format!(
        "[mail]\nurl = \"smtp://127.0.0.1:{port}\"\nstarttls = \"never\"\nfrom = \"mill@example.com\"\ntimeout = \"5s\"\n\
         [kind.email]\nqueue = \"mail\"\nretry = {{ fixed = \"100ms\" }}\nmax_attempts = {attempts}\n\
         [kind.exec]\nretry = {{ fixed = \"100ms\" }}\nmax_attempts = {attempts}\n"
    )
}

/// A batch's definition in the configuration.
pub(crate) fn definition(number: usize, batch: &BatchPlan, service: u16) -> String {
    let process = if batch.through_program {
        "process = { exec = { command = [\"sh\", \"items.sh\"] } }\n".to_owned()
    } else if batch.through_service {
        format!("process = {{ http = {{ url = \"http://127.0.0.1:{service}/items\", timeout = \"5s\" }} }}\n")
    } else {
        String::new()
    };
    let output = match batch.into_table {
        true => format!("sql = {{ table = \"effect_{number}\", columns = [\"id\", \"amount\"] }}"),
        false => format!("jsonl = \"out-{number}\""),
    };
    format!(
        "[batch.work-{number}]\nsource = {{ csv = \"input-{number}.csv\" }}\nchunk = {}\nmax_attempts = {}\n\
         tolerate = \"100%\"\nretry = {{ fixed = \"100ms\" }}\n\
         parse = {{ id = \"integer\", amount = {{ type = \"decimal\", above = \"0\" }} }}\n{process}\
         format = {{ fields = [\"id\", \"amount\"] }}\noutput = {{ {output} }}\n\
         aggregate = {{ rows = \"count\", total = {{ sum = \"amount\" }} }}\n\
         on.settled = [{{ email = {{ to = \"batch-{number}@example.com\" }} }}]\n",
        batch.chunk, batch.max_attempts
    )
}

fn lines(plan: &Plan) -> String {
    let mut lines = String::new();
    for (mode, count) in JOB_MODES.iter().zip(&plan.jobs) {
        for number in 0..*count {
            let max_attempts = if *mode == "fail" { 3 } else { 60 };
            let payload = json!({ "command": ["sh", "job.sh", mode] });
            let key = format!("{mode}-{number}");
            let line =
                json!({ "kind": "exec", "idempotency_key": key, "max_attempts": max_attempts, "payload": payload });
            lines.push_str(&format!("{line}\n"));
        }
    }
    for number in 0..plan.emails {
        let payload = json!({ "to": format!("mail-{number}@example.com"), "subject": "campaign", "text": "hello" });
        lines.push_str(&format!(
            "{}\n",
            json!({ "kind": "email", "idempotency_key": format!("mail-{number}"), "payload": payload })
        ));
    }
    lines
}

/// Enqueues the plain jobs, again and again with the same keys until it is confirmed.
async fn enqueue(program: Program, crashes: Vec<Crash>) -> Result<(), String> {
    let arguments = ["enqueue", "--jsonl", "jobs.jsonl"];
    for failpoint in &crashes {
        // Until it has crashed there, or has come through without.
        while let status = program.run(&arguments, Some(failpoint)).await
            && status.signal().is_none()
            && !status.success()
        {}
    }
    program.insist(&arguments).await
}

/// Starts a batch as a careful client does: the same key until it is confirmed, another one only when the batch of
/// the first was taken back.
async fn run_batch(program: Program, pool: sqlx::PgPool, number: usize, crashes: Vec<Crash>) -> Result<(), String> {
    let (began, name, mut crashes) = (Instant::now(), format!("work-{number}"), VecDeque::from(crashes));
    let mut round = 0;
    while began.elapsed() < PATIENCE {
        let key = format!("{name}-{round}");
        let status = program.run(&["batch", "run", &name, "--idempotency-key", &key], crashes.front()).await;
        if status.signal().is_some() {
            crashes.pop_front();
        }
        match settled_start(&pool, &key).await? {
            Some((state, reason)) if state == "cancelled" && reason != REASON => round += 1,
            Some(_) if status.success() => return Ok(()),
            Some(_) | None => {}
        }
    }
    Err(format!("the batch {name} could not be started"))
}

/// The state and reason of a key's batch once no planner can be at it any more: its command has ended, so that one
/// which is still open is nobody's, and its time is made to pass.
async fn settled_start(pool: &sqlx::PgPool, key: &str) -> Result<Option<(String, String)>, String> {
    let began = Instant::now();
    loop {
        let found = sqlx::query("SELECT state, COALESCE(reason, '') FROM batch WHERE idempotency_key = $1")
            .bind(key)
            .fetch_optional(pool)
            .await;
        match found.map(|row| row.map(|row| (row.get::<String, _>(0), row.get::<String, _>(1)))) {
            Ok(None) => return Ok(None),
            Ok(Some((state, reason))) if state != "open" => return Ok(Some((state, reason))),
            // A database that is away is asked again, and so is one whose planner has just died.
            Ok(Some(_)) | Err(_) => {}
        }
        let old =
            "UPDATE batch SET planned_at = now() - interval '11 minutes' WHERE idempotency_key = $1 AND state = 'open'";
        let _ = sqlx::query(old).bind(key).execute(pool).await;
        if began.elapsed() > PATIENCE {
            return Err(format!("the batch {key} of a planner that died stays open"));
        }
        tokio::time::sleep(BREATH * 5).await;
    }
}

type Clients = JoinSet<Result<(), String>>;

/// Does what the plan says, when it says so.
async fn disturb(env: &TestEnv, plan: &Plan, program: &Program, actors: &mut Actors, clients: &mut Clients) {
    let (began, mut random) = (Instant::now(), Random::new(plan.seed ^ 0x0f0f));
    for (at, fault) in &plan.faults {
        while began.elapsed() < Duration::from_millis(*at) {
            tokio::time::sleep(
                BREATH.min(Duration::from_millis(*at) - began.elapsed().min(Duration::from_millis(*at))),
            )
            .await;
            actors.tend();
        }
        inflict(env, *fault, program, actors, clients, &mut random).await;
    }
    // What the seed is about gets the time to happen; that it need not is no failure.
    let focus = plan.crashes.first().map(|(_, failpoint)| failpoint.point.to_owned());
    while began.elapsed() < LAST_DEED {
        let idle = began.elapsed() > FIRST_REST && unfinished(env).await.is_ok_and(|left| left.is_empty());
        let done = focus.as_ref().is_none_or(|focus| points(env).0.contains(focus));
        if began.elapsed() > FAULTS_AT_LEAST && (done || idle) {
            return;
        }
        tokio::time::sleep(BREATH).await;
        actors.tend();
    }
}

async fn inflict(
    env: &TestEnv,
    fault: Fault,
    program: &Program,
    actors: &Actors,
    clients: &mut Clients,
    random: &mut Random,
) {
    let of = |server| if server == Server::Postgres { &env.postgres } else { &env.amqp };
    match fault {
        Fault::Kill(who) => actors.signal(who, Signal::KILL),
        Fault::Restart(who) => actors.signal(who, Signal::TERM),
        Fault::Stall(who) => actors.signal(who, Signal::STOP),
        Fault::Cut(server, reset) => of(server).cut(if reset { Break::Reset } else { Break::Close }),
        Fault::DropAfter(server, bytes) => of(server).drop_after(bytes),
        Fault::Mute(server, ms) => spoil(of(server), Way::Stalled, ms).await,
        Fault::Late(server, ms) => spoil(of(server), Way::Late(Duration::from_millis(30)), ms).await,
        Fault::Shut(server, ms) => {
            of(server).cut(Break::Close);
            spoil(of(server), Way::Shut, ms).await;
        }
        Fault::Duplicate(times) => drop(duplicate(env, times, random).await),
        Fault::Lose(messages) => drop(lose(env, messages).await),
        Fault::PauseQueue(ms) => pause(program, clients, "queue", "default".to_owned(), ms),
        Fault::PauseBatch(ms) => {
            if let Some(batch) = any(env, "SELECT id::text FROM batch ORDER BY id LIMIT 1").await {
                pause(program, clients, "batch", batch, ms);
            }
        }
        Fault::CancelJob => {
            let job =
                "SELECT j.id::text FROM job j LEFT JOIN batch b ON b.id = j.batch_id
                 WHERE j.state IN ('queued', 'running', 'retry') AND b.name IS DISTINCT FROM 'filed' ORDER BY random() LIMIT 1";
            cancel(program, clients, "job", any(env, job).await);
        }
        Fault::CancelBatch => {
            let last = "SELECT id::text FROM batch WHERE state = 'sealed' AND name <> 'filed' ORDER BY id DESC LIMIT 1";
            let batch = any(env, last).await;
            cancel(program, clients, "batch", batch);
        }
    }
}

async fn spoil(proxy: &gristmill_testkit::Proxy, way: Way, ms: u64) {
    proxy.set(way);
    tokio::time::sleep(Duration::from_millis(ms)).await;
    proxy.set(Way::Open);
}

async fn any(env: &TestEnv, query: &'static str) -> Option<String> {
    sqlx::query_scalar(query).fetch_optional(&env.pool).await.ok().flatten()
}

fn pause(program: &Program, clients: &mut Clients, noun: &'static str, what: String, ms: u64) {
    let program = program.clone();
    clients.spawn(async move {
        program.run(&[noun, "pause", &what], None).await;
        tokio::time::sleep(Duration::from_millis(ms)).await;
        program.run(&[noun, "resume", &what], None).await;
        Ok(())
    });
}

fn cancel(program: &Program, clients: &mut Clients, noun: &'static str, what: Option<String>) {
    let Some(what) = what else { return };
    let program = program.clone();
    clients.spawn(async move {
        // It may have ended before the command came: then it is refused, and that is right.
        program.run(&[noun, "cancel", &what, "--reason", REASON], None).await;
        Ok(())
    });
}

async fn resume_batches(env: &TestEnv, program: &Program) -> Result<(), String> {
    let _calm = env.servers.calm.read().await;
    let paused: Vec<String> = sqlx::query_scalar("SELECT id::text FROM batch WHERE paused AND finished_at IS NULL")
        .fetch_all(&env.pool)
        .await
        .map_err(|error| error.to_string())?;
    for batch in paused {
        // One that ends meanwhile refuses it.
        program.run(&["batch", "resume", &batch], None).await;
    }
    Ok(())
}

/// Publishes messages for jobs in whatever state, many times over.
async fn duplicate(env: &TestEnv, times: u64, random: &mut Random) -> Result<(), Box<dyn std::error::Error>> {
    let jobs: Vec<(String, String)> =
        sqlx::query_as("SELECT id::text, queue FROM job ORDER BY random() LIMIT 5").fetch_all(&env.pool).await?;
    let connection = lapin::Connection::connect(&env.servers.amqp, lapin::ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    for (job, queue) in jobs {
        let body = json!({ "v": 1, "job_id": job, "queue": queue }).to_string();
        for _ in 0..times {
            let priority = env.priority(&queue, random.pick::<&str>(&["high", "normal", "low"]));
            let options = lapin::options::BasicPublishOptions::default();
            channel
                .basic_publish(
                    "".into(),
                    priority.as_str().into(),
                    options,
                    body.as_bytes(),
                    lapin::BasicProperties::default(),
                )
                .await?;
        }
    }
    Ok(connection.close(200, "done".into()).await?)
}

/// Takes messages and throws them away.
async fn lose(env: &TestEnv, messages: u64) -> Result<(), Box<dyn std::error::Error>> {
    let connection = lapin::Connection::connect(&env.servers.amqp, lapin::ConnectionProperties::default()).await?;
    for priority in env.priorities() {
        let channel = connection.create_channel().await?;
        for _ in 0..messages {
            let options = lapin::options::BasicGetOptions { no_ack: true };
            match channel.basic_get(priority.as_str().into(), options).await {
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => break,
            }
        }
    }
    Ok(connection.close(200, "done".into()).await?)
}

/// Waits until nothing is left to be done. What only waits for time to pass is helped along: hold times, ages and the
/// leadership are moved into the past, which is the same as waiting for them.
async fn rest(env: &TestEnv, program: &Program, actors: &mut Actors) -> Result<(), String> {
    let began = Instant::now();
    let mut looks = 0u32;
    loop {
        actors.tend();
        if looks.is_multiple_of(8) {
            let_time_pass(env, looks == 0).await;
        }
        looks += 1;
        let left = unfinished(env).await;
        if left.as_ref().is_ok_and(BTreeMap::is_empty) {
            return Ok(());
        }
        if began.elapsed() > PATIENCE {
            return Err(format!("it does not come to rest: {left:?}"));
        }
        redrive_aggregates(env, program).await?;
        tokio::time::sleep(BREATH * 2).await;
    }
}

async fn let_time_pass(env: &TestEnv, leader: bool) {
    let mut statements = vec![
        "UPDATE outbox SET held_until = now() - interval '1 second' WHERE held_until > now()",
        "UPDATE job SET queued_at = queued_at - interval '1 minute' WHERE state = 'queued' AND queued_at > now() - interval '10 minutes'",
    ];
    if leader {
        statements.push("UPDATE leader SET lease_until = now()");
    }
    for statement in statements {
        // A deadlock with the product is the product's or ours to repeat; the next round comes.
        let _ = sqlx::query(statement).execute(&env.pool).await;
    }
}

/// What is still to be done, by name and number.
async fn unfinished(env: &TestEnv) -> Result<BTreeMap<String, i64>, Box<dyn std::error::Error + Send + Sync>> {
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "SELECT 'job ' || kind || ' ' || state, count(*) FROM job WHERE state NOT IN ('done', 'dead', 'cancelled') GROUP BY 1
         UNION ALL
         SELECT 'batch ' || state, count(*) FROM batch WHERE finished_at IS NULL GROUP BY 1
         UNION ALL
         SELECT 'outbox ' || purpose, count(*) FROM outbox GROUP BY 1
         UNION ALL
         SELECT 'run ' || outcome, count(*) FROM schedule_tick WHERE active OR outcome IN ('waiting', 'buffered') GROUP BY 1",
    )
    .fetch_all(&env.pool)
    .await?;
    let mut left: BTreeMap<String, i64> = rows.into_iter().collect();
    let files = filed::under_way(env);
    if files > 0 {
        left.insert("files".to_owned(), files);
    }
    if left.is_empty() {
        left.extend(oracle::depths(env).await?.into_iter().filter(|(_, depth)| *depth > 0));
    }
    Ok(left)
}

/// An aggregate whose five attempts were all killed is a dead letter like any other: somebody redrives it.
async fn redrive_aggregates(env: &TestEnv, program: &Program) -> Result<(), String> {
    let dead: Vec<String> = sqlx::query_scalar(
        "SELECT j.id::text FROM job j JOIN batch b ON b.id = j.batch_id
         WHERE j.kind = 'aggregate' AND j.state = 'dead' AND b.state = 'aggregating' AND j.attempt = j.max_attempts",
    )
    .fetch_all(&env.pool)
    .await
    .unwrap_or_default();
    for job in dead {
        program.insist(&["dead", "redrive", &job]).await?;
    }
    Ok(())
}

/// Which failpoints did their deed, and which were passed.
fn points(env: &TestEnv) -> (Vec<String>, Vec<String>) {
    let log = std::fs::read_to_string(env.file("points.log")).unwrap_or_default();
    let (mut deeds, mut passed) = (Vec::new(), Vec::new());
    for (word, name) in log.lines().filter_map(|line| line.split_once(' ')) {
        let list = if word == "pass" { &mut passed } else { &mut deeds };
        list.push(name.to_owned());
    }
    (deeds, passed)
}

/// How many endings were refused because their job had been taken away.
fn fenced(env: &TestEnv) -> u64 {
    let logs = std::fs::read_dir(env.folder.path()).into_iter().flatten().flatten();
    let count = |path: PathBuf| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().filter(|line| line.contains("attempt fenced")).count() as u64
    };
    logs.filter(|entry| entry.file_name().to_string_lossy().starts_with("worker-"))
        .map(|entry| count(entry.path()))
        .sum()
}
