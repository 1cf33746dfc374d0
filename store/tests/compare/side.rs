//! One of the two compared stores, and the names that both share: the ids that a store makes by itself are its own.

use std::collections::BTreeMap;
use std::sync::Mutex;

use gristmill_core::id::{BatchId, DEFAULT_TENANT, JobId, WorkerId};
use gristmill_core::job::Fence;
use gristmill_store::JobView;
use gristmill_store::testing::TestStore;
use uuid::{Builder, Uuid};

/// The tenants.
pub(crate) const TENANTS: [&str; 2] = [DEFAULT_TENANT, "other"];

/// A store, and the jobs that it made by itself: their names and their ids.
pub(crate) struct Side {
    pub(crate) store: TestStore,
    made: Mutex<BTreeMap<JobId, String>>,
}

impl Side {
    pub(crate) fn new(store: TestStore) -> Self {
        Self { store, made: Mutex::default() }
    }

    /// Deletes everything in it.
    pub(crate) async fn empty(&self) {
        self.store.empty().await;
        self.made.lock().expect("no panic").clear();
    }

    /// The name of a job, the same on both sides.
    pub(crate) async fn name(&self, id: JobId) -> String {
        if let Some(number) = number_of(id.0, JOB) {
            return format!("job{number}");
        }
        if let Some(number) = number_of(id.0, CHUNK) {
            return format!("chunk{number}");
        }
        if let Some(known) = self.made.lock().expect("no panic").get(&id) {
            return known.clone();
        }
        let mut found = None;
        for tenant in TENANTS {
            found = found.or(self.store.job(tenant, id).await.expect("looked up"));
        }
        // Nothing is left of a dry run, and the model reuses its ids.
        let Some(job) = found else { return "nothing".to_owned() };
        let name = made_name(&job);
        self.made.lock().expect("no panic").insert(id, name.clone());
        name
    }

    /// The id of a name.
    pub(crate) fn id(&self, name: &str) -> JobId {
        if let Some(number) = name.strip_prefix("job").and_then(|number| number.parse().ok()) {
            return job_id(number);
        }
        if let Some(number) = name.strip_prefix("chunk").and_then(|number| number.parse().ok()) {
            return chunk_id(number);
        }
        let made = self.made.lock().expect("no panic");
        made.iter().find(|(_, known)| *known == name).map_or_else(|| job_id(999), |(id, _)| *id)
    }

    /// A fence of the other side as this one knows it.
    pub(crate) fn fence(&self, claimed: &Claimed) -> Fence {
        Fence { job: self.id(&claimed.name), attempt: claimed.attempt, worker: worker_id(claimed.worker) }
    }
}

/// The name of a job that the store made by itself: an aggregate, or a chunk of redriven items.
fn made_name(job: &JobView) -> String {
    let batch = job.batch.map_or_else(String::new, batch_name);
    match job.seq {
        Some(seq) => format!("{batch}/{seq}"),
        None => format!("{batch}/{}/{}", job.kind, job.generation),
    }
}

/// An attempt that was claimed, as both sides know it.
#[derive(Debug, Clone)]
pub(crate) struct Claimed {
    pub(crate) name: String,
    pub(crate) attempt: u32,
    pub(crate) worker: usize,
    pub(crate) chunk: bool,
    pub(crate) items: u64,
    pub(crate) batch: Option<BatchId>,
    pub(crate) generation: u32,
    pub(crate) max_attempts: u32,
    pub(crate) kind: String,
}

/// Both sides, and what they have in common.
pub(crate) struct Pair<'a> {
    pub(crate) model: &'a Side,
    pub(crate) real: &'a Side,
    /// The names of all jobs that were ever seen.
    pub(crate) jobs: Vec<String>,
    /// All attempts that were ever claimed.
    pub(crate) claimed: Vec<Claimed>,
}

impl<'a> Pair<'a> {
    pub(crate) fn new(model: &'a Side, real: &'a Side) -> Self {
        Self { model, real, jobs: Vec::new(), claimed: Vec::new() }
    }

    /// Remembers a job.
    pub(crate) fn seen(&mut self, name: String) {
        if !self.jobs.contains(&name) {
            self.jobs.push(name);
        }
    }

    /// The job of a number.
    pub(crate) fn job(&self, number: usize) -> String {
        match self.jobs.len() {
            0 => "job0".to_owned(),
            jobs => self.jobs[number % jobs].clone(),
        }
    }

    /// The claimed attempt of a number; the highest numbers are the last that were claimed.
    pub(crate) fn attempt(&self, number: usize) -> Option<&Claimed> {
        let back = usize::MAX - number;
        match self.claimed.len() {
            0 => None,
            claimed if back < claimed => self.claimed.get(claimed - 1 - back),
            claimed => self.claimed.get(number % claimed),
        }
    }
}

const JOB: u8 = 1;
const CHUNK: u8 = 2;
const BATCH: u8 = 3;
const WORKER: u8 = 4;
const BACKFILL: u8 = 5;

/// An id with a number in it. All are older than any that a store makes, and sort by their numbers.
fn numbered(kind: u8, number: usize) -> Uuid {
    let number = u32::try_from(number).unwrap_or(u32::MAX);
    let mut bytes = [0_u8; 10];
    bytes[1] = kind;
    bytes[4..8].copy_from_slice(&number.to_be_bytes());
    Builder::from_unix_timestamp_millis(1_000_000_000_000 + u64::from(number), &bytes).into_uuid()
}

fn number_of(id: Uuid, kind: u8) -> Option<usize> {
    let bytes = id.as_bytes();
    let number = u32::from_be_bytes([bytes[10], bytes[11], bytes[12], bytes[13]]);
    let number = usize::try_from(number).ok()?;
    (id == numbered(kind, number)).then_some(number)
}

pub(crate) fn job_id(number: usize) -> JobId {
    JobId(numbered(JOB, number))
}

pub(crate) fn chunk_id(number: usize) -> JobId {
    JobId(numbered(CHUNK, number))
}

pub(crate) fn batch_id(number: usize) -> BatchId {
    BatchId(numbered(BATCH, number))
}

pub(crate) fn worker_id(number: usize) -> WorkerId {
    WorkerId(numbered(WORKER, number))
}

pub(crate) fn numbered_backfill(number: usize) -> Uuid {
    numbered(BACKFILL, number)
}

pub(crate) fn number_of_backfill(id: Uuid) -> Option<usize> {
    number_of(id, BACKFILL)
}

/// The name of a batch.
pub(crate) fn batch_name(id: BatchId) -> String {
    number_of(id.0, BATCH).map_or_else(|| id.to_string(), |number| format!("batch{number}"))
}

/// The name of a worker.
pub(crate) fn worker_name(id: WorkerId) -> String {
    number_of(id.0, WORKER).map_or_else(|| id.to_string(), |number| format!("worker{number}"))
}
