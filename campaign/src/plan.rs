//! What a schedule will do, all of it drawn from its seed before anything begins.

use std::fmt;

use gristmill_testkit::Random;

/// The reason that the campaign gives when it cancels.
pub const REASON: &str = "the campaign cancels it";

/// A crash or a stall at a named point, for one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crash {
    /// The point.
    pub point: &'static str,
    /// At which passage.
    pub nth: u64,
    /// It stops itself past its lease instead of dying.
    pub stall: bool,
}

/// Who passes a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `gristmill worker`.
    Worker,
    /// `gristmill scheduler`.
    Scheduler,
    /// `gristmill batch run`.
    Run,
    /// `gristmill enqueue`.
    Enqueue,
}

/// Which role passes which point, and up to which passage it is worth waiting for.
pub const WHO: &[(&str, Role, u64)] = &[
    ("create_batch.before_commit", Role::Run, 1),
    ("create_batch.committed", Role::Run, 1),
    ("enqueue.before_commit", Role::Enqueue, 1),
    ("enqueue.committed", Role::Enqueue, 1),
    ("add_chunks.before_commit", Role::Run, 1),
    ("add_chunks.committed", Role::Run, 1),
    ("seal.before_commit", Role::Run, 1),
    ("seal.committed", Role::Run, 1),
    ("publish.sending", Role::Run, 4),
    ("publish.confirmed", Role::Run, 1),
    ("publish.sending", Role::Scheduler, 3),
    ("publish.confirmed", Role::Scheduler, 2),
    ("outbox_take.committed", Role::Scheduler, 2),
    ("claim.before_commit", Role::Worker, 3),
    ("claim.committed", Role::Worker, 3),
    ("chunk.read", Role::Worker, 4),
    ("part.written", Role::Worker, 2),
    ("attempt.ended", Role::Worker, 6),
    ("complete.before_commit", Role::Worker, 3),
    ("complete.committed", Role::Worker, 3),
    ("fan_in.committed", Role::Worker, 1),
    ("manifest.written", Role::Worker, 1),
    ("aggregate.before_commit", Role::Worker, 1),
    ("aggregate.committed", Role::Worker, 1),
    ("rescue.before_commit", Role::Scheduler, 2),
    ("rescue.committed", Role::Scheduler, 2),
    ("promote.before_commit", Role::Scheduler, 5),
    ("promote.committed", Role::Scheduler, 5),
    ("chunk.halving", Role::Worker, 3),
    ("row.refused", Role::Worker, 2),
    ("watch.linked", Role::Scheduler, 4),
    ("watch.leaving", Role::Scheduler, 4),
    ("watch.moved", Role::Scheduler, 3),
    ("note.before_commit", Role::Scheduler, 3),
    ("note.committed", Role::Scheduler, 3),
    ("fire.before_commit", Role::Scheduler, 2),
    ("fire.committed", Role::Scheduler, 2),
    ("seal.committed", Role::Scheduler, 2),
    ("email.sending", Role::Worker, 2),
    ("email.accepted", Role::Worker, 2),
];

/// One thing that goes wrong, or that somebody does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL.
    Kill(usize),
    /// SIGTERM: a graceful stop, and a start after it.
    Restart(usize),
    /// SIGSTOP, and SIGCONT when its lease is long over.
    Stall(usize),
    /// All connections to a server are closed or reset.
    Cut(Server, bool),
    /// All connections break after so many more bytes.
    DropAfter(Server, u32),
    /// Nothing passes for so many milliseconds, and nobody is told.
    Mute(Server, u64),
    /// Everything is late for so many milliseconds.
    Late(Server, u64),
    /// New connections are refused for so many milliseconds, and the old ones are closed.
    Shut(Server, u64),
    /// Messages for known jobs are published so many times over.
    Duplicate(u64),
    /// Up to so many messages are taken from a queue and thrown away.
    Lose(u64),
    /// A queue is paused for so many milliseconds.
    PauseQueue(u64),
    /// The first batch is paused for so many milliseconds.
    PauseBatch(u64),
    /// One job of those that are not final is cancelled.
    CancelJob,
    /// The last batch is cancelled.
    CancelBatch,
}

/// A server behind a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    /// The truth.
    Postgres,
    /// RabbitMQ.
    Amqp,
}

/// One batch of a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchPlan {
    /// Rows of its input.
    pub rows: u64,
    /// Rows in a chunk.
    pub chunk: u64,
    /// Attempts of each chunk.
    pub max_attempts: u64,
    /// Its items go through a program that dies now and then.
    pub through_program: bool,
    /// Its items go through a service.
    pub through_service: bool,
    /// Its output goes into a table instead of files.
    pub into_table: bool,
    /// How many of its items the program, the service or the table refuses, however often it is asked.
    pub culprits: u64,
}

/// Everything that a schedule does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What it follows from.
    pub seed: u64,
    /// How many workers.
    pub workers: usize,
    /// How many schedulers.
    pub schedulers: usize,
    /// Its batches.
    pub batches: Vec<BatchPlan>,
    /// Plain jobs: how many of each [`JOB_MODES`].
    pub jobs: Vec<u64>,
    /// Emails.
    pub emails: u64,
    /// How many of a hundred emails the mail server treats badly.
    pub bad_mail: u64,
    /// Files that are put into a watched folder.
    pub files: u64,
    /// Crash points by role, for that many incarnations one after the other.
    pub crashes: Vec<(Role, Crash)>,
    /// What goes wrong when, in milliseconds after the processes have started.
    pub faults: Vec<(u64, Fault)>,
}

/// What plain jobs do: succeed, fail at their first attempt, fail always, fail for good, take a while.
pub const JOB_MODES: [&str; 5] = ["ok", "flaky", "fail", "permanent", "slow"];

/// How long after the start the last fault comes at most, in milliseconds.
const FAULTS_FOR: u64 = 1_500;

impl Plan {
    /// The plan of a seed.
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let focus = WHO[usize::try_from(seed % WHO.len() as u64).unwrap_or(0)];
        let workers = usize::try_from(random.between(1, 3)).unwrap_or(1);
        let schedulers = usize::try_from(random.between(1, 2)).unwrap_or(1);
        let batches = (0..random.between(1, 2)).map(|_| batch(&mut random, focus.0)).collect();
        let jobs =
            vec![random.between(2, 8), random.between(1, 3), random.below(2), random.below(2), random.between(0, 2)];
        let mut plan = Self {
            seed,
            workers,
            schedulers,
            batches,
            jobs,
            emails: random.between(1, 4),
            bad_mail: if random.percent(30) { 25 } else { 0 },
            files: if watches(focus) || random.percent(30) { random.between(3, 8) } else { 0 },
            crashes: crashes(&mut random, focus, workers, schedulers),
            faults: Vec::new(),
        };
        plan.faults = faults(&mut random, &plan, focus.0);
        plan
    }
}

/// Whether a seed is about a watched folder.
fn watches((point, role, _): (&str, Role, u64)) -> bool {
    let begin = ["watch.", "note.", "fire.", "seal."];
    role == Role::Scheduler && begin.iter().any(|begin| point.starts_with(begin))
}

fn batch(random: &mut Random, focus: &str) -> BatchPlan {
    let chunk = random.between(4, 24);
    let (halving, refused) = (focus == "chunk.halving", focus == "row.refused");
    let step = random.below(100);
    let through_program = !refused && (step < 30 || halving);
    let through_service = !refused && !through_program && step < 50;
    let into_files = focus == "part.written" || focus == "manifest.written";
    let into_table = refused || random.percent(40) && !into_files;
    let refuses = through_program || through_service || into_table;
    let some = halving || refused || random.percent(50);
    BatchPlan {
        rows: random.between(chunk, chunk * 24),
        chunk,
        max_attempts: if random.percent(20) { random.between(2, 4) } else { 30 },
        through_program,
        through_service,
        into_table,
        culprits: if refuses && some { random.between(1, 3) } else { 0 },
    }
}

/// The point that this seed is about for whoever passes it, and others by chance.
fn crashes(
    random: &mut Random,
    focus: (&'static str, Role, u64),
    workers: usize,
    schedulers: usize,
) -> Vec<(Role, Crash)> {
    let (point, role, nth) = focus;
    let who = match role {
        Role::Worker => workers,
        Role::Scheduler => schedulers,
        Role::Run | Role::Enqueue => 1,
    };
    let mut crashes: Vec<(Role, Crash)> =
        (0..who).map(|_| (role, Crash { point, nth: random.between(1, nth), stall: false })).collect();
    for _ in 0..random.below(4) {
        let (point, role, nth) = *random.pick(WHO);
        // A command that stalls has no lease that could run out: it would only be waited for.
        let stall = matches!(role, Role::Worker | Role::Scheduler) && random.percent(30);
        crashes.push((role, Crash { point, nth: random.between(1, nth), stall }));
    }
    crashes
}

fn faults(random: &mut Random, plan: &Plan, focus: &str) -> Vec<(u64, Fault)> {
    let mut faults: Vec<(u64, Fault)> =
        (0..random.between(1, 5)).map(|_| (random.below(FAULTS_FOR), fault(random, plan))).collect();
    if focus.starts_with("rescue") {
        faults.push((random.between(300, 700), Fault::Kill(0)));
    }
    if plan.batches.len() > 1 && random.percent(10) {
        faults.push((random.below(FAULTS_FOR), Fault::CancelBatch));
    }
    faults.sort_by_key(|(at, _)| *at);
    faults
}

fn fault(random: &mut Random, plan: &Plan) -> Fault {
    let actors = (plan.workers + plan.schedulers) as u64;
    let anyone = usize::try_from(random.below(actors)).unwrap_or(0);
    let worker = usize::try_from(random.below(plan.workers as u64)).unwrap_or(0);
    let server = if random.percent(50) { Server::Postgres } else { Server::Amqp };
    let while_ms = random.between(100, 900);
    match random.below(16) {
        0..=2 => Fault::Kill(anyone),
        3 => Fault::Restart(worker),
        4 | 5 => Fault::Stall(anyone),
        6 => Fault::Cut(server, random.percent(50)),
        7 => Fault::DropAfter(server, u32::try_from(random.below(20_000)).unwrap_or(0)),
        8 => Fault::Mute(server, while_ms),
        9 => Fault::Late(server, while_ms),
        10 => Fault::Shut(server, while_ms),
        11 => Fault::Duplicate(random.between(1, 30)),
        12 => Fault::Lose(random.between(1, 30)),
        13 => Fault::PauseQueue(while_ms),
        14 => Fault::PauseBatch(while_ms),
        _ => Fault::CancelJob,
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "schedule of seed {}", self.seed)?;
        writeln!(
            f,
            "  {} workers, {} schedulers, jobs {:?}, emails {}, bad mail {} %, files {}",
            self.workers, self.schedulers, self.jobs, self.emails, self.bad_mail, self.files
        )?;
        for batch in &self.batches {
            writeln!(f, "  {batch:?}")?;
        }
        for (role, failpoint) in &self.crashes {
            writeln!(f, "  {role:?} {failpoint:?}")?;
        }
        for (at, fault) in &self.faults {
            writeln!(f, "  at {at} ms {fault:?}")?;
        }
        Ok(())
    }
}
