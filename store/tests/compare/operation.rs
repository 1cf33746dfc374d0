//! The operations, and how a seed produces a sequence of them. They name jobs, batches and workers by small numbers, so
//! that they collide, and so that a sequence still makes sense when parts of it are left out.

use gristmill_store::PruneNoun;
use gristmill_testkit::Random;

/// A number below `end`.
fn pick(random: &mut Random, end: u64) -> usize {
    usize::try_from(random.below(end)).unwrap_or(0)
}

/// One to `most` + 1 numbers below `end`.
fn some(random: &mut Random, most: u64, end: u64) -> Vec<usize> {
    (0..=random.below(most)).map(|_| pick(random, end)).collect()
}

/// A job to be enqueued.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) number: usize,
    pub(crate) other_tenant: bool,
    pub(crate) queue: usize,
    pub(crate) priority: usize,
    pub(crate) odd: bool,
    pub(crate) later: bool,
    pub(crate) attempts: u32,
    pub(crate) key: Option<usize>,
    /// The key by which it takes turns and is limited.
    pub(crate) turn: Option<usize>,
    pub(crate) unique: Option<Kept>,
    pub(crate) version: u32,
    pub(crate) batch: Option<usize>,
}

/// A unique key: for how long, and what becomes of others.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kept {
    pub(crate) key: usize,
    pub(crate) hold: usize,
    pub(crate) conflict: usize,
}

/// A limit: of which queues and kinds, and of how many.
#[derive(Debug, Clone)]
pub(crate) struct Limited {
    pub(crate) queues: Vec<usize>,
    pub(crate) kinds: Vec<usize>,
    pub(crate) per_key: bool,
    pub(crate) concurrency: Option<u32>,
    /// This many in a time that does not pass by itself, and this many of them at one moment.
    pub(crate) rate: Option<(u32, u32)>,
}

/// A schedule that follows the batches: which of their endings, and whether it begins only in the far future.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Follows {
    pub(crate) ending: usize,
    pub(crate) ahead: bool,
}

/// What is done to quarantined items before they run again.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mended {
    AsIs,
    Patched,
    Replaced,
}

/// A row of the ledger that is written.
#[derive(Debug, Clone)]
pub(crate) struct Fired {
    pub(crate) tick: i64,
    pub(crate) outcome: usize,
    pub(crate) was: Option<usize>,
    pub(crate) run: Option<Started>,
    pub(crate) holder: Option<usize>,
}

/// What a tick starts.
#[derive(Debug, Clone)]
pub(crate) enum Started {
    Job(Asked),
    Batch(usize),
}

/// How an attempt ends.
#[derive(Debug, Clone, Copy)]
pub(crate) enum How {
    Done,
    Aside,
    Miscounted,
    Failed,
    Permanent,
    Interrupted,
    Lost,
    Snoozed,
    /// Failed, with a verdict to retry even if it was the last attempt.
    Again,
    Ends {
        halted: bool,
        wrong_generation: bool,
    },
}

/// One attempt that ends: which of all that were ever claimed.
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    pub(crate) claimed: usize,
    pub(crate) how: How,
    pub(crate) follow: Option<Asked>,
}

/// One operation.
#[derive(Debug, Clone)]
pub(crate) enum Operation {
    Enqueue(Vec<Asked>),
    CreateBatch { batch: usize, key: Option<usize>, attempts: u32, other_tenant: bool },
    AddChunks { batch: usize, seqs: Vec<usize>, items: u64, number: usize },
    Seal { batch: usize },
    Discard { batch: usize },
    Register { worker: usize },
    Beat { worker: usize },
    Hold { held: Vec<usize>, long: bool },
    Retire { worker: usize },
    ReleaseUnknown { worker: usize, known: Vec<usize> },
    EndLease { worker: usize },
    Claim { worker: usize, jobs: Vec<usize>, limit: u32, odd: bool },
    ClaimNext { worker: usize, queue: Option<usize>, limit: u32 },
    ClaimManaged { worker: usize, queue: Option<usize>, limit: u32, odd: bool },
    Complete(Vec<Ended>),
    Rescue { limit: u32 },
    Promote { limit: u32 },
    MakeDue { job: usize },
    PassDeadline { job: usize },
    OutboxTake { share: u32, limit: u32 },
    OutboxDone,
    Redispatch { queue: usize, limit: u32 },
    Reconcile { dry: bool },
    PauseBatch { batch: usize, paused: bool, dry: bool },
    PauseQueue { queue: usize, paused: bool, dry: bool },
    CancelBatch { batch: usize, dry: bool },
    Halt { batch: usize, generation: u32 },
    CancelJob { job: usize, dry: bool },
    RetryJob { job: usize, dry: bool },
    EditJob { job: usize, priority: Option<usize>, queue: Option<usize>, run: Option<bool>, payload: bool, dry: bool },
    RedriveDead { jobs: Vec<usize>, all: bool, dry: bool },
    CancelJobs { jobs: Vec<usize>, dry: bool },
    Restart { batch: usize, failure_budget: Option<u64>, dead: bool, dry: bool },
    Split { job: usize, dry: bool },
    ItemPatch { batch: usize, first: bool, how: Mended, from: Option<u64>, chunk: u64, dry: bool },
    Bury { message: usize, times: usize },
    UnknownJobs { jobs: Vec<usize> },
    DropPoison { message: usize, dry: bool },
    Gone { claimed: Vec<usize> },
    Astray { worker: usize, odd: bool, limit: u32 },
    MakeLate { batch: usize },
    TellLate { limit: u32 },
    Copies { keep: bool },
    CopiesGone { batch: usize },
    SaveSchedule { schedule: usize, enabled: bool, edit: bool, follows: Option<Follows> },
    RemoveSchedule { schedule: usize },
    DueSchedules { tick: i64 },
    Fire { schedule: usize, step: bool, stale: bool, rows: Vec<Fired> },
    NoteEnded,
    Startable { limit: u32 },
    Orphaned,
    Unfire { batch: usize, again: bool },
    Backfill { number: usize, schedule: usize, ticks: Vec<i64>, concurrency: u32, newest_first: bool },
    SteerBackfill { number: usize, paused: Option<bool> },
    Email { job: usize, key: usize },
    EmailMove { key: usize, claimed: usize, to: usize },
    Lead { worker: usize },
    SaveLimit { limit: usize, limited: Limited, file: bool },
    DropLimit { limit: usize, file: bool, dry: bool },
    SaveQueue { queue: usize, fair: bool, ages: bool },
    RaiseAged { waited: Vec<usize>, all: bool },
    PassRates,
    Why { jobs: Vec<usize> },
    NoteEvent { trigger: usize, event: usize, other_tenant: bool, job: Option<Asked> },
    StartEvent { ledger: usize, nth: usize, stale: bool, outcome: usize, run: Option<Started> },
    Prune { walk: usize, keys: bool },
    BeginDeletion { batch: usize, dry: bool },
    DeleteBatch { batch: usize, keys: bool },
    DiscardDead { job: usize, keys: bool, dry: bool },
    DeleteQueue { queue: usize, dry: bool },
    Operate { number: usize, verb: usize, query: usize, long: bool },
    MakeSteps { number: usize },
    BringBack { number: usize },
    CallOff { number: usize },
}

/// What is walked.
pub(crate) const WALKS: [PruneNoun; 9] = [
    PruneNoun::Jobs,
    PruneNoun::Batches,
    PruneNoun::Ticks,
    PruneNoun::Backfills,
    PruneNoun::Emails,
    PruneNoun::Poison,
    PruneNoun::Discarded,
    PruneNoun::Keys,
    PruneNoun::Queues,
];

/// How many of each there are.
pub(crate) const QUEUES: u64 = 2;
const JOBS: u64 = 12;
const BATCHES: u64 = 3;
const WORKERS: u64 = 3;
pub(crate) const KEYS: u64 = 3;
const LIMITS: u64 = 3;
pub(crate) const SCHEDULES: u64 = 2;
const TICKS: u64 = 8;
pub(crate) const TRIGGERS: u64 = 2;
const EVENTS: u64 = 4;

/// 20 to 60 operations. Each sequence begins with workers, since without them little happens.
pub(crate) fn sequence(random: &mut Random) -> Vec<Operation> {
    let length = 20 + random.below(41);
    let mut all = vec![Operation::Register { worker: 0 }, Operation::Register { worker: 1 }];
    // Half of them have limits from the beginning, so that batches run under them.
    let limited = random.one_in(2);
    if limited {
        all.extend((0..=random.below(2)).map(|_| limit(random)));
    }
    // By chance alone hardly any batch would get far: in most sequences one batch's life runs through the rest.
    let mut life = if random.one_in(4) { Vec::new() } else { life(random, limited) };
    life.reverse();
    for _ in 0..length {
        all.push(match life.len() {
            _ if limited && random.one_in(4) => {
                if random.one_in(2) {
                    limiting(random)
                } else {
                    claim_limited(random)
                }
            }
            0 => operation(random),
            _ if random.one_in(3) => operation(random),
            _ => life.pop().unwrap_or(Operation::OutboxDone),
        });
    }
    all
}

/// A batch from its creation through its end into its next generation.
fn life(random: &mut Random, limited: bool) -> Vec<Operation> {
    let batch = pick(random, BATCHES);
    let (attempts, items) = (1 + u32::from(random.one_in(2)), 1 + random.below(4));
    let claim = |worker: usize, limit: u32, all: &mut Vec<Operation>| {
        all.push(Operation::ClaimNext { worker, queue: None, limit });
        if limited {
            all.push(Operation::ClaimManaged { worker, queue: None, limit, odd: false });
        }
    };
    let work = |random: &mut Random, all: &mut Vec<Operation>| {
        claim(pick(random, 2), 1 + u32::from(random.one_in(2)) * 3, all);
        all.push(Operation::Complete((0..=random.below(3)).map(|_| ended(random)).collect()));
    };
    let mut all = Vec::new();
    if random.one_in(2) {
        let follows = Some(Follows { ending: pick(random, 4), ahead: false });
        let schedule = pick(random, SCHEDULES);
        all.push(Operation::SaveSchedule { schedule, enabled: !random.one_in(4), edit: false, follows });
    }
    all.extend([
        Operation::CreateBatch { batch, key: None, attempts, other_tenant: false },
        Operation::AddChunks { batch, seqs: some(random, 3, 5), items, number: pick(random, 1_000_000) },
        Operation::Seal { batch },
    ]);
    work(random, &mut all);
    match random.below(5) {
        0 => all.push(Operation::CancelBatch { batch, dry: false }),
        1..=2 => all.push(Operation::Halt { batch, generation: 0 }),
        _ => work(random, &mut all),
    }
    let halted = random.one_in(2);
    let ends = (0..4).map(|back| Ended {
        claimed: usize::MAX - back,
        how: How::Ends { halted, wrong_generation: false },
        follow: None,
    });
    claim(0, 4, &mut all);
    all.push(Operation::Complete(ends.collect()));
    for _ in 0..3 {
        all.push(match random.below(6) {
            0..=1 => {
                let failure_budget = (!random.one_in(3)).then_some(100);
                Operation::Restart { batch, failure_budget, dead: random.one_in(2), dry: false }
            }
            2..=3 => {
                let how = [Mended::AsIs, Mended::Patched, Mended::Replaced][pick(random, 3)];
                let (first, chunk) = (random.one_in(3), 1 + random.below(3));
                Operation::ItemPatch { batch, first, how, from: None, chunk, dry: false }
            }
            4 => Operation::RedriveDead { jobs: Vec::new(), all: true, dry: false },
            _ => Operation::Split { job: pick(random, 30), dry: false },
        });
    }
    work(random, &mut all);
    all
}

fn operation(random: &mut Random) -> Operation {
    match random.below(140) {
        130..=139 => crate::operated::operation(random),
        120..=129 => pruning(random),
        100..=111 => limiting(random),
        112..=119 => noting(random),
        0..=23 => creating(random),
        24..=43 => claiming(random),
        44..=60 => {
            let count = 1 + random.below(3);
            Operation::Complete((0..count).map(|_| ended(random)).collect())
        }
        61..=74 => looking_after(random),
        75..=80 => keeping(random),
        81..=87 => planning(random),
        _ => steering(random),
    }
}

fn pruning(random: &mut Random) -> Operation {
    let (batch, keys, dry) = (pick(random, BATCHES), random.one_in(2), random.one_in(5));
    match random.below(10) {
        0..=1 => Operation::Prune { walk: 0, keys },
        2..=3 => Operation::Prune { walk: pick(random, WALKS.len() as u64), keys },
        4..=5 => Operation::BeginDeletion { batch, dry },
        6..=7 => Operation::DeleteBatch { batch, keys },
        8 => Operation::DiscardDead { job: pick(random, 30), keys, dry },
        _ => Operation::DeleteQueue { queue: pick(random, QUEUES), dry },
    }
}

fn creating(random: &mut Random) -> Operation {
    let batch = pick(random, BATCHES);
    match random.below(10) {
        0..=3 => {
            let count = 1 + random.below(3);
            Operation::Enqueue((0..count).map(|_| asked(random)).collect())
        }
        4..=5 => Operation::CreateBatch {
            batch,
            key: random.one_in(3).then(|| pick(random, 2)),
            attempts: 1 + u32::from(random.one_in(2)),
            other_tenant: random.one_in(12),
        },
        6..=7 => Operation::AddChunks {
            batch,
            seqs: some(random, 3, 5),
            items: random.below(4),
            number: pick(random, 1_000_000),
        },
        8 => Operation::Seal { batch },
        _ if random.one_in(4) => Operation::Discard { batch },
        _ => Operation::Seal { batch },
    }
}

fn asked(random: &mut Random) -> Asked {
    Asked {
        number: pick(random, JOBS),
        other_tenant: random.one_in(12),
        queue: pick(random, QUEUES),
        priority: pick(random, 3),
        odd: random.one_in(10),
        later: random.one_in(4),
        attempts: 1 + u32::from(random.one_in(2)),
        key: random.one_in(4).then(|| pick(random, KEYS)),
        turn: random.one_in(2).then(|| pick(random, KEYS)),
        unique: random.one_in(3).then(|| Kept {
            key: pick(random, KEYS),
            hold: pick(random, 5).saturating_sub(1),
            conflict: pick(random, 5).saturating_sub(1),
        }),
        version: 1 + u32::from(random.one_in(12)),
        batch: random.one_in(6).then(|| pick(random, BATCHES)),
    }
}

fn claiming(random: &mut Random) -> Operation {
    let worker = pick(random, WORKERS);
    let limit = u32::try_from(random.below(5)).unwrap_or(0);
    match random.below(13) {
        10..=12 => claim_limited(random),
        0 => Operation::Register { worker },
        1 => Operation::Beat { worker },
        2..=4 => Operation::Claim { worker, jobs: some(random, 4, 30), limit, odd: random.one_in(4) },
        5 if random.one_in(3) => Operation::Retire { worker },
        5 if random.one_in(3) => Operation::Hold { held: some(random, 4, 30), long: !random.one_in(4) },
        5 => Operation::ReleaseUnknown { worker, known: some(random, 4, 30) },
        _ => Operation::ClaimNext { worker, queue: random.one_in(3).then(|| pick(random, QUEUES)), limit },
    }
}

fn claim_limited(random: &mut Random) -> Operation {
    let (worker, limit) = (pick(random, WORKERS), u32::try_from(random.below(5)).unwrap_or(0));
    let queue = random.one_in(3).then(|| pick(random, QUEUES));
    Operation::ClaimManaged { worker, queue, limit, odd: random.one_in(3) }
}

fn ended(random: &mut Random) -> Ended {
    let how = match random.below(27) {
        0..=9 => How::Done,
        10..=11 => How::Aside,
        12 => How::Miscounted,
        13..=14 => How::Failed,
        15..=17 => How::Permanent,
        18 => How::Interrupted,
        19 => How::Lost,
        20..=21 => How::Snoozed,
        22 => How::Again,
        _ => How::Ends { halted: random.one_in(3), wrong_generation: random.one_in(8) },
    };
    // Mostly one of the last that were claimed.
    let claimed = if random.one_in(5) { pick(random, 100) } else { usize::MAX - pick(random, 4) };
    Ended { claimed, how, follow: random.one_in(6).then(|| asked(random)) }
}

fn looking_after(random: &mut Random) -> Operation {
    let limit = if random.one_in(3) { 1 + u32::from(random.one_in(2)) } else { 100 };
    let job = pick(random, 30);
    match random.below(20) {
        0..=3 => Operation::Rescue { limit },
        4..=6 => Operation::EndLease { worker: pick(random, WORKERS) },
        7..=8 => Operation::PassDeadline { job },
        9..=10 => Operation::Promote { limit },
        11..=13 => Operation::MakeDue { job },
        14 => Operation::OutboxTake { share: if random.one_in(2) { 1 } else { 1_000 }, limit: 1_000 },
        15 => Operation::OutboxDone,
        16..=17 => Operation::Redispatch { queue: pick(random, QUEUES), limit },
        18 => Operation::Email { job: pick(random, 100), key: pick(random, 2) },
        _ if random.one_in(2) => Operation::Lead { worker: pick(random, WORKERS) },
        _ if random.one_in(2) => {
            Operation::EmailMove { key: pick(random, 2), claimed: pick(random, 100), to: pick(random, 13) }
        }
        _ => Operation::Reconcile { dry: random.one_in(2) },
    }
}

fn steering(random: &mut Random) -> Operation {
    let batch = pick(random, BATCHES);
    let dry = random.one_in(6);
    let (job, paused) = (pick(random, 30), random.one_in(2));
    match random.below(27) {
        24..=26 => Operation::EditJob {
            job,
            priority: random.one_in(2).then(|| pick(random, 3)),
            queue: random.one_in(3).then(|| pick(random, QUEUES)),
            run: random.one_in(3).then(|| random.one_in(2)),
            payload: random.one_in(4),
            dry,
        },
        0..=1 => Operation::PauseBatch { batch, paused, dry },
        2..=4 => Operation::PauseQueue { queue: pick(random, QUEUES), paused, dry },
        5 => Operation::CancelBatch { batch, dry },
        6 => Operation::Halt { batch, generation: u32::from(random.one_in(3)) },
        7..=9 => Operation::CancelJob { job, dry },
        10..=11 => Operation::RetryJob { job, dry },
        12..=14 => Operation::RedriveDead { jobs: some(random, 4, 30), all: random.one_in(2), dry },
        15..=16 => Operation::Restart {
            batch,
            failure_budget: random.one_in(2).then(|| random.below(20)),
            dead: random.one_in(2),
            dry,
        },
        17..=18 => Operation::Split { job, dry },
        19 => Operation::CancelJobs { jobs: some(random, 4, 30), dry },
        _ => {
            let how = [Mended::AsIs, Mended::Patched, Mended::Replaced][pick(random, 3)];
            let from = random.one_in(4).then(|| random.below(30));
            Operation::ItemPatch { batch, first: random.one_in(3), how, from, chunk: 1 + random.below(3), dry }
        }
    }
}

fn keeping(random: &mut Random) -> Operation {
    let batch = pick(random, BATCHES);
    match random.below(12) {
        0..=1 => Operation::Bury { message: pick(random, 3), times: 1 + pick(random, 2) },
        2 => Operation::UnknownJobs { jobs: some(random, 4, 30) },
        3 => Operation::DropPoison { message: pick(random, 3), dry: random.one_in(3) },
        4..=5 => Operation::Gone { claimed: some(random, 4, 30) },
        6..=7 => Operation::Astray {
            worker: pick(random, WORKERS),
            odd: random.one_in(2),
            limit: u32::try_from(random.below(5)).unwrap_or(0),
        },
        8 => Operation::MakeLate { batch },
        9 => Operation::TellLate { limit: 10 },
        10 => Operation::Copies { keep: random.one_in(2) },
        _ => Operation::CopiesGone { batch: 1 },
    }
}

fn planning(random: &mut Random) -> Operation {
    let schedule = pick(random, SCHEDULES);
    let a_tick = |random: &mut Random| i64::try_from(random.below(TICKS)).unwrap_or(0);
    match random.below(16) {
        0..=2 => {
            let follows = random.one_in(2).then(|| Follows { ending: pick(random, 4), ahead: random.one_in(4) });
            Operation::SaveSchedule { schedule, enabled: !random.one_in(4), edit: random.one_in(2), follows }
        }
        3 if random.one_in(2) => Operation::RemoveSchedule { schedule },
        3 => Operation::DueSchedules { tick: a_tick(random) },
        4..=9 => {
            let mut rows: Vec<Fired> = (0..=random.below(2)).map(|_| fired(random)).collect();
            // A scheduler decides each tick once.
            rows.sort_by_key(|row| row.tick);
            rows.dedup_by_key(|row| row.tick);
            Operation::Fire { schedule, step: random.one_in(2), stale: random.one_in(8), rows }
        }
        10 => Operation::NoteEnded,
        11..=12 => Operation::Startable { limit: if random.one_in(3) { 1 } else { 20 } },
        13 if random.one_in(2) => Operation::Orphaned,
        13 => Operation::Unfire { batch: pick(random, BATCHES), again: random.one_in(2) },
        14 => Operation::Backfill {
            number: pick(random, 2),
            schedule,
            ticks: vec![a_tick(random), a_tick(random)],
            concurrency: 1 + u32::from(random.one_in(2)),
            newest_first: random.one_in(2),
        },
        _ => Operation::SteerBackfill {
            number: pick(random, 2),
            paused: [None, Some(true), Some(false)][pick(random, 3)],
        },
    }
}

fn fired(random: &mut Random) -> Fired {
    Fired {
        tick: i64::try_from(random.below(TICKS)).unwrap_or(0),
        outcome: pick(random, 5),
        was: random.one_in(3).then(|| pick(random, 6)),
        run: started(random),
        holder: random.one_in(2).then(|| pick(random, WORKERS)),
    }
}

fn started(random: &mut Random) -> Option<Started> {
    random.one_in(2).then(|| {
        if random.one_in(3) {
            Started::Batch(pick(random, BATCHES))
        } else {
            Started::Job(Asked { batch: None, ..asked(random) })
        }
    })
}

/// A limit, or the settings of a queue.
fn limit(random: &mut Random) -> Operation {
    if random.one_in(3) {
        return Operation::SaveQueue { queue: pick(random, QUEUES), fair: !random.one_in(3), ages: !random.one_in(3) };
    }
    let queues = if random.one_in(4) { Vec::new() } else { some(random, 1, QUEUES) };
    let kinds = if random.one_in(if queues.is_empty() { 1 } else { 3 }) { some(random, 1, 5) } else { Vec::new() };
    let limited = Limited {
        queues,
        kinds,
        per_key: random.one_in(2),
        concurrency: (!random.one_in(4)).then(|| 1 + u32::from(random.one_in(2))),
        rate: random.one_in(3).then(|| (1 + u32::from(random.one_in(3)), 1 + u32::from(random.one_in(2)))),
    };
    Operation::SaveLimit { limit: pick(random, LIMITS), limited, file: random.one_in(5) }
}

fn limiting(random: &mut Random) -> Operation {
    match random.below(12) {
        0..=3 => limit(random),
        4..=5 => Operation::DropLimit { limit: pick(random, LIMITS), file: random.one_in(5), dry: random.one_in(6) },
        6..=8 => Operation::RaiseAged { waited: some(random, 6, 30), all: random.one_in(2) },
        9 => Operation::PassRates,
        _ => Operation::Why { jobs: some(random, 6, 30) },
    }
}

fn noting(random: &mut Random) -> Operation {
    match random.below(8) {
        0..=4 => Operation::NoteEvent {
            trigger: pick(random, TRIGGERS),
            event: pick(random, EVENTS),
            other_tenant: random.one_in(12),
            job: random.one_in(2).then(|| asked(random)),
        },
        _ => Operation::StartEvent {
            ledger: pick(random, SCHEDULES + TRIGGERS),
            nth: pick(random, 10),
            stale: random.one_in(6),
            outcome: pick(random, 5),
            run: started(random),
        },
    }
}
